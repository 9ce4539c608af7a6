"""Tables as files that others read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd

from muses_lab import plain

_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


def to_csv(table: pd.DataFrame, path: str | os.PathLike[str]) -> Path:
    """Numbers are written so that reading gives the same double; shapes are left to formats that have them."""
    target = plain.path("path", path, "series.csv")
    rows = table.drop(columns="geometry", errors="ignore")
    target.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(target, index=False, date_format=_TIME)
    return target


def to_parquet(table: Any, path: str | os.PathLike[str]) -> Path:
    """GeoParquet where rows have shapes."""
    target = plain.path("path", path, "series.parquet")
    target.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(target, index=False)
    return target
