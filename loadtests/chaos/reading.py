"""What a client makes of the bytes of an answer, whole or streamed. No judgement: that is for promises.py."""

from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass(slots=True)
class Reading:
    """All that an answer said so far. `problem` is set when bytes came that are not the protocol.

    `texts` are the pieces of the first choice's content, or of its tool call's arguments.
    """

    texts: list[str] = field(default_factory=list)
    finish_reason: str | None = None
    is_done: bool = False
    error: Any = None
    problem: str | None = None
    models: set[str] = field(default_factory=set)
    num_chunks: int = 0
    num_comments: int = 0

    @property
    def text(self) -> str:
        return "".join(self.texts)


def read_whole(body: bytes) -> Reading:
    """A chat.completion, or an error."""
    reading = Reading()
    parsed = _object(body, reading)
    if parsed is None:
        return reading
    if "error" in parsed:
        reading.error = parsed["error"]
        return reading
    _read_choices(parsed, "message", reading)
    reading.is_done = reading.problem is None
    return reading


class StreamReader:
    """Feeds on parts of a server-sent stream, cut anywhere, and fills `reading`."""

    def __init__(self) -> None:
        self.reading = Reading()
        self._rest = b""

    def feed(self, part: bytes) -> None:
        *events, self._rest = (self._rest + part).replace(b"\r\n", b"\n").split(b"\n\n")
        for event in events:
            self._read_event(event)

    def end(self) -> Reading:
        """What was left over is no event: a stream cut in the middle of one leaves it unread."""
        return self.reading

    def _read_event(self, event: bytes) -> None:
        lines = event.split(b"\n")
        data = b"\n".join(line[5:].lstrip() for line in lines if line.startswith(b"data:"))
        self.reading.num_comments += sum(line.startswith(b":") for line in lines)
        if not data:
            return
        if data == b"[DONE]":
            self.reading.is_done = True
            return
        parsed = _object(data, self.reading)
        if parsed is None:
            return
        if "error" in parsed:
            self.reading.error = parsed["error"]
            return
        _read_choices(parsed, "delta", self.reading)


def _object(body: bytes, reading: Reading) -> dict[str, Any] | None:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = None
    if isinstance(parsed, dict):
        return parsed
    reading.problem = "not a JSON object"
    return None


def _read_choices(parsed: dict[str, Any], part: str, reading: Reading) -> None:
    choices = parsed.get("choices")
    if not isinstance(choices, list):
        reading.problem = "no choices"
        return
    if isinstance(parsed.get("model"), str):
        reading.models.add(parsed["model"])
    for choice in choices:
        said = choice.get(part) or {}
        calls = said.get("tool_calls") or []
        pieces = [said.get("content"), *((call.get("function") or {}).get("arguments") for call in calls)]
        texts = [piece for piece in pieces if piece]
        reading.texts += texts
        reading.num_chunks += bool(texts)
        reading.finish_reason = choice.get("finish_reason") or reading.finish_reason
