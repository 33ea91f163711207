"""Every promise, kept and then broken on purpose: a promise that cannot fail proves nothing."""

from dataclasses import replace
from typing import Any

import pytest

from loadtests.chaos import promises
from loadtests.chaos.books import Call, Row, reconcile
from loadtests.chaos.plan import MARKER, Manner, RequestPlan
from loadtests.chaos.record import Record
from loadtests.chaos.scenarios import CLOUDS, FALLBACK, PRIMARY, well
from loadtests.chaos.script import Script
from loadtests.simulator.behaviour import Behaviour
from loadtests.simulator.faults import Fault

SCRIPT = Script({name: well(name) for name in CLOUDS})
ERROR = {"message": "No.", "type": "upstream_error", "code": "all_upstreams_failed", "param": None}


def a_plan(**changes: Any) -> RequestPlan:
    plan = RequestPlan("s.plain.00001.open", "chaos", "cloud", "Tell me.", True, 64, 5.0)
    return replace(plan, **changes)


def a_record(plan: RequestPlan | None = None, **changes: Any) -> Record:
    """A whole streamed answer of the primary."""
    asked = plan or a_plan()
    record = Record(
        plan=asked,
        started_s=100.0,
        ended_s=101.0,
        status=200,
        headers={"x-upcoach-upstream": PRIMARY},
        text=SCRIPT.whole(asked, PRIMARY).text,
        finish_reason="stop",
        is_done=True,
    )
    return replace(record, **changes)


def an_error_record(status: int = 502, plan: RequestPlan | None = None, **changes: Any) -> Record:
    return a_record(plan, status=status, error=ERROR, text="", finish_reason=None, is_done=False, **changes)


def a_row(**changes: Any) -> Row:
    row = Row("a1", "s.plain.00001.open", PRIMARY, "chaos", "cloud", "complex", "completed", None, 4, 24, 0.001)
    return replace(row, **changes)


def a_call(**changes: Any) -> Call:
    call = Call(PRIMARY, "s.plain.00001.open", "a1", False, 100.0, "completed", 100.5, None, 4, 24)
    return replace(call, **changes)


def test_a_good_answer_keeps_every_promise() -> None:
    records = [a_record()]
    assert not promises.ends_in_time(records)
    assert not promises.answers_or_typed_errors(records)
    assert not promises.tells_when_to_come_back(records)
    assert not promises.no_false_stops(records, SCRIPT)
    assert not promises.no_switches(records, SCRIPT)
    assert not promises.books_agree(reconcile([a_row()], [a_call()]))
    assert not promises.stays_in_its_places([a_call()])
    assert not promises.answers_come_from_allowed_places(records, frozenset(CLOUDS))
    assert not promises.stops_for_who_left(records, [a_call()])
    assert not promises.only_what_was_in_hand_fails(records, [100.5])
    assert not promises.all_answered(records)


def test_an_answer_after_its_deadline_and_a_second_is_late() -> None:
    assert not promises.ends_in_time([a_record(ended_s=106.0)])
    (late,) = promises.ends_in_time([a_record(ended_s=106.1)])
    assert late.what == "6.10 s of 5.0 s"


@pytest.mark.parametrize(
    "bad",
    [
        an_error_record(500),
        an_error_record(418),
        replace(an_error_record(), error="text"),
        replace(an_error_record(), error={"message": "No."}),
        replace(an_error_record(), error={**ERROR, "type": "oops"}),
        replace(an_error_record(), error={**ERROR, "code": None}),
        replace(an_error_record(), error=None),
        replace(an_error_record(), error=None, problem="not a JSON object"),
        a_record(is_done=False),
        a_record(cut="ClientPayloadError"),
        a_record(status=None, cut="ServerDisconnectedError"),
        replace(a_record(), error={"message": "No."}),
    ],
)
def test_what_is_neither_an_answer_nor_a_typed_error_is_found(bad: Record) -> None:
    assert len(promises.answers_or_typed_errors([bad])) == 1


def test_typed_errors_before_and_in_a_stream_are_answers() -> None:
    in_stream = a_record(error=ERROR, finish_reason=None, is_done=False)
    assert not promises.answers_or_typed_errors([an_error_record(), in_stream])


def test_who_left_is_owed_nothing() -> None:
    assert not promises.answers_or_typed_errors([a_record(left_s=100.2, is_done=False, status=None)])


def test_a_cut_is_an_end_only_where_its_ingress_was_killed_under_it() -> None:
    cut = a_record(cut="ClientPayloadError", is_done=False, finish_reason=None)
    assert not promises.answers_or_typed_errors([cut], killed_at_s=[100.5])
    assert promises.answers_or_typed_errors([cut], killed_at_s=[99.0])
    assert promises.answers_or_typed_errors([cut])
    told = replace(an_error_record(), status=500)
    assert not promises.answers_or_typed_errors([told], killed_at_s=[100.5])
    assert promises.answers_or_typed_errors([told], killed_at_s=[99.0])
    headless = replace(cut, status=None, plan=a_plan(is_stream=False))
    assert not promises.answers_or_typed_errors([headless], killed_at_s=[100.5])
    assert promises.answers_or_typed_errors([headless], killed_at_s=[99.0])


@pytest.mark.parametrize("value", [None, "", "soon", "0", "1.5"])
def test_a_refusal_without_whole_seconds_to_wait_is_found(value: str | None) -> None:
    for status in (429, 503):
        headers = {} if value is None else {"retry-after": value}
        assert len(promises.tells_when_to_come_back([an_error_record(status, headers=headers)])) == 1
        assert not promises.tells_when_to_come_back([an_error_record(status, headers={"retry-after": "3"})])


@pytest.mark.parametrize("finish_reason", ["stop", "length", None])
def test_a_stream_that_was_cut_and_ends_as_if_it_were_whole_is_a_false_stop(finish_reason: str | None) -> None:
    whole = SCRIPT.whole(a_plan(), PRIMARY).text
    cut = a_record(text=whole[:-5], finish_reason=finish_reason)
    assert len(promises.no_false_stops([cut], SCRIPT)) == 1


def test_an_error_after_a_false_finish_reason_is_still_a_false_stop() -> None:
    cut = a_record(text="Simulated", error=ERROR, is_done=False)
    assert len(promises.no_false_stops([cut], SCRIPT)) == 1


def test_a_plain_answer_cut_short_is_a_false_stop() -> None:
    plan = a_plan(is_stream=False)
    assert len(promises.no_false_stops([a_record(plan, text="Simulated")], SCRIPT)) == 1


def test_an_answer_at_the_length_that_was_asked_for_is_whole() -> None:
    plan = a_plan(max_tokens=5)
    line = SCRIPT.whole(plan, PRIMARY)
    assert line.finish_reason == "length"
    assert not promises.no_false_stops([a_record(plan, finish_reason="length")], SCRIPT)
    assert promises.no_false_stops([a_record(plan, text=line.text[:-1], finish_reason="length")], SCRIPT)


def test_a_cut_stream_that_ends_with_an_error_is_no_false_stop() -> None:
    cut = a_record(text="Simulated", error=ERROR, finish_reason=None, is_done=False)
    assert not promises.no_false_stops([cut], SCRIPT)
    assert not promises.no_switches([cut], SCRIPT)


def test_a_text_that_goes_on_in_the_words_of_another_upstream_is_a_switch() -> None:
    first, second = SCRIPT.whole(a_plan(), PRIMARY).text, SCRIPT.whole(a_plan(), FALLBACK).text
    assert len(promises.no_switches([a_record(text=first[:20] + second)], SCRIPT)) == 1
    assert len(promises.no_switches([a_record(text=first[:60] + second[60:])], SCRIPT)) == 1


def test_a_text_of_another_upstream_than_the_head_names_is_a_switch() -> None:
    text = SCRIPT.whole(a_plan(), FALLBACK).text
    assert len(promises.no_switches([a_record(text=text)], SCRIPT)) == 1


def test_local_answers_are_not_judged_by_their_text() -> None:
    local = a_record(headers={"x-upcoach-upstream": "smollm2"}, text="Hello")
    assert not promises.no_switches([local], SCRIPT)
    assert not promises.no_false_stops([local], SCRIPT)


@pytest.mark.parametrize(
    ("fault", "text"),
    [(Fault.HUGE_CHUNK, "huge" * 9), (Fault.DIE_IN_TOOL_CALL, '{"first":"sim'), (Fault.NEVER_FINISH, None)],
)
def test_what_a_fault_makes_an_upstream_say_is_its_own(fault: Fault, text: str | None) -> None:
    script = Script({PRIMARY: well(PRIMARY, fault=fault)})
    endless = SCRIPT.whole(a_plan(), PRIMARY).text + " Every word of it comes from"
    said = a_record(text=text or endless, error=ERROR, finish_reason=None)
    assert not promises.no_switches([said], script)
    assert promises.no_switches([said], SCRIPT)


def test_a_huge_answer_is_whole_only_where_one_was_to_be_expected() -> None:
    huge = a_record(text="huge" * 256)
    assert not promises.no_false_stops([huge], Script({PRIMARY: well(PRIMARY, fault=Fault.HUGE_CHUNK)}))
    assert promises.no_false_stops([huge], Script({PRIMARY: Behaviour()}))


@pytest.mark.parametrize(
    ("rows", "calls"),
    [
        ([], [a_call()]),
        ([a_row()], []),
        ([a_row()], [a_call(), a_call()]),
        ([a_row(), a_row()], [a_call()]),
        ([a_row(upstream=FALLBACK)], [a_call()]),
        ([a_row(num_output_tokens=23)], [a_call()]),
        ([a_row(num_input_tokens=5)], [a_call()]),
        ([a_row(), a_row(id="a2", outcome="failed", error_code="upstream_broken")], [a_call()]),
    ],
)
def test_every_difference_between_the_two_books_is_found(rows: list[Row], calls: list[Call]) -> None:
    assert promises.books_agree(reconcile(rows, calls))


def test_a_confidential_request_in_a_cloud_is_found_by_its_id_and_by_its_marker() -> None:
    assert not promises.stays_in_its_places([a_call()])
    assert len(promises.stays_in_its_places([a_call(request_id="s.plain.00001.conf")])) == 1
    assert len(promises.stays_in_its_places([a_call(request_id=None, has_marker=True)])) == 1
    assert MARKER not in a_plan().prompt


def test_a_confidential_answer_that_names_a_cloud_is_found() -> None:
    secret = a_record(a_plan(is_confidential=True))
    assert len(promises.answers_come_from_allowed_places([secret], frozenset(CLOUDS))) == 1


@pytest.mark.parametrize("ended_s", [None, 101.51])
def test_an_upstream_that_goes_on_for_a_client_that_left_is_found(ended_s: float | None) -> None:
    left = a_record(a_plan(manner=Manner.LEAVES_EARLY), left_s=100.5)
    assert len(promises.stops_for_who_left([left], [a_call(ended_s=ended_s)])) == 1
    assert not promises.stops_for_who_left([left], [a_call(ended_s=101.5), a_call(request_id="other", ended_s=None)])


def test_what_fails_outside_a_killed_replicas_hands_is_found() -> None:
    failed = an_error_record(502)
    assert not promises.only_what_was_in_hand_fails([failed], [100.5])
    assert len(promises.only_what_was_in_hand_fails([failed], [99.0])) == 1
    assert len(promises.only_what_was_in_hand_fails([a_record(cut="ServerDisconnectedError")], [99.0])) == 1
    assert not promises.only_what_was_in_hand_fails([an_error_record(403)], [99.0])


def test_a_budget_overspent_by_more_than_one_request_is_found() -> None:
    rows = [a_row(id=str(n), request_id=str(n), tenant="racer", cost_usd=0.003) for n in range(4)]
    assert not promises.budget_holds(rows, "racer", 0.009)
    assert len(promises.budget_holds(rows, "racer", 0.0089)) == 1
    assert not promises.budget_holds(rows, "another", 0.0)


def test_the_attempts_of_one_request_are_one_overspend() -> None:
    rows = [a_row(id=str(n), request_id="one", tenant="racer", cost_usd=0.003) for n in range(3)]
    assert not promises.budget_holds(rows, "racer", 0.0)


def test_a_race_that_nobody_lost_or_nobody_won_proves_nothing() -> None:
    refused = an_error_record(429)
    assert promises.refuses_past_the_budget([a_record()])
    assert promises.refuses_past_the_budget([refused])
    assert not promises.refuses_past_the_budget([a_record(), refused])


def test_a_lost_local_tier_that_nobody_noticed_is_found() -> None:
    spilled = a_record(a_plan(model="auto"))
    refused = an_error_record(503, plan=a_plan(is_confidential=True))
    clouds = frozenset(CLOUDS)
    assert not promises.spills_what_may_leave([spilled, refused], clouds)
    assert len(promises.spills_what_may_leave([refused], clouds)) == 1
    assert len(promises.spills_what_may_leave([spilled], clouds)) == 1


def test_a_fault_that_befell_nobody_proves_nothing() -> None:
    assert len(promises.fault_struck([a_call()], ["hang"])) == 1
    assert not promises.fault_struck([a_call(fault="hang")], ["hang"])


def test_where_nothing_is_wrong_only_what_is_forbidden_may_be_refused() -> None:
    assert len(promises.all_answered([an_error_record(503)])) == 1
    secret = a_plan(is_confidential=True)
    assert not promises.all_answered([replace(an_error_record(403), plan=secret)])
    assert len(promises.all_answered([replace(an_error_record(502), plan=secret)])) == 1


def test_violations_are_counted_by_promise() -> None:
    found = promises.ends_in_time([a_record(ended_s=999.0)] * 2) + promises.all_answered([an_error_record()])
    assert promises.count_by_promise(found) == {"ends_in_time": 2, "all_answered": 1}
    assert promises.one_of_each(found) == [found[0], found[2]]
