import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.contracts.breaker import BreakerEvent, BreakerView
from serve_app.contracts.vocabulary import Circuit
from serve_app.resilience.breaker import (
    CLOCK_SKEW_S,
    MAX_ANNOUNCED_S,
    QUIET,
    BreakerPolicy,
    BreakerState,
    circuit_of,
    has_live_probe,
    on_event,
    on_failure,
    on_success,
    take_probe,
    view_of,
)

POLICY = BreakerPolicy(failure_threshold=3, open_for_s=5.0, max_open_for_s=60.0, probe_lease_s=20.0)
T0 = 1000.0


def opened(now_s: float = T0, announced_s: float = 0.0) -> BreakerState:
    return on_failure(QUIET, POLICY, now_s, trips=True, open_for_s=announced_s)


def left_s(state: BreakerState, now_s: float) -> float:
    return view_of(state, "a", now_s).opens_for_s


def probed(state: BreakerState, now_s: float, holder: str = "one") -> BreakerState:
    state, may_call = take_probe(state, POLICY, now_s, holder)
    assert may_call
    return state


def after_failed_probes(num: int) -> tuple[BreakerState, float]:
    """The breaker and the moment at which its last probe failed."""
    state, now_s = opened(), T0
    for _ in range(num):
        now_s += left_s(state, now_s)
        state = on_failure(probed(state, now_s), POLICY, now_s)
    return state, now_s


def test_so_many_failures_in_a_row_open_it_and_one_fewer_does_not() -> None:
    state = QUIET
    for expected in (Circuit.CLOSED, Circuit.CLOSED, Circuit.OPEN):
        state = on_failure(state, POLICY, T0)
        assert circuit_of(state, T0) is expected
    assert view_of(state, "a", T0) == BreakerView("a", Circuit.OPEN, 5.0, 3)


def test_a_success_between_failures_starts_the_count_anew() -> None:
    state = on_failure(on_failure(QUIET, POLICY, T0), POLICY, T0)
    state = on_failure(on_success(state, T0), POLICY, T0)
    assert view_of(state, "a", T0) == BreakerView("a", Circuit.CLOSED, 0.0, 1)


def test_a_failure_that_trips_opens_it_alone() -> None:
    assert circuit_of(opened(), T0) is Circuit.OPEN


def test_a_failure_that_announces_a_pause_opens_it_alone_and_for_as_long_as_it_says() -> None:
    for announced_s in (1.0, 400.0):
        assert left_s(on_failure(QUIET, POLICY, T0, open_for_s=announced_s), T0) == announced_s


def test_the_failure_that_reaches_the_threshold_opens_it_for_its_own_pause_at_least() -> None:
    state = on_failure(on_failure(QUIET, POLICY, T0), POLICY, T0)
    assert left_s(on_failure(state, POLICY, T0, open_for_s=1.0), T0) == 5.0


def test_an_announced_pause_is_a_floor_and_may_pass_the_maximum() -> None:
    assert left_s(opened(announced_s=2.0), T0) == 5.0
    assert left_s(opened(announced_s=400.0), T0) == 400.0


def test_nobody_is_left_alone_for_more_than_an_hour_at_its_own_word() -> None:
    assert left_s(opened(announced_s=90_000.0), T0) == MAX_ANNOUNCED_S
    assert left_s(opened(announced_s=float("inf")), T0) == MAX_ANNOUNCED_S


@pytest.mark.parametrize("announced_s", [-5.0, float("nan")])
def test_an_announcement_that_makes_no_sense_is_none(announced_s: float) -> None:
    assert circuit_of(on_failure(QUIET, POLICY, T0, open_for_s=announced_s), T0) is Circuit.CLOSED


def test_it_half_opens_when_its_pause_is_over_and_not_before() -> None:
    assert circuit_of(opened(), T0 + 4.9) is Circuit.OPEN
    assert circuit_of(opened(), T0 + 5.0) is Circuit.HALF_OPEN


def test_an_open_breaker_gives_no_probe() -> None:
    assert take_probe(opened(), POLICY, T0 + 4.9, "one") == (opened(), False)


def test_a_closed_breaker_lets_everybody_call_without_a_lease() -> None:
    assert take_probe(QUIET, POLICY, T0, "one") == (QUIET, True)


def test_one_probe_at_a_time_and_none_even_for_its_own_holder() -> None:
    state = probed(opened(), T0 + 5.0)
    assert state.probe_holder == "one"
    for holder in ("one", "two"):
        assert take_probe(state, POLICY, T0 + 6.0, holder) == (state, False)


def test_the_end_of_its_lease_frees_the_probe() -> None:
    state = probed(opened(), T0 + 5.0)
    assert not take_probe(state, POLICY, T0 + 24.9, "two")[1]
    assert probed(state, T0 + 25.0, "two").probe_holder == "two"


def test_a_probe_that_succeeds_closes_it_and_forgets_the_doubling() -> None:
    state, now_s = after_failed_probes(2)
    now_s += left_s(state, now_s)
    state = on_success(probed(state, now_s), now_s)
    assert state == QUIET
    assert left_s(on_failure(state, POLICY, now_s, trips=True), now_s) == 5.0


def test_each_probe_that_fails_doubles_the_pause_up_to_its_maximum() -> None:
    pauses = [left_s(*after_failed_probes(num)) for num in range(6)]
    assert pauses == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]


def test_doubling_for_years_overflows_nothing() -> None:
    assert left_s(*after_failed_probes(2000)) == 60.0


def test_a_late_failure_after_the_pause_opens_it_again_without_doubling() -> None:
    state = on_failure(opened(), POLICY, T0 + 5.0)
    assert left_s(state, T0 + 5.0) == 5.0


def test_a_success_after_the_pause_closes_it_with_a_lease_or_without() -> None:
    assert on_success(opened(), T0 + 5.0) == QUIET


def test_a_success_that_comes_late_does_not_close_an_open_breaker() -> None:
    state = opened()
    assert on_success(state, T0 + 4.9) is state


def test_a_success_that_changes_nothing_gives_the_same_state() -> None:
    quiet = BreakerState(0)
    assert on_success(quiet, T0) is quiet


def test_failures_that_come_late_do_not_lengthen_the_pause() -> None:
    state = opened()
    assert on_failure(state, POLICY, T0 + 4.0, trips=True) is state
    assert on_failure(state, POLICY, T0 + 4.0, open_for_s=0.5) is state


def test_a_late_failure_that_announces_a_longer_pause_lengthens_it() -> None:
    state = on_failure(opened(), POLICY, T0 + 4.0, open_for_s=30.0)
    assert left_s(state, T0 + 4.0) == 30.0


def test_a_clock_a_little_behind_still_sees_it_open() -> None:
    assert circuit_of(opened(), T0 - CLOCK_SKEW_S) is Circuit.OPEN


def test_a_clock_that_jumped_back_finds_it_half_open_and_its_probe_free() -> None:
    assert circuit_of(opened(), T0 - 500.0) is Circuit.HALF_OPEN
    state = probed(opened(), T0 + 5.0)
    assert not has_live_probe(state, T0 - 500.0)


@given(announced_s=st.floats(0.0, 1e6), now_s=st.one_of(st.floats(-1e6, 1e6), st.floats(T0 - 10.0, T0 + 5000.0)))
def test_whatever_the_clock_says_what_is_left_of_a_pause_is_bounded(announced_s: float, now_s: float) -> None:
    longest_s = max(MAX_ANNOUNCED_S, POLICY.max_open_for_s) + CLOCK_SKEW_S
    state = opened(T0, announced_s)
    left = left_s(state, now_s)
    assert left <= longest_s + 1e-6
    if left > 0.0:
        assert circuit_of(state, now_s + longest_s + 1e-3) is Circuit.HALF_OPEN


def test_events_are_told_by_their_kind() -> None:
    failure = BreakerEvent("a", is_success=False, trips=True, open_for_s=9.0)
    state = on_event(QUIET, POLICY, failure, T0)
    assert left_s(state, T0) == 9.0
    assert on_event(state, POLICY, BreakerEvent("a", is_success=True), T0 + 9.0) == QUIET


def test_quiet_is_closed_with_nothing_against_it() -> None:
    assert QUIET.is_quiet
    assert not on_failure(QUIET, POLICY, T0).is_quiet
    assert not opened().is_quiet


@pytest.mark.parametrize("state", [QUIET, opened(), probed(opened(), T0 + 5.0), after_failed_probes(3)[0]])
def test_a_state_survives_json(state: BreakerState) -> None:
    assert BreakerState.from_json(state.to_json()) == state
    assert BreakerState.from_json(state.to_json().encode()) == state


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{}", "7", '{"pause":1,"probe":null}', '{"pause":null,"probe":null,"x":1}']
)
def test_what_is_no_state_is_told_so(text: str) -> None:
    with pytest.raises(ValueError, match="not a breaker's state"):
        BreakerState.from_json(text)
