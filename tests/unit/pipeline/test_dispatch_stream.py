"""Streams: failover up to the first content, none after it, and an end for every upstream that was started."""

import asyncio
import time

import pytest

from serve_app.contracts.attempt import Usage
from serve_app.contracts.chat import Chunk
from serve_app.contracts.vocabulary import Outcome
from serve_app.errors import (
    AllUpstreamsFailed,
    DeadlineExceeded,
    UpstreamBroken,
    UpstreamFailed,
    UpstreamRefused,
    UpstreamRejectedRequest,
    UpstreamTimedOut,
    UpstreamUnreachable,
)
from serve_app.pipeline.committed import CommittedStream
from serve_app.pipeline.trail import Trail
from tests.fakes.chunks import (
    FINISH,
    REJECTION_CHUNK,
    ROLE,
    SERVER_ERROR_CHUNK,
    USAGE,
    WHOLE_STREAM,
    chunk,
    content,
    usage_chunk,
)
from tests.fakes.dispatching import Bench, bench_of, call_of, candidate_of
from tests.fakes.upstreams import HANG, Pause, Script, ScriptedUpstream

BEFORE_CONTENT: dict[str, Script] = {
    "unreachable": [UpstreamUnreachable("first", "connect")],
    "timed out": [UpstreamTimedOut("first", "ReadTimeout")],
    "refused": [UpstreamRefused("first", "status_429", 1.0)],
    "broken": [UpstreamBroken("first", "ReadError")],
    "another failure": [UpstreamFailed("first", "other")],
    "an error chunk": [SERVER_ERROR_CHUNK],
    "an error chunk after the role": [ROLE, SERVER_ERROR_CHUNK],
    "rubbish": [b"<html>"],
    "rubbish after the role": [ROLE, b"\x00\xff"],
    "a chunk without choices": [b"{}"],
    "content and rubbish at once": [[ROLE, content("lost"), b"\x00"]],
    "nothing": [],
    "the role and nothing more": [ROLE],
    "the role and death": [ROLE, UpstreamBroken("first", "ReadError")],
    "usage and nothing more": [ROLE, USAGE],
}
AFTER_CONTENT: dict[str, Script] = {
    "unreachable": [UpstreamUnreachable("first", "connect")],
    "timed out": [UpstreamTimedOut("first", "ReadTimeout")],
    "refused": [UpstreamRefused("first", "status_500")],
    "broken": [UpstreamBroken("first", "ReadError")],
    "an error chunk": [SERVER_ERROR_CHUNK],
    "rubbish": [b"data"],
    "an end without a finish": [],
    "one of two choices unfinished": [chunk({"content": "x"}, index=1), FINISH],
}


async def opened(bench: Bench, deadline_s: float = 5.0) -> tuple[CommittedStream, Trail]:
    prepared = bench.prepared(deadline_s=deadline_s, call=call_of(is_streaming=True, stream=True))
    trail = bench.trail(prepared)
    return await bench.dispatcher.stream(prepared, trail), trail


async def read(stream: CommittedStream) -> list[bytes]:
    return [chunk.data async for chunks in stream.chunks() for chunk in chunks]


async def read_into(received: list[bytes], stream: CommittedStream) -> None:
    async for chunks in stream.chunks():
        received += [chunk.data for chunk in chunks]


def outcomes(bench: Bench) -> list[Outcome]:
    return [row.outcome for row in bench.attempts]


async def test_chunks_come_through_as_they_were_and_the_attempt_is_billed_as_counted() -> None:
    bench = bench_of(first=ScriptedUpstream(WHOLE_STREAM))
    stream, trail = await opened(bench)
    assert bench.num_in_flight == 1
    assert bench.attempts == []
    assert await read(stream) == list(WHOLE_STREAM)
    (row,) = bench.attempts
    assert (row.outcome, row.usage) == (Outcome.COMPLETED, Usage(7, 3, is_estimated=False))
    assert row.ttft_s is not None
    assert (trail.num_attempts, bench.num_in_flight) == (1, 0)


async def test_what_arrives_together_is_handed_on_together() -> None:
    batches = [[ROLE], [], [content("a"), content("b")], [], [content("c"), FINISH, USAGE]]
    bench = bench_of(first=ScriptedUpstream(batches))
    stream, _ = await opened(bench)
    assert [[c.data for c in chunks] async for chunks in stream.chunks() if chunks] == [
        [ROLE, content("a"), content("b")],
        [content("c"), FINISH, USAGE],
    ]


async def test_the_first_content_is_handed_on_before_the_second_has_come() -> None:
    bench = bench_of(first=ScriptedUpstream([ROLE, content("a"), HANG]))
    stream, _ = await opened(bench)
    chunks = stream.chunks()
    first: list[Chunk] = await asyncio.wait_for(anext(chunks), 1.0)
    assert [c.data for c in first] == [ROLE, content("a")]
    await chunks.aclose()


@pytest.mark.parametrize("script", BEFORE_CONTENT.values(), ids=BEFORE_CONTENT)
async def test_before_the_first_content_the_next_candidate_takes_over(script: Script) -> None:
    first, second = ScriptedUpstream(script), ScriptedUpstream(WHOLE_STREAM)
    bench = bench_of(first=first, second=second)
    stream, trail = await opened(bench)
    assert await read(stream) == list(WHOLE_STREAM)
    assert trail.num_attempts == 2
    assert outcomes(bench) == [Outcome.FAILED, Outcome.COMPLETED]
    assert (first.num_running, second.num_running, bench.num_in_flight) == (0, 0, 0)


@pytest.mark.parametrize("script", AFTER_CONTENT.values(), ids=AFTER_CONTENT)
async def test_after_the_first_content_a_break_ends_the_stream_and_no_other_upstream_is_tried(script: Script) -> None:
    first, second = ScriptedUpstream([ROLE, content("abcdefgh"), *script]), ScriptedUpstream(WHOLE_STREAM)
    bench = bench_of(first=first, second=second)
    stream, _ = await opened(bench)
    received: list[bytes] = []
    with pytest.raises(UpstreamFailed):
        await read_into(received, stream)
    assert received[:2] == [ROLE, content("abcdefgh")]
    assert second.calls == []
    assert outcomes(bench) == [Outcome.FAILED]
    assert bench.attempts[0].usage.num_output_tokens >= 2
    assert bench.attempts[0].usage.is_estimated
    assert (first.num_running, bench.num_in_flight) == (0, 0)


async def test_a_tool_call_is_content_and_its_stream_is_not_switched() -> None:
    piece = chunk({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "f", "arguments": '{"a'}}]})
    second = ScriptedUpstream(WHOLE_STREAM)
    bench = bench_of(first=ScriptedUpstream([ROLE, piece, UpstreamBroken("first", "ReadError")]), second=second)
    stream, _ = await opened(bench)
    with pytest.raises(UpstreamBroken):
        await read(stream)
    assert second.calls == []


async def test_an_answer_without_content_that_says_it_is_finished_is_an_answer() -> None:
    script = [ROLE, FINISH, usage_chunk(7, 0)]
    bench = bench_of(first=ScriptedUpstream(script), second=ScriptedUpstream(WHOLE_STREAM))
    stream, _ = await opened(bench)
    assert await read(stream) == script
    assert outcomes(bench) == [Outcome.COMPLETED]
    assert bench.attempts[0].ttft_s is None


@pytest.mark.parametrize("script", [[REJECTION_CHUNK], [ROLE, REJECTION_CHUNK]], ids=["at once", "after the role"])
async def test_a_rejection_is_surfaced_and_never_tried_elsewhere(script: Script) -> None:
    second = ScriptedUpstream(WHOLE_STREAM)
    bench = bench_of(first=ScriptedUpstream(script), second=second)
    with pytest.raises(UpstreamRejectedRequest):
        await opened(bench)
    assert second.calls == []
    assert outcomes(bench) == [Outcome.REJECTED]
    assert bench.num_in_flight == 0


async def test_when_no_candidate_sends_content_the_error_says_how_many_were_tried() -> None:
    bench = bench_of(first=ScriptedUpstream([ROLE]), second=ScriptedUpstream([SERVER_ERROR_CHUNK]))
    with pytest.raises(AllUpstreamsFailed) as caught:
        await opened(bench)
    assert caught.value.num_attempts == 3  # one of them once more, when nobody was left
    assert outcomes(bench) == [Outcome.FAILED] * 3
    assert bench.num_in_flight == 0


async def test_an_upstream_that_sends_no_content_is_given_up_after_so_many_bytes() -> None:
    endless = ScriptedUpstream([*[ROLE] * 100, *WHOLE_STREAM])  # fewer than the bound of chunks
    bench = bench_of(max_precommit_bytes=len(ROLE) * 10, first=endless, second=ScriptedUpstream(WHOLE_STREAM))
    stream, _ = await opened(bench)
    assert await read(stream) == list(WHOLE_STREAM)
    assert (bench.attempts[0].outcome, bench.attempts[0].error_code) == (Outcome.FAILED, "upstream_broken")
    assert endless.num_running == 0


async def test_content_within_the_bound_of_bytes_is_taken() -> None:
    bench = bench_of(max_precommit_bytes=len(ROLE) * 10, first=ScriptedUpstream([ROLE] * 9 + list(WHOLE_STREAM)))
    stream, _ = await opened(bench)
    assert len(await read(stream)) == 9 + len(WHOLE_STREAM)


async def test_a_deadline_before_the_first_content_is_not_spent_on_another_candidate() -> None:
    first, second = ScriptedUpstream([ROLE, HANG]), ScriptedUpstream(WHOLE_STREAM)
    bench = bench_of(first=first, second=second)
    with pytest.raises(DeadlineExceeded):
        await opened(bench, deadline_s=0.1)
    assert second.calls == []
    assert outcomes(bench) == [Outcome.TIMED_OUT]
    assert (first.num_running, bench.num_in_flight) == (0, 0)


async def test_a_deadline_after_the_first_content_breaks_the_stream() -> None:
    first = ScriptedUpstream([ROLE, content("abcd"), HANG])
    bench = bench_of(first=first)
    stream, _ = await opened(bench, deadline_s=0.1)
    received: list[bytes] = []
    with pytest.raises(DeadlineExceeded):
        await read_into(received, stream)
    assert received == [ROLE, content("abcd")]
    assert outcomes(bench) == [Outcome.TIMED_OUT]
    assert bench.attempts[0].usage.num_output_tokens == 1
    assert (first.num_running, bench.num_in_flight) == (0, 0)


async def test_a_reader_that_leaves_closes_the_upstream_and_is_billed_what_it_got() -> None:
    first = ScriptedUpstream([ROLE, content("abcdefgh"), HANG])
    bench = bench_of(first=first)
    stream, _ = await opened(bench)
    chunks = stream.chunks()
    await anext(chunks)
    await chunks.aclose()
    (row,) = bench.attempts
    assert (row.outcome, row.error_code) == (Outcome.CANCELLED, None)
    assert row.usage == Usage(10, 2, is_estimated=True)
    assert (first.num_running, bench.num_in_flight) == (0, 0)


async def test_a_stream_that_nobody_reads_is_ended_by_closing_it() -> None:
    first = ScriptedUpstream([ROLE, content("abcd"), HANG])
    bench = bench_of(first=first)
    stream, _ = await opened(bench)
    await stream.aclose()
    assert outcomes(bench) == [Outcome.CANCELLED]
    assert (first.num_running, bench.num_in_flight) == (0, 0)


async def test_closing_a_stream_again_or_after_its_end_changes_nothing() -> None:
    bench = bench_of(first=ScriptedUpstream(WHOLE_STREAM))
    stream, _ = await opened(bench)
    await read(stream)
    await stream.aclose()
    await stream.aclose()
    assert outcomes(bench) == [Outcome.COMPLETED]
    assert bench.num_in_flight == 0


async def test_a_reader_cancelled_while_it_waits_ends_the_upstream() -> None:
    first = ScriptedUpstream([ROLE, content("abcd"), HANG])
    bench = bench_of(first=first)
    stream, _ = await opened(bench)
    task = asyncio.create_task(read(stream))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert outcomes(bench) == [Outcome.CANCELLED]
    assert (first.num_running, bench.num_in_flight) == (0, 0)


async def test_a_request_cancelled_at_any_turn_of_the_loop_settles_once_and_leaves_nothing_open() -> None:
    async def whole(bench: Bench) -> None:
        stream, _ = await opened(bench)
        try:
            await read(stream)
        finally:
            await stream.aclose()

    for num_turns in range(40):
        first = ScriptedUpstream([ROLE, UpstreamBroken("first", "x")])
        second = ScriptedUpstream([Pause(0), *WHOLE_STREAM, Pause(0)])
        bench = bench_of(first=first, second=second)
        task = asyncio.create_task(whole(bench))
        for _ in range(num_turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert len(bench.attempts) == len(first.calls) + len(second.calls)
        assert [row.id for row in bench.attempts] == [row.id for row in bench.sink.opened]
        assert [row.number for row in bench.attempts] == list(range(1, len(bench.attempts) + 1))
        assert (first.num_running, second.num_running, bench.num_in_flight) == (0, 0, 0)


async def test_a_defect_of_an_upstream_ends_the_request_and_gives_everything_back() -> None:
    first, second = ScriptedUpstream([ROLE, RuntimeError("a defect")]), ScriptedUpstream(WHOLE_STREAM)
    bench = bench_of(first=first, second=second)
    with pytest.raises(RuntimeError):
        await opened(bench)
    assert second.calls == []
    assert outcomes(bench) == [Outcome.FAILED]
    assert (first.num_running, bench.num_in_flight) == (0, 0)


async def test_a_slot_is_held_until_the_stream_has_ended() -> None:
    first = ScriptedUpstream([ROLE, content("a"), Pause(0.05), FINISH], WHOLE_STREAM)
    bench = Bench({"first": first}, (candidate_of("first", max_in_flight=1),))
    held, _ = await opened(bench)
    started = time.monotonic()
    second = asyncio.create_task(opened(bench))
    await asyncio.sleep(0.01)
    assert len(first.calls) == 1
    await read(held)
    stream, trail = await second
    assert trail.queue_s > 0.03
    assert trail.queue_s + trail.upstream_s <= time.monotonic() - started  # no moment counts twice
    await stream.aclose()
    assert bench.num_in_flight == 0


async def test_the_time_to_the_first_content_is_remembered_without_the_wait_for_a_slot() -> None:
    first = ScriptedUpstream([ROLE, content("a"), Pause(0.4), FINISH], WHOLE_STREAM)
    bench = Bench({"first": first}, (candidate_of("first", max_in_flight=1),))
    held, _ = await opened(bench)
    waiting = asyncio.create_task(opened(bench))
    await read(held)
    stream, _ = await waiting
    await stream.aclose()
    seen_s = bench.fleet.snapshot().state_of("first").ttft_s
    assert seen_s is not None
    assert seen_s < 0.06


async def test_a_content_chunk_costs_the_dispatcher_little() -> None:
    num = 2000
    bench = bench_of(first=ScriptedUpstream([ROLE, *[content("word ")] * num, FINISH]))
    stream, _ = await opened(bench)
    started = time.monotonic()
    assert len(await read(stream)) == num + 2
    assert (time.monotonic() - started) / num < 0.001


@pytest.mark.parametrize("end", [UpstreamBroken("first", "connection_lost"), UpstreamTimedOut("first", "idle")])
async def test_a_break_after_every_choice_has_finished_spoils_nothing(end: UpstreamFailed) -> None:
    bench = bench_of(first=ScriptedUpstream([ROLE, content("all of it"), FINISH, end]))
    stream, _ = await opened(bench)
    assert await read(stream) == [ROLE, content("all of it"), FINISH]
    assert outcomes(bench) == [Outcome.COMPLETED]
    assert bench.num_in_flight == 0
