"""The ledger in memory: bounded rows, running totals, and idempotency claims. One owner, so nothing here locks."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serve_app.contracts.attempt import Attempt
from serve_app.contracts.ledger import Claim, StoredAnswer
from serve_app.contracts.vocabulary import Outcome
from serve_app.errors import IdempotencyConflict


@dataclass(slots=True)
class Total:
    """Since the ledger started. `num_attempts` counts every outcome, `num_completed` the answers."""

    num_attempts: int = 0
    num_completed: int = 0
    num_input_tokens: int = 0
    num_output_tokens: int = 0
    cost_usd: float = 0.0

    def add(self, attempt: Attempt) -> None:
        self.num_attempts += 1
        self.num_completed += attempt.outcome is Outcome.COMPLETED
        self.num_input_tokens += attempt.usage.num_input_tokens
        self.num_output_tokens += attempt.usage.num_output_tokens
        self.cost_usd += attempt.cost_usd


@dataclass(frozen=True, slots=True)
class Bounds:
    """Upper limits of what is held; the oldest goes first. `max_kept_bytes` is of all kept answers together."""

    max_attempts: int
    max_idempotency_keys: int
    max_kept_answer_bytes: int
    max_kept_bytes: int
    idempotency_ttl_s: float


@dataclass(slots=True)
class _Entry:
    body_digest: bytes
    claimed_at: float
    answer: StoredAnswer | None = None


class MemoryLedger:
    """Implements the Ledger port. Totals are by tenant and upstream, both closed sets of the configuration."""

    def __init__(self, bounds: Bounds, clock: Callable[[], float] = time.monotonic) -> None:
        self._bounds, self._clock = bounds, clock
        self._attempts: deque[Attempt] = deque(maxlen=bounds.max_attempts)
        self._totals: dict[tuple[str, str], Total] = {}
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._num_kept_bytes = 0

    async def record(self, attempts: Sequence[Attempt]) -> None:
        for attempt in attempts:
            self._attempts.append(attempt)
            self._totals.setdefault((attempt.tenant_id, attempt.upstream_id), Total()).add(attempt)

    async def attempts_of(self, request_id: str) -> list[Attempt]:
        """The rows of one request that are still held, in order."""
        return [attempt for attempt in self._attempts if attempt.request_id == request_id]

    async def totals(self) -> dict[tuple[str, str], Total]:
        return dict(self._totals)

    async def claim(self, tenant_id: str, key: str, body_digest: bytes) -> Claim:
        self._expire()
        entry = self._entries.get((tenant_id, key))
        if entry is None:
            if len(self._entries) >= self._bounds.max_idempotency_keys:
                self._forget_oldest()
            self._entries[tenant_id, key] = _Entry(body_digest, self._clock())
            return Claim(is_owner=True)
        if entry.body_digest != body_digest:
            raise IdempotencyConflict
        return Claim(is_owner=False, answer=entry.answer)

    async def keep_answer(self, tenant_id: str, key: str, body_digest: bytes, answer: StoredAnswer | None) -> None:
        entry = self._entries.get((tenant_id, key))
        if entry is None or entry.body_digest != body_digest or entry.answer is not None:
            return
        if answer is None or len(answer.body) > self._bounds.max_kept_answer_bytes:
            del self._entries[tenant_id, key]
            return
        entry.answer = answer
        self._num_kept_bytes += len(answer.body)
        while self._num_kept_bytes > self._bounds.max_kept_bytes:
            self._forget_oldest()

    def _expire(self) -> None:
        oldest_allowed = self._clock() - self._bounds.idempotency_ttl_s
        while self._entries and next(iter(self._entries.values())).claimed_at <= oldest_allowed:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, entry = self._entries.popitem(last=False)
        if entry.answer is not None:
            self._num_kept_bytes -= len(entry.answer.body)
