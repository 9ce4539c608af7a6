"""Run by alembic: migrates over the connection, and within the transaction, that `migrate.py` gives it."""

from __future__ import annotations

from alembic import context

from muses_lab.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # also in SQLite, see migrate.py
)
with context.begin_transaction():
    context.run_migrations()
