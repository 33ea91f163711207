"""From a training config to an artefact directory: classifier.onnx and everything that goes with it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from serve_app.classification.artefact import (
    CALIBRATION_NAME,
    GOLDEN_NAME,
    MANIFEST_NAME,
    MODEL_CARD_NAME,
    ONNX_NAME,
    Manifest,
    sha256_of,
)
from serve_app.classification.calibration import Calibration, calibrate
from serve_app.classification.scorer import OnnxScorer
from serve_app.classification.structure import STRUCTURE_NAMES
from serve_app.classification.training.config import TrainingConfig
from serve_app.classification.training.corpus import made_examples, product_mix
from serve_app.classification.training.evaluation import Evaluation, Report, evaluate_on
from serve_app.classification.training.examples import Example, is_held_out, one_turn
from serve_app.classification.training.export import ONNX_OPSET, to_onnx
from serve_app.classification.training.golden import golden_json
from serve_app.classification.training.model_card import model_card
from serve_app.classification.training.network import DOMAINS, Dataset, Network, fit
from serve_app.classification.training.routing_rows import RoutingRow, as_examples, read_rows

_MIN_DEVIATION = 1e-3
_CALIBRATION_SEED_OFFSET = 1_000_003


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What training made. `num_by_source`: training examples, the held-out ones not among them."""

    out_dir: Path
    model_sha256: str
    num_by_source: dict[str, int]
    evaluation: Evaluation
    calibration: Calibration


def train(config: TrainingConfig, out_dir: Path, report: Report) -> TrainingReport:
    """Trains, exports, evaluates and calibrates into `out_dir`; the same config gives the same bytes.

    Uses one thread. Raises FileNotFoundError when the configured routing rows are not there.
    """
    rows = _rows_of(config)
    with _one_torch_thread():
        made = made_examples(config.corpus, config.seed, lambda fraction: report("prompts", fraction))
        examples, held_out = _split(made, rows, config)
        dataset = Dataset.of(examples, config.features, lambda fraction: report("features", fraction))
        network = _fitted(dataset, config, report)
        manifest = _write_model(network, config, examples, out_dir)
        scorer = OnnxScorer(out_dir)
        evaluation = evaluate_on(scorer, held_out, rows, config, report)
    calibration = write_calibration(out_dir, config, report)
    (out_dir / GOLDEN_NAME).write_bytes(golden_json(scorer))
    card = model_card(config, manifest, evaluation, calibration)
    (out_dir / MODEL_CARD_NAME).write_text(card, encoding="utf-8")
    return TrainingReport(out_dir, manifest.onnx_sha256, manifest.data, evaluation, calibration)


def write_calibration(artefact_dir: Path, config: TrainingConfig, report: Report) -> Calibration:
    """Calibrates the artefact on the product's mix and writes calibration.json. Raises ArtefactInvalid."""
    report("calibrate", 0.0)
    mix = product_mix(config.num_calibration_prompts, config.seed + _CALIBRATION_SEED_OFFSET)
    calibration = calibrate(OnnxScorer(artefact_dir), mix)
    (artefact_dir / CALIBRATION_NAME).write_text(calibration.model_dump_json(indent=1) + "\n", encoding="utf-8")
    report("calibrate", 1.0)
    return calibration


def _rows_of(config: TrainingConfig) -> list[RoutingRow]:
    path = config.corpus.routing_rows
    return [] if path is None else read_rows(path)


def _split(
    made: Sequence[Example], rows: Sequence[RoutingRow], config: TrainingConfig
) -> tuple[list[Example], list[Example]]:
    """(training examples, held-out made examples); held-out routing rows are split again where they are scored."""
    share = config.corpus.held_out_share
    train_rows = [row for row in rows if not is_held_out(one_turn(row.prompt), share)]
    kept = [example for example in made if not is_held_out(example.turns, share)]
    held_out = [example for example in made if is_held_out(example.turns, share)]
    return [*kept, *as_examples(train_rows, config.corpus.own_gain_share, config.corpus.routing_weight)], held_out


def _fitted(dataset: Dataset, config: TrainingConfig, report: Report) -> Network:
    structure = np.stack([features.structure for features in dataset.features])
    scale = 1.0 / np.maximum(structure.std(axis=0), _MIN_DEVIATION)
    torch.manual_seed(config.seed)
    network = Network(
        config.network,
        config.features.num_buckets,
        torch.from_numpy(structure.mean(axis=0)),
        torch.from_numpy(scale.astype(np.float32)),
    )
    fit(dataset, network, config.optimiser, config.seed, lambda fraction: report("fit", fraction))
    return network


def _write_model(network: Network, config: TrainingConfig, examples: Sequence[Example], out_dir: Path) -> Manifest:
    out_dir.mkdir(parents=True, exist_ok=True)
    onnx_bytes = to_onnx(network)
    manifest = Manifest(
        model_version=config.model_version,
        onnx_sha256=sha256_of(onnx_bytes),
        onnx_opset=ONNX_OPSET,
        features=config.features,
        structure_names=STRUCTURE_NAMES,
        domains=DOMAINS,
        training_config_sha256=sha256_of(config.model_dump_json().encode()),
        data=dict(sorted(Counter(example.source for example in examples).items())),
    )
    (out_dir / ONNX_NAME).write_bytes(onnx_bytes)
    (out_dir / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return manifest


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """More threads add up floats in another order, and the bytes would differ."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
