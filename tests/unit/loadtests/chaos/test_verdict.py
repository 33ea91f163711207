"""All promises together over what a scenario left behind, the report, and its exit."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loadtests.chaos.__main__ import num_usual
from loadtests.chaos.books import Call, Row, reconcile
from loadtests.chaos.plan import Mix, RequestPlan, make_plans
from loadtests.chaos.promises import Violation
from loadtests.chaos.record import Record
from loadtests.chaos.report import PROMISES, Outcome, render, write_report
from loadtests.chaos.scenarios import CLOUDS, PRIMARY, RACERS, Mishap, Scenario, all_scenarios, well
from loadtests.chaos.script import Script
from loadtests.chaos.verdict import Evidence, Verdict, judge
from loadtests.simulator.faults import Fault

CALM = Scenario("calm", Mix({"cloud": 1.0}, confidential_share=0.0), must_answer_all=True)
SCRIPT = Script({name: well(name) for name in CLOUDS})


def a_whole_answer(plan: RequestPlan) -> Record:
    line = SCRIPT.whole(plan, PRIMARY)
    return Record(
        plan,
        1.0,
        1.5,
        200,
        headers={"x-upcoach-upstream": PRIMARY},
        text=line.text,
        finish_reason=line.finish_reason,
        is_done=True,
    )


def good_evidence(scenario: Scenario = CALM, num: int = 5) -> Evidence:
    plans = make_plans("calm.streamed", scenario.mix_for(is_stream=True), is_stream=True, num=num, seed=1)
    rows, calls = [], []
    for at, plan in enumerate(plans):
        rows.append(
            Row(str(at), plan.request_id, PRIMARY, plan.tenant, "cloud", "complex", "completed", None, 9, 24, 0.001)
        )
        calls.append(Call(PRIMARY, plan.request_id, str(at), False, 1.0, "completed", 1.4, None, 9, 24))
    records = [a_whole_answer(plan) for plan in plans]
    return Evidence(scenario, True, records, calls, calls, rows, reconcile(rows, calls))


def broken_promises(evidence: Evidence) -> set[str]:
    return {violation.promise for violation in judge(evidence).violations}


def test_a_scenario_without_a_flaw_is_kept() -> None:
    verdict = judge(good_evidence())
    assert verdict.is_kept
    assert verdict.figures["answered"] == 5


def with_first_record(evidence: Evidence, **changes: Any) -> Evidence:
    return replace(evidence, records=[replace(evidence.records[0], **changes), *evidence.records[1:]])


@pytest.mark.parametrize(
    ("changes", "promise"),
    [
        ({"ended_s": 99.0}, "ends_in_time"),
        ({"is_done": False}, "answers_or_typed_errors"),
        ({"status": 503, "error": {"message": "", "type": "capacity", "code": "x", "param": None}}, "all_answered"),
        ({"status": 429, "error": {}}, "tells_when_to_come_back"),
        ({"text": "Simulated"}, "no_false_stops"),
        ({"text": "Other words"}, "no_switches"),
        ({"left_s": 0.1}, "stops_for_who_left"),
    ],
)
def test_one_flaw_in_a_record_breaks_its_promise(changes: dict[str, Any], promise: str) -> None:
    assert promise in broken_promises(with_first_record(good_evidence(), **changes))


def test_a_missing_row_breaks_the_books() -> None:
    evidence = good_evidence()
    rows = evidence.rows[1:]
    assert broken_promises(replace(evidence, rows=rows, balance=reconcile(rows, evidence.calls))) == {"books_agree"}


def test_a_marker_in_any_cloud_breaks_residency() -> None:
    evidence = good_evidence()
    leaked = replace(evidence.calls[0], has_marker=True, request_id=None)
    assert broken_promises(replace(evidence, all_calls=[leaked])) == {"stays_in_its_places"}


def test_a_confidential_answer_of_a_cloud_breaks_residency() -> None:
    evidence = good_evidence()
    secret = replace(evidence.records[0].plan, is_confidential=True)
    assert "answers_come_from_allowed_places" in broken_promises(with_first_record(evidence, plan=secret))


def test_a_fault_that_befell_nobody_breaks_the_scenario() -> None:
    assert broken_promises(good_evidence(replace(CALM, faults=(Fault.HANG,)))) == {"fault_struck"}


def test_a_failure_after_a_router_was_killed_breaks_a_promise() -> None:
    scenario = replace(CALM, mishap=Mishap.ROUTER_KILLED, must_answer_all=False)
    evidence = replace(good_evidence(scenario), killed_at_s=(0.5,))
    error = {"message": "", "type": "upstream_error", "code": "x", "param": None}
    failed = with_first_record(evidence, status=502, error=error)
    assert broken_promises(failed) == {"only_what_was_in_hand_fails"}
    assert broken_promises(replace(failed, killed_at_s=(1.2,))) == set()


def test_a_race_is_held_against_the_budget_of_its_mode() -> None:
    evidence = good_evidence(replace(CALM, counts_budget=True))
    assert "refuses_past_the_budget" in broken_promises(evidence)
    assert {row.tenant for row in evidence.rows} == {RACERS[True]}
    dear = [replace(row, cost_usd=0.02) for row in evidence.rows]
    assert "budget_holds" in broken_promises(replace(evidence, rows=dear))


def test_the_suite_has_the_fault_kinds_that_were_asked_for() -> None:
    scenarios = all_scenarios()
    assert {fault for scenario in scenarios for fault in scenario.faults} == set(Fault)
    assert {scenario.mishap for scenario in scenarios} == {*Mishap, None}
    assert len({scenario.name for scenario in scenarios}) == len(scenarios)
    possible_at_least = sum(
        max(1, round(num_usual(scenarios, 10_500) * scenario.share)) * 2
        for scenario in scenarios
        if scenario.mishap is not Mishap.CLOCK_JUMPS
    )
    assert possible_at_least >= 10_000


def an_outcome(*verdicts: Verdict, overall: tuple[Violation, ...] = ()) -> Outcome:
    return Outcome(1, verdicts, overall, {}, {})


def test_the_outcome_is_kept_only_when_all_of_it_is(tmp_path: Path) -> None:
    kept = judge(good_evidence())
    broken = judge(with_first_record(good_evidence(), ended_s=99.0))
    left_out = Verdict("disk_full", "plain", skipped="no small disk")
    assert an_outcome(kept, left_out).is_kept
    assert not an_outcome(kept, broken).is_kept
    assert not an_outcome(kept, overall=(Violation("books_agree", "r", "w"),)).is_kept


def test_the_report_names_every_promise_and_what_was_left_out(tmp_path: Path) -> None:
    broken = judge(with_first_record(good_evidence(), ended_s=99.0))
    outcome = an_outcome(broken, Verdict("disk_full", "plain", skipped="no small disk"))
    report = json.loads(write_report(outcome, tmp_path).read_text(encoding="utf-8"))
    assert set(PROMISES) <= report["promises"].keys()
    assert report["promises"]["ends_in_time"] == 1
    assert report["scenarios_left_out"] == ["disk_full"]
    assert report["kept"] is False
    assert report["requests"] == 5
    page = render(outcome)
    assert "BROKEN PROMISES" in page
    assert "disk_full: no small disk" in page
