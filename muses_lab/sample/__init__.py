"""Sample catalogues: made-up but realistic Sentinel-2-like scenes near Toulouse, of which the truth is known."""

from __future__ import annotations

from muses_lab.sample.make import catalog_id, default_folder, generate
from muses_lab.sample.names import named
from muses_lab.sample.truth import Truth
from muses_lab.sample.years import six_years

__all__ = ["Truth", "catalog_id", "default_folder", "generate", "named", "six_years"]
