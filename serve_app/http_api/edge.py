"""The outermost layer: takes off what a client may not tell the serving framework, and words its errors as ours."""

import orjson
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.errors import DeadlineExceeded, GatewayError, GatewaySaturated, InternalError, UnknownPath
from serve_app.http_api.envelope import request_id_of

FOR_THE_FRAMEWORK_ALONE = frozenset(
    {b"x-request-timeout-seconds", b"x-request-disconnect-disabled", b"serve_multiplexed_model_id"}
)
"""With these a client could switch off Serve's time limits and its notice of clients that leave, or ask for a LoRA."""

RETRY_AFTER_S = 1.0
OURS = frozenset({"application/json", "text/event-stream"})


class Edge:
    """Pure ASGI, around everything that Serve puts around our application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(Headers(scope=scope))
        kept = [
            (name, value)
            for name, value in scope["headers"]
            if name not in FOR_THE_FRAMEWORK_ALONE and name != b"x-request-id"
        ]
        inner = {**scope, "headers": [*kept, (b"x-request-id", request_id.encode())]}
        await self._app(inner, receive, _Sender(send, request_id))


class _Sender:
    """Names each answer once by its request's id, and replaces an error that is not ours by one that is."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send, self._request_id = send, request_id
        self._is_replaced = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._start(message)
        elif not self._is_replaced:
            await self._send(message)

    async def _start(self, message: Message) -> None:
        headers = MutableHeaders(raw=[pair for pair in message["headers"] if pair[0].lower() != b"x-request-id"])
        media_type = headers.get("content-type", "").partition(";")[0]
        if message["status"] < 400 or media_type in OURS or not media_type:
            headers["x-request-id"] = self._request_id
            await self._send({**message, "headers": headers.raw})
            return
        self._is_replaced = True
        error = _ours(message["status"])
        body = orjson.dumps(error.to_openai())
        replaced = MutableHeaders(
            {"content-type": "application/json", "content-length": str(len(body)), "x-request-id": self._request_id}
        )
        if error.retry_after_s is not None:
            replaced["retry-after"] = headers.get("retry-after", str(round(error.retry_after_s)))
        await self._send({"type": "http.response.start", "status": error.status_code, "headers": replaced.raw})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})


def _ours(status: int) -> GatewayError:
    match status:
        case 404:
            return UnknownPath()
        case 408 | 504:
            return DeadlineExceeded()
        case 429 | 503:
            return GatewaySaturated(RETRY_AFTER_S)
        case _:
            return InternalError()
