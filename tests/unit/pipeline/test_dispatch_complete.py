"""Whole answers: failover, refusals, deadlines, slots and the account of every attempt."""

import asyncio
import time

import orjson
import pytest

from serve_app.contracts.attempt import Usage
from serve_app.contracts.vocabulary import LOCAL, Capability, Outcome, Reason, Tier
from serve_app.errors import (
    AllUpstreamsFailed,
    DeadlineExceeded,
    EgressForbidden,
    LocalUnavailable,
    UpstreamBroken,
    UpstreamError,
    UpstreamFailed,
    UpstreamRefused,
    UpstreamRejectedRequest,
    UpstreamTimedOut,
    UpstreamUnreachable,
)
from serve_app.pipeline.trail import Trail
from tests.fakes.chunks import completion
from tests.fakes.dispatching import Bench, bench_of, call_of, candidate_of
from tests.fakes.upstreams import HANG, Pause, Script, ScriptedUpstream

ANSWER = completion("Hello")
EVERY_FAILURE: list[UpstreamFailed] = [
    UpstreamUnreachable("first", "connect"),
    UpstreamTimedOut("first", "ReadTimeout"),
    UpstreamRefused("first", "status_503", 3.0),
    UpstreamBroken("first", "not_json"),
    UpstreamFailed("first", "other"),
]
DISGUISED: dict[str, bytes] = {
    "an error in a 200": orjson.dumps({"error": {"message": "overloaded", "code": 503}}),
    "vLLM's flat error": orjson.dumps({"object": "error", "message": "overloaded", "code": 503}),
    "rubbish": b"<html>",
    "no object": b"[]",
    "nothing": b"",
    "no choices": b'{"choices": []}',
    "a choice without a message": b'{"choices": [{}]}',
}


async def test_the_chosen_upstream_answers_and_the_attempt_is_billed_as_counted() -> None:
    first = ScriptedUpstream([ANSWER])
    bench = bench_of(first=first, second=ScriptedUpstream())
    prepared = bench.prepared(call=call_of(temperature=0.5))
    trail = bench.trail(prepared)
    assert await bench.dispatcher.complete(prepared, trail) == ANSWER
    assert trail.num_attempts == 1
    assert trail.candidate == bench.candidates[0]
    (row,) = bench.attempts
    assert (row.outcome, row.usage, row.number) == (Outcome.COMPLETED, Usage(7, 3, is_estimated=False), 1)
    assert row.reason is Reason.COMPLEX
    assert bench.num_in_flight == 0


async def test_an_order_says_where_it_may_go_and_what_time_is_left() -> None:
    first = ScriptedUpstream([ANSWER])
    bench = bench_of(first=first)
    prepared = bench.prepared(deadline_s=3.0)
    await bench.dispatcher.complete(prepared, bench.trail(prepared))
    (order,) = first.calls
    assert order.allowed_places == prepared.decision.allowed_places
    assert (order.upstream_id, order.request_id) == ("first", "r-1")
    assert 2.5 < order.remaining_s <= 3.0


@pytest.mark.parametrize("failure", EVERY_FAILURE, ids=lambda failure: type(failure).__name__)
async def test_the_next_candidate_takes_over_after_every_kind_of_failure(failure: UpstreamFailed) -> None:
    bench = bench_of(first=ScriptedUpstream([failure]), second=ScriptedUpstream([ANSWER]))
    prepared = bench.prepared()
    trail = bench.trail(prepared)
    assert await bench.dispatcher.complete(prepared, trail) == ANSWER
    assert (trail.num_attempts, trail.reason) == (2, Reason.FAILOVER)
    assert trail.candidate is not None
    assert trail.candidate.upstream.id == "second"
    assert [(row.number, row.outcome, row.error_code) for row in bench.attempts] == [
        (1, Outcome.FAILED, failure.code),
        (2, Outcome.COMPLETED, None),
    ]
    assert bench.num_in_flight == 0


@pytest.mark.parametrize("body", DISGUISED.values(), ids=DISGUISED)
async def test_an_answer_that_is_none_goes_to_the_next_candidate(body: bytes) -> None:
    bench = bench_of(first=ScriptedUpstream([body]), second=ScriptedUpstream([ANSWER]))
    prepared = bench.prepared()
    assert await bench.dispatcher.complete(prepared, bench.trail(prepared)) == ANSWER
    assert [row.outcome for row in bench.attempts] == [Outcome.FAILED, Outcome.COMPLETED]
    assert bench.num_in_flight == 0


async def test_a_rejection_is_surfaced_and_never_tried_elsewhere() -> None:
    second = ScriptedUpstream([ANSWER])
    rejection = UpstreamRejectedRequest("first", "no such tool", "tools")
    bench = bench_of(first=ScriptedUpstream([rejection]), second=second)
    prepared = bench.prepared()
    with pytest.raises(UpstreamRejectedRequest) as caught:
        await bench.dispatcher.complete(prepared, bench.trail(prepared))
    assert caught.value.param == "tools"
    assert second.calls == []
    assert [row.outcome for row in bench.attempts] == [Outcome.REJECTED]
    assert bench.num_in_flight == 0


async def test_a_rejection_inside_a_200_is_surfaced_too() -> None:
    body = orjson.dumps({"error": {"message": "bad tool", "code": 400, "param": "tools"}})
    second = ScriptedUpstream([ANSWER])
    bench = bench_of(first=ScriptedUpstream([body]), second=second)
    prepared = bench.prepared()
    with pytest.raises(UpstreamRejectedRequest):
        await bench.dispatcher.complete(prepared, bench.trail(prepared))
    assert second.calls == []


@pytest.mark.parametrize("error", [EgressForbidden("first", "cloud"), RuntimeError("a defect")], ids=["egress", "bug"])
async def test_what_is_no_failure_of_an_upstream_ends_the_request(error: Exception) -> None:
    second = ScriptedUpstream([ANSWER])
    bench = bench_of(first=ScriptedUpstream([error]), second=second)
    prepared = bench.prepared()
    with pytest.raises(type(error)):
        await bench.dispatcher.complete(prepared, bench.trail(prepared))
    assert second.calls == []
    assert [row.outcome for row in bench.attempts] == [Outcome.FAILED]
    assert bench.num_in_flight == 0


async def test_when_all_fail_one_that_may_do_better_is_called_once_more_and_the_error_says_how_many() -> None:
    bench = bench_of(
        first=ScriptedUpstream([UpstreamUnreachable("first", "connect")]),
        second=ScriptedUpstream([UpstreamRefused("second", "status_500")]),
    )
    prepared = bench.prepared()
    with pytest.raises(AllUpstreamsFailed) as caught:
        await bench.dispatcher.complete(prepared, bench.trail(prepared))
    assert caught.value.num_attempts == 3
    assert [row.upstream_id for row in bench.attempts] == ["first", "second", "first"]


def local_bench(*scripts: Script) -> Bench:
    tiers = (Tier.LOCAL_FAST, Tier.LOCAL_STANDARD)
    upstreams = {f"local{at}": ScriptedUpstream(script) for at, script in enumerate(scripts)}
    return Bench(upstreams, tuple(candidate_of(name, tier=tiers[at]) for at, name in enumerate(upstreams)))


async def test_local_only_data_whose_local_upstreams_are_all_unreachable_is_told_to_come_back() -> None:
    bench = local_bench([UpstreamUnreachable("local0", "x")], [UpstreamUnreachable("local1", "x")])
    prepared = bench.prepared(allowed_places=frozenset({LOCAL}))
    with pytest.raises(LocalUnavailable) as caught:
        await bench.dispatcher.complete(prepared, bench.trail(prepared))
    assert caught.value.retry_after_s == pytest.approx(90.0, abs=1.0)  # the expected start, while none was measured


async def test_local_only_data_whose_local_upstream_answers_badly_is_a_failure_of_upstreams() -> None:
    bench = local_bench([UpstreamUnreachable("local0", "x")], [UpstreamBroken("local1", "x")])
    prepared = bench.prepared(allowed_places=frozenset({LOCAL}))
    with pytest.raises(AllUpstreamsFailed):
        await bench.dispatcher.complete(prepared, bench.trail(prepared))


async def test_unreachable_upstreams_of_data_that_may_leave_are_a_failure_of_upstreams() -> None:
    bench = local_bench([UpstreamUnreachable("local0", "x")])
    prepared = bench.prepared()
    with pytest.raises(AllUpstreamsFailed):
        await bench.dispatcher.complete(prepared, bench.trail(prepared))


async def test_the_deadline_ends_an_attempt_and_no_other_is_made() -> None:
    first, second = ScriptedUpstream([HANG]), ScriptedUpstream([ANSWER])
    bench = bench_of(first=first, second=second)
    prepared = bench.prepared(deadline_s=0.1)
    with pytest.raises(DeadlineExceeded):
        await bench.dispatcher.complete(prepared, bench.trail(prepared))
    assert second.calls == []
    assert [(row.outcome, row.error_code) for row in bench.attempts] == [(Outcome.TIMED_OUT, "deadline_exceeded")]
    assert (first.num_running, bench.num_in_flight) == (0, 0)


async def test_a_deadline_that_has_passed_makes_no_attempt() -> None:
    first = ScriptedUpstream([ANSWER])
    bench = bench_of(first=first)
    prepared = bench.prepared(deadline_s=0.0)
    trail = bench.trail(prepared)
    with pytest.raises(DeadlineExceeded):
        await bench.dispatcher.complete(prepared, trail)
    assert (first.calls, bench.attempts, trail.num_attempts) == ([], [], 0)


async def test_attempts_share_the_one_deadline() -> None:
    second = ScriptedUpstream([HANG])
    bench = bench_of(first=ScriptedUpstream([Pause(0.05), UpstreamBroken("first", "x")]), second=second)
    prepared = bench.prepared(deadline_s=0.1)
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await bench.dispatcher.complete(prepared, bench.trail(prepared))
    assert time.monotonic() - started < 0.5
    assert second.calls[0].remaining_s < 0.06
    assert [row.outcome for row in bench.attempts] == [Outcome.FAILED, Outcome.TIMED_OUT]


async def test_a_failure_that_uses_up_the_deadline_is_a_passed_deadline() -> None:
    late: list[Exception | Pause] = [Pause(0.03), UpstreamTimedOut("first", "ReadTimeout")]
    bench = bench_of(first=_Stubborn(late))
    prepared = bench.prepared(deadline_s=0.02)
    with pytest.raises(DeadlineExceeded):
        await bench.dispatcher.complete(prepared, bench.trail(prepared))


class _Stubborn(ScriptedUpstream):
    """Fails in its own way when it is cancelled, as an upstream whose own timer fires at the same moment does."""

    def __init__(self, _: object) -> None:
        super().__init__([HANG])

    async def complete(self, call: object) -> bytes:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise UpstreamTimedOut("first", "ReadTimeout") from None
        raise AssertionError


@pytest.mark.parametrize("moment", ["waiting for a slot", "waiting for the upstream"])
async def test_a_cancelled_request_settles_its_attempt_and_gives_its_slot_back(moment: str) -> None:
    first = ScriptedUpstream([HANG])
    bench = Bench({"first": first}, (candidate_of("first", max_in_flight=1),))
    prepared = bench.prepared()
    tasks = [asyncio.create_task(bench.dispatcher.complete(prepared, bench.trail(prepared))) for _ in range(2)]
    await first.has_begun.wait()
    await asyncio.sleep(0)
    running, waiting = tasks
    target = waiting if moment == "waiting for a slot" else running
    target.cancel()
    with pytest.raises(asyncio.CancelledError):
        await target
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    num_calls = 1 if target is waiting else 2  # the slot that was given back served the other one
    assert [row.outcome for row in bench.attempts] == [Outcome.CANCELLED] * num_calls
    assert len(first.calls) == len(bench.sink.opened) == num_calls
    assert (first.num_running, bench.num_in_flight) == (0, 0)
    async with bench.fleet.slot("first", 0.0, waits_for_start=False):
        assert bench.num_in_flight == 1


async def test_a_request_cancelled_at_any_turn_of_the_loop_settles_once_and_leaves_nothing_open() -> None:
    for num_turns in range(12):
        first = ScriptedUpstream([UpstreamBroken("first", "x")])
        second = ScriptedUpstream([Pause(0), Pause(0), ANSWER])
        bench = bench_of(first=first, second=second)
        prepared = bench.prepared()
        task = asyncio.create_task(bench.dispatcher.complete(prepared, bench.trail(prepared)))
        for _ in range(num_turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert len(bench.attempts) == len(first.calls) + len(second.calls)
        assert [row.id for row in bench.attempts] == [row.id for row in bench.sink.opened]
        assert len({row.number for row in bench.attempts}) == len(bench.attempts)
        assert (first.num_running, second.num_running, bench.num_in_flight) == (0, 0, 0)


async def test_waiting_for_a_slot_is_queue_time_and_the_upstreams_work_is_not() -> None:
    bench = Bench({"first": ScriptedUpstream([Pause(0.05), ANSWER])}, (candidate_of("first", max_in_flight=1),))
    prepared = bench.prepared()

    async def timed() -> tuple[Trail, float]:
        trail, started = bench.trail(prepared), time.monotonic()
        await bench.dispatcher.complete(prepared, trail)
        return trail, time.monotonic() - started

    (first, _), (second, elapsed_s) = await asyncio.gather(timed(), timed())
    assert first.queue_s < second.queue_s
    assert second.queue_s > 0.04
    assert min(first.upstream_s, second.upstream_s) > 0.04
    assert second.queue_s + second.upstream_s <= elapsed_s  # no moment counts twice


async def test_the_time_of_a_failed_attempt_is_the_upstreams_and_not_the_gateways() -> None:
    first = ScriptedUpstream([Pause(0.05), UpstreamBroken("first", "x")])
    bench = bench_of(first=first, second=ScriptedUpstream([ANSWER]))
    prepared = bench.prepared()
    trail = bench.trail(prepared)
    await bench.dispatcher.complete(prepared, trail)
    assert trail.upstream_s > 0.04


async def test_a_slot_that_never_comes_free_ends_with_the_deadline() -> None:
    first = ScriptedUpstream([ANSWER])
    bench = Bench({"first": first}, (candidate_of("first", max_in_flight=1),))
    prepared = bench.prepared(deadline_s=0.1)
    trail = bench.trail(prepared)
    async with bench.fleet.slot("first", 0.0, waits_for_start=False):
        with pytest.raises(DeadlineExceeded):
            await bench.dispatcher.complete(prepared, trail)
    assert (first.calls, bench.sink.opened, trail.num_attempts) == ([], [], 0)
    assert trail.queue_s > 0.08
    assert bench.num_in_flight == 0


async def test_an_unreachable_upstream_is_not_chosen_again_until_it_is_found() -> None:
    bench = bench_of(
        first=ScriptedUpstream([UpstreamUnreachable("first", "connect")]), second=ScriptedUpstream([ANSWER])
    )
    prepared = bench.prepared()
    await bench.dispatcher.complete(prepared, bench.trail(prepared))
    snapshot = bench.fleet.snapshot()
    assert [snapshot.state_of(upstream_id).is_available for upstream_id in ("first", "second")] == [False, True]
    await bench.fleet.probe_all(1.0)
    assert bench.fleet.snapshot().state_of("first").is_available


async def test_embeddings_go_to_the_upstreams_own_method_and_are_billed_their_input() -> None:
    body = orjson.dumps({"object": "list", "data": [{"embedding": [0.1]}], "usage": {"prompt_tokens": 4}})
    bench = bench_of(first=_Embedder([body]))
    prepared = bench.prepared(call=call_of(needs=frozenset({Capability.EMBEDDINGS}), input="x"))
    assert await bench.dispatcher.complete(prepared, bench.trail(prepared)) == body
    assert bench.attempts[0].usage == Usage(4, 0, is_estimated=False)


class _Embedder(ScriptedUpstream):
    async def complete(self, call: object) -> bytes:
        raise AssertionError("embeddings were asked for as a chat")


async def test_an_answer_without_a_count_is_billed_by_estimate() -> None:
    bench = bench_of(first=ScriptedUpstream([completion("x" * 40, usage=None)]))
    prepared = bench.prepared()
    await bench.dispatcher.complete(prepared, bench.trail(prepared))
    assert bench.attempts[0].usage == Usage(10, 10, is_estimated=True)


@pytest.mark.parametrize("error", EVERY_FAILURE, ids=lambda failure: type(failure).__name__)
def test_every_failure_is_an_upstreams_error(error: UpstreamFailed) -> None:
    assert isinstance(error, UpstreamError)
