import asyncio
import logging
from contextlib import AbstractAsyncContextManager

import pytest

from serve_app.contracts.breaker import BreakerEvent
from serve_app.contracts.fleet import UpstreamState
from serve_app.contracts.upstream import Upstream
from serve_app.contracts.vocabulary import Circuit, Tier
from serve_app.errors import (
    UpstreamCold,
    UpstreamFailed,
    UpstreamFull,
    UpstreamRefused,
    UpstreamTimedOut,
    UpstreamUnreachable,
)
from serve_app.upstreams.fleet import Fleet
from tests.fakes.builders import FakeClock
from tests.fakes.dispatching import breakers_of, candidate_of
from tests.fakes.upstreams import ScriptedUpstream


def fleet_of(max_in_flight: int = 2, **upstreams: ScriptedUpstream) -> Fleet:
    candidates = [candidate_of(name, max_in_flight=max_in_flight) for name in upstreams]
    return Fleet(candidates, upstreams, breakers_of(upstreams))


def slot_of(fleet: Fleet, wait_s: float = 0.02) -> AbstractAsyncContextManager[Upstream]:
    return fleet.slot("a", wait_s, waits_for_start=False)


async def test_a_fresh_fleet_is_available_idle_and_unobserved() -> None:
    fleet = fleet_of(a=ScriptedUpstream(), b=ScriptedUpstream())
    snapshot = fleet.snapshot()
    assert [c.upstream.id for c in snapshot.candidates] == ["a", "b"]
    assert snapshot.states == {"a": UpstreamState(), "b": UpstreamState()}


async def test_an_upstream_is_promised_to_others_only_once_it_was_found() -> None:
    fleet = fleet_of(a=ScriptedUpstream())
    assert fleet.availability() == {"a": False}
    await fleet.probe_all(1.0)
    assert fleet.availability() == {"a": True}


async def test_an_upstream_in_two_tiers_has_one_seat() -> None:
    upstream = ScriptedUpstream()
    tiers = (Tier.LOCAL_FAST, Tier.LOCAL_STANDARD)
    candidates = [candidate_of("a", tier=tier, max_in_flight=1) for tier in tiers]
    fleet = Fleet(candidates, {"a": upstream}, breakers_of(["a"]))
    async with slot_of(fleet):
        assert fleet.snapshot().state_of("a").num_in_flight == 1
        with pytest.raises(UpstreamFull):
            async with slot_of(fleet):
                pass


async def test_slots_are_as_many_as_configured_and_come_back_after_an_error() -> None:
    fleet = fleet_of(a=ScriptedUpstream())

    async def fail_in_a_slot() -> None:
        async with slot_of(fleet):
            assert fleet.snapshot().state_of("a").num_in_flight == 2
            raise RuntimeError

    async with slot_of(fleet):
        with pytest.raises(RuntimeError):
            await fail_in_a_slot()
        assert fleet.snapshot().state_of("a").num_in_flight == 1
    assert fleet.snapshot().state_of("a").num_in_flight == 0


async def test_waiting_for_a_slot_ends_with_its_limit_and_takes_none() -> None:
    fleet = fleet_of(1, a=ScriptedUpstream())
    async with slot_of(fleet):
        with pytest.raises(UpstreamFull) as caught:
            async with slot_of(fleet):
                pass
    assert caught.value.detail == "no_slot"
    assert fleet.snapshot().state_of("a").num_in_flight == 0
    async with slot_of(fleet):
        pass


async def test_a_cancellation_that_meets_a_slot_just_come_free_is_not_swallowed() -> None:
    fleet = fleet_of(1, a=ScriptedUpstream())

    async def hold() -> None:
        async with slot_of(fleet, 5.0):
            await asyncio.Event().wait()

    for num_turns in range(6):
        holder, waiter = asyncio.create_task(hold()), asyncio.create_task(hold())
        await asyncio.sleep(0.001)
        holder.cancel()
        for _ in range(num_turns):
            await asyncio.sleep(0)
        waiter.cancel()
        done, pending = await asyncio.wait([holder, waiter], timeout=0.2)
        assert not pending
        assert all(task.cancelled() for task in done)
        assert fleet.snapshot().state_of("a").num_in_flight == 0


async def test_what_is_usual_is_the_median_of_what_was_seen_or_what_is_expected() -> None:
    fleet = fleet_of(a=ScriptedUpstream())
    (candidate,) = fleet.candidates
    assert fleet.usual_s(candidate, is_streaming=True) == fleet.usual_s(candidate, is_streaming=False) == 0.01
    for seconds in (1.0, 2.0, 9.0):
        fleet.saw_first_token("a", seconds)
        fleet.saw_answer("a", seconds * 10)
    assert fleet.usual_s(candidate, is_streaming=True) == 2.0
    assert fleet.usual_s(candidate, is_streaming=False) == 20.0
    state = fleet.snapshot().state_of("a")
    assert (state.ttft_s, state.answer_s) == (2.0, 20.0)


async def test_the_snapshot_tells_every_circuit_and_a_half_open_one_lets_one_call_through() -> None:
    fleet = fleet_of(a=ScriptedUpstream(), b=ScriptedUpstream())
    fleet.saw(BreakerEvent("a", is_success=False, trips=True))
    assert fleet.snapshot().state_of("a").circuit is Circuit.OPEN
    assert fleet.snapshot().state_of("b").circuit is Circuit.CLOSED
    assert not await fleet.may_call("a")
    assert await fleet.may_call("b")
    fleet.not_called("b")


async def test_when_to_come_back_is_when_the_first_of_several_is_there_and_at_least_a_second() -> None:
    fleet = fleet_of(a=ScriptedUpstream(), b=ScriptedUpstream())
    assert fleet.starts_in_s(["a"]) == fleet.opens_in_s(["a"]) == fleet.starts_in_s([]) == fleet.opens_in_s([]) == 1.0
    fleet.saw(BreakerEvent("a", is_success=False, trips=True, open_for_s=50.0))
    assert fleet.opens_in_s(["a"]) == pytest.approx(50.0, abs=1.0)
    assert fleet.opens_in_s(["a", "b"]) == 1.0
    fleet.saw_failure("a", UpstreamCold("a", "not_up"))
    assert fleet.starts_in_s(["a"]) == pytest.approx(90.0, abs=1.0)
    assert fleet.starts_in_s(["a", "b"]) == 1.0


@pytest.mark.parametrize(("is_down", "is_ready"), [("cloud", True), ("home", False)])
async def test_home_is_ready_when_every_model_of_it_is(is_down: str, is_ready: bool) -> None:
    upstreams = {name: ScriptedUpstream() for name in ("home", "cloud")}
    candidates = [candidate_of("home", tier=Tier.LOCAL_FAST), candidate_of("cloud")]
    fleet = Fleet(candidates, upstreams, breakers_of(upstreams))
    await fleet.probe_all(1.0)
    fleet.saw_failure(is_down, UpstreamUnreachable(is_down, "connect"))
    assert fleet.is_local_ready() is is_ready


@pytest.mark.parametrize(
    ("error", "is_available"),
    [
        (UpstreamUnreachable("a", "connect"), False),
        (UpstreamCold("a", "not_up"), False),
        (UpstreamFull("a", "no_slot"), True),
        (UpstreamRefused("a", "status_500"), True),
        (UpstreamTimedOut("a", "ReadTimeout"), True),
    ],
)
async def test_only_an_unreachable_upstream_is_left_out_at_once(error: UpstreamFailed, is_available: bool) -> None:
    fleet = fleet_of(a=ScriptedUpstream())
    await fleet.probe_all(1.0)
    fleet.saw_failure("a", error)
    assert fleet.availability() == {"a": is_available}
    assert fleet.snapshot().state_of("a").is_available is is_available


async def test_an_answer_makes_an_upstream_available_again() -> None:
    fleet = fleet_of(a=ScriptedUpstream())
    fleet.saw_failure("a", UpstreamUnreachable("a", "connect"))
    fleet.saw_first_token("a", 0.1)
    assert fleet.availability() == {"a": True}


async def test_a_probe_finds_what_fell_out_and_what_came_back(caplog: pytest.LogCaptureFixture) -> None:
    a, b = ScriptedUpstream(), ScriptedUpstream()
    fleet = fleet_of(a=a, b=b)
    with caplog.at_level(logging.INFO):
        await fleet.probe_all(1.0)
        assert fleet.availability() == {"a": True, "b": True}
        assert caplog.messages == []
        a.probe_error = UpstreamRefused("http://a", "status_500")
        await fleet.probe_all(1.0)
        await fleet.probe_all(1.0)
        assert fleet.availability() == {"a": False, "b": True}
        a.probe_error = None
        await fleet.probe_all(1.0)
        assert fleet.availability() == {"a": True, "b": True}
    assert (a.num_probes, b.num_probes) == (4, 4)
    assert [message.strip() for message in caplog.messages] == [
        "upstream a is unavailable: UpstreamRefused",
        "upstream a is available",
    ]


async def test_a_probe_that_does_not_answer_in_time_is_a_no() -> None:
    class Silent(ScriptedUpstream):
        async def probe(self) -> None:
            await asyncio.Event().wait()

    fleet = fleet_of(a=Silent(), b=ScriptedUpstream())
    await fleet.probe_all(0.02)
    assert fleet.availability() == {"a": False, "b": True}


async def test_a_probe_with_a_defect_ends_neither_the_others_nor_the_probing() -> None:
    broken = ScriptedUpstream()
    broken.probe_error = RuntimeError("a defect")
    fleet = fleet_of(a=broken, b=ScriptedUpstream())
    fleet.saw_failure("b", UpstreamUnreachable("b", "connect"))
    await fleet.probe_all(1.0)
    assert fleet.availability() == {"a": False, "b": True}


async def test_upstreams_are_probed_side_by_side() -> None:
    class Slow(ScriptedUpstream):
        async def probe(self) -> None:
            await asyncio.sleep(0.1)

    upstreams = {f"u{at}": Slow() for at in range(20)}
    fleet = Fleet([candidate_of(name) for name in upstreams], upstreams, breakers_of(upstreams))
    await asyncio.wait_for(fleet.probe_all(5.0), 1.5)


def sleeper_of(clock: FakeClock | None = None, **upstreams: ScriptedUpstream) -> Fleet:
    """A fleet whose upstreams may all be scaled to none."""
    candidates = [candidate_of(name, tier=Tier.LOCAL_FAST, scales_to_zero=True) for name in upstreams]
    return Fleet(candidates, upstreams, breakers_of(upstreams), clock or FakeClock())


async def test_what_scales_to_zero_is_not_probed_since_that_would_keep_it_up() -> None:
    sleeper, other = ScriptedUpstream(), ScriptedUpstream()
    candidates = [candidate_of("a", scales_to_zero=True), candidate_of("b")]
    fleet = Fleet(candidates, {"a": sleeper, "b": other}, breakers_of(["a", "b"]))
    await fleet.probe_all(1.0)
    assert (sleeper.num_probes, other.num_probes) == (0, 1)


async def test_what_was_found_down_and_scales_to_zero_is_waited_for_in_the_background() -> None:
    clock, sleeper = FakeClock(), ScriptedUpstream()
    fleet = sleeper_of(clock, a=sleeper)
    running = asyncio.create_task(fleet.run(60.0))
    await asyncio.sleep(0.01)
    assert (sleeper.num_wakes, sleeper.num_probes) == (0, 0)
    fleet.saw_failure("a", UpstreamCold("a", "not_up"))
    await asyncio.sleep(0.01)
    assert sleeper.num_wakes == 1
    clock.advance(12.0)
    sleeper.is_up.set()
    await asyncio.sleep(0.01)
    assert fleet.snapshot().state_of("a").is_available
    fleet.saw_failure("a", UpstreamCold("a", "not_up"))
    assert fleet.starts_in_s(["a"]) == 12.0
    running.cancel()
    await asyncio.wait([running])


async def test_what_is_missing_is_looked_for_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.upstreams.fleet.IMPATIENT_S", 0.005)
    upstream = ScriptedUpstream()
    upstream.probe_error = UpstreamUnreachable("a", "connect")
    fleet = fleet_of(a=upstream)
    running = asyncio.create_task(fleet.run(0.2))
    await asyncio.sleep(0.1)
    num_impatient = upstream.num_probes
    upstream.probe_error = None
    await asyncio.sleep(0.03)
    num_found = upstream.num_probes
    await asyncio.sleep(0.1)
    assert num_impatient >= 4
    assert upstream.num_probes <= num_found + 1
    running.cancel()
    await asyncio.wait([running])
