"""Output items while they grow: a message of text and refusal parts, and a function call."""

from typing import Any

from serve_app.dialects.responses.answer import call_item, message_item, refusal_part, text_part

Event = tuple[str, dict[str, Any]]
"""An event's name and its own fields."""

_PARTS = {"output_text": text_part, "refusal": refusal_part}
_TEXT_FIELDS = {"output_text": "text", "refusal": "refusal"}


class OpenMessage:
    """At most one part of each kind, in the order in which they began."""

    def __init__(self, item_id: str, output_index: int) -> None:
        self._place: dict[str, Any] = {"item_id": item_id, "output_index": output_index}
        self._texts: dict[str, list[str]] = {}

    def opened(self) -> Event:
        item = message_item(self._place["item_id"], [], "in_progress")
        return "response.output_item.added", {"output_index": self._place["output_index"], "item": item}

    def add(self, kind: str, text: str) -> list[Event]:
        """`kind` is `output_text` or `refusal`."""
        events: list[Event] = []
        if kind not in self._texts:
            self._texts[kind] = []
            events.append(("response.content_part.added", self._of_part(kind) | {"part": _PARTS[kind]("")}))
        self._texts[kind].append(text)
        delta = self._of_part(kind) | {"delta": text}
        events.append((f"response.{kind}.delta", delta | ({"logprobs": []} if kind == "output_text" else {})))
        return events

    def close(self, status: str) -> list[Event]:
        events: list[Event] = []
        for kind, texts in self._texts.items():
            text = "".join(texts)
            done = self._of_part(kind) | {_TEXT_FIELDS[kind]: text}
            events.append((f"response.{kind}.done", done | ({"logprobs": []} if kind == "output_text" else {})))
            events.append(("response.content_part.done", self._of_part(kind) | {"part": _PARTS[kind](text)}))
        done = {"output_index": self._place["output_index"], "item": self.snapshot(status)}
        return [*events, ("response.output_item.done", done)]

    def snapshot(self, status: str) -> dict[str, Any]:
        parts = [_PARTS[kind]("".join(texts)) for kind, texts in self._texts.items()]
        return message_item(self._place["item_id"], parts, status)

    def _of_part(self, kind: str) -> dict[str, Any]:
        return self._place | {"content_index": list(self._texts).index(kind)}


class OpenCall:
    def __init__(self, item_id: str, output_index: int, call_id: str, name: str) -> None:
        self._place: dict[str, Any] = {"item_id": item_id, "output_index": output_index}
        self._call_id, self._name = call_id, name
        self._arguments: list[str] = []

    def opened(self) -> Event:
        return "response.output_item.added", self._item("in_progress")

    def add(self, arguments: str) -> Event:
        self._arguments.append(arguments)
        return "response.function_call_arguments.delta", self._place | {"delta": arguments}

    def close(self, status: str) -> list[Event]:
        done = self._place | {"arguments": "".join(self._arguments)}
        return [("response.function_call_arguments.done", done), ("response.output_item.done", self._item(status))]

    def snapshot(self, status: str) -> dict[str, Any]:
        arguments = "".join(self._arguments)
        return call_item(self._place["item_id"], self._call_id, name=self._name, arguments=arguments, status=status)

    def _item(self, status: str) -> dict[str, Any]:
        return {"output_index": self._place["output_index"], "item": self.snapshot(status)}
