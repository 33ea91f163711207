"""What holds of `decide` for every request and every fleet."""

from collections import Counter
from dataclasses import replace

import hypothesis.strategies as st
from hypothesis import example, given

from serve_app.contracts.decision import Decision, Refusal
from serve_app.contracts.fleet import Candidate, FleetSnapshot, Price, UpstreamSpec, UpstreamState
from serve_app.contracts.request import RequestFacts
from serve_app.contracts.vocabulary import LOCAL, Alias, Capability, Circuit, DataClass, Domain, Place, Tier
from serve_app.routing.decide import decide
from serve_app.routing.filters import first_reason
from serve_app.routing.policy import RoutingPolicy, Weights
from tests.fakes.builders import CLOUD, a_candidate, a_policy, a_request, a_snapshot, an_upstream

CLOUDS = [CLOUD, Place("cloud-eu")]
IDS = ["a", "b", "c", "d"]
SHARES = st.floats(0.0, 1.0)
SECONDS = st.floats(0.0, 30.0)


def prices() -> st.SearchStrategy[Price]:
    usd = st.one_of(st.just(0.0), st.floats(0.01, 100.0))
    return st.builds(Price, usd, usd)


@st.composite
def specs(draw: st.DrawFn, upstream_id: str) -> UpstreamSpec:
    return UpstreamSpec(
        id=upstream_id,
        model=f"model-{draw(st.sampled_from(IDS))}",
        place=draw(st.sampled_from([LOCAL, LOCAL, *CLOUDS])),
        context_window=draw(st.integers(1, 4000)),
        capabilities=draw(st.frozensets(st.sampled_from(Capability))) | {Capability.CHAT},
        price=draw(prices()),
        expected_ttft_s=draw(SECONDS),
        expected_tokens_per_s=draw(st.floats(1.0, 500.0)),
        max_in_flight=draw(st.integers(1, 16)),
        domains=draw(st.frozensets(st.sampled_from(Domain))),
    )


@st.composite
def fleets(draw: st.DrawFn) -> FleetSnapshot:
    """As settings allow them: local upstreams in local tiers only, an upstream at most once a tier."""
    candidates: list[Candidate] = []
    states = {}
    for upstream_id in IDS[: draw(st.integers(0, len(IDS)))]:
        spec = draw(specs(upstream_id))
        fitting = [tier for tier in Tier if tier.is_local == (spec.place == LOCAL)]
        tiers = draw(st.lists(st.sampled_from(fitting), unique=True, min_size=1))
        candidates += [Candidate(tier, spec, deadline_s=30.0, max_output_tokens=512) for tier in tiers]
        if draw(st.booleans()):
            is_available, in_flight = draw(st.integers(0, 3)) > 0, draw(st.integers(0, 20))
            circuit = draw(st.sampled_from([Circuit.CLOSED, *Circuit]))
            states[upstream_id] = UpstreamState(is_available, draw(st.none() | SECONDS), in_flight, circuit)
    return FleetSnapshot(tuple(draw(st.permutations(candidates))), states)


@st.composite
def requests(draw: st.DrawFn) -> RequestFacts:
    """Permissive more often than not, so that decisions are as frequent as refusals."""
    places = st.frozensets(st.sampled_from([LOCAL, *CLOUDS])) | st.just(frozenset([LOCAL, *CLOUDS]))
    return RequestFacts(
        request_id="req",
        tenant_id="acme",
        data_class=draw(st.sampled_from(DataClass)),
        allowed_places=draw(places),
        allowed_tiers=draw(st.just(frozenset(Tier)) | st.frozensets(st.sampled_from(Tier))),
        wanted=draw(st.sampled_from([Alias.AUTO, *Alias, "a", "model-b"])),
        wanted_tier=draw(st.none() | st.sampled_from(Tier)),
        complexity=draw(SHARES),
        domain=draw(st.sampled_from(Domain)),
        num_prompt_tokens=draw(st.integers(0, 2000)),
        max_output_tokens=draw(st.none() | st.integers(1, 4096)),
        needs=draw(st.just(frozenset({Capability.CHAT})) | st.frozensets(st.sampled_from(Capability), max_size=2)),
        remaining_s=draw(st.floats(0.0, 120.0)),
        is_over_budget=draw(st.booleans()),
    )


@st.composite
def policies(draw: st.DrawFn) -> RoutingPolicy:
    local_reach = draw(SHARES)
    weight = st.floats(0.0, 1.0)
    weights = Weights(draw(st.floats(0.01, 1.0)), draw(weight), draw(weight), draw(weight))
    return RoutingPolicy(draw(st.floats(0.0, local_reach)), local_reach, weights, draw(st.integers(1, 2000)))


@given(requests(), fleets(), policies())
def test_whoever_is_ranked_is_allowed_able_and_there(
    facts: RequestFacts, snapshot: FleetSnapshot, policy: RoutingPolicy
) -> None:
    outcome = decide(facts, snapshot, policy)
    if isinstance(outcome, Refusal):
        return
    assert outcome.allowed_places == facts.allowed_places
    for candidate in (outcome.chosen, *outcome.fallbacks):
        assert candidate.upstream.place in facts.allowed_places
        assert candidate.tier in facts.allowed_tiers
        assert facts.needs <= candidate.upstream.capabilities
        assert facts.num_prompt_tokens < candidate.upstream.context_window
        state = snapshot.state_of(candidate.upstream.id)
        assert state.circuit is not Circuit.OPEN
        assert candidate.upstream.place == LOCAL or not facts.is_over_budget
        if not state.is_available:  # it is waited for, by who may go nowhere else
            assert candidate.upstream.place == LOCAL
            assert facts.allowed_places == {LOCAL} or facts.wanted is not Alias.AUTO


@given(requests(), fleets(), policies())
def test_every_candidate_is_ranked_or_dropped_exactly_once_and_each_upstream_ranked_at_most_once(
    facts: RequestFacts, snapshot: FleetSnapshot, policy: RoutingPolicy
) -> None:
    outcome = decide(facts, snapshot, policy)
    ranked = [scored.candidate for scored in outcome.ranked] if isinstance(outcome, Decision) else []
    assert Counter([*ranked, *(dropped.candidate for dropped in outcome.dropped)]) == Counter(snapshot.candidates)
    assert len({candidate.upstream.id for candidate in ranked}) == len(ranked)


@given(requests(), fleets(), policies())
def test_it_refuses_exactly_when_nobody_passes_the_filters(
    facts: RequestFacts, snapshot: FleetSnapshot, policy: RoutingPolicy
) -> None:
    outcome = decide(facts, snapshot, policy)
    failures = [first_reason(facts, c, snapshot.state_of(c.upstream.id)) for c in snapshot.candidates]
    assert isinstance(outcome, Refusal) == all(failure is not None for failure in failures)
    if isinstance(outcome, Refusal) and failures:
        assert outcome.reason is max((failure for failure in failures if failure), key=lambda found: found[0])[1]


@given(requests(), fleets(), policies(), st.frozensets(st.sampled_from([LOCAL, *CLOUDS])))
def test_fewer_places_never_add_a_candidate_but_a_local_one_that_is_waited_for(
    facts: RequestFacts, snapshot: FleetSnapshot, policy: RoutingPolicy, kept: frozenset[Place]
) -> None:
    wide = decide(facts, snapshot, policy)
    narrow = decide(replace(facts, allowed_places=facts.allowed_places & kept), snapshot, policy)
    added = _upstreams_of(narrow) - _upstreams_of(wide)
    places = {c.upstream.id: c.upstream.place for c in snapshot.candidates}
    assert all(places[name] == LOCAL and not snapshot.state_of(name).is_available for name in added)


@given(requests(), fleets(), policies())
def test_data_that_must_stay_never_leaves(facts: RequestFacts, snapshot: FleetSnapshot, policy: RoutingPolicy) -> None:
    confidential = replace(facts, data_class=DataClass.CONFIDENTIAL, allowed_places=frozenset({LOCAL}))
    outcome = decide(confidential, snapshot, policy)
    if isinstance(outcome, Decision):
        assert {scored.candidate.upstream.place for scored in outcome.ranked} == {LOCAL}
        return
    assert outcome.is_local_only


@given(requests(), fleets(), policies())
def test_the_same_question_has_the_same_answer(
    facts: RequestFacts, snapshot: FleetSnapshot, policy: RoutingPolicy
) -> None:
    assert decide(facts, snapshot, policy) == decide(facts, snapshot, policy)


@given(requests(), fleets(), policies())
def test_totals_and_parts_lie_between_zero_and_one(
    facts: RequestFacts, snapshot: FleetSnapshot, policy: RoutingPolicy
) -> None:
    outcome = decide(facts, snapshot, policy)
    if isinstance(outcome, Refusal):
        return
    for scored in outcome.ranked:
        assert set(scored.parts) == {"quality", "cost", "latency", "load"}
        assert all(0.0 <= part <= 1.0 for part in scored.parts.values())
        assert 0.0 <= scored.total <= 1.0 + 1e-12


@given(requests(), fleets(), policies())
def test_ranked_are_sorted_by_score_behind_a_granted_wish(
    facts: RequestFacts, snapshot: FleetSnapshot, policy: RoutingPolicy
) -> None:
    outcome = decide(facts, snapshot, policy)
    if isinstance(outcome, Refusal):
        return
    keys = [(scored.candidate.tier is not facts.wanted_tier, -scored.total) for scored in outcome.ranked]
    assert keys == sorted(keys)


@given(requests(), fleets(), policies())
@example(
    a_request(complexity=0.9),
    a_snapshot(
        a_candidate(tier=Tier.CLOUD_FALLBACK, upstream=an_upstream(id="rescue", place=CLOUD, price=Price(0.0, 0.0))),
        a_candidate(tier=Tier.CLOUD_ENHANCED, upstream=an_upstream(id="main", place=CLOUD)),
    ),
    a_policy(),
)
def test_error_recovery_never_comes_before_another_cloud_candidate_unless_wished_for(
    facts: RequestFacts, snapshot: FleetSnapshot, policy: RoutingPolicy
) -> None:
    outcome = decide(facts, snapshot, policy)
    if isinstance(outcome, Refusal) or facts.wanted_tier is Tier.CLOUD_FALLBACK:
        return
    clouds = [s.candidate.tier for s in outcome.ranked if not s.candidate.tier.is_local]
    rescues = [tier is Tier.CLOUD_FALLBACK for tier in clouds]
    assert rescues == sorted(rescues)


def _upstreams_of(outcome: Decision | Refusal) -> set[str]:
    return set() if isinstance(outcome, Refusal) else {scored.candidate.upstream.id for scored in outcome.ranked}
