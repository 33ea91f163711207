"""Every fault of the simulated provider by what a raw socket sees of it."""

import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx
import pytest

from loadtests.simulator.faults import Fault
from loadtests.simulator.process import running_simulator

MESSAGES: Any = [{"role": "user", "content": "How do I keep a habit?"}]


@dataclass(frozen=True, slots=True)
class Seen:
    """All bytes of one answer, and how its connection ended within the wait."""

    data: bytes
    end: Literal["closed", "reset", "open"]

    @property
    def status(self) -> int:
        return int(self.data.split(b" ", 2)[1])

    @property
    def head(self) -> str:
        return self.data.partition(b"\r\n\r\n")[0].decode("latin-1").lower()

    @property
    def num_contents(self) -> int:
        """Content chunks that hold at least one character."""
        return self.data.count(b'{"content":"') - self.data.count(b'{"content":""')


def look(address: str, *, model: str = "simulator", stream: bool = True, wait_s: float = 5.0, header: str = "") -> Seen:
    """One request on a raw socket; reads until the end, or for `wait_s` after the last byte."""
    body = json.dumps({"model": model, "messages": MESSAGES, "stream": stream})
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname, parts.port), timeout=wait_s) as link:
        link.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: s\r\nConnection: close\r\n{header}"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        data = b""
        while True:
            try:
                piece = link.recv(65536)
            except ConnectionResetError:
                return Seen(data, "reset")
            except TimeoutError:
                return Seen(data, "open")
            if not piece:
                return Seen(data, "closed")
            data += piece
            if len(data) > 200_000 and "never" in model:
                return Seen(data, "open")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running_simulator() as simulator:
        yield simulator.address


@pytest.fixture
def control(address: str) -> Iterator[httpx.Client]:
    """The control plane of a simulator that has served nothing yet."""
    with httpx.Client(base_url=f"{address}/_sim") as client:
        client.post("/reset").raise_for_status()
        yield client


def served(control: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = control.get("/served").json()
    return found


def wait_until(is_so: Callable[[], bool], within_s: float = 2.0) -> None:
    ends_at = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < ends_at, "it did not come to be in time"
        time.sleep(0.01)


def test_a_healthy_stream_is_complete(address: str, control: httpx.Client) -> None:
    seen = look(address)
    assert (seen.status, seen.end, seen.num_contents) == (200, "closed", 32)
    assert seen.data.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


@pytest.mark.parametrize("stream", [True, False])
def test_refuse_resets_before_any_byte(address: str, control: httpx.Client, stream: bool) -> None:
    assert look(address, model="sim-fault-refuse", stream=stream) == Seen(b"", "reset")


@pytest.mark.parametrize("stream", [True, False])
def test_hang_never_answers_and_notices_that_the_client_left(address: str, control: httpx.Client, stream: bool) -> None:
    assert look(address, model="sim-fault-hang", stream=stream, wait_s=0.4) == Seen(b"", "open")
    wait_until(lambda: served(control)["aborted"] == 1)


@pytest.mark.parametrize(
    ("fault", "status"),
    [("http_500", 500), ("http_503", 503), ("rate_limited", 429), ("unauthorized", 401), ("bad_request", 400)],
)
@pytest.mark.parametrize("stream", [True, False])
def test_refusals_by_status_have_openais_shape(
    address: str, control: httpx.Client, fault: str, status: int, stream: bool
) -> None:
    seen = look(address, model=f"sim-fault-{fault}", stream=stream)
    assert (seen.status, seen.end) == (status, "closed")
    assert {"message", "type", "code", "param"} == set(json.loads(seen.data.partition(b"\r\n\r\n")[2])["error"])


def test_retry_after_comes_in_seconds_or_as_a_date(address: str, control: httpx.Client) -> None:
    assert "retry-after: 7\r\n" in look(address, model="sim-fault-rate_limited-7").head
    assert "retry-after: 9\r\n" in look(address, model="sim-fault-http_503-9").head
    head = look(address, model="sim-fault-rate_limited_date-60").head
    (line,) = [line for line in head.split("\r\n") if line.startswith("retry-after")]
    assert 55 < parsedate_to_datetime(line.partition(":")[2]).timestamp() - time.time() <= 60


def test_error_in_200_is_an_error_event_or_body(address: str, control: httpx.Client) -> None:
    streamed, plain = (look(address, model="sim-fault-error_in_200", stream=stream) for stream in (True, False))
    assert (streamed.status, plain.status) == (200, 200)
    assert b'\r\n\r\ndata: {"error":' in streamed.data
    assert b'\r\n\r\n{"error":' in plain.data


def test_error_after_n_is_an_error_event_in_mid_stream(address: str, control: httpx.Client) -> None:
    seen = look(address, model="sim-fault-error_after_n-4")
    assert (seen.num_contents, seen.end) == (4, "closed")
    assert b'data: {"error":' in seen.data
    assert b"[DONE]" not in seen.data


def test_empty_is_a_200_without_a_body(address: str, control: httpx.Client) -> None:
    seen = look(address, model="sim-fault-empty")
    assert seen.status == 200
    assert seen.data.endswith(b"\r\n\r\n")
    assert "content-length: 0" in seen.head


def test_wrong_content_type_is_a_right_answer_under_a_wrong_name(address: str, control: httpx.Client) -> None:
    seen = look(address, model="sim-fault-wrong_content_type")
    assert "content-type: text/html" in seen.head
    assert seen.num_contents == 32


def test_die_before_first_sends_headers_and_then_resets(address: str, control: httpx.Client) -> None:
    for stream in (True, False):
        seen = look(address, model="sim-fault-die_before_first", stream=stream)
        assert (seen.status, seen.end) == (200, "reset")
        assert seen.data.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("num_chunks", [0, 1, 5])
def test_die_after_n_sends_n_content_chunks_and_then_resets(
    address: str, control: httpx.Client, num_chunks: int
) -> None:
    seen = look(address, model=f"sim-fault-die_after_n-{num_chunks}")
    assert (seen.num_contents, seen.end) == (num_chunks, "reset")
    assert served(control)["completion_tokens"] == num_chunks


def test_a_plain_answer_dies_in_the_middle_of_its_body(address: str, control: httpx.Client) -> None:
    seen = look(address, model="sim-fault-die_after_n", stream=False)
    assert seen.end == "reset"
    assert b'"choices"' in seen.data
    assert b'"usage"' not in seen.data


def test_die_in_tool_call_leaves_its_json_open(address: str, control: httpx.Client) -> None:
    seen = look(address, model="sim-fault-die_in_tool_call-2")
    assert seen.end == "reset"
    assert b'"name":"simulated_tool"' in seen.data
    events = [json.loads(line.removeprefix(b"data: ")) for line in seen.data.split(b"\n") if line.startswith(b"data: ")]
    deltas = [event["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"] for event in events]
    with pytest.raises(json.JSONDecodeError):
        json.loads("".join(deltas))


def test_stall_after_n_keeps_the_connection_and_notices_that_the_client_left(
    address: str, control: httpx.Client
) -> None:
    seen = look(address, model="sim-fault-stall_after_n-2", wait_s=1.0)
    assert (seen.num_contents, seen.end) == (2, "open")
    assert look(address, model="sim-fault-stall_after_n", stream=False, wait_s=0.4).end == "open"
    wait_until(lambda: served(control)["aborted"] == 2)
    assert served(control)["completion_tokens"] == 2


def test_rubbish_is_neither_json_nor_events(address: str, control: httpx.Client) -> None:
    assert b"not json" in look(address, model="sim-fault-rubbish").data
    seen = look(address, model="sim-fault-rubbish_after_n-2")
    assert (seen.num_contents, b"not json" in seen.data) == (2, True)
    plain = look(address, model="sim-fault-rubbish_after_n", stream=False).data.partition(b"\r\n\r\n")[2]
    with pytest.raises(ValueError, match=r".+"):
        json.loads(plain)


def test_no_done_closes_cleanly_without_an_end(address: str, control: httpx.Client) -> None:
    seen = look(address, model="sim-fault-no_done")
    assert (seen.num_contents, seen.end) == (32, "closed")
    assert seen.data.endswith(b"\r\n0\r\n\r\n")
    assert b"[DONE]" not in seen.data
    assert b'"finish_reason":"' not in seen.data


def test_no_finish_has_a_done_but_no_reason(address: str, control: httpx.Client) -> None:
    seen = look(address, model="sim-fault-no_finish")
    assert b"[DONE]" in seen.data
    assert b'"finish_reason":"' not in seen.data
    assert b'"finish_reason":null' in look(address, model="sim-fault-no_finish", stream=False).data


def test_never_finish_goes_on_until_the_client_leaves_and_counts_what_was_sent(
    address: str, control: httpx.Client
) -> None:
    seen = look(address, model="sim-fault-never_finish")
    assert (seen.end, b"[DONE]" in seen.data) == ("open", False)
    assert seen.num_contents > 500
    wait_until(lambda: served(control)["aborted"] == 1)
    num_tokens = served(control)["completion_tokens"]
    assert num_tokens >= seen.num_contents
    time.sleep(0.1)
    assert served(control)["completion_tokens"] == num_tokens


def test_slow_drip_takes_its_time_for_each_token(address: str, control: httpx.Client) -> None:
    control.put("/behaviour", json={"num_tokens": 5, "jitter": 0}).raise_for_status()
    started = time.monotonic()
    assert look(address, model="sim-fault-slow_drip-50").end == "closed"
    assert 0.19 < time.monotonic() - started < 2.0


def test_huge_chunk_is_one_event_of_the_stated_size(address: str, control: httpx.Client) -> None:
    seen = look(address, model="sim-fault-huge_chunk-64")
    assert (seen.num_contents, seen.end) == (1, "closed")
    assert len(seen.data) > 64 * 1024
    assert served(control)["completion_tokens"] == 64 * 256


def test_every_fault_is_counted_under_its_name(address: str, control: httpx.Client) -> None:
    for fault in Fault:
        look(address, model=f"sim-fault-{fault}-1", wait_s=0.05)
    wait_until(lambda: served(control)["started"] == len(Fault) and served(control)["in_flight"] == 0)
    assert served(control)["faults"] == {fault.value: 1 for fault in Fault}


def test_a_header_orders_a_fault_for_its_request_only(address: str, control: httpx.Client) -> None:
    assert look(address, header="X-Sim-Fault: die_after_n; n=2\r\n").num_contents == 2
    assert look(address).num_contents == 32


def test_a_delayed_answer_whose_client_leaves_is_aborted(address: str, control: httpx.Client) -> None:
    control.put("/behaviour", json={"ttft_ms": 5000})
    for stream in (True, False):
        look(address, stream=stream, wait_s=0.05)
    wait_until(lambda: served(control)["aborted"] == 2)
    assert served(control)["completion_tokens"] == 0


def test_what_is_not_http_ends_only_its_own_connection(address: str) -> None:
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname, parts.port), timeout=1.0) as link:
        link.sendall(b"\x00\x01\x02 nonsense\r\n\r\n")
        assert link.recv(100) == b""
    assert httpx.get(f"{address}/healthz").status_code == 200


def test_requests_sent_ahead_on_one_connection_are_answered_in_order(address: str, control: httpx.Client) -> None:
    control.put("/behaviour", json={"ttft_ms": 20})
    parts = urlsplit(address)
    body = json.dumps({"model": "m", "messages": MESSAGES})
    asked = f"POST /v1/chat/completions HTTP/1.1\r\nHost: s\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    with socket.create_connection((parts.hostname, parts.port), timeout=2.0) as link:
        link.sendall((asked * 3 + "GET /healthz HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n").encode())
        data = b""
        while piece := link.recv(65536):
            data += piece
    assert data.count(b'"chat.completion"') == 3
    assert data.endswith(b'{"status":"ok"}')


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_within_a_second_also_while_a_request_hangs(number: signal.Signals) -> None:
    with running_simulator() as simulator:
        parts = urlsplit(simulator.address)
        with socket.create_connection((parts.hostname, parts.port), timeout=2.0) as link:
            body = json.dumps({"model": "sim-fault-hang", "messages": MESSAGES})
            link.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            time.sleep(0.1)
            started = time.monotonic()
            simulator.process.send_signal(number)
            assert simulator.process.wait(timeout=5.0) == 0
    assert time.monotonic() - started < 1.0
