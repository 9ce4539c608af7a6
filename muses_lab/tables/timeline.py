"""What all tables of series do: they are written to files, smoothed, compared and drawn."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
import xarray as xr

from muses_lab.tables import files, overlays

if TYPE_CHECKING:
    from pathlib import Path


class Timeline(ABC):
    """Values by date."""

    KEYS: ClassVar[tuple[str, ...]]
    """Columns of `table` that name one of its series."""
    unit: str
    label: str
    name: str = ""
    """What it is called among others in a plot; by default its label."""
    colour: str = ""
    """In a plot; by default the next one."""
    axis: str = ""
    """Series of one name share an axis of a plot; by default radar has one, and all others another."""

    @property
    def VALUE(self) -> str:  # noqa: N802
        """Column of the values that curves are made of."""
        return "value"

    @property
    @abstractmethod
    def quantity(self) -> str:
        """What the values are called: the style's label, else the index or band that they are; perhaps empty."""

    @property
    @abstractmethod
    def table(self) -> pd.DataFrame:
        """A row for each value."""

    @abstractmethod
    def curves(self) -> xr.DataArray:
        """The values by t and the keys of a series."""

    # ------------------------------------------------------------------------------------------------- files

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Writes the table as CSV: all columns, dates in ISO 8601 (UTC), numbers with all their digits."""
        return files.to_csv(self.table, path)

    def to_parquet(self, path: str | os.PathLike[str]) -> Path:
        """Writes the table as Parquet: all columns with their types."""
        return files.to_parquet(self.table, path)

    # ---------------------------------------------------------------------------------------------- overlays

    def whittaker(self, smoothness: float = 0.5, spacing: float | None = 10.0, fill: bool = True) -> xr.DataArray:
        """Whittaker's smoother of each series: what the method of that name of a chain gives."""
        return overlays.smooth(self.curves(), "muses:whittaker", smoothness=smoothness, spacing=spacing, fill=fill)

    def savitzky_golay(self, window: int = 5, degree: int = 2) -> xr.DataArray:
        """The filter of Savitzky and Golay of each series: what the method of that name of a chain gives."""
        return overlays.smooth(self.curves(), "muses:savitzky_golay", window=window, degree=degree)

    def harmonic_fit(self, harmonics: int = 1, period: float = 365.25, fill: bool = True) -> xr.DataArray:
        """The seasons of each series: what the method of that name of a chain gives."""
        return overlays.smooth(self.curves(), "muses:harmonic_fit", harmonics=harmonics, period=period, fill=fill)

    def anomaly(self, period: str = "month", years: Sequence[int] | None = None) -> xr.DataArray:
        """Each date minus the normal of its `month`, `season` or `day`: the mean over `years`, by default all."""
        return overlays.anomaly(self.curves(), period, years)

    def normal(self, period: str = "month", years: Sequence[int] | None = None) -> xr.DataArray:
        """The normal at each date: the mean of its `month`, `season` or `day` over `years`, by default all."""
        return self.curves() - self.anomaly(period, years)

    def trend(self, confidence: float = 0.95) -> xr.Dataset:
        """The straight line through each series, and how sure it is.

        Of the dataset, `slope` (per year), `intercept` (on 1970-01-01), `r2`, `p` and `count` are those of the method
        `trend` of a chain; `slope_low` and `slope_high` are the limits of confidence of the slope, `line`, `low` and
        `high` the line at each date with those of the line (Student's t, `count` - 2 degrees of freedom). Dates count
        as independent of each other.
        """
        return overlays.trend(self.curves(), confidence)

    def breaks(self, permutations: int = 0) -> xr.Dataset:
        """The date at which the level of each series changes most: `date`, `size`, `score`, `p` and `count`.

        Those of the method `cusum` of a chain, `date` as a date. Subtract the seasons first.
        """
        return overlays.breaks(self.curves(), permutations)

    def year_over_year(self) -> pd.DataFrame:
        """The valid values by `year` and `day` of the year (1 to 366), beside what names the series."""
        rows = self.table
        rows = rows[rows[self.VALUE].notna()]
        years = rows.assign(year=rows["date"].dt.year, day=rows["date"].dt.dayofyear)
        return years[[*self.KEYS, "year", "day", "date", self.VALUE]].sort_values([*self.KEYS, "year", "day"])

    # ------------------------------------------------------------------------------------------------- plots

    def plot(
        self, *others: Timeline, overlays: Sequence[str] = (), year_over_year: bool = False, **options: Any
    ) -> Any:
        """The series as HoloViews draws them: values as dots, masked ones hollow, a symbol for each sensor.

        ```python
        ndvi.series(1.41, 43.58).plot(overlays=["whittaker", "trend"])
        ndvi.series(1.41, 43.58).plot(vv.series(1.41, 43.58))             # radar has an axis of its own
        ndvi.series(1.41, 43.58).plot(year_over_year=True)
        ```

        Parameters
        ----------
        others
            Series that are drawn with it.
        overlays
            Of `whittaker`, `savitzky_golay`, `harmonic_fit`, `trend`, `normal`, `breaks`.
        year_over_year
            Whether years lie upon each other.
        options
            Of HoloViews, such as width=800; without a width the plot is as wide as the cell.
        """
        from muses_lab.tables import drawing  # HoloViews takes seconds to load

        return drawing.plot([self, *others], overlays, year_over_year, options)

    @property
    def hvplot(self) -> Any:
        """hvPlot's methods, a curve for each series: `.hvplot()`, `.hvplot.scatter(x="date", y="value")`."""
        from hvplot import hvPlotTabular

        table, value = self.table.drop(columns="geometry", errors="ignore"), self.VALUE
        several = [key for key in self.KEYS if table[key].nunique() > 1]
        defaults = {"by": several} if several else {}

        class Plots(hvPlotTabular):
            # hvPlot's own defaults of x and y cannot be given again.
            def __call__(self, x: Any = None, y: Any = None, kind: Any = None, **options: Any) -> Any:
                return super().__call__(x or "date", y or value, kind, **{**defaults, **options})

        return Plots(table)
