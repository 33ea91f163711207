"""Calls through handles: whose fault a failure is, that leaving stops the work, and what a reserved slot promises."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from types import SimpleNamespace
from typing import Any

import grpc  # type: ignore[import-untyped]  # Ray brings it without types
import pytest
from ray.exceptions import ActorUnavailableError, RayTaskError
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
    ReplicaUnavailableError,
)

from deployments.handles import HandleUpstream, ReservingUpstream
from serve_app.contracts.upstream import UpstreamCall
from serve_app.errors import (
    GatewayError,
    UpstreamBroken,
    UpstreamCold,
    UpstreamFull,
    UpstreamRefused,
    UpstreamTimedOut,
    UpstreamUnreachable,
)

CALL: Any = object()
"""A handle hands it on as it is."""
DEAD = ActorUnavailableError("Actor is unavailable.", b"1" * 16)
NO_DEPLOYMENT = DeploymentUnavailableError(DeploymentID(name="LocalLLM"))


class Response:
    """What a handle answers: awaited for one answer, iterated for several; without any it hangs."""

    def __init__(self, *answers: Any, error: BaseException | None = None, hangs: bool = False) -> None:
        self._answers, self._error, self._hangs = answers, error, hangs
        self.was_cancelled = False

    def cancel(self) -> None:
        self.was_cancelled = True

    async def _one(self) -> Any:
        return await anext(aiter(self), None)

    def __await__(self) -> Any:
        return self._one().__await__()

    async def __aiter__(self) -> AsyncIterator[Any]:
        for answer in self._answers:
            yield answer
        if self._hangs:
            await asyncio.Event().wait()
        if self._error is not None:
            raise self._error


class Handle:
    """As much of a DeploymentHandle as is used here. `num_free` slots; None is a deployment without replicas."""

    def __init__(self, response: Response, num_free: int | None = 1, roll_call: Sequence[Any] = (None,)) -> None:
        self.response, self.num_free, self.roll_call = response, num_free, roll_call
        self.dispatched: list[Any] = []
        self.complete = self.stream = self.probe = self.embed = SimpleNamespace(remote=lambda *_: self.response)

    @property
    def answer(self) -> "Handle":
        return self

    def options(self, *, stream: bool) -> "Handle":
        assert stream
        return self

    @asynccontextmanager
    async def choose_replica(self) -> AsyncIterator[object]:
        if not self.num_free:
            await asyncio.Event().wait()
        assert self.num_free is not None
        self.num_free -= 1
        try:
            yield "a selection"
        finally:
            await asyncio.sleep(0)
            self.num_free += 1

    def dispatch(self, selection: object, call: UpstreamCall, is_streaming: bool) -> Response:
        self.dispatched.append((selection, call, is_streaming))
        return self.response

    def broadcast(self, method: str) -> Any:
        assert method == "probe"

        async def results_async(*, return_exceptions: bool) -> Sequence[Any]:
            assert return_exceptions
            if self.num_free is None:
                raise NO_DEPLOYMENT
            if not self.roll_call:
                await asyncio.Event().wait()
            return self.roll_call

        return SimpleNamespace(results_async=results_async)


def upstream_over(response: Response, kind: type[HandleUpstream] = HandleUpstream, **more: Any) -> Any:
    return kind(Handle(response, **more), "smollm2")  # type: ignore[arg-type]


def task_error(cause: Exception) -> BaseException:
    error: Any = RayTaskError
    as_cause: BaseException = error("complete", "a remote traceback", cause).as_instanceof_cause()
    return as_cause


TROUBLES: list[tuple[BaseException, type[GatewayError]]] = [
    (task_error(UpstreamTimedOut("smollm2", "first_token")), UpstreamTimedOut),
    (task_error(ValueError("private text")), UpstreamBroken),
    (BackPressureError(num_queued_requests=9, max_queued_requests=8), UpstreamFull),
    (ReplicaUnavailableError("gone"), UpstreamFull),
    (NO_DEPLOYMENT, UpstreamCold),
    (RayServeException("odd"), UpstreamRefused),
    (DEAD, UpstreamUnreachable),
    (grpc.RpcError("peer reset"), UpstreamUnreachable),
]


@pytest.mark.parametrize(("trouble", "expected"), TROUBLES, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("is_streaming", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("is_reserved", [False, True], ids=["queued", "reserved"])
async def test_every_trouble_of_ray_is_an_error_of_ours_without_its_text(
    trouble: BaseException, expected: type[GatewayError], is_streaming: bool, is_reserved: bool
) -> None:
    upstream = upstream_over(Response(error=trouble), ReservingUpstream if is_reserved else HandleUpstream)

    async def ask() -> None:
        async with upstream.reserve(1.0) as taken:
            if is_streaming:
                _ = [batch async for batch in taken.stream(CALL)]
            else:
                await taken.complete(CALL)

    with pytest.raises(GatewayError) as raised:
        await ask()
    assert type(raised.value) is expected
    assert "private" not in str(raised.value)


@pytest.mark.parametrize("kind", [HandleUpstream, ReservingUpstream], ids=["queued", "reserved"])
async def test_a_caller_that_is_cancelled_cancels_the_replicas_work(kind: type[HandleUpstream]) -> None:
    response = Response(hangs=True)

    async def ask() -> None:
        async with upstream_over(response, kind).reserve(1.0) as taken:
            await taken.complete(CALL)

    task = asyncio.create_task(ask())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert response.was_cancelled


@pytest.mark.parametrize("kind", [HandleUpstream, ReservingUpstream], ids=["queued", "reserved"])
async def test_a_stream_that_its_reader_leaves_is_cancelled(kind: type[HandleUpstream]) -> None:
    response = Response([b"one"], hangs=True)
    async with (
        upstream_over(response, kind).reserve(1.0) as taken,
        aclosing(taken.stream(CALL)) as batches,
    ):
        assert await anext(batches) == [b"one"]
    assert response.was_cancelled


async def test_room_at_a_provider_costs_nothing_to_reserve() -> None:
    upstream = upstream_over(Response(b"{}"))
    async with upstream.reserve(0.0) as taken:
        assert taken is upstream


async def test_one_reserved_slot_takes_either_kind_of_call() -> None:
    upstream = upstream_over(Response([b"{}"]), ReservingUpstream)
    async with upstream.reserve(1.0) as taken:
        assert await taken.complete(CALL) == b"{}"
    async with upstream.reserve(1.0) as taken:
        assert [batch async for batch in taken.stream(CALL)] == [[b"{}"]]
    assert upstream._handle.dispatched == [("a selection", CALL, False), ("a selection", CALL, True)]


async def test_an_answer_that_never_came_is_no_empty_answer() -> None:
    async with upstream_over(Response(), ReservingUpstream).reserve(1.0) as taken:
        with pytest.raises(UpstreamBroken):
            await taken.complete(CALL)


@pytest.mark.parametrize("leaves_by", [None, KeyError], ids=["done", "an error"])
async def test_a_slot_that_was_not_used_is_given_back(leaves_by: type[Exception] | None) -> None:
    upstream = upstream_over(Response(), ReservingUpstream)

    async def take() -> None:
        async with upstream.reserve(1.0):
            assert upstream._handle.num_free == 0
            if leaves_by is not None:
                raise leaves_by

    if leaves_by is None:
        await take()
    else:
        with pytest.raises(leaves_by):
            await take()
    assert upstream._handle.num_free == 1


async def test_a_slot_is_given_back_though_its_holder_is_cancelled_twice() -> None:
    upstream = upstream_over(Response(), ReservingUpstream)

    async def hold() -> None:
        async with upstream.reserve(1.0):
            await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.01)
    assert upstream._handle.num_free == 1


@pytest.mark.parametrize(
    ("num_free", "roll_call", "expected"),
    [
        (0, (None, None), UpstreamFull),
        (0, (), UpstreamFull),
        (0, (DEAD,), UpstreamFull),
        (None, (), UpstreamCold),
    ],
    ids=["all slots taken", "replicas too busy to answer", "the replica just died", "no replica"],
)
async def test_a_full_upstream_is_told_from_a_cold_one(
    num_free: int | None, roll_call: Sequence[Any], expected: Callable[..., GatewayError]
) -> None:
    upstream = upstream_over(Response(), ReservingUpstream, num_free=num_free, roll_call=roll_call)

    async def take() -> None:
        async with asyncio.timeout(1.0), upstream.reserve(0.01):
            raise AssertionError("nothing was free")

    with pytest.raises(GatewayError) as raised:
        await take()
    assert type(raised.value) is expected


async def test_waking_waits_until_a_replica_takes_the_probe() -> None:
    await upstream_over(Response(None)).wake()
    with pytest.raises(UpstreamCold):
        await upstream_over(Response(error=NO_DEPLOYMENT)).wake()


async def test_one_healthy_replica_is_enough_and_a_probe_starts_none() -> None:
    await upstream_over(Response(hangs=True), ReservingUpstream, roll_call=(DEAD, None)).probe()
    with pytest.raises(UpstreamUnreachable):
        await upstream_over(Response(None), ReservingUpstream, roll_call=(DEAD, DEAD)).probe()
    with pytest.raises(UpstreamCold):
        await upstream_over(Response(hangs=True), ReservingUpstream, num_free=None).probe()


async def test_a_reserved_replica_needs_no_waking_and_no_second_reservation() -> None:
    async with upstream_over(Response(b"{}"), ReservingUpstream).reserve(1.0) as taken:
        await taken.wake()
        await taken.probe()
        assert await taken.embed(CALL) == b"{}"
        async with taken.reserve(1.0) as again:
            assert again is taken
