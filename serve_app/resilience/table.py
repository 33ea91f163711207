"""The one table that says what follows from an upstream's failure: for the request, and for the circuit breaker.

Invariants: every GatewayError has a row, the first that fits; what an upstream blames on the request never counts
against it. docs/failover.md is this table for operators.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from serve_app.errors import (
    DeadlineExceeded,
    EgressForbidden,
    GatewayError,
    UpstreamBroken,
    UpstreamCold,
    UpstreamFailed,
    UpstreamFull,
    UpstreamRefused,
    UpstreamRejectedRequest,
    UpstreamTimedOut,
    UpstreamUnreachable,
)
from serve_app.resilience.retry_after import MAX_RETRY_AFTER_S

SHORT_PAUSE_S = 0.25
"""Before the same upstream is called again, on top of a pause that it announced: by then its circuit is half-open."""
UNPAID_PAUSE_S = 300.0
"""An account without money is filled by a person."""


class UpstreamKind(StrEnum):
    LOCAL = "local"
    CLOUD = "cloud"


class Action(StrEnum):
    """SURFACE: the caller is told. FAIL_OVER: the next candidate; when none is left, give up.

    RETRY_ALONE: the next candidate; when none is left, the same upstream once more, inside the deadline.
    """

    SURFACE = "surface"
    FAIL_OVER = "fail_over"
    RETRY_ALONE = "retry_alone"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows. For the breaker: the failure counts (and may trip at once), or it is a success, or it says nothing.

    Seconds: `wait_s` before the same upstream is called again for this request, 0 where it is not; `opens_for_s` for
    which its circuit is opened at least.
    """

    action: Action
    counts: bool = False
    trips: bool = False
    is_success: bool = False
    wait_s: float = 0.0
    opens_for_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """One line. It fits an error of its class with one of these details and one of these statuses; empty means any.

    `pauses`: where the failure counts, a Retry-After opens the circuit for at least that long.
    """

    name: str
    error: type[GatewayError]
    local: Verdict
    cloud: Verdict
    details: frozenset[str] = frozenset()
    statuses: frozenset[int] = frozenset()
    pauses: bool = False

    def fits(self, error: GatewayError) -> bool:
        if not isinstance(error, self.error):
            return False
        if self.details and not (isinstance(error, UpstreamFailed) and error.detail in self.details):
            return False
        return not self.statuses or (isinstance(error, UpstreamRefused) and error.status in self.statuses)


def judge(error: GatewayError, kind: UpstreamKind) -> Verdict:
    """What follows from this failure of an upstream of this kind. An announced pause is bounded by an hour."""
    row = row_of(error)
    verdict = row.local if kind is UpstreamKind.LOCAL else row.cloud
    announced_s = min(max(0.0, error.retry_after_s or 0.0), MAX_RETRY_AFTER_S)
    if verdict.action is Action.RETRY_ALONE:
        verdict = replace(verdict, wait_s=announced_s + SHORT_PAUSE_S)
    if row.pauses and verdict.counts and announced_s:
        verdict = replace(verdict, opens_for_s=max(announced_s, verdict.opens_for_s))
    return verdict


def row_of(error: GatewayError) -> Row:
    return next(row for row in TABLE if row.fits(error))


_SURFACE = Verdict(Action.SURFACE)
_ANSWERED = Verdict(Action.SURFACE, is_success=True)
_NEXT = Verdict(Action.FAIL_OVER)
_NEXT_ANSWERED = Verdict(Action.FAIL_OVER, is_success=True)
_NEXT_COUNTS = Verdict(Action.FAIL_OVER, counts=True)
_NEXT_TRIPS = Verdict(Action.FAIL_OVER, counts=True, trips=True)
_NEXT_UNPAID = replace(_NEXT_TRIPS, opens_for_s=UNPAID_PAUSE_S)
_AGAIN = Verdict(Action.RETRY_ALONE)
_AGAIN_COUNTS = Verdict(Action.RETRY_ALONE, counts=True)


def _row(
    name: str, error: type[GatewayError], verdict: Verdict, *details: str, statuses: frozenset[int] = frozenset()
) -> Row:
    """A row that is the same for both kinds of upstream and knows no Retry-After."""
    return Row(name, error, verdict, verdict, frozenset(details), statuses)


def _refusal(name: str, verdict: Verdict, *statuses: int, local: Verdict | None = None) -> Row:
    """A row for answers with these statuses, or for whatever other refusal when there are none."""
    return Row(name, UpstreamRefused, local or verdict, verdict, statuses=frozenset(statuses), pauses=True)


_DEAD = ("ActorDiedError", "ActorUnavailableError", "RayActorError", "WorkerCrashedError", "NodeDiedError")
_DEAD_IN_SERVE = ("DeploymentUnavailableError", "ReplicaUnavailableError")

TABLE: tuple[Row, ...] = (
    _row("call to a place that is not allowed", EgressForbidden, _SURFACE),
    _row("deadline passed", DeadlineExceeded, _SURFACE),
    _row("upstream blames the request", UpstreamRejectedRequest, _ANSWERED),
    _row("no slot came free in time", UpstreamFull, _NEXT),
    _row("no replica is up", UpstreamCold, _NEXT),
    _row("replica died", UpstreamUnreachable, _AGAIN_COUNTS, *_DEAD),
    _row("call cancelled inside the cluster", UpstreamUnreachable, _NEXT, "TaskCancelledError"),
    _row("cannot connect", UpstreamUnreachable, _AGAIN_COUNTS, "connect"),
    _row("not reached for another reason", UpstreamUnreachable, _AGAIN_COUNTS),
    _row("no connection in time", UpstreamTimedOut, _AGAIN_COUNTS, "connect"),
    _row("no first token in time", UpstreamTimedOut, _NEXT_COUNTS, "first_token"),
    _row("gap between tokens too long", UpstreamTimedOut, _NEXT_COUNTS, "gap", "idle"),
    _row("too few tokens a second", UpstreamTimedOut, _NEXT_COUNTS, "throughput"),
    _row("no whole answer in time", UpstreamTimedOut, _NEXT_COUNTS, "answer"),
    _row("too slow in another way", UpstreamTimedOut, _NEXT_COUNTS),
    _row("queue of a replica's deployment is full", UpstreamRefused, _NEXT, "BackPressureError"),
    _row("request cancelled inside the cluster", UpstreamRefused, _NEXT, "RequestCancelledError"),
    _row("deployment or chosen replica is gone", UpstreamRefused, _AGAIN_COUNTS, *_DEAD_IN_SERVE),
    _row("provider's account has run out (insufficient_quota)", UpstreamRefused, _NEXT_UNPAID, "insufficient_quota"),
    _row("model unknown there (model_not_found)", UpstreamRefused, _NEXT, "model_not_found"),
    _row(
        "prompt too long for it (context_length_exceeded)", UpstreamRefused, _NEXT_ANSWERED, "context_length_exceeded"
    ),
    _row("offers no embeddings", UpstreamRefused, _NEXT, "no_embeddings"),
    _row("401: key refused", UpstreamRefused, _NEXT_TRIPS, statuses=frozenset({401})),
    # Some providers answer moderated prompts so: one caller's words must not close an upstream to everybody.
    _row("403: forbidden", UpstreamRefused, _NEXT, statuses=frozenset({403})),
    _refusal("402: payment required", _NEXT_UNPAID, 402),
    _row("404", UpstreamRefused, _NEXT, statuses=frozenset({404})),
    _refusal("408: timed out there", _AGAIN_COUNTS, 408),
    _row("409: conflict", UpstreamRefused, _AGAIN, statuses=frozenset({409})),
    _row("425: too early", UpstreamRefused, _AGAIN, statuses=frozenset({425})),
    _refusal("429: too many requests", _AGAIN_COUNTS, 429, local=_AGAIN),
    _refusal("500", _AGAIN_COUNTS, 500),
    _refusal("502", _AGAIN_COUNTS, 502),
    _refusal("503", _AGAIN_COUNTS, 503),
    _refusal("504", _AGAIN_COUNTS, 504),
    _refusal("529: overloaded", _AGAIN_COUNTS, 529),
    _refusal("other 5xx", _AGAIN_COUNTS, *range(500, 600)),
    _row("other 4xx", UpstreamRefused, _NEXT, statuses=frozenset(range(400, 500))),
    _refusal("status that is neither an answer nor an error", _NEXT_COUNTS, *range(100, 400)),
    _row("error object without a status", UpstreamRefused, _AGAIN_COUNTS, "error_body"),
    _refusal("refused for another reason", _AGAIN_COUNTS),
    _row(
        "connection lost, or stream over before it was complete",
        UpstreamBroken,
        _AGAIN_COUNTS,
        "connection_lost",
        "ended_without_finish",
    ),
    _row("malformed chunk", UpstreamBroken, _NEXT_COUNTS, "malformed_chunk"),
    _row(
        "malformed answer",
        UpstreamBroken,
        _NEXT_COUNTS,
        "not_json",
        "not_an_object",
        "malformed_answer",
        "unreadable_answer",
    ),
    _row("empty answer", UpstreamBroken, _AGAIN_COUNTS, "empty_answer", "no_answer"),
    _row("event or answer too large", UpstreamBroken, _NEXT_COUNTS, "event_too_large", "answer_too_large"),
    _row("no content within the bound", UpstreamBroken, _NEXT_COUNTS, "no_content_in_bound"),
    _row("defect on the replica, or broken in another way", UpstreamBroken, _NEXT_COUNTS),
    _row("failed in another way", UpstreamFailed, _NEXT_COUNTS),
    _row("not an upstream's doing", GatewayError, _SURFACE),
)
