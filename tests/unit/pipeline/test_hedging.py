"""Two upstreams at once: when, whom, how often, and what becomes of the one that lost."""

import asyncio

import pytest

from serve_app.contracts.breaker import BreakerEvent
from serve_app.contracts.tenant import Budget, Tenant
from serve_app.contracts.vocabulary import LOCAL, DataClass, Outcome, Reason, Tier
from serve_app.errors import (
    AllUpstreamsFailed,
    UpstreamBroken,
    UpstreamFull,
    UpstreamRejectedRequest,
    UpstreamUnreachable,
)
from serve_app.pipeline.committed import CommittedStream
from serve_app.resilience.hedging import HedgePolicy
from tests.fakes.chunks import FINISH, ROLE, WHOLE_STREAM, completion, content
from tests.fakes.dispatching import PLACES, STREAMED, Bench, call_of, candidate_of
from tests.fakes.upstreams import HANG, Pause, Script, ScriptedUpstream

ANSWER, OTHER = completion("Hello"), completion("Other")
ALWAYS = HedgePolicy(is_enabled=True, max_share=1.0, min_samples=5)
SLOW: Script = [Pause(1.0), ANSWER]
BOTH_WAYS = pytest.mark.parametrize("is_streaming", [False, True])


def racing(*scripts: Script, hedging: HedgePolicy = ALWAYS, usual_s: float = 0.02, num_seen: int = 5) -> Bench:
    """Candidates `u0`, `u1` and so on, of which each has been seen to answer in `usual_s`."""
    upstreams = {f"u{at}": ScriptedUpstream(script) for at, script in enumerate(scripts)}
    bench = Bench(upstreams, tuple(candidate_of(name) for name in upstreams), hedging=hedging)
    for name in upstreams:
        bench.has_seen(name, usual_s, times=num_seen)
    return bench


def upstream(bench: Bench, name: str) -> ScriptedUpstream:
    found = bench.upstreams[name]
    assert isinstance(found, ScriptedUpstream)
    return found


async def ask(bench: Bench, *, is_streaming: bool, tenant: Tenant | None = None) -> tuple[list[bytes], Reason | None]:
    """What came, with the reason that was told by then; nothing may still run beside it."""
    prepared = bench.prepared(call=STREAMED if is_streaming else call_of(), tenant=tenant)
    if not is_streaming:
        body, trail = await bench.complete(prepared)
        bench.check_nothing_is_left()
        return [body], trail.reason
    stream, trail = await bench.stream(prepared)
    assert bench.num_in_flight == 1
    assert len(bench.sink.opened) - len(bench.attempts) == 1
    received = [chunk.data async for chunks in stream.chunks() for chunk in chunks]
    bench.check_nothing_is_left()
    return received, trail.reason


def whole(is_streaming: bool, text: str = "Hello") -> Script:
    return [ROLE, content(text), FINISH] if is_streaming else [completion(text)]


@BOTH_WAYS
async def test_the_quicker_one_answers_and_the_loser_is_cancelled_and_settled_before_that(is_streaming: bool) -> None:
    bench = racing([HANG], whole(is_streaming, "Other"))
    received, reason = await ask(bench, is_streaming=is_streaming)
    assert received == list(whole(is_streaming, "Other"))
    assert reason is Reason.HEDGED
    assert sorted(bench.told()) == [("u0", Outcome.CANCELLED), ("u1", Outcome.COMPLETED)]
    assert [row.reason for row in bench.sink.opened] == [Reason.COMPLEX, Reason.HEDGED]
    assert upstream(bench, "u0").num_running == 0


@BOTH_WAYS
async def test_the_first_one_may_still_win_and_then_nothing_says_hedged(is_streaming: bool) -> None:
    bench = racing([Pause(0.06), *whole(is_streaming)], [HANG])
    received, reason = await ask(bench, is_streaming=is_streaming)
    assert (received, reason) == (list(whole(is_streaming)), Reason.COMPLEX)
    assert sorted(bench.told()) == [("u0", Outcome.COMPLETED), ("u1", Outcome.CANCELLED)]


@BOTH_WAYS
async def test_whoever_answers_in_its_usual_time_is_not_hedged(is_streaming: bool) -> None:
    bench = racing(whole(is_streaming), [HANG], usual_s=0.5)
    await ask(bench, is_streaming=is_streaming)
    assert upstream(bench, "u1").calls == []


@pytest.mark.parametrize("num_seen", [4, 5])
async def test_nothing_is_hedged_on_too_few_samples(num_seen: int) -> None:
    bench = racing([Pause(0.1), ANSWER], [OTHER], num_seen=num_seen)
    await ask(bench, is_streaming=False)
    assert len(upstream(bench, "u1").calls) == (0 if num_seen == 4 else 1)


async def test_nothing_is_hedged_where_it_is_off() -> None:
    bench = racing([Pause(0.1), ANSWER], [OTHER], hedging=HedgePolicy(is_enabled=False, max_share=1.0, min_samples=1))
    await ask(bench, is_streaming=False)
    assert upstream(bench, "u1").calls == []


async def test_no_more_than_the_stated_share_of_requests_is_hedged() -> None:
    bench = racing([Pause(0.04), ANSWER], [HANG], hedging=HedgePolicy(is_enabled=True, max_share=0.25, min_samples=5))
    for _ in range(12):
        bench.has_seen("u0", 0.02, times=300)
        await ask(bench, is_streaming=False)
    assert len(upstream(bench, "u1").calls) == 3


async def test_an_upstream_that_is_down_or_whose_circuit_is_not_closed_is_no_hedge() -> None:
    bench = racing([Pause(0.1), ANSWER], [OTHER], [OTHER], [OTHER])
    bench.fleet.saw_failure("u1", UpstreamUnreachable("u1", "connect"))
    bench.fleet.saw(BreakerEvent("u2", is_success=False, trips=True))
    bench.has_seen("u3", 100.0, times=20)  # and one that would not be in time
    await ask(bench, is_streaming=False)
    assert bench.told() == [("u0", Outcome.COMPLETED)]


async def test_a_hedge_takes_whoever_comes_next_and_could() -> None:
    bench = racing([HANG], [OTHER], [OTHER])
    bench.fleet.saw_failure("u1", UpstreamUnreachable("u1", "connect"))
    await ask(bench, is_streaming=False)
    assert sorted(bench.told()) == [("u0", Outcome.CANCELLED), ("u2", Outcome.COMPLETED)]


async def test_without_another_candidate_there_is_no_race() -> None:
    bench = racing([Pause(0.06), ANSWER])
    await ask(bench, is_streaming=False)
    assert bench.told() == [("u0", Outcome.COMPLETED)]


@BOTH_WAYS
async def test_when_both_fail_the_rest_is_tried(is_streaming: bool) -> None:
    fails: Script = [Pause(0.05), UpstreamBroken("x", "malformed_chunk")]
    bench = racing(fails, fails, whole(is_streaming))
    received, reason = await ask(bench, is_streaming=is_streaming)
    assert (received, reason) == (list(whole(is_streaming)), Reason.FAILOVER)
    assert [name for name, _ in bench.told()] == ["u0", "u1", "u2"]


async def test_a_hedge_that_fails_leaves_the_first_one_its_time() -> None:
    bench = racing([Pause(0.08), ANSWER], [UpstreamBroken("u1", "malformed_answer")], [OTHER])
    received, _ = await ask(bench, is_streaming=False)
    assert received == [ANSWER]
    assert bench.told() == [("u1", Outcome.FAILED), ("u0", Outcome.COMPLETED)]


async def test_a_hedge_without_room_costs_nothing() -> None:
    bench = racing([Pause(0.08), ANSWER], [OTHER])
    upstream(bench, "u1").reserve_errors.append(UpstreamFull("u1", "no_slot"))
    await ask(bench, is_streaming=False)
    assert bench.told() == [("u0", Outcome.COMPLETED)]


async def test_when_all_fail_in_a_race_the_error_counts_them() -> None:
    fails: Script = [Pause(0.05), UpstreamBroken("x", "malformed_answer")]
    bench = racing(fails, fails)
    with pytest.raises(AllUpstreamsFailed) as caught:
        await bench.complete()
    assert caught.value.num_attempts == 2
    bench.check_nothing_is_left()


@pytest.mark.parametrize("loser", [0, 1])
async def test_a_rejection_by_one_of_two_is_surfaced_and_the_other_is_cancelled(loser: int) -> None:
    rejects: Script = [Pause(0.05), UpstreamRejectedRequest("x", "no such tool")]
    bench = racing(*([rejects, [HANG]] if loser else [[HANG], rejects]))
    with pytest.raises(UpstreamRejectedRequest):
        await bench.complete()
    assert bench.told() == [(f"u{1 - loser}", Outcome.REJECTED), (f"u{loser}", Outcome.CANCELLED)]
    bench.check_nothing_is_left()


@BOTH_WAYS
@pytest.mark.parametrize("turn", range(8))
async def test_of_two_that_answer_at_the_same_moment_one_goes_on_and_the_other_is_closed(
    is_streaming: bool, turn: int
) -> None:
    """Both have ended when the race looks again. Whose answer it takes is chance, whose it tells is not."""
    upstreams = {name: _Released(whole(is_streaming, name)) for name in ("u0", "u1")}
    bench = Bench(upstreams, tuple(candidate_of(name) for name in upstreams), hedging=ALWAYS)
    bench.has_seen("u0", 0.02)
    request = asyncio.create_task(ask(bench, is_streaming=is_streaming))
    await upstreams["u1"].has_begun.wait()
    for one in list(upstreams.values())[:: -1 if turn % 2 else 1]:
        one.may_answer.set()
    received, reason = await request
    assert (reason is Reason.HEDGED) is (received == list(whole(is_streaming, "u1")))
    assert received in (list(whole(is_streaming, "u0")), list(whole(is_streaming, "u1")))
    outcomes = sorted(outcome for _, outcome in bench.told())
    assert outcomes == [Outcome.CANCELLED if is_streaming else Outcome.COMPLETED, Outcome.COMPLETED]


class _Released(ScriptedUpstream):
    """Answers when it is told to."""

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        self.may_answer = asyncio.Event()

    async def stream(self, call):  # type: ignore[no-untyped-def] # as the base's
        self.has_begun.set()
        await self.may_answer.wait()
        async for batch in super().stream(call):
            yield batch


@BOTH_WAYS
async def test_a_caller_that_leaves_during_a_race_ends_both(is_streaming: bool) -> None:
    bench = racing([HANG], [HANG])
    task = asyncio.create_task(ask(bench, is_streaming=is_streaming))
    await upstream(bench, "u1").has_begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(bench.told()) == [("u0", Outcome.CANCELLED), ("u1", Outcome.CANCELLED)]
    bench.check_nothing_is_left()


@BOTH_WAYS
async def test_a_caller_that_leaves_at_any_turn_of_a_race_leaves_nothing_open(is_streaming: bool) -> None:
    """Also while the loser takes its time to go: by then there is an answer that nobody will take."""
    for num_turns in range(40):
        upstreams = {"u0": _SlowToGo([HANG]), "u1": ScriptedUpstream(whole(is_streaming, "Other"))}
        bench = Bench(upstreams, tuple(candidate_of(name) for name in upstreams), hedging=ALWAYS)
        bench.has_seen("u0", 0.0)
        prepared = bench.prepared(call=STREAMED if is_streaming else call_of())
        request = bench.stream(prepared) if is_streaming else bench.complete(prepared)
        task = asyncio.create_task(request)
        for _ in range(num_turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and is_streaming:
            stream = task.result()[0]
            assert isinstance(stream, CommittedStream)
            await stream.aclose()
        bench.check_nothing_is_left()


async def test_a_caller_that_insists_on_leaving_while_the_loser_goes_leaves_nothing_open() -> None:
    for num_turns in range(20):
        upstreams = {"u0": _SlowToGo([HANG]), "u1": ScriptedUpstream([HANG])}
        bench = Bench(upstreams, tuple(candidate_of(name) for name in upstreams), hedging=ALWAYS)
        bench.has_seen("u0", 0.0)
        task = asyncio.create_task(bench.complete())
        await upstreams["u1"].has_begun.wait()
        task.cancel()
        for _ in range(num_turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        bench.check_nothing_is_left()


class _SlowToGo(ScriptedUpstream):
    async def stream(self, call):  # type: ignore[no-untyped-def] # as the base's
        try:
            async for batch in super().stream(call):
                yield batch
        finally:
            for _ in range(12):
                await asyncio.sleep(0)


@BOTH_WAYS
async def test_the_losers_money_is_settled_before_the_answer_goes_on(is_streaming: bool) -> None:
    tenant = Tenant("t-1", frozenset(Tier), PLACES, DataClass.PUBLIC, budget=Budget(day_usd=1.0))
    bench = racing([HANG], whole(is_streaming))
    await ask(bench, is_streaming=is_streaming, tenant=tenant)
    spent_nano_usd = sum(round(row.cost_usd * 1e9) for row in bench.attempts)
    assert bench.wallet.used.total() == spent_nano_usd > 0
    assert len(bench.wallet.taken) == len(bench.wallet.settled) == 2


async def test_a_hedge_stays_inside_the_decision() -> None:
    """The candidates of the fleet that the decision left out are not asked, however idle they are."""
    candidates = (candidate_of("home", tier=Tier.LOCAL_FAST), candidate_of("cloud"))
    upstreams = {"home": ScriptedUpstream([Pause(0.06), ANSWER]), "cloud": ScriptedUpstream([OTHER])}
    bench = Bench(upstreams, candidates, hedging=ALWAYS)
    bench.has_seen("home", 0.02)
    bench.has_seen("cloud", 0.02)
    prepared = bench.prepared(allowed_places=frozenset({LOCAL}), candidates=candidates[:1])
    await bench.complete(prepared)
    assert upstreams["cloud"].calls == []


@BOTH_WAYS
async def test_the_losers_breaker_hears_nothing_and_its_time_is_not_learnt(is_streaming: bool) -> None:
    bench = racing([HANG], whole(is_streaming))
    bench.breakers.saw(BreakerEvent("u0", is_success=False))
    before = bench.breakers._states["u0"].num_failures
    await ask(bench, is_streaming=is_streaming)
    assert bench.breakers._states["u0"].num_failures == before == 1
    assert len(bench.fleet.latency("u0", is_streaming=is_streaming)) == 5


@pytest.mark.parametrize("step", [UpstreamBroken("u1", "connection_lost")])
async def test_after_a_race_was_won_a_break_is_no_reason_to_switch(step: UpstreamBroken) -> None:
    bench = racing([HANG], [ROLE, content("x"), step], list(WHOLE_STREAM))
    with pytest.raises(UpstreamBroken):
        await ask(bench, is_streaming=True)
    assert bench.told() == [("u0", Outcome.CANCELLED), ("u1", Outcome.FAILED)]
    bench.check_nothing_is_left()
