"""A decision as JSON: what /v1/route returns and `upcoach explain` prints."""

from typing import Any

from serve_app.contracts.assessment import Assessment
from serve_app.contracts.decision import Decision, Dropped, Refusal, Scored
from serve_app.contracts.fleet import Candidate
from serve_app.contracts.request import RequestFacts


def view_of(facts: RequestFacts, decision: Decision, assessment: Assessment | None) -> dict[str, Any]:
    """None of it is text of the prompt."""
    return {
        "object": "route.decision",
        **_facts(facts, assessment),
        "reason": decision.reason.value,
        "chosen": _candidate(decision.chosen),
        "fallbacks": [_candidate(candidate) for candidate in decision.fallbacks],
        "scores": [_scored(scored) for scored in decision.ranked],
        "dropped": [_dropped(dropped) for dropped in decision.dropped],
    }


def refusal_view(facts: RequestFacts, refusal: Refusal, assessment: Assessment | None) -> dict[str, Any]:
    """The same for a request that nobody may serve."""
    return {
        "object": "route.refusal",
        **_facts(facts, assessment),
        "reason": refusal.reason.value,
        "dropped": [_dropped(dropped) for dropped in refusal.dropped],
    }


def _facts(facts: RequestFacts, assessment: Assessment | None) -> dict[str, Any]:
    return {
        "complexity": round(facts.complexity, 4),
        "domain": facts.domain.value,
        "scored_by": None if assessment is None else assessment.scored_by.value,
        "data_class": facts.data_class.value,
        "allowed_places": sorted(facts.allowed_places),
        "num_prompt_tokens": facts.num_prompt_tokens,
    }


def _candidate(candidate: Candidate) -> dict[str, str]:
    upstream = candidate.upstream
    return {"tier": candidate.tier.name, "upstream": upstream.id, "model": upstream.model, "place": upstream.place}


def _scored(scored: Scored) -> dict[str, Any]:
    parts = {name: round(value, 4) for name, value in scored.parts.items()}
    return {**_candidate(scored.candidate), "total": round(scored.total, 4), "parts": parts}


def _dropped(dropped: Dropped) -> dict[str, str]:
    return {**_candidate(dropped.candidate), "reason": dropped.reason.value}
