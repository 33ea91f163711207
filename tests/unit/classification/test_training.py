"""Training on a few made prompts and a few invented routing rows: fast, and the same bytes twice."""

from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import yaml

from serve_app.classification.artefact import CALIBRATION_NAME, ONNX_NAME
from serve_app.classification.calibration import Calibration
from serve_app.classification.features import FeatureSpec
from serve_app.classification.scorer import OnnxScorer
from serve_app.classification.training.config import CorpusSpec, NetworkSpec, OptimiserSpec, TrainingConfig
from serve_app.classification.training.corpus import MIX_SHARES, product_mix
from serve_app.classification.training.evaluation import evaluate
from serve_app.classification.training.examples import is_held_out, one_turn
from serve_app.classification.training.metrics import routing_quality
from serve_app.classification.training.trainer import TrainingReport, train
from serve_app.contracts.assessment import Turn

CONFIG_FILE = Path(__file__).parents[3] / "configs" / "classifier.yaml"


def a_config(routing_rows: Path | None) -> TrainingConfig:
    return TrainingConfig(
        model_version="test",
        seed=3,
        num_calibration_prompts=200,
        features=FeatureSpec(num_buckets=1024),
        network=NetworkSpec(embedding_size=4, hidden_size=8),
        optimiser=OptimiserSpec(num_epochs=2, batch_size=32),
        corpus=CorpusSpec(routing_rows=routing_rows, num_template_prompts=12, num_puzzles_each=0),
    )


Trained = tuple[TrainingReport, list[tuple[str, float]]]


@pytest.fixture(scope="module")
def routing_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    rows = [
        {
            "benchmark": "invented",
            "group": ("math", "trivia_qa")[n % 2],
            "pair": "weak->strong",
            "prompt": f"Invented question number {n} about {('sums', 'rivers')[n % 2]}",
            "weak_score": float(n % 3 == 0),
            "strong_score": float(n % 4 != 0),
            "contaminated": n == 7,
        }
        for n in range(80)
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


@pytest.fixture(scope="module")
def trained(routing_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    stages: list[tuple[str, float]] = []
    report = train(a_config(routing_rows), tmp_path_factory.mktemp("first"), lambda *stage: stages.append(stage))
    return report, stages


def test_the_same_config_gives_the_same_bytes(trained: Trained, routing_rows: Path, tmp_path: Path) -> None:
    first = trained[0].out_dir
    train(a_config(routing_rows), tmp_path, lambda stage, fraction: None)
    names = sorted(path.name for path in first.iterdir())
    assert names == ["MODEL_CARD.md", "calibration.json", "classifier.json", "classifier.onnx", "golden.json"]
    assert [name for name in names if (first / name).read_bytes() != (tmp_path / name).read_bytes()] == []


def test_another_seed_gives_other_bytes(trained: Trained, routing_rows: Path, tmp_path: Path) -> None:
    config = a_config(routing_rows).model_copy(update={"seed": 4})
    assert train(config, tmp_path, lambda stage, fraction: None).model_sha256 != trained[0].model_sha256


def test_what_was_trained_loads_and_its_calibration_fits(
    trained: Trained,
) -> None:
    out_dir = trained[0].out_dir
    scorer = OnnxScorer(out_dir)
    assert scorer.model_sha256 == trained[0].model_sha256
    assert Calibration.load(out_dir / CALIBRATION_NAME, scorer.model_sha256) == trained[0].calibration
    assert 0.0 <= scorer.score([Turn("user", "Hi!")]).complexity <= 1.0


def test_progress_names_every_stage_and_never_falls_within_one(
    trained: Trained,
) -> None:
    stages = trained[1]
    assert list(dict.fromkeys(name for name, _ in stages)) == ["prompts", "features", "fit", "evaluate", "calibrate"]
    for name in ("prompts", "features", "fit", "evaluate", "calibrate"):
        fractions = [fraction for stage, fraction in stages if stage == name]
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1.0


def test_evaluating_the_artefact_again_gives_what_training_reported(trained: Trained, routing_rows: Path) -> None:
    again = evaluate(trained[0].out_dir, a_config(routing_rows), lambda stage, fraction: None)
    assert again == trained[0].evaluation
    assert [row.benchmark for row in again.routing] == ["invented"]


def test_training_needs_no_routing_rows_but_says_when_a_named_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"corpus\.routing_rows"):
        train(a_config(tmp_path / "none.parquet"), tmp_path / "out", lambda stage, fraction: None)
    assert not (tmp_path / "out" / ONNX_NAME).exists()


def test_the_committed_config_is_valid_and_trains_on_the_shared_labels() -> None:
    config = TrainingConfig.model_validate(yaml.safe_load(CONFIG_FILE.read_text()))
    assert config.features == OnnxScorer().manifest.features
    assert config.corpus.routing_rows is not None


def test_a_prompt_is_always_on_the_same_side_of_the_split() -> None:
    sides = [is_held_out(one_turn(f"prompt {n}"), 0.2) for n in range(2000)]
    assert 0.15 < np.mean(sides) < 0.25
    assert [is_held_out(one_turn(f" PROMPT {n} "), 0.2) for n in range(2000)] == sides


def test_the_product_mix_keeps_its_stated_shares() -> None:
    assert sum(share for *_, share in MIX_SHARES) == pytest.approx(1.0)
    assert {name: len(prompts) for name, prompts in product_mix(200, 1).items()} == {
        name: round(200 * share) for name, _, _, share in MIX_SHARES
    }


def test_a_score_that_knows_the_gain_recovers_more_than_a_blind_one() -> None:
    rng = np.random.default_rng(0)
    weak = rng.integers(0, 2, 500).astype(np.float64)
    strong = np.ones(500, dtype=np.float64)
    knowing = routing_quality(strong - weak + 0.01 * rng.random(500), weak, strong)
    blind = routing_quality(rng.random(500), weak, strong)
    assert (knowing.auc, knowing.num_rows) == (1.0, 500)
    assert knowing.apgr is not None
    assert blind.apgr is not None
    assert knowing.apgr > 0.7
    assert 0.4 < blind.apgr < 0.6
    assert knowing.cpt50 is not None
    assert knowing.cpt50 < 0.3


def test_quality_is_unknown_where_the_strong_model_gains_nothing() -> None:
    quality = routing_quality(np.arange(4, dtype=np.float64), np.ones(4), np.ones(4))
    assert (quality.auc, quality.apgr, quality.cpt50) == (None, None, None)
