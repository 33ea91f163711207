"""What the gateway reads in an upstream's chunks and answers: content, usage, and errors that come as JSON.

Invariant: whatever bytes come, the result is a Chunk, an ErrorChunk or a MalformedChunk.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from serve_app.contracts.attempt import Usage
from serve_app.contracts.chat import Chunk

_CHARS_PER_TOKEN = 4  # the usual rule of thumb for English; only used where the upstream did not count
_MAX_MESSAGE_CHARS = 500
_MAX_CHOICES = 128
_CALLERS_FAULT_STATUSES = frozenset({400, 404, 413, 422})
_CALLERS_FAULT_WORDS = frozenset(
    {
        "invalid_request_error",
        "badrequesterror",
        "notfounderror",
        "unprocessableentityerror",
        "context_length_exceeded",
        "content_policy_violation",
    }
)


@dataclass(frozen=True, slots=True)
class UpstreamComplaint:
    """An error as an upstream words it. `status_code` is None where it told none; `message` has at most 500 characters.

    `is_callers_fault`: the upstream blames the request (400, 404, 413, 422, or a type that means one of these), so that
    no other upstream should be tried.
    """

    status_code: int | None
    code: str | None
    message: str
    param: str | None
    is_callers_fault: bool


class MalformedChunk(ValueError):
    """The payload is not a chat.completion.chunk. `problem` is one of a few fixed sentences."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class ErrorChunk(ValueError):
    """The upstream put an error where a chunk was expected."""

    def __init__(self, complaint: UpstreamComplaint) -> None:
        super().__init__(complaint)
        self.complaint = complaint

    def __str__(self) -> str:
        return "the upstream sent an error in its stream"


def read_chunk(data: bytes) -> Chunk:
    """Raises MalformedChunk or ErrorChunk. A role alone, or an empty delta, is no content."""
    try:
        parsed = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise MalformedChunk("the payload is not JSON") from None
    if not isinstance(parsed, dict):
        raise MalformedChunk("the payload is not a JSON object")
    complaint = read_complaint(parsed)
    if complaint is not None:
        raise ErrorChunk(complaint)
    usage = read_usage(parsed)
    choices = parsed.get("choices")
    if choices is None and usage is not None:
        choices = []
    if not isinstance(choices, list):
        raise MalformedChunk("the payload has no list of choices")
    has_content, finish_reason = False, None
    for choice in choices:
        delta, reason = _read_choice(choice)
        has_content = has_content or delta_has_content(delta)
        finish_reason = finish_reason or reason
    return Chunk(data, parsed, has_content, finish_reason, usage)


def _read_choice(choice: Any) -> tuple[Mapping[str, Any], str | None]:
    if not isinstance(choice, dict):
        raise MalformedChunk("a choice is not an object")
    index = choice.get("index", 0)
    if not isinstance(index, int) or not 0 <= index < _MAX_CHOICES:
        raise MalformedChunk("a choice's index is not a small number")
    delta, reason = choice.get("delta"), choice.get("finish_reason")
    if delta is not None and not isinstance(delta, dict):
        raise MalformedChunk("a choice's delta is not an object")
    if reason is not None and not isinstance(reason, str):
        raise MalformedChunk("a finish_reason is not a string")
    return delta or {}, reason or None


def delta_has_content(delta: Mapping[str, Any]) -> bool:
    """Whether a caller would see, hear or act on something in this delta."""
    get = delta.get
    return bool(
        get("content")
        or get("tool_calls")
        or get("reasoning_content")
        or get("reasoning")
        or get("refusal")
        or get("function_call")
        or get("audio")
    )


def read_complaint(body: Mapping[str, Any], status_code: int | None = None) -> UpstreamComplaint | None:
    """The error in a stream's payload or in an HTTP answer's body; None when there is none.

    Knows `{"error": {…}}`, `{"error": "…"}` and vLLM's flat `{"object": "error", …}`. `status_code` is HTTP's, where it
    says more than 200; otherwise a number in the body's `code` or `status` counts.
    """
    error = body.get("error")
    if not error:
        if body.get("object") != "error":
            return None
        error = body
    if not isinstance(error, Mapping):
        error = {"message": error}
    code, message, param = error.get("code"), error.get("message"), error.get("param")
    status = status_code or _as_status(code) or _as_status(error.get("status"))
    words = {str(word).lower() for word in (code, error.get("type")) if isinstance(word, str)}
    return UpstreamComplaint(
        status_code=status,
        code=code if isinstance(code, str) else None,
        message=message[:_MAX_MESSAGE_CHARS] if isinstance(message, str) else "The upstream gave no reason.",
        param=param if isinstance(param, str) else None,
        is_callers_fault=status in _CALLERS_FAULT_STATUSES if status else bool(words & _CALLERS_FAULT_WORDS),
    )


def _as_status(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 400 <= value <= 599:
        return None
    return value


def read_usage(completion: Mapping[str, Any]) -> Usage | None:
    """The upstream's own count in an answer or a chunk; None where it is missing or makes no sense."""
    usage = completion.get("usage")
    if not isinstance(usage, Mapping):
        return None
    num_input, num_output = _as_count(usage.get("prompt_tokens")), _as_count(usage.get("completion_tokens", 0))
    if num_input is None or num_output is None:
        return None
    return Usage(num_input, num_output, is_estimated=False)


def _as_count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def estimate_usage(num_prompt_tokens: int, num_output_chars: int) -> Usage:
    """About four characters a token, rounded up: what an attempt is billed with when the upstream did not count."""
    return Usage(num_prompt_tokens, -(-num_output_chars // _CHARS_PER_TOKEN), is_estimated=True)


def count_answer_chars(completion: Mapping[str, Any]) -> int:
    """Characters of content, refusal, reasoning and tool calls in all choices of a whole chat.completion."""
    choices = completion.get("choices")
    if not isinstance(choices, list):
        return 0
    messages = (choice.get("message") for choice in choices if isinstance(choice, dict))
    return sum(count_delta_chars(message) for message in messages if isinstance(message, dict))


def count_delta_chars(delta: Mapping[str, Any]) -> int:
    """Characters of content, refusal, reasoning and tool calls in one delta or message."""
    reasoning = delta.get("reasoning_content") or delta.get("reasoning")
    num_chars = _num_chars(delta.get("content")) + _num_chars(delta.get("refusal")) + _num_chars(reasoning)
    calls = delta.get("tool_calls")
    functions = [call.get("function") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    for function in (*functions, delta.get("function_call")):
        if isinstance(function, dict):
            num_chars += _num_chars(function.get("name")) + _num_chars(function.get("arguments"))
    return num_chars


def _num_chars(value: object) -> int:
    """Some providers send content as a list of parts; a part's JSON is near enough for an estimate."""
    if isinstance(value, str):
        return len(value)
    return len(orjson.dumps(value)) if isinstance(value, list) else 0
