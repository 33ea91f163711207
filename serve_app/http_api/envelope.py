"""Headers in and out: who asks for what under which limits, and what happened."""

import re
import time
import uuid
from collections.abc import Mapping

from starlette.datastructures import Headers

from serve_app.admission.tenants import TenantDirectory
from serve_app.contracts.request import Envelope
from serve_app.contracts.vocabulary import DataClass, Tier
from serve_app.errors import InvalidRequest
from serve_app.pipeline.trail import Trail

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
MAX_DEADLINE_MS = 3_600_000
MAX_IDEMPOTENCY_KEY_CHARS = 255


def request_id_of(headers: Headers) -> str:
    """The caller's id where it is one that may stand in a log and a header, else a fresh one."""
    given = headers.get("x-request-id", "")
    return given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def read_envelope(headers: Headers, directory: TenantDirectory, request_id: str, arrived_at: float) -> Envelope:
    """Raises NotAuthenticated, or InvalidRequest whose `param` is the header's name."""
    tenant = directory.authenticate(headers.get("authorization"))
    traceparent = headers.get("traceparent", "")
    return Envelope(
        request_id=request_id,
        tenant=tenant,
        data_class=_data_class(headers.get("x-upcoach-data-class")),
        wanted_tier=_tier(headers.get("x-upcoach-tier")),
        deadline_s=_deadline_s(headers.get("x-upcoach-deadline-ms")),
        traceparent=traceparent if TRACEPARENT.fullmatch(traceparent) else None,
        arrived_at=arrived_at,
    )


def idempotency_key(headers: Headers) -> str | None:
    key = headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= MAX_IDEMPOTENCY_KEY_CHARS:
        raise InvalidRequest("Idempotency-Key must have 1 to 255 characters.", "Idempotency-Key")
    return key


def _data_class(value: str | None) -> DataClass | None:
    if value is None:
        return None
    try:
        return DataClass(value.strip().lower())
    except ValueError:
        known = ", ".join(DataClass)
        raise InvalidRequest(f"X-Upcoach-Data-Class must be one of {known}.", "X-Upcoach-Data-Class") from None


def _tier(value: str | None) -> Tier | None:
    if value is None:
        return None
    try:
        return Tier[value.strip().upper()]
    except KeyError:
        known = ", ".join(Tier.__members__)
        raise InvalidRequest(f"X-Upcoach-Tier must be one of {known}.", "X-Upcoach-Tier") from None


def _deadline_s(value: str | None) -> float | None:
    if value is None:
        return None
    is_number = value.isascii() and value.isdigit() and len(value) <= 9
    if not is_number or not 0 < int(value) <= MAX_DEADLINE_MS:
        problem = f"X-Upcoach-Deadline-Ms must be a whole number from 1 to {MAX_DEADLINE_MS}."
        raise InvalidRequest(problem, "X-Upcoach-Deadline-Ms")
    return int(value) / 1000


def answer_headers(trail: Trail) -> dict[str, str]:
    """What every answer carries; of a request that ended early, what is known of it."""
    headers = {"x-request-id": trail.request_id, "x-upcoach-attempts": str(trail.num_attempts)}
    if trail.assessment is not None:
        headers["x-upcoach-complexity"] = f"{trail.assessment.complexity:.3f}"
    if trail.reason is not None:
        headers["x-upcoach-reason"] = trail.reason.value
    if trail.candidate is not None:
        headers["x-upcoach-tier"] = trail.candidate.tier.name
        headers["x-upcoach-upstream"] = trail.candidate.upstream.id
        headers["x-upcoach-model"] = trail.candidate.upstream.model
    headers["server-timing"] = _server_timing(
        {
            "classify": trail.classify_s,
            "decide": trail.decide_s,
            "queue": trail.queue_s,
            "upstream": trail.upstream_s,
            "overhead": trail.overhead_s,
        }
    )
    return headers


def _server_timing(durations_s: Mapping[str, float]) -> str:
    return ", ".join(f"{name};dur={seconds * 1000:.3f}" for name, seconds in durations_s.items())


def new_trail(headers: Headers) -> Trail:
    return Trail(request_id_of(headers), time.monotonic())
