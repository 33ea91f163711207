"""Runs a slow command: its output goes to a log file and, line by line, to whoever shows progress."""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from serve_app.demo.failures import StepFailed

TAIL_LINES = 15

Command = Sequence[str | Path]


def run_logged(
    command: Command,
    log: Path,
    *,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] = lambda _line: None,
) -> int:
    """Returns the exit code. The command and all it started are stopped when the caller is interrupted.

    Output is read to its end, so a command that leaves something running must not hand it its standard output.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("w") as sink,
        subprocess.Popen(  # noqa: S603 - our own commands, no shell
            [str(part) for part in command],
            cwd=cwd,
            env=None if environment is None else dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process,
    ):
        assert process.stdout is not None  # noqa: S101 - what PIPE promises
        try:
            for line in process.stdout:
                sink.write(line)
                sink.flush()
                on_line(line.rstrip())
            return process.wait()
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            raise


def tail(path: Path, num_lines: int = TAIL_LINES) -> str:
    """The last lines of a log, or nothing where there is none."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-num_lines:])
    except OSError:
        return ""


def step_failed(what: str, log: Path) -> StepFailed:
    """The error for a command that nobody knows more about than its log."""
    return StepFailed(f"{what} failed.", f"The end of its log is above; all of it is in {log}.", tail(log))
