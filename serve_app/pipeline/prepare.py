"""Everything before the first upstream is called: residency, classification, decision. One object comes out."""

import time
from dataclasses import dataclass

from serve_app.accounting.budget import BudgetKeeper
from serve_app.contracts.assessment import Assessment, Classifier
from serve_app.contracts.chat import ChatCall
from serve_app.contracts.deadline import Deadline
from serve_app.contracts.decision import Decision, Refusal
from serve_app.contracts.request import Envelope, RequestFacts
from serve_app.contracts.tenant import Tenant
from serve_app.contracts.vocabulary import Alias, Capability, Domain, DropReason, ScoredBy
from serve_app.errors import GatewayError, PolicyRefusal, UnknownModel
from serve_app.pipeline.refusals import error_of_refusal
from serve_app.pipeline.trail import Trail
from serve_app.privacy.residency import ResidencyPolicy, allowed_places
from serve_app.routing.decide import decide
from serve_app.routing.policy import RoutingPolicy
from serve_app.upstreams.fleet import Fleet

ALIASES = {alias.value: alias for alias in Alias}
UNSCORED = Assessment(0.0, Domain.KNOWLEDGE, 0.0, ScoredBy.HEURISTIC, 0.0)
"""For requests without a prompt to score, such as embeddings."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that was decided. Its deadline is the only one it will have."""

    call: ChatCall
    tenant: Tenant
    facts: RequestFacts
    decision: Decision
    deadline: Deadline
    traceparent: str | None


class Preparation:
    """Turns a call into a decision; raises the typed error of a refusal."""

    def __init__(
        self,
        fleet: Fleet,
        classifier: Classifier,
        routing: RoutingPolicy,
        residency: ResidencyPolicy,
        budgets: BudgetKeeper,
        *,
        retry_after_s: float,
    ) -> None:
        self._fleet, self._classifier, self._budgets = fleet, classifier, budgets
        self._routing, self._residency = routing, residency
        self._retry_after_s = retry_after_s
        self._max_deadline_s = max(c.deadline_s for c in fleet.candidates)
        self._models = {name for c in fleet.candidates for name in (c.upstream.model, c.upstream.id)}

    async def prepare(self, envelope: Envelope, call: ChatCall, trail: Trail) -> Prepared:
        wanted = self._wanted(call.wanted_model)
        if envelope.wanted_tier is not None and envelope.wanted_tier not in envelope.tenant.allowed_tiers:
            raise PolicyRefusal("tier_forbidden", "This tenant may not use the tier that was asked for.")
        assessment = await self._assess(call, trail)
        started = time.monotonic()
        facts = self._facts(envelope, call, wanted=wanted, assessment=assessment)
        outcome = decide(facts, self._fleet.snapshot(), self._routing)
        trail.decide_s = time.monotonic() - started
        if isinstance(outcome, Refusal):
            raise self._refused(outcome, envelope.tenant, wanted)
        self._check_wish(facts, outcome)
        trail.decision = outcome
        deadline_s = outcome.chosen.deadline_s if _asked_s(envelope) is None else self._longest_s(envelope)
        deadline = Deadline(envelope.arrived_at + deadline_s)
        return Prepared(call, envelope.tenant, facts, outcome, deadline, envelope.traceparent)

    def _refused(self, refusal: Refusal, tenant: Tenant, wanted: Alias | str) -> GatewayError:
        if refusal.reason is DropReason.BUDGET:
            return self._budgets.refusal(tenant)
        ids = [dropped.candidate.upstream.id for dropped in refusal.dropped if dropped.reason is refusal.reason]
        is_open = refusal.reason is DropReason.CIRCUIT_OPEN
        return error_of_refusal(refusal, wanted, self._fleet.opens_in_s(ids) if is_open else self._retry_after_s)

    def _wanted(self, model: str) -> Alias | str:
        if model in ALIASES:
            return ALIASES[model]
        if model not in self._models:
            raise UnknownModel
        return model

    async def _assess(self, call: ChatCall, trail: Trail) -> Assessment:
        if Capability.EMBEDDINGS in call.needs:
            trail.assessment = UNSCORED
            return UNSCORED
        started = time.monotonic()
        assessment = await self._classifier.assess(call.turns)
        trail.assessment, trail.classify_s = assessment, time.monotonic() - started
        return assessment

    def _facts(
        self, envelope: Envelope, call: ChatCall, *, wanted: Alias | str, assessment: Assessment
    ) -> RequestFacts:
        tenant = envelope.tenant
        data_class = envelope.data_class or tenant.default_data_class
        return RequestFacts(
            request_id=envelope.request_id,
            tenant_id=tenant.id,
            data_class=data_class,
            allowed_places=allowed_places(self._residency, tenant.allowed_places, data_class=data_class, wanted=wanted),
            allowed_tiers=tenant.allowed_tiers,
            wanted=wanted,
            wanted_tier=envelope.wanted_tier,
            complexity=assessment.complexity,
            domain=assessment.domain,
            num_prompt_tokens=call.num_prompt_tokens,
            max_output_tokens=call.max_output_tokens,
            needs=call.needs,
            remaining_s=Deadline(envelope.arrived_at + self._longest_s(envelope)).remaining_s(),
            is_over_budget=self._budgets.is_over(tenant),
        )

    def _longest_s(self, envelope: Envelope) -> float:
        """What was asked for, and no more than the most patient tier allows."""
        return min(_asked_s(envelope) or self._max_deadline_s, self._max_deadline_s)

    def _check_wish(self, facts: RequestFacts, decision: Decision) -> None:
        """A wished tier that residency forbids is refused, not quietly exchanged for another."""
        if facts.wanted_tier is None or decision.chosen.tier is facts.wanted_tier:
            return
        places = {c.upstream.place for c in self._fleet.candidates if c.tier is facts.wanted_tier}
        if places and not places & facts.allowed_places:
            raise PolicyRefusal("residency_forbidden", "The data class forbids the tier that was asked for.")


def _asked_s(envelope: Envelope) -> float | None:
    """The request's own word holds, then its tenant's; None leaves it to the tier."""
    return envelope.tenant.deadline_s if envelope.deadline_s is None else envelope.deadline_s
