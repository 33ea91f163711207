"""Percentiles and the interval of a difference."""

import random

import pytest

from loadtests.compare.stats import conditions_now, difference_of_medians, spread_of


def test_percentiles_of_a_known_sample() -> None:
    spread = spread_of([float(value) for value in range(101)])
    assert (spread.num, spread.p50, spread.p95, spread.p99) == (101, 50.0, 95.0, 99.0)


def test_the_interval_holds_a_shift_that_is_there_and_excludes_none() -> None:
    draw = random.Random(3)
    a = [draw.gauss(10, 1) for _ in range(400)]
    b = [draw.gauss(12, 1) for _ in range(400)]
    difference = difference_of_medians(a, b)
    assert difference.low < 2.0 < difference.high
    assert difference.low > 1.5
    assert difference.estimate == pytest.approx(2.0, abs=0.3)


def test_the_interval_of_two_samples_of_one_source_holds_zero() -> None:
    draw = random.Random(4)
    a, b = ([draw.expovariate(1) for _ in range(400)] for _ in range(2))
    difference = difference_of_medians(a, b)
    assert difference.low < 0.0 < difference.high


def test_conditions_name_only_what_is_installed() -> None:
    conditions = conditions_now(["numpy", "no-such-package-here"])
    assert list(conditions.packages) == ["numpy"]
    assert conditions.num_cores >= 1
