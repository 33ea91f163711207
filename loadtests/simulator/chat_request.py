"""What the simulator reads in a chat.completions body."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from loadtests.simulator.tokens import count_message_tokens, text_of

MAX_CHOICES = 32


class BadRequest(ValueError):
    """The body is not a chat request; `param` names the field."""

    def __init__(self, problem: str, param: str | None = None) -> None:
        super().__init__(problem, param)
        self.problem, self.param = problem, param


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """`tool` is the function to call instead of answering in text; an answer in JSON satisfies `json_schema`."""

    model: str
    prompt: str
    num_prompt_tokens: int
    is_stream: bool
    wants_usage: bool
    num_choices: int
    max_tokens: int | None
    tool: Mapping[str, Any] | None
    json_schema: Mapping[str, Any] | None


def parse_object(body: bytes) -> dict[str, Any]:
    """Raises BadRequest unless `body` is a JSON object."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadRequest("the body is not JSON") from None
    if not isinstance(parsed, dict):
        raise BadRequest("the body is not a JSON object")
    return parsed


def parse_chat(body: Mapping[str, Any]) -> ChatRequest:
    """Raises BadRequest."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise BadRequest("messages must be a list of at least one object", "messages")
    prompt = text_of(messages[-1])
    options = body.get("stream_options")
    return ChatRequest(
        model=_model(body),
        prompt=prompt,
        num_prompt_tokens=count_message_tokens(messages),
        is_stream=body.get("stream") is True,
        wants_usage=isinstance(options, dict) and options.get("include_usage") is True,
        num_choices=_whole_number(body, "n", MAX_CHOICES) or 1,
        max_tokens=_whole_number(body, "max_completion_tokens") or _whole_number(body, "max_tokens"),
        tool=_tool_to_call(body, prompt, str(messages[-1].get("role"))) if body.get("tools") else None,
        json_schema=_json_schema(body),
    )


def _model(body: Mapping[str, Any]) -> str:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest("model must be a string", "model")
    return model


def _whole_number(body: Mapping[str, Any], key: str, highest: int = 1_000_000) -> int | None:
    value = body.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= highest:
        raise BadRequest(f"{key} must be a whole number from 1 to {highest}", key)
    return value


def _tool_to_call(body: Mapping[str, Any], prompt: str, last_role: str) -> Mapping[str, Any] | None:
    """Required or named tools are called; with `auto`, when the last message is the user's and speaks of a tool."""
    functions = [_function(tool) for tool in _as_sequence(body["tools"])]
    choice = body.get("tool_choice", "auto")
    if isinstance(choice, dict):
        wanted = _function(choice)["name"]
        named = [function for function in functions if function["name"] == wanted]
        if not named:
            raise BadRequest("tool_choice names a function that is not in tools", "tool_choice")
        return named[0]
    if choice == "required":
        return functions[0]
    if choice == "none" or last_role != "user":
        return None
    asked = [function for function in functions if function["name"] in prompt]
    if asked:
        return asked[0]
    return functions[0] if "tool" in prompt.lower() else None


def _as_sequence(tools: object) -> Sequence[object]:
    if not isinstance(tools, list):
        raise BadRequest("tools must be a list", "tools")
    return tools


def _function(tool: object) -> Mapping[str, Any]:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BadRequest("a tool must hold a function with a name", "tools")
    return function


def _json_schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    wanted = body.get("response_format")
    if wanted is None:
        return None
    if not isinstance(wanted, dict):
        raise BadRequest("response_format must be an object", "response_format")
    if wanted.get("type") == "json_object":
        return {"type": "object", "properties": {"simulated": {"type": "boolean"}}}
    if wanted.get("type") != "json_schema":
        return None
    holder = wanted.get("json_schema")
    schema = holder.get("schema") if isinstance(holder, dict) else None
    if not isinstance(schema, dict):
        raise BadRequest("json_schema must hold a schema", "response_format")
    return schema
