import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from serve_app.classification.guarded import FallbackCause, TimeLimitedClassifier
from serve_app.classification.scorer import Score, Scorer
from serve_app.contracts.assessment import Assessment, Classifier, Turn
from serve_app.contracts.vocabulary import Domain, ScoredBy

TURNS = [Turn("user", "How do I plan my week?")]


class FakeScorer:
    """Keeps what it was asked and on which thread; fails where it is told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.seen: list[str] = []
        self.threads: set[str] = set()

    def score(self, turns: Sequence[Turn]) -> Score:
        self.seen.append(turns[-1].text)
        self.threads.add(threading.current_thread().name)
        if self.error is not None:
            raise self.error
        return Score(0.7, Domain.MATH, 0.9)


class BlockingScorer(FakeScorer):
    """Does not return before it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.released = threading.Event(), threading.Event()

    def score(self, turns: Sequence[Turn]) -> Score:
        self.entered.set()
        self.released.wait(30)
        return super().score(turns)


class RecordingObserver:
    def __init__(self) -> None:
        self.causes: list[FallbackCause] = []

    def on_fallback(self, cause: FallbackCause) -> None:
        self.causes.append(cause)


@asynccontextmanager
async def a_classifier(
    scorer: Scorer, limit_s: float = 5.0, *, max_backlog: int = 64, observer: RecordingObserver | None = None
) -> AsyncIterator[TimeLimitedClassifier]:
    classifier = TimeLimitedClassifier(scorer, limit_s, max_backlog=max_backlog, observer=observer)
    try:
        yield classifier
    finally:
        await classifier.aclose()


async def test_the_model_answers_on_its_own_thread_when_it_is_in_time() -> None:
    scorer = FakeScorer()
    async with a_classifier(scorer) as classifier:
        port: Classifier = classifier
        assessment = await port.assess(TURNS)
    assert (assessment.complexity, assessment.domain, assessment.domain_confidence) == (0.7, Domain.MATH, 0.9)
    assert assessment.scored_by is ScoredBy.MODEL
    assert assessment.elapsed_s >= 0.0
    assert scorer.threads == {"classifier"}
    assert sum(classifier.fallbacks.snapshot().values()) == 0


async def test_a_scorer_that_raises_is_replaced_by_the_heuristic_and_counted() -> None:
    observer = RecordingObserver()
    async with a_classifier(FakeScorer(RuntimeError("secret prompt text")), observer=observer) as classifier:
        assessments = [await classifier.assess(TURNS) for _ in range(3)]
    assert {a.scored_by for a in assessments} == {ScoredBy.HEURISTIC}
    assert classifier.fallbacks.snapshot()[FallbackCause.FAILED] == 3
    assert observer.causes == [FallbackCause.FAILED] * 3


async def test_a_scorer_that_blocks_is_replaced_by_the_heuristic_after_the_limit() -> None:
    scorer = BlockingScorer()
    async with a_classifier(scorer, limit_s=0.02) as classifier:
        assessment = await asyncio.wait_for(classifier.assess(TURNS), 5)
        assert assessment.scored_by is ScoredBy.HEURISTIC
        assert assessment.elapsed_s >= 0.015
        assert classifier.fallbacks.snapshot()[FallbackCause.TIMED_OUT] == 1
        scorer.released.set()


async def test_the_model_answers_again_once_a_blocked_scorer_is_free() -> None:
    scorer = BlockingScorer()
    async with a_classifier(scorer, limit_s=0.02) as classifier:
        late = [await classifier.assess([Turn("user", name)]) for name in ("first", "second")]
        scorer.released.set()
        await until(lambda: classifier.num_waiting == 0)
        assessment = await classifier.assess([Turn("user", "third")])
    assert [a.scored_by for a in late] == [ScoredBy.HEURISTIC] * 2
    assert assessment.scored_by is ScoredBy.MODEL
    assert scorer.seen == ["first", "third"]  # nobody waited for the second any more


async def test_a_full_backlog_answers_at_once_by_the_heuristic() -> None:
    scorer = BlockingScorer()
    async with a_classifier(scorer, max_backlog=2) as classifier:
        running = asyncio.create_task(classifier.assess(TURNS))
        await until(scorer.entered.is_set)
        waiting = [asyncio.create_task(classifier.assess(TURNS)) for _ in range(2)]
        await asyncio.sleep(0)
        refused = await asyncio.wait_for(classifier.assess(TURNS), 1)
        assert classifier.fallbacks.snapshot()[FallbackCause.BACKLOG_FULL] == 1
        scorer.released.set()
        answered = await asyncio.gather(running, *waiting)
    assert refused.scored_by is ScoredBy.HEURISTIC
    assert [a.scored_by for a in answered] == [ScoredBy.MODEL] * 3


async def test_a_caller_that_leaves_is_cancelled_and_not_counted() -> None:
    scorer = BlockingScorer()
    async with a_classifier(scorer) as classifier:
        task = asyncio.create_task(classifier.assess(TURNS))
        await until(scorer.entered.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        scorer.released.set()
    assert sum(classifier.fallbacks.snapshot().values()) == 0


async def test_after_closing_the_heuristic_answers_and_the_thread_is_gone() -> None:
    before = set(threading.enumerate())
    classifier = TimeLimitedClassifier(FakeScorer())
    assert {thread.name for thread in set(threading.enumerate()) - before} == {"classifier"}
    await classifier.aclose()
    await classifier.aclose()
    assert (await classifier.assess(TURNS)).scored_by is ScoredBy.HEURISTIC
    assert classifier.fallbacks.snapshot()[FallbackCause.CLOSED] == 1
    assert "classifier" not in {thread.name for thread in set(threading.enumerate()) - before}


async def test_closing_answers_whoever_still_waits() -> None:
    scorer = BlockingScorer()
    classifier = TimeLimitedClassifier(scorer, 5.0)
    running = asyncio.create_task(classifier.assess(TURNS))
    await until(scorer.entered.is_set)
    waiting = asyncio.create_task(classifier.assess(TURNS))
    await asyncio.sleep(0)
    closing = asyncio.create_task(classifier.aclose())
    assert (await asyncio.wait_for(waiting, 1)).scored_by is ScoredBy.HEURISTIC
    scorer.released.set()
    await closing
    assert (await running).scored_by is ScoredBy.MODEL


async def test_elapsed_time_is_read_from_the_given_clock() -> None:
    readings = iter([10.0, 10.25])
    classifier = TimeLimitedClassifier(FakeScorer(), clock=lambda: next(readings))
    assessment: Assessment = await classifier.assess(TURNS)
    await classifier.aclose()
    assert assessment.elapsed_s == 0.25


@pytest.mark.parametrize(("limit_s", "max_backlog"), [(0.0, 1), (-1.0, 1), (0.025, 0)])
def test_a_limit_or_backlog_of_nothing_is_refused(limit_s: float, max_backlog: int) -> None:
    with pytest.raises(ValueError, match="limit_s"):
        TimeLimitedClassifier(FakeScorer(), limit_s, max_backlog=max_backlog)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is awaited happens on a thread that knows no event loop
            await asyncio.sleep(0.001)
