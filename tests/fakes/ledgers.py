"""The Ledger port in memory: every row is kept, and claims are in a real book."""

import time
from collections.abc import Callable, Sequence

from serve_app.accounting.idempotency import Bounds, IdempotencyBook
from serve_app.contracts.attempt import Attempt, Usage
from serve_app.contracts.ledger import Claim, StoredAnswer, Total
from serve_app.contracts.vocabulary import DataClass, Outcome, Place, Reason, Tier


class MemoryLedger:
    """`rows` by id, as a database would hold them: a row that was opened makes way for the final one."""

    def __init__(self, bounds: Bounds, clock: Callable[[], float] = time.monotonic) -> None:
        self.rows: dict[str, Attempt] = {}
        self._book = IdempotencyBook(bounds, clock)

    async def record(self, attempts: Sequence[Attempt]) -> None:
        for attempt in attempts:
            held = self.rows.get(attempt.id)
            if held is None or held.outcome is Outcome.ABANDONED:
                self.rows[attempt.id] = attempt

    async def claim(self, tenant_id: str, key: str, body_digest: bytes) -> Claim:
        return self._book.claim(tenant_id, key, body_digest)

    async def keep_answer(self, tenant_id: str, key: str, body_digest: bytes, answer: StoredAnswer | None) -> None:
        self._book.keep_answer(tenant_id, key, body_digest, answer)

    async def attempts_of(self, request_id: str) -> list[Attempt]:
        return [attempt for attempt in self.rows.values() if attempt.request_id == request_id]

    async def totals(self) -> dict[tuple[str, str], Total]:
        totals: dict[tuple[str, str], Total] = {}
        for attempt in self.rows.values():
            total = totals.setdefault((attempt.tenant_id, attempt.upstream_id), Total())
            total.num_attempts += 1
            total.num_completed += attempt.outcome is Outcome.COMPLETED
            total.num_input_tokens += attempt.usage.num_input_tokens
            total.num_output_tokens += attempt.usage.num_output_tokens
            total.cost_usd += attempt.cost_usd
        return totals


def a_row(
    id: str = "a-1",  # noqa: A002 - the field's own name
    *,
    request_id: str = "req-1",
    number: int = 1,
    tenant_id: str = "acme",
    tier: Tier = Tier.CLOUD_ENHANCED,
    upstream_id: str = "gpt",
    place: str = "cloud",
    num_input_tokens: int = 10,
    num_output_tokens: int = 20,
    cost_usd: float = 0.5,
    outcome: Outcome = Outcome.COMPLETED,
    error_code: str | None = None,
    started_at_unix_s: float = 1_800_000_000.25,
    elapsed_s: float = 0.5,
    ttft_s: float | None = 0.1,
) -> Attempt:
    """One row of the ledger; of an upstream outside the cluster unless said otherwise."""
    return Attempt(
        id=id,
        request_id=request_id,
        number=number,
        tenant_id=tenant_id,
        tier=tier,
        upstream_id=upstream_id,
        model=f"{upstream_id}-model",
        place=Place(place),
        reason=Reason.COMPLEX,
        data_class=DataClass.PUBLIC,
        usage=Usage(num_input_tokens, num_output_tokens, is_estimated=False),
        cost_usd=cost_usd,
        outcome=outcome,
        error_code=error_code,
        started_at_unix_s=started_at_unix_s,
        elapsed_s=elapsed_s,
        ttft_s=ttft_s,
    )
