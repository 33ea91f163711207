"""Opens the database: SQLite with a write-ahead log, or PostgreSQL. Every wait on it has a limit, and no URL is shown.

A transaction that writes says so (`writing`): SQLite then takes its write lock at the start and waits for it, where one
that reads first and writes later would fail at once.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError

BUSY_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 3.0
STATEMENT_TIMEOUT_S = 5.0
_WRITES = "upcoach_writes"


class StorageError(Exception):
    """The database cannot be used as it is. The text never holds a password."""


class DatabaseUrlInvalid(StorageError):
    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"the ledger's database URL is not usable: {self.problem}"


def database_url(secret_url: str | None, state_folder: Path) -> str:
    """The configured URL, else SQLite in the state folder."""
    return sqlite_url(state_folder / "ledger.db") if secret_url is None else secret_url


def sqlite_url(path: Path) -> str:
    return sa.URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def masked(url: str) -> str:
    """For a person to read: no password and no query, which may hold one."""
    try:
        parsed = _parsed(url)
    except DatabaseUrlInvalid:
        return "(unreadable database URL)"
    return parsed.set(query={}).render_as_string(hide_password=True)


def sqlite_path(url: str) -> Path | None:
    """The file of an SQLite URL; None of PostgreSQL."""
    parsed = _parsed(url)
    return Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None


def open_engine(url: str) -> sa.Engine:
    """Connects to nothing yet. Raises DatabaseUrlInvalid."""
    parsed = _parsed(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_engine(parsed)
    return _postgresql_engine(parsed)


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One transaction over one consistent state."""
    with engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One transaction, committed at the end, or rolled back by an error."""
    with engine.connect().execution_options(**{_WRITES: True}) as connection, connection.begin():
        yield connection


def _parsed(url: str) -> sa.URL:
    """The causes are left out: they may quote the URL."""
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):
        raise DatabaseUrlInvalid("it is not a URL such as postgresql://USER@HOST/NAME") from None
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise DatabaseUrlInvalid("only postgresql:// (over psycopg) and sqlite:/// are supported")
    if parsed.database in (None, "", ":memory:"):
        raise DatabaseUrlInvalid("SQLite needs a file: sqlite:////folder/ledger.db")
    return parsed


def _postgresql_engine(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(
        url,
        pool_pre_ping=True,
        pool_size=2,
        max_overflow=2,
        pool_timeout=CONNECT_TIMEOUT_S,
        pool_recycle=1800,
        hide_parameters=True,
        connect_args={
            "connect_timeout": int(CONNECT_TIMEOUT_S),
            # A server whose machine is gone sends nothing more, not even the end of the connection.
            "tcp_user_timeout": int(STATEMENT_TIMEOUT_S * 1000),
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 2,
            "application_name": "upcoach-ledger",
        },
    )

    @event.listens_for(engine, "connect")
    def _limit(connection: Any, _: object) -> None:
        milliseconds = int(STATEMENT_TIMEOUT_S * 1000)
        for limit in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            connection.execute(f"SET {limit} = {milliseconds}")
        connection.commit()

    return engine


def _sqlite_engine(url: sa.URL) -> sa.Engine:
    path = Path(url.database or "")
    engine = sa.create_engine(
        url, pool_size=2, max_overflow=2, hide_parameters=True, connect_args={"timeout": BUSY_TIMEOUT_S}
    )

    @event.listens_for(engine, "do_connect")
    def _make_file(*_: object) -> None:
        _make_private(path)

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions are begun below, and not by the driver
        _use_write_ahead_log(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        is_writing = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")

    return engine


def _make_private(path: Path) -> None:
    """The folder and the file for their owner alone; what exists already is left as it is."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """The switch needs the file for itself and does not wait for it, so two starters may meet here."""
    give_up_at = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_at:
                raise
            time.sleep(0.01)
        else:
            return
