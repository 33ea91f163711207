"""The outcome of a run: report.json for machines, and the same in a page for people."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from loadtests.chaos.promises import Violation, count_by_promise, one_of_each
from loadtests.chaos.verdict import MAX_SHOWN, Verdict

PROMISES = (
    "ends_in_time",
    "answers_or_typed_errors",
    "tells_when_to_come_back",
    "no_false_stops",
    "no_switches",
    "books_agree",
    "stays_in_its_places",
    "answers_come_from_allowed_places",
    "stops_for_who_left",
    "only_what_was_in_hand_fails",
    "spills_what_may_leave",
    "budget_holds",
    "refuses_past_the_budget",
    "fault_struck",
    "all_answered",
    "run_to_its_end",
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`overall` are violations of the run as a whole: its books from end to end. `conditions` is what it ran on."""

    seed: int
    verdicts: Sequence[Verdict]
    overall: Sequence[Violation]
    totals: Mapping[str, object]
    conditions: Mapping[str, object]

    @property
    def is_kept(self) -> bool:
        return not self.overall and all(verdict.is_kept for verdict in self.verdicts)

    @property
    def num_requests(self) -> int:
        return sum(int(str(verdict.figures.get("requests", 0))) for verdict in self.verdicts)

    def counts(self) -> dict[str, int]:
        """Violations of every promise, those with none too."""
        everything = [each for verdict in self.verdicts for each in verdict.violations] + list(self.overall)
        return dict.fromkeys(PROMISES, 0) | dict(count_by_promise(everything))

    def as_json(self) -> dict[str, object]:
        return {
            "version": 1,
            "kept": self.is_kept,
            "seed": self.seed,
            "requests": self.num_requests,
            "scenarios_run": sum(verdict.skipped is None for verdict in self.verdicts),
            "scenarios_left_out": sorted({verdict.name for verdict in self.verdicts if verdict.skipped is not None}),
            "promises": self.counts(),
            "totals": dict(self.totals),
            "overall_violations_shown": [f"{each.request_id}: {each.what}" for each in self.overall[:MAX_SHOWN]],
            "conditions": dict(self.conditions),
            "scenarios": [verdict.as_json() for verdict in self.verdicts],
        }


def conditions_now(**more: object) -> dict[str, object]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        **more,
    }


def write_report(outcome: Outcome, folder: Path) -> Path:
    """report.json and summary.md in `folder`; the path of the first."""
    path = folder / "report.json"
    path.write_text(json.dumps(outcome.as_json(), indent=1), encoding="utf-8")
    (folder / "summary.md").write_text(render(outcome), encoding="utf-8")
    return path


def render(outcome: Outcome) -> str:
    """Markdown: the promises, then one line a scenario, then what was broken."""
    lines = [
        f"# Chaos, seed {outcome.seed}: {'every promise kept' if outcome.is_kept else 'BROKEN PROMISES'}",
        "",
        f"{outcome.num_requests} requests in {sum(each.skipped is None for each in outcome.verdicts)} scenario runs.",
        "",
        "| promise | violations |",
        "| --- | ---: |",
        *(f"| {name} | {count} |" for name, count in outcome.counts().items()),
        "",
        "| scenario | mode | requests | answered | statuses | worst past deadline s | calls | rows | broken |",
        "| --- | --- | ---: | ---: | --- | ---: | ---: | ---: | --- |",
        *(_line(verdict) for verdict in outcome.verdicts if verdict.skipped is None),
    ]
    left_out = {verdict.name: verdict.skipped for verdict in outcome.verdicts if verdict.skipped is not None}
    if left_out:
        lines += ["", "LEFT OUT:", *(f"- {name}: {reason}" for name, reason in left_out.items())]
    shown = [(v.name, v.mode, each) for v in outcome.verdicts for each in one_of_each(v.violations)]
    shown += [("the whole run", "", each) for each in outcome.overall[:MAX_SHOWN]]
    if shown:
        lines += ["", "Broken:"]
        lines += [f"- {name} {mode}: {each.promise}: {each.request_id} {each.what}" for name, mode, each in shown]
    return "\n".join(lines) + "\n"


def _line(verdict: Verdict) -> str:
    figures = verdict.figures
    ledger = figures.get("ledger")
    calls, rows = (ledger["calls"], ledger["rows"]) if isinstance(ledger, dict) else ("", "")
    statuses = figures.get("statuses")
    told = ", ".join(f"{status}: {num}" for status, num in statuses.items()) if isinstance(statuses, dict) else ""
    broken = ", ".join(f"{name} {num}" for name, num in count_by_promise(verdict.violations).items()) or "-"
    cells = (figures.get("requests"), figures.get("answered"), told, figures.get("latest_past_deadline_s"))
    return f"| {verdict.name} | {verdict.mode} | {' | '.join(map(str, cells))} | {calls} | {rows} | {broken} |"
