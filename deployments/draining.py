"""Whether Serve is about to stop this replica. One replica is one process, so this module knows it for its router.

Serve has no call for it. But its ingress asks each replica's `/-/healthz`, which the replica answers itself, inside the
layers named in `deployments.edge`: so one of these layers asks as the ingress does, whenever it sees a readiness check.
Where nobody answers as Serve would, nothing is draining; tests/cluster notices when Serve words it in another way.
"""

from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

READINESS, HEALTH = "/readyz", "/-/healthz"
DRAINING = b"DRAINING"


@dataclass(slots=True)
class _Seen:
    is_draining: bool = False


_SEEN = _Seen()


def is_draining() -> bool:
    """As of the last readiness check."""
    return _SEEN.is_draining


class DrainingWatch:
    """Pure ASGI, between Serve and whatever is around it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == scope.get("root_path", "") + READINESS:
            _SEEN.is_draining = await self._ask(scope)
        await self._app(scope, receive, send)

    async def _ask(self, scope: Scope) -> bool:
        said: list[Message] = []

        async def hear(message: Message) -> None:
            said.append(message)

        path = scope.get("root_path", "") + HEALTH
        await self._app({**scope, "method": "GET", "path": path, "raw_path": path.encode()}, _nothing, hear)
        statuses = [message["status"] for message in said if message["type"] == "http.response.start"]
        return statuses == [503] and DRAINING in b"".join(message.get("body", b"") for message in said)


async def _nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}
