"""Exports: a chain on a window written to a file, block by block on the cluster, whole or not at all."""

from __future__ import annotations

from muses_lab.export.geotiff import export
from muses_lab.export.job import Job

__all__ = ["Job", "export"]
