"""Two accounts of the same calls, the gateway's ledger and the simulators' journals, and their difference.

They are joined by the attempt's id, which the gateway sends with each call; a call without one is joined by its request
and upstream. Every call must have exactly one row, and every row a call, but for rows that say that nothing was sent.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

COMPLETED, CANCELLED, ABANDONED, TIMED_OUT, FAILED = "completed", "cancelled", "abandoned", "timed_out", "failed"
LOCAL = "local"
NOT_SENT = frozenset({"upstream_unreachable", "upstream_full", "upstream_cold"})
"""Error codes of rows whose upstream was never called."""


class UnreadableBooks(ValueError):
    """An export or a journal is not of the agreed form."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the ledger."""

    id: str
    request_id: str
    upstream: str
    tenant: str
    place: str
    reason: str
    outcome: str
    error_code: str | None
    num_input_tokens: int
    num_output_tokens: int
    cost_usd: float


@dataclass(frozen=True, slots=True)
class Call:
    """A call as its simulator journalled it. `ending` and `ended_s` are None where the simulator died with it."""

    simulator: str
    request_id: str | None
    attempt: str | None
    has_marker: bool
    started_s: float
    ending: str | None = None
    ended_s: float | None = None
    fault: str | None = None
    num_prompt_tokens: int = 0
    num_completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Allowances:
    """What a scenario's rows without a call may say, because its fault leaves it to chance whether a call arrives."""

    outcomes: frozenset[str] = frozenset()
    error_codes: frozenset[str] = frozenset()

    def cover(self, row: Row) -> bool:
        """Nothing that was answered is ever covered."""
        return row.num_output_tokens == 0 and (row.outcome in self.outcomes or row.error_code in self.error_codes)


@dataclass(frozen=True, slots=True)
class TokenPair:
    """Tokens in and out, as the ledger and as the simulator counted them."""

    row: Row
    call: Call

    @property
    def difference(self) -> int:
        """Completion tokens: ledger less simulator."""
        return self.row.num_output_tokens - self.call.num_completion_tokens

    @property
    def is_equal(self) -> bool:
        return self.difference == 0 and self.row.num_input_tokens == self.call.num_prompt_tokens


@dataclass(frozen=True, slots=True)
class Balance:
    """The difference of the two accounts. `never_sent` and `allowed` are rows without a call that need none."""

    pairs: Sequence[TokenPair]
    calls_without_row: Sequence[Call]
    rows_without_call: Sequence[Row]
    never_sent: Sequence[Row]
    allowed: Sequence[Row]
    local: Sequence[Row]
    doubled_rows: Sequence[Row]

    @property
    def completed(self) -> list[TokenPair]:
        return [pair for pair in self.pairs if pair.row.outcome == COMPLETED and pair.call.ending == COMPLETED]

    @property
    def broken(self) -> list[TokenPair]:
        return [pair for pair in self.pairs if not (pair.row.outcome == COMPLETED and pair.call.ending == COMPLETED)]

    @property
    def is_even(self) -> bool:
        return not (self.calls_without_row or self.rows_without_call or self.doubled_rows)

    def as_json(self) -> dict[str, object]:
        broken = [pair.difference for pair in self.broken]
        return {
            "calls": len(self.pairs) + len(self.calls_without_row),
            "rows": sum(map(len, (self.pairs, self.rows_without_call, self.never_sent, self.allowed, self.local))),
            "joined": len(self.pairs),
            "calls_without_row": len(self.calls_without_row),
            "rows_without_call": len(self.rows_without_call),
            "doubled_rows": len(self.doubled_rows),
            "rows_never_sent": len(self.never_sent),
            "rows_that_may_not_have_arrived": len(self.allowed),
            "local_rows": len(self.local),
            "completed_with_unequal_tokens": sum(not pair.is_equal for pair in self.completed),
            "broken": len(broken),
            "broken_token_difference_sum": sum(broken),
            "broken_token_difference_absolute": sum(map(abs, broken)),
        }


def reconcile(rows: Iterable[Row], calls: Iterable[Call], allowances: Allowances | None = None) -> Balance:
    """Both must be of the same requests. Rows of local models have no simulator and stay apart."""
    may_miss = allowances or Allowances()
    unique, doubled = _unique(rows)
    outside = [row for row in unique if row.place != LOCAL]
    pairs, calls_left, rows_left = _join(outside, list(calls))
    sorted_rows: dict[str, list[Row]] = defaultdict(list)
    for row in rows_left:
        sorted_rows[_kind_of_callless(row, may_miss)].append(row)
    return Balance(
        pairs=pairs,
        calls_without_row=calls_left,
        rows_without_call=sorted_rows["missing"],
        never_sent=sorted_rows["never_sent"],
        allowed=sorted_rows["allowed"],
        local=[row for row in unique if row.place == LOCAL],
        doubled_rows=doubled,
    )


def _unique(rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    seen: Counter[str] = Counter()
    unique: list[Row] = []
    doubled: list[Row] = []
    for row in rows:
        seen[row.id] += 1
        (unique if seen[row.id] == 1 else doubled).append(row)
    return unique, doubled


def _join(rows: Sequence[Row], calls: Sequence[Call]) -> tuple[list[TokenPair], list[Call], list[Row]]:
    by_id = {row.id: row for row in rows}
    by_request: dict[tuple[str | None, str], list[Row]] = defaultdict(list)
    pairs: list[TokenPair] = []
    calls_left: list[Call] = []
    nameless = [call for call in calls if call.attempt is None]
    for call in calls:
        if call.attempt is None:
            continue
        row = by_id.pop(call.attempt, None)
        if row is None or row.upstream != call.simulator:
            calls_left.append(call)
        else:
            pairs.append(TokenPair(row, call))
    for row in by_id.values():
        by_request[row.request_id, row.upstream].append(row)
    for call in nameless:
        candidates = by_request[call.request_id, call.simulator]
        if candidates:
            pairs.append(TokenPair(candidates.pop(0), call))
        else:
            calls_left.append(call)
    return pairs, calls_left, [row for rows_left in by_request.values() for row in rows_left]


def _kind_of_callless(row: Row, allowances: Allowances) -> str:
    if row.outcome == FAILED and row.error_code in NOT_SENT:
        return "never_sent"
    # A hedge that lost before its call was on its way.
    if row.reason == "hedged" and row.outcome == CANCELLED and row.num_output_tokens == 0:
        return "allowed"
    return "allowed" if allowances.cover(row) else "missing"


def read_export(body: bytes) -> list[Row]:
    """The ledger's JSON export: one object a line. Raises UnreadableBooks."""
    try:
        return [_row(orjson.loads(line)) for line in body.splitlines() if line.strip()]
    except orjson.JSONDecodeError as error:
        raise UnreadableBooks(f"the export is not JSON: {error}") from None
    except KeyError as error:
        raise UnreadableBooks(f"the export has no {error}") from None


def _row(raw: Mapping[str, Any]) -> Row:
    """The cost is exported as a decimal text."""
    return Row(
        id=raw["id"],
        request_id=raw["request_id"],
        upstream=raw["upstream"],
        tenant=raw["tenant"],
        place=raw["place"],
        reason=raw["reason"],
        outcome=raw["outcome"],
        error_code=raw["error_code"],
        num_input_tokens=raw["num_input_tokens"],
        num_output_tokens=raw["num_output_tokens"],
        cost_usd=float(raw["cost_usd"]),
    )


@dataclass(slots=True)
class JournalReader:
    """Reads a journal that still grows: each `read` takes what was added. A call keeps its place when it ends."""

    path: Path
    _calls: dict[tuple[str, int], Call] = field(default_factory=dict)
    _offset: int = 0

    def read(self) -> list[Call]:
        """All calls so far, in the order they began. Raises UnreadableBooks when the journal ran full."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._offset)
                added = file.read()
            complete = added[: added.rfind(b"\n") + 1]
            self._offset += len(complete)
            for line in complete.splitlines():
                self._take(orjson.loads(line))
        return list(self._calls.values())

    def _take(self, line: Mapping[str, Any]) -> None:
        if line["event"] == "full":
            raise UnreadableBooks(f"{self.path.name} ran full: its calls cannot be counted")
        self._calls[line["run"], line["call"]] = Call(
            simulator=line["simulator"],
            request_id=line["request_id"],
            attempt=line["attempt"],
            has_marker=line["has_marker"],
            started_s=line["started_s"],
            ending=line.get("ending"),
            ended_s=line.get("ended_s"),
            fault=line.get("fault"),
            num_prompt_tokens=line.get("prompt_tokens", 0),
            num_completion_tokens=line.get("completion_tokens", 0),
        )
