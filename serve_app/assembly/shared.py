"""What all routers share: ledger, counters, breakers and tenants, and where each of them is kept."""

import asyncio
import logging
import time
from dataclasses import dataclass

from serve_app.accounting.budget import TOTAL, nano_usd, spending_key
from serve_app.accounting.idempotency import Bounds
from serve_app.admission.meters import MeterBook, period_ends_at, period_of
from serve_app.assembly.policies import breaker_policy
from serve_app.contracts.allowance import Allowances, MeterKind
from serve_app.contracts.breaker import BreakerBoard
from serve_app.contracts.ledger import Ledger
from serve_app.contracts.tenant import TenantSource
from serve_app.errors import SharedStateUnavailable
from serve_app.resilience.board import MemoryBreakerBoard
from serve_app.settings.load import LoadedSettings
from serve_app.settings.schema import SecretRef
from serve_app.storage.engine import database_url, open_engine
from serve_app.storage.ledger import PersistentLedger

log = logging.getLogger(__name__)

LOAD_AGAIN_S = 2.0


@dataclass(frozen=True, slots=True)
class SharedPorts:
    """As one router sees what it shares with the others."""

    ledger: Ledger
    tenants: TenantSource
    allowances: Allowances
    board: BreakerBoard


class SharedState:
    """The owner of all of it, in one process. Comes up without its database, and lends no money until that was read."""

    def __init__(self, loaded: LoadedSettings) -> None:
        """Connects to nothing yet. Raises MissingSecret or DatabaseUrlInvalid."""
        self.ledger = _ledger(loaded)
        self._redis = RedisCounters.of(loaded)
        self._meters = MeterBook(time.monotonic, time.time)
        self.allowances: Allowances = self._meters if self._redis is None else self._redis.allowances
        self.board: BreakerBoard = _memory_board(loaded) if self._redis is None else self._redis.board
        self._loader: asyncio.Task[None] | None = None

    @property
    def ports(self) -> SharedPorts:
        return SharedPorts(self.ledger, self.ledger, self.allowances, self.board)

    async def start(self) -> None:
        await self.ledger.start()
        self._loader = asyncio.create_task(self._load_spending())

    async def aclose(self) -> None:
        if self._loader is not None:
            self._loader.cancel()
            await asyncio.wait({self._loader})
        if self._redis is not None:
            await self._redis.aclose()
        await self.ledger.aclose()

    async def _load_spending(self) -> None:
        """What this day and month have cost is in the ledger. Until it was read, no money is lent."""
        while True:
            try:
                now = time.time()
                day, month = await self._spent(MeterKind.DAY, now), await self._spent(MeterKind.MONTH, now)
                if self._redis is None:
                    self._meters.preset(day=day, month=month, as_of_unix_s=now)
                    return
                await self._redis.allowances.preset(day=day, month=month, as_of_unix_s=now)
            except SharedStateUnavailable as error:
                log.warning("spending is not loaded yet: %s", error.code)
            # Redis may lose what it knew at any time, so it is told again and again.
            await asyncio.sleep(LOAD_AGAIN_S)

    async def _spent(self, kind: MeterKind, now: float) -> dict[str, int]:
        """Billionths of a USD by meter key, since the period that holds `now` began."""
        starts_at = period_ends_at(kind, period_of(kind, now) - 1)
        spent = await self.ledger.spent_outside_usd(starts_at)
        by_key = {spending_key(kind, tenant_id): nano_usd(usd) for tenant_id, usd in spent.items()}
        return {**by_key, spending_key(kind, TOTAL): sum(by_key.values())}


class RedisCounters:
    """The ports over one connection pool to Redis."""

    def __init__(self, loaded: LoadedSettings, ref: SecretRef) -> None:
        # Imported here because Redis comes with it: most gateways run without.
        from serve_app.storage.redis_state import RedisAllowances, RedisBreakerBoard, open_redis  # noqa: PLC0415

        self._client = open_redis(loaded.secret(ref).get_secret_value(), loaded.tree.shared_state.timeout_s)
        self.allowances = RedisAllowances(self._client)
        self.board = RedisBreakerBoard(self._client, breaker_policy(loaded), tuple(loaded.active_upstreams))

    @classmethod
    def of(cls, loaded: LoadedSettings) -> "RedisCounters | None":
        """None where the configuration names no Redis. Raises MissingSecret."""
        ref = loaded.tree.shared_state.redis
        return None if ref is None else cls(loaded, ref)

    async def aclose(self) -> None:
        await self._client.aclose()


def _ledger(loaded: LoadedSettings) -> PersistentLedger:
    settings = loaded.tree.ledger
    url = None if settings.database is None else loaded.secret(settings.database).get_secret_value()
    bounds = Bounds(
        max_idempotency_keys=settings.max_idempotency_keys,
        max_kept_answer_bytes=settings.max_kept_answer_bytes,
        max_kept_bytes=settings.max_kept_bytes,
        idempotency_ttl_s=settings.idempotency_ttl_s,
        running_lease_s=2 * max(tier.deadline_s for tier in loaded.tree.tiers.values()),
    )
    engine = open_engine(database_url(url, loaded.resolve_path(loaded.tree.state_folder)))
    return PersistentLedger(engine, bounds, declared_tenants=tuple(loaded.tree.tenants))


def _memory_board(loaded: LoadedSettings) -> MemoryBreakerBoard:
    return MemoryBreakerBoard(breaker_policy(loaded), tuple(loaded.active_upstreams), time.monotonic)
