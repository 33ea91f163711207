"""What the operator decided about routing, as a value."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each scorer counts; they need not sum to one."""

    quality: float
    cost: float
    latency: float
    load: float


@dataclass(frozen=True, slots=True)
class RoutingPolicy:
    """`fast_reach` and `local_reach` are complexities in [0, 1] up to which the local tiers are good enough.

    Both come from a calibration and a target share, never from a number typed by hand.
    `typical_output_tokens` stands in for an answer's length where the caller set no limit.
    """

    fast_reach: float
    local_reach: float
    weights: Weights
    typical_output_tokens: int
