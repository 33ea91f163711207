"""Scorers: how good is a candidate for this request? Each value is in [0, 1], higher is better."""

from collections.abc import Sequence

from serve_app.contracts.fleet import Candidate, FleetSnapshot
from serve_app.contracts.request import RequestFacts
from serve_app.contracts.vocabulary import Tier
from serve_app.routing.policy import RoutingPolicy

BEYOND_REACH = {Tier.LOCAL_FAST: 0.1, Tier.LOCAL_STANDARD: 0.4}
"""The quality of a local tier just past its reach. The step down from 1.0 is what makes the target share hold."""

LOST_AT_ONE = 0.25
"""The part of BEYOND_REACH that is lost on the way to complexity 1."""

CLOUD_QUALITY = {Tier.CLOUD_SPECIALIZED: 1.0, Tier.CLOUD_ENHANCED: 0.95, Tier.CLOUD_FALLBACK: 0.9}
"""A specialist comes before the general model in its own domains, and the fallback comes last."""


def quality(facts: RequestFacts, candidate: Candidate, policy: RoutingPolicy) -> float:
    """1 within a local tier's reach; past it BEYOND_REACH and slowly falling."""
    tier = candidate.tier
    if not tier.is_local:
        return CLOUD_QUALITY[tier]
    reach = policy.fast_reach if tier is Tier.LOCAL_FAST else policy.local_reach
    if facts.complexity <= reach:
        return 1.0
    return BEYOND_REACH[tier] * (1.0 - LOST_AT_ONE * (facts.complexity - reach) / (1.0 - reach))


def expected_output_tokens(facts: RequestFacts, policy: RoutingPolicy) -> int:
    """The same for every candidate: a tier that cuts answers short is not quicker for it."""
    return min(facts.max_output_tokens or policy.typical_output_tokens, policy.typical_output_tokens)


def costs(facts: RequestFacts, candidates: Sequence[Candidate], policy: RoutingPolicy) -> list[float]:
    """1 for a free candidate, 0 for the dearest one at hand."""
    num_output_tokens = expected_output_tokens(facts, policy)
    usd = [c.upstream.price.cost_usd(facts.num_prompt_tokens, num_output_tokens) for c in candidates]
    dearest = max(usd, default=0.0)
    return [1.0 - cost / dearest if dearest > 0 else 1.0 for cost in usd]


def latencies(
    facts: RequestFacts, candidates: Sequence[Candidate], snapshot: FleetSnapshot, policy: RoutingPolicy
) -> list[float]:
    """1 for the quickest candidate at hand; half of that for one that takes twice as long."""
    num_output_tokens = expected_output_tokens(facts, policy)
    expected_s = []
    for candidate in candidates:
        spec = candidate.upstream
        observed_s = snapshot.state_of(spec.id).ttft_s
        ttft_s = spec.expected_ttft_s if observed_s is None else observed_s
        expected_s.append(ttft_s + num_output_tokens / spec.expected_tokens_per_s)
    quickest = min(expected_s, default=0.0)
    return [quickest / seconds if seconds > 0 else 1.0 for seconds in expected_s]


def load(candidate: Candidate, snapshot: FleetSnapshot) -> float:
    """1 when idle, 0 when this router holds as many attempts open on it as it may."""
    return max(0.0, 1.0 - snapshot.state_of(candidate.upstream.id).num_in_flight / candidate.upstream.max_in_flight)
