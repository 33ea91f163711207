"""A chat in the middle of its way: the call every dialect is parsed into, and the chunks every answer is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from serve_app.contracts.assessment import Turn
from serve_app.contracts.attempt import Usage
from serve_app.contracts.vocabulary import Capability
from serve_app.errors import GatewayError


@dataclass(frozen=True, slots=True)
class ChatCall:
    """A validated request, whatever route it came by.

    `body` is a chat.completions body (or an embeddings body) as it may be sent to an upstream, its `model` still the
    caller's word. `wants_usage` says whether the caller asked a stream for its usage chunk. `echo` holds what the
    route's answer repeats of the request; it goes back to the caller and to nobody else.
    """

    body: Mapping[str, Any]
    wanted_model: str
    is_streaming: bool
    wants_usage: bool
    needs: frozenset[Capability]
    turns: tuple[Turn, ...]
    num_prompt_tokens: int
    max_output_tokens: int | None
    echo: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chat.completion.chunk: the bytes as they came, and what the gateway reads in them."""

    data: bytes
    parsed: Mapping[str, Any]
    has_content: bool
    finish_reason: str | None
    usage: Usage | None


class StreamRenderer(Protocol):
    """Turns chunks into the SSE frames of one route. Holds the state of one stream and does no I/O."""

    def feed(self, chunk: Chunk) -> bytes:
        """Frames for one chunk, possibly none."""
        ...

    def finish(self) -> bytes:
        """Frames that end a complete stream (`[DONE]` included where the route has one)."""
        ...

    def fail(self, error: GatewayError) -> bytes:
        """Frames that end a broken stream: a typed error, and never a false end."""
        ...


class Dialect(Protocol):
    """One route's way of asking and answering."""

    def parse(self, body: Mapping[str, Any]) -> ChatCall:
        """Raises InvalidRequest, whose `param` names the field."""
        ...

    def render(self, completion: bytes, call: ChatCall) -> bytes:
        """The route's JSON answer to `call` from a chat.completion (a JSON object)."""
        ...

    def stream(self, call: ChatCall) -> StreamRenderer: ...
