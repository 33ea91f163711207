"""The tables. Money is whole billionths of a USD, so that sums are exact; times are Unix seconds. No text of a request.

A change here needs a migration in `migrations/versions`; a test compares the two.
"""

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("request_id", sa.Text, nullable=False, index=True),
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
    # The id makes the order total: exports go on from the last row that they have read.
    sa.Index(None, "started_at_unix_s", "id"),
    sa.Index(None, "tenant_id", "started_at_unix_s", "id"),
)

tenants = sa.Table(
    "tenants",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
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
)

tenant_keys = sa.Table(
    "tenant_keys",
    metadata,
    sa.Column("digest", sa.LargeBinary, primary_key=True),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), nullable=False, index=True),
    sa.Column("hint", sa.Text, nullable=False),
    sa.Column("created_at_unix_s", sa.Double, nullable=False),
    sa.Column("expires_at_unix_s", sa.Double),
)

# One row. Every change of tenants or keys counts it up, so that one cheap read tells whether there is anything to load.
tenants_version = sa.Table(
    "tenants_version",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.BigInteger, nullable=False),
)

idempotency_claims = sa.Table(
    "idempotency_claims",
    metadata,
    sa.Column("tenant_id", sa.Text, primary_key=True),
    sa.Column("key_digest", sa.LargeBinary, primary_key=True),
    sa.Column("body_digest", sa.LargeBinary, nullable=False),
    sa.Column("claimed_at_unix_s", sa.Double, nullable=False, index=True),
    sa.Column("finished_at_unix_s", sa.Double),
)
