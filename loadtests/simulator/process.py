"""A simulator as a process of its own, for tests and benchmarks: started on a free port, ended by its process id."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

STOP_WITHIN_S = 10.0
_READY = "listening on "


@dataclass(frozen=True, slots=True)
class RunningSimulator:
    """`address` is `http://host:port`, without `/v1`. The process may be signalled or killed by whoever holds this."""

    address: str
    process: "subprocess.Popen[str]"


@contextmanager
def running_simulator(*flags: str) -> Iterator[RunningSimulator]:
    """`flags` are the command's own; without `--port` a free one is taken. Raises RuntimeError if it does not start."""
    command = [sys.executable, "-m", "loadtests.simulator", "--port", "0", *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own program
        try:
            yield RunningSimulator(_address(process), process)
        finally:
            process.terminate()
            try:
                process.communicate(timeout=STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def _address(process: "subprocess.Popen[str]") -> str:
    line = process.stderr.readline() if process.stderr else ""
    if _READY not in line:
        raise RuntimeError(f"the simulator did not start: {line.strip()}")
    return line.partition(_READY)[2].strip()
