"""What happened to one request so far: the source of its headers, its log line and its metrics."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from serve_app.contracts.assessment import Assessment
from serve_app.contracts.decision import Decision
from serve_app.contracts.fleet import Candidate
from serve_app.contracts.vocabulary import Reason


@dataclass(slots=True)
class Trail:
    """Written by the pipeline as it goes, one request long. Durations in seconds; none of it is text of a prompt."""

    request_id: str
    arrived_at: float
    assessment: Assessment | None = None
    decision: Decision | None = None
    candidate: Candidate | None = None
    num_attempts: int = 0
    classify_s: float = 0.0
    decide_s: float = 0.0
    queue_s: float = 0.0
    upstream_s: float = 0.0
    _finished_at: float | None = field(default=None, repr=False)

    def mark_answered(self) -> None:
        """The moment the answer's headers are ready: later time belongs to the stream, not to the gateway."""
        if self._finished_at is None:
            self._finished_at = time.monotonic()

    @contextmanager
    def time_queue(self) -> Iterator[None]:
        """Counts the block as waiting for a slot, also where it fails."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.queue_s += time.monotonic() - started

    @contextmanager
    def time_upstream(self) -> Iterator[None]:
        """Counts the block as waiting for an upstream, also where it fails."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.upstream_s += time.monotonic() - started

    @property
    def overhead_s(self) -> float:
        """The gateway's own time: everything up to the answer but waiting for a slot and for the upstream."""
        end = time.monotonic() if self._finished_at is None else self._finished_at
        return max(0.0, end - self.arrived_at - self.queue_s - self.upstream_s)

    @property
    def reason(self) -> Reason | None:
        if self.decision is None:
            return None
        return Reason.FAILOVER if self.num_attempts > 1 else self.decision.reason
