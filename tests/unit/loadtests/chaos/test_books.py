"""The two accounts joined, and how they are read."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.chaos.books import Allowances, Call, JournalReader, Row, UnreadableBooks, read_export, reconcile

ROW = Row("a1", "r1", "one", "t", "cloud", "complex", "completed", None, 4, 24, 0.0)
CALL = Call("one", "r1", "a1", False, 1.0, "completed", 2.0, None, 4, 24)


def row_like(**changes: Any) -> Row:
    return replace(ROW, **changes)


@given(st.lists(st.sampled_from(["r1", "r2", "r3"]), max_size=12), st.booleans(), st.randoms())
def test_calls_and_rows_of_the_same_attempts_always_come_out_even(
    requests: list[str], has_attempt_ids: bool, draw: Any
) -> None:
    rows = [row_like(id=str(n), request_id=request) for n, request in enumerate(requests)]
    calls = [
        replace(CALL, request_id=request, attempt=str(n) if has_attempt_ids else None)
        for n, request in enumerate(requests)
    ]
    draw.shuffle(rows)
    draw.shuffle(calls)
    balance = reconcile(rows, calls)
    assert balance.is_even
    assert len(balance.pairs) == len(requests)


@given(st.integers(0, 4), st.integers(0, 4))
def test_without_attempt_ids_the_difference_is_that_of_the_numbers(num_rows: int, num_calls: int) -> None:
    rows = [row_like(id=str(n)) for n in range(num_rows)]
    balance = reconcile(rows, [replace(CALL, attempt=None)] * num_calls)
    assert len(balance.rows_without_call) == max(0, num_rows - num_calls)
    assert len(balance.calls_without_row) == max(0, num_calls - num_rows)


@pytest.mark.parametrize("code", ["upstream_unreachable", "upstream_full", "upstream_cold"])
def test_a_row_that_says_that_nothing_was_sent_needs_no_call(code: str) -> None:
    balance = reconcile([row_like(outcome="failed", error_code=code)], [])
    assert balance.is_even
    assert len(balance.never_sent) == 1


def test_a_local_row_needs_no_call() -> None:
    balance = reconcile([row_like(place="local")], [])
    assert balance.is_even
    assert len(balance.local) == 1


def test_a_hedge_that_lost_before_it_was_sent_needs_no_call_unless_it_was_billed() -> None:
    lost = row_like(reason="hedged", outcome="cancelled", num_output_tokens=0)
    assert reconcile([lost], []).is_even
    assert not reconcile([replace(lost, num_output_tokens=1)], []).is_even
    assert not reconcile([replace(lost, reason="simple")], []).is_even


def test_allowances_cover_what_they_name_and_never_what_was_answered() -> None:
    allowances = Allowances(frozenset({"abandoned"}), frozenset({"upstream_broken"}))
    abandoned = row_like(outcome="abandoned", num_output_tokens=0)
    broken = row_like(outcome="failed", error_code="upstream_broken", num_output_tokens=0)
    assert reconcile([abandoned, replace(broken, id="a2")], [], allowances).is_even
    assert not reconcile([abandoned], []).is_even
    assert not reconcile([replace(abandoned, num_output_tokens=3)], [], allowances).is_even
    assert not reconcile([row_like(outcome="failed", error_code="other", num_output_tokens=0)], [], allowances).is_even


def test_tokens_of_broken_answers_are_reported_and_not_a_difference() -> None:
    broken = row_like(outcome="failed", error_code="upstream_broken", num_output_tokens=3)
    balance = reconcile([broken], [replace(CALL, ending="failed", num_completion_tokens=5)])
    assert balance.is_even
    assert balance.as_json()["broken_token_difference_sum"] == -2
    assert balance.as_json()["broken_token_difference_absolute"] == 2


EXPORTED = {
    "id": "a1",
    "request_id": "r1",
    "number": 1,
    "tenant": "t",
    "upstream": "one",
    "place": "cloud",
    "reason": "complex",
    "num_input_tokens": 4,
    "num_output_tokens": 24,
    "cost_usd": "0.000000000",
    "outcome": "completed",
    "error_code": None,
}


def test_the_export_is_read_a_line_a_row() -> None:
    body = "".join(json.dumps(EXPORTED) + "\n" for _ in range(2)).encode()
    assert read_export(body) == [ROW, ROW]
    assert read_export(b"\n") == []


@pytest.mark.parametrize("body", [b"not json\n", b'{"id": "a1"}\n'])
def test_an_export_of_another_form_is_refused(body: bytes) -> None:
    with pytest.raises(UnreadableBooks):
        read_export(body)


def a_line(event: str, call: int = 1, **more: object) -> str:
    line = {
        "event": event,
        "run": "1-1",
        "call": call,
        "simulator": "one",
        "request_id": "r1",
        "attempt": "a1",
        "has_marker": False,
        "started_s": 1.0,
    }
    return json.dumps({**line, **more}) + "\n"


def test_a_journal_is_read_while_it_grows_and_half_a_line_waits(tmp_path: Path) -> None:
    path = tmp_path / "j"
    reader = JournalReader(path)
    assert reader.read() == []
    end = a_line("end", ending="completed", ended_s=2.0, prompt_tokens=4, completion_tokens=24)
    path.write_text(a_line("begin") + end[:30], encoding="utf-8")
    (running,) = reader.read()
    assert running.ending is None
    with path.open("a", encoding="utf-8") as file:
        file.write(end[30:] + a_line("begin", 2))
    assert reader.read() == [CALL, replace(running)]


def test_a_journal_that_ran_full_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "j").write_text(a_line("begin") + '{"event":"full"}\n', encoding="utf-8")
    with pytest.raises(UnreadableBooks):
        JournalReader(tmp_path / "j").read()
