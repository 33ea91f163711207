"""Decisions by example: each reason, each refusal, the order of the fallbacks."""

from dataclasses import replace

import pytest

from serve_app.contracts.decision import Decision, Dropped, Refusal
from serve_app.contracts.fleet import Candidate, FleetSnapshot, UpstreamState
from serve_app.contracts.request import RequestFacts
from serve_app.contracts.vocabulary import (
    LOCAL,
    Alias,
    Capability,
    Circuit,
    DataClass,
    Domain,
    DropReason,
    Reason,
    Tier,
)
from serve_app.routing.decide import decide
from tests.fakes.builders import (
    CLOUD,
    a_candidate,
    a_policy,
    a_price,
    a_request,
    a_snapshot,
    an_upstream,
    some_weights,
)

DOWN = UpstreamState(is_available=False)
OPEN = UpstreamState(circuit=Circuit.OPEN)
FAST, STANDARD = a_candidate(tier=Tier.LOCAL_FAST), a_candidate(tier=Tier.LOCAL_STANDARD)
ENHANCED, FALLBACK = a_candidate(tier=Tier.CLOUD_ENHANCED), a_candidate(tier=Tier.CLOUD_FALLBACK)
CODER = a_candidate(tier=Tier.CLOUD_SPECIALIZED, upstream=an_upstream(id="coder", place=CLOUD, domains=[Domain.CODING]))
FLEET = a_snapshot(FAST, STANDARD, ENHANCED, CODER, FALLBACK)
SIMPLE, STANDARD_HARD, HARD = 0.1, 0.3, 0.8


def without(*candidates: Candidate) -> FleetSnapshot:
    return a_snapshot(*FLEET.candidates, states={candidate.upstream.id: DOWN for candidate in candidates})


def decided(request: RequestFacts, snapshot: FleetSnapshot = FLEET) -> Decision:
    outcome = decide(request, snapshot, a_policy())
    assert isinstance(outcome, Decision)
    return outcome


def refused(request: RequestFacts, snapshot: FleetSnapshot = FLEET) -> Refusal:
    outcome = decide(request, snapshot, a_policy())
    assert isinstance(outcome, Refusal)
    return outcome


@pytest.mark.parametrize(
    ("request_", "snapshot", "chosen", "reason"),
    [
        (a_request(complexity=SIMPLE), FLEET, FAST, Reason.SIMPLE),
        (a_request(complexity=STANDARD_HARD), FLEET, STANDARD, Reason.STANDARD),
        (a_request(complexity=HARD), FLEET, ENHANCED, Reason.COMPLEX),
        (a_request(complexity=HARD, domain=Domain.CODING), FLEET, CODER, Reason.SPECIALIST),
        (a_request(wanted=ENHANCED.upstream.model), FLEET, ENHANCED, Reason.PINNED_MODEL),
        (a_request(wanted=FAST.upstream.id, complexity=HARD), FLEET, FAST, Reason.PINNED_MODEL),
        (a_request(wanted_tier=Tier.CLOUD_FALLBACK), FLEET, FALLBACK, Reason.PINNED_TIER),
        (a_request(wanted_tier=Tier.LOCAL_FAST, complexity=HARD), FLEET, FAST, Reason.PINNED_TIER),
        (a_request(allowed_places=[LOCAL], complexity=HARD), FLEET, STANDARD, Reason.LOCAL_ONLY),
        (a_request(allowed_places=[LOCAL], complexity=SIMPLE), FLEET, FAST, Reason.SIMPLE),
        (a_request(complexity=HARD), without(ENHANCED, CODER, FALLBACK), STANDARD, Reason.BEST_AVAILABLE),
        (a_request(complexity=HARD), without(ENHANCED), FALLBACK, Reason.BEST_AVAILABLE),
        (a_request(complexity=SIMPLE), without(FAST, STANDARD), ENHANCED, Reason.BEST_AVAILABLE),
        (replace(a_request(complexity=HARD), is_over_budget=True), FLEET, STANDARD, Reason.OVER_BUDGET),
        (a_request(allowed_places=[LOCAL], complexity=HARD), without(FAST, STANDARD), STANDARD, Reason.LOCAL_ONLY),
        (a_request(complexity=SIMPLE, wanted=Alias.CLOUD), FLEET, ENHANCED, Reason.PINNED_CLOUD),
        (a_request(complexity=STANDARD_HARD, wanted=Alias.LOCAL), FLEET, STANDARD, Reason.STANDARD),
    ],
)
def test_the_chosen_tier_and_its_reason(
    request_: RequestFacts, snapshot: FleetSnapshot, chosen: Candidate, reason: Reason
) -> None:
    decision = decided(request_, snapshot)
    assert (decision.chosen, decision.reason) == (chosen, reason)


def test_what_the_pipeline_says_when_it_leaves_the_chosen_candidate_is_never_a_reason_to_decide() -> None:
    cases = test_the_chosen_tier_and_its_reason.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert {case[3] for case in cases} == set(Reason) - {Reason.FAILOVER, Reason.SPILLED, Reason.HEDGED}


@pytest.mark.parametrize("complexity", [SIMPLE, STANDARD_HARD])
def test_a_prompt_that_stays_anyway_is_not_over_budget(complexity: float) -> None:
    decision = decided(replace(a_request(complexity=complexity), is_over_budget=True))
    assert decision.chosen.tier.is_local
    assert decision.reason in (Reason.SIMPLE, Reason.STANDARD)
    assert {dropped.reason for dropped in decision.dropped} >= {DropReason.BUDGET}


def test_an_open_circuit_is_left_out_and_a_half_open_one_is_not() -> None:
    states = {ENHANCED.upstream.id: UpstreamState(circuit=Circuit.OPEN)}
    decision = decided(a_request(complexity=HARD), a_snapshot(*FLEET.candidates, states=states))
    assert decision.chosen == FALLBACK
    assert Dropped(ENHANCED, DropReason.CIRCUIT_OPEN) in decision.dropped
    states = {ENHANCED.upstream.id: UpstreamState(circuit=Circuit.HALF_OPEN)}
    assert decided(a_request(complexity=HARD), a_snapshot(*FLEET.candidates, states=states)).chosen == ENHANCED


@pytest.mark.parametrize(
    ("request_", "snapshot", "reason"),
    [
        (a_request(wanted="nobody"), FLEET, DropReason.NOT_ASKED_FOR),
        (a_request(), a_snapshot(CODER), DropReason.NO_SPECIALIST),
        (a_request(allowed_tiers=[]), FLEET, DropReason.TENANT_TIER),
        (a_request(allowed_places=[]), FLEET, DropReason.RESIDENCY),
        (a_request(wanted=Alias.CLOUD, allowed_places=[LOCAL]), FLEET, DropReason.RESIDENCY),
        (a_request(needs=[Capability.IMAGES]), FLEET, DropReason.CAPABILITY),
        (a_request(num_prompt_tokens=10**6), FLEET, DropReason.CONTEXT_LENGTH),
        (a_request(), a_snapshot(ENHANCED, states={ENHANCED.upstream.id: DOWN}), DropReason.UNAVAILABLE),
        (replace(a_request(wanted=Alias.CLOUD), is_over_budget=True), FLEET, DropReason.BUDGET),
        (a_request(allowed_places=[LOCAL]), a_snapshot(FAST, states={FAST.upstream.id: OPEN}), DropReason.CIRCUIT_OPEN),
        (a_request(remaining_s=0.0), FLEET, DropReason.DEADLINE),
        (a_request(remaining_s=0.0), without(ENHANCED), DropReason.DEADLINE),
        (a_request(), FleetSnapshot((), {}), DropReason.NOT_ASKED_FOR),
    ],
)
def test_a_refusal_names_the_filter_that_the_nearest_candidate_failed(
    request_: RequestFacts, snapshot: FleetSnapshot, reason: DropReason
) -> None:
    refusal = refused(request_, snapshot)
    assert refusal.reason is reason
    assert [dropped.candidate for dropped in refusal.dropped] == list(snapshot.candidates)


@pytest.mark.parametrize(("places", "expected"), [([LOCAL], True), ([LOCAL, CLOUD], False), ([CLOUD], False)])
def test_a_refusal_tells_whether_the_request_was_local_only(places: list[str], expected: bool) -> None:
    refusal = refused(a_request(allowed_places=places, remaining_s=0.0))  # type: ignore[arg-type]
    assert refusal.is_local_only is expected


def test_a_confidential_prompt_waits_for_home_when_only_the_cloud_is_healthy() -> None:
    request = a_request(data_class=DataClass.CONFIDENTIAL, allowed_places=[LOCAL], complexity=HARD)
    decision = decided(request, without(FAST, STANDARD))
    assert {scored.candidate.upstream.place for scored in decision.ranked} == {LOCAL}


def test_a_wish_outside_the_tenants_tiers_is_not_granted() -> None:
    request = a_request(wanted_tier=Tier.CLOUD_ENHANCED, allowed_tiers=[Tier.LOCAL_FAST])
    assert decided(request).chosen == FAST


def test_a_wish_that_nobody_can_grant_falls_back_to_the_best() -> None:
    decision = decided(a_request(wanted_tier=Tier.CLOUD_ENHANCED, complexity=SIMPLE), without(ENHANCED))
    assert (decision.chosen, decision.reason) == (FAST, Reason.SIMPLE)


def test_the_fallbacks_of_a_hard_prompt_are_the_other_clouds_then_home() -> None:
    decision = decided(a_request(complexity=HARD, domain=Domain.CODING))
    assert decision.fallbacks == (ENHANCED, FALLBACK, STANDARD, FAST)


def test_error_recovery_stays_behind_other_clouds_however_cheap_quick_and_idle_it_is() -> None:
    free = an_upstream(
        id="rescue", place=CLOUD, price=a_price(input_usd_per_mtok=0, output_usd_per_mtok=0), expected_ttft_s=0.001
    )
    dear = an_upstream(
        id="main", place=CLOUD, price=a_price(input_usd_per_mtok=90, output_usd_per_mtok=90), expected_ttft_s=5.0
    )
    rescue, main = (
        a_candidate(tier=Tier.CLOUD_FALLBACK, upstream=free),
        a_candidate(tier=Tier.CLOUD_ENHANCED, upstream=dear),
    )
    decision = decided(a_request(complexity=HARD), a_snapshot(rescue, main))
    assert [scored.candidate for scored in decision.ranked] == [main, rescue]


def test_error_recovery_keeps_its_own_score_when_it_is_the_only_cloud() -> None:
    decision = decided(a_request(complexity=HARD), a_snapshot(FAST, FALLBACK))
    assert decision.chosen == FALLBACK
    assert decision.ranked[0].total > 0.6


def test_an_upstream_in_several_tiers_is_ranked_in_its_best_role_only() -> None:
    both = an_upstream(id="smollm2")
    fast, standard = (
        a_candidate(tier=Tier.LOCAL_FAST, upstream=both),
        a_candidate(tier=Tier.LOCAL_STANDARD, upstream=both),
    )
    decision = decided(a_request(complexity=STANDARD_HARD), a_snapshot(fast, standard))
    assert [scored.candidate for scored in decision.ranked] == [standard]
    assert decision.dropped == (Dropped(fast, DropReason.SAME_UPSTREAM),)


def test_equals_keep_the_lower_tier_and_then_the_configured_order() -> None:
    twins = [a_candidate(tier=Tier.LOCAL_STANDARD, upstream=an_upstream(id=name)) for name in ("first", "second")]
    fast = a_candidate(tier=Tier.LOCAL_FAST, upstream=an_upstream(id="fast"))
    decision = decided(a_request(complexity=SIMPLE), a_snapshot(*twins, fast))
    assert [scored.candidate.upstream.id for scored in decision.ranked] == ["fast", "first", "second"]


def test_a_full_upstream_yields_to_an_idle_twin() -> None:
    twins = [a_candidate(upstream=an_upstream(id=name, max_in_flight=4)) for name in ("busy", "idle")]
    snapshot = a_snapshot(*twins, states={"busy": UpstreamState(num_in_flight=4)})
    assert decided(a_request(), snapshot).chosen.upstream.id == "idle"


def test_weights_need_not_sum_to_one() -> None:
    small = decide(a_request(), FLEET, a_policy(weights=some_weights()))
    large = decide(a_request(), FLEET, a_policy(weights=some_weights(quality=70, cost=15, latency=10, load=5)))
    assert isinstance(small, Decision)
    assert isinstance(large, Decision)
    assert [s.total for s in small.ranked] == pytest.approx([s.total for s in large.ranked])


def test_the_total_is_the_weighted_mean_of_the_parts() -> None:
    weights = some_weights(quality=4, cost=2, latency=1, load=1)
    outcome = decide(a_request(complexity=HARD), a_snapshot(FAST, ENHANCED), a_policy(weights=weights))
    assert isinstance(outcome, Decision)
    for scored in outcome.ranked:
        parts = scored.parts
        mean = (4 * parts["quality"] + 2 * parts["cost"] + parts["latency"] + parts["load"]) / 8
        assert scored.total == pytest.approx(mean)


def test_a_tiers_list_is_an_order_of_preference_however_cheap_the_later_one_is() -> None:
    dear = a_candidate(
        tier=Tier.CLOUD_ENHANCED, upstream=an_upstream(id="dear", place=CLOUD, price=a_price(output_usd_per_mtok=10.0))
    )
    cheap = a_candidate(
        tier=Tier.CLOUD_ENHANCED, upstream=an_upstream(id="cheap", place=CLOUD, price=a_price(output_usd_per_mtok=0.1))
    )
    outcome = decide(a_request(complexity=0.9), a_snapshot(dear, cheap), a_policy())
    assert isinstance(outcome, Decision)
    assert [scored.candidate.upstream.id for scored in outcome.ranked] == ["dear", "cheap"]


def test_the_fast_tier_past_its_reach_is_only_the_best_available() -> None:
    fast = a_candidate(tier=Tier.LOCAL_FAST)
    policy = a_policy(fast_reach=0.2, local_reach=0.6)
    outcome = decide(a_request(complexity=0.4), a_snapshot(fast), policy)
    assert isinstance(outcome, Decision)
    assert outcome.reason is Reason.BEST_AVAILABLE
