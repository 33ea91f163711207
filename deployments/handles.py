"""Serve handles as the ports of what completes a chat: errors come back as what they were, Ray's troubles as ours.

Invariants: whoever stops waiting for an answer stops the work on the replica; a slot that was reserved and not used is
given back.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc  # type: ignore[import-untyped]  # Ray brings it without types
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
    ReplicaUnavailableError,
)
from ray.serve.handle import DeploymentHandle

from serve_app.contracts.upstream import Upstream, UpstreamCall
from serve_app.errors import (
    GatewayError,
    UpstreamBroken,
    UpstreamCold,
    UpstreamFull,
    UpstreamRefused,
    UpstreamUnreachable,
)

TROUBLES = (RayError, RayServeException, grpc.RpcError)
"""What a handle raises when Ray or the way to a replica is at fault: a replica that dies shows as any of them."""

ROLL_CALL_LIMIT_S = 0.05
"""That there is nobody is known at once; a replica that is there may be too full to answer, which need not be heard."""


class HandleUpstream:
    """Implements the Upstream port over a deployment that implements it too: a CloudProxy."""

    def __init__(self, handle: DeploymentHandle[Any], upstream_id: str) -> None:
        self._handle, self._upstream_id = handle, upstream_id
        # Each .options() starts a long-poll client of its own, so it is called once.
        self._streaming = handle.options(stream=True)

    @asynccontextmanager
    async def reserve(self, limit_s: float) -> AsyncIterator[Upstream]:
        """Yields itself at once: room at a provider is the provider's to give."""
        yield self

    async def wake(self) -> None:
        """A probe waits in the handle's queue until a replica takes it; Serve scales by what waits there."""
        async with _named(self._upstream_id):
            await answer_of(self._handle.probe.remote())

    async def complete(self, call: UpstreamCall) -> bytes:
        async with _named(self._upstream_id):
            body: bytes = await answer_of(self._handle.complete.remote(call))
            return body

    async def embed(self, call: UpstreamCall) -> bytes:
        async with _named(self._upstream_id):
            body: bytes = await answer_of(self._handle.embed.remote(call))
            return body

    async def stream(self, call: UpstreamCall) -> AsyncGenerator[Sequence[bytes], None]:
        async with _named(self._upstream_id), aclosing(_batches(self._streaming.stream.remote(call))) as batches:
            async for batch in batches:
                yield batch

    async def probe(self) -> None:
        await self.wake()


class ReservingUpstream(HandleUpstream):
    """Implements the Upstream port over a LocalLLM deployment, whose replicas' slots can be reserved."""

    def __init__(self, handle: DeploymentHandle[Any], upstream_id: str) -> None:
        super().__init__(handle, upstream_id)
        self._answering = self._streaming.answer

    @asynccontextmanager
    async def reserve(self, limit_s: float) -> AsyncIterator[Upstream]:
        choice = self._answering.choose_replica()
        try:
            async with _named(self._upstream_id), asyncio.timeout(limit_s):
                selection = await choice.__aenter__()
        except TimeoutError:
            raise await self._full_or_cold() from None
        # Not an exit stack: the slot is given back even where the caller is cancelled once more while that happens.
        try:
            yield ReservedReplica(self._answering, selection, self, self._upstream_id)
        finally:
            await asyncio.shield(choice.__aexit__(None, None, None))

    async def probe(self) -> None:
        """Asks the replicas there are. Unlike a request, it does not make Serve start one where there is none."""
        async with _named(self._upstream_id):
            answers = await self._handle.broadcast("probe").results_async(return_exceptions=True)
            if None not in answers:
                raise answers[0]

    async def _full_or_cold(self) -> UpstreamFull | UpstreamCold:
        try:
            async with asyncio.timeout(ROLL_CALL_LIMIT_S):
                await self.probe()
        except UpstreamCold as cold:
            return cold
        except (GatewayError, TimeoutError):
            pass
        return UpstreamFull(self._upstream_id, "no_slot")


class ReservedReplica:
    """Implements the Upstream port for one call, on the replica whose slot was reserved for it."""

    def __init__(
        self, answering: DeploymentHandle[Any], selection: Any, upstream: HandleUpstream, upstream_id: str
    ) -> None:
        self._answering, self._selection = answering, selection
        self._upstream, self._upstream_id = upstream, upstream_id

    @asynccontextmanager
    async def reserve(self, limit_s: float) -> AsyncIterator[Upstream]:
        yield self

    async def wake(self) -> None:
        """There is somebody: the slot is theirs."""

    async def complete(self, call: UpstreamCall) -> bytes:
        async with _named(self._upstream_id), aclosing(self._dispatch(call, is_streaming=False)) as answers:
            bodies = [answer[0] async for answer in answers]
        if not bodies:
            raise UpstreamBroken(self._upstream_id, "no_answer")
        return bodies[0]

    async def stream(self, call: UpstreamCall) -> AsyncGenerator[Sequence[bytes], None]:
        async with _named(self._upstream_id), aclosing(self._dispatch(call, is_streaming=True)) as batches:
            async for batch in batches:
                yield batch

    def _dispatch(self, call: UpstreamCall, *, is_streaming: bool) -> AsyncGenerator[Sequence[bytes], None]:
        return _batches(self._answering.dispatch(self._selection, call, is_streaming))

    async def embed(self, call: UpstreamCall) -> bytes:
        return await self._upstream.embed(call)

    async def probe(self) -> None:
        await self._upstream.probe()


async def answer_of(response: Any) -> Any:
    """The answer of one call; whoever stops waiting for it stops the call."""
    try:
        return await response
    finally:
        # Nothing happens to what is finished; to what is not, nobody listens any more.
        response.cancel()


async def _batches(responses: Any) -> AsyncGenerator[Sequence[bytes], None]:
    try:
        async for batch in responses:
            yield batch
    finally:
        responses.cancel()


@asynccontextmanager
async def _named(upstream_id: str) -> AsyncIterator[None]:
    """An error raised on a replica arrives wrapped, its text a remote traceback: what is raised here is its cause."""
    try:
        yield
    except GatewayError as error:
        raise cause_of(error) from None
    except RayTaskError as error:
        raise UpstreamBroken(upstream_id, type(error.cause).__name__) from None
    except (BackPressureError, ReplicaUnavailableError) as error:
        raise UpstreamFull(upstream_id, type(error).__name__) from None
    except DeploymentUnavailableError:
        raise UpstreamCold(upstream_id, "no_replica") from None
    except RayServeException as error:
        raise UpstreamRefused(upstream_id, type(error).__name__) from None
    except (RayError, grpc.RpcError) as error:
        raise UpstreamUnreachable(upstream_id, type(error).__name__) from None


def cause_of(error: GatewayError) -> GatewayError:
    """The error as it was raised on the replica, without Ray's wrapper."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    return cause if isinstance(cause, GatewayError) else error
