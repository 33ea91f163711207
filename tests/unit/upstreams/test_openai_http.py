"""A provider over HTTP, its network replaced at the transport's seam."""

from contextlib import aclosing
from dataclasses import replace

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
from serve_app.upstreams.http_transport import CannotConnect, ConnectionLost, WaitedTooLong
from serve_app.upstreams.openai_http import MAX_ERROR_BYTES, Endpoint, OpenAIHttpUpstream
from tests.fakes.chunks import WHOLE_STREAM, completion
from tests.fakes.http import Network, Reply

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
    max_answer_bytes=1 << 20,
)
CALL = UpstreamCall(
    body={"model": "m", "messages": [{"role": "user", "content": "grüß dich"}]},
    upstream_id="first",
    place=CLOUD,
    allowed_places=frozenset({LOCAL, CLOUD}),
    request_id="r-1",
    attempt_id="attempt-1",
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    remaining_s=9.0,
)
TROUBLES: list[tuple[Exception, type[UpstreamFailed]]] = [
    (CannotConnect(SECRET), UpstreamUnreachable),
    (WaitedTooLong(SECRET), UpstreamTimedOut),
    (ConnectionLost(SECRET), UpstreamBroken),
]


def upstream_on(answer: Network | Reply | Exception, endpoint: Endpoint = ENDPOINT) -> OpenAIHttpUpstream:
    return OpenAIHttpUpstream(endpoint, answer if isinstance(answer, Network) else Network(answer))


async def gather(upstream: OpenAIHttpUpstream, call: UpstreamCall = CALL) -> list[bytes]:
    async with aclosing(upstream.stream(call)) as batches:
        return [payload async for batch in batches for payload in batch]


async def ask(method: str, upstream: OpenAIHttpUpstream, call: UpstreamCall = CALL) -> object:
    if method == "stream":
        return await gather(upstream, call)
    return await (upstream.complete(call) if method == "complete" else upstream.embed(call))


def refusal(status: int, message: str = "no", **headers: str) -> Reply:
    body = {"error": {"message": message, "type": "some_error", "code": "x", "param": "tools"}}
    return Reply(status, [orjson.dumps(body)], {name.replace("_", "-"): value for name, value in headers.items()})


def sse(*payloads: bytes) -> bytes:
    return b"".join(b"data: " + payload + b"\n\n" for payload in payloads)


async def test_a_chat_goes_out_as_the_order_says_with_the_providers_own_key() -> None:
    network = Network(Reply(pieces=[completion("Hello")[:9], completion("Hello")[9:]]))
    assert await upstream_on(network).complete(CALL) == completion("Hello")
    (sent,) = network.sent
    assert (sent.method, sent.url) == ("POST", "https://provider.test/v1/chat/completions")
    assert orjson.loads(sent.body or b"") == CALL.body
    assert sent.headers["authorization"] == f"Bearer {SECRET}"


async def test_a_slash_at_the_end_of_the_base_url_changes_nothing() -> None:
    network = Network(Reply())
    await upstream_on(network, replace(ENDPOINT, base_url="https://provider.test/v1/")).complete(CALL)
    assert network.sent[0].url == "https://provider.test/v1/chat/completions"


async def test_embeddings_have_their_own_path() -> None:
    network = Network(Reply(pieces=[b"{}"]))
    assert await upstream_on(network).embed(CALL) == b"{}"
    assert network.sent[0].url == "https://provider.test/v1/embeddings"


async def test_the_request_id_and_the_trace_go_along_and_nothing_else_of_the_callers() -> None:
    network = Network(Reply())
    upstream = upstream_on(network)
    await upstream.complete(CALL)
    await upstream.complete(replace(CALL, traceparent=None))
    assert network.sent[0].headers == {
        "content-type": "application/json",
        "accept-encoding": "identity",
        "user-agent": "upcoach-llm",
        "authorization": f"Bearer {SECRET}",
        "x-request-id": "r-1",
        "x-upcoach-attempt": "attempt-1",
        "traceparent": CALL.traceparent,
    }
    assert "traceparent" not in network.sent[1].headers


async def test_a_provider_without_a_key_is_sent_none() -> None:
    network = Network(Reply())
    await upstream_on(network, replace(ENDPOINT, api_key=None)).complete(CALL)
    assert "authorization" not in network.sent[0].headers


async def test_time_limits_are_the_endpoints_and_never_more_than_what_is_left() -> None:
    network = Network(Reply())
    upstream = upstream_on(network)
    for remaining_s, expected in ((60.0, (2.0, 30.0)), (9.0, (2.0, 9.0)), (0.5, (0.5, 0.5))):
        await upstream.complete(replace(CALL, remaining_s=remaining_s))
        limits = network.sent[-1].limits
        assert (limits.connect_s, limits.idle_s) == expected


@pytest.mark.parametrize("method", ["complete", "embed", "stream"])
async def test_a_call_that_may_not_go_to_this_place_makes_no_request(method: str) -> None:
    network = Network(Reply())
    with pytest.raises(EgressForbidden) as caught:
        await ask(method, upstream_on(network), replace(CALL, allowed_places=frozenset({LOCAL})))
    assert (caught.value.upstream_id, caught.value.place) == ("first", "cloud")
    assert network.sent == []


async def test_the_endpoints_own_place_counts_and_not_what_the_call_says_of_it() -> None:
    network = Network(Reply())
    with pytest.raises(EgressForbidden):
        await upstream_on(network).complete(replace(CALL, place=LOCAL, allowed_places=frozenset({LOCAL})))
    assert network.sent == []


@pytest.mark.parametrize("method", ["complete", "embed", "stream"])
@pytest.mark.parametrize("status", [201, 301, 307, 401, 403, 404, 408, 409, 429, 500, 502, 503, 529])
async def test_a_refusal_of_the_upstream_may_be_tried_elsewhere(status: int, method: str) -> None:
    reply = refusal(status, f"no, says {SECRET}")
    with pytest.raises(UpstreamRefused) as caught:
        await ask(method, upstream_on(reply))
    assert (caught.value.upstream_id, caught.value.detail) == ("first", f"status_{status}")
    assert SECRET not in repr(caught.value) + str(caught.value) + caught.value.public_message
    assert reply.is_closed


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_rejection_of_the_request_is_told_with_its_words_and_its_field(status: int) -> None:
    with pytest.raises(UpstreamRejectedRequest) as caught:
        await upstream_on(refusal(status, "no such tool")).complete(CALL)
    assert (caught.value.public_message, caught.value.param) == ("no such tool", "tools")


@pytest.mark.parametrize("body", [b"", b"<html>Bad Request</html>", b"[]", b"\xff"])
async def test_a_400_without_an_error_body_is_some_middle_boxs_and_may_be_tried_elsewhere(body: bytes) -> None:
    with pytest.raises(UpstreamRefused):
        await upstream_on(Reply(400, [body])).complete(CALL)


async def test_of_an_error_body_only_so_much_is_read() -> None:
    reply = Reply(500, [*[b"x" * (MAX_ERROR_BYTES // 4)] * 4, AssertionError("read on")])
    with pytest.raises(UpstreamRefused):
        await upstream_on(reply).complete(CALL)
    assert reply.is_closed


@pytest.mark.parametrize("value", ["17", "Mon, 23 Nov 2099 12:00:00 GMT"])
async def test_what_a_refusal_says_of_coming_back_is_kept(value: str) -> None:
    with pytest.raises(UpstreamRefused) as caught:
        await upstream_on(refusal(429, retry_after=value)).complete(CALL)
    assert caught.value.retry_after_s is not None
    assert caught.value.retry_after_s >= 17.0
    assert caught.value.status == 429


@pytest.mark.parametrize("method", ["complete", "embed", "stream"])
@pytest.mark.parametrize(("raised", "expected"), TROUBLES)
async def test_every_trouble_of_the_network_is_named_and_nothing_is_tried_twice(
    raised: Exception, expected: type[UpstreamFailed], method: str
) -> None:
    network = Network(raised)
    with pytest.raises(expected) as caught:
        await ask(method, upstream_on(network))
    assert type(caught.value) is expected
    assert SECRET not in repr(caught.value)
    assert caught.value.__suppress_context__
    assert len(network.sent) == 1


@pytest.mark.parametrize("method", ["complete", "stream"])
@pytest.mark.parametrize(("raised", "expected"), TROUBLES[1:])
async def test_a_connection_that_dies_within_an_answer_is_named(
    raised: Exception, expected: type[UpstreamFailed], method: str
) -> None:
    reply = Reply(pieces=[sse(WHOLE_STREAM[0]), raised])
    with pytest.raises(expected):
        await ask(method, upstream_on(reply))
    assert reply.is_closed


async def test_what_came_before_the_connection_died_has_been_handed_on() -> None:
    stream = upstream_on(Reply(pieces=[sse(WHOLE_STREAM[0]), ConnectionLost()])).stream(CALL)
    assert await anext(stream) == [WHOLE_STREAM[0]]
    with pytest.raises(UpstreamBroken):
        await anext(stream)


def test_the_key_is_in_no_representation() -> None:
    upstream = upstream_on(Reply())
    for shown in (ENDPOINT, upstream, vars(upstream)):
        assert SECRET not in repr(shown)


async def test_a_stream_gives_the_payloads_that_came_together_together_and_not_the_done() -> None:
    reply = Reply(pieces=[sse(*WHOLE_STREAM[:2]), sse(*WHOLE_STREAM[2:], b"[DONE]")])
    async with aclosing(upstream_on(reply).stream(CALL)) as batches:
        assert [list(batch) async for batch in batches] == [list(WHOLE_STREAM[:2]), list(WHOLE_STREAM[2:])]
    assert reply.is_closed


async def test_an_event_cut_by_the_network_is_put_together() -> None:
    whole = sse(*WHOLE_STREAM, b"[DONE]")
    reply = Reply(pieces=[whole[at : at + 7] for at in range(0, len(whole), 7)])
    assert await gather(upstream_on(reply)) == list(WHOLE_STREAM)


async def test_a_stream_without_a_done_just_ends() -> None:
    assert await gather(upstream_on(Reply(pieces=[sse(*WHOLE_STREAM)]))) == list(WHOLE_STREAM)


async def test_an_event_larger_than_allowed_breaks_the_stream() -> None:
    reply = Reply(pieces=[b"data: " + b"x" * 4000, b"x" * 4000])
    with pytest.raises(UpstreamBroken) as caught:
        await gather(upstream_on(reply))
    assert caught.value.detail == "event_too_large"
    assert reply.is_closed


async def test_a_stream_that_its_reader_leaves_closes_its_connection() -> None:
    reply = Reply(pieces=[sse(WHOLE_STREAM[0]), sse(WHOLE_STREAM[1])])
    stream = upstream_on(reply).stream(CALL)
    await anext(stream)
    assert not reply.is_closed
    await stream.aclose()
    assert reply.is_closed


@pytest.mark.parametrize("status", [200, 401, 404])
async def test_a_probe_takes_any_answer_below_500_for_a_yes(status: int) -> None:
    network = Network(Reply(status))
    await upstream_on(network).probe()
    assert (network.sent[0].method, network.sent[0].url) == ("GET", "https://provider.test/v1/models")
    assert (network.sent[0].limits.connect_s, network.sent[0].limits.idle_s) == (2.0, 2.0)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Reply(500), UpstreamRefused),
        (CannotConnect(), UpstreamUnreachable),
        (WaitedTooLong(), UpstreamUnreachable),
        (ConnectionLost(), UpstreamUnreachable),
    ],
)
async def test_a_probe_says_no_where_nobody_answers(answer: Reply | Exception, expected: type[UpstreamFailed]) -> None:
    with pytest.raises(expected):
        await upstream_on(answer).probe()


async def test_a_provider_always_has_room_and_needs_no_waking() -> None:
    network = Network(Reply())
    upstream = upstream_on(network)
    await upstream.wake()
    async with upstream.reserve(0.0) as reserved:
        assert reserved is upstream
    assert network.sent == []


async def test_closing_an_upstream_closes_its_connections() -> None:
    network = Network(Reply())
    await upstream_on(network).aclose()
    assert network.is_closed
