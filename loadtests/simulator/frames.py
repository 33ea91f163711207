"""Answers as OpenAI's JSON: whole, or as the events of a stream. Built from constant bytes."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import orjson

from loadtests.simulator.answers import Answer
from loadtests.simulator.chat_request import ChatRequest

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Naming:
    """What every frame of one answer repeats. `model` is a JSON string, quotes included."""

    number: int
    created_unix_s: int
    model: bytes

    @classmethod
    def of(cls, number: int, model: str) -> "Naming":
        return cls(number, int(time.time()), orjson.dumps(model))


def whole(naming: Naming, request: ChatRequest, answers: Sequence[Answer], *, has_finish: bool = True) -> bytes:
    """A chat.completion. Without `has_finish` every finish_reason is null."""
    choices = b",".join(_choice(at, answer, has_finish=has_finish) for at, answer in enumerate(answers))
    return b'{"id":"chatcmpl-sim-%d","object":"chat.completion","created":%d,"model":%b,"choices":[%b],"usage":%b}' % (
        naming.number,
        naming.created_unix_s,
        naming.model,
        choices,
        _usage(request, answers),
    )


def _choice(at: int, answer: Answer, *, has_finish: bool) -> bytes:
    text = b"".join(answer.pieces)
    finish = b'"%b"' % answer.finish_reason.encode() if has_finish else b"null"
    if answer.tool_name is None:
        message = b'{"role":"assistant","content":"%b","refusal":null}' % text
    else:
        message = (
            b'{"role":"assistant","content":null,"refusal":null,"tool_calls":'
            b'[{"id":"%b","type":"function","function":{"name":"%b","arguments":"%b"}}]}'
            % (answer.tool_call_id, answer.tool_name, text)
        )
    return b'{"index":%d,"message":%b,"logprobs":null,"finish_reason":%b}' % (at, message, finish)


def _usage(request: ChatRequest, answers: Sequence[Answer]) -> bytes:
    num_completion = sum(answer.num_tokens for answer in answers)
    num_prompt = request.num_prompt_tokens
    return b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}' % (
        num_prompt,
        num_completion,
        num_prompt + num_completion,
    )


class StreamFrames:
    """The SSE events of one answer, apart from one another, so that a fault can stop between any two."""

    def __init__(self, naming: Naming, request: ChatRequest, answers: Sequence[Answer]) -> None:
        self._answers, self._request = answers, request
        self._before = (
            b'data: {"id":"chatcmpl-sim-%d","object":"chat.completion.chunk","created":%d,"model":%b,"choices":['
            % (naming.number, naming.created_unix_s, naming.model)
        )
        self._after = b'],"usage":null}\n\n' if request.wants_usage else b"]}\n\n"

    def opening(self) -> bytes:
        """The role of each choice, and the head of each tool call."""
        return b"".join(self._frame(at, _opening_delta(answer)) for at, answer in enumerate(self._answers))

    def contents(self) -> Iterator[bytes]:
        """One event a token, the choices taking turns."""
        for turn in zip_longest(*(answer.pieces for answer in self._answers)):
            for at, piece in enumerate(turn):
                if piece is not None:
                    yield self.content(at, piece)

    def content(self, choice: int, piece: bytes) -> bytes:
        if self._answers[choice].tool_name is None:
            return self._frame(choice, b'{"content":"%b"}' % piece)
        return self._frame(choice, b'{"tool_calls":[{"index":0,"function":{"arguments":"%b"}}]}' % piece)

    def finish(self) -> bytes:
        """The finish_reason of each choice."""
        return b"".join(
            self._frame(at, b"{}", b'"%b"' % answer.finish_reason.encode()) for at, answer in enumerate(self._answers)
        )

    def usage(self) -> bytes:
        """The usage event, where it was asked for."""
        if not self._request.wants_usage:
            return b""
        return b'%b],"usage":%b}\n\n' % (self._before, _usage(self._request, self._answers))

    def _frame(self, choice: int, delta: bytes, finish: bytes = b"null") -> bytes:
        return b'%b{"index":%d,"delta":%b,"finish_reason":%b}%b' % (self._before, choice, delta, finish, self._after)


def _opening_delta(answer: Answer) -> bytes:
    if answer.tool_name is None:
        return b'{"role":"assistant","content":""}'
    return (
        b'{"role":"assistant","content":null,"tool_calls":'
        b'[{"index":0,"id":"%b","type":"function","function":{"name":"%b","arguments":""}}]}'
        % (answer.tool_call_id, answer.tool_name)
    )


def error_body(message: str, kind: str, *, code: str | None = None, param: str | None = None) -> bytes:
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})


def error_frame(message: str, kind: str, *, code: str) -> bytes:
    return b"data: %b\n\n" % error_body(message, kind, code=code)
