"""The line through a process's memory, and who is told to grow too fast."""

import random

import pytest

from loadtests.chaos.slope import Sample, growth_of, slope_of

MB_PER_S = 1e6 / 3600.0


def test_a_straight_line_has_its_own_slope_and_no_doubt() -> None:
    found = slope_of([(10.0 * n, 5e7 + 7.0 * MB_PER_S * 10.0 * n) for n in range(60)])
    assert found is not None
    assert found.mb_per_h == pytest.approx(7.0)
    assert found.low_mb_per_h == pytest.approx(7.0, abs=1e-3)
    assert found.high_mb_per_h == pytest.approx(7.0, abs=1e-3)


def test_the_interval_holds_the_true_slope_about_as_often_as_it_says() -> None:
    draw = random.Random(1)
    hits = 0
    for _ in range(400):
        found = slope_of([(10.0 * n, 2.0 * MB_PER_S * 10.0 * n + draw.gauss(0.0, 1e5)) for n in range(12)])
        assert found is not None
        hits += found.low_mb_per_h <= 2.0 <= found.high_mb_per_h
    assert 0.92 < hits / 400 < 0.98


def test_too_few_samples_and_samples_of_one_moment_have_no_slope() -> None:
    assert slope_of([(float(n), 1.0) for n in range(9)]) is None
    assert slope_of([(5.0, float(n)) for n in range(20)]) is None


def a_series(pid: int, name: str, mb_per_h: float, num: int = 60) -> list[Sample]:
    return [Sample(10.0 * n, pid, name, round(1e8 + mb_per_h * MB_PER_S * 10.0 * n)) for n in range(num)]


def test_only_a_process_of_ours_that_outgrows_the_limit_breaks_it() -> None:
    samples = a_series(1, "Router", 6.0) + a_series(2, "CloudProxy:one", 4.0) + a_series(3, "raylet", 50.0)
    growths = {growth.name: growth for growth in growth_of(samples, ("Router", "CloudProxy"), 100.0)}
    assert growths["Router"].grows_faster_than(5.0)
    assert not growths["CloudProxy:one"].grows_faster_than(5.0)
    assert [growth.is_ours for growth in growths.values()] == [True, True, False]


def test_the_warm_up_is_left_out() -> None:
    climbs = [Sample(10.0 * n, 1, "Router", 10**6 * min(n, 30)) for n in range(90)]
    (growth,) = growth_of(climbs, ("Router",), 300.0)
    assert growth.num_samples == 60
    assert not growth.grows_faster_than(0.1)


def test_a_process_that_lived_too_short_has_no_slope_and_breaks_nothing_by_it() -> None:
    (growth,) = growth_of(a_series(1, "Router", 99.0, num=5), ("Router",), 0.0)
    assert growth.slope is None
    assert not growth.grows_faster_than(5.0)
