"""How payloads are written as server-sent events."""

from collections.abc import Mapping
from typing import Any

import orjson

from serve_app.errors import GatewayError

DONE_FRAME = b"data: [DONE]\n\n"


def frame(payload: bytes) -> bytes:
    """One event of the payload's own bytes; one with line ends in it takes several `data` lines."""
    if b"\n" in payload or b"\r" in payload:
        payload = b"\ndata: ".join(payload.splitlines())
    return b"data: " + payload + b"\n\n"


def event_frame(name: str, body: Mapping[str, Any]) -> bytes:
    """One named event with a JSON body."""
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(body) + b"\n\n"


def error_frame(error: GatewayError) -> bytes:
    """The event that ends a broken stream, in OpenAI's error shape."""
    return event_frame("error", error.to_openai())
