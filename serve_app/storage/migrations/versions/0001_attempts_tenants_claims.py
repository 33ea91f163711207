"""Attempts, tenants with their keys, and idempotency claims."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_attempts()
    _create_tenants()
    op.create_table(
        "idempotency_claims",
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("key_digest", sa.LargeBinary, nullable=False),
        sa.Column("body_digest", sa.LargeBinary, nullable=False),
        sa.Column("claimed_at_unix_s", sa.Double, nullable=False),
        sa.Column("finished_at_unix_s", sa.Double),
        sa.PrimaryKeyConstraint("tenant_id", "key_digest", name="pk_idempotency_claims"),
    )
    op.create_index("ix_idempotency_claims_claimed_at_unix_s", "idempotency_claims", ["claimed_at_unix_s"])


def downgrade() -> None:
    for table in ("idempotency_claims", "tenants_version", "tenant_keys", "tenants", "attempts"):
        op.drop_table(table)


def _create_attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("tier", sa.Text, nullable=False),
        sa.Column("upstream_id", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("place", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("data_class", sa.Text, nullable=False),
        sa.Column("num_input_tokens", sa.BigInteger, nullable=False),
        sa.Column("num_output_tokens", sa.BigInteger, nullable=False),
        sa.Column("is_estimated", sa.Boolean, nullable=False),
        sa.Column("cost_nano_usd", sa.BigInteger, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("error_code", sa.Text),
        sa.Column("started_at_unix_s", sa.Double, nullable=False),
        sa.Column("elapsed_s", sa.Double, nullable=False),
        sa.Column("ttft_s", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_attempts"),
    )
    op.create_index("ix_attempts_request_id", "attempts", ["request_id"])
    op.create_index("ix_attempts_started_at_unix_s_id", "attempts", ["started_at_unix_s", "id"])
    op.create_index("ix_attempts_tenant_id_started_at_unix_s_id", "attempts", ["tenant_id", "started_at_unix_s", "id"])


def _create_tenants() -> None:
    op.create_table(
        "tenants",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("tiers", sa.JSON, nullable=False),
        sa.Column("places", sa.JSON, nullable=False),
        sa.Column("default_data_class", sa.Text, nullable=False),
        sa.Column("priority", sa.Text, nullable=False),
        sa.Column("quota_requests_per_window", sa.BigInteger),
        sa.Column("quota_tokens_per_window", sa.BigInteger),
        sa.Column("quota_window_s", sa.Double, nullable=False),
        sa.Column("quota_max_concurrent", sa.BigInteger),
        sa.Column("budget_day_usd", sa.Double),
        sa.Column("budget_month_usd", sa.Double),
        sa.Column("deadline_s", sa.Double),
        sa.Column("is_disabled", sa.Boolean, nullable=False),
        sa.Column("created_at_unix_s", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tenants"),
    )
    op.create_table(
        "tenant_keys",
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("hint", sa.Text, nullable=False),
        sa.Column("created_at_unix_s", sa.Double, nullable=False),
        sa.Column("expires_at_unix_s", sa.Double),
        sa.PrimaryKeyConstraint("digest", name="pk_tenant_keys"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_tenant_keys_tenant_id"),
    )
    op.create_index("ix_tenant_keys_tenant_id", "tenant_keys", ["tenant_id"])
    versions = op.create_table(
        "tenants_version",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tenants_version"),
    )
    op.bulk_insert(versions, [{"id": 1, "version": 0}])
