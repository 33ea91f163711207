import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.resilience.latency import LatencyWindow
from tests.fakes.builders import FakeClock


def a_window(*samples: float, clock: FakeClock | None = None, max_samples: int = 256) -> LatencyWindow:
    window = LatencyWindow(max_samples, 300.0, clock=clock or FakeClock())
    for sample in samples:
        window.add(sample)
    return window


def test_without_samples_there_is_no_quantile() -> None:
    assert a_window().median() is None
    assert a_window().quantile(0.95) is None


def test_a_quantile_is_the_sample_that_so_many_do_not_exceed() -> None:
    window = a_window(3.0, 1.0, 2.0, 5.0, 4.0)
    assert window.median() == 3.0
    assert [window.quantile(q) for q in (0.0, 0.2, 0.21, 0.95, 1.0)] == [1.0, 1.0, 2.0, 5.0, 5.0]


def test_few_samples_count_at_once() -> None:
    window = a_window(1.0)
    assert window.median() == 1.0
    window.add(0.5)
    assert window.median() == 0.5


def test_many_samples_are_sorted_again_only_after_sixteen_more() -> None:
    window = a_window(*[1.0] * 100)
    assert window.quantile(1.0) == 1.0
    for expected in [*[1.0] * 15, 9.0]:
        window.add(9.0)
        assert window.quantile(1.0) == expected


def test_the_oldest_sample_makes_room_for_the_newest() -> None:
    window = a_window(9.0, 1.0, 2.0, max_samples=2)
    assert (len(window), window.quantile(1.0)) == (2, 2.0)


def test_an_upstream_that_was_slow_is_unknown_again_once_its_samples_have_aged() -> None:
    clock = FakeClock()
    window = a_window(9.0, clock=clock)
    clock.advance(200.0)
    window.add(1.0)
    assert window.quantile(1.0) == 9.0
    clock.advance(101.0)
    assert (len(window), window.quantile(1.0)) == (1, 1.0)
    clock.advance(200.0)
    assert (len(window), window.median()) == (0, None)


def test_samples_from_before_a_clock_jumped_back_are_forgotten() -> None:
    clock = FakeClock()
    window = a_window(9.0, clock=clock)
    clock.advance(-50.0)
    assert window.median() is None


@pytest.mark.parametrize(("max_samples", "max_age_s"), [(0, 300.0), (1, 0.0)])
def test_a_window_without_room_or_time_is_refused(max_samples: int, max_age_s: float) -> None:
    with pytest.raises(ValueError, match="window"):
        LatencyWindow(max_samples, max_age_s)


@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=300), st.floats(0.0, 1.0))
def test_any_quantile_is_a_sample_and_has_its_share_below(samples: list[float], q: float) -> None:
    kept = samples[-256:]
    quantile = a_window(*samples).quantile(q)
    assert quantile in kept
    assert sum(sample <= quantile for sample in kept) >= math.floor(q * len(kept))
