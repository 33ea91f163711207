"""POST /v1/completions, for clients that know nothing else.

Every tier serves instruct models, so the prompt becomes one user turn of a chat and the answer's content becomes the
text. What only a bare language model could do (continue a suffix, echo, token ids) is refused and never left out
silently. Where `max_tokens` is missing the tier's own limit holds, and not the 16 tokens of OpenAI's old models.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from pydantic import Tag, model_validator

from serve_app.contracts.chat import ChatCall, Chunk, StreamRenderer
from serve_app.dialects.chat import ChatDialect
from serve_app.dialects.framing import DONE_FRAME, error_frame, frame
from serve_app.dialects.validation import TEXT_OR_LIST, Fault, NonEmptyListOf, NonEmptyStr, RequestModel, validate
from serve_app.errors import GatewayError

_NOT_IN_CHAT = frozenset({"prompt", "suffix", "echo", "best_of", "logprobs"})
_NOT_ON_THIS_ROUTE = ("suffix", "echo", "logprobs", "tools", "functions")


class CompletionRequest(RequestModel):
    """The fields that a chat does not have, or that its answer could not be told in; the others are the chat's."""

    model: NonEmptyStr
    prompt: Annotated[Annotated[NonEmptyStr, Tag("text")] | Annotated[NonEmptyListOf[Any], Tag("list")], TEXT_OR_LIST]
    suffix: str | None = None
    echo: bool | None = None
    best_of: int | None = None
    logprobs: int | None = None
    tools: Any = None
    functions: Any = None

    @model_validator(mode="after")
    def _can_be_a_chat(self) -> "CompletionRequest":
        if isinstance(self.prompt, list):
            _check_prompts(self.prompt)
        if self.best_of not in (None, 1):
            raise Fault("must be 1.", "best_of")
        for name in _NOT_ON_THIS_ROUTE:
            value = getattr(self, name)
            if value is not None and value is not False:
                raise Fault("is not supported on this route.", name)
        return self

    @property
    def prompt_text(self) -> str:
        return self.prompt if isinstance(self.prompt, str) else str(self.prompt[0])


def _check_prompts(prompts: list[Any]) -> None:
    if not all(isinstance(prompt, str) for prompt in prompts):
        raise Fault("must be text; token ids are not supported.", "prompt")
    if len(prompts) > 1:
        raise Fault("may hold one prompt only.", "prompt")
    if not prompts[0]:
        raise Fault("must not be empty.", "prompt")


class CompletionsDialect:
    def parse(self, body: Mapping[str, Any]) -> ChatCall:
        """Raises InvalidRequest."""
        request = validate(CompletionRequest, body)
        chat = {name: value for name, value in body.items() if name not in _NOT_IN_CHAT}
        chat["messages"] = [{"role": "user", "content": request.prompt_text}]
        return ChatDialect().parse(chat)

    def render(self, completion: bytes, call: ChatCall) -> bytes:
        chat = orjson.loads(completion)
        choices = [_choice(choice, choice.get("message") or {}) for choice in chat.get("choices") or ()]
        answer = _envelope(chat, call) | {"choices": choices}
        if chat.get("usage"):
            answer["usage"] = chat["usage"]
        return orjson.dumps(answer)

    def stream(self, call: ChatCall) -> StreamRenderer:
        return CompletionStream(call)


class CompletionStream:
    """A text_completion for every chunk that has text or an end in it, and one for the usage if it was asked for."""

    def __init__(self, call: ChatCall) -> None:
        self._call = call

    def feed(self, chunk: Chunk) -> bytes:
        choices = [_choice(choice, choice.get("delta") or {}) for choice in chunk.parsed.get("choices") or ()]
        choices = [choice for choice in choices if choice["text"] or choice["finish_reason"]]
        usage = chunk.parsed["usage"] if chunk.usage is not None and self._call.wants_usage else None
        if not choices and usage is None:
            return b""
        answer = _envelope(chunk.parsed, self._call) | {"choices": choices}
        if usage is not None:
            answer["usage"] = usage
        return frame(orjson.dumps(answer))

    def finish(self) -> bytes:
        return DONE_FRAME

    def fail(self, error: GatewayError) -> bytes:
        return error_frame(error)


def _envelope(chat: Mapping[str, Any], call: ChatCall) -> dict[str, Any]:
    return {
        "id": "cmpl-" + str(chat.get("id", "")).removeprefix("chatcmpl-"),
        "object": "text_completion",
        "created": chat.get("created", 0),
        "model": chat.get("model", call.wanted_model),
    }


def _choice(choice: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "index": choice.get("index", 0),
        "text": said.get("content") or said.get("refusal") or "",
        "logprobs": None,
        "finish_reason": choice.get("finish_reason"),
    }
