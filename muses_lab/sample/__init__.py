"""The sample catalogue: a made-up but realistic year of Sentinel-2-like scenes near Toulouse, with its ground truth."""

from __future__ import annotations

from muses_lab.sample.make import catalog_id, default_folder, generate
from muses_lab.sample.truth import Truth

__all__ = ["Truth", "catalog_id", "default_folder", "generate"]
