"""The one owner of all that routers share: attempts, claims, tenants, allowances, breakers. A single replica."""

from collections.abc import Sequence

from deployments.logs import log_with_serve
from serve_app.assembly.shared import SharedState
from serve_app.contracts.allowance import Balance, Order
from serve_app.contracts.attempt import Attempt
from serve_app.contracts.breaker import BreakerEvent, BreakerView
from serve_app.contracts.ledger import Claim, StoredAnswer, Total
from serve_app.contracts.tenant import StoredKey
from serve_app.settings.load import LoadedSettings


class Ledger:
    """Implements the Ledger, TenantSource, Allowances and BreakerBoard ports."""

    async def __init__(self, loaded: LoadedSettings) -> None:  # type: ignore[misc]  # Serve awaits it
        """Serve asks a replica nothing, and calls it healthy no sooner, than this has returned."""
        log_with_serve()
        self._state = SharedState(loaded)
        # What Serve awaits after the last request. As a method of the class, Python would call it as well, and never
        # await it.
        self.__del__ = self._state.aclose
        await self._state.start()

    async def record(self, attempts: Sequence[Attempt]) -> None:
        await self._state.ledger.record(attempts)

    async def claim(self, tenant_id: str, key: str, body_digest: bytes) -> Claim:
        return await self._state.ledger.claim(tenant_id, key, body_digest)

    async def keep_answer(self, tenant_id: str, key: str, body_digest: bytes, answer: StoredAnswer | None) -> None:
        await self._state.ledger.keep_answer(tenant_id, key, body_digest, answer)

    async def attempts_of(self, request_id: str) -> list[Attempt]:
        return await self._state.ledger.attempts_of(request_id)

    async def totals(self) -> dict[tuple[str, str], Total]:
        return await self._state.ledger.totals()

    async def tenants_version(self) -> int | None:
        return await self._state.ledger.tenants_version()

    async def tenants(self) -> tuple[int | None, Sequence[StoredKey]]:
        return await self._state.ledger.tenants()

    async def trade(self, holder: str, lease_s: float, orders: Sequence[Order]) -> Sequence[Balance]:
        return await self._state.allowances.trade(holder, lease_s, orders)

    async def report(self, holder: str, events: Sequence[BreakerEvent]) -> Sequence[BreakerView]:
        return await self._state.board.report(holder, events)

    async def try_probe(self, holder: str, upstream_id: str) -> bool:
        return await self._state.board.try_probe(holder, upstream_id)
