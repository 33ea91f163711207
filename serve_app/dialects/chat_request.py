"""The known fields of POST /v1/chat/completions, their types and ranges."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from serve_app.dialects.validation import (
    TEXT_OR_LIST,
    TEXT_OR_OBJECT,
    Fault,
    ListOf,
    NonEmptyListOf,
    NonEmptyStr,
    RequestModel,
)

Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
TopP = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Penalty = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]
TokenLimit = Annotated[int, Field(ge=1)]
NumAnswers = Annotated[int, Field(ge=1, le=8)]
LogitBias = Annotated[dict[str, Annotated[float, Field(ge=-100, le=100)]], Field(max_length=1024)]
Metadata = Annotated[dict[str, str], Field(max_length=16)]
Stop = Annotated[
    Annotated[str, Tag("text")] | Annotated[NonEmptyListOf[str], Field(max_length=4), Tag("list")], TEXT_OR_LIST
]


class TextPart(RequestModel):
    type: Literal["text"]
    text: str


class ImageUrl(RequestModel):
    url: NonEmptyStr
    detail: str | None = None


class ImagePart(RequestModel):
    type: Literal["image_url"]
    image_url: ImageUrl


class AudioPart(RequestModel):
    type: Literal["input_audio"]
    input_audio: dict[str, Any]


class FilePart(RequestModel):
    type: Literal["file"]
    file: dict[str, Any]


class RefusalPart(RequestModel):
    type: Literal["refusal"]
    refusal: str


UserPart = Annotated[TextPart | ImagePart | AudioPart | FilePart, Discriminator("type")]
AssistantPart = Annotated[TextPart | RefusalPart, Discriminator("type")]
TextContent = Annotated[Annotated[str, Tag("text")] | Annotated[NonEmptyListOf[TextPart], Tag("list")], TEXT_OR_LIST]
UserContent = Annotated[Annotated[str, Tag("text")] | Annotated[NonEmptyListOf[UserPart], Tag("list")], TEXT_OR_LIST]
AssistantContent = Annotated[
    Annotated[str, Tag("text")] | Annotated[NonEmptyListOf[AssistantPart], Tag("list")], TEXT_OR_LIST
]


class CalledFunction(RequestModel):
    name: NonEmptyStr
    arguments: str


class FunctionCall(RequestModel):
    id: str
    type: Literal["function"]
    function: CalledFunction


class CustomCall(RequestModel):
    id: str
    type: Literal["custom"]
    custom: dict[str, Any]


ToolCall = Annotated[FunctionCall | CustomCall, Discriminator("type")]


class GuidingMessage(RequestModel):
    role: Literal["system", "developer"]
    content: TextContent


class UserMessage(RequestModel):
    role: Literal["user"]
    content: UserContent


class AssistantMessage(RequestModel):
    role: Literal["assistant"]
    content: AssistantContent | None = None
    refusal: str | None = None
    tool_calls: NonEmptyListOf[ToolCall] | None = None
    function_call: CalledFunction | None = None
    audio: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "AssistantMessage":
        said = (self.content, self.refusal, self.tool_calls, self.function_call, self.audio)
        if all(each is None for each in said):
            raise Fault("is required where the message has no tool calls.", "content")
        return self


class ToolMessage(RequestModel):
    role: Literal["tool"]
    content: TextContent
    tool_call_id: str


class FunctionMessage(RequestModel):
    role: Literal["function"]
    content: TextContent | None
    name: NonEmptyStr


Message = Annotated[
    GuidingMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage, Discriminator("role")
]


class Function(RequestModel):
    name: NonEmptyStr
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(RequestModel):
    type: Literal["function"]
    function: Function


class CustomTool(RequestModel):
    type: Literal["custom"]
    custom: dict[str, Any]


Tool = Annotated[FunctionTool | CustomTool, Discriminator("type")]


class NamedFunction(RequestModel):
    name: NonEmptyStr


class FunctionChoice(RequestModel):
    type: Literal["function"]
    function: NamedFunction


class CustomChoice(RequestModel):
    type: Literal["custom"]
    custom: NamedFunction


class AllowedToolsChoice(RequestModel):
    type: Literal["allowed_tools"]
    allowed_tools: dict[str, Any]


ToolChoiceWord = Annotated[Literal["none", "auto", "required"], Tag("text")]
ToolChoiceObject = Annotated[FunctionChoice | CustomChoice | AllowedToolsChoice, Discriminator("type")]
ToolChoice = Annotated[ToolChoiceWord | Annotated[ToolChoiceObject, Tag("object")], TEXT_OR_OBJECT]


class JsonSchema(RequestModel):
    name: NonEmptyStr
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class TextFormat(RequestModel):
    type: Literal["text"]


class JsonObjectFormat(RequestModel):
    type: Literal["json_object"]


class JsonSchemaFormat(RequestModel):
    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Discriminator("type")]


class StreamOptions(RequestModel):
    include_usage: bool | None = None


class ChatRequest(RequestModel):
    model: NonEmptyStr
    messages: NonEmptyListOf[Message]
    temperature: Temperature | None = None
    top_p: TopP | None = None
    n: NumAnswers | None = None
    max_tokens: TokenLimit | None = None
    max_completion_tokens: TokenLimit | None = None
    stop: Stop | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: NonEmptyListOf[Tool] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: NonEmptyListOf[Function] | None = None
    response_format: ResponseFormat | None = None
    seed: int | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: LogitBias | None = None
    metadata: Metadata | None = None
    modalities: ListOf[str] | None = None
    reasoning_effort: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    user: str | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> "ChatRequest":
        if self.stream_options is not None and not self.stream:
            raise Fault("is only allowed when 'stream' is true.", "stream_options")
        if self.top_logprobs is not None and not self.logprobs:
            raise Fault("is only allowed when 'logprobs' is true.", "top_logprobs")
        if self.tool_choice not in (None, "none") and not self.tools:
            raise Fault("is only allowed when 'tools' are given.", "tool_choice")
        return self
