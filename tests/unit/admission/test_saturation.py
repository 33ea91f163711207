"""Low priority is shed first, and a count of requests stays between none and the capacity."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from serve_app.admission.saturation import Saturation
from serve_app.contracts.vocabulary import Priority
from serve_app.errors import GatewaySaturated
from tests.fakes.builders import FakeClock

LOW, NORMAL, HIGH = Priority.LOW, Priority.NORMAL, Priority.HIGH


def a_saturation(
    capacity: int = 100, low: float = 0.75, normal: float = 0.9, clock: FakeClock | None = None
) -> Saturation:
    return Saturation(capacity, low, normal, retry_floor_s=1.0, max_retry_s=30.0, clock=clock or FakeClock())


def num_entered(saturation: Saturation, priority: Priority) -> int:
    """Until the first refusal."""
    num = 0
    while True:
        try:
            saturation.enter(priority)
        except GatewaySaturated:
            return num
        num += 1


def test_each_priority_fills_its_own_share_and_high_takes_all_of_it() -> None:
    saturation = a_saturation()
    assert num_entered(saturation, LOW) == 75
    assert num_entered(saturation, LOW) == 0
    assert num_entered(saturation, NORMAL) == 15
    assert num_entered(saturation, LOW) == num_entered(saturation, NORMAL) == 0
    assert num_entered(saturation, HIGH) == 10
    assert num_entered(saturation, HIGH) == 0
    assert saturation.num_in_progress == 100


def test_a_share_is_not_made_smaller_by_binary_fractions() -> None:
    assert num_entered(a_saturation(low=0.29), LOW) == 29


@pytest.mark.parametrize("priority", list(Priority))
def test_an_idle_gateway_refuses_nobody(priority: Priority) -> None:
    assert num_entered(a_saturation(capacity=1, low=0.0, normal=0.0), priority) == 1


def test_who_leaves_makes_room() -> None:
    saturation = a_saturation(capacity=1)
    saturation.leave(saturation.enter(LOW))
    saturation.enter(LOW)
    with pytest.raises(GatewaySaturated):
        saturation.enter(HIGH)


def test_leaving_once_too_often_makes_no_room_that_is_not_there() -> None:
    saturation = a_saturation(capacity=2)
    entered_at = saturation.enter(HIGH)
    for _ in range(5):
        saturation.leave(entered_at)
    assert saturation.num_in_progress == 0
    assert num_entered(saturation, HIGH) == 2


def test_before_anything_ended_a_refusal_names_the_floor() -> None:
    saturation = a_saturation(capacity=1)
    saturation.enter(HIGH)
    with pytest.raises(GatewaySaturated) as refused:
        saturation.enter(HIGH)
    assert refused.value.retry_after_s == 1.0


def test_a_refusal_names_the_time_until_enough_requests_have_usually_ended() -> None:
    clock = FakeClock()
    saturation = a_saturation(capacity=10, low=0.5, clock=clock)
    entered_at = saturation.enter(HIGH)
    clock.advance(20.0)
    saturation.leave(entered_at)
    num_entered(saturation, HIGH)
    with pytest.raises(GatewaySaturated) as high:
        saturation.enter(HIGH)
    with pytest.raises(GatewaySaturated) as low:
        saturation.enter(LOW)
    assert high.value.retry_after_s == pytest.approx(2.0), "one of ten that take 20 s"
    assert low.value.retry_after_s == pytest.approx(12.0), "six of ten: five may stay"


def test_a_wait_is_bounded_however_long_requests_took() -> None:
    clock = FakeClock()
    saturation = a_saturation(capacity=1, clock=clock)
    entered_at = saturation.enter(HIGH)
    clock.advance(86_400.0)
    saturation.leave(entered_at)
    assert saturation.wait_s(1, of=1) == 30.0
    assert saturation.wait_s(1, of=0) == 30.0


def test_the_mean_follows_what_requests_take_lately() -> None:
    clock = FakeClock()
    saturation = a_saturation(capacity=1, clock=clock)
    for took_s in [2.0] * 50 + [10.0] * 50:
        entered_at = saturation.enter(HIGH)
        clock.advance(took_s)
        saturation.leave(entered_at)
    assert saturation.wait_s(1, of=1) == pytest.approx(10.0, rel=0.01)


@given(
    capacity=st.integers(1, 12),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
    steps=st.lists(st.sampled_from([*Priority, None]), max_size=60),
)
def test_never_below_zero_never_above_capacity_and_no_priority_before_a_higher_one(
    capacity: int, shares: list[float], steps: list[Priority | None]
) -> None:
    saturation = a_saturation(capacity, shares[0], shares[1])
    for priority in steps:
        if priority is None:
            saturation.leave(0.0)
        else:
            before = saturation.num_in_progress
            may_enter = {each: _may_enter(saturation, each) for each in Priority}
            assert may_enter[LOW] <= may_enter[NORMAL] <= may_enter[HIGH] == (before < capacity)
            if may_enter[priority]:
                saturation.enter(priority)
        assert 0 <= saturation.num_in_progress <= capacity


def _may_enter(saturation: Saturation, priority: Priority) -> bool:
    try:
        entered_at = saturation.enter(priority)
    except GatewaySaturated:
        return False
    saturation.leave(entered_at)
    return True
