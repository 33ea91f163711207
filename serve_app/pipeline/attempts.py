"""One attempt's account. Invariant: every attempt settles exactly once, however it ends."""

import secrets
import time
from collections.abc import Callable
from dataclasses import replace

from serve_app.contracts.attempt import Attempt, AttemptSink, Usage
from serve_app.contracts.fleet import Candidate
from serve_app.contracts.request import RequestFacts
from serve_app.contracts.vocabulary import Outcome, Reason
from serve_app.errors import DeadlineExceeded, GatewayError, UpstreamRejectedRequest


class AttemptAccount:
    """Opened before an upstream is called, settled by the first outcome it is told.

    `on_settled` is told the final row: whoever set money aside for the attempt gets it back there.
    """

    def __init__(
        self,
        facts: RequestFacts,
        candidate: Candidate,
        *,
        number: int,
        reason: Reason,
        sink: AttemptSink,
        on_settled: Callable[[Attempt], None],
    ) -> None:
        self._sink, self._on_settled, self._price = sink, on_settled, candidate.upstream.price
        self._started_at = time.monotonic()
        self._is_settled = False
        prompt_alone = Usage(facts.num_prompt_tokens, 0, is_estimated=True)
        spec = candidate.upstream
        self._opened = Attempt(
            id=secrets.token_hex(16),
            request_id=facts.request_id,
            number=number,
            tenant_id=facts.tenant_id,
            tier=candidate.tier,
            upstream_id=spec.id,
            model=spec.model,
            place=spec.place,
            reason=reason,
            data_class=facts.data_class,
            usage=prompt_alone,
            cost_usd=self._price.cost_usd(prompt_alone.num_input_tokens, 0),
            outcome=Outcome.ABANDONED,
            error_code=None,
            started_at_unix_s=time.time(),
            elapsed_s=0.0,
            ttft_s=None,
        )
        sink.open(self._opened)

    @property
    def id(self) -> str:
        return self._opened.id

    @property
    def started_at(self) -> float:
        return self._started_at

    def settle(
        self, outcome: Outcome, usage: Usage, *, error: BaseException | None = None, ttft_s: float | None = None
    ) -> None:
        if self._is_settled:
            return
        self._is_settled = True
        settled = replace(
            self._opened,
            usage=usage,
            cost_usd=self._price.cost_usd(usage.num_input_tokens, usage.num_output_tokens),
            outcome=outcome,
            error_code=error.code if isinstance(error, GatewayError) else None,
            elapsed_s=time.monotonic() - self._started_at,
            ttft_s=ttft_s,
        )
        self._sink.settle(settled)
        self._on_settled(settled)


def outcome_of(error: BaseException) -> Outcome:
    """Cancellation and a closed generator mean that the caller left, or that another attempt was quicker."""
    if isinstance(error, UpstreamRejectedRequest):
        return Outcome.REJECTED
    if isinstance(error, DeadlineExceeded):
        return Outcome.TIMED_OUT
    return Outcome.FAILED if isinstance(error, Exception) else Outcome.CANCELLED
