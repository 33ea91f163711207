"""The simulator's journal as a file that outlives its process, killed or not."""

import contextlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from loadtests.simulator.__main__ import main
from loadtests.simulator.process import running_simulator

BODY = {"model": "m", "messages": [{"role": "user", "content": "Keep CANARY away."}]}
HEADERS = {"X-Request-Id": "r1", "X-Upcoach-Attempt": "a1"}


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_call_is_journalled_under_its_request_and_its_attempt(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with running_simulator("--journal", str(path), "--marker", "CANARY", "--num-tokens", "5") as simulator:
        httpx.post(f"{simulator.address}/v1/chat/completions", json=BODY, headers=HEADERS).raise_for_status()
        begin, end = lines_of(path)
    assert (begin["event"], begin["request_id"], begin["attempt"], begin["has_marker"]) == ("begin", "r1", "a1", True)
    assert (end["event"], end["ending"], end["model"], end["completion_tokens"]) == ("end", "completed", "m", 5)


def test_a_killed_simulator_leaves_the_beginning_of_what_it_was_answering(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with running_simulator("--journal", str(path), "--tokens-per-s", "5") as simulator:
        asked = httpx.stream("POST", f"{simulator.address}/v1/chat/completions", json={**BODY, "stream": True})
        with contextlib.suppress(httpx.RemoteProtocolError, httpx.ReadError), asked as answer:
            for _ in answer.iter_bytes():
                simulator.process.kill()
    assert [line["event"] for line in lines_of(path)] == ["begin"]


def test_a_journal_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port", "0", "--journal", str(tmp_path / "absent" / "journal")]) == 1
    assert "cannot write" in capsys.readouterr().err
