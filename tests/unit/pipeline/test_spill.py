"""Who has no room or is not up: the next candidate, or a bounded wait where there is none. Neither is an attempt."""

import asyncio
import time
from typing import Any

import pytest

from serve_app.contracts.vocabulary import LOCAL, Alias, Outcome, Reason, Tier
from serve_app.errors import (
    AllUpstreamsFailed,
    CapacityError,
    DeadlineExceeded,
    GatewayError,
    LocalUnavailable,
    UpstreamBroken,
    UpstreamCold,
    UpstreamFailed,
    UpstreamFull,
    UpstreamRefused,
    UpstreamUnreachable,
)
from tests.fakes.chunks import WHOLE_STREAM, completion
from tests.fakes.dispatching import STREAMED, Bench, candidate_of
from tests.fakes.upstreams import HANG, Pause, ScriptedUpstream

ANSWER = completion("Hello")
HOME_ALONE: dict[str, Any] = {"allowed_places": frozenset({LOCAL})}
NO_ROOM = [UpstreamFull("home", "no_slot"), UpstreamCold("home", "not_up")]


def home_and_cloud(**limits: Any) -> tuple[Bench, ScriptedUpstream, ScriptedUpstream]:
    home, cloud = ScriptedUpstream([ANSWER]), ScriptedUpstream([ANSWER])
    candidates = (candidate_of("home", tier=Tier.LOCAL_FAST, max_in_flight=1), candidate_of("cloud"))
    return Bench({"home": home, "cloud": cloud}, candidates, **limits), home, cloud


def home_alone(home: ScriptedUpstream, **limits: Any) -> Bench:
    return Bench({"home": home}, (candidate_of("home", tier=Tier.LOCAL_FAST, max_in_flight=1),), **limits)


@pytest.mark.parametrize("error", NO_ROOM, ids=["full", "cold"])
async def test_without_room_at_home_the_next_candidate_serves_and_home_was_no_attempt(error: UpstreamFailed) -> None:
    bench, home, _cloud = home_and_cloud()
    home.reserve_errors.append(error)
    _, trail = await bench.complete()
    assert (trail.reason, trail.num_attempts) == (Reason.SPILLED, 1)
    assert trail.candidate == bench.candidates[1]
    assert (home.calls, bench.told()) == ([], [("cloud", Outcome.COMPLETED)])
    assert bench.sink.opened[0].reason is Reason.SPILLED
    assert bench.breakers._states["home"].is_quiet
    bench.check_nothing_is_left()


async def test_our_own_slots_at_home_are_waited_for_no_longer_than_it_takes_to_spill() -> None:
    bench, _, _ = home_and_cloud(spill_after_s=0.05)
    async with bench.fleet.slot("home", 0.0, waits_for_start=False):
        started = time.monotonic()
        _, trail = await bench.complete()
    assert 0.04 < time.monotonic() - started < 0.5
    assert (trail.reason, trail.num_attempts) == (Reason.SPILLED, 1)
    assert trail.queue_s > 0.04


async def test_a_slot_that_comes_free_within_that_time_is_taken() -> None:
    bench, _home, cloud = home_and_cloud(spill_after_s=1.0)

    async def hold() -> None:
        async with bench.fleet.slot("home", 0.0, waits_for_start=False):
            await asyncio.sleep(0.02)

    holding = asyncio.create_task(hold())
    await asyncio.sleep(0)
    _, trail = await bench.complete()
    await holding
    assert trail.reason is Reason.COMPLEX
    assert cloud.calls == []


async def test_a_cold_upstream_is_not_asked_again_by_the_next_request() -> None:
    bench, home, _ = home_and_cloud(spill_after_s=5.0)
    home.reserve_errors.append(UpstreamCold("home", "not_up"))
    await bench.complete()
    assert not bench.fleet.snapshot().state_of("home").is_available
    started = time.monotonic()
    _, trail = await bench.complete()
    assert time.monotonic() - started < 1.0
    assert trail.reason is Reason.SPILLED


async def test_data_that_must_stay_waits_for_a_slot_and_is_answered() -> None:
    bench = home_alone(ScriptedUpstream([Pause(0.05), ANSWER]), local_wait_s=1.0, spill_after_s=0.0)
    answers = await asyncio.gather(*(bench.complete(bench.prepared(**HOME_ALONE)) for _ in range(3)))
    assert [trail.reason for _, trail in answers] == [Reason.COMPLEX] * 3
    bench.check_nothing_is_left()


async def test_data_that_must_stay_waits_for_a_model_that_starts_and_is_answered() -> None:
    home = ScriptedUpstream([ANSWER])
    bench = home_alone(home, local_wait_s=1.0)
    home.reserve_errors.append(UpstreamCold("home", "not_up"))
    request = asyncio.create_task(bench.complete(bench.prepared(**HOME_ALONE)))
    await asyncio.sleep(0.02)
    assert not request.done()
    assert not bench.fleet.snapshot().state_of("home").is_available
    await bench.fleet.probe_all(1.0)
    _, trail = await request
    assert (trail.num_attempts, trail.reason) == (1, Reason.COMPLEX)
    bench.check_nothing_is_left()


async def test_a_wait_for_home_is_bounded_and_ends_in_when_to_come_back() -> None:
    home = ScriptedUpstream([ANSWER])
    home.reserve_errors.append(UpstreamCold("home", "not_up"))
    bench = home_alone(home, local_wait_s=0.3)
    started = time.monotonic()
    with pytest.raises(LocalUnavailable) as caught:
        await bench.complete(bench.prepared(**HOME_ALONE))
    assert 0.29 < time.monotonic() - started < 0.58  # once, not twice
    assert caught.value.retry_after_s == pytest.approx(90.0, abs=1.0)
    assert bench.sink.opened == []


async def test_when_to_come_back_goes_by_the_last_start_that_was_measured() -> None:
    home = ScriptedUpstream([ANSWER])
    bench = home_alone(home, local_wait_s=0.0)
    seat = bench.fleet._seats["home"]
    seat._start_s = 17.0
    bench.fleet.saw_failure("home", UpstreamCold("home", "not_up"))
    with pytest.raises(LocalUnavailable) as caught:
        await bench.complete(bench.prepared(**HOME_ALONE))
    assert caught.value.retry_after_s == pytest.approx(17.0, abs=1.0)


@pytest.mark.parametrize("wanted", [Alias.LOCAL, "home-model"])
async def test_who_asks_for_home_by_name_is_told_the_same(wanted: Alias | str) -> None:
    home = ScriptedUpstream([ANSWER])
    home.reserve_errors.append(UpstreamFull("home", "no_slot"))
    bench = home_alone(home, local_wait_s=0.0)
    with pytest.raises(LocalUnavailable):
        await bench.complete(bench.prepared(wanted=wanted))


async def test_who_may_leave_but_finds_nobody_with_room_is_told_of_a_lack_of_capacity() -> None:
    bench, home, cloud = home_and_cloud(local_wait_s=0.02)
    home.reserve_errors += [UpstreamFull("home", "no_slot")] * 2
    cloud.reserve_errors += [UpstreamFull("cloud", "no_slot")] * 2
    with pytest.raises(CapacityError) as caught:
        await bench.complete()
    assert not isinstance(caught.value, LocalUnavailable)
    assert caught.value.retry_after_s == 1.0
    assert bench.sink.opened == []


async def test_when_nobody_else_could_serve_home_is_waited_for_after_all() -> None:
    bench, _home, cloud = home_and_cloud(spill_after_s=0.01, local_wait_s=1.0)
    cloud.reserve_errors.append(UpstreamFull("cloud", "no_slot"))

    async def hold() -> None:
        async with bench.fleet.slot("home", 0.0, waits_for_start=False):
            await asyncio.sleep(0.1)

    holding = asyncio.create_task(hold())
    await asyncio.sleep(0)
    _, trail = await bench.complete()
    await holding
    assert (trail.reason, trail.num_attempts) == (Reason.COMPLEX, 1)
    assert bench.told() == [("home", Outcome.COMPLETED)]


async def test_a_cloud_upstream_that_is_the_last_is_waited_for_up_to_the_deadline() -> None:
    cloud = ScriptedUpstream([Pause(0.05), ANSWER])
    bench = Bench({"cloud": cloud}, (candidate_of("cloud", max_in_flight=1),), spill_after_s=0.0, local_wait_s=0.0)
    await asyncio.gather(*(bench.complete() for _ in range(4)))
    bench.check_nothing_is_left()


async def test_a_failure_before_a_lack_of_room_is_a_failover() -> None:
    bench, _home, cloud = home_and_cloud()
    third = ScriptedUpstream([ANSWER])
    candidates = (*bench.candidates, candidate_of("third"))
    bench = Bench({"home": ScriptedUpstream([UpstreamBroken("home", "x")]), "cloud": cloud, "third": third}, candidates)
    cloud.reserve_errors.append(UpstreamFull("cloud", "no_slot"))
    _, trail = await bench.complete()
    assert (trail.reason, trail.num_attempts) == (Reason.FAILOVER, 2)


AGAIN = UpstreamRefused("first", "busy", None, 503)


@pytest.mark.parametrize("is_streaming", [False, True])
async def test_when_nobody_is_left_the_one_that_may_do_better_is_called_once_more(is_streaming: bool) -> None:
    first = ScriptedUpstream([AGAIN], list(WHOLE_STREAM) if is_streaming else [ANSWER])
    second = ScriptedUpstream([UpstreamBroken("second", "malformed_chunk")])
    bench = Bench({"first": first, "second": second}, (candidate_of("first"), candidate_of("second")))
    if is_streaming:
        stream, trail = await bench.stream()
        await stream.aclose()
    else:
        _, trail = await bench.complete()
    assert [name for name, _ in bench.told()] == ["first", "second", "first"]
    assert [row.number for row in bench.attempts] == [1, 2, 3]
    assert trail.reason is Reason.COMPLEX
    bench.check_nothing_is_left()


async def test_nobody_is_called_a_third_time() -> None:
    bench = Bench({"first": ScriptedUpstream([AGAIN])}, (candidate_of("first"),))
    with pytest.raises(AllUpstreamsFailed) as caught:
        await bench.complete()
    assert caught.value.num_attempts == 2


async def test_the_pause_that_an_upstream_asks_for_is_kept_before_it_is_called_again() -> None:
    first = ScriptedUpstream([UpstreamRefused("first", "busy", 0.1, 409)], [ANSWER])
    bench = Bench({"first": first}, (candidate_of("first"),))
    started = time.monotonic()
    await bench.complete()
    assert time.monotonic() - started > 0.3  # the pause, and a little more


async def test_a_pause_longer_than_what_is_left_is_not_waited_for() -> None:
    first = ScriptedUpstream([UpstreamRefused("first", "busy", 60.0, 503)])
    bench = Bench({"first": first}, (candidate_of("first"),))
    started = time.monotonic()
    with pytest.raises(AllUpstreamsFailed):
        await bench.complete()
    assert time.monotonic() - started < 0.2


@pytest.mark.parametrize("error", [UpstreamUnreachable("home", "connect"), UpstreamBroken("home", "malformed_answer")])
async def test_only_a_home_that_cannot_be_reached_is_unavailable(error: UpstreamFailed) -> None:
    bench = home_alone(ScriptedUpstream([error]), local_wait_s=0.0)
    expected: type[GatewayError] = LocalUnavailable if isinstance(error, UpstreamUnreachable) else AllUpstreamsFailed
    with pytest.raises(expected):
        await bench.complete(bench.prepared(**HOME_ALONE))


async def test_a_wait_for_room_that_uses_up_the_deadline_ends_as_a_passed_deadline_and_calls_nobody() -> None:
    bench, home, cloud = home_and_cloud(spill_after_s=0.02)
    cloud.reserve_errors.append(UpstreamCold("cloud", "not_up"))
    async with bench.fleet.slot("home", 0.0, waits_for_start=False):
        with pytest.raises(DeadlineExceeded):
            await bench.complete(bench.prepared(deadline_s=0.05))
    assert home.calls == cloud.calls == []


@pytest.mark.parametrize("moment", ["room", "start"])
async def test_a_caller_that_leaves_while_it_waits_gives_everything_back(moment: str) -> None:
    home = ScriptedUpstream([HANG])
    bench = home_alone(home, local_wait_s=5.0)
    if moment == "start":
        bench.fleet.saw_failure("home", UpstreamCold("home", "not_up"))
    else:
        home_slot = asyncio.create_task(bench.complete(bench.prepared(**HOME_ALONE)))
        await home.has_begun.wait()
    waiting = asyncio.create_task(bench.complete(bench.prepared(call=STREAMED, **HOME_ALONE)))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    if moment == "room":
        home_slot.cancel()
        await asyncio.wait([home_slot])
    bench.check_nothing_is_left()
