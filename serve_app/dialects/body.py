"""The first look at a request's bytes: JSON, UTF-8, an object, and not nested too deep."""

from typing import Any

import orjson

from serve_app.errors import InvalidRequest


def read_body(raw: bytes, max_depth: int = 64) -> dict[str, Any]:
    """Raises InvalidRequest. The object itself has depth 1. Of a key given twice the last counts; NaN is refused."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as refusal:
        raise InvalidRequest(_why(raw, refusal, max_depth)) from None
    if not isinstance(body, dict):
        raise InvalidRequest("The body must be a JSON object.")
    # Depth never exceeds the number of brackets, which is near-free to count; brackets in prompts only cost the walk.
    if raw.count(b"{") + raw.count(b"[") > max_depth and _is_deeper_than(max_depth, body):
        raise InvalidRequest(_too_deep(max_depth))
    return body


def _is_deeper_than(max_depth: int, body: dict[str, Any]) -> bool:
    """Walks level by level: time is linear in the number of values, and nothing recurses."""
    level: list[Any] = [body]
    for _ in range(max_depth):
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return False
    return True


def _why(raw: bytes, refusal: orjson.JSONDecodeError, max_depth: int) -> str:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return "The body is not valid UTF-8."
    if "depth limit" in refusal.msg:
        return _too_deep(max_depth)
    return "The body is not valid JSON."


def _too_deep(max_depth: int) -> str:
    return f"The body is nested more than {max_depth} levels deep."
