"""Tenants of the database: made and changed by an operator, read by the gateway. A key is kept as its SHA-256 alone."""

import logging
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from serve_app.admission.tenants import key_digest
from serve_app.contracts.tenant import Budget, Quota, Tenant
from serve_app.contracts.vocabulary import DataClass, Place, Priority, Tier
from serve_app.storage.engine import StorageError, reading, writing
from serve_app.storage.tables import tenant_keys, tenants, tenants_version

log = logging.getLogger(__name__)

TenantEntry = tuple[bytes, float | None, Tenant]
"""The digest of a key, when the key ends (Unix seconds; None is never), and whose it is."""
_KEY_BYTES = 32
_HINT_CHARS = 4


class TenantExists(StorageError):
    def __init__(self, tenant_id: str, where: str) -> None:
        super().__init__(tenant_id, where)
        self.tenant_id, self.where = tenant_id, where

    def __str__(self) -> str:
        return f"a tenant '{self.tenant_id}' is already in the {self.where}"


class UnknownTenant(StorageError):
    def __init__(self, tenant_id: str) -> None:
        super().__init__(tenant_id)
        self.tenant_id = tenant_id

    def __str__(self) -> str:
        return f"the database has no tenant '{self.tenant_id}'"


@dataclass(frozen=True, slots=True)
class StoredTenant:
    """`key_hints`: the last characters of the keys that are still good."""

    tenant: Tenant
    is_disabled: bool
    created_at_unix_s: float
    key_hints: tuple[str, ...]


class SqlTenants:
    """Blocking: for one thread at a time. `declared_ids` are the configuration's tenants, which come first."""

    def __init__(
        self, engine: sa.Engine, declared_ids: Collection[str] = (), wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._engine, self._declared_ids, self._wall_clock = engine, frozenset(declared_ids), wall_clock

    def create(self, tenant: Tenant) -> str:
        """Its key, which nobody can read again. Raises TenantExists."""
        if tenant.id in self._declared_ids:
            raise TenantExists(tenant.id, "configuration")
        with writing(self._engine) as connection:
            _count_up(connection)
            if connection.scalar(sa.select(sa.func.count()).where(tenants.c.id == tenant.id)):
                raise TenantExists(tenant.id, "database")
            connection.execute(tenants.insert(), self._row(tenant))
            return self._add_key(connection, tenant.id)

    def all(self) -> Sequence[StoredTenant]:
        """Every tenant of the database, by id, disabled ones too."""
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(tenants).order_by(tenants.c.id)).mappings().all()
            keys = connection.execute(self._good_keys().order_by(tenant_keys.c.created_at_unix_s)).all()
        return [
            StoredTenant(
                _tenant(row),
                row["is_disabled"],
                row["created_at_unix_s"],
                tuple(key.hint for key in keys if key.tenant_id == row["id"]),
            )
            for row in rows
        ]

    def disable(self, tenant_id: str) -> None:
        """Its keys are refused until it is enabled again. Raises UnknownTenant."""
        self._set_disabled(tenant_id, is_disabled=True)

    def enable(self, tenant_id: str) -> None:
        self._set_disabled(tenant_id, is_disabled=False)

    def rotate(self, tenant_id: str, grace_s: float = 0.0) -> str:
        """A new key; the others end in `grace_s`, or before where they would have anyway. Raises UnknownTenant."""
        now_unix_s = self._wall_clock()
        ends_at = now_unix_s + grace_s
        of_tenant = tenant_keys.c.tenant_id == tenant_id
        with writing(self._engine) as connection:
            _count_up(connection)
            if not connection.scalar(sa.select(sa.func.count()).where(tenants.c.id == tenant_id)):
                raise UnknownTenant(tenant_id)
            is_later = sa.or_(tenant_keys.c.expires_at_unix_s.is_(None), tenant_keys.c.expires_at_unix_s > ends_at)
            connection.execute(sa.update(tenant_keys).where(of_tenant, is_later).values(expires_at_unix_s=ends_at))
            connection.execute(sa.delete(tenant_keys).where(of_tenant, tenant_keys.c.expires_at_unix_s <= now_unix_s))
            return self._add_key(connection, tenant_id)

    def version(self) -> int:
        """Another number after every change: cheap to ask for often."""
        with reading(self._engine) as connection:
            return connection.scalar(sa.select(tenants_version.c.version)) or 0

    def entries(self) -> Sequence[TenantEntry]:
        """Every good key of every enabled tenant. A row that this version cannot read is left out, and logged."""
        with reading(self._engine) as connection:
            keys = connection.execute(self._good_keys()).all()
            rows = connection.execute(sa.select(tenants).where(tenants.c.is_disabled.is_(False))).mappings().all()
        enabled: dict[str, Tenant] = {}
        for row in rows:
            if row["id"] in self._declared_ids:
                log.error("tenant '%s' is in the configuration too, which holds", row["id"])
                continue
            try:
                enabled[row["id"]] = _tenant(row)
            except (KeyError, TypeError, ValueError):
                log.exception("the row of tenant '%s' is not readable: its keys are refused", row["id"])
        return [
            (bytes(key.digest), key.expires_at_unix_s, enabled[key.tenant_id])
            for key in keys
            if key.tenant_id in enabled
        ]

    def _good_keys(self) -> sa.Select[Any]:
        ends_at = tenant_keys.c.expires_at_unix_s
        return sa.select(tenant_keys).where(sa.or_(ends_at.is_(None), ends_at > self._wall_clock()))

    def _set_disabled(self, tenant_id: str, *, is_disabled: bool) -> None:
        with writing(self._engine) as connection:
            _count_up(connection)
            changed = connection.execute(
                sa.update(tenants).where(tenants.c.id == tenant_id).values(is_disabled=is_disabled)
            )
            if changed.rowcount == 0:
                raise UnknownTenant(tenant_id)

    def _add_key(self, connection: sa.Connection, tenant_id: str) -> str:
        key = f"uc-{secrets.token_urlsafe(_KEY_BYTES)}"
        connection.execute(
            tenant_keys.insert(),
            {
                "digest": key_digest(key),
                "tenant_id": tenant_id,
                "hint": key[-_HINT_CHARS:],
                "created_at_unix_s": self._wall_clock(),
                "expires_at_unix_s": None,
            },
        )
        return key

    def _row(self, tenant: Tenant) -> dict[str, Any]:
        return {
            "id": tenant.id,
            "tiers": [tier.name for tier in sorted(tenant.allowed_tiers)],
            "places": sorted(tenant.allowed_places),
            "default_data_class": tenant.default_data_class.value,
            "priority": tenant.priority.value,
            "quota_requests_per_window": tenant.quota.requests_per_window,
            "quota_tokens_per_window": tenant.quota.tokens_per_window,
            "quota_window_s": tenant.quota.window_s,
            "quota_max_concurrent": tenant.quota.max_concurrent,
            "budget_day_usd": tenant.budget.day_usd,
            "budget_month_usd": tenant.budget.month_usd,
            "deadline_s": tenant.deadline_s,
            "is_disabled": False,
            "created_at_unix_s": self._wall_clock(),
        }


def _count_up(connection: sa.Connection) -> None:
    """First in every change: its row's lock keeps two writers of PostgreSQL apart."""
    connection.execute(sa.update(tenants_version).values(version=tenants_version.c.version + 1))


def _tenant(row: Mapping[Any, Any]) -> Tenant:
    return Tenant(
        id=row["id"],
        allowed_tiers=frozenset(Tier[name] for name in row["tiers"]),
        allowed_places=frozenset(Place(name) for name in row["places"]),
        default_data_class=DataClass(row["default_data_class"]),
        priority=Priority(row["priority"]),
        quota=Quota(
            requests_per_window=row["quota_requests_per_window"],
            tokens_per_window=row["quota_tokens_per_window"],
            window_s=row["quota_window_s"],
            max_concurrent=row["quota_max_concurrent"],
        ),
        budget=Budget(day_usd=row["budget_day_usd"], month_usd=row["budget_month_usd"]),
        deadline_s=row["deadline_s"],
    )
