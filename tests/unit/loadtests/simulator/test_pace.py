"""When tokens are due."""

import random

import pytest

from loadtests.simulator.behaviour import Behaviour
from loadtests.simulator.pace import Pace


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def a_pace(clock: FakeClock, **settings: float) -> Pace:
    return Pace(Behaviour.model_validate(settings), random.Random(1), clock)


def test_without_delays_everything_is_due_at_once() -> None:
    pace = a_pace(FakeClock())
    pace.step(1000)
    assert pace.wait_s() == 0.0
    assert not pace.has_gaps


def test_the_first_token_waits_for_the_ttft_and_each_next_one_for_a_gap() -> None:
    pace = a_pace(FakeClock(), ttft_ms=200, tokens_per_s=10, jitter=0)
    assert pace.wait_s() == pytest.approx(0.2)
    pace.step(3)
    assert pace.wait_s() == pytest.approx(0.5)


def test_a_late_wake_up_does_not_push_back_the_tokens_after_it() -> None:
    clock = FakeClock()
    pace = a_pace(clock, tokens_per_s=10, jitter=0)
    clock.now_s += 0.15
    pace.step()
    assert pace.wait_s() == 0.0
    pace.step()
    assert pace.wait_s() == pytest.approx(0.05)


def test_jitter_stays_inside_its_share_and_is_the_same_for_the_same_seed() -> None:
    waits = [a_pace(FakeClock(), ttft_ms=1000, jitter=0.2).wait_s() for _ in range(2)]
    assert waits[0] == waits[1]
    draw = random.Random(1)
    behaviour = Behaviour(ttft_ms=1000, jitter=0.2)
    drawn = [Pace(behaviour, draw, FakeClock()).wait_s() for _ in range(200)]
    assert min(drawn) >= 0.8
    assert max(drawn) <= 1.2
    assert max(drawn) - min(drawn) > 0.2
