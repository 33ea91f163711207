"""The classifier that the request path talks to: the scorer under a time limit, the heuristic behind it.

Invariants: `assess` returns within the limit and a loop turn, whatever the scorer does; it raises nothing but
CancelledError; at most `max_backlog` conversations wait; every fallback is observed once, by its cause.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from serve_app.classification.heuristic import assess_by_heuristic
from serve_app.classification.scorer import Score, Scorer
from serve_app.contracts.assessment import Assessment, Turn
from serve_app.contracts.vocabulary import ScoredBy

_CLOSE_TIMEOUT_S: Final = 1.0


class FallbackCause(StrEnum):
    """Why the heuristic answered."""

    FAILED = "failed"
    TIMED_OUT = "timed_out"
    BACKLOG_FULL = "backlog_full"
    CLOSED = "closed"


class FallbackObserver(Protocol):
    """Told once for each fallback, on the event loop. Must neither raise nor block."""

    def on_fallback(self, cause: FallbackCause) -> None: ...


class FallbackCounts:
    """Counts fallbacks by cause. Bounded: the causes are a closed set."""

    def __init__(self) -> None:
        self._counts: Counter[FallbackCause] = Counter()

    def on_fallback(self, cause: FallbackCause) -> None:
        self._counts[cause] += 1

    def snapshot(self) -> Mapping[FallbackCause, int]:
        return {cause: self._counts[cause] for cause in FallbackCause}


@dataclass(frozen=True, slots=True)
class _Job:
    turns: Sequence[Turn]
    loop: asyncio.AbstractEventLoop
    answer: "asyncio.Future[Score | FallbackCause]"


class TimeLimitedClassifier:
    """Implements `contracts.assessment.Classifier`. Owns one thread until `aclose()`.

    The thread is a daemon: a scorer that never returns cannot keep the process alive.
    """

    def __init__(
        self,
        scorer: Scorer,
        limit_s: float = 0.025,
        *,
        max_backlog: int = 64,
        observer: FallbackObserver | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if limit_s <= 0.0 or max_backlog < 1:
            raise ValueError("limit_s must be above 0 and max_backlog at least 1")
        self.fallbacks = FallbackCounts()
        self._scorer, self._limit_s, self._clock = scorer, limit_s, clock
        self._observers = (self.fallbacks,) if observer is None else (self.fallbacks, observer)
        self._jobs: queue.Queue[_Job | None] = queue.Queue(max_backlog)
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="classifier", daemon=True)
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        """Conversations in the backlog, the one being scored not among them."""
        return self._jobs.qsize()

    async def assess(self, turns: Sequence[Turn]) -> Assessment:
        started_at = self._clock()
        outcome = await self._outcome(turns)
        if isinstance(outcome, FallbackCause):
            for observer in self._observers:
                observer.on_fallback(outcome)
            return assess_by_heuristic(turns, elapsed_s=self._clock() - started_at)
        return Assessment(
            complexity=outcome.complexity,
            domain=outcome.domain,
            domain_confidence=outcome.domain_confidence,
            scored_by=ScoredBy.MODEL,
            elapsed_s=self._clock() - started_at,
        )

    async def aclose(self) -> None:
        """Answers what waits by the heuristic and stops the thread once its scorer returns. Safe to call twice."""
        if self._is_closed:
            return
        self._is_closed = True
        with contextlib.suppress(queue.Empty):
            while job := self._jobs.get_nowait():
                _settle(job.answer, FallbackCause.CLOSED)
        self._jobs.put_nowait(None)
        await asyncio.to_thread(self._thread.join, _CLOSE_TIMEOUT_S)

    async def _outcome(self, turns: Sequence[Turn]) -> Score | FallbackCause:
        if self._is_closed:
            return FallbackCause.CLOSED
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Score | FallbackCause] = loop.create_future()
        try:
            self._jobs.put_nowait(_Job(turns, loop, answer))
        except queue.Full:
            return FallbackCause.BACKLOG_FULL
        timer = loop.call_later(self._limit_s, _settle, answer, FallbackCause.TIMED_OUT)
        try:
            return await answer
        finally:
            timer.cancel()
            answer.cancel()  # when the caller left: the thread skips what nobody waits for

    def _work(self) -> None:
        while job := self._jobs.get():
            if job.answer.done():
                continue
            outcome = self._scored(job.turns)
            with contextlib.suppress(RuntimeError):  # the caller's loop is closed: nobody is left to answer
                job.loop.call_soon_threadsafe(_settle, job.answer, outcome)

    def _scored(self, turns: Sequence[Turn]) -> Score | FallbackCause:
        try:
            return self._scorer.score(turns)
        except Exception:  # noqa: BLE001 - the rim of a background loop: whatever it was, the heuristic answers
            return FallbackCause.FAILED


def _settle(answer: "asyncio.Future[Score | FallbackCause]", outcome: Score | FallbackCause) -> None:
    if not answer.done():
        answer.set_result(outcome)
