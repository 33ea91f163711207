"""The running graph when things go wrong: a killed provider, a client that leaves, hostile requests."""

import contextlib
import http.client
import re
import socket
import time
from collections.abc import Callable
from contextlib import closing
from urllib.parse import urlsplit

import httpx
import pytest
from openai import OpenAI

from tests.fakes.running_graph import RunningGraph

MARKER = "zqxmarkerzqx"


def metric(graph: RunningGraph, name: str, **labels: str) -> float:
    """The sum of a metric's samples that carry these labels."""
    text = httpx.get(f"{graph.url}/metrics").text
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    lines = [line for line in text.splitlines() if line.startswith(name) and all(part in line for part in wanted)]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def post(graph: RunningGraph, body: object, path: str = "/v1/chat/completions", **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else None
    return httpx.post(
        f"{graph.url}{path}",
        content=content,
        json=None if content is not None else body,
        headers={"authorization": f"Bearer {graph.key}", **headers},
        timeout=60,
    )


def chat(text: str, model: str = "auto", **more: object) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 8, **more}


@pytest.mark.parametrize("is_streaming", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("fault", ["refuse", "die_before_first", "http_503", "empty"])
def test_a_failing_provider_costs_an_attempt_and_not_the_answer(
    running_graph: RunningGraph, fault: str, is_streaming: bool
) -> None:
    running_graph.cloud.behave(fault=fault)
    try:
        answer = post(running_graph, chat("hello", "cloud", stream=is_streaming))
    finally:
        running_graph.cloud.reset()
    assert answer.status_code == 200
    assert answer.headers["x-upcoach-attempts"] == "2"
    assert answer.headers["x-upcoach-upstream"] == "simulator-fallback"
    assert answer.headers["x-upcoach-reason"] == "failover"


def test_a_client_that_leaves_stops_the_local_model_within_a_second(running_graph: RunningGraph) -> None:
    before = metric(running_graph, "upcoach_attempts_total", upstream="smollm2", outcome="cancelled")
    body = chat("Write a very long story.", "local", stream=True)
    body["max_tokens"] = 500
    with httpx.stream(
        "POST",
        f"{running_graph.url}/v1/chat/completions",
        json=body,
        headers={"authorization": f"Bearer {running_graph.key}"},
        timeout=60,
    ) as stream:
        next(stream.iter_bytes())
    left_at = time.monotonic()
    while metric(running_graph, "upcoach_attempts_total", upstream="smollm2", outcome="cancelled") == before:
        assert time.monotonic() - left_at < 1.0
        time.sleep(0.05)


@pytest.mark.parametrize("is_streaming", [False, True], ids=["plain", "streamed"])
def test_a_client_that_leaves_stops_the_provider_within_a_second(
    running_graph: RunningGraph, is_streaming: bool
) -> None:
    running_graph.cloud.reset()
    running_graph.cloud.behave(fault="never_finish" if is_streaming else "hang")
    address = urlsplit(running_graph.url)
    body = httpx.Request("POST", running_graph.url, json=chat("hello", "cloud", stream=is_streaming)).content
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {running_graph.key}\r\n"
        "X-Request-Disconnect-Disabled: ?1\r\nX-Request-Timeout-Seconds: 0\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    try:
        with closing(socket.create_connection((address.hostname, address.port or 80))) as caller:
            # Apart, as many clients send them: HAProxy must go on watching a client whose body came later.
            caller.sendall(head.encode())
            time.sleep(0.005)
            caller.sendall(body)
            if is_streaming:
                assert caller.recv(1024)
            else:
                wait_until(lambda: running_graph.cloud.served()["in_flight"] == 1, 5.0)
        wait_until(lambda: running_graph.cloud.served()["in_flight"] == 0, 1.0)
    finally:
        running_graph.cloud.reset()


def wait_until(condition: Callable[[], bool], limit_s: float) -> None:
    ends_at = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < ends_at, f"not within {limit_s} s"
        time.sleep(0.02)


BAD_REQUESTS = {
    "not JSON": (b"{not json " + MARKER.encode(), 400, None),
    "not UTF-8": (b'{"model": "\xff"}', 400, None),
    "empty messages": ({"model": "auto", "messages": []}, 400, "messages"),
    "wrong type": (chat(MARKER, temperature="hot"), 400, "temperature"),
    "unknown model": (chat(MARKER, "gpt-nothing"), 404, "model"),
    "too deep": (b'{"model":"auto","messages":' + b"[" * 500 + b"]" * 500 + b"}", 400, None),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_bad_input_gets_its_status_in_openais_shape(running_graph: RunningGraph, name: str) -> None:
    body, status, param = BAD_REQUESTS[name]
    answer = post(running_graph, body)
    error = answer.json()["error"]
    assert answer.status_code == status
    assert error["type"] == "caller_error"
    assert error["param"] == param
    assert MARKER not in answer.text


def test_a_wrong_key_an_unknown_path_and_a_wrong_method_are_told_apart(running_graph: RunningGraph) -> None:
    wrong_key = post(running_graph, chat("x"), authorization="Bearer nope")
    unknown_path = post(running_graph, chat("x"), "/v1/nowhere")
    wrong_method = httpx.get(f"{running_graph.url}/v1/chat/completions")
    assert [wrong_key.status_code, unknown_path.status_code, wrong_method.status_code] == [401, 404, 405]
    assert all(answer.json()["error"]["message"] for answer in (wrong_key, unknown_path, wrong_method))


def test_a_body_of_20_mb_is_refused_while_it_is_sent_and_serving_goes_on(running_graph: RunningGraph) -> None:
    address = urlsplit(running_graph.url)
    with closing(http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)) as connection:
        connection.putrequest("POST", "/v1/chat/completions")
        connection.putheader("Authorization", f"Bearer {running_graph.key}")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(20_000_000))
        connection.endheaders()
        # Refused before all of it was sent is just what is wanted.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.send(b" " * 20_000_000)
        status = connection.getresponse().status
    assert status == 413
    assert post(running_graph, chat("hello", "cloud")).status_code == 200


def test_nothing_of_a_prompt_is_in_any_log_or_metric(running_graph: RunningGraph) -> None:
    for model in ("local", "cloud"):
        for is_streaming in (False, True):
            assert post(running_graph, chat(f"Repeat {MARKER}", model, stream=is_streaming)).status_code == 200
    for body, _, _ in BAD_REQUESTS.values():
        post(running_graph, body)
    running_graph.cloud.behave(fault="bad_request")
    post(running_graph, chat(MARKER, "cloud"))
    running_graph.cloud.reset()
    time.sleep(1.0)
    files = [path for folder in (running_graph.home, running_graph.ray_logs) for path in folder.rglob("*.[lo][ou][gt]")]
    assert any(re.search("replica.*Router", path.name) for path in files)
    assert [path for path in files if MARKER in path.read_text(encoding="utf-8", errors="replace")] == []
    assert MARKER not in httpx.get(f"{running_graph.url}/metrics").text


def test_the_official_client_sees_a_killed_stream_as_an_error(running_graph: RunningGraph) -> None:
    client = OpenAI(base_url=f"{running_graph.url}/v1", api_key=running_graph.key, max_retries=0)
    running_graph.cloud.behave(fault="die_after_n", fault_after_chunks=3)
    reasons = []
    try:
        stream = client.chat.completions.create(
            model="cloud", messages=[{"role": "user", "content": "hello"}], stream=True
        )
        with pytest.raises(Exception, match="upstream"):
            reasons += [chunk.choices[0].finish_reason for chunk in stream if chunk.choices]
    finally:
        running_graph.cloud.reset()
    assert "stop" not in reasons
