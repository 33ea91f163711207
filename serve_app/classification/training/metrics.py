"""How well a score sends the right prompts to the strong model."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_NUM_EDGES: Final = 11


@dataclass(frozen=True, slots=True)
class RoutingQuality:
    """`apgr`: RouteLLM's average performance gap recovered; .5 is a random mix. `auc`: of "strong beat weak", None
    where one side is empty. `cpt50`: share of strong calls that wins back half of the gap, None when none does."""

    num_rows: int
    auc: float | None
    apgr: float | None
    cpt50: float | None


def routing_quality(scores: Floats, weak: Floats, strong: Floats) -> RoutingQuality:
    """All float64 [n]: the score, and what either model got on each prompt."""
    shares, accuracies = _curve(scores, weak, strong)
    low, high = float(weak.mean()), float(strong.mean())
    if high <= low:
        return RoutingQuality(len(scores), _auc(scores, strong > weak), None, None)
    area = float(np.trapezoid(accuracies, shares))
    recovered = (accuracies - low) / (high - low)
    # The curve need not rise everywhere: the first crossing counts.
    enough = np.flatnonzero(recovered >= 0.5)
    cpt50 = _crossing(shares, recovered, int(enough[0])) if len(enough) else None
    return RoutingQuality(len(scores), _auc(scores, strong > weak), (area - low) / (high - low), cpt50)


def _curve(scores: Floats, weak: Floats, strong: Floats) -> tuple[Floats, Floats]:
    """Accuracy against the share of strong calls, at the 11 edges of the score's deciles, shares rising."""
    edges = np.quantile(scores, np.linspace(1.0, 0.0, _NUM_EDGES))
    edges[0] = np.inf  # the highest edge sends nothing to the strong model
    is_strong = scores[None, :] >= edges[:, None]
    return is_strong.mean(axis=1), np.where(is_strong, strong, weak).mean(axis=1)


def _crossing(shares: Floats, recovered: Floats, at: int) -> float:
    if at == 0:
        return 0.0
    return float(np.interp(0.5, recovered[at - 1 : at + 1], shares[at - 1 : at + 1]))


def _auc(scores: Floats, labels: npt.NDArray[np.bool_]) -> float | None:
    num_positive = int(labels.sum())
    num_negative = len(labels) - num_positive
    if num_positive == 0 or num_negative == 0:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
    return float((ranks[labels].sum() - num_positive * (num_positive + 1) / 2.0) / (num_positive * num_negative))
