"""An attempt as one line of the journal, and back.

A line is a JSON array: version, whether the row is final, then the attempt's values in a fixed order. The order of a
version never changes; another order is another version, and lines of every version that was released stay readable.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from serve_app.contracts.attempt import Attempt, Usage
from serve_app.contracts.vocabulary import DataClass, Outcome, Place, Reason, Tier

VERSION = 1
_NUMBER = (int, float)
_SHAPE: tuple[type | tuple[type, ...], ...] = (
    *(int, bool, str, str, int, str, int, str, str, str, str, str),
    *(int, int, bool, _NUMBER, str, (str, type(None)), _NUMBER, _NUMBER, (int, float, type(None))),
)


@dataclass(frozen=True, slots=True)
class Row:
    """`is_final`: how the attempt ended. Otherwise it had only begun, and its outcome is `abandoned`."""

    attempt: Attempt
    is_final: bool


class UnreadableRow(ValueError):
    """Cut off, damaged, or of a version that this release does not know."""


def to_line(attempt: Attempt, *, is_final: bool) -> bytes:
    """One line with its newline. Raises TypeError for text that is not Unicode and for integers over 64 bits."""
    usage = attempt.usage
    return orjson.dumps(
        (
            VERSION,
            is_final,
            attempt.id,
            attempt.request_id,
            attempt.number,
            attempt.tenant_id,
            attempt.tier,
            attempt.upstream_id,
            attempt.model,
            attempt.place,
            attempt.reason,
            attempt.data_class,
            usage.num_input_tokens,
            usage.num_output_tokens,
            usage.is_estimated,
            attempt.cost_usd,
            attempt.outcome,
            attempt.error_code,
            attempt.started_at_unix_s,
            attempt.elapsed_s,
            attempt.ttft_s,
        ),
        option=orjson.OPT_APPEND_NEWLINE,
    )


def from_line(line: bytes) -> Row:
    """Raises UnreadableRow."""
    try:
        values: Any = orjson.loads(line)
    except orjson.JSONDecodeError as damage:
        raise UnreadableRow("not JSON") from damage
    if not isinstance(values, list) or not values or values[0] != VERSION:
        raise UnreadableRow("unknown version")
    if len(values) != len(_SHAPE) or not all(isinstance(*pair) for pair in zip(values, _SHAPE, strict=True)):
        raise UnreadableRow("unknown shape")
    try:
        return Row(_attempt(values), values[1])
    except ValueError as unknown:
        raise UnreadableRow("unknown word") from unknown


def _attempt(values: list[Any]) -> Attempt:
    """Raises ValueError for a word outside its closed set."""
    return Attempt(
        id=values[2],
        request_id=values[3],
        number=values[4],
        tenant_id=values[5],
        tier=Tier(values[6]),
        upstream_id=values[7],
        model=values[8],
        place=Place(values[9]),
        reason=Reason(values[10]),
        data_class=DataClass(values[11]),
        usage=Usage(values[12], values[13], values[14]),
        cost_usd=values[15],
        outcome=Outcome(values[16]),
        error_code=values[17],
        started_at_unix_s=values[18],
        elapsed_s=values[19],
        ttft_s=values[20],
    )
