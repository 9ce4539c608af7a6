"""The first store: documents, styles, artefacts and results of one user."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    for name in ("document", "style"):
        op.create_table(
            name,
            sa.Column("hash", sa.String, primary_key=True),
            sa.Column("body", sa.Text, nullable=False),
            sa.Column("created", sa.DateTime, nullable=False),
        )
    op.create_table(
        "artefact",
        sa.Column("digest", sa.String, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("body", sa.LargeBinary),
        sa.Column("created", sa.DateTime, nullable=False),
    )
    op.create_table(
        "result",
        sa.Column("node", sa.String, primary_key=True),
        sa.Column("digest", sa.String, nullable=False),
    )
