"""What holds of every request, whatever its upstreams do: one end, one row a call, and nothing kept."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import hypothesis.strategies as st
from hypothesis import given, settings

from serve_app.contracts.fleet import TimeLimits
from serve_app.contracts.tenant import Budget, Tenant
from serve_app.contracts.upstream import UpstreamCall
from serve_app.contracts.vocabulary import LOCAL, DataClass, Outcome, Tier
from serve_app.errors import (
    GatewayError,
    UpstreamBroken,
    UpstreamCold,
    UpstreamFailed,
    UpstreamFull,
    UpstreamRefused,
    UpstreamRejectedRequest,
    UpstreamTimedOut,
    UpstreamUnreachable,
)
from serve_app.resilience import table
from serve_app.resilience.hedging import HedgePolicy
from tests.fakes.chunks import FINISH, ROLE, SERVER_ERROR_CHUNK, completion, content
from tests.fakes.dispatching import NO_HEDGING, PLACES, STREAMED, Bench, call_of, candidate_of
from tests.fakes.upstreams import HANG, Pause, Script, ScriptedUpstream, Step

ANSWER = completion("Hello")
DEADLINE_S = 0.08
FAILURES: dict[str, BaseException] = {
    "unreachable": UpstreamUnreachable("x", "connect"),
    "timed out": UpstreamTimedOut("x", "connect"),
    "busy": UpstreamRefused("x", "busy", None, 503),
    "busy for long": UpstreamRefused("x", "busy", 30.0, 429),
    "key refused": UpstreamRefused("x", "key", None, 401),
    "broken": UpstreamBroken("x", "connection_lost"),
    "in another way": UpstreamFailed("x", "other"),
    "rejected": UpstreamRejectedRequest("x", "no such tool"),
    "a defect": RuntimeError("a defect"),
}
ENDS = ("answer", "slow answer", "hang", "late break", "rubbish", "error in a 200", *FAILURES)
NO_ROOM = {"full": UpstreamFull("x", "no_slot"), "cold": UpstreamCold("x", "not_up")}


@dataclass(frozen=True)
class Plan:
    """`ends` of an upstream's first call and of later ones; `no_room`: how often there is none before."""

    ends: tuple[str, str]
    no_room: tuple[str, ...]
    is_local: bool


plans = st.builds(
    Plan,
    st.tuples(st.sampled_from(ENDS), st.sampled_from(ENDS)),
    st.lists(st.sampled_from(sorted(NO_ROOM)), max_size=2).map(tuple),
    st.booleans(),
)


class Watched(ScriptedUpstream):
    """Tells `running` of every call that begins and ends; holds the most that there ever were."""

    def __init__(self, scripts: list[Script], running: list[int]) -> None:
        super().__init__(*scripts)
        self._running = running

    async def stream(self, call: UpstreamCall):  # type: ignore[no-untyped-def] # as the base's
        self._running[0] += 1
        self._running[1] = max(self._running)
        try:
            async for batch in super().stream(call):
                yield batch
        finally:
            self._running[0] -= 1


def script_of(end: str, *, is_streaming: bool) -> Script:
    whole: list[Step] = [ROLE, content("Hello"), FINISH] if is_streaming else [ANSWER]
    scripts: dict[str, list[Step]] = {
        "answer": whole,
        "slow answer": [Pause(0.02), *whole],
        "hang": [HANG],
        "late break": [ROLE, content("x"), FAILURES["broken"]] if is_streaming else [FAILURES["broken"]],
        "rubbish": [b"\x00"],
        "error in a 200": [SERVER_ERROR_CHUNK],
    }
    return scripts.get(end) or [FAILURES[end]]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(plans, min_size=1, max_size=4),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, 0.0, 0.0015, 1.0]),
    st.none() | st.floats(0.0, DEADLINE_S),
    st.integers(0, 4),
)
def test_one_end_one_row_a_call_and_nothing_kept(
    made: list[Plan],
    is_streaming: bool,
    is_hedged: bool,
    day_usd: float | None,
    leaves_after_s: float | None,
    num_outside: int,
) -> None:
    with patch.object(table, "SHORT_PAUSE_S", 0.002):  # so that there is time for a second call
        asyncio.run(_check(made, is_streaming, is_hedged, day_usd, leaves_after_s, num_outside))


async def _check(
    made: list[Plan],
    is_streaming: bool,
    is_hedged: bool,
    day_usd: float | None,
    leaves_after_s: float | None,
    num_outside: int,
) -> None:
    running = [0, 0]
    upstreams = {}
    for at, plan in enumerate(made):
        scripts = [script_of(end, is_streaming=is_streaming) for end in plan.ends]
        upstreams[f"u{at}"] = Watched(scripts, running)
        upstreams[f"u{at}"].reserve_errors += [NO_ROOM[kind] for kind in plan.no_room]
    for at in range(num_outside):
        upstreams[f"outside{at}"] = Watched([[ANSWER]], running)
    tiers = [Tier.LOCAL_FAST if plan.is_local else Tier.CLOUD_ENHANCED for plan in made] + [Tier.CLOUD_FALLBACK] * 4
    limits = TimeLimits(first_token_s=0.05, gap_s=0.05)
    candidates = [
        candidate_of(name, tier=tier, time_limits=limits) for name, tier in zip(upstreams, tiers, strict=False)
    ]
    hedging = HedgePolicy(is_enabled=True, max_share=1.0, min_samples=1) if is_hedged else NO_HEDGING
    bench = Bench(upstreams, tuple(candidates), hedging=hedging, spill_after_s=0.005, local_wait_s=0.01)
    for name in upstreams:
        bench.has_seen(name, 0.004, times=1)
    inside = candidates[: len(made)]
    places = frozenset({LOCAL}) if all(plan.is_local for plan in made) else PLACES
    tenant = Tenant("t-1", frozenset(Tier), PLACES, DataClass.PUBLIC, budget=Budget(day_usd=day_usd))
    prepared = bench.prepared(
        deadline_s=DEADLINE_S,
        call=STREAMED if is_streaming else call_of(),
        candidates=inside,
        tenant=tenant,
        allowed_places=places,
    )
    request = _read(bench, prepared) if is_streaming else _complete(bench, prepared)
    task = asyncio.create_task(request)
    await asyncio.wait([task], timeout=leaves_after_s)
    task.cancel()
    await asyncio.wait([task], timeout=2.0)
    assert task.done()
    has_left = task.cancelled()
    end = None if has_left else task.result()

    bench.check_nothing_is_left()
    called = [row.upstream_id for row in bench.sink.opened]
    num_calls = sum(len(upstream.calls) for upstream in upstreams.values())
    assert num_calls == len(called) <= len(inside) + 1
    assert set(called) <= {candidate.upstream.id for candidate in inside}
    assert running == [0, min(running[1], 2 if is_hedged else 1)]
    assert all(call.remaining_s <= DEADLINE_S for upstream in upstreams.values() for call in upstream.calls)
    assert all(row.outcome is not Outcome.ABANDONED for row in bench.attempts)
    num_completed = sum(row.outcome is Outcome.COMPLETED for row in bench.attempts)
    if end == "answer":
        assert num_completed >= 1
    elif not has_left:
        assert isinstance(end, GatewayError | RuntimeError)
        assert num_completed == 0 or is_hedged  # one may have answered just as the other ended the request
    if day_usd == 0.0:
        assert all(candidate.upstream.place == LOCAL for candidate in inside if candidate.upstream.id in called)


async def _complete(bench: Bench, prepared: Any) -> str | Exception:
    return await _ended(lambda: bench.complete(prepared))


async def _read(bench: Bench, prepared: Any) -> str | Exception:
    async def whole() -> None:
        stream, _ = await bench.stream(prepared)
        try:
            async for _ in stream.chunks():
                pass
        finally:
            await stream.aclose()

    return await _ended(whole)


async def _ended(request: Callable[[], Awaitable[Any]]) -> str | Exception:
    try:
        await request()
    except (GatewayError, RuntimeError) as error:
        return error
    return "answer"


async def test_the_scripts_reach_every_action_of_the_table() -> None:
    """So that the property above is about all of them."""
    errors = [error for error in FAILURES.values() if isinstance(error, GatewayError)]
    judged = {table.judge(error, kind).action for error in errors for kind in table.UpstreamKind}
    assert judged == set(table.Action)
