"""Alembic's entry. The caller brings the connection, inside the transaction that holds the lock."""

from alembic import context

from serve_app.storage.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
