"""A Responses request, and the chat it is.

The gateway keeps no state: what would need some is refused. `store` is accepted and never done (the answer says
`"store": false`). Reasoning items handed back by the caller are left out: a chat has no place for them.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from serve_app.dialects.chat_request import JsonObjectFormat, Metadata, TextFormat, TokenLimit
from serve_app.dialects.validation import (
    TEXT_OR_LIST,
    TEXT_OR_OBJECT,
    Fault,
    ListOf,
    NonEmptyListOf,
    NonEmptyStr,
    RequestModel,
)

_NO_STATE = "is not supported: the gateway keeps no state between requests. Send the whole conversation in 'input'."
_NEEDS_STATE = ("previous_response_id", "conversation", "prompt")
_LOGPROBS = "message.output_text.logprobs"


class InputText(RequestModel):
    type: Literal["input_text", "output_text"]
    text: str


class InputImage(RequestModel):
    type: Literal["input_image"]
    image_url: NonEmptyStr
    detail: str | None = None


class Refusal(RequestModel):
    type: Literal["refusal"]
    refusal: str


Part = Annotated[InputText | InputImage | Refusal, Discriminator("type")]
Text = Annotated[Annotated[str, Tag("text")] | Annotated[NonEmptyListOf[InputText], Tag("list")], TEXT_OR_LIST]
Content = Annotated[Annotated[str, Tag("text")] | Annotated[NonEmptyListOf[Part], Tag("list")], TEXT_OR_LIST]


class MessageItem(RequestModel):
    type: Literal["message"]
    role: Literal["user", "assistant", "system", "developer"]
    content: Content

    @model_validator(mode="after")
    def _parts_suit_the_role(self) -> "MessageItem":
        if isinstance(self.content, str):
            return self
        for part in self.content:
            if isinstance(part, InputImage) and self.role != "user":
                raise Fault("may hold images only where the role is 'user'.", "content")
            if isinstance(part, Refusal) and self.role != "assistant":
                raise Fault("may hold a refusal only where the role is 'assistant'.", "content")
        return self


class FunctionCallItem(RequestModel):
    type: Literal["function_call"]
    call_id: NonEmptyStr
    name: NonEmptyStr
    arguments: str


class FunctionOutputItem(RequestModel):
    type: Literal["function_call_output"]
    call_id: NonEmptyStr
    output: Text


class ReasoningItem(RequestModel):
    type: Literal["reasoning"]


def _with_type(item: Any) -> Any:
    """Clients may leave out the type of a message."""
    return {"type": "message", **item} if isinstance(item, dict) else item


Item = Annotated[
    MessageItem | FunctionCallItem | FunctionOutputItem | ReasoningItem,
    Discriminator("type"),
]
Input = Annotated[
    Annotated[str, Tag("text")] | Annotated[NonEmptyListOf[Annotated[Item, BeforeValidator(_with_type)]], Tag("list")],
    TEXT_OR_LIST,
]


class FunctionTool(RequestModel):
    """Built-in tools would run outside the gateway's sight: functions of the caller's are the only kind."""

    type: Literal["function"]
    name: NonEmptyStr
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionChoice(RequestModel):
    type: Literal["function"]
    name: NonEmptyStr


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("text")] | Annotated[FunctionChoice, Tag("object")],
    TEXT_OR_OBJECT,
]


class JsonSchemaFormat(RequestModel):
    type: Literal["json_schema"]
    name: NonEmptyStr
    schema_: dict[str, Any] = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


class TextOptions(RequestModel):
    format: Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Discriminator("type")] | None = None
    verbosity: str | None = None


class Reasoning(RequestModel):
    effort: str | None = None


class ResponsesRequest(RequestModel):
    """The fields that a chat does not have or spells otherwise; the others are checked as the chat's."""

    model: NonEmptyStr
    input: Input
    instructions: str | None = None
    max_output_tokens: TokenLimit | None = None
    tools: ListOf[FunctionTool] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: Reasoning | None = None
    metadata: Metadata | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    store: bool | None = None
    background: bool | None = None
    include: ListOf[str] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    top_logprobs: int | None = None
    previous_response_id: Any = None
    conversation: Any = None
    prompt: Any = None

    @model_validator(mode="after")
    def _can_be_done_here(self) -> "ResponsesRequest":
        for name in _NEEDS_STATE:
            if getattr(self, name) is not None:
                raise Fault(_NO_STATE, name)
        if self.background:
            raise Fault(_NO_STATE, "background")
        if self.truncation == "auto":
            raise Fault("must be 'disabled': the gateway does not shorten a conversation.", "truncation")
        if self.top_logprobs:
            raise Fault("is not supported on this route; use /v1/chat/completions.", "top_logprobs")
        if self.include and _LOGPROBS in self.include:
            raise Fault("asks for log probabilities, which this route does not give.", "include")
        if self.stream_options is not None and not self.stream:
            raise Fault("is only allowed when 'stream' is true.", "stream_options")
        if isinstance(self.input, list) and all(isinstance(item, ReasoningItem) for item in self.input):
            raise Fault("must hold a message.", "input")
        return self


def chat_messages(request: ResponsesRequest) -> list[dict[str, Any]]:
    """The instructions as a system message, then the items; calls that follow an assistant's message are part of it."""
    messages: list[dict[str, Any]] = []
    if request.instructions:
        messages.append({"role": "system", "content": request.instructions})
    if isinstance(request.input, str):
        return [*messages, {"role": "user", "content": request.input}]
    for item in request.input:
        match item:
            case MessageItem():
                messages.append(_message(item))
            case FunctionCallItem():
                _add_call(messages, item)
            case FunctionOutputItem():
                messages.append({"role": "tool", "tool_call_id": item.call_id, "content": _joined(item.output)})
    return messages


def _message(item: MessageItem) -> dict[str, Any]:
    if isinstance(item.content, str):
        return {"role": item.role, "content": item.content}
    parts = [_part(part) for part in item.content]
    if len(parts) == 1 and parts[0]["type"] == "text":
        return {"role": item.role, "content": parts[0]["text"]}
    return {"role": item.role, "content": parts}


def _part(part: InputText | InputImage | Refusal) -> dict[str, Any]:
    if isinstance(part, InputText):
        return {"type": "text", "text": part.text}
    if isinstance(part, Refusal):
        return {"type": "refusal", "refusal": part.refusal}
    image = {"url": part.image_url} | ({"detail": part.detail} if part.detail else {})
    return {"type": "image_url", "image_url": image}


def _add_call(messages: list[dict[str, Any]], item: FunctionCallItem) -> None:
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    call = {"id": item.call_id, "type": "function", "function": {"name": item.name, "arguments": item.arguments}}
    messages[-1].setdefault("tool_calls", []).append(call)


def _joined(text: str | list[InputText]) -> str:
    return text if isinstance(text, str) else "".join(part.text for part in text)


def chat_tools(tools: Iterable[FunctionTool]) -> list[dict[str, Any]]:
    return [{"type": "function", "function": tool.model_dump(exclude={"type"}, exclude_none=True)} for tool in tools]


def chat_tool_choice(choice: str | FunctionChoice) -> str | dict[str, Any]:
    return choice if isinstance(choice, str) else {"type": "function", "function": {"name": choice.name}}


def chat_response_format(text: TextOptions) -> dict[str, Any] | None:
    """None where plain text is wanted."""
    match text.format:
        case JsonSchemaFormat() as wanted:
            schema = wanted.model_dump(exclude={"type"}, exclude_none=True, by_alias=True)
            return {"type": "json_schema", "json_schema": schema}
        case JsonObjectFormat():
            return {"type": "json_object"}
        case _:
            return None


def echo_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a Response repeats of a valid request, in its own spelling; what was left out has the API's default."""
    reasoning, text = body.get("reasoning") or {}, body.get("text") or {}
    return {
        "background": False,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "metadata": body.get("metadata") or {},
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "previous_response_id": None,
        "reasoning": {"effort": reasoning.get("effort"), "summary": None},
        "store": False,
        "temperature": body.get("temperature"),
        "text": {"format": text.get("format") or {"type": "text"}},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_p": body.get("top_p"),
        "truncation": "disabled",
    }
