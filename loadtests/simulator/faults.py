"""The faults by name, and how one request orders one.

An order comes from the header `X-Sim-Fault: die_after_n; n=3`, or from the model name `sim-fault-die_after_n-3` where a
gateway in between forwards no headers, or from the behaviour that holds for every request.
"""

import re
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """What goes wrong; the comment says what the order's number means where it means anything."""

    REFUSE = "refuse"
    HANG = "hang"
    HTTP_500 = "http_500"
    HTTP_503 = "http_503"  # Retry-After in seconds
    RATE_LIMITED = "rate_limited"  # Retry-After in seconds
    RATE_LIMITED_DATE = "rate_limited_date"  # seconds from now, sent as an HTTP date
    UNAUTHORIZED = "unauthorized"
    BAD_REQUEST = "bad_request"
    ERROR_IN_200 = "error_in_200"
    ERROR_AFTER_N = "error_after_n"  # content chunks before it
    EMPTY = "empty"
    WRONG_CONTENT_TYPE = "wrong_content_type"
    DIE_BEFORE_FIRST = "die_before_first"
    DIE_AFTER_N = "die_after_n"  # content chunks before it
    DIE_IN_TOOL_CALL = "die_in_tool_call"  # pieces of the tool call's arguments before it
    STALL_AFTER_N = "stall_after_n"  # content chunks before it
    RUBBISH = "rubbish"
    RUBBISH_AFTER_N = "rubbish_after_n"  # content chunks before it
    NO_DONE = "no_done"
    NO_FINISH = "no_finish"
    NEVER_FINISH = "never_finish"
    SLOW_DRIP = "slow_drip"  # milliseconds for each token
    HUGE_CHUNK = "huge_chunk"  # KiB of text in the one chunk


MAX_NUMBER = 1_000_000
_HEADER = re.compile(r"\s*([a-z0-9_]+)\s*(?:;\s*n\s*=\s*(\d{1,7})\s*)?")
_MODEL = re.compile(r"sim-fault-([a-z0-9_]+?)(?:-(\d{1,7}))?")


class UnknownFault(ValueError):
    """The name is of no fault, or the order is not of the stated form."""


@dataclass(frozen=True, slots=True)
class FaultOrder:
    """One fault for one request. `number` is None where the fault's own default holds."""

    fault: Fault
    number: int | None = None


def order_from_header(value: str) -> FaultOrder:
    """`NAME` or `NAME; n=NUMBER`. Raises UnknownFault."""
    match = _HEADER.fullmatch(value)
    if match is None:
        raise UnknownFault("X-Sim-Fault must read 'NAME' or 'NAME; n=NUMBER'")
    return _order(match[1], match[2])


def order_from_model(model: str) -> FaultOrder | None:
    """The order in `sim-fault-NAME` or `sim-fault-NAME-NUMBER`; None for every other model. Raises UnknownFault."""
    if not model.startswith("sim-fault-"):
        return None
    match = _MODEL.fullmatch(model)
    if match is None:
        raise UnknownFault("a model that orders a fault must read 'sim-fault-NAME' or 'sim-fault-NAME-NUMBER'")
    return _order(match[1], match[2])


def _order(name: str, number: str | None) -> FaultOrder:
    try:
        fault = Fault(name)
    except ValueError:
        raise UnknownFault(f"no fault is called {name!r}; there are: {', '.join(Fault)}") from None
    return FaultOrder(fault, None if number is None else min(int(number), MAX_NUMBER))
