"""Each limit of an attempt: before the commit the next candidate takes over, after it the error is typed."""

import asyncio
import time

import pytest

from serve_app.contracts.deadline import Deadline
from serve_app.contracts.fleet import TimeLimits
from serve_app.contracts.vocabulary import Outcome
from serve_app.errors import AllUpstreamsFailed, DeadlineExceeded, UpstreamTimedOut
from serve_app.pipeline.committed import CommittedStream
from serve_app.pipeline.waiting import LimitPassed, within
from tests.fakes.chunks import FINISH, ROLE, WHOLE_STREAM, completion, content
from tests.fakes.dispatching import STREAMED, Bench, call_of, candidate_of
from tests.fakes.upstreams import HANG, Pause, Script, ScriptedUpstream, Step

ANSWER = completion("Hello")
ENDLESS_ROLES: list[Step] = [step for _ in range(200) for step in (ROLE, Pause(0.005))]


def limited(first: Script, limits: TimeLimits, second: Script = WHOLE_STREAM) -> Bench:
    upstreams = {"first": ScriptedUpstream(first), "second": ScriptedUpstream(second)}
    return Bench(upstreams, (candidate_of("first", time_limits=limits), candidate_of("second")))


async def read(stream: CommittedStream) -> list[bytes]:
    return [chunk.data async for chunks in stream.chunks() for chunk in chunks]


@pytest.mark.parametrize("script", [[HANG], [ROLE, HANG], ENDLESS_ROLES], ids=["silent", "role alone", "roles"])
async def test_no_first_content_in_time_goes_to_the_next_candidate(script: Script) -> None:
    bench = limited(script, TimeLimits(first_token_s=0.05))
    stream, trail = await bench.stream()
    assert await read(stream) == list(WHOLE_STREAM)
    assert trail.num_attempts == 2
    assert bench.told() == [("first", Outcome.FAILED), ("second", Outcome.COMPLETED)]
    assert bench.attempts[0].error_code == "upstream_timed_out"
    assert bench.attempts[0].usage.num_input_tokens == 10  # it took the prompt
    bench.check_nothing_is_left()


async def test_the_limit_to_the_first_content_does_not_begin_again_with_each_chunk() -> None:
    bench = limited(ENDLESS_ROLES, TimeLimits(first_token_s=0.05))
    started = time.monotonic()
    await (await bench.stream())[0].aclose()
    assert time.monotonic() - started < 0.5


async def test_waiting_for_a_slot_is_not_the_upstreams_slowness() -> None:
    first = ScriptedUpstream([Pause(0.06), *WHOLE_STREAM])
    candidate = candidate_of("first", max_in_flight=1, time_limits=TimeLimits(first_token_s=0.1))
    bench = Bench({"first": first}, (candidate,))

    async def whole() -> list[bytes]:
        return await read((await bench.stream())[0])

    assert await asyncio.gather(*(whole() for _ in range(3))) == [list(WHOLE_STREAM)] * 3


async def test_a_gap_after_the_commit_is_a_typed_error_and_no_switch() -> None:
    bench = limited([ROLE, content("abcd"), HANG], TimeLimits(gap_s=0.03))
    stream, _ = await bench.stream()
    with pytest.raises(UpstreamTimedOut) as caught:
        await read(stream)
    assert caught.value.detail == "gap"
    assert bench.told() == [("first", Outcome.FAILED)]
    assert bench.attempts[0].usage.num_output_tokens == 1
    bench.check_nothing_is_left()


async def test_a_stream_that_crawls_after_the_commit_is_ended_by_its_throughput() -> None:
    crawling: list[Step] = [ROLE, content("a"), *[step for _ in range(50) for step in (Pause(0.03), content("a"))]]
    limits = TimeLimits(min_tokens_per_s=100.0, throughput_window_s=0.2)
    bench = limited([*crawling, FINISH], limits)
    stream, _ = await bench.stream()
    with pytest.raises(UpstreamTimedOut) as caught:
        await read(stream)
    assert caught.value.detail == "throughput"
    assert bench.told() == [("first", Outcome.FAILED)]
    bench.check_nothing_is_left()


async def test_a_reader_of_ours_that_is_slow_does_not_make_the_upstream_look_slow() -> None:
    limits = TimeLimits(gap_s=0.05, min_tokens_per_s=100.0, throughput_window_s=0.05)
    bench = limited([ROLE, *[content("a")] * 6, FINISH], limits)
    stream, _ = await bench.stream()
    received = []
    async for chunks in stream.chunks():
        received += [chunk.data for chunk in chunks]
        await asyncio.sleep(0.03)
    assert received[-1] == FINISH
    assert bench.told() == [("first", Outcome.COMPLETED)]


async def test_a_slow_end_after_every_choice_finished_is_no_failure() -> None:
    limits = TimeLimits(min_tokens_per_s=1000.0, throughput_window_s=0.02)
    bench = limited([ROLE, content("a"), FINISH, Pause(0.05), *WHOLE_STREAM[-1:]], limits)
    stream, _ = await bench.stream()
    assert (await read(stream))[-1] == WHOLE_STREAM[-1]
    assert bench.told() == [("first", Outcome.COMPLETED)]


async def test_no_whole_answer_in_time_goes_to_the_next_candidate() -> None:
    limits = TimeLimits(first_token_s=0.02, min_tokens_per_s=1000.0)
    bench = limited([HANG], limits, [ANSWER])
    body, _ = await bench.complete(bench.prepared(call=call_of(max_output_tokens=20)))
    assert body == ANSWER
    assert bench.told() == [("first", Outcome.FAILED), ("second", Outcome.COMPLETED)]
    assert bench.attempts[0].error_code == "upstream_timed_out"
    bench.check_nothing_is_left()


async def test_a_longer_answer_may_take_longer() -> None:
    limits = TimeLimits(first_token_s=0.02, min_tokens_per_s=1000.0)
    bench = limited([Pause(0.06), ANSWER], limits, [ANSWER])
    await bench.complete(bench.prepared(call=call_of(max_output_tokens=400)))
    assert bench.told() == [("first", Outcome.COMPLETED)]


@pytest.mark.parametrize("is_streaming", [False, True])
async def test_the_deadline_wins_over_every_limit(is_streaming: bool) -> None:
    bench = limited([HANG], TimeLimits(first_token_s=9.0, gap_s=9.0))
    prepared = bench.prepared(deadline_s=0.05, call=STREAMED if is_streaming else call_of())
    with pytest.raises(DeadlineExceeded):
        await (bench.stream(prepared) if is_streaming else bench.complete(prepared))
    assert bench.told() == [("first", Outcome.TIMED_OUT)]
    bench.check_nothing_is_left()


async def test_the_next_candidate_is_tried_only_if_what_is_left_covers_its_usual_time() -> None:
    bench = limited([HANG], TimeLimits(first_token_s=0.05))
    bench.has_seen("second", 10.0)
    with pytest.raises(AllUpstreamsFailed):
        await bench.stream(bench.prepared(deadline_s=2.0, call=STREAMED))
    assert bench.told() == [("first", Outcome.FAILED)]


@pytest.mark.parametrize("num_chunks", [4, 5])
async def test_chunks_without_content_are_bounded_in_number(num_chunks: int) -> None:
    upstreams = {"first": ScriptedUpstream([*[ROLE] * num_chunks, *WHOLE_STREAM[1:]])}
    bench = Bench(upstreams, (candidate_of("first"),), max_precommit_bytes=10**6, max_precommit_chunks=4)
    if num_chunks == 4:
        assert len(await read((await bench.stream())[0])) == 8
        return
    with pytest.raises(AllUpstreamsFailed):
        await bench.stream()
    bench.check_nothing_is_left()


async def test_of_a_deadline_and_a_limit_the_earlier_one_is_told() -> None:
    for deadline_s, limit_s, error in ((0.01, 1.0, DeadlineExceeded), (1.0, 0.01, LimitPassed), (0.01, 0.01, None)):
        with pytest.raises(error or DeadlineExceeded):
            async with within(Deadline.after(deadline_s), limit_s):
                await asyncio.Event().wait()


async def test_without_a_limit_the_deadline_alone_counts() -> None:
    async with within(Deadline.after(1.0)):
        await asyncio.sleep(0)
    with pytest.raises(DeadlineExceeded):
        async with within(Deadline.after(0.01)):
            await asyncio.Event().wait()


@pytest.mark.parametrize(("least", "limit_s"), [(0.0, float("inf")), (2.0, 60.0)])
def test_a_whole_answer_may_take_as_long_as_the_slowest_stream_of_it(least: float, limit_s: float) -> None:
    assert TimeLimits(first_token_s=10.0, min_tokens_per_s=least).whole_answer_s(100) == limit_s
