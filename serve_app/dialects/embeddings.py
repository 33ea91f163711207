"""POST /v1/embeddings: checked, and handed on as it came. It has no turns, no stream and no output tokens."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, Tag, model_validator

from serve_app.contracts.chat import ChatCall, StreamRenderer
from serve_app.contracts.vocabulary import Capability
from serve_app.dialects.prompt import num_utf8_bytes, tokens_in
from serve_app.dialects.validation import TEXT_OR_LIST, Fault, NonEmptyListOf, NonEmptyStr, RequestModel, validate
from serve_app.errors import InternalError

_MAX_INPUTS = 2048


class EmbeddingsRequest(RequestModel):
    model: NonEmptyStr
    input: Annotated[Annotated[NonEmptyStr, Tag("text")] | Annotated[NonEmptyListOf[Any], Tag("list")], TEXT_OR_LIST]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None
    user: str | None = None

    @model_validator(mode="after")
    def _input_is_of_one_kind(self) -> "EmbeddingsRequest":
        if isinstance(self.input, list):
            _check_inputs(self.input)
        return self


class EmbeddingsDialect:
    def parse(self, body: Mapping[str, Any]) -> ChatCall:
        """Raises InvalidRequest."""
        request = validate(EmbeddingsRequest, body)
        return ChatCall(
            body=body,
            wanted_model=request.model,
            is_streaming=False,
            wants_usage=False,
            needs=frozenset({Capability.EMBEDDINGS}),
            turns=(),
            num_prompt_tokens=_count_tokens(request.input),
            max_output_tokens=None,
        )

    def render(self, completion: bytes, call: ChatCall) -> bytes:
        return completion

    def stream(self, call: ChatCall) -> StreamRenderer:
        """Embeddings are not streamed: no call of this route says that it is."""
        raise InternalError


def _check_inputs(inputs: list[Any]) -> None:
    """`map` and `set` keep a list of a million token ids cheap. A bool is no token id."""
    kinds = set(map(type, inputs))
    if kinds == {int}:
        _check_token_ids(inputs)
        return
    if kinds not in ({str}, {list}):
        raise Fault("must be a string, a list of strings, or lists of token ids.", "input")
    if len(inputs) > _MAX_INPUTS:
        raise Fault(f"must have a length of at most {_MAX_INPUTS}.", "input")
    if not all(inputs):
        raise Fault("must hold nothing empty.", "input")
    if kinds == {list}:
        for token_ids in inputs:
            if set(map(type, token_ids)) != {int}:
                raise Fault("must be a string, a list of strings, or lists of token ids.", "input")
            _check_token_ids(token_ids)


def _check_token_ids(token_ids: list[int]) -> None:
    if min(token_ids) < 0:
        raise Fault("must hold no negative token id.", "input")


def _count_tokens(inputs: str | list[Any]) -> int:
    """Token ids are counted, text is estimated at 4 UTF-8 bytes a token."""
    if isinstance(inputs, str):
        return tokens_in(num_utf8_bytes(inputs))
    if isinstance(inputs[0], int):
        return len(inputs)
    if isinstance(inputs[0], list):
        return sum(map(len, inputs))
    return sum(tokens_in(num_utf8_bytes(text)) for text in inputs)
