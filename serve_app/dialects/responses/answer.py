"""The parts of a Response: its frame, its output items, its usage."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serve_app.contracts.chat import ChatCall

_INCOMPLETE_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}


@dataclass(frozen=True, slots=True)
class Identity:
    """What all snapshots of one Response share. `created_at` is Unix time in whole seconds."""

    id: str
    created_at: int
    model: str


def status_of(finish_reason: str | None) -> str:
    return "incomplete" if finish_reason in _INCOMPLETE_REASONS else "completed"


def response_object(
    call: ChatCall,
    identity: Identity,
    *,
    output: Sequence[Mapping[str, Any]] = (),
    status: str | None = None,
    finish_reason: str | None = None,
    usage: Mapping[str, Any] | None = None,
    error: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """`status` follows from `finish_reason` where it is None; `usage` is a chat's."""
    incomplete_reason = _INCOMPLETE_REASONS.get(finish_reason or "")
    return {
        "id": identity.id,
        "object": "response",
        "created_at": identity.created_at,
        "status": status or status_of(finish_reason),
        "error": error,
        "incomplete_details": {"reason": incomplete_reason} if incomplete_reason else None,
        "model": identity.model,
        "output": list(output),
        "usage": response_usage(usage) if usage else None,
        **call.echo,
    }


def output_items(
    message: Mapping[str, Any], finish_reason: str | None, new_id: Callable[[], str]
) -> list[dict[str, Any]]:
    """The items of a whole chat message: its text or refusal, then its function calls. Nothing said, no item."""
    status = status_of(finish_reason)
    parts = []
    if message.get("content"):
        parts.append(text_part(message["content"]))
    if message.get("refusal"):
        parts.append(refusal_part(message["refusal"]))
    items = [message_item(f"msg_{new_id()}", parts, status)] if parts else []
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        call_id = call.get("id") or f"call_{new_id()}"
        name, arguments = function.get("name", ""), function.get("arguments", "")
        items.append(call_item(f"fc_{new_id()}", call_id, name=name, arguments=arguments, status=status))
    return items


def text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def refusal_part(refusal: str) -> dict[str, Any]:
    return {"type": "refusal", "refusal": refusal}


def message_item(item_id: str, parts: Sequence[Mapping[str, Any]], status: str) -> dict[str, Any]:
    return {"id": item_id, "type": "message", "role": "assistant", "status": status, "content": list(parts)}


def call_item(item_id: str, call_id: str, *, name: str, arguments: str, status: str) -> dict[str, Any]:
    return {
        "id": item_id,
        "type": "function_call",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        "status": status,
    }


def response_usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    """A chat's usage in the words of a Response; details that the upstream did not give are 0."""
    num_input, num_output = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    of_input, of_output = usage.get("prompt_tokens_details") or {}, usage.get("completion_tokens_details") or {}
    return {
        "input_tokens": num_input,
        "input_tokens_details": {
            "cached_tokens": of_input.get("cached_tokens") or 0,
            "cache_write_tokens": of_input.get("cache_write_tokens") or 0,
        },
        "output_tokens": num_output,
        "output_tokens_details": {"reasoning_tokens": of_output.get("reasoning_tokens") or 0},
        "total_tokens": usage.get("total_tokens") or num_input + num_output,
    }
