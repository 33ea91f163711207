"""The decision: a pure function of the request's facts, the fleet's state and the policy."""

from collections.abc import Sequence
from dataclasses import replace

from serve_app.contracts.decision import Decision, Dropped, Refusal, Scored
from serve_app.contracts.fleet import Candidate, FleetSnapshot
from serve_app.contracts.request import RequestFacts
from serve_app.contracts.vocabulary import LOCAL, Alias, DropReason, Reason, Tier
from serve_app.routing import scorers
from serve_app.routing.filters import first_reason
from serve_app.routing.policy import RoutingPolicy


def decide(facts: RequestFacts, snapshot: FleetSnapshot, policy: RoutingPolicy) -> Decision | Refusal:
    """Filters, scores and ranks every candidate.

    A Decision holds only places inside `facts.allowed_places`, and each upstream at most once.
    A Refusal names the filter that the most nearly fitting candidate failed.
    """
    fitting: list[Candidate] = []
    dropped: list[Dropped] = []
    furthest = (-1, DropReason.NOT_ASKED_FOR)
    for candidate in snapshot.candidates:
        failure = first_reason(facts, candidate, snapshot.state_of(candidate.upstream.id))
        if failure is None:
            fitting.append(candidate)
            continue
        furthest = max(furthest, failure, key=lambda position_and_reason: position_and_reason[0])
        dropped.append(Dropped(candidate, failure[1]))
    if not fitting:
        return Refusal(furthest[1], tuple(dropped), is_local_only=facts.allowed_places <= {LOCAL})
    ranked, repeated = _once_each(_rank(facts, fitting, snapshot, policy))
    reason = _reason(facts, ranked[0].candidate, policy)
    if reason is Reason.BEST_AVAILABLE and any(d.reason is DropReason.BUDGET for d in dropped):
        reason = Reason.OVER_BUDGET
    return Decision(tuple(ranked), (*dropped, *repeated), reason, facts.allowed_places)


def _rank(
    facts: RequestFacts, fitting: Sequence[Candidate], snapshot: FleetSnapshot, policy: RoutingPolicy
) -> list[Scored]:
    """Best first: a granted wish before everything, and no error recovery before another cloud candidate."""
    cost = scorers.costs(facts, fitting, policy)
    latency = scorers.latencies(facts, fitting, snapshot, policy)
    scored = [
        _weigh(
            candidate,
            {
                "quality": scorers.quality(facts, candidate, policy),
                "cost": cost[position],
                "latency": latency[position],
                "load": scorers.load(candidate, snapshot),
            },
            policy,
        )
        for position, candidate in enumerate(fitting)
    ]
    return sorted(
        _in_tier_order(_behind_other_clouds(scored)),
        key=lambda s: (s.candidate.tier is not facts.wanted_tier, -s.total, s.candidate.tier),
    )


def _behind_other_clouds(scored: Sequence[Scored]) -> list[Scored]:
    """Error recovery counts for no more than the least of the other cloud candidates, however cheap it is."""
    others = [s.total for s in scored if not s.candidate.tier.is_local and s.candidate.tier is not Tier.CLOUD_FALLBACK]
    ceiling = min(others, default=1.0)
    return [replace(s, total=min(s.total, ceiling)) if s.candidate.tier is Tier.CLOUD_FALLBACK else s for s in scored]


def _in_tier_order(scored: Sequence[Scored]) -> list[Scored]:
    """A tier's list is an order of preference: a later upstream counts for no more than an earlier one with room."""
    ceilings: dict[Tier, float] = {}
    ordered = []
    for one in scored:
        total = min(one.total, ceilings.get(one.candidate.tier, 1.0))
        if one.parts["load"] > 0:
            ceilings[one.candidate.tier] = total
        ordered.append(replace(one, total=total))
    return ordered


def _weigh(candidate: Candidate, parts: dict[str, float], policy: RoutingPolicy) -> Scored:
    weights = policy.weights
    total = (
        weights.quality * parts["quality"]
        + weights.cost * parts["cost"]
        + weights.latency * parts["latency"]
        + weights.load * parts["load"]
    )
    return Scored(candidate, total / (weights.quality + weights.cost + weights.latency + weights.load), parts)


def _once_each(ranked: Sequence[Scored]) -> tuple[list[Scored], list[Dropped]]:
    """Each upstream in its best role only: one that just failed is no fallback for itself."""
    kept: list[Scored] = []
    repeated: list[Dropped] = []
    seen: set[str] = set()
    for scored in ranked:
        if scored.candidate.upstream.id in seen:
            repeated.append(Dropped(scored.candidate, DropReason.SAME_UPSTREAM))
            continue
        seen.add(scored.candidate.upstream.id)
        kept.append(scored)
    return kept, repeated


def _reason(facts: RequestFacts, chosen: Candidate, policy: RoutingPolicy) -> Reason:
    if not isinstance(facts.wanted, Alias):
        return Reason.PINNED_MODEL
    if facts.wanted_tier is chosen.tier:
        return Reason.PINNED_TIER
    if facts.wanted is Alias.CLOUD:
        return Reason.PINNED_CLOUD
    if chosen.tier.is_local and facts.complexity > policy.local_reach:
        return Reason.LOCAL_ONLY if facts.allowed_places <= {LOCAL} else Reason.BEST_AVAILABLE
    match chosen.tier:
        case Tier.LOCAL_FAST if facts.complexity <= policy.fast_reach:
            return Reason.SIMPLE
        case Tier.LOCAL_STANDARD:
            return Reason.STANDARD
        case Tier.CLOUD_SPECIALIZED:
            return Reason.SPECIALIST
        case Tier.CLOUD_ENHANCED if facts.complexity > policy.local_reach:
            return Reason.COMPLEX
    return Reason.BEST_AVAILABLE
