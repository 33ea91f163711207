"""The decision about a prompt without running it, from a configuration alone: every upstream counts as available."""

from collections.abc import Sequence
from dataclasses import dataclass

from serve_app.assembly import parts, policies
from serve_app.contracts.assessment import Assessment, Turn
from serve_app.contracts.decision import Decision, Refusal
from serve_app.contracts.fleet import FleetSnapshot
from serve_app.contracts.request import RequestFacts
from serve_app.contracts.vocabulary import Alias, DataClass, Tier
from serve_app.dialects.chat import ChatDialect
from serve_app.privacy.residency import allowed_places
from serve_app.routing.decide import decide
from serve_app.routing.policy import RoutingPolicy
from serve_app.settings.load import LoadedSettings


@dataclass(frozen=True, slots=True)
class Explanation:
    facts: RequestFacts
    assessment: Assessment
    policy: RoutingPolicy
    outcome: Decision | Refusal


async def explain(
    loaded: LoadedSettings, prompt: str, *, tenant_id: str, data_class: DataClass, wanted: Alias | str = Alias.AUTO
) -> Explanation:
    """Reads the prompt as a chat request's. Raises KeyError for an unknown tenant, InvalidRequest for a bad prompt."""
    tenant = loaded.tree.tenants[tenant_id]
    call = ChatDialect().parse({"model": "auto", "messages": [{"role": "user", "content": prompt}]})
    assessment = await _assess(loaded, call.turns)
    candidates = policies.candidates(loaded)
    places = allowed_places(policies.residency_policy(loaded), tenant.places, data_class=data_class, wanted=wanted)
    facts = RequestFacts(
        request_id="explain",
        tenant_id=tenant_id,
        data_class=data_class,
        allowed_places=places,
        allowed_tiers=frozenset[Tier](tenant.tiers),
        wanted=wanted,
        wanted_tier=None,
        complexity=assessment.complexity,
        domain=assessment.domain,
        num_prompt_tokens=call.num_prompt_tokens,
        max_output_tokens=call.max_output_tokens,
        needs=call.needs,
        remaining_s=max((candidate.deadline_s for candidate in candidates), default=0.0),
    )
    policy = policies.routing_policy(loaded)
    return Explanation(facts, assessment, policy, decide(facts, FleetSnapshot(candidates, {}), policy))


async def _assess(loaded: LoadedSettings, turns: Sequence[Turn]) -> Assessment:
    classifier = parts.classifier(loaded)
    try:
        return await classifier.assess(turns)
    finally:
        await classifier.aclose()


def lines_of(explanation: Explanation) -> list[str]:
    """The explanation as a person reads it."""
    facts, policy, outcome = explanation.facts, explanation.policy, explanation.outcome
    lines = [
        f"complexity  {facts.complexity:.3f}  (local up to {policy.local_reach:.3f}, of that fast up to "
        f"{policy.fast_reach:.3f}; scored by {explanation.assessment.scored_by.value})",
        f"domain      {facts.domain.value}  (confidence {explanation.assessment.domain_confidence:.2f})",
        f"data class  {facts.data_class.value}  -> may go to {', '.join(sorted(facts.allowed_places)) or 'nowhere'}",
        "",
    ]
    if isinstance(outcome, Refusal):
        lines.append(f"REFUSED: no candidate is left ({outcome.reason.value})")
    else:
        lines.append(f"{'kept':<9} {'tier':<18} {'upstream':<20} {'score':>6}   quality  cost  latency  load")
        for position, scored in enumerate(outcome.ranked):
            parts = scored.parts
            role = "CHOSEN" if position == 0 else f"then {position}"
            lines.append(
                f"{role:<9} {scored.candidate.tier.name:<18} {scored.candidate.upstream.id:<20} {scored.total:6.3f}   "
                f"{parts['quality']:7.2f}  {parts['cost']:4.2f}  {parts['latency']:7.2f}  {parts['load']:4.2f}"
            )
    lines += [
        f"{'dropped':<9} {dropped.candidate.tier.name:<18} {dropped.candidate.upstream.id:<20} {dropped.reason.value}"
        for dropped in outcome.dropped
    ]
    if isinstance(outcome, Decision):
        lines += ["", f"reason: {outcome.reason.value}"]
    return lines
