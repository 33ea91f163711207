"""An upstream's own error as one of ours: the caller's fault is surfaced, everything else may be tried elsewhere."""

from serve_app.errors import UpstreamRefused, UpstreamRejectedRequest
from serve_app.streaming.chunks import UpstreamComplaint

ANOTHER_MAY_SERVE = frozenset({"context_length_exceeded", "model_not_found", "insufficient_quota"})
"""Complaints that are true of one upstream only, whatever its status says; they become the refusal's detail."""


def error_of(
    complaint: UpstreamComplaint, upstream_id: str, retry_after_s: float | None = None
) -> UpstreamRefused | UpstreamRejectedRequest:
    """A 404 is not the caller's doing: the gateway itself chose the path and the model."""
    status = complaint.status_code
    if complaint.code in ANOTHER_MAY_SERVE:
        return UpstreamRefused(upstream_id, complaint.code, retry_after_s, status)
    if complaint.is_callers_fault and status != 404:
        return UpstreamRejectedRequest(upstream_id, complaint.message, complaint.param)
    return UpstreamRefused(upstream_id, f"status_{status}" if status else "error_body", retry_after_s, status)
