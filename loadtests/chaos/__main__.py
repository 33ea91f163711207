"""`python -m loadtests.chaos`: arguments, progress, exit code."""

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from loadtests.chaos.driver import Driver
from loadtests.chaos.gateway import CommandFailed
from loadtests.chaos.house import Wishes, describe_machine, running_house
from loadtests.chaos.promises import one_of_each
from loadtests.chaos.report import Outcome, conditions_now, render, write_report
from loadtests.chaos.runner import Runner
from loadtests.chaos.scenarios import Mishap, Scenario, all_scenarios
from loadtests.chaos.servers import ServerMissing
from loadtests.chaos.verdict import Verdict

KEPT, BROKEN, NOT_RUN = 0, 1, 2
LOCAL_MODEL = "smollm2-135m-instruct"
NUM_MODES = 2

EXAMPLES = """examples:
  python -m loadtests.chaos --out .local/chaos --seed 1
  python -m loadtests.chaos --out .local/chaos --only die_after_n router_killed --requests 400
  python -m loadtests.chaos --out .local/chaos-embedded --embedded --no-local

exit codes: 0 every promise was kept, 1 one was broken, 2 the suite could not run
"""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        return asyncio.run(_until_told(options))
    except (ServerMissing, CommandFailed) as error:
        _say(f"cannot run: {error}")
        return NOT_RUN
    except (KeyboardInterrupt, asyncio.CancelledError):
        _say("interrupted; what was started has been stopped")
        return 130


def _parser() -> argparse.ArgumentParser:
    names = [scenario.name for scenario in all_scenarios()]
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.chaos",
        allow_abbrev=False,
        description="Hurts a gateway of its own in every known way and checks its promises.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="gets report.json, summary.md and the gateway's logs")
    parser.add_argument("--seed", type=int, default=1, help="of the requests and the faults (default: 1)")
    parser.add_argument("--requests", type=_whole, default=10_500, help="in all, about (default: 10500)")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of: {', '.join(names)}")
    parser.add_argument("--embedded", action="store_true", help="the embedded stores instead of Redis and PostgreSQL")
    parser.add_argument("--no-local", action="store_true", help="without the local model; its scenarios are left out")
    parser.add_argument(
        "--allow-clock-change", action="store_true", help="jump this machine's clock by an hour and back, as root"
    )
    return parser


def _whole(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


async def _until_told(options: argparse.Namespace) -> int:
    """Being asked to stop takes everything down again."""
    task = asyncio.ensure_future(_run(options))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


async def _run(options: argparse.Namespace) -> int:
    scenarios = [scenario for scenario in all_scenarios() if not options.only or scenario.name in options.only]
    wishes = Wishes(
        home=options.out / "home",
        is_embedded=options.embedded,
        has_local=not options.no_local,
        has_small_disk=any(scenario.mishap is Mishap.DISK_FULL for scenario in scenarios),
        may_change_clock=options.allow_clock_change,
    )
    async with running_house(wishes, _say) as (stage, keys), Driver(stage.gateway.url, keys) as driver:
        runner = Runner(
            stage=stage,
            driver=driver,
            seed=options.seed,
            num_usual=num_usual(scenarios, options.requests),
            local_model=LOCAL_MODEL if wishes.has_local else None,
        )
        began_s = time.monotonic()
        await runner.run_all(scenarios, _Teller(len(scenarios) * NUM_MODES))
        overall, totals = await runner.whole_run()
    conditions = conditions_now(
        **describe_machine(),
        stores="embedded" if options.embedded else "Redis and PostgreSQL",
        local_model=wishes.has_local,
        took_s=round(time.monotonic() - began_s),
    )
    outcome = Outcome(options.seed, runner.verdicts, overall, totals, conditions)
    path = write_report(outcome, options.out)
    sys.stdout.write(render(outcome))
    _say(f"report: {path}")
    return KEPT if outcome.is_kept else BROKEN


def num_usual(scenarios: Sequence[Scenario], num_requests: int) -> int:
    """Requests of a scenario of share 1 in one mode, so that all together are at least `num_requests`."""
    shares = sum(scenario.share for scenario in scenarios) * NUM_MODES
    return max(4, -(-num_requests // int(shares)))


class _Teller:
    """A line on standard error for each scenario, with how much is done."""

    def __init__(self, num: int) -> None:
        self._num, self._done = num, 0
        self._began_s = time.monotonic()

    def __call__(self, verdict: Verdict) -> None:
        self._done += 1
        elapsed_s = time.monotonic() - self._began_s
        left_s = elapsed_s / self._done * (self._num - self._done)
        what = "LEFT OUT: " + verdict.skipped if verdict.skipped else "kept" if verdict.is_kept else "BROKEN"
        _say(f"[{self._done}/{self._num}, about {left_s:.0f} s left] {verdict.name} {verdict.mode}: {what}")
        for each in one_of_each(verdict.violations):
            _say(f"    {each.promise}: {each.request_id} {each.what}")


def _say(text: str) -> None:
    sys.stderr.write(f"chaos: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
