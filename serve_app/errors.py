"""The error tree. Every error has a status, a code and one public sentence; the sentence never carries private text.

    GatewayError
    ├── CallerError            400  the request itself is wrong
    │   ├── InvalidRequest     400  `param` names the field
    │   ├── NotAuthenticated   401
    │   ├── UnknownModel       404
    │   ├── UnknownPath        404
    │   ├── MethodNotAllowed   405
    │   ├── IdempotencyConflict / IdempotencyInProgress / IdempotencyAnswerGone  409
    │   └── BodyTooLarge       413
    ├── PolicyRefusal          403  residency_forbidden, tier_forbidden
    ├── LimitReached           429  with retry_after_s: rate_limited, too_many_concurrent, budget_exhausted
    ├── CapacityError          503  with retry_after_s
    │   ├── LocalUnavailable   503  local-only data while local is down
    │   ├── GatewaySaturated   503
    │   └── SharedStateUnavailable 503  the owner of counters, breakers and claims does not answer
    ├── UpstreamError          502
    │   ├── UpstreamFailed     one attempt failed; the pipeline may try the next candidate
    │   │   ├── UpstreamUnreachable, UpstreamTimedOut, UpstreamRefused, UpstreamBroken, UpstreamFull,
    │   │   │   UpstreamCold
    │   ├── UpstreamRejectedRequest  the upstream blames the caller; surfaced, never retried
    │   └── AllUpstreamsFailed 502
    ├── EgressForbidden        500  a call reached an upstream whose place its decision does not allow
    ├── DeadlineExceeded       504
    └── InternalError          500

Errors cross actors: positional arguments only, handed to `super().__init__`, so that they unpickle.
"""

import re
from typing import ClassVar

ONE_WORD = re.compile(r"[A-Za-z0-9_]{1,64}")
CALLER_ERROR = "caller_error"
POLICY_REFUSAL = "policy_refusal"
CAPACITY = "capacity"
UPSTREAM_ERROR = "upstream_error"
GATEWAY_ERROR = "gateway_error"


class GatewayError(Exception):
    """The root. `public_message` is the only text that may reach a client."""

    status_code: ClassVar[int] = 500
    error_type: ClassVar[str] = GATEWAY_ERROR
    code: str = "internal_error"
    param: str | None = None
    retry_after_s: float | None = None

    def __str__(self) -> str:
        """The code alone: tracebacks end in logs, and an upstream's own words, which may quote a prompt, must not."""
        return self.code

    @property
    def public_message(self) -> str:
        return "The gateway failed to handle this request."

    def to_openai(self) -> dict[str, dict[str, str | None]]:
        """The body of an error answer, in OpenAI's shape; also the payload of a stream's error event."""
        return {
            "error": {
                "message": self.public_message,
                "type": self.error_type,
                "code": self.code,
                "param": self.param,
            }
        }


class InternalError(GatewayError):
    """A defect of the gateway itself; the cause is in the log under the request's id."""


class EgressForbidden(GatewayError):
    """A call reached an upstream whose place the call's own decision does not allow. No socket was opened."""

    code = "egress_forbidden"

    def __init__(self, upstream_id: str, place: str) -> None:
        super().__init__(upstream_id, place)
        self.upstream_id, self.place = upstream_id, place

    @property
    def public_message(self) -> str:
        return "The request was stopped before it could leave for a place it may not go to."


class DeadlineExceeded(GatewayError):
    status_code, code = 504, "deadline_exceeded"

    @property
    def public_message(self) -> str:
        return "The request's deadline passed before an answer was complete."


class CallerError(GatewayError):
    status_code, error_type, code = 400, CALLER_ERROR, "invalid_request"


class InvalidRequest(CallerError):
    """The body or a header is wrong. `problem` describes the fault and never quotes the offending value."""

    def __init__(self, problem: str, param: str | None = None, code: str = "invalid_request") -> None:
        super().__init__(problem, param, code)
        self.problem, self.param, self.code = problem, param, code

    @property
    def public_message(self) -> str:
        return self.problem


class NotAuthenticated(CallerError):
    status_code, code = 401, "invalid_api_key"

    @property
    def public_message(self) -> str:
        return "No valid API key was given: send it as 'Authorization: Bearer KEY'."


class UnknownModel(CallerError):
    status_code, code, param = 404, "model_not_found", "model"

    @property
    def public_message(self) -> str:
        return "This model does not exist here or is not open to you; GET /v1/models lists the models that are."


class UnknownPath(CallerError):
    status_code, code = 404, "unknown_path"

    @property
    def public_message(self) -> str:
        return "This path does not exist; the API lives under /v1."


class MethodNotAllowed(CallerError):
    status_code, code = 405, "method_not_allowed"

    @property
    def public_message(self) -> str:
        return "This path does not accept this method."


class IdempotencyConflict(CallerError):
    status_code, code = 409, "idempotency_conflict"

    @property
    def public_message(self) -> str:
        return "This Idempotency-Key was used before with another body."


class IdempotencyInProgress(CallerError):
    status_code, code, retry_after_s = 409, "idempotency_in_progress", 1.0

    @property
    def public_message(self) -> str:
        return "The first request with this Idempotency-Key is still running."


class IdempotencyAnswerGone(CallerError):
    """The first request ended, so it is not run again; its answer was held in memory alone and is no longer there."""

    status_code, code = 409, "idempotency_answer_gone"

    @property
    def public_message(self) -> str:
        return "The first request with this Idempotency-Key was answered, and its answer is no longer kept."


class BodyTooLarge(CallerError):
    status_code, code = 413, "body_too_large"

    def __init__(self, max_body_bytes: int) -> None:
        super().__init__(max_body_bytes)
        self.max_body_bytes = max_body_bytes

    @property
    def public_message(self) -> str:
        return f"The body is larger than {self.max_body_bytes} bytes."


class PolicyRefusal(GatewayError):
    """The tenant or the data class forbids what was asked for; no retry will change that."""

    status_code, error_type, code = 403, POLICY_REFUSAL, "policy_refusal"

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(code, sentence)
        self.code, self.sentence = code, sentence

    @property
    def public_message(self) -> str:
        return self.sentence


class LimitReached(GatewayError):
    """The tenant's own limit: a rate, the number of requests at once, or a budget."""

    status_code, error_type = 429, POLICY_REFUSAL

    def __init__(self, code: str, sentence: str, retry_after_s: float) -> None:
        super().__init__(code, sentence, retry_after_s)
        self.code, self.sentence, self.retry_after_s = code, sentence, retry_after_s

    @property
    def public_message(self) -> str:
        return self.sentence


class CapacityError(GatewayError):
    status_code, error_type, code = 503, CAPACITY, "no_capacity"

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(retry_after_s)
        self.retry_after_s = retry_after_s

    @property
    def public_message(self) -> str:
        return "No upstream that may serve this request has capacity now."


class LocalUnavailable(CapacityError):
    code = "local_unavailable"

    @property
    def public_message(self) -> str:
        return "This request may only be answered locally, and no local model is available now."


class GatewaySaturated(CapacityError):
    code = "gateway_saturated"

    @property
    def public_message(self) -> str:
        return "The gateway is at its capacity."


class SharedStateUnavailable(CapacityError):
    """Only what cannot be answered without its owner fails with this: an Idempotency-Key."""

    code = "shared_state_unavailable"

    @property
    def public_message(self) -> str:
        return "The gateway cannot promise this now: the part that keeps count does not answer."


class UpstreamError(GatewayError):
    status_code, error_type, code = 502, UPSTREAM_ERROR, "upstream_error"

    @property
    def public_message(self) -> str:
        return "An upstream failed."


class UpstreamFailed(UpstreamError):
    """One attempt failed through no fault of the caller.

    `detail` is one word for the log. Anything else might be an upstream's own text, and is not kept.
    """

    def __init__(self, upstream_id: str, detail: str, retry_after_s: float | None = None) -> None:
        detail = detail if ONE_WORD.fullmatch(detail) else "unnamed"
        super().__init__(upstream_id, detail, retry_after_s)
        self.upstream_id, self.detail, self.retry_after_s = upstream_id, detail, retry_after_s


class UpstreamUnreachable(UpstreamFailed):
    """No connection, or it was refused."""

    code = "upstream_unreachable"


class UpstreamTimedOut(UpstreamFailed):
    """The upstream was too slow: to connect, to the first content, or between two chunks."""

    code = "upstream_timed_out"


class UpstreamFull(UpstreamFailed):
    """No slot came free in time. The upstream itself was not called and is not to blame."""

    code = "upstream_full"


class UpstreamCold(UpstreamFailed):
    """No replica is up: it was scaled to none, or has not started yet. The upstream itself was not called."""

    code = "upstream_cold"


class UpstreamRefused(UpstreamFailed):
    """The upstream answered with an error of its own. `status` is None where it gave none, as in an error event."""

    code = "upstream_refused"

    def __init__(
        self, upstream_id: str, detail: str, retry_after_s: float | None = None, status: int | None = None
    ) -> None:
        super().__init__(upstream_id, detail, retry_after_s)
        self.args = (upstream_id, detail, retry_after_s, status)
        self.status = status


class UpstreamBroken(UpstreamFailed):
    """The upstream closed the stream before it was complete, or sent what is not the protocol."""

    code = "upstream_broken"


class UpstreamRejectedRequest(UpstreamError):
    """The upstream says that the request is wrong (400, 404, 413, 422): surfaced, never tried elsewhere."""

    status_code, error_type, code = 400, CALLER_ERROR, "rejected_by_upstream"

    def __init__(self, upstream_id: str, message: str, param: str | None = None) -> None:
        super().__init__(upstream_id, message, param)
        self.upstream_id, self.message, self.param = upstream_id, message, param

    @property
    def public_message(self) -> str:
        return self.message


class AllUpstreamsFailed(UpstreamError):
    code = "all_upstreams_failed"

    def __init__(self, num_attempts: int) -> None:
        super().__init__(num_attempts)
        self.num_attempts = num_attempts

    @property
    def public_message(self) -> str:
        return "Every upstream that may serve this request failed."
