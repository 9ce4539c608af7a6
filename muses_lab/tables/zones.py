"""The statistics over polygons of each date as an object."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from html import escape
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr

from muses_lab import series
from muses_lab.engine import Published
from muses_lab.errors import ArgumentError
from muses_lab.operators.vectors import Features
from muses_lab.plain import shown
from muses_lab.progress import Told
from muses_lab.tables import files
from muses_lab.tables.observed import SceneFacts, facts, scenes_of
from muses_lab.tables.quantity import quantity_of
from muses_lab.tables.timeline import Timeline
from muses_lab.zonal import ZonalStatistics, statistics

if TYPE_CHECKING:
    from pathlib import Path

    import geopandas

_ATTRIBUTES = 2
"""So many attributes of the polygons are shown in a notebook's table."""

_OWN = (
    "feature", "date", "scene", "band", "count", "share", "samples", "platform", "sun_elevation", "cloud_cover", "unit",
    "crs", "resolution", "chain", "geometry", "label",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class ZonalSeries(Timeline):
    """Statistics of a chain over polygons on all dates.

    ```python
    found = ndvi.over("parcels.gpkg", stats=["mean", "median", "q10", "q90"])
    found.table                                  # a GeoDataFrame: a row for each polygon and date
    found.array                                  # xarray: dims feature, t, statistic (and bands)
    found.whittaker(smoothness=5)                # and other curves of the first statistic
    found.to_csv("parcels.csv"); found.plot()
    ```

    The columns of `table`: `feature` (its id), the attributes of the features (those called as another column, in
    whatever case, begin with `feature_`; so do `fid` and `geom`, which GeoPackages keep for themselves), `date` and
    `scene` (where the chain has dates), `band` (empty where it has none), the statistics, `count` (valid pixels, each
    as the share that the polygon covers), `share` (of the polygon that is valid), `samples` (how many valid pixels it
    covers, if only in part), `platform`, `sun_elevation`, `cloud_cover`, `unit`, `crs`, `resolution`, `chain` (the
    hash that names how the values were computed) and `geometry`.
    """

    found: ZonalStatistics = field(repr=False)
    unit: str = ""
    label: str = ""

    KEYS: ClassVar[tuple[str, ...]] = ("feature", "band")

    @property
    def VALUE(self) -> str:  # noqa: N802
        """Column of the statistic that curves are made of: the first one that was asked for."""
        return self.found.names[0]

    @property
    def published(self) -> Published:
        return self.found.published

    @property
    def features(self) -> Features:
        return self.found.features

    @property
    def failed(self) -> dict[str, str]:
        """Scenes that could not be read and were left out: id → reason."""
        return self.found.failed

    @property
    def quantity(self) -> str:
        return self.label or quantity_of(self.published)

    @property
    def hash(self) -> str:
        """Names the chain whose values these are."""
        return self.published.chain_hash

    def of(self, *ids: Any) -> ZonalSeries:
        """Those of some of the polygons, by their ids.

        ```python
        found.of(12).plot()
        ```
        """
        known = {id: number for number, id in enumerate(self.features.ids)}
        for id in ids:
            if id not in known:
                raise ArgumentError(f"there is no polygon with the id {shown(id)} among these {len(known)}")
        numbers = [known[id] for id in ids]
        if not numbers:
            raise ArgumentError("of() takes ids of polygons: found.of(12), found.of(12, 13)")
        return replace(self, found=self.found.of(numbers))

    def to_geopackage(self, path: str | os.PathLike[str]) -> Path:
        """Writes a GeoPackage with two layers: `features`, the polygons, and `series`, a row for each of them and date.

        They are joined by the column `feature`. All of `table` but the polygons' attributes is in `series`.
        """
        import geopandas

        attributes = {self._names[name]: list(column) for name, column in self.features.properties.items()}
        polygons = geopandas.GeoDataFrame(
            {"feature": list(self.features.ids), **attributes}, geometry=self.features.shapes, crs=self.features.crs
        )
        return files.to_geopackage(polygons, self.table.drop(columns=list(attributes)), path)

    @cached_property
    def _names(self) -> dict[str, str]:
        """What the attributes are called in the table."""
        return files.free_names(self.features.columns, (*_OWN, *self.found.names))

    @cached_property
    def array(self) -> xr.DataArray:
        """The statistics: dims feature, t, bands (what the chain has of these) and statistic."""
        step = self.published.prepared.output
        values = self.found.values
        coords: dict[str, Any] = {"feature": np.array(self.features.ids, object)}
        if step.meta.time:
            coords["t"] = np.array(step.times, "datetime64[ns]")
        else:
            values = values[:, 0]
        if step.meta.bands is not None:
            coords["bands"] = np.array(step.meta.bands, object)
        else:
            values = values[..., 0, :]
        coords["statistic"] = list(self.found.names)
        array = xr.DataArray(values, coords, tuple(coords), name="values")
        array.attrs = {"muses_chain": self.hash, **self.published.lacks(self.found.failed)}
        return array

    @cached_property
    def table(self) -> geopandas.GeoDataFrame:
        """A row for each polygon, date and band."""
        import geopandas

        number, dates, bands, _ = self.found.values.shape
        rows = np.repeat(np.arange(number), dates * bands)
        step = self.published.prepared.output
        told: list[SceneFacts] = []
        columns: dict[str, Any] = {"feature": [self.features.ids[n] for n in rows]}
        for name, column in self.features.properties.items():
            columns[self._names[name]] = [column[n] for n in rows]
        if step.meta.time:
            columns["date"] = np.tile(np.repeat(np.array(step.times, "datetime64[ns]"), bands), number)
            told = [fact for n in range(number) for fact in self._facts(n) for _ in range(bands)]
            columns["scene"] = [one.scene for one in told]
            if labels := series.labels_of(xr.DataArray(np.array(step.times), dims="t", coords={"t": list(step.times)}),
                                          self.published):  # fmt: skip
                columns["label"] = np.tile(np.repeat(np.array(labels, object), bands), number)
        columns["band"] = np.tile(np.array(step.meta.bands or ("",), object), number * dates)
        for n, name in enumerate(self.found.names):
            columns[name] = self.found.values[..., n].ravel()
        columns.setdefault("count", self.found.count.ravel())
        with np.errstate(all="ignore"):
            columns.setdefault("share", (self.found.count / self.found.covered[:, None, None]).ravel())
        columns["samples"] = self.found.samples.ravel()
        if step.meta.time:
            columns["platform"] = [one.platform for one in told]
            columns["sun_elevation"] = np.array([one.sun_elevation for one in told], float)
            columns["cloud_cover"] = np.array([one.cloud_cover for one in told], float)
        columns["unit"] = self.unit
        columns["crs"] = np.array(self.found.systems, object)[rows]
        columns["resolution"] = self.found.metres[rows]
        columns["chain"] = self.hash
        return geopandas.GeoDataFrame(columns, geometry=self.features.shapes[rows], crs=self.features.crs)

    def plot_with_counts(self, **options: Any) -> Any:
        """The plot, and below it how many pixels of the polygons are valid on each date.

        ```python
        found.of(12).plot_with_counts(responsive=True)
        ```

        `options` are those of HoloViews, of the plot above.
        """
        import holoviews as hv

        from muses_lab.tables import drawing

        series: Timeline = self
        look: dict[str, Any] = {
            name: options[name] for name in ("width", "responsive", "default_tools") if name in options
        }
        above = self.plot(**{"xaxis": "bare", **options})
        both = hv.Layout([drawing.aligned(above), drawing.aligned(drawing.counts([series], look))]).cols(1)
        sizing = {} if "width" in options else {"sizing_mode": "stretch_width"}
        return both.opts(toolbar=None, backend="bokeh", **sizing)

    def curves(self) -> xr.DataArray:
        """The first statistic by t, bands and feature."""
        if "t" not in self.array.dims:
            raise ArgumentError("the chain has no dates: ask for what it is made of, before it is reduced over time")
        values = self.array.isel(statistic=0, drop=True)
        if "bands" not in values.dims:
            values = values.expand_dims(bands=[""])
        return values.transpose("feature", "bands", "t")

    def __repr__(self) -> str:
        dates = f", {self.array.sizes['t']} dates" if "t" in self.array.dims else ""
        names = ", ".join(self.found.names)
        number = len(self.features)
        return f"<ZonalSeries: {number} polygon{'s' * (number != 1)}{dates}: {names}, chain {self.hash[:12]}…>"

    def _repr_html_(self) -> str:
        """A few rows with what one reads; `table` has all columns."""
        wide = (*_OWN, *self.found.names)
        columns = [c for c in ("feature", "date", "band") if c in self.table]
        if "band" in columns and not self.published.prepared.output.meta.bands:
            columns.remove("band")
        known = [c for c in self.table.columns if c not in wide][:_ATTRIBUTES]
        rows = pd.DataFrame(self.table)[[*columns[:1], *known, *columns[1:], *self.found.names]]
        for name in ("count", "share"):
            rows = rows if name in rows else rows.assign(**{name: self.table[name]})
        told = f"{len(self.table)} rows; .table has {len(self.table.columns)} columns, with the scenes and geometries"
        html = rows.to_html(max_rows=10, index=False, float_format="{:.4g}".format, border=0)
        unit = f" in {escape(self.unit)}" if self.unit not in ("", "1") else ""
        quantity = f"<p>{escape(self.quantity)}{unit}</p>" if self.quantity else ""
        return f"<p>{escape(repr(self))}</p>{quantity}{html}<p>{told}</p>"

    def _facts(self, number: int) -> list[Any]:
        return self._facts_of(self.found.found[number], self.found.used[number])

    @cached_property
    def _facts_of(self) -> Any:
        published, times = self.published, self.published.prepared.output.times

        @lru_cache(maxsize=4096)  # neighbours have the same scenes
        def told(found: frozenset[str], used: frozenset[str]) -> list[Any]:
            scenes = scenes_of(published, found)
            return [facts(ids, scenes) for ids in series.ids_by_date(published, found, used, times)]

        return told


def zonal_series(
    published: Published, features: Features, stats: Sequence[str], resolution: float | None, progress: Told,
    unit: str = "", label: str = "",
) -> ZonalSeries:  # fmt: skip
    """See `Chain.over`."""
    return ZonalSeries(statistics(published, features, stats, resolution, progress), unit, label)
