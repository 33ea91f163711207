"""Processes that tests start, and stop by their own id."""

import contextlib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
START_LIMIT_S = 20.0

TLS = ssl.create_default_context()
"""For clients that are made often: each would read all root certificates again, though none of them is used here."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class RunningSimulator:
    """A simulated provider: its OpenAI routes are under `url`/v1, its control plane under `url`/_sim."""

    url: str
    process: subprocess.Popen[bytes]

    def behave(self, **behaviour: object) -> None:
        httpx.put(f"{self.url}/_sim/behaviour", json=behaviour, verify=TLS).raise_for_status()

    def reset(self) -> None:
        httpx.post(f"{self.url}/_sim/reset", verify=TLS).raise_for_status()

    def served(self) -> dict[str, object]:
        answer: dict[str, object] = httpx.get(f"{self.url}/_sim/served", verify=TLS).raise_for_status().json()
        return answer


@contextlib.contextmanager
def simulator(name: str, *, port: int | None = None, arguments: tuple[str, ...] = ()) -> Iterator[RunningSimulator]:
    """`python -m loadtests.simulator` on a free port, answering before this yields."""
    port = port or free_port()
    command = [sys.executable, "-m", "loadtests.simulator", "--port", str(port), "--name", name, *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    running = RunningSimulator(f"http://127.0.0.1:{port}", process)
    try:
        _wait_until_up(running)
        yield running
    finally:
        process.terminate()
        process.wait(timeout=10)


def _wait_until_up(running: RunningSimulator) -> None:
    ends_at = time.monotonic() + START_LIMIT_S
    while time.monotonic() < ends_at:
        if running.process.poll() is not None:
            raise RuntimeError(f"the simulator ended with {running.process.returncode}")
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{running.url}/healthz", verify=TLS).status_code == 200:
                return
        time.sleep(0.05)
    raise RuntimeError(f"the simulator did not answer within {START_LIMIT_S} s")
