"""A classifier behind a handle: whatever it does, an assessment comes in time, and a heuristic one is counted."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayError

from deployments.shared_handles import HandleClassifier
from serve_app.contracts.assessment import Assessment, Turn
from serve_app.contracts.vocabulary import Domain, ScoredBy
from serve_app.telemetry.metrics import Metrics

TURNS = [Turn("user", "Hello")]


async def hang(turns: object) -> Assessment:
    await asyncio.Event().wait()
    raise AssertionError


async def fail(turns: object) -> Assessment:
    raise RayError("gone")


def scored(by: ScoredBy) -> Callable[[object], Awaitable[Assessment]]:
    async def score(turns: object) -> Assessment:
        return Assessment(0.5, Domain.MATH, 0.9, by, 0.001)

    return score


def classifier_over(answer: Callable[[object], Awaitable[Assessment]], metrics: Metrics) -> HandleClassifier:
    handle: Any = SimpleNamespace(assess=SimpleNamespace(remote=lambda turns: asyncio.ensure_future(answer(turns))))
    return HandleClassifier(handle, 0.05, metrics)


@pytest.mark.parametrize(
    ("answer", "cause"),
    [(hang, "timed_out"), (fail, "failed"), (scored(ScoredBy.HEURISTIC), "at_the_classifier")],
    ids=["hangs", "fails", "answers by its own heuristic"],
)
async def test_the_heuristic_answers_and_is_counted(
    answer: Callable[[object], Awaitable[Assessment]], cause: str
) -> None:
    metrics = Metrics()
    async with asyncio.timeout(1.0):
        assessment = await classifier_over(answer, metrics).assess(TURNS)
    assert assessment.scored_by is ScoredBy.HEURISTIC
    assert f'upcoach_classifier_heuristic_total{{cause="{cause}"}} 1.0' in metrics.render().decode()


async def test_what_the_model_scored_is_handed_on_and_not_counted() -> None:
    metrics = Metrics()
    assessment = await classifier_over(scored(ScoredBy.MODEL), metrics).assess(TURNS)
    assert (assessment.complexity, assessment.domain) == (0.5, Domain.MATH)
    assert "cause=" not in metrics.render().decode()
