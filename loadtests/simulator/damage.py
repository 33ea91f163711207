"""What each fault does: `strike` leaves no answer at all, `cut_plain` spoils a whole one, `cut_stream` a stream."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate
from itertools import chain, count, islice

from loadtests.simulator.answers import Author
from loadtests.simulator.behaviour import Behaviour
from loadtests.simulator.counters import Ending, Ticket
from loadtests.simulator.faults import Fault, FaultOrder
from loadtests.simulator.frames import DONE, StreamFrames, error_body, error_frame
from loadtests.simulator.pace import Pace
from loadtests.simulator.wire import JSON_TYPE, SSE_TYPE, Exchange, Header

RUBBISH = b"\x00\xff\xfe<html>{not json: data; \r\r\n\n" * 8
HTML_TYPE = b"text/html; charset=utf-8"
_SLOW_DRIP_MS = 500
_HUGE_CHUNK_KIB = 1024
_NEVER_FINISH_TOKENS_PER_S = 1000.0
_BATCH = 16

_STATUSES = {
    Fault.HTTP_500: (500, "server_error", "simulated_failure"),
    Fault.HTTP_503: (503, "server_error", "simulated_overload"),
    Fault.RATE_LIMITED: (429, "rate_limit_error", "rate_limit_exceeded"),
    Fault.RATE_LIMITED_DATE: (429, "rate_limit_error", "rate_limit_exceeded"),
    Fault.UNAUTHORIZED: (401, "authentication_error", "invalid_api_key"),
    Fault.BAD_REQUEST: (400, "invalid_request_error", "simulated_rejection"),
}


@dataclass(frozen=True, slots=True)
class Damage:
    """A fault with its number settled."""

    fault: Fault
    number: int

    @classmethod
    def of(cls, order: FaultOrder, behaviour: Behaviour) -> "Damage":
        if order.number is not None:
            return cls(order.fault, order.number)
        match order.fault:
            case Fault.RATE_LIMITED | Fault.RATE_LIMITED_DATE | Fault.HTTP_503:
                return cls(order.fault, behaviour.retry_after_s)
            case Fault.SLOW_DRIP:
                return cls(order.fault, _SLOW_DRIP_MS)
            case Fault.HUGE_CHUNK:
                return cls(order.fault, _HUGE_CHUNK_KIB)
            case _:
                return cls(order.fault, behaviour.fault_after_chunks)


def strike(exchange: Exchange, ticket: Ticket, damage: Damage, *, is_stream: bool) -> bool:
    """Applies a fault that leaves no answer; False when this is not one of those."""
    media_type = SSE_TYPE if is_stream else JSON_TYPE
    match damage.fault:
        case Fault.HANG:
            return True  # the ticket ends when the client leaves
        case Fault.REFUSE:
            exchange.reset()
        case Fault.EMPTY:
            exchange.respond(200, b"", media_type)
        case Fault.RUBBISH:
            exchange.respond(200, RUBBISH, media_type)
        case Fault.ERROR_IN_200 if is_stream:
            exchange.respond(200, _error_event(), media_type)
        case Fault.ERROR_IN_200:
            exchange.respond(200, error_body("Simulated failure.", "server_error", code="simulated_failure"))
        case Fault.DIE_BEFORE_FIRST if is_stream:
            exchange.open_stream()
            exchange.reset_after_flush()
        case fault if fault in _STATUSES:
            status, kind, code = _STATUSES[fault]
            body = error_body(f"Simulated fault: {fault}.", kind, code=code)
            exchange.respond(status, body, headers=_retry_after(damage))
        case _:
            return False
    ticket.end(Ending.FAILED)
    return True


def cut_plain(exchange: Exchange, ticket: Ticket, fault: Fault, body: bytes) -> None:
    """Half of a body that was announced whole, and then what the fault says. A cut answer counts no tokens."""
    first = b"" if fault is Fault.DIE_BEFORE_FIRST else body[: len(body) // 2]
    if fault is Fault.RUBBISH_AFTER_N:
        exchange.respond(200, first + RUBBISH)
        ticket.end(Ending.FAILED)
        return
    exchange.open_body(200, len(body), first)
    if fault in (Fault.STALL_AFTER_N, Fault.NEVER_FINISH):
        return  # the ticket ends when the client leaves
    ticket.end(Ending.FAILED)
    if fault is Fault.NO_DONE:
        exchange.close()
    else:
        exchange.reset_after_flush()


async def cut_stream(
    exchange: Exchange, ticket: Ticket, damage: Damage, frames: StreamFrames, pace: Pace, author: Author
) -> None:
    """The stream up to where the fault says, and then what it says."""
    contents = frames.contents()
    match damage.fault:
        case Fault.NO_DONE | Fault.NO_FINISH:
            await send_contents(exchange, ticket, contents, frames.opening(), pace)
            if damage.fault is Fault.NO_FINISH:
                exchange.send(DONE)
            exchange.end_stream()
        case Fault.NEVER_FINISH:
            endless = (frames.content(0, author.endless(at)) for at in count())
            await send_contents(exchange, ticket, chain(contents, endless), frames.opening(), pace)
        case fault:
            await send_contents(exchange, ticket, islice(contents, damage.number), frames.opening(), pace)
            _break_off(exchange, fault)
            if fault is Fault.STALL_AFTER_N:
                await asyncio.Event().wait()  # until the client leaves
    ticket.end(Ending.FAILED)


def _break_off(exchange: Exchange, fault: Fault) -> None:
    match fault:
        case Fault.ERROR_AFTER_N:
            exchange.send(_error_event())
            exchange.end_stream()
        case Fault.RUBBISH_AFTER_N:
            exchange.send(RUBBISH)
            exchange.end_stream()
        case Fault.DIE_AFTER_N | Fault.DIE_IN_TOOL_CALL:
            exchange.reset_after_flush()
        case _:
            return


async def send_contents(
    exchange: Exchange, ticket: Ticket, contents: Iterator[bytes], opening: bytes, pace: Pace
) -> None:
    """The events at their pace: one at a time, or some together when there is no pace. Counts what was sent."""
    await pace.wait()
    exchange.send(opening)
    batch_size = 1 if pace.has_gaps else _BATCH
    while batch := list(islice(contents, batch_size)):
        await pace.wait()
        exchange.send(b"".join(batch))
        ticket.num_sent_tokens += len(batch)
        pace.step()
        await exchange.drain()


def behaviour_under(damage: Damage | None, behaviour: Behaviour) -> Behaviour:
    """The behaviour with the pace that a fault asks for."""
    if damage is None:
        return behaviour
    if damage.fault is Fault.SLOW_DRIP:
        return behaviour.model_copy(update={"tokens_per_s": 1000.0 / max(1, damage.number)})
    if damage.fault is Fault.NEVER_FINISH and not behaviour.tokens_per_s:
        return behaviour.model_copy(update={"tokens_per_s": _NEVER_FINISH_TOKENS_PER_S})
    return behaviour


def _error_event() -> bytes:
    return error_frame("Simulated failure.", "server_error", code="simulated_failure")


def _retry_after(damage: Damage) -> tuple[Header, ...]:
    match damage.fault:
        case Fault.RATE_LIMITED | Fault.HTTP_503:
            return ((b"Retry-After", b"%d" % damage.number),)
        case Fault.RATE_LIMITED_DATE:
            return ((b"Retry-After", formatdate(time.time() + damage.number, usegmt=True).encode()),)
        case _:
            return ()
