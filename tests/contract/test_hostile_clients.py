"""Clients that no library would be: huge and slow bodies, too many headers, half requests, sudden departures."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from tests.fakes.targets import Target

CHAT = "/v1/chat/completions"
MEGABYTE = b"x" * 1_000_000
BODY = json.dumps({"model": "cloud", "messages": [{"role": "user", "content": "Hello!"}]}).encode()
MARKER = "zebra-in-the-orchard"


@contextlib.contextmanager
def connection(target: Target) -> Iterator[socket.socket]:
    address = urlsplit(target.url)
    with socket.create_connection((address.hostname, address.port), timeout=20.0) as opened:
        yield opened


def head(target: Target, *headers: str, method: str = "POST", path: str = CHAT) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: gateway.test", f"Authorization: Bearer {target.key}", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def send_as_far_as_it_goes(link: socket.socket, parts: Iterator[bytes]) -> None:
    """A server that has refused a body may close while it is still being sent."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for part in parts:
            link.sendall(part)


def read_status(link: socket.socket) -> int:
    with link.makefile("rb") as answer:
        return int(answer.readline().split()[1])


def check_still_serving(http: httpx.Client) -> None:
    answer = http.post(CHAT, content=BODY)
    assert answer.status_code == 200
    assert answer.headers["x-upcoach-upstream"] == "simulator"


def test_a_body_announced_as_20_mb_is_refused(target: Target, http: httpx.Client) -> None:
    with connection(target) as link:
        link.sendall(head(target, "Content-Type: application/json", "Content-Length: 20000000"))
        link.sendall(MEGABYTE[:10_000])
        assert read_status(link) == 413
    check_still_serving(http)


def test_a_body_of_20_mb_that_was_not_announced_is_refused_while_it_is_read(target: Target, http: httpx.Client) -> None:
    chunk = b"%x\r\n%b\r\n" % (len(MEGABYTE), MEGABYTE)
    with connection(target) as link:
        link.sendall(head(target, "Content-Type: application/json", "Transfer-Encoding: chunked"))
        send_as_far_as_it_goes(link, iter([chunk] * 20))
        with contextlib.suppress(ConnectionResetError):
            assert read_status(link) == 413
    check_still_serving(http)


def test_a_client_that_sends_its_whole_20_mb_is_told_413(http: httpx.Client) -> None:
    with contextlib.suppress(httpx.WriteError, httpx.ReadError):  # closed on it while it was still sending
        answer = http.post(CHAT, content=b'{"model":"' + MEGABYTE * 20 + b'"}')
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "body_too_large"
    check_still_serving(http)


def test_a_slow_body_is_waited_for_and_holds_nobody_up(target: Target, http: httpx.Client) -> None:
    with connection(target) as link:
        link.sendall(head(target, "Content-Type: application/json", f"Content-Length: {len(BODY)}"))
        for byte in BODY[:10]:
            link.sendall(bytes([byte]))
            time.sleep(0.02)
        check_still_serving(http)
        link.sendall(BODY[10:])
        assert read_status(link) == 200


def test_a_client_that_leaves_in_the_middle_of_its_body_harms_nobody(target: Target, http: httpx.Client) -> None:
    for _ in range(5):
        with connection(target) as link:
            link.sendall(head(target, "Content-Type: application/json", "Content-Length: 1000"))
            link.sendall(b'{"model":')
    check_still_serving(http)
    assert target.cloud.served()["started"] == 1


def test_too_many_headers_are_refused_or_left_unread_and_harm_nobody(target: Target, http: httpx.Client) -> None:
    """Their limit is the server's: HAProxy has one, the server of the in-process target has none."""
    many = [f"X-Filler-{at}: {'y' * 200}" for at in range(2000)]
    with connection(target) as link:
        send_as_far_as_it_goes(link, iter([head(target, *many, f"Content-Length: {len(BODY)}"), BODY]))
        with contextlib.suppress(ConnectionResetError, IndexError):  # closed without a word
            assert read_status(link) in (200, 400, 431)
    check_still_serving(http)


def test_what_is_no_http_is_no_trouble(target: Target, http: httpx.Client) -> None:
    for rubbish in (b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"POST / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00"):
        with connection(target) as link:
            link.sendall(rubbish)
            link.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                link.recv(100)
    check_still_serving(http)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nowhere", 404, "unknown_path"),
        ("DELETE", CHAT, 405, "method_not_allowed"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
    ],
)
def test_a_wrong_path_or_method_is_answered_in_openais_shape(
    http: httpx.Client, method: str, path: str, status: int, code: str
) -> None:
    answer = http.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"].keys() == {"message", "type", "code", "param"}
    assert answer.json()["error"]["code"] == code
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("content", [b"", b"not json", b"\xff\xfe", b"[]", b"[" * 100_000, b'{"a":' * 50_000])
def test_a_body_that_is_no_request_is_a_400(http: httpx.Client, content: bytes) -> None:
    answer = http.post(CHAT, content=content)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
    check_still_serving(http)


def test_a_request_id_comes_back_and_reaches_the_provider(target: Target, http: httpx.Client) -> None:
    answer = http.post(CHAT, content=BODY, headers={"X-Request-Id": "mine-7"})
    assert answer.headers["x-request-id"] == "mine-7"
    by_id = target.cloud.served()["by_request_id"]
    assert isinstance(by_id, dict)
    assert by_id.keys() == {"mine-7"}


def test_the_provider_is_sent_no_header_of_the_callers_but_the_trace(target: Target, http: httpx.Client) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    http.post(CHAT, content=BODY, headers={"traceparent": trace, "baggage": "a=b", "cookie": "c=d", "x-own": "e"})
    seen = httpx.get(f"{target.cloud.url}/_sim/last").json()["requests"][-1]
    assert seen["headers"]["traceparent"] == trace
    assert not {"authorization", "baggage", "cookie", "x-own"} & set(seen["header_names"])


def test_a_raw_client_that_vanishes_in_a_stream_stops_the_provider_within_a_second(target: Target) -> None:
    target.cloud.behave(fault="never_finish", tokens_per_s=50)
    body = BODY[:-1] + b',"stream":true}'
    with connection(target) as link:
        link.sendall(head(target, "Content-Type: application/json", f"Content-Length: {len(body)}") + body)
        while b"data:" not in link.recv(4096):
            pass
    left_at = time.monotonic()
    while target.cloud.served()["in_flight"]:
        assert time.monotonic() - left_at < 1.0
        time.sleep(0.02)
    assert target.cloud.served()["aborted"] == 1


def test_no_prompt_is_in_the_metrics(http: httpx.Client) -> None:
    http.post(CHAT, json={"model": "cloud", "user": MARKER, "messages": [{"role": "user", "content": MARKER}]})
    http.post(CHAT, json={"model": MARKER, "messages": [{"role": "user", "content": MARKER}]})
    metrics = http.get("/metrics").text
    assert "upcoach_requests_total" in metrics
    assert MARKER not in metrics


def test_health_readiness_and_the_decision_can_be_asked_for(http: httpx.Client) -> None:
    assert http.get("/healthz").json() == {"status": "ok"}
    ready = http.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["upstreams"].keys() == {"smollm2", "simulator", "simulator-fallback"}
    decision = http.post("/v1/route", json={"model": "auto", "messages": [{"role": "user", "content": "Hello!"}]})
    assert decision.json()["chosen"]["tier"] == "LOCAL_FAST"


def test_every_answer_carries_the_contracts_headers(http: httpx.Client) -> None:
    answer = http.post(CHAT, content=BODY)
    names = ("request-id", "upcoach-tier", "upcoach-upstream", "upcoach-model", "upcoach-complexity",
             "upcoach-reason", "upcoach-attempts")  # fmt: skip
    assert all(f"x-{name}" in answer.headers for name in names)
    for part in ("classify", "decide", "queue", "upstream", "overhead"):
        assert f"{part};dur=" in answer.headers["server-timing"]
