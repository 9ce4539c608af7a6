"""Exports, and blocks that are kept: a chain is evaluated on the cluster and written to files, whole or not at all."""

from __future__ import annotations

from muses_lab.export.files import export
from muses_lab.export.job import Job
from muses_lab.export.materialized import materialize

__all__ = ["Job", "export", "materialize"]
