"""What each end of a call tells its upstream's circuit breaker, and whom an open one keeps out."""

import asyncio

import pytest

from serve_app.contracts.breaker import BreakerEvent
from serve_app.contracts.vocabulary import LOCAL, Circuit, Outcome, Tier
from serve_app.errors import (
    AllUpstreamsFailed,
    CapacityError,
    DeadlineExceeded,
    EgressForbidden,
    GatewayError,
    LocalUnavailable,
    UpstreamBroken,
    UpstreamCold,
    UpstreamFailed,
    UpstreamFull,
    UpstreamRefused,
    UpstreamRejectedRequest,
    UpstreamTimedOut,
)
from serve_app.resilience.breaker import BreakerState, Span
from tests.fakes.chunks import FINISH, REJECTION_CHUNK, ROLE, WHOLE_STREAM, completion, content
from tests.fakes.dispatching import STREAMED, Bench, bench_of, call_of, candidate_of
from tests.fakes.upstreams import HANG, Script, ScriptedUpstream

ANSWER = completion("Hello")
BREAK = UpstreamBroken("first", "malformed_chunk")


def state_of(bench: Bench) -> BreakerState:
    return bench.breakers._states["first"]


def circuit_of(bench: Bench) -> Circuit:
    return bench.fleet.snapshot().state_of("first").circuit


def half_open(bench: Bench) -> None:
    """As after a pause that is over."""
    bench.breakers._states["first"] = BreakerState(5, 0, Span(0.0, 0.001))
    bench.breakers._board._states["first"] = BreakerState(5, 0, Span(0.0, 0.001))  # type: ignore[attr-defined]
    assert circuit_of(bench) is Circuit.HALF_OPEN


@pytest.mark.parametrize("is_streaming", [False, True])
async def test_failures_in_a_row_open_it_and_then_nobody_calls(is_streaming: bool) -> None:
    whole: Script = list(WHOLE_STREAM) if is_streaming else [ANSWER]
    first, second = ScriptedUpstream([BREAK]), ScriptedUpstream(whole)
    bench = Bench(
        {"first": first, "second": second}, tuple(map(candidate_of, ("first", "second"))), failure_threshold=3
    )
    for num_calls in (1, 2, 3, 3, 3):
        prepared = bench.prepared(call=STREAMED if is_streaming else call_of())
        if is_streaming:
            await (await bench.stream(prepared))[0].aclose()
        else:
            await bench.complete(prepared)
        assert len(first.calls) == num_calls
    assert circuit_of(bench) is Circuit.OPEN
    bench.check_nothing_is_left()


async def test_an_open_one_alone_is_a_lack_of_capacity_until_it_half_opens() -> None:
    bench = bench_of(first=ScriptedUpstream([ANSWER]))
    bench.fleet.saw(BreakerEvent("first", is_success=False, trips=True))
    with pytest.raises(CapacityError) as caught:
        await bench.complete()
    assert caught.value.retry_after_s == pytest.approx(5.0, abs=0.5)
    assert bench.sink.opened == []


async def test_an_open_one_at_home_is_local_unavailable_for_data_that_must_stay() -> None:
    bench = Bench({"first": ScriptedUpstream([ANSWER])}, (candidate_of("first", tier=Tier.LOCAL_FAST),))
    bench.fleet.saw(BreakerEvent("first", is_success=False, trips=True))
    with pytest.raises(LocalUnavailable) as caught:
        await bench.complete(bench.prepared(allowed_places=frozenset({LOCAL})))
    assert caught.value.retry_after_s == pytest.approx(5.0, abs=0.5)


async def test_half_open_lets_one_call_through_and_its_answer_closes_it() -> None:
    first = ScriptedUpstream([HANG], [ANSWER])
    bench = bench_of(first=first, second=ScriptedUpstream([ANSWER]))
    half_open(bench)
    probing = asyncio.create_task(bench.complete())
    await first.has_begun.wait()
    _, trail = await bench.complete()
    assert trail.candidate == bench.candidates[1]
    assert len(first.calls) == 1
    probing.cancel()
    await asyncio.wait([probing])
    _, trail = await bench.complete()
    assert trail.candidate == bench.candidates[0]
    assert circuit_of(bench) is Circuit.CLOSED


async def test_a_probe_that_fails_opens_it_again() -> None:
    bench = bench_of(first=ScriptedUpstream([BREAK]), second=ScriptedUpstream([ANSWER]))
    half_open(bench)
    await bench.complete()
    assert circuit_of(bench) is Circuit.OPEN


@pytest.mark.parametrize("error", [UpstreamFull("first", "no_slot"), UpstreamCold("first", "not_up")])
async def test_a_probe_that_found_no_room_is_given_back(error: UpstreamFailed) -> None:
    first = ScriptedUpstream([ANSWER])
    bench = bench_of(first=first, second=ScriptedUpstream([ANSWER]))
    half_open(bench)
    first.reserve_errors.append(error)
    await bench.complete()
    assert state_of(bench).probe is None
    assert circuit_of(bench) is Circuit.HALF_OPEN
    await bench.fleet.probe_all(1.0)
    _, trail = await bench.complete()
    assert trail.candidate == bench.candidates[0]


@pytest.mark.parametrize(
    "error",
    [
        UpstreamRejectedRequest("first", "no such tool"),
        UpstreamRefused("first", "model_not_found", None, 404),
        UpstreamRefused("first", "context_length_exceeded", None, 400),
        DeadlineExceeded(),
        EgressForbidden("first", "cloud"),
        RuntimeError("a defect of ours"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_is_the_callers_or_our_own_fault_never_counts(error: Exception) -> None:
    bench = Bench({"first": ScriptedUpstream([error])}, (candidate_of("first"),), failure_threshold=1)
    for _ in range(3):
        with pytest.raises((GatewayError, RuntimeError)):
            await bench.complete()
    assert state_of(bench).is_quiet
    half_open(bench)
    with pytest.raises((GatewayError, RuntimeError)):
        await bench.complete()
    assert state_of(bench).probe is None  # closed by what it answered, or given back


async def test_a_rejection_shows_that_the_upstream_answers_and_closes_it() -> None:
    bench = bench_of(first=ScriptedUpstream([UpstreamRejectedRequest("first", "no such tool")]))
    half_open(bench)
    with pytest.raises(UpstreamRejectedRequest):
        await bench.complete()
    assert circuit_of(bench) is Circuit.CLOSED


async def test_a_pause_that_the_upstream_asked_for_opens_it_for_at_least_as_long() -> None:
    bench = bench_of(first=ScriptedUpstream([UpstreamRefused("first", "busy", 42.0, 503)]))
    with pytest.raises(AllUpstreamsFailed):
        await bench.complete()
    assert bench.breakers.opens_in_s("first") == pytest.approx(42.0, abs=1.0)
    assert bench.fleet.opens_in_s(["first"]) == pytest.approx(42.0, abs=1.0)


async def test_a_stream_is_a_success_only_at_its_end() -> None:
    bench = bench_of(first=ScriptedUpstream(WHOLE_STREAM))
    half_open(bench)
    stream, _ = await bench.stream()
    assert circuit_of(bench) is Circuit.HALF_OPEN
    async for _ in stream.chunks():
        pass
    assert circuit_of(bench) is Circuit.CLOSED


@pytest.mark.parametrize("step", [BREAK, UpstreamTimedOut("first", "idle"), b"\x00"])
async def test_a_stream_that_breaks_after_its_first_content_counts(step: bytes | UpstreamFailed) -> None:
    bench = Bench(
        {"first": ScriptedUpstream([ROLE, content("x"), step])}, (candidate_of("first"),), failure_threshold=1
    )
    stream, _ = await bench.stream()
    with pytest.raises(UpstreamFailed):
        async for _ in stream.chunks():
            pass
    assert circuit_of(bench) is Circuit.OPEN


async def test_a_stream_that_the_upstream_ends_with_the_callers_fault_is_an_answer() -> None:
    bench = bench_of(first=ScriptedUpstream([ROLE, content("x"), REJECTION_CHUNK]))
    half_open(bench)
    stream, _ = await bench.stream()
    with pytest.raises(UpstreamRejectedRequest):
        async for _ in stream.chunks():
            pass
    assert circuit_of(bench) is Circuit.CLOSED
    assert bench.told() == [("first", Outcome.REJECTED)]


@pytest.mark.parametrize("moment", ["plain", "before the commit", "after the commit", "deadline after the commit"])
async def test_a_call_that_was_cut_off_says_nothing_and_releases_the_probe(moment: str) -> None:
    script: Script = [ROLE, content("x"), HANG] if "after" in moment else [HANG]
    first = ScriptedUpstream(script, [ROLE, content("x"), FINISH])
    bench = bench_of(first=first)
    half_open(bench)
    if "after" in moment:
        deadline_s = 0.05 if "deadline" in moment else 5.0
        stream, _ = await bench.stream(bench.prepared(deadline_s=deadline_s, call=STREAMED))
        assert state_of(bench).probe is not None
        if "deadline" in moment:
            with pytest.raises(DeadlineExceeded):
                async for _ in stream.chunks():
                    pass
        await stream.aclose()
    else:
        task = asyncio.create_task(bench.complete() if moment == "plain" else bench.stream())
        await first.has_begun.wait()
        assert state_of(bench).probe is not None
        task.cancel()
        await asyncio.wait([task])
    assert circuit_of(bench) is Circuit.HALF_OPEN
    assert state_of(bench).probe is None
    assert await bench.fleet.may_call("first")
    bench.check_nothing_is_left()


async def test_whoever_opened_meanwhile_is_not_called_again() -> None:
    """A second call is due, but others have opened its circuit since."""
    first = ScriptedUpstream([UpstreamRefused("first", "busy", None, 409)])
    bench = bench_of(first=first)
    task = asyncio.create_task(bench.complete())
    await first.has_begun.wait()
    bench.fleet.saw(BreakerEvent("first", is_success=False, trips=True))
    with pytest.raises(AllUpstreamsFailed):
        await task
    assert len(first.calls) == 1
