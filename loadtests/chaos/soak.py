"""`python -m loadtests.chaos.soak`: a mixed load for half an hour, and the memory of every process of the graph.

Exit code 1 when a process of ours grows faster than the limit after its warm-up, or none was seen.
"""

import argparse
import asyncio
import csv
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from loadtests.chaos.driver import Driver, Pressure
from loadtests.chaos.gateway import CommandFailed
from loadtests.chaos.house import Wishes, describe_machine, running_house
from loadtests.chaos.instance import Instance, deployment_of, uss_of
from loadtests.chaos.plan import Manner, Mix, make_plans
from loadtests.chaos.report import conditions_now
from loadtests.chaos.scenarios import CLOUDS, FALLBACK, PRIMARY, SPECIALIST, well
from loadtests.chaos.servers import ServerMissing
from loadtests.chaos.slope import MB, Growth, Sample, growth_of
from loadtests.simulator.faults import Fault

OURS = ("Router", "Ledger", "CloudProxy", "ComplexityClassifier")
LIMIT_MB_PER_H = 5.0
SAMPLE_EVERY_S = 10.0
TELL_EVERY_S = 60.0
BATCH_S = 10.0
WARM_UP_SHARE, MOST_WARM_UP_S = 1 / 3, 900.0
"""Bounded windows, pools and caches take a quarter of an hour to fill, in which a Router gains 6 MB."""

_MODELS = {"cloud": 6.0, PRIMARY: 1.0, SPECIALIST: 1.0, FALLBACK: 1.0, "auto": 1.0}
_MIX = Mix(_MODELS, confidential_share=0.03, manner_share=0.0)
_LEAVERS = Mix(_MODELS, manner=Manner.LEAVES_EARLY, least_leave_after=0.005, most_leave_after=0.3)


@dataclass(slots=True)
class Watch:
    """Samples of all processes of one instance."""

    instance: Instance
    began_s: float
    samples: list[Sample] = field(default_factory=list)

    async def keep_watching(self) -> None:
        while True:
            due_s = time.monotonic() + SAMPLE_EVERY_S
            self.samples += await asyncio.to_thread(self._look)
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))

    def _look(self) -> list[Sample]:
        processes = {process.pid: process for process in self.instance.processes()}
        at_s = time.monotonic() - self.began_s
        return [
            Sample(at_s, pid, _name_of(processes[pid]), uss) for pid, uss in uss_of(list(processes.values())).items()
        ]


def _name_of(process: psutil.Process) -> str:
    try:
        # Ray writes the method that runs behind a dot: one process must keep one name.
        return deployment_of(process) or process.name().partition(".")[0]
    except psutil.Error:
        return "gone"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        return asyncio.run(_run(options))
    except (ServerMissing, CommandFailed) as error:
        _say(f"cannot run: {error}")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.chaos.soak",
        allow_abbrev=False,
        description="Loads a gateway of its own for a while and watches the memory of its processes.",
        epilog="example: python -m loadtests.chaos.soak --out .local/soak --minutes 30",
    )
    parser.add_argument("--out", type=Path, required=True, help="gets soak.json, memory.csv and the gateway's logs")
    parser.add_argument(
        "--minutes", type=float, default=45.0, help="the first third, at most 15, is warm-up (default: 45)"
    )
    parser.add_argument("--rate", type=float, default=10.0, help="requests a second (default: 10)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--embedded", action="store_true", help="the embedded stores instead of Redis and PostgreSQL")
    parser.add_argument("--no-local", action="store_true", help="without the local model")
    return parser


async def _run(options: argparse.Namespace) -> int:
    wishes = Wishes(
        home=options.out / "home",
        is_embedded=options.embedded,
        has_local=not options.no_local,
        has_small_disk=False,
        may_change_clock=False,
    )
    async with running_house(wishes, _say) as (stage, keys), Driver(stage.gateway.url, keys) as driver:
        for name in CLOUDS:
            # A little of everything that leaves something behind: failures, broken streams, failovers.
            fault = Fault.DIE_AFTER_N if name == SPECIALIST else Fault.HTTP_500
            await stage.cast.behave(name, well(name, fault=fault, fault_rate=0.03))
        watch = Watch(stage.instance, time.monotonic())
        watching = asyncio.ensure_future(watch.keep_watching())
        try:
            statuses = await _load(driver, options, watch)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    return _conclude(options, watch.samples, statuses)


async def _load(driver: Driver, options: argparse.Namespace, watch: Watch) -> Counter[str]:
    """Batches of BATCH_S one after another; the statuses of all requests."""
    statuses: Counter[str] = Counter()
    ends_at, tells_at = watch.began_s + options.minutes * 60.0, 0.0
    number = 0
    while time.monotonic() < ends_at:
        number += 1
        num = max(2, round(options.rate * BATCH_S))
        mix = _LEAVERS if number % 10 == 0 else _MIX
        plans = make_plans(f"soak.{number}", mix, is_stream=number % 2 == 0, num=num, seed=options.seed)
        records = await driver.run(plans, Pressure(concurrency=48, rate_per_s=options.rate))
        statuses.update("left" if record.left_s is not None else str(record.status) for record in records)
        if time.monotonic() >= tells_at:
            tells_at = time.monotonic() + TELL_EVERY_S
            _say(_progress(watch, ends_at, statuses))
    return statuses


def _progress(watch: Watch, ends_at: float, statuses: Counter[str]) -> str:
    newest = {sample.pid: sample for sample in watch.samples}
    ours = ", ".join(
        f"{sample.name} {sample.uss_bytes / MB:.0f} MB" for sample in newest.values() if sample.name.startswith(OURS)
    )
    left_min = max(0.0, ends_at - time.monotonic()) / 60.0
    return f"{left_min:.1f} min left, {statuses.total()} requests {dict(statuses)}; {ours}"


def _conclude(options: argparse.Namespace, samples: Sequence[Sample], statuses: Counter[str]) -> int:
    warm_up_s = min(MOST_WARM_UP_S, options.minutes * 60.0 * WARM_UP_SHARE)
    growths = growth_of(samples, OURS, warm_up_s)
    ours = [growth for growth in growths if growth.is_ours]
    too_fast = [growth for growth in ours if growth.grows_faster_than(LIMIT_MB_PER_H)]
    is_kept = bool(ours) and all(growth.slope is not None for growth in ours) and not too_fast
    with (options.out / "memory.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("at_s", "pid", "name", "uss_bytes"))
        table.writerows((round(each.at_s, 1), each.pid, each.name, each.uss_bytes) for each in samples)
    report = {
        "version": 1,
        "kept": is_kept,
        "limit_mb_per_h": LIMIT_MB_PER_H,
        "warm_up_s": warm_up_s,
        "requests": statuses.total(),
        "statuses": dict(statuses),
        "conditions": conditions_now(
            **describe_machine(), minutes=options.minutes, rate_per_s=options.rate, seed=options.seed
        ),
        "processes": [_as_json(growth) for growth in growths],
    }
    (options.out / "soak.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    sys.stdout.write(_render(growths, is_kept))
    return 0 if is_kept else 1


def _as_json(growth: Growth) -> dict[str, object]:
    return {
        "name": growth.name,
        "pid": growth.pid,
        "ours": growth.is_ours,
        "samples": growth.num_samples,
        "first_uss_bytes": growth.first_uss_bytes,
        "last_uss_bytes": growth.last_uss_bytes,
        "slope": None if growth.slope is None else growth.slope.as_json(),
    }


def _render(growths: Sequence[Growth], is_kept: bool) -> str:
    lines = [
        f"Soak: {'kept' if is_kept else 'BROKEN'} (limit {LIMIT_MB_PER_H} MB an hour for a process of ours)",
        "",
        "| process | ours | USS MB | MB an hour | 95 % interval |",
        "| --- | --- | ---: | ---: | --- |",
    ]
    for growth in sorted(growths, key=lambda each: (not each.is_ours, -each.last_uss_bytes)):
        slope = growth.slope
        figures = (
            "- | -"
            if slope is None
            else f"{slope.mb_per_h:.2f} | {slope.low_mb_per_h:.2f} to {slope.high_mb_per_h:.2f}"
        )
        ours = "yes" if growth.is_ours else ""
        lines.append(f"| {growth.name} ({growth.pid}) | {ours} | {growth.last_uss_bytes / MB:.1f} | {figures} |")
    return "\n".join(lines) + "\n"


def _say(text: str) -> None:
    sys.stderr.write(f"soak: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
