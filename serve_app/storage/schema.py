"""Brings a database to the schema that this version of the code knows, one starter at a time."""

import threading
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from serve_app.storage.engine import StorageError, reading, writing

MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK_KEY = 0x7570636F616368  # any number, as long as every starter uses the same one
_MAX_LOCK_WAIT_S = 60
_one_at_a_time = threading.Lock()
"""Alembic keeps the migration that runs in module globals, so two threads of one process may not migrate at once."""


class DatabaseNewer(StorageError):
    """A later version of the product migrated this database. Its tables are not touched."""

    def __init__(self, revision: str) -> None:
        super().__init__(revision)
        self.revision = revision

    def __str__(self) -> str:
        return f"the ledger's database is at revision {self.revision}, which this version does not know: it is newer"


class DatabaseNotMigrated(StorageError):
    def __str__(self) -> str:
        return "the ledger's database does not have this version's tables; create them with: upcoach ledger migrate"


def migrate(engine: sa.Engine) -> str:
    """To this version's revision, which is returned. All or nothing. Raises DatabaseNewer."""
    with _one_at_a_time, writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            _lock_postgresql(connection)
        config = _config()
        script = ScriptDirectory.from_config(config)
        _known_revision(connection, script)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        return _head(script)


def check_schema(engine: sa.Engine) -> None:
    """Changes nothing. Raises DatabaseNotMigrated or DatabaseNewer."""
    script = ScriptDirectory.from_config(_config())
    with reading(engine) as connection:
        if _known_revision(connection, script) != _head(script):
            raise DatabaseNotMigrated


def _lock_postgresql(connection: sa.Connection) -> None:
    """Until the transaction ends. A migration may take longer than any statement of the ledger."""
    connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
    connection.execute(sa.text(f"SET LOCAL lock_timeout = '{_MAX_LOCK_WAIT_S}s'"))
    connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})


def _known_revision(connection: sa.Connection, script: ScriptDirectory) -> str | None:
    """None of an empty database. Raises DatabaseNewer."""
    known = {revision.revision for revision in script.walk_revisions()}
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is not None and revision not in known:
        raise DatabaseNewer(revision)
    return revision


def _head(script: ScriptDirectory) -> str:
    head = script.get_current_head()
    assert head is not None, "there is at least one migration"  # noqa: S101 - a defect of the package, not of its use
    return head


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config
