"""The promises, each a pure function from what was seen to the violations of it. An empty list is a promise kept."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from loadtests.chaos.books import Balance, Call, Row
from loadtests.chaos.plan import confidential_in
from loadtests.chaos.record import Record
from loadtests.chaos.script import Script

DEADLINE_GRACE_S = 1.0
STOP_WITHIN_S = 1.0
NOTICED_WITHIN_S = 0.25
ERROR_TYPES = frozenset({"caller_error", "policy_refusal", "capacity", "upstream_error", "gateway_error"})
STATUSES = frozenset({200, 400, 401, 403, 404, 405, 409, 413, 429, 502, 503, 504})
"""The contract's."""
WITH_RETRY_AFTER = frozenset({429, 503})


@dataclass(frozen=True, slots=True)
class Violation:
    promise: str
    request_id: str
    what: str


def ends_in_time(records: Iterable[Record]) -> list[Violation]:
    """Every request ends inside its deadline + DEADLINE_GRACE_S."""
    return [
        Violation("ends_in_time", record.plan.request_id, f"{record.elapsed_s:.2f} s of {record.plan.deadline_s} s")
        for record in records
        if record.elapsed_s > record.plan.deadline_s + DEADLINE_GRACE_S
    ]


def answers_or_typed_errors(
    records: Iterable[Record], statuses: frozenset[int] = STATUSES, *, killed_at_s: Sequence[float] = ()
) -> list[Violation]:
    """Every request whose client stayed gets a whole answer, or an error of OpenAI's shape with a contracted status.

    `killed_at_s`: when ingress replicas were killed. Of what ran in one of them a stream that had begun cannot be told
    so in its own words any more, and HAProxy closes a client's connection without a word where it had already served a
    request on it: there, and only there, a cut connection is an end. The report counts them.
    """
    found = []
    for record in records:
        if record.left_s is not None:
            continue
        what = _untyped(record, statuses, killed_at_s)
        if what is not None:
            found.append(Violation("answers_or_typed_errors", record.plan.request_id, what))
    return found


def _untyped(record: Record, statuses: frozenset[int], killed_at_s: Sequence[float]) -> str | None:
    if record.cut is not None:
        if was_running_at(record, killed_at_s):
            return None
        return f"the connection was cut: {record.cut} (status {record.status})"
    if record.problem is not None:
        return f"status {record.status}: {record.problem}"
    # HAProxy speaks for a router that died: to the caller that is a defect of the gateway, told in its own words.
    is_of_the_dead = record.status == 500 and was_running_at(record, killed_at_s)
    if record.status not in statuses and not is_of_the_dead:
        return f"status {record.status}, code {record.error_code}"
    if record.error is not None:
        return _misshapen(record.error)
    if record.status != 200:
        return f"status {record.status} without an error"
    if not record.is_done:
        return "the stream ended without [DONE] and without an error"
    return None


def _misshapen(error: object) -> str | None:
    if not isinstance(error, dict) or not {"message", "type", "code", "param"} <= error.keys():
        return "the error is not of OpenAI's shape"
    if error["type"] not in ERROR_TYPES:
        return f"unknown error type {error['type']!r}"
    if not isinstance(error["message"], str) or not isinstance(error["code"], str):
        return "an error without a message or a code"
    return None


def was_running_at(record: Record, moments_s: Sequence[float]) -> bool:
    """Also what was sent within NOTICED_WITHIN_S after it: until HAProxy notices, it hands requests to the dead."""
    return any(record.started_s - NOTICED_WITHIN_S <= moment_s <= record.ended_s for moment_s in moments_s)


def tells_when_to_come_back(records: Iterable[Record]) -> list[Violation]:
    """429 and 503 carry Retry-After, in whole seconds of at least one."""
    return [
        Violation("tells_when_to_come_back", record.plan.request_id, f"status {record.status}, Retry-After {value!r}")
        for record in records
        if record.status in WITH_RETRY_AFTER
        and not ((value := record.headers.get("retry-after", "")).isdigit() and int(value) >= 1)
    ]


def no_false_stops(records: Iterable[Record], script: Script) -> list[Violation]:
    """What ends with a finish reason, or plainly with [DONE], is all that its upstream had to say."""
    return [
        Violation(
            "no_false_stops",
            record.plan.request_id,
            f"{record.upstream}: {record.finish_reason} after {len(record.text)} characters",
        )
        for record in records
        if _claims_whole(record) and record.upstream is not None and script.knows(record.upstream)
        if not script.is_whole(record.plan, record.upstream, record.text)
    ]


def _claims_whole(record: Record) -> bool:
    is_plainly_done = record.plan.is_stream and record.is_done and record.error is None
    return record.status == 200 and (record.finish_reason is not None or is_plainly_done)


def no_switches(records: Iterable[Record], script: Script) -> list[Violation]:
    """The text of one answer comes from the one upstream that its head names, from its beginning on."""
    return [
        Violation("no_switches", record.plan.request_id, f"not the words of {record.upstream}: {record.text[:80]!r}")
        for record in records
        if record.text and record.upstream is not None and script.knows(record.upstream)
        if not script.is_beginning(record.plan, record.upstream, record.text)
    ]


def books_agree(balance: Balance) -> list[Violation]:
    """The difference between the ledger and the simulators is 0, and completed answers have the same tokens in both."""
    name = "books_agree"
    found = [
        Violation(name, call.request_id or "", f"a call of {call.simulator} without a row")
        for call in balance.calls_without_row
    ]
    found += [
        Violation(name, row.request_id, f"a row of {row.upstream} without a call: {row.outcome}, {row.error_code}")
        for row in balance.rows_without_call
    ]
    found += [Violation(name, row.request_id, f"two rows with the id {row.id}") for row in balance.doubled_rows]
    for pair in balance.completed:
        if not pair.is_equal:
            ledger = (pair.row.num_input_tokens, pair.row.num_output_tokens)
            simulator = (pair.call.num_prompt_tokens, pair.call.num_completion_tokens)
            found.append(Violation(name, pair.row.request_id, f"tokens: ledger {ledger}, simulator {simulator}"))
    return found


def stays_in_its_places(calls: Iterable[Call]) -> list[Violation]:
    """No simulated cloud has ever seen a confidential request: neither its id nor the marker in its prompt."""
    return [
        Violation("stays_in_its_places", call.request_id or "", f"seen by {call.simulator}")
        for call in calls
        if call.has_marker or confidential_in(call.request_id)
    ]


def answers_come_from_allowed_places(records: Iterable[Record], clouds: frozenset[str]) -> list[Violation]:
    """No answer to a confidential request names a cloud."""
    return [
        Violation("answers_come_from_allowed_places", record.plan.request_id, f"answered by {record.upstream}")
        for record in records
        if record.plan.is_confidential and record.status == 200 and record.upstream in clouds
    ]


def stops_for_who_left(records: Iterable[Record], calls: Iterable[Call]) -> list[Violation]:
    """The upstream of a client that left stops within STOP_WITHIN_S. A call without an end never stopped."""
    left_s = {record.plan.request_id: record.left_s for record in records if record.left_s is not None}
    found = []
    for call in calls:
        gone_s = left_s.get(call.request_id or "")
        if gone_s is None:
            continue
        if call.ended_s is None or call.ended_s > gone_s + STOP_WITHIN_S:
            after = "never" if call.ended_s is None else f"{call.ended_s - gone_s:.2f} s after its client left"
            found.append(Violation("stops_for_who_left", call.request_id or "", f"{call.simulator} stopped {after}"))
    return found


def only_what_was_in_hand_fails(records: Iterable[Record], killed_at_s: Sequence[float]) -> list[Violation]:
    """A killed ingress replica takes with it what it held; what comes later is served."""
    return [
        Violation("only_what_was_in_hand_fails", record.plan.request_id, f"status {record.status}, {record.cut}")
        for record in records
        if not was_running_at(record, killed_at_s)
        and (record.cut is not None or record.status in (500, 502, 504))
        and record.left_s is None
    ]


def budget_holds(rows: Iterable[Row], tenant: str, budget_usd: float) -> list[Violation]:
    """What a tenant spent is past its budget by at most the dearest one request."""
    spent: dict[str, float] = {}
    for row in rows:
        if row.tenant == tenant:
            spent[row.request_id] = spent.get(row.request_id, 0.0) + row.cost_usd
    total_usd, dearest_usd = sum(spent.values()), max(spent.values(), default=0.0)
    if total_usd - budget_usd <= dearest_usd + 1e-9:
        return []
    return [Violation("budget_holds", "", f"{tenant} spent {total_usd:.6f} USD of {budget_usd} USD")]


def refuses_past_the_budget(records: Sequence[Record]) -> list[Violation]:
    """Racing callers that are all answered raced for nothing: the race proves something only if some are refused."""
    if any(record.status in (403, 429) for record in records) and any(record.is_answered for record in records):
        return []
    return [Violation("refuses_past_the_budget", "", "nobody was refused, or nobody was answered")]


def spills_what_may_leave(records: Sequence[Record], clouds: frozenset[str]) -> list[Violation]:
    """While the local tier is gone, public requests are answered by clouds, and what must stay is told to come back."""
    name = "spills_what_may_leave"
    found = []
    if not any(each.plan.model == "auto" and each.is_answered and each.upstream in clouds for each in records):
        found.append(Violation(name, "", "no public request was answered by a cloud"))
    if not any(each.plan.is_confidential and each.status == 503 for each in records):
        found.append(Violation(name, "", "no confidential request was told that the local tier is gone"))
    return found


def fault_struck(calls: Iterable[Call], faults: Iterable[str]) -> list[Violation]:
    """A scenario proves nothing unless each of its faults befell at least one call."""
    seen = {call.fault for call in calls}
    return [Violation("fault_struck", "", f"{fault} befell no call") for fault in faults if fault not in seen]


def all_answered(records: Iterable[Record]) -> list[Violation]:
    """Where nothing is wrong, everybody is answered, but for those that may not have what they ask for."""
    return [
        Violation("all_answered", record.plan.request_id, f"status {record.status}, {record.error_code}, {record.cut}")
        for record in records
        if not record.is_answered and not (record.plan.is_confidential and record.status in (403, 503))
    ]


def one_of_each(violations: Iterable[Violation]) -> list[Violation]:
    """The first violation of every promise that was broken."""
    first: dict[str, Violation] = {}
    for violation in violations:
        first.setdefault(violation.promise, violation)
    return list(first.values())


def count_by_promise(violations: Iterable[Violation]) -> Mapping[str, int]:
    counts: dict[str, int] = {}
    for violation in violations:
        counts[violation.promise] = counts.get(violation.promise, 0) + 1
    return counts
