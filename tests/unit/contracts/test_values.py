"""The behaviour that the shared nouns have of their own."""

import dataclasses

import pytest

from serve_app.contracts.deadline import Deadline
from serve_app.contracts.fleet import UpstreamState
from serve_app.contracts.upstream import UpstreamCall
from serve_app.contracts.vocabulary import LOCAL, Place, Tier
from serve_app.errors import DeadlineExceeded, EgressForbidden
from tests.fakes.builders import CLOUD, FakeClock, a_candidate, a_decision, a_price, a_snapshot, a_tenant


@pytest.mark.parametrize(("elapsed_s", "remaining_s"), [(0.0, 5.0), (3.0, 2.0), (5.0, 0.0), (9.0, 0.0)])
def test_a_deadline_runs_out_and_never_below_zero(elapsed_s: float, remaining_s: float) -> None:
    clock = FakeClock()
    deadline = Deadline.after(5.0, clock)
    clock.advance(elapsed_s)
    assert deadline.remaining_s() == remaining_s


def test_a_deadline_is_checked_against_its_end() -> None:
    clock = FakeClock()
    deadline = Deadline.after(5.0, clock)
    deadline.check()
    clock.advance(5.0)
    with pytest.raises(DeadlineExceeded):
        deadline.check()


def test_deadlines_are_equal_when_they_end_together() -> None:
    assert Deadline(7.0, FakeClock()) == Deadline(7.0, FakeClock())
    assert repr(Deadline(7.0)) == "Deadline(ends_at=7.0)"


def test_a_deadline_without_a_clock_is_on_the_monotonic_one() -> None:
    assert 4.0 < Deadline.after(5.0).remaining_s() <= 5.0


def test_a_price_is_per_million_tokens() -> None:
    price = a_price(input_usd_per_mtok=1.0, output_usd_per_mtok=10.0)
    assert price.cost_usd(500_000, 100_000) == pytest.approx(1.5)
    assert price.cost_usd(0, 0) == 0.0


def test_an_upstream_of_which_nothing_is_known_is_idle_and_available() -> None:
    seen = UpstreamState(is_available=False, ttft_s=1.0, num_in_flight=2)
    snapshot = a_snapshot(states={"gpt-5": seen})
    assert snapshot.state_of("gpt-5") == seen
    assert snapshot.state_of("another") == UpstreamState(is_available=True, ttft_s=None, num_in_flight=0)


def test_the_first_of_a_decision_is_chosen_and_the_rest_are_its_fallbacks() -> None:
    candidates = [a_candidate(tier=tier) for tier in (Tier.CLOUD_ENHANCED, Tier.CLOUD_FALLBACK, Tier.LOCAL_FAST)]
    decision = a_decision(*candidates)
    assert decision.chosen == candidates[0]
    assert decision.fallbacks == tuple(candidates[1:])


@pytest.mark.parametrize("tier", list(Tier))
def test_a_tier_is_local_by_its_name(tier: Tier) -> None:
    assert tier.is_local == tier.name.startswith("LOCAL_")


def a_call(*allowed: Place) -> UpstreamCall:
    return UpstreamCall({}, "gpt-5", CLOUD, frozenset(allowed), "req-1", "attempt-1", None, 1.0)


def test_a_call_may_go_where_its_decision_allows() -> None:
    a_call(LOCAL, CLOUD).check_egress(CLOUD)


@pytest.mark.parametrize("allowed", [(), (LOCAL,), (Place("cloud-eu"),)])
def test_a_call_is_stopped_before_it_goes_anywhere_else(allowed: tuple[Place, ...]) -> None:
    with pytest.raises(EgressForbidden) as caught:
        a_call(*allowed).check_egress(CLOUD)
    assert (caught.value.upstream_id, caught.value.place) == ("gpt-5", "cloud")


def test_the_nouns_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        a_tenant().id = "globex"  # type: ignore[misc]
