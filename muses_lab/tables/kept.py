"""A series made of a table that was kept: it is drawn, smoothed and written as the one that the table came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from muses_lab.errors import ArgumentError
from muses_lab.tables.timeline import Timeline

_STATISTICS = ("value", "mean", "median")
"""Columns that may be drawn: the first that there is."""


@dataclass(frozen=True, eq=False)
class KeptSeries(Timeline):
    """The rows of a `PointSeries` or `ZonalSeries`, with a name and a colour for a plot.

    ```python
    KeptSeries(ndvi.series(1.41, 43.58).table, name="Field", colour="#d55e00").plot()
    ```
    """

    rows: pd.DataFrame
    unit: str = ""
    label: str = ""
    name: str = ""
    colour: str = ""
    axis: str = ""

    @property
    def KEYS(self) -> tuple[str, ...]:  # type: ignore[override]  # noqa: N802
        return tuple(key for key in ("point", "feature", "band") if key in self.rows)

    @property
    def VALUE(self) -> str:  # noqa: N802
        """The column that is drawn."""
        found = next((name for name in _STATISTICS if name in self.rows), None)
        if found is None:
            raise ArgumentError(f"the table has none of the columns {', '.join(_STATISTICS)}")
        return found

    @property
    def quantity(self) -> str:
        return self.label

    @property
    def table(self) -> pd.DataFrame:
        return self.rows

    def curves(self) -> xr.DataArray:
        """The values by t and the keys of a series."""
        keys = [key for key in self.KEYS if key != "band"]
        names = [*keys, "bands", "t"]
        rows = self.rows.rename(columns={"band": "bands", "date": "t"})
        ends: dict[str, Any] = {name: rows[name].drop_duplicates().to_numpy() for name in names}
        ends["t"] = np.sort(ends["t"].astype("datetime64[ns]"))
        values = np.full([len(ends[name]) for name in names], np.nan)
        places = tuple(pd.Index(ends[name]).get_indexer(rows[name]) for name in names)
        values[places] = rows[self.VALUE].to_numpy(float)
        single = values.astype(np.float32)
        if np.array_equal(single, values, equal_nan=True):
            values = single  # as pixels have them: curves through them are the same to the last digit
        if "point" in ends:
            ends["point"] = np.arange(len(ends["point"]))
        return xr.DataArray(values, ends, tuple(names), name="values")

    def minus_normal(self) -> KeptSeries:
        """Each date minus the normal of its month, as `.anomaly()` gives it."""
        keys = [key for key in self.KEYS if key != "band"]
        anomaly = self.anomaly().to_series().rename("anomaly").reset_index()
        anomaly = anomaly.rename(columns={"bands": "band", "t": "date"})
        rows = self.rows.merge(anomaly, on=[*keys, "band", "date"], how="left")
        told = [name for name in ("unmasked", "q10", "q90") if name in rows]
        rows = rows.assign(**{self.VALUE: rows["anomaly"], **dict.fromkeys(told, np.nan)}).drop(columns="anomaly")
        return KeptSeries(rows, self.unit, f"{self.label} − normal", self.name, self.colour, self.axis)
