"""The ledger's rows in a database: written once each, summed exactly, read back in bounded batches."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from serve_app.contracts.attempt import Attempt
from serve_app.contracts.ledger import Total
from serve_app.contracts.vocabulary import LOCAL, Outcome
from serve_app.storage.engine import reading, writing
from serve_app.storage.rows import NANO, attempt_of, clean_text, row_of
from serve_app.storage.tables import attempts

DAY_S = 86_400


class GroupBy(StrEnum):
    TENANT = "tenant"
    TIER = "tier"
    UPSTREAM = "upstream"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class Span:
    """Attempts that started at or after `since_unix_s` and before `until_unix_s`. None is open."""

    since_unix_s: float | None = None
    until_unix_s: float | None = None

    def holds(self) -> list[sa.ColumnElement[bool]]:
        started = attempts.c.started_at_unix_s
        found = []
        if self.since_unix_s is not None:
            found.append(started >= self.since_unix_s)
        if self.until_unix_s is not None:
            found.append(started < self.until_unix_s)
        return found


ALWAYS = Span()


class SqlLedger:
    """Blocking: for one thread at a time. What the database raises is raised as it is."""

    _BATCH = 1000

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._upsert = _upsert(engine.dialect.name)

    def record(self, batch: Iterable[Attempt]) -> None:
        """One transaction. A final row takes the place of an abandoned one; nothing takes that of a final one."""
        rows = _one_row_an_id(batch)
        if not rows:
            return
        with writing(self._engine) as connection:
            connection.execute(self._upsert, rows)

    def attempts_of(self, request_id: str) -> list[Attempt]:
        """In the order in which they started; a thousand at most, which no request makes."""
        query = (
            sa.select(attempts)
            .where(attempts.c.request_id == clean_text(request_id))
            .order_by(attempts.c.started_at_unix_s, attempts.c.number, attempts.c.id)
            .limit(self._BATCH)
        )
        return [attempt_of(row) for row in self._read(query)]

    def spent_outside_usd(self, since_unix_s: float) -> dict[str, float]:
        """By tenant, for attempts that started since then and ran outside the cluster."""
        query = (
            sa.select(attempts.c.tenant_id, sa.func.sum(attempts.c.cost_nano_usd).label("cost_nano_usd"))
            .where(attempts.c.place != LOCAL, attempts.c.started_at_unix_s >= since_unix_s)
            .group_by(attempts.c.tenant_id)
        )
        return {row["tenant_id"]: int(row["cost_nano_usd"]) / NANO for row in self._read(query)}

    def summary(self, span: Span, group_by: Sequence[GroupBy]) -> list[tuple[tuple[str, ...], Total]]:
        """One total a group, its names in the order of `group_by`, sorted. A day is one of UTC, as 2026-11-30."""
        keys = [self._key(group).label(f"key_{position}") for position, group in enumerate(group_by)]
        query = sa.select(
            *keys,
            sa.func.count().label("num_attempts"),
            sa.func.sum(sa.case((attempts.c.outcome == Outcome.COMPLETED.value, 1), else_=0)).label("num_completed"),
            sa.func.sum(attempts.c.num_input_tokens).label("num_input_tokens"),
            sa.func.sum(attempts.c.num_output_tokens).label("num_output_tokens"),
            sa.func.sum(attempts.c.cost_nano_usd).label("cost_nano_usd"),
        ).where(*span.holds())
        found = self._read(query.group_by(*keys).having(sa.func.count() > 0))
        return sorted(
            ((tuple(_name(group, row[f"key_{i}"]) for i, group in enumerate(group_by)), _total(row)) for row in found),
            key=lambda item: item[0],
        )

    def count(self, span: Span, tenant_id: str | None = None) -> int:
        with reading(self._engine) as connection:
            query = sa.select(sa.func.count()).select_from(attempts).where(*_wanted(span, tenant_id))
            return connection.scalar(query) or 0

    def rows(self, span: Span, tenant_id: str | None = None) -> Iterator[Attempt]:
        """In the order in which they started, a bounded batch at a time, each in a short transaction of its own.

        So an export of any length holds neither memory nor the database. Rows that come in meanwhile may be in it.
        """
        order = sa.tuple_(attempts.c.started_at_unix_s, attempts.c.id)
        wanted = _wanted(span, tenant_id)
        query = sa.select(attempts).where(*wanted).order_by(*order).limit(self._BATCH)
        batch = self._read(query)
        while batch:
            yield from map(attempt_of, batch)
            last = batch[-1]
            batch = self._read(query.where(order > (last["started_at_unix_s"], last["id"])))

    def _read(self, query: sa.Select[Any]) -> Sequence[sa.RowMapping]:
        with reading(self._engine) as connection:
            return connection.execute(query).mappings().all()

    def _key(self, group: GroupBy) -> sa.ColumnElement[Any]:
        columns = {
            GroupBy.TENANT: attempts.c.tenant_id,
            GroupBy.TIER: attempts.c.tier,
            GroupBy.UPSTREAM: attempts.c.upstream_id,
        }
        if group in columns:
            return columns[group]
        days = attempts.c.started_at_unix_s / DAY_S
        # A cast cuts in SQLite, which may be without floor(), and rounds in PostgreSQL.
        return sa.cast(days if self._engine.dialect.name == "sqlite" else sa.func.floor(days), sa.BigInteger)


def _wanted(span: Span, tenant_id: str | None) -> list[sa.ColumnElement[bool]]:
    of_tenant = [] if tenant_id is None else [attempts.c.tenant_id == clean_text(tenant_id)]
    return [*of_tenant, *span.holds()]


def _name(group: GroupBy, value: Any) -> str:
    if group is GroupBy.DAY:
        return datetime.fromtimestamp(value * DAY_S, UTC).date().isoformat()
    return str(value)


def _total(row: sa.RowMapping) -> Total:
    return Total(
        num_attempts=int(row["num_attempts"]),
        num_completed=int(row["num_completed"]),
        num_input_tokens=int(row["num_input_tokens"]),
        num_output_tokens=int(row["num_output_tokens"]),
        cost_usd=int(row["cost_nano_usd"]) / NANO,
    )


def _one_row_an_id(batch: Iterable[Attempt]) -> list[dict[str, Any]]:
    """Sorted, so that two writers of the same rows wait for one another instead of for ever."""
    rows: dict[str, dict[str, Any]] = {}
    for attempt in batch:
        row = row_of(attempt)
        held = rows.get(row["id"])
        if held is None or (held["outcome"] == Outcome.ABANDONED.value != row["outcome"]):
            rows[row["id"]] = row
    return [rows[id_] for id_ in sorted(rows)]


def _upsert(dialect: str) -> sa.Insert:
    insert = postgresql.insert(attempts) if dialect == "postgresql" else sqlite.insert(attempts)
    abandoned = Outcome.ABANDONED.value
    return insert.on_conflict_do_update(
        index_elements=[attempts.c.id],
        set_={column.name: insert.excluded[column.name] for column in attempts.c if not column.primary_key},
        where=sa.and_(attempts.c.outcome == abandoned, insert.excluded.outcome != abandoned),
    )
