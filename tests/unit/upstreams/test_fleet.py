import asyncio
import logging

import pytest

from serve_app.contracts.deadline import Deadline
from serve_app.contracts.fleet import UpstreamState
from serve_app.contracts.vocabulary import Tier
from serve_app.errors import UpstreamFailed, UpstreamRefused, UpstreamTimedOut, UpstreamUnreachable
from serve_app.upstreams.fleet import TTFT_SMOOTHING, Fleet
from tests.fakes.dispatching import candidate_of
from tests.fakes.upstreams import ScriptedUpstream


def fleet_of(max_in_flight: int = 2, **upstreams: ScriptedUpstream) -> Fleet:
    return Fleet([candidate_of(name, max_in_flight=max_in_flight) for name in upstreams], upstreams)


def soon() -> Deadline:
    return Deadline.after(0.02)


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
    fleet = Fleet([candidate_of("a", tier=tier, max_in_flight=1) for tier in tiers], {"a": upstream})
    async with fleet.slot("a", soon()):
        assert fleet.snapshot().state_of("a").num_in_flight == 1
        with pytest.raises(UpstreamTimedOut):
            async with fleet.slot("a", soon()):
                pass


async def test_slots_are_as_many_as_configured_and_come_back_after_an_error() -> None:
    fleet = fleet_of(a=ScriptedUpstream())

    async def fail_in_a_slot() -> None:
        async with fleet.slot("a", soon()):
            assert fleet.snapshot().state_of("a").num_in_flight == 2
            raise RuntimeError

    async with fleet.slot("a", soon()):
        with pytest.raises(RuntimeError):
            await fail_in_a_slot()
        assert fleet.snapshot().state_of("a").num_in_flight == 1
    assert fleet.snapshot().state_of("a").num_in_flight == 0


async def test_waiting_for_a_slot_ends_with_the_deadline_and_takes_none() -> None:
    fleet = fleet_of(1, a=ScriptedUpstream())
    async with fleet.slot("a", soon()):
        with pytest.raises(UpstreamTimedOut) as caught:
            async with fleet.slot("a", soon()):
                pass
    assert caught.value.detail == "no_slot"
    assert fleet.snapshot().state_of("a").num_in_flight == 0
    async with fleet.slot("a", soon()):
        pass


async def test_a_cancellation_that_meets_a_slot_just_come_free_is_not_swallowed() -> None:
    fleet = fleet_of(1, a=ScriptedUpstream())

    async def hold() -> None:
        async with fleet.slot("a", Deadline.after(5.0)):
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


async def test_the_time_to_the_first_token_is_a_moving_average() -> None:
    fleet = fleet_of(a=ScriptedUpstream(), b=ScriptedUpstream())
    fleet.saw_first_token("a", 1.0)
    assert fleet.snapshot().state_of("a").ttft_s == 1.0
    fleet.saw_first_token("a", 2.0)
    assert fleet.snapshot().state_of("a").ttft_s == pytest.approx(1.0 + TTFT_SMOOTHING)
    assert fleet.snapshot().state_of("b").ttft_s is None


@pytest.mark.parametrize(
    ("error", "is_available"),
    [
        (UpstreamUnreachable("a", "connect"), False),
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
        "upstream a is unavailable UpstreamRefused",
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

    fleet = Fleet([candidate_of(f"u{at}") for at in range(20)], {f"u{at}": Slow() for at in range(20)})
    await asyncio.wait_for(fleet.probe_all(5.0), 1.5)
