"""A refusal of the pure decision as the error a caller gets."""

from serve_app.contracts.decision import Refusal
from serve_app.contracts.vocabulary import Alias, DropReason
from serve_app.errors import (
    CapacityError,
    DeadlineExceeded,
    GatewayError,
    InvalidRequest,
    LocalUnavailable,
    PolicyRefusal,
    UnknownModel,
)


def error_of_refusal(refusal: Refusal, wanted: Alias | str, retry_after_s: float) -> GatewayError:
    match refusal.reason:
        case DropReason.RESIDENCY:
            sentence = "The data class or the tenant forbids every place that could serve this request."
            return PolicyRefusal("residency_forbidden", sentence)
        case DropReason.TENANT_TIER:
            return PolicyRefusal("tier_forbidden", "This tenant may not use a tier that could serve this request.")
        case DropReason.CAPABILITY:
            problem = "No upstream that may serve this request offers what it needs (tools, structured output, images)."
            return InvalidRequest(problem, "model", "unsupported_capability")
        case DropReason.CONTEXT_LENGTH:
            problem = "The prompt is longer than the context of every upstream that may serve it."
            return InvalidRequest(problem, "messages", "context_length_exceeded")
        case DropReason.DEADLINE:
            return DeadlineExceeded()
        case DropReason.UNAVAILABLE | DropReason.CIRCUIT_OPEN | DropReason.BUDGET:
            return LocalUnavailable(retry_after_s) if refusal.is_local_only else CapacityError(retry_after_s)
        case DropReason.NOT_ASKED_FOR if not isinstance(wanted, Alias):
            return UnknownModel()
    return CapacityError(retry_after_s)
