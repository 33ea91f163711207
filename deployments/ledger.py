"""The one owner of attempts, costs and idempotency claims: a single replica, so that nothing in it needs a lock."""

from collections.abc import Sequence

from serve_app import assembly
from serve_app.accounting.memory_ledger import Total
from serve_app.contracts.attempt import Attempt
from serve_app.contracts.ledger import Claim, StoredAnswer
from serve_app.settings.load import LoadedSettings


class Ledger:
    """Implements the Ledger port."""

    def __init__(self, loaded: LoadedSettings) -> None:
        self._ledger = assembly.memory_ledger(loaded)

    async def record(self, attempts: Sequence[Attempt]) -> None:
        await self._ledger.record(attempts)

    async def claim(self, tenant_id: str, key: str, body_digest: bytes) -> Claim:
        return await self._ledger.claim(tenant_id, key, body_digest)

    async def keep_answer(self, tenant_id: str, key: str, body_digest: bytes, answer: StoredAnswer | None) -> None:
        await self._ledger.keep_answer(tenant_id, key, body_digest, answer)

    async def attempts_of(self, request_id: str) -> list[Attempt]:
        return await self._ledger.attempts_of(request_id)

    async def totals(self) -> dict[tuple[str, str], Total]:
        return await self._ledger.totals()
