"""Percentiles, an interval for a difference of medians, and the conditions that a figure means nothing without."""

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

NUM_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles of a sample, in the sample's unit."""

    num: int
    p50: float
    p95: float
    p99: float


def spread_of(sample: Sequence[float]) -> Spread:
    """Percentiles by linear interpolation. The sample must not be empty."""
    p50, p95, p99 = np.percentile(np.asarray(sample), [50, 95, 99])
    return Spread(len(sample), float(p50), float(p95), float(p99))


@dataclass(frozen=True, slots=True)
class Difference:
    """`estimate` is median(b) - median(a); `low` and `high` bound it in 95 % of resamples."""

    estimate: float
    low: float
    high: float


def difference_of_medians(a: Sequence[float], b: Sequence[float], seed: int = 1) -> Difference:
    """Percentile bootstrap (Efron 1979): both samples are drawn anew NUM_RESAMPLES times, each on its own."""
    draw = np.random.default_rng(seed)
    first, second = np.asarray(a), np.asarray(b)
    medians = [
        np.median(draw.choice(second, second.size)) - np.median(draw.choice(first, first.size))
        for _ in range(NUM_RESAMPLES)
    ]
    low, high = np.percentile(medians, [2.5, 97.5])
    return Difference(float(np.median(second) - np.median(first)), float(low), float(high))


@dataclass(frozen=True, slots=True)
class Conditions:
    """Where and when a measurement ran. `load_1m` is the machine's own load average before it."""

    date: str
    num_cores: int
    cpu: str
    python: str
    load_1m: float
    packages: dict[str, str]

    def as_json(self) -> dict[str, object]:
        return asdict(self)

    def __str__(self) -> str:
        packages = ", ".join(f"{name} {number}" for name, number in self.packages.items())
        return f"{self.date}, {self.num_cores} cores ({self.cpu}), load {self.load_1m:.2f}, {self.python}, {packages}"


def conditions_now(packages: Sequence[str]) -> Conditions:
    """The conditions with the versions of those of `packages` that are installed."""
    return Conditions(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        num_cores=len(os.sched_getaffinity(0)),
        cpu=_cpu_name(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        load_1m=os.getloadavg()[0],
        packages={name: number for name in packages if (number := _version_of(name)) is not None},
    )


def _version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
