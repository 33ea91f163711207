"""Which URLs open what, what a file looks like from outside, and that no password is shown."""

import sqlite3
import stat
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from serve_app.storage import engine as engine_module
from serve_app.storage.engine import (
    DatabaseUrlInvalid,
    database_url,
    masked,
    open_engine,
    reading,
    sqlite_path,
    sqlite_url,
    writing,
)
from serve_app.storage.schema import migrate

PASSWORD = "pw-that-must-not-be-shown"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_plain_addresses_of_postgresql_work(scheme: str) -> None:
    engine = open_engine(f"{scheme}://upcoach:{PASSWORD}@db.internal/upcoach")
    assert (engine.dialect.name, engine.dialect.driver) == ("postgresql", "psycopg")
    assert PASSWORD not in repr(engine)


@pytest.mark.parametrize(
    "url",
    [
        f"nonsense {PASSWORD}",
        f"postgresql://upcoach:{PASSWORD}@db:port/upcoach",
        f"postgresql+asyncpg://upcoach:{PASSWORD}@db/upcoach",
        f"mysql://upcoach:{PASSWORD}@db/upcoach",
        f"nosuchbase://upcoach:{PASSWORD}@db/upcoach",
        "sqlite://",
        "sqlite:///:memory:",
        "",
    ],
)
def test_what_is_neither_of_the_two_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(DatabaseUrlInvalid) as caught:
        open_engine(url)
    assert PASSWORD not in str(caught.value) + repr(caught.value) + masked(url)
    assert caught.value.__cause__ is None


def test_a_password_is_masked_wherever_a_url_may_hold_one() -> None:
    assert masked(f"postgresql://u:{PASSWORD}@h:5433/d") == "postgresql+psycopg://u:***@h:5433/d"
    assert PASSWORD not in masked(f"postgresql://u@h/d?password={PASSWORD}&sslmode=require")


@pytest.mark.parametrize("name", ["ledger.db", "a b%20?#ü.db"])
def test_the_path_of_a_file_survives_its_url(tmp_path: Path, name: str) -> None:
    assert sqlite_path(sqlite_url(tmp_path / name)) == tmp_path / name
    engine = open_engine(sqlite_url(tmp_path / name))
    migrate(engine)
    engine.dispose()
    assert name in [path.name for path in tmp_path.iterdir()]


def test_postgresql_has_no_path() -> None:
    assert sqlite_path("postgresql://h/d") is None


def test_without_a_configured_url_the_ledger_is_a_file_in_the_state_folder() -> None:
    assert database_url(None, Path("/var/state")) == "sqlite:////var/state/ledger.db"
    assert database_url("postgresql://h/d", Path("/var/state")) == "postgresql://h/d"


def test_opening_connects_to_nothing_and_makes_nothing(tmp_path: Path) -> None:
    open_engine(sqlite_url(tmp_path / "state" / "ledger.db"))
    assert list(tmp_path.iterdir()) == []


def test_the_file_and_its_folder_are_their_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "ledger.db"
    engine = open_engine(sqlite_url(path))
    migrate(engine)
    with reading(engine):
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    engine.dispose()
    assert modes == {"ledger.db": 0o600, "ledger.db-wal": 0o600, "ledger.db-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_sqlite_is_set_up_for_one_writer_beside_readers(tmp_path: Path) -> None:
    engine = open_engine(sqlite_url(tmp_path / "ledger.db"))
    with reading(engine) as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        }
    engine.dispose()
    assert found == {"journal_mode": "wal", "synchronous": 1, "busy_timeout": 5000, "foreign_keys": 1}


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    engine = open_engine(sqlite_url(tmp_path / "ledger.db"))
    migrate(engine)
    claim = sa.text("INSERT INTO idempotency_claims VALUES ('acme', x'01', x'02', 1.0, NULL)")
    with pytest.raises(IntegrityError), writing(engine) as connection:  # noqa: PT012 - one of the two must not stay
        connection.execute(claim)
        connection.execute(claim)
    with reading(engine) as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM idempotency_claims")) == 0
    engine.dispose()


def test_a_reader_sees_one_state_while_another_writes(tmp_path: Path) -> None:
    engine = open_engine(sqlite_url(tmp_path / "ledger.db"))
    migrate(engine)
    num_rows = sa.text("SELECT count(*) FROM idempotency_claims")
    with reading(engine) as reader:
        assert reader.scalar(num_rows) == 0
        with writing(engine) as writer:
            writer.execute(sa.text("INSERT INTO idempotency_claims VALUES ('acme', x'01', x'02', 1.0, NULL)"))
        assert reader.scalar(num_rows) == 0
    with reading(engine) as reader:
        assert reader.scalar(num_rows) == 1
    engine.dispose()


class Contended:
    """A connection whose file is in another's hands for a number of calls."""

    def __init__(self, num_refusals: int, code: int = sqlite3.SQLITE_BUSY) -> None:
        self.num_refusals, self.code = num_refusals, code
        self.num_calls = 0

    def execute(self, _: str) -> None:
        self.num_calls += 1
        if self.num_calls <= self.num_refusals:
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = self.code
            raise error


def test_two_starters_that_meet_at_the_switch_to_the_write_ahead_log_take_turns() -> None:
    connection = Contended(3)
    engine_module._use_write_ahead_log(connection)  # type: ignore[arg-type]
    assert connection.num_calls == 4


def test_waiting_for_the_switch_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "BUSY_TIMEOUT_S", 0.03)
    with pytest.raises(sqlite3.OperationalError):
        engine_module._use_write_ahead_log(Contended(10**6))  # type: ignore[arg-type]


def test_any_other_fault_of_the_switch_is_raised_at_once() -> None:
    connection = Contended(3, sqlite3.SQLITE_FULL)
    with pytest.raises(sqlite3.OperationalError):
        engine_module._use_write_ahead_log(connection)  # type: ignore[arg-type]
    assert connection.num_calls == 1
