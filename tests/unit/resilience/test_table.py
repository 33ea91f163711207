"""Each row stated, every error with a row, and every detail that the source can give with a row of its own."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve_app import errors
from serve_app.errors import (
    DeadlineExceeded,
    EgressForbidden,
    GatewayError,
    InternalError,
    UpstreamBroken,
    UpstreamCold,
    UpstreamFailed,
    UpstreamFull,
    UpstreamRefused,
    UpstreamRejectedRequest,
    UpstreamTimedOut,
    UpstreamUnreachable,
)
from serve_app.resilience.table import SHORT_PAUSE_S, TABLE, Action, Row, UpstreamKind, Verdict, judge, row_of

ROOT = Path(__file__).parents[3]
LOCAL, CLOUD = UpstreamKind.LOCAL, UpstreamKind.CLOUD


def refused(status: int, retry_after_s: float | None = None) -> UpstreamRefused:
    return UpstreamRefused("a", f"status_{status}", retry_after_s, status)


SURFACE = Verdict(Action.SURFACE)
NEXT = Verdict(Action.FAIL_OVER)
NEXT_COUNTS = Verdict(Action.FAIL_OVER, counts=True)
NEXT_TRIPS = Verdict(Action.FAIL_OVER, counts=True, trips=True)
UNPAID = Verdict(Action.FAIL_OVER, counts=True, trips=True, opens_for_s=300.0)
AGAIN = Verdict(Action.RETRY_ALONE, wait_s=SHORT_PAUSE_S)
AGAIN_COUNTS = Verdict(Action.RETRY_ALONE, counts=True, wait_s=SHORT_PAUSE_S)

STATED: dict[str, tuple[GatewayError, Verdict]] = {
    "call to a place that is not allowed": (EgressForbidden("a", "cloud"), SURFACE),
    "deadline passed": (DeadlineExceeded(), SURFACE),
    "upstream blames the request": (
        UpstreamRejectedRequest("a", "no"),
        Verdict(Action.SURFACE, is_success=True),
    ),
    "no slot came free in time": (UpstreamFull("a", "no_slot"), NEXT),
    "no replica is up": (UpstreamCold("a", "not_up"), NEXT),
    "replica died": (UpstreamUnreachable("a", "ActorDiedError"), AGAIN_COUNTS),
    "call cancelled inside the cluster": (UpstreamUnreachable("a", "TaskCancelledError"), NEXT),
    "cannot connect": (UpstreamUnreachable("a", "connect"), AGAIN_COUNTS),
    "not reached for another reason": (UpstreamUnreachable("a", "OutOfMemoryError"), AGAIN_COUNTS),
    "no connection in time": (UpstreamTimedOut("a", "connect"), AGAIN_COUNTS),
    "no first token in time": (UpstreamTimedOut("a", "first_token"), NEXT_COUNTS),
    "gap between tokens too long": (UpstreamTimedOut("a", "gap"), NEXT_COUNTS),
    "too few tokens a second": (UpstreamTimedOut("a", "throughput"), NEXT_COUNTS),
    "no whole answer in time": (UpstreamTimedOut("a", "answer"), NEXT_COUNTS),
    "too slow in another way": (UpstreamTimedOut("a", "other"), NEXT_COUNTS),
    "queue of a replica's deployment is full": (UpstreamRefused("a", "BackPressureError", 1.0), NEXT),
    "request cancelled inside the cluster": (UpstreamRefused("a", "RequestCancelledError"), NEXT),
    "deployment or chosen replica is gone": (UpstreamRefused("a", "ReplicaUnavailableError"), AGAIN_COUNTS),
    "provider's account has run out (insufficient_quota)": (
        UpstreamRefused("a", "insufficient_quota", None, 429),
        UNPAID,
    ),
    "model unknown there (model_not_found)": (UpstreamRefused("a", "model_not_found", None, 404), NEXT),
    "prompt too long for it (context_length_exceeded)": (
        UpstreamRefused("a", "context_length_exceeded", None, 400),
        Verdict(Action.FAIL_OVER, is_success=True),
    ),
    "offers no embeddings": (UpstreamRefused("a", "no_embeddings"), NEXT),
    "401: key refused": (refused(401), NEXT_TRIPS),
    "403: forbidden": (refused(403), NEXT),
    "402: payment required": (refused(402), UNPAID),
    "404": (refused(404), NEXT),
    "408: timed out there": (refused(408), AGAIN_COUNTS),
    "409: conflict": (refused(409), AGAIN),
    "425: too early": (refused(425), AGAIN),
    "429: too many requests": (refused(429), AGAIN_COUNTS),
    "500": (refused(500), AGAIN_COUNTS),
    "502": (refused(502), AGAIN_COUNTS),
    "503": (refused(503), AGAIN_COUNTS),
    "504": (refused(504), AGAIN_COUNTS),
    "529: overloaded": (refused(529), AGAIN_COUNTS),
    "other 5xx": (refused(599), AGAIN_COUNTS),
    "other 4xx": (refused(418), NEXT),
    "status that is neither an answer nor an error": (refused(302), NEXT_COUNTS),
    "error object without a status": (UpstreamRefused("a", "error_body"), AGAIN_COUNTS),
    "refused for another reason": (UpstreamRefused("a", "gRPCStatusError"), AGAIN_COUNTS),
    "connection lost, or stream over before it was complete": (UpstreamBroken("a", "connection_lost"), AGAIN_COUNTS),
    "malformed chunk": (UpstreamBroken("a", "malformed_chunk"), NEXT_COUNTS),
    "malformed answer": (UpstreamBroken("a", "not_json"), NEXT_COUNTS),
    "empty answer": (UpstreamBroken("a", "empty_answer"), AGAIN_COUNTS),
    "event or answer too large": (UpstreamBroken("a", "event_too_large"), NEXT_COUNTS),
    "no content within the bound": (UpstreamBroken("a", "no_content_in_bound"), NEXT_COUNTS),
    "defect on the replica, or broken in another way": (UpstreamBroken("a", "ZeroDivisionError"), NEXT_COUNTS),
    "failed in another way": (UpstreamFailed("a", "other"), NEXT_COUNTS),
    "not an upstream's doing": (InternalError(), SURFACE),
}
LOCAL_DIFFERS = {"429: too many requests": AGAIN}
PAUSING = sorted(row.name for row in TABLE if row.pauses)
CATCH_ALL = {row.name for row in TABLE if not row.details and not row.statuses}
BY_CLASS_ALONE = {"no slot came free in time", "no replica is up"}
"""Catch-all rows that are the whole story of their class."""


def test_every_row_is_stated_here_and_none_twice() -> None:
    names = [row.name for row in TABLE]
    assert names == list(STATED)


@pytest.mark.parametrize("name", STATED)
def test_each_row_says_what_it_is_stated_to_say(name: str) -> None:
    error, verdict = STATED[name]
    assert row_of(error).name == name
    assert judge(error, CLOUD) == verdict
    assert judge(error, LOCAL) == LOCAL_DIFFERS.get(name, verdict)


@pytest.mark.parametrize("name", PAUSING)
def test_a_retry_after_opens_the_circuit_for_at_least_that_long(name: str) -> None:
    error, stated = STATED[name]
    for announced_s in (30.0, 400.0):
        error.retry_after_s = announced_s
        verdict = judge(error, CLOUD)
        assert verdict.counts
        assert verdict.opens_for_s == max(announced_s, stated.opens_for_s)
    error.retry_after_s = None


def test_the_rows_that_honour_a_retry_after_are_these() -> None:
    assert len(PAUSING) == len(set(PAUSING))
    assert set(PAUSING) == {
        "402: payment required",
        "408: timed out there",
        "429: too many requests",
        "500",
        "502",
        "503",
        "504",
        "529: overloaded",
        "other 5xx",
        "status that is neither an answer nor an error",
        "refused for another reason",
    }


def test_a_retry_after_is_waited_for_before_the_same_upstream_is_called_again() -> None:
    assert judge(refused(503, 3.0), CLOUD).wait_s == 3.0 + SHORT_PAUSE_S
    assert judge(refused(409, 3.0), CLOUD) == Verdict(Action.RETRY_ALONE, wait_s=3.0 + SHORT_PAUSE_S)
    assert judge(refused(401, 3.0), CLOUD).wait_s == 0.0


def test_a_local_429_is_backpressure_and_opens_nothing() -> None:
    assert judge(refused(429, 3.0), LOCAL) == Verdict(Action.RETRY_ALONE, wait_s=3.0 + SHORT_PAUSE_S)


@pytest.mark.parametrize(("announced_s", "opens_for_s"), [(0.0, 0.0), (-5.0, 0.0), (float("nan"), 0.0), (1e9, 3600.0)])
def test_an_announcement_is_bounded(announced_s: float, opens_for_s: float) -> None:
    assert judge(refused(503, announced_s), CLOUD).opens_for_s == opens_for_s


@pytest.mark.parametrize("status", [None, *range(100, 600)])
def test_every_status_has_a_verdict(status: int | None) -> None:
    verdict = judge(UpstreamRefused("a", "x", None, status), CLOUD)
    assert verdict.action is not Action.SURFACE
    is_callers = status is not None and 400 <= status < 500 and status not in {401, 402, 408, 429}
    assert verdict.counts is not is_callers


def classes(cls: type[GatewayError]) -> Iterator[type[GatewayError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from classes(child)


@pytest.mark.parametrize("cls", sorted(set(classes(GatewayError)), key=lambda cls: cls.__name__))
def test_every_error_of_the_tree_has_a_verdict(cls: type[GatewayError]) -> None:
    error = cls.__new__(cls, "a", "b")
    if isinstance(error, UpstreamFailed):
        error.detail = "b"
    if isinstance(error, UpstreamRefused):
        error.status = None
    verdict = judge(error, CLOUD)
    is_attempts = issubclass(cls, UpstreamFailed)
    assert (verdict.action is not Action.SURFACE) is is_attempts


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_no_verdict_contradicts_itself(row: Row) -> None:
    for verdict in (row.local, row.cloud):
        assert not (verdict.is_success and verdict.counts)
        assert verdict.counts or not (verdict.trips or verdict.opens_for_s)


def details_in_the_source() -> Iterator[tuple[type[UpstreamFailed], str]]:
    """Every literal that is given to an attempt's error as its detail."""
    for folder in ("serve_app", "deployments"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or len(node.args) < 2:
                    continue
                cls = getattr(errors, node.func.id, None)
                detail = node.args[1]
                if isinstance(cls, type) and issubclass(cls, UpstreamFailed) and isinstance(detail, ast.Constant):
                    yield cls, str(detail.value)


COMPUTED: list[tuple[type[UpstreamFailed], str]] = [
    (UpstreamTimedOut, "gap"),
    (UpstreamTimedOut, "first_token"),
    (UpstreamRefused, "error_body"),
    *[(UpstreamRefused, code) for code in ("context_length_exceeded", "model_not_found", "insufficient_quota")],
    *[
        (UpstreamRefused, name)
        for name in (
            "BackPressureError",
            "RequestCancelledError",
            "DeploymentUnavailableError",
            "ReplicaUnavailableError",
        )
    ],
    *[
        (UpstreamUnreachable, name)
        for name in (
            "ActorDiedError",
            "ActorUnavailableError",
            "RayActorError",
            "WorkerCrashedError",
            "NodeDiedError",
            "TaskCancelledError",
        )
    ],
]
"""Details that the source takes from a variable: a phase of a stream, a provider's code, the name of Ray's error."""


def test_the_source_is_really_looked_at() -> None:
    found = set(details_in_the_source())
    assert (UpstreamBroken, "malformed_chunk") in found
    assert (UpstreamRefused, "no_embeddings") in found
    assert len(found) >= 10


@pytest.mark.parametrize(("cls", "detail"), sorted({*details_in_the_source(), *COMPUTED}, key=repr))
def test_no_detail_that_the_source_can_give_falls_through_unnamed(cls: type[UpstreamFailed], detail: str) -> None:
    name = row_of(cls("a", detail)).name
    assert name in BY_CLASS_ALONE or name not in CATCH_ALL
