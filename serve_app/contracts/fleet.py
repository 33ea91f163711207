"""The upstreams there are, and what is known of each right now."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from serve_app.contracts.vocabulary import Capability, Circuit, Domain, Place, Tier


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens."""

    input_usd_per_mtok: float
    output_usd_per_mtok: float

    def cost_usd(self, num_input_tokens: int, num_output_tokens: int) -> float:
        return (num_input_tokens * self.input_usd_per_mtok + num_output_tokens * self.output_usd_per_mtok) / 1e6


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """For one attempt, beside the request's deadline: to the first content, between two batches, and least throughput.

    `min_tokens_per_s` holds over any `throughput_window_s` after the first content.
    """

    first_token_s: float = 30.0
    gap_s: float = 15.0
    min_tokens_per_s: float = 1.0
    throughput_window_s: float = 10.0

    def whole_answer_s(self, max_tokens: int) -> float:
        """A plain answer shows no tokens on its way: it may take as long as the slowest stream of it may."""
        if self.min_tokens_per_s <= 0:
            return math.inf
        return self.first_token_s + max_tokens / self.min_tokens_per_s


@dataclass(frozen=True, slots=True)
class UpstreamSpec:
    """One upstream as configured. `model` is the id the upstream itself goes by; `domains` are its specialities.

    `max_in_flight` bounds the attempts that one router holds open on it; `length_field` is what it calls the limit of
    an answer's tokens. `scales_to_zero`: it may have no replica at all while nobody asks for it.
    """

    id: str
    model: str
    place: Place
    context_window: int
    capabilities: frozenset[Capability]
    price: Price
    expected_ttft_s: float
    expected_tokens_per_s: float
    max_in_flight: int
    domains: frozenset[Domain] = frozenset()
    length_field: str = "max_completion_tokens"
    time_limits: TimeLimits = TimeLimits()
    expected_cold_start_s: float = 90.0
    scales_to_zero: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """An upstream considered in the role of one tier."""

    tier: Tier
    upstream: UpstreamSpec
    deadline_s: float
    max_output_tokens: int


@dataclass(frozen=True, slots=True)
class UpstreamState:
    """What was observed lately. `ttft_s` is the median; unknown is None. `num_in_flight` counts this router's own.

    `answer_s` is the median time of a whole plain answer.
    """

    is_available: bool = True
    ttft_s: float | None = None
    num_in_flight: int = 0
    circuit: Circuit = Circuit.CLOSED
    answer_s: float | None = None


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """All candidates in configured order, and the state of every upstream by its id."""

    candidates: tuple[Candidate, ...]
    states: Mapping[str, UpstreamState]

    def state_of(self, upstream_id: str) -> UpstreamState:
        return self.states.get(upstream_id, UpstreamState())
