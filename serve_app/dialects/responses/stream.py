"""Chunks of a chat as the typed events of a Response.

Invariants:
- Events are numbered from 0 without a gap; `response.created` comes first, and exactly one of `response.completed`,
  `response.incomplete` and `response.failed` comes for each stream.
- Every item and part that was added is done before a `completed` or `incomplete`, and what is done equals its deltas.
- A broken stream ends with `response.failed` and then an `error` event, and never with a `completed`.

Items stay open until the end: upstreams may interleave the deltas of parallel calls.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from serve_app.contracts.chat import ChatCall, Chunk
from serve_app.dialects.framing import event_frame
from serve_app.dialects.responses.answer import Identity, response_object, status_of
from serve_app.dialects.responses.items import Event, OpenCall, OpenMessage
from serve_app.errors import GatewayError


class ResponseStream:
    def __init__(self, call: ChatCall, new_id: Callable[[], str], now_s: Callable[[], float]) -> None:
        self._call, self._new_id = call, new_id
        self._identity = Identity(f"resp_{new_id()}", int(now_s()), call.wanted_model)
        self._is_open = False
        self._num_events = 0
        self._items: list[OpenMessage | OpenCall] = []
        self._message: OpenMessage | None = None
        self._calls: dict[int | str, OpenCall] = {}
        self._finish_reason: str | None = None
        self._usage: Mapping[str, Any] | None = None

    def feed(self, chunk: Chunk) -> bytes:
        opening = self._open(chunk.parsed.get("model"))
        if chunk.usage is not None:
            self._usage = chunk.parsed["usage"]
        choices = chunk.parsed.get("choices")
        if not choices:
            return opening
        self._finish_reason = chunk.finish_reason or self._finish_reason
        return opening + self._write(self._read_delta(choices[0].get("delta") or {}))

    def finish(self) -> bytes:
        opening = self._open(None)
        status = status_of(self._finish_reason)
        closing = self._write([event for item in self._items for event in item.close(status)])
        return opening + closing + self._write([(f"response.{status}", {"response": self._response(status)})])

    def fail(self, error: GatewayError) -> bytes:
        opening = self._open(None)
        # The closed set of codes that a Response's own error may have; ours are in the error event.
        code = "rate_limit_exceeded" if error.status_code == 429 else "server_error"
        failed = self._response("failed", {"code": code, "message": error.public_message})
        told = {"code": error.code, "message": error.public_message, "param": error.param}
        return opening + self._write([("response.failed", {"response": failed}), ("error", told)])

    def _open(self, model: Any) -> bytes:
        """The two events before any other, once; the model's name is the first chunk's."""
        if self._is_open:
            return b""
        self._is_open = True
        if isinstance(model, str):
            self._identity = replace(self._identity, model=model)
        response = self._response("in_progress")
        return self._write(
            [("response.created", {"response": response}), ("response.in_progress", {"response": response})]
        )

    def _response(self, status: str, error: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return response_object(
            self._call,
            self._identity,
            output=[item.snapshot("incomplete" if status == "failed" else status) for item in self._items],
            status=status,
            finish_reason=self._finish_reason if error is None else None,
            usage=self._usage,
            error=error,
        )

    def _read_delta(self, delta: Mapping[str, Any]) -> list[Event]:
        events: list[Event] = []
        for field, kind in (("content", "output_text"), ("refusal", "refusal")):
            text = delta.get(field)
            if text and isinstance(text, str):
                events += self._open_message(events).add(kind, text)
        calls = delta.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict):
                events += self._read_call(call)
        return events

    def _open_message(self, events: list[Event]) -> OpenMessage:
        if self._message is None:
            self._message = OpenMessage(f"msg_{self._new_id()}", len(self._items))
            self._items.append(self._message)
            events.append(self._message.opened())
        return self._message

    def _read_call(self, delta: Mapping[str, Any]) -> list[Event]:
        """Some upstreams number parallel calls, some only name them, and a delta may do neither."""
        index, call_id, function = delta.get("index"), delta.get("id"), delta.get("function")
        function = function if isinstance(function, dict) else {}
        last = next(reversed(self._calls), 0)
        key = index if isinstance(index, int) else call_id if isinstance(call_id, str) else last
        events: list[Event] = []
        call = self._calls.get(key)
        if call is None:
            call_id = call_id if isinstance(call_id, str) and call_id else f"call_{self._new_id()}"
            call = OpenCall(f"fc_{self._new_id()}", len(self._items), call_id, str(function.get("name") or ""))
            self._calls[key] = call
            self._items.append(call)
            events.append(call.opened())
        arguments = function.get("arguments")
        if arguments and isinstance(arguments, str):
            events.append(call.add(arguments))
        return events

    def _write(self, events: list[Event]) -> bytes:
        frames = []
        for name, fields in events:
            frames.append(event_frame(name, {"type": name, "sequence_number": self._num_events, **fields}))
            self._num_events += 1
        return b"".join(frames)
