"""Idempotency claims that outlive their owner: digests alone, written behind the owner's back and read at its start."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from serve_app.accounting.idempotency import ClaimChanges, ClaimId, ClaimRecord
from serve_app.storage.engine import reading, writing
from serve_app.storage.rows import clean_text
from serve_app.storage.tables import idempotency_claims as claims


class SqlClaims:
    """Blocking: for one thread at a time."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        insert = postgresql.insert(claims) if engine.dialect.name == "postgresql" else sqlite.insert(claims)
        self._upsert = insert.on_conflict_do_update(
            index_elements=[claims.c.tenant_id, claims.c.key_digest],
            set_={column.name: insert.excluded[column.name] for column in claims.c if not column.primary_key},
        )
        self._delete = sa.delete(claims).where(
            claims.c.tenant_id == sa.bindparam("of_tenant"), claims.c.key_digest == sa.bindparam("of_key")
        )

    def apply(self, changes: ClaimChanges, expired_before_unix_s: float) -> None:
        """One transaction; what was claimed before then goes as well."""
        with writing(self._engine) as connection:
            if changes.held:
                connection.execute(self._upsert, [_row(record) for record in sorted(changes.held, key=_by_id)])
            if changes.gone:
                connection.execute(self._delete, [_where(claim_id) for claim_id in sorted(changes.gone)])
            connection.execute(sa.delete(claims).where(claims.c.claimed_at_unix_s <= expired_before_unix_s))

    def load(self, claimed_after_unix_s: float, max_claims: int) -> Sequence[ClaimRecord]:
        """The youngest, oldest first."""
        query = (
            sa.select(claims)
            .where(claims.c.claimed_at_unix_s > claimed_after_unix_s)
            .order_by(claims.c.claimed_at_unix_s.desc())
            .limit(max_claims)
        )
        with reading(self._engine) as connection:
            found = [
                ClaimRecord(
                    row.tenant_id,
                    bytes(row.key_digest),
                    bytes(row.body_digest),
                    row.claimed_at_unix_s,
                    row.finished_at_unix_s,
                )
                for row in connection.execute(query)
            ]
        return found[::-1]


def _by_id(record: ClaimRecord) -> ClaimId:
    return record.id


def _row(record: ClaimRecord) -> dict[str, object]:
    return {
        "tenant_id": clean_text(record.tenant_id),
        "key_digest": record.key_digest,
        "body_digest": record.body_digest,
        "claimed_at_unix_s": record.claimed_at_unix_s,
        "finished_at_unix_s": record.finished_at_unix_s,
    }


def _where(claim_id: ClaimId) -> dict[str, object]:
    tenant_id, key_digest = claim_id
    return {"of_tenant": clean_text(tenant_id), "of_key": key_digest}
