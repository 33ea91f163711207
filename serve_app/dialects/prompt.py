"""What the gateway needs to know of a valid chat body before an upstream sees it: needs, turns, size.

The size is an estimate by rule: a token for every 4 UTF-8 bytes of text, tool calls, tools and response schema, 4 for
each message, 3 for the start of the answer, and a flat rate for each image. Audio and files are not counted.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from serve_app.contracts.assessment import Turn
from serve_app.contracts.vocabulary import Capability

_BYTES_PER_TOKEN = 4
_TOKENS_PER_MESSAGE = 4
_TOKENS_BEFORE_ANSWER = 3
# What OpenAI's vision models charge for a picture of 1024 x 1024 in high detail.
_TOKENS_PER_IMAGE = 765


def needs_of(body: Mapping[str, Any]) -> frozenset[Capability]:
    needs = {Capability.CHAT}
    if body.get("tools") or body.get("functions"):
        needs.add(Capability.TOOLS)
    response_format = body.get("response_format")
    if response_format and response_format["type"] != "text":
        needs.add(Capability.STRUCTURED_OUTPUT)
    if _num_images(body["messages"]):
        needs.add(Capability.IMAGES)
    return frozenset(needs)


def turns_of(messages: Sequence[Mapping[str, Any]]) -> tuple[Turn, ...]:
    return tuple(Turn(message["role"], _text_of(message.get("content"))) for message in messages)


def estimate_prompt_tokens(body: Mapping[str, Any], turns: Sequence[Turn]) -> int:
    """`turns` are those of the body's messages."""
    messages = body["messages"]
    num_bytes = sum(num_utf8_bytes(turn.text) for turn in turns)
    for part in (body.get("tools"), body.get("functions"), body.get("response_format")):
        num_bytes += len(orjson.dumps(part)) if part else 0
    for message in messages:
        calls = message.get("tool_calls")
        num_bytes += len(orjson.dumps(calls)) if calls else 0
    num_tokens = tokens_in(num_bytes) + len(messages) * _TOKENS_PER_MESSAGE + _TOKENS_BEFORE_ANSWER
    return num_tokens + _num_images(messages) * _TOKENS_PER_IMAGE


def tokens_in(num_bytes: int) -> int:
    return -(-num_bytes // _BYTES_PER_TOKEN)


def num_utf8_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))


def _text_of(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content if part["type"] == "text")
    return content or ""


def _num_images(messages: Sequence[Mapping[str, Any]]) -> int:
    contents = (message.get("content") for message in messages)
    parts = (part for content in contents if isinstance(content, list) for part in content)
    return sum(part["type"] == "image_url" for part in parts)
