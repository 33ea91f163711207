"""POST /v1/chat/completions."""

from collections.abc import Coroutine
from dataclasses import replace
from itertools import repeat
from typing import Any

from loadtests.simulator.answers import Answer
from loadtests.simulator.chat_request import BadRequest, ChatRequest, parse_chat, parse_object
from loadtests.simulator.counters import Ending, Ticket
from loadtests.simulator.damage import HTML_TYPE, Damage, behaviour_under, cut_plain, cut_stream, send_contents, strike
from loadtests.simulator.faults import Fault, UnknownFault
from loadtests.simulator.frames import DONE, StreamFrames, error_body, whole
from loadtests.simulator.pace import Pace
from loadtests.simulator.state import State
from loadtests.simulator.wire import JSON_TYPE, SSE_TYPE, Exchange

# These spoil the answer itself; of the rest, some leave none and some only change how it is sent.
CUTS = frozenset(
    {
        Fault.ERROR_AFTER_N,
        Fault.DIE_BEFORE_FIRST,
        Fault.DIE_AFTER_N,
        Fault.DIE_IN_TOOL_CALL,
        Fault.STALL_AFTER_N,
        Fault.RUBBISH_AFTER_N,
        Fault.NO_DONE,
        Fault.NEVER_FINISH,
    }
)
_STREAM_CUTS = CUTS | {Fault.NO_FINISH}
_INVENTED_TOOL = {
    "name": "simulated_tool",
    "parameters": {"type": "object", "properties": {"first": {"type": "string"}, "second": {"type": "string"}}},
}


def answer_chat(state: State, exchange: Exchange) -> Coroutine[Any, Any, None] | None:
    """Answers at once where there is nothing to wait for; otherwise returns what will answer."""
    ticket = state.open_ticket(exchange)
    try:
        request = parse_chat(parse_object(exchange.request.body))
        damage = state.damage_for(exchange.request, request.model)
    except BadRequest as error:
        reject(exchange, ticket, error.problem, error.param)
        return None
    except UnknownFault as error:
        reject(exchange, ticket, str(error), "model")
        return None
    ticket.model = request.model
    ticket.read_prompt(request.num_prompt_tokens)
    if damage is not None:
        ticket.suffer(damage.fault)
        if strike(exchange, ticket, damage, is_stream=request.is_stream):
            return None
    request = _request_under(damage, request)
    answers = _answers(state, request, damage)
    behaviour = behaviour_under(damage, state.behaviour)
    pace = Pace(behaviour, state.draw)
    if request.is_stream:
        return _stream(state, exchange, ticket, request, answers, pace, damage)
    if behaviour.ttft_ms or behaviour.tokens_per_s:
        return _plain_later(state, exchange, ticket, request, answers, pace, damage)
    _plain(state, exchange, ticket, request, answers, damage)
    return None


def reject(exchange: Exchange, ticket: Ticket, problem: str, param: str | None) -> None:
    ticket.end(Ending.REJECTED)
    exchange.respond(400, error_body(problem, "invalid_request_error", code="invalid_request", param=param))


def _request_under(damage: Damage | None, request: ChatRequest) -> ChatRequest:
    if damage is None or damage.fault is not Fault.DIE_IN_TOOL_CALL or request.tool is not None:
        return request
    return replace(request, tool=_INVENTED_TOOL)


def _answers(state: State, request: ChatRequest, damage: Damage | None) -> list[Answer]:
    if damage is not None and damage.fault is Fault.HUGE_CHUNK:
        return [Answer(list(repeat(b"huge", damage.number * 256)), "stop")]
    seed, num_tokens = state.behaviour.seed, state.behaviour.num_tokens
    return [
        state.author.write(request, choice, seed=seed, num_tokens=num_tokens) for choice in range(request.num_choices)
    ]


def _plain(
    state: State,
    exchange: Exchange,
    ticket: Ticket,
    request: ChatRequest,
    answers: list[Answer],
    damage: Damage | None,
) -> None:
    fault = None if damage is None else damage.fault
    body = whole(state.naming(request.model), request, answers, has_finish=fault is not Fault.NO_FINISH)
    if fault in CUTS:
        cut_plain(exchange, ticket, fault, body)
        return
    ticket.num_sent_tokens = sum(answer.num_tokens for answer in answers)
    ticket.end(Ending.FAILED if fault is Fault.NO_FINISH else Ending.COMPLETED)
    exchange.respond(200, body, HTML_TYPE if fault is Fault.WRONG_CONTENT_TYPE else JSON_TYPE)


async def _plain_later(
    state: State,
    exchange: Exchange,
    ticket: Ticket,
    request: ChatRequest,
    answers: list[Answer],
    pace: Pace,
    damage: Damage | None,
) -> None:
    pace.step(sum(answer.num_tokens for answer in answers))
    await pace.wait()
    _plain(state, exchange, ticket, request, answers, damage)


async def _stream(
    state: State,
    exchange: Exchange,
    ticket: Ticket,
    request: ChatRequest,
    answers: list[Answer],
    pace: Pace,
    damage: Damage | None,
) -> None:
    frames = StreamFrames(state.naming(request.model), request, answers)
    fault = None if damage is None else damage.fault
    exchange.open_stream(HTML_TYPE if fault is Fault.WRONG_CONTENT_TYPE else SSE_TYPE)
    if damage is not None and damage.fault in _STREAM_CUTS:
        await cut_stream(exchange, ticket, damage, frames, pace, state.author)
        return
    if fault is Fault.HUGE_CHUNK:
        exchange.send(frames.opening() + frames.content(0, b"".join(answers[0].pieces)))
        ticket.num_sent_tokens = answers[0].num_tokens
        await exchange.drain()
    else:
        await send_contents(exchange, ticket, frames.contents(), frames.opening(), pace)
    ticket.end(Ending.COMPLETED)
    exchange.send(frames.finish() + frames.usage() + DONE)
    exchange.end_stream()
