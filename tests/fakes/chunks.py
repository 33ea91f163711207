"""Payloads as an upstream sends them."""

from typing import Any

import orjson


def chunk(delta: dict[str, Any] | None = None, finish_reason: str | None = None, *, index: int = 0) -> bytes:
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish_reason}
    return orjson.dumps({"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]})


def content(text: str) -> bytes:
    return chunk({"content": text})


def usage_chunk(num_input_tokens: int, num_output_tokens: int) -> bytes:
    usage = {"prompt_tokens": num_input_tokens, "completion_tokens": num_output_tokens}
    return orjson.dumps({"object": "chat.completion.chunk", "choices": [], "usage": usage})


ROLE = chunk({"role": "assistant", "content": ""})
FINISH = chunk(finish_reason="stop")
USAGE = usage_chunk(7, 3)
WHOLE_STREAM = (ROLE, content("Hel"), content("lo"), FINISH, USAGE)
"""A complete answer: `Hello`, 7 tokens in, 3 out."""

SERVER_ERROR_CHUNK = orjson.dumps({"error": {"message": "overloaded", "type": "server_error", "code": 503}})
REJECTION_CHUNK = orjson.dumps(
    {"error": {"message": "bad tool", "type": "invalid_request_error", "code": 400, "param": "tools"}}
)


def completion(text: str, *, usage: tuple[int, int] | None = (7, 3)) -> bytes:
    message = {"role": "assistant", "content": text}
    whole: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
    if usage is not None:
        whole["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return orjson.dumps(whole)
