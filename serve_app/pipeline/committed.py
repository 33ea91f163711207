"""An upstream's stream, from its first content on.

Invariants: candidates may change only before `commit` returned; the stream ends as complete only when every choice
finished; the attempt settles exactly once; the upstream is closed when its reader leaves.
"""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass

from serve_app.contracts.chat import Chunk
from serve_app.contracts.deadline import Deadline
from serve_app.contracts.fleet import Candidate
from serve_app.contracts.upstream import Upstream, UpstreamCall
from serve_app.contracts.vocabulary import Outcome
from serve_app.errors import UpstreamBroken, UpstreamFailed, UpstreamTimedOut
from serve_app.pipeline.answers import usage_of_failure
from serve_app.pipeline.attempts import AttemptAccount, outcome_of
from serve_app.pipeline.waiting import LimitPassed, within
from serve_app.streaming.chunks import ErrorChunk, MalformedChunk, read_chunk
from serve_app.streaming.meter import StreamMeter
from serve_app.streaming.throughput import ThroughputWatch
from serve_app.upstreams.complaints import error_of


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt about to be made. `called_at`, in seconds on the monotonic clock, is after the wait for a slot."""

    candidate: Candidate
    upstream: Upstream
    order: UpstreamCall
    account: AttemptAccount
    called_at: float


@dataclass(frozen=True, slots=True)
class PrecommitBounds:
    """What may come before the first content, beside the time limit for it."""

    max_bytes: int
    max_chunks: int


class CommittedStream:
    """A stream past its first content. Read it once, with `chunks()`, and close it with `aclose()` in any case.

    `on_end` is told what ended it after the commit: None where it came to its end, otherwise whatever cut it off.
    """

    def __init__(
        self,
        call: Call,
        held: AsyncExitStack,
        deadline: Deadline,
        num_prompt_tokens: int,
        on_end: Callable[[BaseException | None], None],
    ) -> None:
        self._call, self._held, self._on_end = call, held, on_end
        self._upstream_id = call.candidate.upstream.id
        self.deadline, self._num_prompt_tokens = deadline, num_prompt_tokens
        self._limits = call.candidate.upstream.time_limits
        self._watch = ThroughputWatch(self._limits.min_tokens_per_s, self._limits.throughput_window_s)
        self._meter = StreamMeter(call.account.started_at)
        self._source = self._read()
        self._first: list[Chunk] = []
        self._is_committed = False

    async def commit(self, bounds: PrecommitBounds) -> None:
        """Reads up to the first content, or to the end of an answer without any; raises what the upstream did."""
        try:
            await self._read_first(bounds)
        except BaseException as error:
            await self._close(error)
            raise
        self._is_committed = True

    async def _read_first(self, bounds: PrecommitBounds) -> None:
        num_bytes = 0
        async for chunks in self._source:
            self._first += chunks
            if any(chunk.has_content or chunk.finish_reason for chunk in chunks):
                return
            num_bytes += sum(len(chunk.data) for chunk in chunks)
            if num_bytes > bounds.max_bytes or len(self._first) > bounds.max_chunks:
                raise UpstreamBroken(self._upstream_id, "no_content_in_bound")
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
        async with aclosing(self._call.upstream.stream(self._call.order)) as batches:
            while True:
                limit_s, what = self._wait_limit()
                waiting_since = time.monotonic()
                try:
                    async with within(self.deadline, limit_s):
                        batch = await anext(batches)
                except StopAsyncIteration:
                    return
                except LimitPassed:
                    raise UpstreamTimedOut(self._upstream_id, what) from None
                now = time.monotonic()
                chunks = [_chunk(data, self._upstream_id) for data in batch]
                for chunk in chunks:
                    self._meter.feed(chunk, now)
                if self._is_committed:
                    self._check_throughput(now - waiting_since, chunks)
                yield chunks

    def _wait_limit(self) -> tuple[float, str]:
        if self._meter.ttft_s is not None:
            return self._limits.gap_s, "gap"
        waited_s = time.monotonic() - self._call.called_at
        return max(0.0, self._limits.first_token_s - waited_s), "first_token"

    def _check_throughput(self, waited_s: float, chunks: list[Chunk]) -> None:
        self._watch.feed(waited_s, sum(chunk.has_content for chunk in chunks))
        if self._watch.is_too_slow and not self._meter.is_complete:
            raise UpstreamTimedOut(self._upstream_id, "throughput")

    def _check_complete(self) -> None:
        if not self._meter.is_complete:
            raise UpstreamBroken(self._upstream_id, "ended_without_finish")

    async def _close(self, error: BaseException | None) -> None:
        usage = self._meter.usage(self._num_prompt_tokens)
        if error is not None and self._meter.num_chunks == 0:
            usage = usage_of_failure(error, self._num_prompt_tokens)
        outcome = Outcome.COMPLETED if error is None else outcome_of(error)
        self._call.account.settle(outcome, usage, error=error, ttft_s=self._meter.ttft_s)
        if self._is_committed:
            self._is_committed = False
            self._on_end(error)
        try:
            await self._source.aclose()
        finally:
            await self._held.aclose()


def _chunk(data: bytes, upstream_id: str) -> Chunk:
    try:
        return read_chunk(data)
    except ErrorChunk as error:
        raise error_of(error.complaint, upstream_id) from None
    except MalformedChunk:
        raise UpstreamBroken(upstream_id, "malformed_chunk") from None
