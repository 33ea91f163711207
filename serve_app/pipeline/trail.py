"""What happened to one request so far: the source of its headers, its log line and its metrics."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from serve_app.contracts.assessment import Assessment
from serve_app.contracts.decision import Decision
from serve_app.contracts.fleet import Candidate
from serve_app.contracts.tenant import Tenant
from serve_app.contracts.vocabulary import Reason


@dataclass(slots=True)
class Trail:
    """Written by the pipeline as it goes, one request long. Durations in seconds; none of it is text of a prompt.

    `num_attempts` counts calls of upstreams, `num_tokens` what they all took and gave.
    """

    request_id: str
    arrived_at: float
    tenant: Tenant | None = None
    assessment: Assessment | None = None
    decision: Decision | None = None
    candidate: Candidate | None = None
    num_attempts: int = 0
    classify_s: float = 0.0
    decide_s: float = 0.0
    queue_s: float = 0.0
    upstream_s: float = 0.0
    num_tokens: int = 0
    _turn: Reason | None = field(default=None, repr=False)
    _num_calling: int = field(default=0, repr=False)
    _calling_since: float = field(default=0.0, repr=False)
    _finished_at: float | None = field(default=None, repr=False)

    def mark_answered(self) -> None:
        """The moment the answer's headers are ready: later time belongs to the stream, not to the gateway."""
        if self._finished_at is None:
            self._finished_at = time.monotonic()

    def turn_to(self, candidate: Candidate, reason: Reason) -> None:
        """The candidate that is asked now, or that answered, and why it is this one."""
        self.candidate, self._turn = candidate, reason

    @contextmanager
    def time_queue(self) -> Iterator[None]:
        """Counts the block as waiting for a slot, also where it fails, but not beside a running call."""
        if self._num_calling:
            yield
            return
        started = time.monotonic()
        try:
            yield
        finally:
            self.queue_s += time.monotonic() - started

    @contextmanager
    def time_upstream(self) -> Iterator[None]:
        """Counts the block as waiting for an upstream, also where it fails; blocks side by side count once."""
        if self._num_calling == 0:
            self._calling_since = time.monotonic()
        self._num_calling += 1
        try:
            yield
        finally:
            self._num_calling -= 1
            if self._num_calling == 0:
                self.upstream_s += time.monotonic() - self._calling_since

    @property
    def overhead_s(self) -> float:
        """The gateway's own time: everything up to the answer but waiting for a slot and for the upstream."""
        end = time.monotonic() if self._finished_at is None else self._finished_at
        return max(0.0, end - self.arrived_at - self.queue_s - self.upstream_s)

    @property
    def reason(self) -> Reason | None:
        if self._turn is not None:
            return self._turn
        return None if self.decision is None else self.decision.reason
