"""One upstream's slots, its room, and how long its start takes."""

import asyncio
import logging
import time

import pytest

from serve_app.contracts.upstream import Upstream
from serve_app.contracts.vocabulary import Tier
from serve_app.errors import UpstreamCold, UpstreamFull, UpstreamUnreachable
from serve_app.upstreams.seat import Seat
from tests.fakes.builders import FakeClock
from tests.fakes.dispatching import candidate_of
from tests.fakes.upstreams import ScriptedUpstream


def seat_of(
    upstream: ScriptedUpstream | None = None, *, max_in_flight: int = 1, clock: FakeClock | None = None
) -> Seat:
    spec = candidate_of("a", tier=Tier.LOCAL_FAST, max_in_flight=max_in_flight, scales_to_zero=True).upstream
    return Seat(spec, upstream or ScriptedUpstream(), clock or time.monotonic)


async def take(seat: Seat, wait_s: float = 0.0, *, waits_for_start: bool = False) -> Upstream:
    async with seat.slot(wait_s, waits_for_start=waits_for_start) as upstream:
        assert seat.num_in_flight >= 1
        return upstream


async def test_whoever_holds_a_slot_holds_the_upstreams_own_room_too() -> None:
    upstream = ScriptedUpstream()
    seat = seat_of(upstream)
    async with seat.slot(0.0, waits_for_start=False) as reserved:
        assert reserved is upstream
        assert (upstream.num_reserved, seat.num_in_flight) == (1, 1)
    assert (upstream.num_reserved, seat.num_in_flight) == (0, 0)


async def test_without_a_slot_the_upstream_is_not_asked_for_room() -> None:
    upstream = ScriptedUpstream()
    seat = seat_of(upstream)
    async with seat.slot(0.0, waits_for_start=False):
        with pytest.raises(UpstreamFull):
            await take(seat)
        assert upstream.num_reserved == 1


async def test_an_upstream_without_room_gives_the_slot_back() -> None:
    upstream = ScriptedUpstream()
    upstream.reserve_errors.append(UpstreamFull("a", "no_slot"))
    seat = seat_of(upstream)
    with pytest.raises(UpstreamFull):
        await take(seat)
    assert seat.num_in_flight == 0
    assert seat.is_available
    await take(seat)


class _Timed(ScriptedUpstream):
    """Remembers the limits that it was asked to keep."""

    def __init__(self) -> None:
        super().__init__()
        self.limits_s: list[float] = []

    def reserve(self, limit_s: float):  # type: ignore[no-untyped-def] # as the base's
        self.limits_s.append(limit_s)
        return super().reserve(limit_s)


async def test_the_wait_for_room_gets_what_the_wait_for_a_slot_left() -> None:
    upstream = _Timed()
    seat = seat_of(upstream)

    async def hold() -> None:
        async with seat.slot(0.0, waits_for_start=False):
            await asyncio.sleep(0.05)

    holding = asyncio.create_task(hold())
    await asyncio.sleep(0)
    await take(seat, 0.2)
    await holding
    assert 0.0 < upstream.limits_s[1] < 0.16


async def test_one_that_is_down_is_refused_at_once_by_who_may_go_elsewhere() -> None:
    upstream = ScriptedUpstream()
    seat = seat_of(upstream)
    seat.mark_down()
    started = time.monotonic()
    with pytest.raises(UpstreamCold):
        await take(seat, 5.0)
    assert time.monotonic() - started < 0.5
    assert upstream.num_reserved == seat.num_in_flight == 0


async def test_one_that_is_down_is_waited_for_by_who_may_not() -> None:
    seat = seat_of()
    seat.mark_down()
    waiting = asyncio.create_task(take(seat, 5.0, waits_for_start=True))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    assert seat.num_in_flight == 0  # it holds no slot meanwhile
    seat.mark_up()
    await waiting


async def test_that_wait_ends_with_its_limit() -> None:
    seat = seat_of()
    seat.mark_down()
    with pytest.raises(UpstreamCold):
        await take(seat, 0.02, waits_for_start=True)


async def test_one_that_turns_out_to_be_down_is_known_to_be_and_waited_for_where_wanted() -> None:
    upstream = ScriptedUpstream()
    upstream.reserve_errors.append(UpstreamCold("a", "not_up"))
    seat = seat_of(upstream)
    waiting = asyncio.create_task(take(seat, 5.0, waits_for_start=True))
    await asyncio.sleep(0.01)
    assert not seat.is_available
    seat.mark_up()
    assert await waiting is upstream


async def test_one_that_turns_out_to_be_down_is_passed_over_where_not() -> None:
    upstream = ScriptedUpstream()
    upstream.reserve_errors.append(UpstreamCold("a", "not_up"))
    seat = seat_of(upstream)
    with pytest.raises(UpstreamCold):
        await take(seat, 5.0)
    assert not seat.is_available
    assert seat.num_in_flight == 0


async def test_one_that_is_down_again_just_after_it_came_up_is_not_waited_for_twice() -> None:
    upstream = ScriptedUpstream()
    upstream.reserve_errors += [UpstreamCold("a", "not_up")] * 2
    seat = seat_of(upstream)
    waiting = asyncio.create_task(take(seat, 5.0, waits_for_start=True))
    await asyncio.sleep(0.01)
    seat.mark_up()
    with pytest.raises(UpstreamCold):
        await waiting
    assert seat.num_in_flight == 0


@pytest.mark.parametrize("moment", ["a slot", "room", "a start"])
async def test_who_leaves_while_waiting_takes_nothing_along(moment: str) -> None:
    upstream = _NoRoom() if moment == "room" else ScriptedUpstream()
    seat = seat_of(upstream)
    holding = asyncio.create_task(_hold(seat)) if moment == "a slot" else None
    if moment == "a start":
        seat.mark_down()
    waiting = asyncio.create_task(take(seat, 5.0, waits_for_start=True))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    if holding:
        holding.cancel()
        await asyncio.wait([holding])
    assert (seat.num_in_flight, upstream.num_reserved) == (0, 0)
    seat.upstream = ScriptedUpstream()
    seat.mark_up()
    await take(seat)


async def _hold(seat: Seat) -> None:
    async with seat.slot(0.0, waits_for_start=False):
        await asyncio.Event().wait()


class _NoRoom(ScriptedUpstream):
    def reserve(self, limit_s: float):  # type: ignore[no-untyped-def] # as the base's
        return _Endless()


class _Endless:
    async def __aenter__(self) -> None:
        await asyncio.Event().wait()

    async def __aexit__(self, *_: object) -> None:
        raise AssertionError("it was never entered")


def test_its_start_is_expected_to_take_what_is_configured_and_then_what_was_measured() -> None:
    clock = FakeClock()
    seat = seat_of(clock=clock)
    assert seat.starts_in_s() == 0.0
    seat.mark_down()
    assert seat.starts_in_s() == 90.0
    clock.advance(30.0)
    seat.mark_down()  # told again: it has been down since the first time
    assert seat.starts_in_s() == 60.0
    clock.advance(10.0)
    seat.mark_up()
    assert seat.starts_in_s() == 0.0
    seat.mark_up()
    seat.mark_down()
    assert seat.starts_in_s() == 40.0
    clock.advance(100.0)
    assert seat.starts_in_s() == 0.0  # overdue


async def test_it_is_woken_only_while_it_is_down_and_each_time_again() -> None:
    upstream = ScriptedUpstream()
    upstream.is_up.set()
    seat = seat_of(upstream)
    waking = asyncio.create_task(seat.keep_waking())
    for num_wakes in (0, 1, 2):
        await asyncio.sleep(0.005)
        assert (upstream.num_wakes, seat.is_available) == (num_wakes, True)
        seat.mark_down()
    waking.cancel()
    await asyncio.wait([waking])


@pytest.mark.parametrize("error", [UpstreamUnreachable("a", "connect"), RuntimeError("private words")])
async def test_one_that_does_not_wake_is_tried_again_after_a_pause(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("serve_app.upstreams.seat.PAUSE_S", 0.005)

    class Sleepy(ScriptedUpstream):
        async def wake(self) -> None:
            self.num_wakes += 1
            if self.num_wakes < 3:
                raise error

    upstream = Sleepy()
    seat = seat_of(upstream)
    seat.mark_down()
    waking = asyncio.create_task(seat.keep_waking())
    with caplog.at_level(logging.WARNING):
        await asyncio.sleep(0.05)
    assert (upstream.num_wakes, seat.is_available) == (3, True)
    assert "private words" not in caplog.text
    waking.cancel()
    await asyncio.wait([waking])


async def test_a_provider_that_was_out_of_reach_is_called_all_the_same() -> None:
    provider = Seat(candidate_of("a").upstream, ScriptedUpstream())
    provider.mark_down()
    async with provider.slot(0.0, waits_for_start=False) as upstream:
        assert upstream is provider.upstream
