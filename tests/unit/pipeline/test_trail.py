"""What a trail tells of one request's time and of why it was this candidate."""

import time

import pytest

from serve_app.contracts.vocabulary import Reason
from serve_app.pipeline.trail import Trail
from tests.fakes.builders import a_decision
from tests.fakes.dispatching import candidate_of


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def test_without_a_decision_there_is_no_reason() -> None:
    trail = Trail("r-1", 0.0)
    assert trail.reason is None
    trail.decision = a_decision(reason=Reason.SIMPLE)
    assert trail.reason is Reason.SIMPLE
    trail.turn_to(candidate_of("first"), Reason.SPILLED)
    assert trail.reason is Reason.SPILLED


def test_calls_side_by_side_count_once_and_no_wait_beside_them_counts(clock: Clock) -> None:
    trail = Trail("r-1", 0.0)
    with trail.time_queue():
        clock.now_s += 1.0
    with trail.time_upstream():
        clock.now_s += 2.0
        with trail.time_upstream(), trail.time_queue():
            clock.now_s += 4.0
        clock.now_s += 8.0
    assert (trail.queue_s, trail.upstream_s) == (1.0, 14.0)


def test_the_gateways_own_time_is_what_is_left_and_ends_with_the_headers(clock: Clock) -> None:
    trail = Trail("r-1", 0.0)
    clock.now_s = 3.0
    trail.queue_s, trail.upstream_s = 1.0, 1.5
    assert trail.overhead_s == 0.5
    trail.mark_answered()
    clock.now_s = 10.0
    trail.mark_answered()
    assert trail.overhead_s == 0.5
