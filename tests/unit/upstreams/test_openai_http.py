"""A provider over HTTP, its network replaced at the transport."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import httpx
import orjson
import pytest

from serve_app.contracts.upstream import UpstreamCall
from serve_app.contracts.vocabulary import LOCAL, Place
from serve_app.errors import (
    EgressForbidden,
    UpstreamBroken,
    UpstreamFailed,
    UpstreamRefused,
    UpstreamRejectedRequest,
    UpstreamTimedOut,
    UpstreamUnreachable,
)
from serve_app.upstreams.http_transport import CannotConnect, ConnectionLost, WaitedTooLong, WaitLimits
from serve_app.upstreams.openai_http import MAX_ERROR_BYTES, Endpoint, OpenAIHttpUpstream, parse_retry_after
from tests.fakes.chunks import WHOLE_STREAM, completion

CLOUD = Place("cloud")
SECRET = "sk-very-secret"
ENDPOINT = Endpoint(
    base_url="https://provider.test/v1",
    place=CLOUD,
    api_key=SECRET,
    connect_timeout_s=2.0,
    idle_timeout_s=30.0,
    max_connections=4,
    max_event_bytes=4096,
)
CALL = UpstreamCall(
    body={"model": "m", "messages": [{"role": "user", "content": "grüß dich"}]},
    upstream_id="first",
    place=CLOUD,
    allowed_places=frozenset({LOCAL, CLOUD}),
    request_id="r-1",
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    remaining_s=9.0,
)
NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


class Network:
    """A transport that answers every request with `answer` and keeps it. httpx's types only carry the data."""

    def __init__(self, answer: httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]) -> None:
        self._answer = answer
        self.requests: list[httpx.Request] = []
        self.limits: list[WaitLimits] = []

    @asynccontextmanager
    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, limits: WaitLimits
    ) -> AsyncIterator["Received"]:
        request = httpx.Request(method, url, headers=headers, content=body)
        self.requests.append(request)
        self.limits.append(limits)
        if isinstance(self._answer, Exception):
            raise self._answer
        answer = self._answer if isinstance(self._answer, httpx.Response) else self._answer(request)
        pieces = answer.stream if isinstance(answer.stream, Pieces) else Pieces(answer.content)
        try:
            yield Received(answer.status_code, answer.headers, pieces)
        finally:
            await pieces.aclose()

    async def aclose(self) -> None:
        return None


class Received:
    def __init__(self, status: int, headers: Mapping[str, str], pieces: "Pieces") -> None:
        self.status, self.headers, self._pieces = status, headers, pieces

    def parts(self) -> AsyncIterator[bytes]:
        return aiter(self._pieces)


def upstream_on(network: Network, endpoint: Endpoint = ENDPOINT) -> OpenAIHttpUpstream:
    return OpenAIHttpUpstream(endpoint, network)


async def gather(upstream: OpenAIHttpUpstream, call: UpstreamCall = CALL) -> list[bytes]:
    async with aclosing(upstream.stream(call)) as batches:
        return [payload async for batch in batches for payload in batch]


async def complete(network: Network, call: UpstreamCall = CALL) -> bytes:
    return await upstream_on(network).complete(call)


class Pieces(httpx.AsyncByteStream):
    """A body that comes in pieces; an exception among them is raised. `is_closed` once the reader is done with it."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces = pieces
        self.is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def aclose(self) -> None:
        self.is_closed = True


def sse(*payloads: bytes) -> bytes:
    return b"".join(b"data: " + payload + b"\n\n" for payload in payloads)


async def test_a_chat_goes_out_as_the_order_says_with_the_providers_own_key() -> None:
    network = Network(httpx.Response(200, content=completion("Hello")))
    assert await complete(network) == completion("Hello")
    (request,) = network.requests
    assert (request.method, str(request.url)) == ("POST", "https://provider.test/v1/chat/completions")
    assert orjson.loads(request.content) == CALL.body
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"


async def test_embeddings_have_their_own_path() -> None:
    network = Network(httpx.Response(200, content=b"{}"))
    assert await upstream_on(network).embed(CALL) == b"{}"
    assert network.requests[0].url.path == "/v1/embeddings"


async def test_the_request_id_and_the_trace_go_along_and_nothing_else_of_the_callers() -> None:
    network = Network(httpx.Response(200, content=b"{}"))
    await complete(network)
    headers = network.requests[0].headers
    assert headers["x-request-id"] == "r-1"
    assert headers["traceparent"] == CALL.traceparent
    assert set(headers) == {
        "host", "accept-encoding", "authorization", "content-length", "content-type", "traceparent", "user-agent",
        "x-request-id",
    }  # fmt: skip
    await complete(network, replace(CALL, traceparent=None))
    assert "traceparent" not in network.requests[1].headers


async def test_a_provider_without_a_key_is_sent_none() -> None:
    network = Network(httpx.Response(200, content=b"{}"))
    await upstream_on(network, replace(ENDPOINT, api_key=None)).complete(CALL)
    assert "authorization" not in network.requests[0].headers


async def test_time_limits_are_the_endpoints_and_never_more_than_what_is_left() -> None:
    network = Network(lambda request: httpx.Response(200, content=b"{}"))
    await complete(network)
    await complete(network, replace(CALL, remaining_s=0.5))
    assert network.limits == [WaitLimits(connect_s=2.0, idle_s=9.0), WaitLimits(connect_s=0.5, idle_s=0.5)]


@pytest.mark.parametrize("method", ["complete", "embed", "stream"])
async def test_a_call_that_may_not_go_to_this_place_makes_no_request(method: str) -> None:
    network = Network(httpx.Response(200, content=b"{}"))
    upstream = upstream_on(network)
    call = replace(CALL, allowed_places=frozenset({LOCAL}))
    with pytest.raises(EgressForbidden) as caught:
        await (gather(upstream, call) if method == "stream" else getattr(upstream, method)(call))
    assert (caught.value.upstream_id, caught.value.place) == ("first", "cloud")
    assert network.requests == []


async def test_the_endpoints_own_place_counts_and_not_what_the_call_says_of_it() -> None:
    network = Network(httpx.Response(200, content=b"{}"))
    call = replace(CALL, place=LOCAL, allowed_places=frozenset({LOCAL}))
    with pytest.raises(EgressForbidden):
        await complete(network, call)
    assert network.requests == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    network = Network(httpx.Response(status, headers={"location": "https://elsewhere.test/v1/chat/completions"}))
    with pytest.raises(UpstreamRefused) as caught:
        await complete(network)
    assert caught.value.detail == f"status_{status}"
    assert [request.url.host for request in network.requests] == ["provider.test"]


@pytest.mark.parametrize("status", [401, 403, 404, 408, 409, 429, 500, 502, 503, 529])
async def test_a_refusal_of_the_upstream_may_be_tried_elsewhere(status: int) -> None:
    body = {"error": {"message": f"no, says {SECRET}", "type": "some_error", "code": "x"}}
    with pytest.raises(UpstreamRefused) as caught:
        await complete(Network(httpx.Response(status, json=body)))
    assert (caught.value.upstream_id, caught.value.detail) == ("first", f"status_{status}")
    assert SECRET not in repr(caught.value) + str(caught.value) + caught.value.public_message


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_rejection_of_the_request_is_told_with_its_words_and_its_field(status: int) -> None:
    body = {"error": {"message": "no such tool", "type": "invalid_request_error", "param": "tools"}}
    with pytest.raises(UpstreamRejectedRequest) as caught:
        await complete(Network(httpx.Response(status, json=body)))
    assert (caught.value.public_message, caught.value.param) == ("no such tool", "tools")


@pytest.mark.parametrize("body", [b"", b"<html>Bad Request</html>", b"[]", b"\xff"])
async def test_a_400_without_an_error_body_is_some_middle_boxs_and_may_be_tried_elsewhere(body: bytes) -> None:
    with pytest.raises(UpstreamRefused):
        await complete(Network(httpx.Response(400, content=body)))


async def test_of_an_error_body_only_so_much_is_read() -> None:
    pieces = Pieces(*[b"x" * 16_384] * 4, AssertionError("read on"))
    assert MAX_ERROR_BYTES == 4 * 16_384
    with pytest.raises(UpstreamRefused):
        await complete(Network(httpx.Response(500, stream=pieces)))
    assert pieces.is_closed


@pytest.mark.parametrize(
    ("value", "seconds"), [("17", 17.0), ("0", 0.0), ("soon", None), ("-3", None), (None, None), ("1.5", None)]
)
async def test_what_the_upstream_says_of_coming_back_is_kept(value: str | None, seconds: float | None) -> None:
    headers = {} if value is None else {"retry-after": value}
    with pytest.raises(UpstreamRefused) as caught:
        await complete(Network(httpx.Response(429, headers=headers, json={"error": {"message": "slow down"}})))
    assert caught.value.retry_after_s == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("Mon, 23 Nov 2026 12:00:30 GMT", 30.0),
        ("Mon, 23 Nov 2026 11:59:00 GMT", 0.0),
        ("Mon, 23 Nov 2026 12:00:30", None),
        ("Mon, 23 Nov 99999999999 12:00:30 GMT", None),
        (" 30 ", 30.0),
        ("²", None),
        ("٣", None),
        ("", None),
        ("9" * 400, None),
        ("Mon, 40 Nov 2026 12:00:30 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date_and_rubbish_as_nothing(value: str, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (CannotConnect(f"refused {SECRET}"), UpstreamUnreachable),
        (WaitedTooLong("x"), UpstreamTimedOut),
        (ConnectionLost("x"), UpstreamBroken),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.__name__,
)
async def test_every_trouble_of_the_network_is_named(raised: Exception, expected: type[UpstreamFailed]) -> None:
    for ask in (complete, lambda network: gather(upstream_on(network))):
        with pytest.raises(expected) as caught:
            await ask(Network(raised))
        assert type(caught.value) is expected
        assert SECRET not in repr(caught.value)
        assert caught.value.__suppress_context__


async def test_nothing_is_ever_tried_twice() -> None:
    network = Network(CannotConnect("x"))
    with pytest.raises(UpstreamUnreachable):
        await complete(network)
    assert len(network.requests) == 1


def test_the_key_is_in_no_representation() -> None:
    assert SECRET not in repr(ENDPOINT)
    assert SECRET not in repr(OpenAIHttpUpstream(ENDPOINT, Network(httpx.Response(200))))
    assert SECRET not in repr(vars(OpenAIHttpUpstream(ENDPOINT, Network(httpx.Response(200)))))


async def test_a_stream_gives_the_payloads_that_came_together_together_and_not_the_done() -> None:
    pieces = Pieces(sse(*WHOLE_STREAM[:2]), sse(*WHOLE_STREAM[2:], b"[DONE]"))
    upstream = upstream_on(Network(httpx.Response(200, stream=pieces)))
    async with aclosing(upstream.stream(CALL)) as batches:
        assert [list(batch) async for batch in batches] == [list(WHOLE_STREAM[:2]), list(WHOLE_STREAM[2:])]
    assert pieces.is_closed


async def test_an_event_cut_by_the_network_is_put_together() -> None:
    whole = sse(*WHOLE_STREAM, b"[DONE]")
    pieces = Pieces(*(whole[at : at + 7] for at in range(0, len(whole), 7)))
    assert await gather(upstream_on(Network(httpx.Response(200, stream=pieces)))) == list(WHOLE_STREAM)


async def test_a_stream_without_a_done_just_ends() -> None:
    pieces = Pieces(sse(*WHOLE_STREAM))
    assert await gather(upstream_on(Network(httpx.Response(200, stream=pieces)))) == list(WHOLE_STREAM)


async def test_what_comes_after_the_done_is_left_unread() -> None:
    pieces = Pieces(sse(b"{}", b"[DONE]"), AssertionError("read on"))
    assert await gather(upstream_on(Network(httpx.Response(200, stream=pieces)))) == [b"{}"]


async def test_an_event_larger_than_allowed_breaks_the_stream() -> None:
    pieces = Pieces(*[b"data: " + b"x" * 4000, b"x" * 4000])
    with pytest.raises(UpstreamBroken) as caught:
        await gather(upstream_on(Network(httpx.Response(200, stream=pieces))))
    assert caught.value.detail == "event_too_large"
    assert pieces.is_closed


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (WaitedTooLong("x"), UpstreamTimedOut),
        (ConnectionLost("x"), UpstreamBroken),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.__name__,
)
async def test_a_connection_that_dies_within_a_stream_is_named(
    raised: Exception, expected: type[UpstreamFailed]
) -> None:
    pieces = Pieces(sse(WHOLE_STREAM[0]), raised)
    received: list[bytes] = []
    with pytest.raises(expected):
        async for batch in upstream_on(Network(httpx.Response(200, stream=pieces))).stream(CALL):
            received += batch
    assert received == [WHOLE_STREAM[0]]
    assert pieces.is_closed


async def test_a_stream_that_its_reader_leaves_closes_its_connection() -> None:
    pieces = Pieces(sse(WHOLE_STREAM[0]), sse(WHOLE_STREAM[1]))
    stream = upstream_on(Network(httpx.Response(200, stream=pieces))).stream(CALL)
    await anext(stream)
    assert not pieces.is_closed
    await stream.aclose()
    assert pieces.is_closed


async def test_a_refused_stream_raises_before_it_gives_anything() -> None:
    network = Network(httpx.Response(503, headers={"retry-after": "2"}, json={"error": {"message": "full"}}))
    with pytest.raises(UpstreamRefused) as caught:
        await gather(upstream_on(network))
    assert caught.value.retry_after_s == 2.0


@pytest.mark.parametrize("status", [200, 401, 404])
async def test_a_probe_takes_any_answer_below_500_for_a_yes(status: int) -> None:
    network = Network(httpx.Response(status))
    await upstream_on(network).probe()
    assert (network.requests[0].method, network.requests[0].url.path) == ("GET", "/v1/models")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (httpx.Response(500), UpstreamRefused),
        (CannotConnect("x"), UpstreamUnreachable),
        (WaitedTooLong("x"), UpstreamUnreachable),
        (ConnectionLost("x"), UpstreamUnreachable),
    ],
)
async def test_a_probe_says_no_where_nobody_answers(
    answer: httpx.Response | Exception, expected: type[UpstreamFailed]
) -> None:
    with pytest.raises(expected):
        await upstream_on(Network(answer)).probe()
