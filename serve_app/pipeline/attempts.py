"""One attempt's account. Invariant: every attempt settles exactly once, however it ends."""

import time
from collections.abc import Callable

from serve_app.contracts.attempt import Attempt, Usage
from serve_app.contracts.fleet import Candidate
from serve_app.contracts.request import RequestFacts
from serve_app.contracts.vocabulary import Outcome, Reason
from serve_app.errors import DeadlineExceeded, GatewayError, UpstreamRejectedRequest


class AttemptAccount:
    """Opened before an upstream is called, settled by the first outcome it is told."""

    def __init__(
        self,
        facts: RequestFacts,
        candidate: Candidate,
        *,
        number: int,
        reason: Reason,
        record: Callable[[Attempt], None],
    ) -> None:
        self._facts, self._candidate = facts, candidate
        self._number, self._reason, self._record = number, reason, record
        self._started_unix_s, self._started_at = time.time(), time.monotonic()
        self._is_settled = False

    @property
    def started_at(self) -> float:
        return self._started_at

    def settle(
        self, outcome: Outcome, usage: Usage, *, error: BaseException | None = None, ttft_s: float | None = None
    ) -> None:
        if self._is_settled:
            return
        self._is_settled = True
        spec = self._candidate.upstream
        self._record(
            Attempt(
                request_id=self._facts.request_id,
                number=self._number,
                tenant_id=self._facts.tenant_id,
                tier=self._candidate.tier,
                upstream_id=spec.id,
                model=spec.model,
                place=spec.place,
                reason=self._reason,
                data_class=self._facts.data_class,
                usage=usage,
                cost_usd=spec.price.cost_usd(usage.num_input_tokens, usage.num_output_tokens),
                outcome=outcome,
                error_code=error.code if isinstance(error, GatewayError) else None,
                started_at_unix_s=self._started_unix_s,
                elapsed_s=time.monotonic() - self._started_at,
                ttft_s=ttft_s,
            )
        )


def outcome_of(error: BaseException) -> Outcome:
    """Cancellation and a closed generator mean that the caller left."""
    if isinstance(error, UpstreamRejectedRequest):
        return Outcome.REJECTED
    if isinstance(error, DeadlineExceeded):
        return Outcome.TIMED_OUT
    return Outcome.FAILED if isinstance(error, Exception) else Outcome.CANCELLED
