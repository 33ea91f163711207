"""What one router enforces alone: a bucket that fills steadily, and a level that only gives back."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from serve_app.admission.local_limits import LocalLimits
from serve_app.contracts.allowance import Balance, Meter, MeterKind
from tests.fakes.builders import FakeClock

RATE = Meter("tokens:acme", MeterKind.RATE, 60, 60.0)
LEVEL = Meter("concurrent:acme", MeterKind.LEVEL, 2)


async def test_a_rate_starts_whole_and_fills_steadily_up_to_its_capacity() -> None:
    clock = FakeClock()
    limits = LocalLimits(clock)
    assert await limits.take(RATE, 60)
    assert not await limits.take(RATE, 1)
    clock.advance(10.0)
    assert limits.balance(RATE) == Balance(RATE.key, 0, 10, 50.0)
    assert not await limits.take(RATE, 11)
    assert await limits.take(RATE, 10)
    clock.advance(1_000.0)
    assert limits.balance(RATE) == Balance(RATE.key, 0, 60, 0.0)


async def test_a_window_in_many_steps_is_a_whole_window() -> None:
    clock = FakeClock()
    limits = LocalLimits(clock)
    await limits.take(RATE, 60)
    for _ in range(700):
        clock.advance(60.0 / 700)
        limits.balance(RATE)
    assert await limits.take(RATE, 60)


async def test_what_was_not_used_may_be_taken_again_and_what_was_used_beyond_is_owed() -> None:
    clock = FakeClock()
    limits = LocalLimits(clock)
    await limits.take(RATE, 60)
    limits.settle(RATE, taken=60, used=20)
    assert await limits.take(RATE, 40)
    limits.settle(RATE, taken=40, used=70)
    assert limits.balance(RATE) == Balance(RATE.key, 0, -30, 90.0)
    assert not await limits.take(RATE, 1)
    clock.advance(30.5)
    assert not await limits.take(RATE, 1)
    clock.advance(0.5)
    assert await limits.take(RATE, 1)


async def test_giving_back_never_fills_a_rate_beyond_its_capacity() -> None:
    limits = LocalLimits(FakeClock())
    limits.settle(RATE, taken=60, used=0)
    assert not await limits.take(RATE, 61)


async def test_a_level_is_what_is_out_and_costs_no_memory_when_nothing_is() -> None:
    limits = LocalLimits(FakeClock())
    assert await limits.take(LEVEL, 1)
    assert await limits.take(LEVEL, 1)
    assert not await limits.take(LEVEL, 1)
    assert limits.balance(LEVEL) == Balance(LEVEL.key, 0, 0, 0.0)
    limits.settle(LEVEL, taken=1, used=0)
    assert limits.balance(LEVEL) == Balance(LEVEL.key, 0, 1, 0.0)
    limits.settle(LEVEL, taken=1, used=0)
    assert limits._out == {}


async def test_rates_used_longest_ago_are_forgotten_first() -> None:
    limits = LocalLimits(FakeClock(), max_buckets=2)
    first, second, third = (Meter(f"tokens:{name}", MeterKind.RATE, 1, 60.0) for name in "abc")
    for meter in (first, second, third):
        assert await limits.take(meter, 1)
    assert not await limits.take(second, 1)
    assert await limits.take(first, 1), "forgotten, so it is whole again"
    assert not await limits.take(second, 1)
    assert len(limits._buckets) == 2


async def test_a_limit_of_none_lets_nobody_in() -> None:
    limits, nothing = LocalLimits(FakeClock()), Meter("tokens:acme", MeterKind.RATE, 0, 60.0)
    assert not await limits.take(nothing, 1)
    assert limits.balance(nothing) == Balance(nothing.key, 0, 0, 0.0)


@pytest.mark.parametrize(
    "meter",
    [
        Meter("spend-day:acme", MeterKind.DAY, 5),
        Meter("spend-month:acme", MeterKind.MONTH, 5),
        Meter("x", MeterKind.RATE, 5),
    ],
)
async def test_money_is_never_counted_by_one_router_alone(meter: Meter) -> None:
    with pytest.raises(ValueError, match="alone"):
        await LocalLimits(FakeClock()).take(meter, 1)


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 80), st.floats(0, 1)), max_size=40))
async def test_no_more_is_used_than_the_capacity_and_what_filled_since(
    steps: list[tuple[float, int, float]],
) -> None:
    clock = FakeClock(0.0)
    limits, num_used = LocalLimits(clock), 0
    for pause_s, amount, share in steps:
        clock.advance(pause_s)
        if await limits.take(RATE, amount):
            used = int(amount * share)
            limits.settle(RATE, taken=amount, used=used)
            num_used += used
        assert num_used <= RATE.capacity + clock.now_s + 1e-3
