"""A ledger that keeps rows by id, and is away when a test says so; attempts that have begun, and that have ended."""

import asyncio
from collections.abc import Callable, Sequence

from serve_app.contracts.attempt import Attempt, Usage
from serve_app.contracts.ledger import Claim, StoredAnswer
from serve_app.contracts.vocabulary import LOCAL, DataClass, Outcome, Reason, Tier
from serve_app.errors import InternalError


def begun(id: str, *, request_id: str = "req-1") -> Attempt:  # noqa: A002 - the field's own name
    return _attempt(id, request_id, Usage(10, 0, is_estimated=True), Outcome.ABANDONED, cost_usd=0.0)


def ended(id: str, *, request_id: str = "req-1", cost_usd: float = 0.5) -> Attempt:  # noqa: A002 - the field's own name
    return _attempt(id, request_id, Usage(10, 20, is_estimated=False), Outcome.COMPLETED, cost_usd=cost_usd)


def _attempt(id: str, request_id: str, usage: Usage, outcome: Outcome, *, cost_usd: float) -> Attempt:  # noqa: A002
    return Attempt(
        id=id,
        request_id=request_id,
        number=1,
        tenant_id="acme",
        tier=Tier.LOCAL_FAST,
        upstream_id="mistral-7b",
        model="mistral-7b-model",
        place=LOCAL,
        reason=Reason.SIMPLE,
        data_class=DataClass.PUBLIC,
        usage=usage,
        cost_usd=cost_usd,
        outcome=outcome,
        error_code=None,
        started_at_unix_s=1_700_000_000.25,
        elapsed_s=0.5,
        ttft_s=0.1 if outcome is Outcome.COMPLETED else None,
    )


class ScriptedLedger:
    """`rows`: what a real one would hold: a final row takes the place of an abandoned one, and never the reverse."""

    def __init__(self, *, is_away: bool = False) -> None:
        self.is_away = is_away
        self.num_failures = 0
        self.loses_its_answer = False
        self.refuses: Callable[[Attempt], bool] = lambda _attempt: False
        self.rows: dict[str, Attempt] = {}
        self.calls: list[list[str]] = []
        self.batches: list[list[str]] = []
        self.may_take = asyncio.Event()
        self.may_take.set()
        self._changed = asyncio.Condition()

    @property
    def ids(self) -> list[str]:
        """As they came, with whatever came twice."""
        return [id_ for batch in self.batches for id_ in batch]

    @property
    def outcomes(self) -> dict[str, Outcome]:
        return {id_: row.outcome for id_, row in self.rows.items()}

    async def record(self, attempts: Sequence[Attempt]) -> None:
        ids = [attempt.id for attempt in attempts]
        self.calls.append(ids)
        await self._tell()
        await self.may_take.wait()
        if self.num_failures:
            self.num_failures -= 1
            raise InternalError
        if self.is_away or any(map(self.refuses, attempts)):
            raise InternalError
        assert len(set(ids)) == len(ids), "an id came twice in one batch"
        self.batches.append(ids)
        for attempt in attempts:
            held = self.rows.get(attempt.id)
            if held is None or held.outcome is Outcome.ABANDONED:
                self.rows[attempt.id] = attempt
        await self._tell()
        if self.loses_its_answer:
            raise InternalError

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(5.0), self._changed:
            await self._changed.wait_for(holds)

    async def until_held(self, count: int) -> None:
        await self.until(lambda: len(self.rows) >= count)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def claim(self, tenant_id: str, key: str, body_digest: bytes) -> Claim:
        raise NotImplementedError

    async def keep_answer(self, tenant_id: str, key: str, body_digest: bytes, answer: StoredAnswer | None) -> None:
        raise NotImplementedError
