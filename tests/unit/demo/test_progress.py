"""A slow step is always seen to move: on a terminal in place, elsewhere line by line."""

import io
import time

import pytest

from serve_app.demo import progress as module
from serve_app.demo.progress import Progress, clock_text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _quick_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TERMINAL_TICK_S", 0.005)
    monkeypatch.setattr(module, "LOG_TICK_S", 0.005)


def wait_for(stream: io.StringIO, text: str) -> None:
    ends_at = time.monotonic() + 5
    while text not in stream.getvalue():
        assert time.monotonic() < ends_at
        time.sleep(0.001)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (5.9, "0:05"), (65, "1:05"), (3600, "60:00")])
def test_time_is_written_as_minutes_and_seconds(seconds: float, text: str) -> None:
    assert clock_text(seconds) == text


def test_a_log_gets_whole_lines_and_the_end_of_the_step() -> None:
    stream = io.StringIO()
    with Progress(stream).step("packages") as step:
        step.note("57 of 186")
        wait_for(stream, "  packages: 57 of 186  [0:00]\n")
    assert stream.getvalue().splitlines()[-1].startswith("  packages: done in ")
    assert "\r" not in stream.getvalue()


def test_a_terminal_gets_one_line_that_is_rewritten() -> None:
    stream = Terminal()
    with Progress(stream).step("packages"):
        wait_for(stream, "\r\x1b[K  packages  [0:00]")
    assert stream.getvalue().count("\n") == 1


def test_a_step_that_raises_is_shown_as_failed() -> None:
    stream = io.StringIO()
    with pytest.raises(RuntimeError), Progress(stream).step("packages"):
        raise RuntimeError
    assert "  packages: failed after 0.0 s" in stream.getvalue()
