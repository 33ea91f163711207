"""POST /v1/chat/completions: the gateway's own tongue. Fields it does not know are handed on.

Invariant: answers and chunks leave with the bytes with which they came.
"""

from collections.abc import Mapping
from typing import Any

from serve_app.contracts.chat import ChatCall, Chunk, StreamRenderer
from serve_app.dialects.chat_request import ChatRequest
from serve_app.dialects.framing import DONE_FRAME, error_frame, frame
from serve_app.dialects.prompt import estimate_prompt_tokens, needs_of, turns_of
from serve_app.dialects.validation import validate
from serve_app.errors import GatewayError


class ChatDialect:
    def parse(self, body: Mapping[str, Any]) -> ChatCall:
        """Raises InvalidRequest. The call's body is the caller's, but that a stream always asks for its usage."""
        request = validate(ChatRequest, body)
        return build_call(
            body,
            is_streaming=bool(request.stream),
            wants_usage=request.stream_options is not None and bool(request.stream_options.include_usage),
            max_output_tokens=request.max_completion_tokens or request.max_tokens,
        )

    def render(self, completion: bytes, call: ChatCall) -> bytes:
        return completion

    def stream(self, call: ChatCall) -> StreamRenderer:
        return ChatStream(wants_usage=call.wants_usage)


class ChatStream:
    """Leaves out the chunk that holds nothing but usage where nobody asked for it.

    A chunk with content and usage is handed on as it came, asked for or not: no chunk is ever written anew.
    """

    def __init__(self, *, wants_usage: bool) -> None:
        self._wants_usage = wants_usage

    def feed(self, chunk: Chunk) -> bytes:
        if chunk.usage is not None and not self._wants_usage and not chunk.parsed.get("choices"):
            return b""
        return frame(chunk.data)

    def finish(self) -> bytes:
        return DONE_FRAME

    def fail(self, error: GatewayError) -> bytes:
        return error_frame(error)


def build_call(
    body: Mapping[str, Any],
    *,
    is_streaming: bool,
    wants_usage: bool,
    max_output_tokens: int | None,
    echo: Mapping[str, Any] | None = None,
) -> ChatCall:
    """The call of a valid chat body, whatever route it came by."""
    turns = turns_of(body["messages"])
    if is_streaming:
        options = body.get("stream_options") or {}
        body = {**body, "stream_options": {**options, "include_usage": True}}
    return ChatCall(
        body=body,
        wanted_model=body["model"],
        is_streaming=is_streaming,
        wants_usage=wants_usage,
        needs=needs_of(body),
        turns=turns,
        num_prompt_tokens=estimate_prompt_tokens(body, turns),
        max_output_tokens=max_output_tokens,
        echo=echo or {},
    )
