"""The ledger's owner: rows go to the database, claims and tenants are answered from memory.

One thread does all blocking work, one piece at a time, and every caller waits for it at most `time_limit_s`. A database
that is away costs nobody more than that: rows are refused (their senders keep them and try again), claims and tenants
are answered as they are known, and a background task brings everything together when the database is back.

Claims reach the database a moment after they were made. What a crash of this owner can lose is that moment.
"""

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from serve_app.accounting.idempotency import Bounds, ClaimRecord, IdempotencyBook
from serve_app.contracts.attempt import Attempt
from serve_app.contracts.ledger import Claim, StoredAnswer, Total
from serve_app.errors import SharedStateUnavailable
from serve_app.storage.attempts import GroupBy, Span, SqlLedger
from serve_app.storage.claims import SqlClaims
from serve_app.storage.engine import StorageError
from serve_app.storage.schema import migrate
from serve_app.storage.tenants import SqlTenants, TenantEntry

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

DATABASE_ERRORS = (SQLAlchemyError, sqlite3.Error, psycopg.Error, OSError)


class PersistentLedger:
    """Implements the Ledger port. `declared_tenants` are the configuration's; they hold over the database's."""

    _RETRY_S = 1.0
    _LINGER_S = 0.05
    _POLL_S = 0.5
    _MAX_CHANGES = 500

    def __init__(
        self,
        engine: sa.Engine,
        bounds: Bounds,
        *,
        declared_tenants: Collection[str] = (),
        time_limit_s: float = 8.0,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._engine, self._bounds, self._wall_clock = engine, bounds, wall_clock
        self._book = IdempotencyBook(bounds, clock, wall_clock)
        self._rows, self._claims = SqlLedger(engine), SqlClaims(engine)
        self._sql_tenants = SqlTenants(engine, declared_tenants, wall_clock)
        self._tenants: tuple[int, Sequence[TenantEntry]] | None = None
        self._worker = _Worker(time_limit_s)
        self._is_ready, self._must_open = False, True
        self._was_tried, self._has_news = asyncio.Event(), asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the database has its tables and its claims are loaded. Claims are served before that too."""
        return self._is_ready

    async def start(self) -> None:
        """Returns when the database is open, or was tried: then a background task goes on trying."""
        self._keeper = asyncio.create_task(self._keep())
        await self._was_tried.wait()

    async def aclose(self) -> None:
        """Writes the claims that are not written yet, inside the time limit, and lets go of the database."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
        try:
            if self._is_ready:
                await self._write_claims()
        except SharedStateUnavailable:
            log.warning("the last claims were not written")
        try:
            await self._worker.call(self._engine.dispose)
        except SharedStateUnavailable:
            log.warning("the database still holds the ledger's thread")
        finally:
            self._worker.close()

    async def record(self, attempts: Sequence[Attempt]) -> None:
        """Returns when the rows are committed. Raises SharedStateUnavailable: they may be there all the same."""
        await self._read(self._rows.record, attempts)

    async def claim(self, tenant_id: str, key: str, body_digest: bytes) -> Claim:
        claim = self._book.claim(tenant_id, key, body_digest)
        if claim.is_owner:
            self._has_news.set()
        return claim

    async def keep_answer(self, tenant_id: str, key: str, body_digest: bytes, answer: StoredAnswer | None) -> None:
        self._book.keep_answer(tenant_id, key, body_digest, answer)
        self._has_news.set()

    async def attempts_of(self, request_id: str) -> list[Attempt]:
        """Raises SharedStateUnavailable, as every read of rows does."""
        return await self._read(self._rows.attempts_of, request_id)

    async def spent_outside_usd(self, since_unix_s: float) -> dict[str, float]:
        """By tenant."""
        return await self._read(self._rows.spent_outside_usd, since_unix_s)

    async def totals(self, since_unix_s: float | None = None) -> dict[tuple[str, str], Total]:
        """By tenant and upstream."""
        groups = [GroupBy.TENANT, GroupBy.UPSTREAM]
        found = await self._read(self._rows.summary, Span(since_unix_s), groups)
        return {(names[0], names[1]): total for names, total in found}

    async def tenants_version(self) -> int | None:
        """From memory: another number after a change, at most a second old. None before they were first read."""
        return None if self._tenants is None else self._tenants[0]

    async def tenants(self) -> tuple[int | None, Sequence[TenantEntry]]:
        """From memory: the version, and every good key of every enabled tenant of the database."""
        return (None, ()) if self._tenants is None else self._tenants

    async def _read(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if not self._is_ready:
            raise SharedStateUnavailable(self._RETRY_S)
        return await self._worker.call(work, *args, **kwargs)

    async def _keep(self) -> None:
        """Opens the database, then writes claims and follows the tenants, until cancelled."""
        while True:
            self._must_open = not await self._keep_once()
            self._was_tried.set()
            if self._must_open:
                await asyncio.sleep(self._RETRY_S)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._POLL_S):
                    await self._has_news.wait()
            self._has_news.clear()
            await asyncio.sleep(self._LINGER_S)

    async def _keep_once(self) -> bool:
        try:
            if self._must_open:
                await self._open()
            await self._write_claims()
            self._tenants = await self._worker.call(self._tenants_after, self._tenants)
        except SharedStateUnavailable:
            return False
        except StorageError as error:
            log.error("%s", error)  # noqa: TRY400 - its sentence says it all
            return False
        except Exception as error:  # noqa: BLE001 - a background loop: whatever it was, the next turn tries again
            log.error("the ledger's upkeep failed: %s", type(error).__name__)  # noqa: TRY400 - may quote the database
            return False
        return True

    async def _open(self) -> None:
        """Also after each failure: the database that comes back may be an older copy, or an empty one."""
        await self._worker.call(migrate, self._engine)
        self._book.load(await self._worker.call(self._load_claims))
        if not self._is_ready:
            log.info("the ledger's database is open")
        self._is_ready = True

    def _load_claims(self) -> Sequence[ClaimRecord]:
        return self._claims.load(self._oldest_claim_unix_s(), self._bounds.max_idempotency_keys)

    async def _write_claims(self) -> None:
        while self._book.has_changes:
            changes = self._book.take_changes(self._MAX_CHANGES)
            try:
                await self._worker.call(self._claims.apply, changes, self._oldest_claim_unix_s())
            except BaseException:
                self._book.put_back(changes)
                raise

    def _oldest_claim_unix_s(self) -> float:
        return self._wall_clock() - self._bounds.idempotency_ttl_s

    def _tenants_after(self, known: tuple[int, Sequence[TenantEntry]] | None) -> tuple[int, Sequence[TenantEntry]]:
        """The version is read first: a change in between is read twice, and never missed."""
        version = self._sql_tenants.version()
        if known is not None and known[0] == version:
            return known
        return version, self._sql_tenants.entries()


class _Worker:
    """One thread. A call that outlives its caller's patience holds the thread, and the next caller waits for it."""

    _RETRY_S = 1.0

    def __init__(self, time_limit_s: float) -> None:
        self._time_limit_s = time_limit_s
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._turn = asyncio.Lock()
        self._running: asyncio.Future[Any] | None = None

    async def call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Raises SharedStateUnavailable for whatever keeps the database from answering in time."""
        try:
            async with asyncio.timeout(self._time_limit_s), self._turn:
                if self._running is not None:
                    await asyncio.wait({self._running})
                future = self._running = self._begin(lambda: work(*args, **kwargs))
                return await asyncio.shield(future)
        except TimeoutError:
            log.warning("the ledger's database did not answer within %.1f s", self._time_limit_s)
        except DATABASE_ERRORS as error:
            log.warning("the ledger's database failed: %s", _name_of(error))
        # Not chained: what a driver says may quote addresses and rows, and this error leaves the process.
        raise SharedStateUnavailable(self._RETRY_S)

    def _begin(self, work: Callable[[], T]) -> asyncio.Future[T]:
        try:
            future = asyncio.get_running_loop().run_in_executor(self._thread, work)
        except RuntimeError:
            # The interpreter is ending, and takes no work for threads any more.
            raise SharedStateUnavailable(self._RETRY_S) from None
        future.add_done_callback(_look_at)
        return future

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


def _look_at(future: asyncio.Future[T]) -> None:
    """Nobody may be left to do it, and asyncio complains of errors that nobody looked at."""
    if not future.cancelled():
        future.exception()


def _name_of(error: BaseException) -> str:
    cause = getattr(error, "orig", None) or error
    code = getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None)
    return f"{type(cause).__name__} ({code})" if code else type(cause).__name__
