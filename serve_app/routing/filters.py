"""Filters: may this candidate serve this request at all? Each answers with a reason to drop it, or None.

They run in the order of `FILTERS`, from what can never change for a request to what changes from second to second.
"""

from collections.abc import Callable

from serve_app.contracts.fleet import Candidate, UpstreamState
from serve_app.contracts.request import RequestFacts
from serve_app.contracts.vocabulary import LOCAL, Alias, Circuit, DropReason, Tier

Filter = Callable[[RequestFacts, Candidate, UpstreamState], DropReason | None]


def asked_for(facts: RequestFacts, candidate: Candidate, state: UpstreamState) -> DropReason | None:
    is_local = candidate.upstream.place == LOCAL
    match facts.wanted:
        case Alias.AUTO:
            return None
        case Alias.LOCAL:
            return None if is_local else DropReason.NOT_ASKED_FOR
        case Alias.CLOUD:
            return DropReason.NOT_ASKED_FOR if is_local else None
        case model:
            is_named = model in (candidate.upstream.model, candidate.upstream.id)
            return None if is_named else DropReason.NOT_ASKED_FOR


def specialist(facts: RequestFacts, candidate: Candidate, state: UpstreamState) -> DropReason | None:
    """A specialist serves its own domains only, unless it was asked for by name."""
    if candidate.tier is not Tier.CLOUD_SPECIALIZED or facts.wanted_tier is Tier.CLOUD_SPECIALIZED:
        return None
    if not isinstance(facts.wanted, Alias) or facts.domain in candidate.upstream.domains:
        return None
    return DropReason.NO_SPECIALIST


def tenant_tier(facts: RequestFacts, candidate: Candidate, state: UpstreamState) -> DropReason | None:
    return None if candidate.tier in facts.allowed_tiers else DropReason.TENANT_TIER


def residency(facts: RequestFacts, candidate: Candidate, state: UpstreamState) -> DropReason | None:
    return None if candidate.upstream.place in facts.allowed_places else DropReason.RESIDENCY


def capability(facts: RequestFacts, candidate: Candidate, state: UpstreamState) -> DropReason | None:
    return None if facts.needs <= candidate.upstream.capabilities else DropReason.CAPABILITY


def context_length(facts: RequestFacts, candidate: Candidate, state: UpstreamState) -> DropReason | None:
    """At least one token of answer must fit behind the prompt."""
    return None if facts.num_prompt_tokens < candidate.upstream.context_window else DropReason.CONTEXT_LENGTH


def availability(facts: RequestFacts, candidate: Candidate, state: UpstreamState) -> DropReason | None:
    """Who may be answered by local models alone waits a bounded time for one that is starting."""
    may_go_elsewhere = facts.wanted is Alias.AUTO and not facts.allowed_places <= {LOCAL}
    may_wait = candidate.upstream.place == LOCAL and not may_go_elsewhere
    return None if state.is_available or may_wait else DropReason.UNAVAILABLE


def circuit(facts: RequestFacts, candidate: Candidate, state: UpstreamState) -> DropReason | None:
    """A half-open breaker lets one call through: whose, is settled when it is made."""
    return DropReason.CIRCUIT_OPEN if state.circuit is Circuit.OPEN else None


def budget(facts: RequestFacts, candidate: Candidate, state: UpstreamState) -> DropReason | None:
    """Money is spent outside the cluster alone."""
    is_local = candidate.upstream.place == LOCAL
    return DropReason.BUDGET if facts.is_over_budget and not is_local else None


def deadline(facts: RequestFacts, candidate: Candidate, state: UpstreamState) -> DropReason | None:
    """What is left must cover the candidate's usual time to its first token."""
    ttft_s = candidate.upstream.expected_ttft_s if state.ttft_s is None else state.ttft_s
    return None if ttft_s < facts.remaining_s else DropReason.DEADLINE


FILTERS: tuple[Filter, ...] = (
    asked_for,
    specialist,
    tenant_tier,
    residency,
    capability,
    context_length,
    budget,
    availability,
    circuit,
    deadline,
)


def first_reason(facts: RequestFacts, candidate: Candidate, state: UpstreamState) -> tuple[int, DropReason] | None:
    """The position and reason of the first filter that drops the candidate; None when it may serve."""
    for position, may_serve in enumerate(FILTERS):
        reason = may_serve(facts, candidate, state)
        if reason is not None:
            return position, reason
    return None
