"""The running graph while its replicas are replaced and killed: what runs is finished, and nothing else is lost.

Without vLLM, so that it starts quickly; Serve drains every deployment alike.
"""

import contextlib
import os
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from openai import APIConnectionError, InternalServerError, OpenAI

from serve_app.demo.processes import processes_of
from tests.fakes.cloud_graph import CloudGraph, cloud_graph
from tests.fakes.processes import TLS

REQUESTS_PER_S = 12
SLOW = {"ttft_ms": 100.0, "tokens_per_s": 30.0, "num_tokens": 32}
"""Answers of about a second: some are under way whenever a replica goes."""


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudGraph]:
    with cloud_graph(tmp_path_factory.mktemp("cloud-graph")) as started:
        yield started


@pytest.fixture(autouse=True)
def slow_providers(graph: CloudGraph) -> None:
    for provider in (graph.cloud, graph.fallback):
        provider.reset()
        provider.behave(**SLOW)


def replicas(graph: CloudGraph, deployment: str) -> list[int]:
    """Process ids."""
    title = re.compile(rf"ray::ServeReplica:upcoach:{re.escape(deployment)}(?![\w:-])")
    return [process.pid for process in processes_of(graph.home) if title.match(process.command)]


def ask(graph: CloudGraph, number: int) -> str:
    """`ok`, or what went wrong. Every second request is streamed, every third has an Idempotency-Key."""
    headers = {"authorization": f"Bearer {graph.key}"}
    if number % 3 == 0:
        headers["idempotency-key"] = f"{threading.get_ident()}-{time.monotonic_ns()}"
    is_streaming = number % 2 == 1
    body = {"model": "cloud", "messages": [{"role": "user", "content": "hello"}], "stream": is_streaming}
    try:
        answer = httpx.post(f"{graph.url}/v1/chat/completions", json=body, headers=headers, timeout=30, verify=TLS)
    except httpx.HTTPError as error:
        return type(error).__name__
    if answer.status_code != 200:
        return f"{answer.status_code} {answer.text[:200]}"
    is_whole = answer.text.rstrip().endswith("data: [DONE]") and '"error"' not in answer.text
    return "ok" if is_whole or not is_streaming else answer.text[-200:]


@contextlib.contextmanager
def load(graph: CloudGraph) -> Iterator[Counter[str]]:
    """A steady load for as long as the block runs; the results are complete after it."""
    results: Counter[str] = Counter()
    is_over = threading.Event()

    def keep_asking(pool: ThreadPoolExecutor) -> None:
        asked: list[Future[str]] = []
        while not is_over.wait(1 / REQUESTS_PER_S):
            asked.append(pool.submit(ask, graph, len(asked)))
        results.update(request.result() for request in asked)

    with ThreadPoolExecutor(max_workers=64) as pool:
        asking = threading.Thread(target=keep_asking, args=(pool,))
        asking.start()
        try:
            yield results
        finally:
            is_over.set()
            asking.join()


def wait_until(condition: Callable[[], bool], limit_s: float) -> None:
    ends_at = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < ends_at, f"not within {limit_s} s"
        time.sleep(0.05)


def test_no_request_is_lost_while_every_deployment_is_replaced(graph: CloudGraph) -> None:
    deployments = ("Router", "CloudProxy:simulator", "Ledger")
    before = {name: set(replicas(graph, name)) for name in deployments}
    with load(graph) as results:
        time.sleep(1.0)
        for name in deployments:
            graph.replace(name, num_cpus=0.11)
        for name in deployments:
            wait_until(lambda name=name: not before[name] & set(replicas(graph, name)), 30.0)  # type: ignore[misc]
        time.sleep(1.0)
    assert set(results) == {"ok"}
    assert results["ok"] > 10 * REQUESTS_PER_S


def test_a_router_about_to_stop_says_so_and_finishes_what_it_has(graph: CloudGraph) -> None:
    ports = {port_of(pid) for pid in replicas(graph, "Router")}
    answers: Counter[tuple[int, bool]] = Counter()
    with ThreadPoolExecutor(max_workers=1) as pool:
        replaced = pool.submit(graph.replace, "Router", num_cpus=0.12)
        while not replaced.done() or ports:
            for port in tuple(ports):
                try:
                    answer = httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=2, verify=TLS)
                    answers[answer.status_code, bool(answer.json()["draining"])] += 1
                except httpx.ConnectError:
                    ports.discard(port)
            time.sleep(0.2)
    assert answers[503, True] > 0
    assert set(answers) <= {(200, False), (503, True)}


def port_of(pid: int) -> int:
    """Where a Router's replica listens for its ingress: Serve gives it one of the ports from 30000."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes.add(str(link.readlink()))
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text(encoding="utf-8").splitlines()[1:]:
            columns = line.split()
            port = int(columns[1].rpartition(":")[2], 16)
            if columns[3] == "0A" and 30000 <= port < 31000 and f"socket:[{columns[9]}]" in inodes:
                return port
    raise AssertionError(f"process {pid} listens on no port of Serve's")


def test_a_killed_router_loses_only_what_it_held_and_says_so_in_our_words(graph: CloudGraph) -> None:
    for provider in (graph.cloud, graph.fallback):
        provider.behave(**{**SLOW, "tokens_per_s": 8.0})
    client: Any = OpenAI(base_url=f"{graph.url}/v1", api_key=graph.key, max_retries=0, timeout=30)

    def held(is_streaming: bool) -> object:
        messages = [{"role": "user", "content": "hello"}]
        try:
            answer = client.chat.completions.create(model="cloud", messages=messages, stream=is_streaming)
            return [chunk.choices[0].finish_reason for chunk in answer if chunk.choices] if is_streaming else "ok"
        except (APIConnectionError, InternalServerError) as error:
            return error

    with ThreadPoolExecutor(max_workers=12) as pool:
        plain = [pool.submit(held, False) for _ in range(6)]
        streamed = [pool.submit(held, True) for _ in range(6)]
        wait_until(lambda: graph.cloud.served()["in_flight"] == 12, 10.0)
        time.sleep(1.0)
        os.kill(replicas(graph, "Router")[0], signal.SIGKILL)
        for provider in (graph.cloud, graph.fallback):
            provider.behave(**SLOW)
        # What is sent before HAProxy has heard of the death goes to a connection that nobody reads: it was held, too.
        time.sleep(0.5)
        after = [ask(graph, number) for number in range(6)]
    lost: list[Any] = [request.result() for request in plain if isinstance(request.result(), Exception)]
    broken = [request.result() for request in streamed if isinstance(request.result(), Exception)]
    assert after == ["ok"] * 6
    assert 0 < len(lost) + len(broken) < 12
    # On a client's connection that has served a request before, HAProxy closes instead of answering.
    assert all(isinstance(error, APIConnectionError) or error.code == "internal_error" for error in lost)
    assert all(isinstance(error, APIConnectionError) for error in broken)


@pytest.mark.parametrize("is_streaming", [False, True], ids=["plain", "streamed"])
def test_a_client_that_leaves_stops_a_provider_behind_its_proxy(graph: CloudGraph, is_streaming: bool) -> None:
    graph.cloud.behave(fault="never_finish" if is_streaming else "hang")
    address = urlsplit(graph.url)
    asked = {"model": "cloud", "messages": [{"role": "user", "content": "hello"}], "stream": is_streaming}
    body = httpx.Request("POST", graph.url, json=asked).content
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {graph.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port or 80)) as caller:
        caller.sendall(head.encode() + body)
        wait_until(lambda: graph.cloud.served()["in_flight"] == 1, 5.0)
    wait_until(lambda: graph.cloud.served()["in_flight"] == 0, 1.0)
