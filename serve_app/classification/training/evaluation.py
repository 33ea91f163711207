"""How good an artefact is on prompts that it was not trained on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from serve_app.classification.scorer import OnnxScorer
from serve_app.classification.training.baselines import length_scores, tfidf_scores
from serve_app.classification.training.config import TrainingConfig
from serve_app.classification.training.corpus import made_examples
from serve_app.classification.training.examples import Example, is_held_out, one_turn
from serve_app.classification.training.metrics import RoutingQuality, routing_quality
from serve_app.classification.training.routing_rows import RoutingRow, read_rows

Report = Callable[[str, float], None]
"""Told the stage's name and the fraction of it that is done."""


@dataclass(frozen=True, slots=True)
class RoutingEvaluation:
    """One benchmark under one pair of models: the classifier beside its baselines, on held-out prompts."""

    benchmark: str
    pair: str
    classifier: RoutingQuality
    length: RoutingQuality
    tfidf: RoutingQuality


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`target_error`: mean absolute error on held-out made prompts. `domain_accuracy`: on the same prompts."""

    model_sha256: str
    num_made_prompts: int
    target_error: float
    domain_accuracy: float
    routing: tuple[RoutingEvaluation, ...]


def evaluate(artefact_dir: Path, config: TrainingConfig, report: Report) -> Evaluation:
    """Scores the held-out side of the split with the artefact as it is on disk.

    Raises ArtefactInvalid, or FileNotFoundError when the configured routing rows are not there.
    """
    share = config.corpus.held_out_share
    made = made_examples(config.corpus, config.seed, lambda fraction: report("prompts", fraction))
    held_out = [example for example in made if is_held_out(example.turns, share)]
    rows = read_rows(config.corpus.routing_rows) if config.corpus.routing_rows else []
    return evaluate_on(OnnxScorer(artefact_dir), held_out, rows, config, report)


def evaluate_on(
    scorer: OnnxScorer,
    held_out: Sequence[Example],
    rows: Sequence[RoutingRow],
    config: TrainingConfig,
    report: Report,
) -> Evaluation:
    """`held_out`: made examples of the held-out side; `rows`: all routing rows, which are split here."""
    errors: list[float] = []
    hits: list[bool] = []
    for number, example in enumerate(held_out):
        score = scorer.score(example.turns)
        errors.append(abs(score.complexity - example.target))
        hits.append(score.domain is example.domain)
        report("evaluate", 0.5 * (number + 1) / len(held_out))
    routing = _evaluate_routing(scorer, rows, config, report)
    report("evaluate", 1.0)
    return Evaluation(scorer.model_sha256, len(held_out), _mean(errors), _mean(hits), routing)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))


def _evaluate_routing(
    scorer: OnnxScorer, rows: Sequence[RoutingRow], config: TrainingConfig, report: Report
) -> tuple[RoutingEvaluation, ...]:
    share = config.corpus.held_out_share
    sides = [is_held_out(one_turn(row.prompt), share) for row in rows]
    test = [row for row, is_test in zip(rows, sides, strict=True) if is_test]
    if not test:
        return ()
    train = [row for row, is_test in zip(rows, sides, strict=True) if not is_test]
    scores = np.array([scorer.score(one_turn(row.prompt)).complexity for row in test])
    report("evaluate", 0.7)
    scores_by_name = scores, length_scores(test), tfidf_scores(train, test)
    report("evaluate", 0.9)
    kinds = sorted({(row.benchmark, row.pair) for row in test})
    return tuple(_evaluate_kind(benchmark, pair, test, scores_by_name) for benchmark, pair in kinds)


def _evaluate_kind(
    benchmark: str, pair: str, rows: Sequence[RoutingRow], scores: Sequence[npt.NDArray[np.float64]]
) -> RoutingEvaluation:
    chosen = [i for i, row in enumerate(rows) if (row.benchmark, row.pair) == (benchmark, pair)]
    weak = np.array([rows[i].weak_score for i in chosen])
    strong = np.array([rows[i].strong_score for i in chosen])
    classifier, length, tfidf = (routing_quality(values[chosen], weak, strong) for values in scores)
    return RoutingEvaluation(benchmark, pair, classifier, length, tfidf)
