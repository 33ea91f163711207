"""What the journal writes of a call, and that it stays within its bound."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from loadtests.simulator.counters import Counters, Ending
from loadtests.simulator.faults import Fault
from loadtests.simulator.journal import Journal, Marker
from loadtests.simulator.wire import Request


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with closing(Journal(tmp_path / "j", "cloud", Marker(b"CANARY"))) as opened:
        yield opened


def a_request(body: bytes = b"{}") -> Request:
    headers = [(b"x-request-id", b"r1"), (b"x-upcoach-attempt", b"a1")]
    return Request("POST", "/v1/chat/completions", headers, body, True)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_call_is_written_down_as_it_begins_and_as_it_ends(tmp_path: Path, journal: Journal) -> None:
    ticket = Counters().start("r1")
    journal.begin(a_request(), ticket)
    assert [line["event"] for line in lines_of(tmp_path / "j")] == ["begin"]
    ticket.model = "m"
    ticket.read_prompt(7)
    ticket.suffer(Fault.DIE_AFTER_N)
    ticket.num_sent_tokens = 3
    ticket.end(Ending.FAILED)
    ticket.end(Ending.ABORTED)
    begin, end = lines_of(tmp_path / "j")
    assert (begin["run"], begin["call"]) == (end["run"], end["call"])
    assert {key: end[key] for key in ("event", "simulator", "request_id", "attempt", "ending", "fault", "model")} == {
        "event": "end",
        "simulator": "cloud",
        "request_id": "r1",
        "attempt": "a1",
        "ending": "failed",
        "fault": "die_after_n",
        "model": "m",
    }
    assert (end["prompt_tokens"], end["completion_tokens"]) == (7, 3)
    assert end["ended_s"] >= end["started_s"]


def test_two_runs_that_share_a_file_never_share_the_name_of_a_call(tmp_path: Path) -> None:
    for _ in range(2):
        journal = Journal(tmp_path / "j", "cloud", Marker(b""))
        journal.begin(a_request(), Counters().start("r1"))
        journal.close()
    names = {(line["run"], line["call"]) for line in lines_of(tmp_path / "j")}
    assert len(names) == 2


def test_a_planted_marker_is_found_in_a_body_and_the_body_is_not_written_down(tmp_path: Path, journal: Journal) -> None:
    for body in (b'{"messages": "a CANARY sings"}', b'{"messages": "nothing"}'):
        journal.begin(a_request(body), Counters().start("r1"))
    assert [line["has_marker"] for line in lines_of(tmp_path / "j")] == [True, False]
    assert "sings" not in (tmp_path / "j").read_text(encoding="utf-8")


def test_without_a_marker_none_is_found(tmp_path: Path) -> None:
    assert not Marker(b"").found_in(a_request(b"CANARY"))


def test_a_full_journal_says_so_once_and_grows_no_further(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "j", "cloud", Marker(b""), max_bytes=600)) as journal:
        for _ in range(20):
            journal.begin(a_request(), Counters().start("r1"))
    lines = lines_of(tmp_path / "j")
    assert lines[-1] == {"event": "full"}
    assert [line["event"] for line in lines].count("full") == 1
    assert (tmp_path / "j").stat().st_size < 700


def test_an_end_after_the_journal_was_closed_is_ignored(tmp_path: Path, journal: Journal) -> None:
    ticket = Counters().start("r1")
    journal.begin(a_request(), ticket)
    journal.close()
    ticket.end(Ending.ABORTED)
    assert len(lines_of(tmp_path / "j")) == 1
