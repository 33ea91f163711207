"""Processes that tests start, and stop by their own id."""

import contextlib
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from loadtests.simulator.process import running_simulator

ROOT = Path(__file__).parents[2]

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
    process: subprocess.Popen[str]

    def behave(self, **behaviour: object) -> None:
        httpx.put(f"{self.url}/_sim/behaviour", json=behaviour, verify=TLS).raise_for_status()

    def reset(self) -> None:
        httpx.post(f"{self.url}/_sim/reset", verify=TLS).raise_for_status()

    def served(self) -> dict[str, object]:
        answer: dict[str, object] = httpx.get(f"{self.url}/_sim/served", verify=TLS).raise_for_status().json()
        return answer


@contextlib.contextmanager
def simulator(name: str) -> Iterator[RunningSimulator]:
    """`python -m loadtests.simulator` on a free port, answering before this yields."""
    with running_simulator("--name", name) as started:
        yield RunningSimulator(started.address, started.process)
