"""Serve handles as ports: what crosses an actor comes back as the error it was, and Ray's own troubles as ours.

Invariant: a stream that its reader leaves is cancelled on the replica.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from serve_app.classification.guarded import FallbackCause
from serve_app.classification.heuristic import assess_by_heuristic
from serve_app.contracts.assessment import Assessment, Turn
from serve_app.contracts.attempt import Attempt
from serve_app.contracts.ledger import Claim, StoredAnswer
from serve_app.contracts.upstream import UpstreamCall
from serve_app.contracts.vocabulary import ScoredBy
from serve_app.errors import GatewayError, UpstreamBroken, UpstreamRefused, UpstreamUnreachable
from serve_app.telemetry.metrics import Metrics


class HandleUpstream:
    """Implements the Upstream port over a LocalLLM or a CloudProxy deployment."""

    def __init__(self, handle: DeploymentHandle[Any], upstream_id: str) -> None:
        self._handle, self._upstream_id = handle, upstream_id
        # Each .options() starts a long-poll client of its own, so it is called once.
        self._streaming = handle.options(stream=True)

    async def complete(self, call: UpstreamCall) -> bytes:
        async with _named(self._upstream_id):
            body: bytes = await self._handle.complete.remote(call)
            return body

    async def embed(self, call: UpstreamCall) -> bytes:
        async with _named(self._upstream_id):
            body: bytes = await self._handle.embed.remote(call)
            return body

    async def stream(self, call: UpstreamCall) -> AsyncGenerator[Sequence[bytes], None]:
        async with _named(self._upstream_id):
            responses: Any = self._streaming.stream.remote(call)
            try:
                async for batch in responses:
                    yield batch
            finally:
                responses.cancel()

    async def probe(self) -> None:
        async with _named(self._upstream_id):
            await self._handle.probe.remote()


class HandleClassifier:
    """Implements the Classifier port; the heuristic answers, counted, while the deployment cannot or takes too long."""

    def __init__(self, handle: DeploymentHandle[Any], time_limit_s: float, metrics: Metrics) -> None:
        self._handle, self._time_limit_s, self._metrics = handle, time_limit_s, metrics

    async def assess(self, turns: Sequence[Turn]) -> Assessment:
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._time_limit_s):
                assessment: Assessment = await self._handle.assess.remote(turns)
        except TimeoutError:
            cause = FallbackCause.TIMED_OUT
        except (RayError, RayServeException):
            cause = FallbackCause.FAILED
        else:
            if assessment.scored_by is ScoredBy.HEURISTIC:
                self._metrics.record_heuristic("at_the_classifier")
            return assessment
        self._metrics.record_heuristic(cause.value)
        return assess_by_heuristic(turns, elapsed_s=time.monotonic() - started)


class HandleLedger:
    """Implements the Ledger port."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle

    async def record(self, attempts: Sequence[Attempt]) -> None:
        await self._handle.record.remote(attempts)

    async def claim(self, tenant_id: str, key: str, body_digest: bytes) -> Claim:
        async with _named("ledger"):
            claim: Claim = await self._handle.claim.remote(tenant_id, key, body_digest)
            return claim

    async def keep_answer(self, tenant_id: str, key: str, body_digest: bytes, answer: StoredAnswer | None) -> None:
        async with _named("ledger"):
            await self._handle.keep_answer.remote(tenant_id, key, body_digest, answer)


@asynccontextmanager
async def _named(upstream_id: str) -> AsyncIterator[None]:
    """An error raised on a replica arrives wrapped, its text a remote traceback: what is raised here is its cause."""
    try:
        yield
    except GatewayError as error:
        raise _cause_of(error) from None
    except RayTaskError as error:
        raise UpstreamBroken(upstream_id, type(error.cause).__name__) from None
    except RayServeException as error:
        raise UpstreamRefused(upstream_id, type(error).__name__) from None
    except RayError as error:
        raise UpstreamUnreachable(upstream_id, type(error).__name__) from None


def _cause_of(error: GatewayError) -> GatewayError:
    cause = error.cause if isinstance(error, RayTaskError) else error
    return cause if isinstance(cause, GatewayError) else error
