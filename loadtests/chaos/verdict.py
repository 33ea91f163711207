"""All promises applied to what one scenario left behind, and the figures that go with them. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from loadtests.chaos import promises
from loadtests.chaos.books import Balance, Call, Row
from loadtests.chaos.promises import Violation
from loadtests.chaos.record import Record
from loadtests.chaos.scenarios import CLOUDS, RACER_BUDGET_USD, RACERS, Mishap, Scenario
from loadtests.chaos.script import Script

MAX_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one scenario left behind. `calls` and `balance` are of its requests, `all_calls` of all meanwhile."""

    scenario: Scenario
    is_stream: bool
    records: Sequence[Record]
    calls: Sequence[Call]
    all_calls: Sequence[Call]
    rows: Sequence[Row]
    balance: Balance
    killed_at_s: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """`skipped` says why a scenario was left out; then there is nothing else."""

    name: str
    mode: str
    violations: Sequence[Violation] = ()
    figures: dict[str, object] = field(default_factory=dict)
    skipped: str | None = None

    @property
    def is_kept(self) -> bool:
        return not self.violations

    def as_json(self) -> dict[str, object]:
        # One of each first: hundreds of one kind must not hide another.
        first = promises.one_of_each(self.violations)
        rest = [each for each in self.violations if each not in first]
        shown = [
            {"promise": each.promise, "request_id": each.request_id, "what": each.what}
            for each in (first + rest)[:MAX_SHOWN]
        ]
        return {
            "scenario": self.name,
            "mode": self.mode,
            "skipped": self.skipped,
            "violations": promises.count_by_promise(self.violations),
            "violations_shown": shown,
            **self.figures,
        }


def judge(evidence: Evidence) -> Verdict:
    scenario = evidence.scenario
    return Verdict(
        scenario.name, mode_name(is_stream=evidence.is_stream), tuple(_violations(evidence)), figures_of(evidence)
    )


def mode_name(*, is_stream: bool) -> str:
    return "streamed" if is_stream else "plain"


def _violations(evidence: Evidence) -> list[Violation]:
    scenario, records = evidence.scenario, evidence.records
    script = Script({name: scenario.behaviour_of(name) for name in CLOUDS})
    is_ingress_killed = scenario.mishap is Mishap.ROUTER_KILLED
    found = promises.ends_in_time(records)
    found += promises.answers_or_typed_errors(
        records, scenario.statuses, killed_at_s=evidence.killed_at_s if is_ingress_killed else ()
    )
    found += promises.tells_when_to_come_back(records)
    found += promises.no_false_stops(records, script)
    found += promises.no_switches(records, script)
    found += promises.books_agree(evidence.balance)
    found += promises.stays_in_its_places(evidence.all_calls)
    found += promises.answers_come_from_allowed_places(records, frozenset(CLOUDS))
    found += promises.stops_for_who_left(records, evidence.calls)
    found += promises.fault_struck(evidence.calls, [fault.value for fault in scenario.faults])
    if is_ingress_killed:
        found += promises.only_what_was_in_hand_fails(records, evidence.killed_at_s)
    if scenario.mishap is Mishap.HEADROOM_GONE:
        found += promises.spills_what_may_leave(records, frozenset(CLOUDS))
    if scenario.must_answer_all:
        found += promises.all_answered(records)
    if scenario.counts_budget:
        found += promises.budget_holds(evidence.rows, RACERS[evidence.is_stream], RACER_BUDGET_USD)
        found += promises.refuses_past_the_budget(records)
    return found


def figures_of(evidence: Evidence) -> dict[str, object]:
    """What the readable and the machine-readable report show of a scenario."""
    records = evidence.records
    elapsed = sorted(record.elapsed_s for record in records)
    late = [record.elapsed_s - record.plan.deadline_s for record in records]
    return {
        "requests": len(records),
        "answered": sum(record.is_answered for record in records),
        "client_left": sum(record.left_s is not None for record in records),
        "confidential": sum(record.plan.is_confidential for record in records),
        "statuses": _counts(str(record.status) for record in records),
        "error_codes": _counts(record.error_code for record in records if record.error_code),
        "cut_connections": _counts(record.cut for record in records if record.cut),
        "broken_streams": sum(record.status == 200 and record.error is not None for record in records),
        "upstreams": _counts(record.upstream for record in records if record.upstream),
        "faults_suffered": _counts(call.fault for call in evidence.calls if call.fault),
        "p50_s": round(elapsed[len(elapsed) // 2], 3) if elapsed else None,
        "max_s": round(elapsed[-1], 3) if elapsed else None,
        "latest_past_deadline_s": round(max(late), 3) if late else None,
        "texts_judged": sum(record.upstream in CLOUDS and record.status == 200 for record in records),
        "local_answers_not_judged": sum(record.is_answered and record.upstream not in CLOUDS for record in records),
        "ledger": evidence.balance.as_json(),
    }


def _counts(names: Iterable[str | None]) -> dict[str, int]:
    return dict(Counter(name for name in names if name is not None).most_common())
