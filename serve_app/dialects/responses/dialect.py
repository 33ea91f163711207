"""The route itself: POST /v1/responses as a Dialect."""

import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from serve_app.contracts.chat import ChatCall, StreamRenderer
from serve_app.dialects.chat import build_call
from serve_app.dialects.chat_request import ChatRequest
from serve_app.dialects.responses.answer import Identity, output_items, response_object
from serve_app.dialects.responses.request import (
    ResponsesRequest,
    chat_messages,
    chat_response_format,
    chat_tool_choice,
    chat_tools,
    echo_of,
)
from serve_app.dialects.responses.stream import ResponseStream
from serve_app.dialects.validation import validate
from serve_app.errors import InvalidRequest

# Fields that only a chat has and that would contradict what is made of the Responses fields.
_CHATS_ONLY = ("messages", "max_tokens", "max_completion_tokens", "response_format", "n", "functions", "logprobs")
_NOT_IN_CHAT = frozenset(ResponsesRequest.model_fields) - {"model", "stream", "parallel_tool_calls"}
_ALSO_NOT_IN_CHAT = frozenset({"max_tool_calls"})  # counts built-in tools, of which there are none


def _random_id() -> str:
    return uuid.uuid4().hex


class ResponsesDialect:
    """`new_id` gives the unique part of ids; `now_s` is Unix time in seconds."""

    def __init__(self, new_id: Callable[[], str] = _random_id, now_s: Callable[[], float] = time.time) -> None:
        self._new_id, self._now_s = new_id, now_s

    def parse(self, body: Mapping[str, Any]) -> ChatCall:
        """Raises InvalidRequest."""
        request = validate(ResponsesRequest, body)
        for name in _CHATS_ONLY:
            if body.get(name) is not None:
                raise InvalidRequest(f"'{name}' is not a field of this route.", name)
        chat = _chat_body(request, body)
        validate(ChatRequest, chat)
        return build_call(
            chat,
            is_streaming=bool(request.stream),
            wants_usage=True,
            max_output_tokens=request.max_output_tokens,
            echo=echo_of(body),
        )

    def render(self, completion: bytes, call: ChatCall) -> bytes:
        chat = orjson.loads(completion)
        choices = chat.get("choices") or [{}]
        finish_reason = choices[0].get("finish_reason")
        return orjson.dumps(
            response_object(
                call,
                Identity(f"resp_{self._new_id()}", int(self._now_s()), chat.get("model") or call.wanted_model),
                output=output_items(choices[0].get("message") or {}, finish_reason, self._new_id),
                finish_reason=finish_reason,
                usage=chat.get("usage"),
            )
        )

    def stream(self, call: ChatCall) -> StreamRenderer:
        return ResponseStream(call, self._new_id, self._now_s)


def _chat_body(request: ResponsesRequest, body: Mapping[str, Any]) -> dict[str, Any]:
    """`metadata` stays here: chat upstreams take it only together with `store`, which the gateway never asks for."""
    chat = {name: value for name, value in body.items() if name not in _NOT_IN_CHAT | _ALSO_NOT_IN_CHAT}
    chat["messages"] = chat_messages(request)
    if request.max_output_tokens is not None:
        chat["max_completion_tokens"] = request.max_output_tokens
    if request.tools:
        chat["tools"] = chat_tools(request.tools)
    if request.tool_choice is not None and (request.tools or request.tool_choice not in ("none", "auto")):
        chat["tool_choice"] = chat_tool_choice(request.tool_choice)
    response_format = chat_response_format(request.text) if request.text is not None else None
    if response_format is not None:
        chat["response_format"] = response_format
    if request.text is not None and request.text.verbosity is not None:
        chat["verbosity"] = request.text.verbosity
    if request.reasoning is not None and request.reasoning.effort is not None:
        chat["reasoning_effort"] = request.reasoning.effort
    return chat
