"""A replica that Serve is about to stop says so to whoever asks whether it is ready."""

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.draining import DrainingWatch, is_draining
from deployments.edge import middlewares


class Replica:
    """Answers its own health checks, as Serve does; everything else is for the router, which notes what it knew."""

    def __init__(self, status: int, text: bytes) -> None:
        self.status, self.text = status, text
        self.health_checks: list[str] = []
        self.known: list[bool] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, text = 200, b"ok"
        if scope["path"].endswith("/-/healthz"):
            self.health_checks.append(scope["method"])
            status, text = self.status, self.text
        else:
            self.known.append(is_draining())
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": text, "more_body": False})


async def ask(replica: Replica, path: str, root_path: str = "") -> list[int]:
    sent: list[int] = []

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        if message["type"] == "http.response.start":
            sent.append(message["status"])

    async def receive() -> dict[str, object]:
        raise AssertionError("nothing of the request is read")

    scope = {"type": "http", "method": "HEAD", "path": root_path + path, "root_path": root_path}
    await DrainingWatch(replica)(scope, receive, send)
    return sent


@pytest.mark.parametrize("root_path", ["", "/mounted"])
@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (503, b"DRAINING", True),
        (503, b"UNHEALTHY", False),
        (200, b"success", False),
        (404, b"DRAINING is no path of mine", False),
    ],
)
async def test_the_router_knows_what_the_replica_tells_its_ingress(
    status: int, text: bytes, expected: bool, root_path: str
) -> None:
    replica = Replica(status, text)
    assert await ask(replica, "/readyz", root_path) == [200]
    assert replica.known == [expected]
    assert replica.health_checks == ["GET"]


async def test_no_other_request_pays_for_it() -> None:
    replica = Replica(503, b"DRAINING")
    await ask(replica, "/v1/chat/completions")
    assert replica.health_checks == []


async def test_inside_the_edge_the_watch_hears_serves_own_words() -> None:
    """Put together as Serve does it: each layer around those before it."""
    replica = Replica(503, b"DRAINING")
    app: ASGIApp = replica
    for layer in middlewares():
        app = layer.cls(app, *layer.args, **layer.kwargs)

    async def never() -> Message:
        raise AssertionError("nothing of the request is read")

    async def ignore(message: Message) -> None: ...

    await app({"type": "http", "method": "GET", "path": "/readyz", "headers": []}, never, ignore)
    assert replica.known == [True]
