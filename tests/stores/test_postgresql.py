"""The ledger's database: the same behaviour on SQLite and on a real PostgreSQL."""

import asyncio
import random
import sqlite3
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import event

from serve_app.accounting.idempotency import Bounds
from serve_app.contracts.ledger import Claim, StoredAnswer, Total
from serve_app.contracts.tenant import Budget, Quota, Tenant
from serve_app.contracts.vocabulary import DataClass, Outcome, Place, Priority, Tier
from serve_app.errors import IdempotencyAnswerGone, IdempotencyConflict, SharedStateUnavailable
from serve_app.storage import schema
from serve_app.storage.attempts import ALWAYS, GroupBy, Span, SqlLedger
from serve_app.storage.engine import open_engine, reading, sqlite_url, writing
from serve_app.storage.ledger import PersistentLedger
from serve_app.storage.schema import DatabaseNewer, DatabaseNotMigrated, check_schema, migrate
from serve_app.storage.tables import attempts, metadata
from serve_app.storage.tenants import SqlTenants, TenantExists, UnknownTenant
from tests.fakes.builders import FakeClock
from tests.fakes.ledgers import a_row
from tests.fakes.processes import ROOT
from tests.fakes.servers import StoreServer

BODY = b"digest"
BOUNDS = Bounds(100, 1000, 10_000, 3600.0, 600.0)
DAY_S = 86_400.0
MIDNIGHT = 1_800_000_000.0 // DAY_S * DAY_S
OWNER, RUNNING = Claim(is_owner=True), Claim(is_owner=False)
ANSWER = StoredAnswer(200, "application/json", (), b"{}")
numbers = count()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of its own."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "state" / "ledger.db")
    server: StoreServer = request.getfixturevalue("postgres")
    return fresh_database(server)


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    engine = open_engine(url)
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def ledger(engine: sa.Engine) -> SqlLedger:
    return SqlLedger(engine)


def fresh_database(server: StoreServer) -> str:
    name = f"test_{next(numbers)}"
    admin = open_engine(server.url)
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return sa.make_url(server.url).set(database=name).render_as_string(hide_password=False)


@asynccontextmanager
async def started(url: str, *, time_limit_s: float = 8.0, **options: object) -> AsyncIterator[PersistentLedger]:
    ledger = PersistentLedger(open_engine(url), BOUNDS, time_limit_s=time_limit_s, **options)  # type: ignore[arg-type]
    await ledger.start()
    try:
        yield ledger
    finally:
        await ledger.aclose()


async def comes_true(question: Callable[[], bool], time_limit_s: float = 15.0) -> None:
    async with asyncio.timeout(time_limit_s):
        while not question():  # noqa: ASYNC110 - what it asks about has no event
            await asyncio.sleep(0.02)


# --- rows


def test_a_row_comes_back_as_it_was_recorded(ledger: SqlLedger) -> None:
    rows = [
        a_row("a", number=1, outcome=Outcome.FAILED, error_code="upstream_timed_out", ttft_s=None, elapsed_s=1 / 3),
        a_row("b", number=2, started_at_unix_s=1_800_000_001.123456, cost_usd=0.000_000_001),
    ]
    ledger.record([*rows, a_row("c", request_id="another")])
    assert ledger.attempts_of("req-1") == rows
    assert ledger.attempts_of("nobody") == []


def test_the_same_row_again_changes_nothing(ledger: SqlLedger) -> None:
    ledger.record([a_row(), a_row()])
    ledger.record([a_row(cost_usd=9.0)])
    assert ledger.attempts_of("req-1") == [a_row()]


def test_nothing_to_record_is_no_error(ledger: SqlLedger) -> None:
    ledger.record([])
    assert ledger.count(ALWAYS) == 0


OPENED, FINAL = a_row(outcome=Outcome.ABANDONED, cost_usd=2.0), a_row(cost_usd=0.25)


@pytest.mark.parametrize("batches", [[[OPENED], [FINAL]], [[FINAL], [OPENED]], [[OPENED, FINAL]], [[FINAL, OPENED]]])
def test_a_final_row_takes_the_place_of_an_abandoned_one_and_never_the_other_way(
    ledger: SqlLedger, batches: list[list[object]]
) -> None:
    for batch in batches:
        ledger.record(batch)  # type: ignore[arg-type]
    assert ledger.attempts_of("req-1") == [FINAL]


def test_an_abandoned_row_stays_as_it_was_first_told(ledger: SqlLedger) -> None:
    ledger.record([OPENED])
    ledger.record([replace(OPENED, cost_usd=7.0)])
    assert ledger.attempts_of("req-1") == [OPENED]


def test_sums_of_money_are_exact(ledger: SqlLedger) -> None:
    ledger.record([a_row(str(number), cost_usd=0.1) for number in range(1000)])
    assert ledger.spent_outside_usd(0.0) == {"acme": 100.0}


def test_spending_is_by_tenant_since_a_moment_and_outside_the_cluster_alone(ledger: SqlLedger) -> None:
    ledger.record(
        [
            a_row("before", started_at_unix_s=MIDNIGHT - 0.001),
            a_row("at", started_at_unix_s=MIDNIGHT, cost_usd=1.0),
            a_row("failed", started_at_unix_s=MIDNIGHT + 5, cost_usd=0.25, outcome=Outcome.FAILED),
            a_row("home", started_at_unix_s=MIDNIGHT + 5, place="local", cost_usd=64.0),
            a_row("other", started_at_unix_s=MIDNIGHT + 5, tenant_id="globex", cost_usd=2.0),
        ]
    )
    assert ledger.spent_outside_usd(MIDNIGHT) == {"acme": 1.25, "globex": 2.0}
    assert ledger.spent_outside_usd(MIDNIGHT + DAY_S) == {}


HOSTILE = [
    "",
    "\0",
    "a\0b",
    "\ud800",
    "'; DROP TABLE attempts; --",
    "=cmd()",
    "%s %(x)s {y} :z ?",
    "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789☃", k=20_000)),  # does not compress
    "\u202e",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_text_of_a_caller_or_an_upstream_keeps_a_row_from_being_written(ledger: SqlLedger, text: str) -> None:
    hostile = a_row(request_id=text, tenant_id=text, upstream_id=text, place=text or "cloud", error_code=text)
    ledger.record([hostile, a_row("plain")])
    assert len(ledger.attempts_of(text)) == 1
    assert ledger.count(ALWAYS) == 2


@pytest.mark.parametrize("number", [10**30, -1, 2**63])
def test_no_count_of_an_upstream_keeps_a_row_from_being_written_or_summed(ledger: SqlLedger, number: int) -> None:
    rows = [a_row(str(i), num_input_tokens=number, num_output_tokens=number, number=number) for i in range(3)]
    ledger.record([replace(row, cost_usd=float(number), elapsed_s=float("nan"), ttft_s=float("inf")) for row in rows])
    ledger.record([a_row("nan", cost_usd=float("nan"), started_at_unix_s=float("-inf"))])
    ((_, total),) = ledger.summary(ALWAYS, [GroupBy.TENANT])
    assert total.num_attempts == 4


# --- summaries and exports


def test_a_summary_adds_up_each_group(ledger: SqlLedger) -> None:
    ledger.record(
        [
            a_row("1", cost_usd=0.5, started_at_unix_s=MIDNIGHT - 0.5),
            a_row("2", cost_usd=0.25, started_at_unix_s=MIDNIGHT, outcome=Outcome.CANCELLED),
            a_row("3", cost_usd=0.125, started_at_unix_s=MIDNIGHT + DAY_S - 0.5, tenant_id="globex"),
            a_row("4", cost_usd=0.0, started_at_unix_s=MIDNIGHT + DAY_S, tier=Tier.LOCAL_FAST, upstream_id="home"),
        ]
    )
    assert ledger.summary(ALWAYS, [GroupBy.DAY]) == [
        (("2027-01-14",), Total(1, 1, 10, 20, 0.5)),
        (("2027-01-15",), Total(2, 1, 20, 40, 0.375)),
        (("2027-01-16",), Total(1, 1, 10, 20, 0.0)),
    ]
    assert [names for names, _ in ledger.summary(ALWAYS, [GroupBy.TENANT, GroupBy.TIER, GroupBy.UPSTREAM])] == [
        ("acme", "CLOUD_ENHANCED", "gpt"),
        ("acme", "LOCAL_FAST", "home"),
        ("globex", "CLOUD_ENHANCED", "gpt"),
    ]
    within = Span(MIDNIGHT, MIDNIGHT + DAY_S)
    assert ledger.summary(within, []) == [((), Total(2, 1, 20, 40, 0.375))]
    assert ledger.summary(Span(MIDNIGHT + 2 * DAY_S), []) == []


def test_rows_come_in_order_and_none_is_missed_or_repeated_between_two_batches(
    ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SqlLedger, "_BATCH", 3)
    rows = [a_row(f"{number:02}", started_at_unix_s=MIDNIGHT + number // 5) for number in range(20)]
    ledger.record(reversed(rows))
    assert list(ledger.rows(ALWAYS)) == rows
    assert list(ledger.rows(Span(MIDNIGHT + 1, MIDNIGHT + 2))) == rows[5:10]
    assert ledger.count(Span(MIDNIGHT + 1, MIDNIGHT + 2)) == 5


def test_rows_of_one_tenant_are_its_own(ledger: SqlLedger) -> None:
    ledger.record([a_row("1"), a_row("2", tenant_id="globex")])
    assert [row.id for row in ledger.rows(ALWAYS, "globex")] == ["2"]
    assert ledger.count(ALWAYS, "globex") == 1


def test_a_hundred_thousand_rows_are_read_in_bounded_memory(engine: sa.Engine, ledger: SqlLedger) -> None:
    fill(engine, 100_000)
    tracemalloc.start()
    num_rows = sum(1 for _ in ledger.rows(ALWAYS))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert num_rows == 100_000
    assert peak_bytes < 8_000_000


def fill(engine: sa.Engine, num_rows: int) -> None:
    """Copies one row inside the database: a hundred thousand inserts of ours would say nothing more."""
    SqlLedger(engine).record([a_row("0")])
    names = [column.name for column in attempts.c if column.name not in ("id", "started_at_unix_s")]
    with writing(engine) as connection:
        connection.execute(
            sa.text(
                f"INSERT INTO attempts (id, started_at_unix_s, {', '.join(names)}) "  # noqa: S608 - our own names
                f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {num_rows - 1}) "
                f"SELECT CAST(n.i AS TEXT), started_at_unix_s + n.i, {', '.join(names)} FROM n, attempts WHERE id = '0'"
            )
        )


# --- migrations


def test_migrations_and_tables_say_the_same(engine: sa.Engine) -> None:
    with reading(engine) as connection:
        found = compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata)
    assert found == []


def test_migrating_twice_changes_nothing(engine: sa.Engine, ledger: SqlLedger) -> None:
    ledger.record([a_row()])
    assert migrate(engine) == migrate(engine) == "0001"
    assert ledger.attempts_of("req-1") == [a_row()]
    check_schema(engine)


def test_two_starters_may_migrate_at_once(url: str) -> None:
    engines = [open_engine(url) for _ in range(4)]
    barrier = threading.Barrier(len(engines))

    def start(engine: sa.Engine) -> str:
        barrier.wait()
        return migrate(engine)

    with ThreadPoolExecutor(len(engines)) as threads:
        assert list(threads.map(start, engines)) == ["0001"] * len(engines)
    for engine in engines:
        engine.dispose()


def test_a_starter_waits_for_the_one_that_migrates(url: str) -> None:
    first, second = open_engine(url), open_engine(url)
    with ThreadPoolExecutor(1) as thread:
        with writing(first) as connection:
            if connection.dialect.name == "postgresql":
                schema._lock_postgresql(connection)
            waiting = thread.submit(migrate, second)
            with pytest.raises(TimeoutError):
                waiting.result(0.5)
        assert waiting.result(10.0) == "0001"
    first.dispose()
    second.dispose()


def test_two_processes_may_migrate_at_once(url: str) -> None:
    code = "import sys; from serve_app.storage import engine, schema; schema.migrate(engine.open_engine(sys.argv[1]))"
    run_at_once([[code, url]] * 3)


def test_a_database_that_is_newer_than_the_code_is_refused_and_left_alone(engine: sa.Engine) -> None:
    with writing(engine) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    for refuse in (migrate, check_schema):
        with pytest.raises(DatabaseNewer, match="revision 9999"):
            refuse(engine)


def test_a_database_without_tables_is_told_from_one_with(url: str) -> None:
    engine = open_engine(url)
    with pytest.raises(DatabaseNotMigrated):
        check_schema(engine)
    engine.dispose()


def test_a_migration_that_fails_leaves_nothing_behind(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_engine(url)

    def break_down(*_: object) -> str:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr("serve_app.storage.schema._head", break_down)
        with pytest.raises(RuntimeError):
            migrate(engine)
    assert sa.inspect(engine).get_table_names() == []
    migrate(engine)
    engine.dispose()


def run_at_once(commands: list[list[str]]) -> None:
    running = [
        subprocess.Popen([sys.executable, "-c", *command], cwd=ROOT, stderr=subprocess.PIPE) for command in commands
    ]
    for process in running:
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 0, stderr.decode()


# --- tenants

ACME = Tenant(
    "acme",
    frozenset({Tier.LOCAL_FAST, Tier.CLOUD_FALLBACK}),
    frozenset({Place("local"), Place("cloud")}),
    DataClass.CONFIDENTIAL,
    Priority.HIGH,
    Quota(10, 20_000, 30.0, 4),
    Budget(1.1, 22.2),
    33.3,
)
GLOBEX = Tenant("globex", frozenset(Tier), frozenset({Place("local")}), DataClass.PUBLIC)


def test_a_tenant_comes_back_as_it_was_made_and_its_key_only_as_a_digest(engine: sa.Engine) -> None:
    tenants = SqlTenants(engine)
    keys = [tenants.create(tenant) for tenant in (ACME, GLOBEX)]
    assert {entry[2].id: entry[2] for entry in tenants.entries()} == {"acme": ACME, "globex": GLOBEX}
    assert all(key.startswith("uc-") and len(key) >= 35 for key in keys)
    assert [held.key_hints for held in tenants.all()] == [(keys[0][-4:],), (keys[1][-4:],)]
    with reading(engine) as connection:
        stored = repr(connection.execute(sa.text("SELECT * FROM tenant_keys")).all())
    assert not any(key in stored for key in keys)


def test_an_id_is_given_once_over_database_and_configuration(engine: sa.Engine) -> None:
    tenants = SqlTenants(engine, ["demo"])
    tenants.create(ACME)
    with pytest.raises(TenantExists, match="'acme' is already in the database"):
        tenants.create(ACME)
    with pytest.raises(TenantExists, match="'demo' is already in the configuration"):
        tenants.create(replace(ACME, id="demo"))
    assert len(tenants.entries()) == 1


def test_a_tenant_that_the_configuration_declares_later_is_the_configurations(engine: sa.Engine) -> None:
    SqlTenants(engine).create(ACME)
    assert SqlTenants(engine, ["acme"]).entries() == []


def test_the_keys_of_a_disabled_tenant_are_refused_until_it_is_enabled(engine: sa.Engine) -> None:
    tenants = SqlTenants(engine)
    tenants.create(ACME)
    tenants.disable("acme")
    assert tenants.entries() == []
    assert [held.is_disabled for held in tenants.all()] == [True]
    tenants.enable("acme")
    assert len(tenants.entries()) == 1


def test_rotating_ends_the_old_key_at_once_or_after_its_grace(engine: sa.Engine) -> None:
    clock = FakeClock(5000.0)
    tenants = SqlTenants(engine, wall_clock=clock)
    tenants.create(ACME)
    tenants.rotate("acme")
    assert [ends for _, ends, _ in tenants.entries()] == [None]
    tenants.rotate("acme", 60.0)
    assert sorted((ends or 0.0) for _, ends, _ in tenants.entries()) == [0.0, 5060.0]
    tenants.rotate("acme", 3600.0)
    assert sorted((ends or 0.0) for _, ends, _ in tenants.entries()) == [0.0, 5060.0, 8600.0]
    clock.advance(60.0)
    assert len(tenants.entries()) == 2
    clock.advance(1e6)
    assert len(tenants.entries()) == len(tenants.all()[0].key_hints) == 1


def test_every_change_and_nothing_else_counts_the_version_up(engine: sa.Engine) -> None:
    tenants = SqlTenants(engine)
    versions = [tenants.version(), tenants.version()]
    for change in (
        lambda: tenants.create(ACME),
        lambda: tenants.disable("acme"),
        lambda: tenants.enable("acme"),
        lambda: tenants.rotate("acme"),
    ):
        change()
        versions.append(tenants.version())
    assert versions == [0, 0, 1, 2, 3, 4]


def test_changing_a_tenant_that_is_not_there_changes_nothing(engine: sa.Engine) -> None:
    tenants = SqlTenants(engine)
    for change in (tenants.disable, tenants.enable, tenants.rotate):
        with pytest.raises(UnknownTenant, match="no tenant 'acme'"):
            change("acme")
    assert tenants.version() == 0


def test_a_row_that_is_not_readable_takes_nobody_elses_key_away(engine: sa.Engine) -> None:
    tenants = SqlTenants(engine)
    tenants.create(ACME)
    tenants.create(GLOBEX)
    with writing(engine) as connection:
        connection.execute(sa.text("UPDATE tenants SET priority = 'urgent' WHERE id = 'acme'"))
    assert [tenant.id for _, _, tenant in tenants.entries()] == ["globex"]


# --- the owner


async def test_what_was_recorded_is_there_after_a_restart(url: str) -> None:
    async with started(url) as ledger:
        await ledger.record([a_row()])
    async with started(url) as ledger:
        assert await ledger.attempts_of("req-1") == [a_row()]
        assert await ledger.totals() == {("acme", "gpt"): Total(1, 1, 10, 20, 0.5)}
        assert await ledger.spent_outside_usd(0.0) == {"acme": 0.5}


async def test_claims_outlive_their_owner_and_answers_do_not(url: str) -> None:
    async with started(url) as ledger:
        for key in ("finished", "running", "given back"):
            assert await ledger.claim("acme", key, BODY) == OWNER
        await ledger.keep_answer("acme", "finished", BODY, ANSWER)
        await ledger.keep_answer("acme", "given back", BODY, None)
        assert await ledger.claim("acme", "finished", BODY) == Claim(is_owner=False, answer=ANSWER)
    async with started(url) as ledger:
        with pytest.raises(IdempotencyAnswerGone):
            await ledger.claim("acme", "finished", BODY)
        with pytest.raises(IdempotencyConflict):
            await ledger.claim("acme", "finished", b"another body")
        assert await ledger.claim("acme", "running", BODY) == RUNNING
        assert await ledger.claim("acme", "given back", BODY) == OWNER


async def test_claims_are_written_soon_and_not_only_at_the_end(url: str) -> None:
    engine = open_engine(url)

    def stored() -> int:
        with reading(engine) as connection:
            return connection.scalar(sa.text("SELECT count(*) FROM idempotency_claims")) or 0

    async with started(url) as ledger:
        await ledger.claim("acme", "k", BODY)
        await comes_true(lambda: stored() == 1, 2.0)
        await ledger.keep_answer("acme", "k", BODY, None)
        await comes_true(lambda: stored() == 0, 2.0)
    engine.dispose()


async def test_claims_that_ran_out_leave_the_database(url: str) -> None:
    clock = FakeClock(1_800_000_000.0)
    async with started(url, clock=clock, wall_clock=clock) as ledger:
        await ledger.claim("acme", "old", BODY)
    clock.advance(BOUNDS.idempotency_ttl_s)
    async with started(url, clock=clock, wall_clock=clock) as ledger:
        await ledger.claim("acme", "young", BODY)
    engine = open_engine(url)
    with reading(engine) as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM idempotency_claims")) == 1
    engine.dispose()


async def test_neither_keys_nor_answers_nor_bodies_are_in_the_database(url: str) -> None:
    async with started(url) as ledger:
        await ledger.claim("acme", "secret-key", b"d" * 32)
        await ledger.keep_answer("acme", "secret-key", b"d" * 32, replace(ANSWER, body=b"secret-answer"))
    engine = open_engine(url)
    with reading(engine) as connection:
        rows = [connection.execute(sa.select(table)).all() for table in metadata.sorted_tables]
    engine.dispose()
    assert "secret" not in repr(rows)


async def test_routers_see_a_change_of_tenants_within_a_second(url: str) -> None:
    engine = open_engine(url)
    async with started(url, declared_tenants=["demo"]) as ledger:
        assert await ledger.tenants() == (0, [])
        await asyncio.to_thread(SqlTenants(engine).create, ACME)
        began = time.monotonic()
        while await ledger.tenants_version() != 1:  # noqa: ASYNC110 - routers ask in the same way
            await asyncio.sleep(0.01)
        assert time.monotonic() - began < 1.0
        _, entries = await ledger.tenants()
        assert [tenant for _, _, tenant in entries] == [ACME]
    engine.dispose()


# --- faults


async def test_a_database_that_goes_away_and_comes_back_loses_no_row(postgres: StoreServer) -> None:
    url = fresh_database(postgres)
    async with started(url, time_limit_s=5.0) as ledger:
        await ledger.record([a_row("before")])
        postgres.stop()
        try:
            began = time.monotonic()
            with pytest.raises(SharedStateUnavailable):
                await ledger.record([a_row("while it was away")])
            assert time.monotonic() - began < 6.0
            assert await ledger.claim("acme", "k", BODY) == OWNER
            await ledger.keep_answer("acme", "k", BODY, ANSWER)
            assert await ledger.tenants_version() == 0
        finally:
            postgres.start()
        await ledger.record([a_row("while it was away")])
        assert [row.id for row in await ledger.attempts_of("req-1")] == ["before", "while it was away"]
    async with started(url) as ledger:
        with pytest.raises(IdempotencyAnswerGone):
            await ledger.claim("acme", "k", BODY)


async def test_an_owner_that_starts_without_its_database_serves_claims_and_opens_it_later(
    postgres: StoreServer,
) -> None:
    url = fresh_database(postgres)
    postgres.stop()
    try:
        ledger = PersistentLedger(open_engine(url), BOUNDS, time_limit_s=5.0)
        await asyncio.wait_for(ledger.start(), 6.0)
        assert not ledger.is_ready
        assert await ledger.claim("acme", "k", BODY) == OWNER
        assert await ledger.claim("acme", "k", BODY) == RUNNING
        assert await ledger.tenants() == (None, ())
        with pytest.raises(SharedStateUnavailable):
            await ledger.record([a_row()])
    finally:
        postgres.start()
    await comes_true(lambda: ledger.is_ready)
    await ledger.record([a_row()])
    assert await ledger.attempts_of("req-1") == [a_row()]
    await ledger.aclose()


async def test_a_database_that_holds_a_lock_costs_a_caller_no_more_than_its_limit(postgres: StoreServer) -> None:
    url = fresh_database(postgres)
    blocker = open_engine(url)
    async with started(url) as ledger:
        ledger._worker._time_limit_s = 0.5
        with writing(blocker) as connection:
            connection.execute(sa.text("LOCK TABLE attempts IN ACCESS EXCLUSIVE MODE"))
            for _ in range(2):
                began = time.monotonic()
                with pytest.raises(SharedStateUnavailable):
                    await ledger.record([a_row()])
                assert time.monotonic() - began < 1.5
            assert await ledger.claim("acme", "k", BODY) == OWNER
        ledger._worker._time_limit_s = 8.0
        await ledger.record([a_row()])
        assert await ledger.attempts_of("req-1") == [a_row()]
    blocker.dispose()


async def test_a_full_disk_refuses_rows_until_there_is_room(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "ledger.db")
    engine = open_engine(url)
    max_pages = [1_000_000]

    @event.listens_for(engine, "begin")
    def limit(connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {max_pages[0]}")

    ledger = PersistentLedger(engine, BOUNDS)
    await ledger.start()
    await ledger.record([a_row("before")])
    max_pages[0] = 1
    batch = [a_row(f"{number:04}", upstream_id="x" * 200) for number in range(1000)]
    with pytest.raises(SharedStateUnavailable):
        await ledger.record(batch)
    assert [row.id for row in await ledger.attempts_of("req-1")] == ["before"]
    assert await ledger.claim("acme", "k", BODY) == OWNER
    max_pages[0] = 1_000_000
    await ledger.record(batch)
    assert len(await ledger.attempts_of("req-1")) == 1000
    assert sum(total.num_attempts for total in (await ledger.totals()).values()) == 1001
    await ledger.aclose()


def test_two_processes_may_write_one_file(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "ledger.db")
    code = (
        "import sys\n"
        "from serve_app.storage.attempts import SqlLedger\n"
        "from serve_app.storage.engine import open_engine\n"
        "from serve_app.storage.schema import migrate\n"
        "from tests.fakes.ledgers import a_row\n"
        "engine = open_engine(sys.argv[1])\n"
        "migrate(engine)\n"
        "ledger = SqlLedger(engine)\n"
        "for number in range(100):\n"
        "    ledger.record([a_row(f'{sys.argv[2]}-{number}'), a_row(f'shared-{number}')])\n"
    )
    run_at_once([[code, url, "one"], [code, url, "two"]])
    engine = open_engine(url)
    assert SqlLedger(engine).count(ALWAYS) == 300
    engine.dispose()


async def test_a_writer_that_never_lets_go_of_the_file_costs_a_caller_no_more_than_its_limit(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "ledger.db")
    async with started(url) as ledger:
        ledger._worker._time_limit_s = 0.3
        other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(SharedStateUnavailable):
            await ledger.record([a_row()])
        other.execute("ROLLBACK")
        other.close()
        ledger._worker._time_limit_s = 8.0
        await ledger.record([a_row()])
        assert await ledger.attempts_of("req-1") == [a_row()]
