"""The composition root under Serve's local testing mode: every binding, every placement, no cluster."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from ray import serve

from serve_app.graph import GraphArgs, build_app
from tests.fakes.in_process import KEY, Providers, demo_settings

CLOUD_TIERS = {
    "CLOUD_ENHANCED": {"upstreams": ["openai", "simulator"], "deadline_s": 30, "max_output_tokens": 64},
    "CLOUD_SPECIALIZED": {"upstreams": ["simulator"], "deadline_s": 30, "max_output_tokens": 64},
    "CLOUD_FALLBACK": {"upstreams": ["simulator-fallback"], "deadline_s": 30, "max_output_tokens": 64},
}
CHAT = {"model": "auto", "messages": [{"role": "user", "content": "Hello there"}]}
HEADERS = {"authorization": f"Bearer {KEY}"}

pytestmark = pytest.mark.filterwarnings(
    # Ray's own code, not ours: it opens files and sockets that it leaves to the garbage collector.
    "ignore::ResourceWarning",
    "ignore::DeprecationWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


def config_without_vllm(folder: Path, providers: Providers, placement: str) -> Path:
    """The demo without its local model, every movable part placed as told."""
    path = demo_settings(folder, providers).path
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    del raw["upstreams"]["smollm2"]
    raw["tiers"] = CLOUD_TIERS
    raw["classifier"] = {"placement": placement}
    raw["ledger"] = {"placement": placement}
    for provider in raw["providers"].values():
        provider["placement"] = placement
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return path


@pytest.fixture(params=["inline", "deployment"])
def router(request: pytest.FixtureRequest, tmp_path: Path, providers: Providers) -> Any:
    config = config_without_vllm(tmp_path, providers, request.param)
    return serve.run(build_app(GraphArgs(config=config)), _local_testing_mode=True)


class ReplicaTransport(httpx.AsyncBaseTransport):
    """Hands requests to the Router's ASGI application on the replica's own event loop, as Serve's ingress would.

    Local testing mode has no ingress, and a handle pickles its arguments, so the replica is reached through Serve's
    insides; Ray's version is pinned.
    """

    def __init__(self, router: Any) -> None:
        if not router.is_initialized:
            router._init()
        self._wrapper = router._router._user_callable_wrapper

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        sent: list[dict[str, Any]] = []
        arriving = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if arriving:
                return arriving.pop()
            await asyncio.Event().wait()
            raise AssertionError("the client stays until it is answered")

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "path": request.url.path,
            "raw_path": request.url.raw_path,
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": ("127.0.0.1", 1),
            "server": ("gateway", 80),
        }
        app, loop = self._wrapper._callable._asgi_app, self._wrapper.event_loop
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(app(scope, receive, send), loop))
        start = next(message for message in sent if message["type"] == "http.response.start")
        content = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
        return httpx.Response(start["status"], headers=start["headers"], content=content)


def client_of(router: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=ReplicaTransport(router), base_url="http://gateway")


async def test_a_chat_is_answered_through_the_bound_graph(router: Any) -> None:
    async with client_of(router) as client:
        answer = await client.post("/v1/chat/completions", json=CHAT, headers=HEADERS)
    assert answer.status_code == 200
    assert answer.headers["x-upcoach-upstream"] == "simulator"
    assert answer.json()["choices"][0]["message"]["content"]


async def test_a_stream_crosses_every_placement_whole(router: Any) -> None:
    async with client_of(router) as client:
        answer = await client.post("/v1/chat/completions", json={**CHAT, "stream": True}, headers=HEADERS)
    assert answer.status_code == 200
    assert answer.text.rstrip().endswith("data: [DONE]")
    assert '"finish_reason":"stop"' in answer.text


async def test_a_failing_provider_is_replaced_across_every_placement(router: Any, providers: Providers) -> None:
    providers.cloud.behave(fault="http_503")
    try:
        async with client_of(router) as client:
            answer = await client.post("/v1/chat/completions", json=CHAT, headers=HEADERS)
    finally:
        providers.cloud.reset()
    assert answer.status_code == 200
    assert answer.headers["x-upcoach-upstream"] == "simulator-fallback"
    assert answer.headers["x-upcoach-attempts"] == "2"


async def test_an_idempotent_request_is_replayed_from_the_ledger(router: Any) -> None:
    headers = {**HEADERS, "idempotency-key": "one"}
    async with client_of(router) as client:
        first = await client.post("/v1/chat/completions", json=CHAT, headers=headers)
        again = await client.post("/v1/chat/completions", json=CHAT, headers=headers)
        other = await client.post("/v1/chat/completions", json={**CHAT, "n": 2}, headers=headers)
    assert again.content == first.content
    assert again.headers["x-upcoach-replayed"] == "true"
    assert other.status_code == 409
