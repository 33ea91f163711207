"""A client that leaves the running graph stops vLLM within a second, streamed or not.

vLLM's engine is a process of its own: it computes for as long as a request runs, and not at all without one. How many
processor seconds it uses therefore shows what it does, sooner than its metrics, which are written every ten seconds.
"""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from serve_app.demo.processes import processes_of
from tests.fakes.running_graph import RunningGraph

ENGINE = "EngineCore"
BUSY, IDLE = 0.2, 0.1
"""Processor seconds a second. A running request takes 0.4 to 0.9 of a core, an idle engine none."""
STOPS_WITHIN_S = 1.0


def engine_cpu_s(graph: RunningGraph) -> float:
    ticks = 0
    for process in processes_of(graph.home):
        if ENGINE in process.command:
            fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    assert ticks, "vLLM's engine was not found"
    return ticks / os.sysconf("SC_CLK_TCK")


def engine_load(graph: RunningGraph, seconds: float) -> float:
    """Processor seconds a second over the next `seconds`."""
    before, started = engine_cpu_s(graph), time.monotonic()
    time.sleep(seconds)
    return (engine_cpu_s(graph) - before) / (time.monotonic() - started)


@contextlib.contextmanager
def caller(graph: RunningGraph, *, is_streaming: bool) -> Iterator[socket.socket]:
    """A client that asks the local model for a very long answer, and leaves when the block ends."""
    address = urlsplit(graph.url)
    asked = {
        "model": "local",
        "messages": [{"role": "user", "content": "Write a very long story about a river and a boat."}],
        "max_tokens": 500,
        "stream": is_streaming,
    }
    body = httpx.Request("POST", graph.url, json=asked).content
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {graph.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port or 80)) as connection:
        connection.settimeout(30.0)
        connection.sendall(head.encode())
        connection.sendall(body)
        yield connection


@pytest.mark.parametrize("is_streaming", [False, True], ids=["plain", "streamed"])
def test_the_engine_computes_for_nobody_within_a_second(running_graph: RunningGraph, is_streaming: bool) -> None:
    assert engine_load(running_graph, 0.5) < IDLE
    with caller(running_graph, is_streaming=is_streaming) as connection:
        if is_streaming:
            assert connection.recv(1024)
        time.sleep(1.0)
        assert engine_load(running_graph, 0.5) > BUSY
    time.sleep(STOPS_WITHIN_S)
    assert engine_load(running_graph, 0.5) < IDLE
