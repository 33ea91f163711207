"""The ledger's owner beside a database that is slow, broken or not there: nobody waits longer than the limit."""

import asyncio
import contextlib
import pickle
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from serve_app.accounting.idempotency import Bounds
from serve_app.contracts.ledger import Claim
from serve_app.errors import SharedStateUnavailable
from serve_app.storage.attempts import SqlLedger
from serve_app.storage.claims import SqlClaims
from serve_app.storage.engine import open_engine, reading, sqlite_url, writing
from serve_app.storage.ledger import PersistentLedger
from serve_app.storage.schema import migrate
from tests.fakes.ledgers import a_row

BOUNDS = Bounds(100, 1000, 10_000, 3600.0, 600.0)
OWNER, RUNNING = Claim(is_owner=True), Claim(is_owner=False)
BODY = b"digest"


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[PersistentLedger]:
    ledger = PersistentLedger(open_engine(sqlite_url(tmp_path / "ledger.db")), BOUNDS)
    await ledger.start()
    yield ledger
    if not ledger._worker._thread._shutdown:
        await ledger.aclose()


class Stuck:
    """Stands in for a method that blocks until it is let go."""

    def __init__(self) -> None:
        self.num_calls = 0
        self.is_let_go = threading.Event()

    def __call__(self, *_: object) -> None:
        self.num_calls += 1
        assert self.is_let_go.wait(10.0)


async def test_a_stuck_thread_costs_every_caller_its_limit_and_piles_nothing_up(
    ledger: PersistentLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = Stuck()
    with monkeypatch.context() as patch:
        patch.setattr(ledger._worker, "_time_limit_s", 0.2)
        patch.setattr(ledger._rows, "record", stuck)
        began = time.monotonic()
        results = await asyncio.gather(*(ledger.record([a_row()]) for _ in range(20)), return_exceptions=True)
        assert time.monotonic() - began < 2.0
        assert all(isinstance(result, SharedStateUnavailable) for result in results)
        with pytest.raises(SharedStateUnavailable):
            await ledger.record([a_row()])
        assert await ledger.claim("acme", "k", BODY) == OWNER
        assert stuck.num_calls == 1
        stuck.is_let_go.set()
    await ledger.record([a_row()])
    assert await ledger.attempts_of("req-1") == [a_row()]
    assert stuck.num_calls == 1


async def test_a_stuck_thread_does_not_keep_the_owner_from_closing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = PersistentLedger(open_engine(sqlite_url(tmp_path / "ledger.db")), BOUNDS)
    await ledger.start()
    stuck = Stuck()
    monkeypatch.setattr(ledger._worker, "_time_limit_s", 0.1)
    monkeypatch.setattr(ledger._rows, "record", stuck)
    with pytest.raises(SharedStateUnavailable):
        await ledger.record([a_row()])
    await asyncio.wait_for(ledger.aclose(), 2.0)
    stuck.is_let_go.set()
    ledger._engine.dispose()


async def test_a_caller_that_leaves_does_not_hold_the_thread_for_the_next(ledger: PersistentLedger) -> None:
    leaving = asyncio.create_task(ledger.record([a_row("left")]))
    await asyncio.sleep(0)
    leaving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await leaving
    await ledger.record([a_row("stayed")])
    assert "stayed" in [row.id for row in await ledger.attempts_of("req-1")]


@pytest.mark.parametrize("error", [OSError(28, "full"), sa.exc.OperationalError("SELECT", None, Exception("secret"))])
async def test_what_breaks_a_call_is_typed_and_says_nothing_of_the_database(
    ledger: PersistentLedger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(ledger._rows, "record", fail)
    with pytest.raises(SharedStateUnavailable) as caught:
        await ledger.record([a_row()])
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), SharedStateUnavailable)  # noqa: S301 - our own bytes
    assert "secret" not in caplog.text
    assert type(error).__name__ in caplog.text or "Exception" in caplog.text


async def test_a_defect_in_the_upkeep_does_not_end_it(
    ledger: PersistentLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PersistentLedger, "_RETRY_S", 0.01)
    num_failures = 0
    apply = SqlClaims.apply

    def fail_twice(self: SqlClaims, *args: object) -> None:
        nonlocal num_failures
        if num_failures < 2:
            num_failures += 1
            raise ZeroDivisionError
        apply(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(SqlClaims, "apply", fail_twice)
    await ledger.claim("acme", "k", BODY)
    async with asyncio.timeout(5.0):
        while ledger._book.has_changes or num_failures < 2:  # noqa: ASYNC110 - the upkeep tells nobody
            await asyncio.sleep(0.01)
    assert await ledger.claim("acme", "k", BODY) == RUNNING
    await ledger.aclose()
    with reading(ledger._engine) as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM idempotency_claims")) == 1
    ledger._engine.dispose()


async def test_a_folder_that_cannot_be_made_leaves_claims_working(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    ledger = PersistentLedger(open_engine(sqlite_url(tmp_path / "file" / "ledger.db")), BOUNDS)
    await ledger.start()
    assert not ledger.is_ready
    assert await ledger.claim("acme", "k", BODY) == OWNER
    for call in (ledger.record([]), ledger.attempts_of("x"), ledger.totals(), ledger.spent_outside_usd(0.0)):
        with pytest.raises(SharedStateUnavailable):
            await call
    await ledger.aclose()


async def test_a_database_that_is_newer_than_the_code_leaves_claims_working_and_is_named_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = open_engine(sqlite_url(tmp_path / "ledger.db"))
    migrate(engine)
    with writing(engine) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    ledger = PersistentLedger(engine, BOUNDS)
    await ledger.start()
    assert (ledger.is_ready, await ledger.claim("acme", "k", BODY)) == (False, OWNER)
    assert "revision 9999" in caplog.text
    await ledger.aclose()


async def test_a_database_that_comes_back_empty_gets_its_tables_again(
    ledger: PersistentLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PersistentLedger, "_RETRY_S", 0.01)
    with writing(ledger._engine) as connection:
        for name in sa.inspect(connection).get_table_names():
            connection.execute(sa.text(f"DROP TABLE {name}"))
    async with asyncio.timeout(5.0):
        while True:
            try:
                await ledger.record([a_row()])
            except SharedStateUnavailable:
                await asyncio.sleep(0.01)
            else:
                break
    assert await ledger.attempts_of("req-1") == [a_row()]


async def test_closing_writes_the_last_claims(tmp_path: Path) -> None:
    engine = open_engine(sqlite_url(tmp_path / "ledger.db"))
    ledger = PersistentLedger(engine, BOUNDS)
    await ledger.start()
    await ledger.claim("acme", "k", BODY)
    await ledger.aclose()
    with reading(engine) as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM idempotency_claims")) == 1
    engine.dispose()


async def test_closing_without_a_database_ends_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = PersistentLedger(open_engine(sqlite_url(tmp_path / "ledger.db")), BOUNDS)
    await ledger.start()

    def fail(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(ledger._claims, "apply", fail)
    await ledger.claim("acme", "k", BODY)
    await ledger.aclose()
    assert ledger._worker._thread._shutdown
    assert ledger._engine.pool.checkedin() == 0  # type: ignore[attr-defined]


async def test_an_owner_that_was_never_started_can_be_closed(tmp_path: Path) -> None:
    await PersistentLedger(open_engine(sqlite_url(tmp_path / "ledger.db")), BOUNDS).aclose()
    assert not (tmp_path / "ledger.db").exists()


async def test_claims_never_wait_for_the_database(ledger: PersistentLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = Stuck()
    with monkeypatch.context() as patch:
        patch.setattr(SqlLedger, "attempts_of", stuck)
        waiting = asyncio.create_task(ledger.attempts_of("x"))
        await asyncio.sleep(0.01)
        began = time.monotonic()
        for number in range(100):
            assert await ledger.claim("acme", str(number), BODY) == OWNER
        assert time.monotonic() - began < 0.5
        stuck.is_let_go.set()
        await asyncio.wait({waiting})
