"""An upstream's own error as one of ours: the caller's fault is surfaced, everything else may be tried elsewhere."""

from serve_app.errors import UpstreamRefused, UpstreamRejectedRequest
from serve_app.streaming.chunks import UpstreamComplaint

ANOTHER_MAY_SERVE = frozenset({"context_length_exceeded", "model_not_found"})
"""Complaints about the request that are true of one upstream only."""


def error_of(
    complaint: UpstreamComplaint, upstream_id: str, retry_after_s: float | None = None
) -> UpstreamRefused | UpstreamRejectedRequest:
    """A 404 is not the caller's doing: the gateway itself chose the path and the model."""
    is_surfaced = complaint.is_callers_fault and complaint.status_code != 404
    if is_surfaced and complaint.code not in ANOTHER_MAY_SERVE:
        return UpstreamRejectedRequest(upstream_id, complaint.message, complaint.param)
    detail = f"status_{complaint.status_code}" if complaint.status_code else "error_body"
    return UpstreamRefused(upstream_id, detail, retry_after_s)
