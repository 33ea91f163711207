"""What the simulator says: the same for the same seed and prompt, and plainly not the work of a model."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from loadtests.simulator.chat_request import ChatRequest
from loadtests.simulator.schema import example_of
from loadtests.simulator.tokens import split_tokens

_PROSE = (
    " Every word of it comes from a fixed text that is read from another place for another prompt."
    " It has the length that was asked for and it arrives at the pace that was set."
    " Nobody should take advice from it, since nothing was weighed and nothing was understood."
    " A load test needs bytes that look like an answer, and these are such bytes."
    " When the end of the text is reached, reading goes on from its beginning."
)


@dataclass(frozen=True, slots=True)
class Answer:
    """One choice. A piece is one token, escaped as the inside of a JSON string, so that joined pieces are the whole.

    `tool_name` is None for an answer in text; otherwise the pieces are the call's arguments.
    """

    pieces: Sequence[bytes]
    finish_reason: str
    tool_name: bytes | None = None
    tool_call_id: bytes = b""

    @property
    def num_tokens(self) -> int:
        return len(self.pieces)


class Author:
    """Writes answers. Everything that does not depend on the request is made once."""

    def __init__(self, name: str) -> None:
        self._opening = escape_pieces(f"Simulated answer from {name}: no model wrote this.")
        words = split_tokens(_PROSE)
        self._ring = escape_pieces(_PROSE)
        self._word_starts = [at for at, token in enumerate(words) if token.startswith(" ")]

    def write(self, request: ChatRequest, choice: int, *, seed: int, num_tokens: int) -> Answer:
        """The answer of one choice; `num_tokens` is its natural length, which `request.max_tokens` may cut."""
        draw = zlib.crc32(request.prompt.encode(), seed + 7919 * choice)
        if request.tool is not None:
            return _tool_call(request.tool, draw)
        limit = request.max_tokens
        if request.json_schema is not None:
            pieces: Sequence[bytes] = escape_pieces(orjson.dumps(example_of(request.json_schema)).decode())
            num_natural = len(pieces)
        else:
            num_natural = num_tokens
            pieces = self._text(draw, num_natural if limit is None else min(num_natural, limit))
        if limit is None or limit >= num_natural:
            return Answer(pieces, "stop")
        return Answer(pieces[:limit], "length")

    def endless(self, at: int) -> bytes:
        """The piece at any place of an answer that does not end."""
        return self._ring[at % len(self._ring)]

    def _text(self, draw: int, num_tokens: int) -> Sequence[bytes]:
        num_left = num_tokens - len(self._opening)
        if num_left <= 0:
            return self._opening[:num_tokens]
        start = self._word_starts[draw % len(self._word_starts)]
        pieces = self._opening + self._ring[start : start + num_left]
        while len(pieces) < num_tokens:
            pieces += self._ring[: num_tokens - len(pieces)]
        return pieces


def escape_pieces(text: str) -> list[bytes]:
    """The tokens of `text`, each as the inside of a JSON string."""
    return [orjson.dumps(token)[1:-1] for token in split_tokens(text)]


def _tool_call(function: Mapping[str, Any], draw: int) -> Answer:
    arguments = orjson.dumps(example_of(function.get("parameters") or {})).decode()
    name = orjson.dumps(function["name"])[1:-1]
    return Answer(escape_pieces(arguments), "tool_calls", tool_name=name, tool_call_id=b"call_sim%08x" % draw)
