"""Calls the decision's candidates in order until one answers.

Invariants: candidates change only before the first content byte was handed on; every attempt gets what the one deadline
leaves; every attempt settles exactly once; an upstream's stream is closed when its reader leaves.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import orjson

from serve_app.contracts.attempt import Attempt, Usage
from serve_app.contracts.chat import Chunk
from serve_app.contracts.deadline import Deadline
from serve_app.contracts.fleet import Candidate
from serve_app.contracts.upstream import Upstream, UpstreamCall
from serve_app.contracts.vocabulary import LOCAL, Capability, Outcome, Reason
from serve_app.errors import (
    AllUpstreamsFailed,
    DeadlineExceeded,
    LocalUnavailable,
    UpstreamBroken,
    UpstreamFailed,
    UpstreamUnreachable,
)
from serve_app.pipeline.attempts import AttemptAccount, outcome_of
from serve_app.pipeline.bodies import body_for
from serve_app.pipeline.prepare import Prepared
from serve_app.pipeline.trail import Trail
from serve_app.streaming.chunks import (
    ErrorChunk,
    MalformedChunk,
    count_answer_chars,
    estimate_usage,
    read_chunk,
    read_complaint,
    read_usage,
)
from serve_app.streaming.meter import StreamMeter
from serve_app.upstreams.complaints import error_of
from serve_app.upstreams.fleet import Fleet

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt about to be made. `called_at`, in seconds on the monotonic clock, is after the wait for a slot."""

    candidate: Candidate
    upstream: Upstream
    order: UpstreamCall
    account: AttemptAccount
    called_at: float


class Dispatcher:
    """Failover over the candidates of one decision; `record` takes each settled attempt and never waits."""

    def __init__(
        self, fleet: Fleet, record: Callable[[Attempt], None], *, max_precommit_bytes: int, retry_after_s: float
    ) -> None:
        self._fleet, self._record = fleet, record
        self._max_precommit_bytes = max_precommit_bytes
        self._retry_after_s = retry_after_s

    async def complete(self, prepared: Prepared, trail: Trail) -> bytes:
        """The whole answer of the first candidate that gives one."""

        async def run(call: Call, held: AsyncExitStack) -> bytes:
            is_embedding = Capability.EMBEDDINGS in prepared.call.needs
            ask = call.upstream.embed if is_embedding else call.upstream.complete
            async with held, _within(prepared.deadline):
                body = await ask(call.order)
            usage = _read_answer(body, call.candidate.upstream.id, prepared, is_embedding=is_embedding)
            call.account.settle(Outcome.COMPLETED, usage)
            return body

        return await self._try_each(prepared, trail, run)

    async def stream(self, prepared: Prepared, trail: Trail) -> "CommittedStream":
        """The stream of the first candidate that sends content; no other will be tried after that."""

        async def run(call: Call, held: AsyncExitStack) -> CommittedStream:
            stream = CommittedStream(call, held, prepared.deadline, prepared.call.num_prompt_tokens)
            await stream.commit(self._max_precommit_bytes)
            self._fleet.saw_first_token(call.candidate.upstream.id, time.monotonic() - call.called_at)
            return stream

        return await self._try_each(prepared, trail, run)

    async def _try_each(
        self,
        prepared: Prepared,
        trail: Trail,
        run: Callable[[Call, AsyncExitStack], Awaitable[Answer]],
    ) -> Answer:
        failures: list[UpstreamFailed] = []
        for candidate in (prepared.decision.chosen, *prepared.decision.fallbacks):
            prepared.deadline.check()
            trail.num_attempts += 1
            trail.candidate = candidate
            try:
                return await self._try(prepared, candidate, trail, run)
            except UpstreamFailed as error:
                failures.append(error)
                log.warning(
                    "request %s: attempt %d on %s failed: %s (%s)",
                    prepared.facts.request_id,
                    trail.num_attempts,
                    candidate.upstream.id,
                    error.code,
                    error.detail,
                )
                self._fleet.saw_failure(candidate.upstream.id, error)
        raise self._give_up(prepared, failures)

    async def _try(
        self,
        prepared: Prepared,
        candidate: Candidate,
        trail: Trail,
        run: Callable[[Call, AsyncExitStack], Awaitable[Answer]],
    ) -> Answer:
        account = AttemptAccount(
            prepared.facts,
            candidate,
            number=trail.num_attempts,
            reason=trail.reason or Reason.BEST_AVAILABLE,
            record=self._record,
        )
        async with AsyncExitStack() as held:
            try:
                with trail.time_queue():
                    slot = self._fleet.slot(candidate.upstream.id, prepared.deadline)
                    upstream = await held.enter_async_context(slot)
                call = Call(candidate, upstream, _order(prepared, candidate), account, time.monotonic())
                with trail.time_upstream():
                    return await run(call, held.pop_all())
            except BaseException as error:
                account.settle(outcome_of(error), Usage(0, 0, is_estimated=True), error=error)
                raise

    def _give_up(self, prepared: Prepared, failures: list[UpstreamFailed]) -> Exception:
        is_unreachable = all(isinstance(error, UpstreamUnreachable) for error in failures)
        if prepared.decision.allowed_places <= {LOCAL} and is_unreachable:
            return LocalUnavailable(self._retry_after_s)
        if prepared.deadline.remaining_s() <= 0:
            return DeadlineExceeded()
        return AllUpstreamsFailed(len(failures))


class CommittedStream:
    """A stream past its first content. Read it once, with `chunks()`, and close it with `aclose()` in any case."""

    def __init__(self, call: Call, held: AsyncExitStack, deadline: Deadline, num_prompt_tokens: int) -> None:
        self._call, self._held = call, held
        self._deadline, self._num_prompt_tokens = deadline, num_prompt_tokens
        self._meter = StreamMeter(call.account.started_at)
        self._source = self._read()
        self._first: list[Chunk] = []

    async def commit(self, max_bytes: int) -> None:
        """Reads up to the first content, or to the end of an answer without any; raises what the upstream did."""
        try:
            await self._read_first(max_bytes)
        except BaseException as error:
            await self._close(error)
            raise

    async def _read_first(self, max_bytes: int) -> None:
        num_bytes = 0
        async for chunks in self._source:
            self._first += chunks
            if any(chunk.has_content or chunk.finish_reason for chunk in chunks):
                return
            num_bytes += sum(len(chunk.data) for chunk in chunks)
            if num_bytes > max_bytes:
                raise UpstreamBroken(self._call.candidate.upstream.id, "no_content_in_bound")
        self._check_complete()

    async def chunks(self) -> AsyncGenerator[list[Chunk], None]:
        """Chunks that arrived together; raises UpstreamFailed when the stream breaks."""
        try:
            yield self._first
            async for chunks in self._rest():
                yield chunks
            self._check_complete()
        except BaseException as error:
            await self._close(error)
            raise
        await self._close(None)

    async def _rest(self) -> AsyncGenerator[list[Chunk], None]:
        """An upstream that breaks after it finished every choice has said all it had to say."""
        try:
            async for chunks in self._source:
                yield chunks
        except UpstreamFailed:
            if not self._meter.is_complete:
                raise

    async def aclose(self) -> None:
        """Stops the upstream if it still runs: the reader left."""
        await self._close(GeneratorExit())

    async def _read(self) -> AsyncGenerator[list[Chunk], None]:
        """The time limit stands around each wait, since commit and the rest may be read by different tasks."""
        upstream_id = self._call.candidate.upstream.id
        async with aclosing(self._call.upstream.stream(self._call.order)) as batches:
            while True:
                try:
                    async with _within(self._deadline):
                        batch = await anext(batches)
                except StopAsyncIteration:
                    return
                chunks = [_chunk(data, upstream_id) for data in batch]
                now = time.monotonic()
                for chunk in chunks:
                    self._meter.feed(chunk, now)
                if chunks:
                    yield chunks

    def _check_complete(self) -> None:
        if not self._meter.is_complete:
            raise UpstreamBroken(self._call.candidate.upstream.id, "ended_without_finish")

    async def _close(self, error: BaseException | None) -> None:
        usage = self._meter.usage(self._num_prompt_tokens)
        if error is not None and self._meter.num_chunks == 0:
            usage = Usage(0, 0, is_estimated=True)
        outcome = Outcome.COMPLETED if error is None else outcome_of(error)
        self._call.account.settle(outcome, usage, error=error, ttft_s=self._meter.ttft_s)
        try:
            await self._source.aclose()
        finally:
            await self._held.aclose()


@asynccontextmanager
async def _within(deadline: Deadline) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(deadline.remaining_s()):
            yield
    except TimeoutError:
        raise DeadlineExceeded from None


def _order(prepared: Prepared, candidate: Candidate) -> UpstreamCall:
    return UpstreamCall(
        body=body_for(prepared.call, candidate),
        upstream_id=candidate.upstream.id,
        place=candidate.upstream.place,
        allowed_places=prepared.decision.allowed_places,
        request_id=prepared.facts.request_id,
        traceparent=prepared.traceparent,
        remaining_s=prepared.deadline.remaining_s(),
    )


def _chunk(data: bytes, upstream_id: str) -> Chunk:
    try:
        return read_chunk(data)
    except ErrorChunk as error:
        raise error_of(error.complaint, upstream_id) from None
    except MalformedChunk:
        raise UpstreamBroken(upstream_id, "malformed_chunk") from None


def _read_answer(body: bytes, upstream_id: str, prepared: Prepared, *, is_embedding: bool) -> Usage:
    """The tokens of a whole answer; raises when it is an error in disguise or no answer at all."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UpstreamBroken(upstream_id, "not_json") from None
    if not isinstance(parsed, dict):
        raise UpstreamBroken(upstream_id, "not_an_object")
    complaint = read_complaint(parsed)
    if complaint is not None:
        raise error_of(complaint, upstream_id)
    parts = parsed.get("data" if is_embedding else "choices")
    if not isinstance(parts, list) or not parts:
        raise UpstreamBroken(upstream_id, "empty_answer")
    if not is_embedding and not all(isinstance(part, dict) and isinstance(part.get("message"), dict) for part in parts):
        raise UpstreamBroken(upstream_id, "malformed_answer")
    return read_usage(parsed) or estimate_usage(prepared.call.num_prompt_tokens, count_answer_chars(parsed))
