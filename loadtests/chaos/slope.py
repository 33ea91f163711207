"""How fast a process grows: the least-squares line through its samples, and how sure that is. Pure.

The interval treats samples as independent. Those of one process are not quite: it is too narrow rather than too wide.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

MB = 1e6
HOUR_S = 3600.0
MIN_SAMPLES = 10


@dataclass(frozen=True, slots=True)
class Sample:
    """`uss_bytes` would be free if the process ended. `at_s` counts from the beginning of the load."""

    at_s: float
    pid: int
    name: str
    uss_bytes: int


@dataclass(frozen=True, slots=True)
class Slope:
    """MB (10^6 bytes) an hour, with the bounds of a 95 % interval."""

    mb_per_h: float
    low_mb_per_h: float
    high_mb_per_h: float

    def as_json(self) -> dict[str, float]:
        return {
            "mb_per_h": round(self.mb_per_h, 3),
            "low_mb_per_h": round(self.low_mb_per_h, 3),
            "high_mb_per_h": round(self.high_mb_per_h, 3),
        }


@dataclass(frozen=True, slots=True)
class Growth:
    """One process after warm-up. `slope` is None where it lived too short for one."""

    pid: int
    name: str
    is_ours: bool
    num_samples: int
    first_uss_bytes: int
    last_uss_bytes: int
    slope: Slope | None

    def grows_faster_than(self, limit_mb_per_h: float) -> bool:
        return self.slope is not None and self.slope.mb_per_h > limit_mb_per_h


def growth_of(samples: Sequence[Sample], ours: Sequence[str], warm_up_s: float) -> list[Growth]:
    """One entry a process, in the order they were first seen; `ours` are the beginnings of our processes' names."""
    by_process: dict[tuple[int, str], list[Sample]] = {}
    for sample in samples:
        if sample.at_s >= warm_up_s:
            by_process.setdefault((sample.pid, sample.name), []).append(sample)
    return [
        Growth(
            pid=pid,
            name=name,
            is_ours=name.startswith(tuple(ours)),
            num_samples=len(series),
            first_uss_bytes=series[0].uss_bytes,
            last_uss_bytes=series[-1].uss_bytes,
            slope=slope_of([(sample.at_s, sample.uss_bytes) for sample in series]),
        )
        for (pid, name), series in by_process.items()
    ]


def slope_of(points: Sequence[tuple[float, float]]) -> Slope | None:
    """Through (seconds, bytes); None for fewer than MIN_SAMPLES points or when all are of one moment.

    Ordinary least squares: the slope's standard error is sqrt(SSE / (n - 2) / Sxx).
    """
    num = len(points)
    if num < MIN_SAMPLES:
        return None
    mean_x = sum(x for x, _ in points) / num
    mean_y = sum(y for _, y in points) / num
    sxx = sum((x - mean_x) ** 2 for x, _ in points)
    if sxx == 0.0:
        return None
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sxx
    sse = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in points)
    half = _t_95(num - 2) * math.sqrt(sse / (num - 2) / sxx)
    unit = HOUR_S / MB
    return Slope(slope * unit, (slope - half) * unit, (slope + half) * unit)


def _t_95(freedom: int) -> float:
    """The two-sided 95 % point of Student's t: Cornish-Fisher's first three terms, within 0.1 % from 8 on."""
    z = 1.959964
    first = (z**3 + z) / (4 * freedom)
    second = (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    return z + first + second + third
