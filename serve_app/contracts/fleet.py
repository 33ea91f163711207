"""The upstreams there are, and what is known of each right now."""

from collections.abc import Mapping
from dataclasses import dataclass

from serve_app.contracts.vocabulary import Capability, Domain, Place, Tier


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens."""

    input_usd_per_mtok: float
    output_usd_per_mtok: float

    def cost_usd(self, num_input_tokens: int, num_output_tokens: int) -> float:
        return (num_input_tokens * self.input_usd_per_mtok + num_output_tokens * self.output_usd_per_mtok) / 1e6


@dataclass(frozen=True, slots=True)
class UpstreamSpec:
    """One upstream as configured. `model` is the id the upstream itself goes by; `domains` are its specialities.

    `max_in_flight` bounds the attempts that one router holds open on it; `length_field` is what it calls the limit of
    an answer's tokens.
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


@dataclass(frozen=True, slots=True)
class Candidate:
    """An upstream considered in the role of one tier."""

    tier: Tier
    upstream: UpstreamSpec
    deadline_s: float
    max_output_tokens: int


@dataclass(frozen=True, slots=True)
class UpstreamState:
    """What was observed lately. Unknown is None; `num_in_flight` counts this router's own attempts."""

    is_available: bool = True
    ttft_s: float | None = None
    num_in_flight: int = 0


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """All candidates in configured order, and the state of every upstream by its id."""

    candidates: tuple[Candidate, ...]
    states: Mapping[str, UpstreamState]

    def state_of(self, upstream_id: str) -> UpstreamState:
        return self.states.get(upstream_id, UpstreamState())
