"""The series of places as an object: values of all dates with what is known of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr

from muses_lab import series
from muses_lab.engine import Published
from muses_lab.errors import ArgumentError
from muses_lab.progress import Told
from muses_lab.series import Point, Sampled
from muses_lab.tables.observed import MASKED, MISSING, OUTSIDE, VALID, facts, masks_of, removed, scenes_of
from muses_lab.tables.quantity import quantity_of
from muses_lab.tables.timeline import Timeline

if TYPE_CHECKING:
    from muses_lab.tables.observed import Masks


@dataclass(frozen=True, eq=False)
class PointSeries(Timeline):
    """The values of a chain at one place or several, on all dates.

    ```python
    found = ndvi.series(1.41, 43.58)
    found.table                                  # pandas: a row for each date, with scene, mask, sun, clouds
    found.array                                  # xarray: dims t (and bands, point)
    found.value_of(s2.index("EVI"))              # another expression at the same place, without reading again
    found.whittaker(smoothness=5)                # and other curves of the same values
    found.to_csv("field.csv"); found.plot()
    ```

    The columns of `table`: `point` (number of the place), `lon`, `lat`, `date`, `scene` (its id), `band` (empty where
    the chain has none), `value` (missing where masked), `unmasked` (the value before masking), `state` (`valid`,
    `masked`, `missing`: no data, `outside`: no scene), `mask_class` (what the pixel is in the product's mask, such as
    `cloud_shadow`), `platform`, `sun_elevation` (degrees), `cloud_cover` (per cent of the scene), `unit`, `crs`,
    `resolution` (metres), `samples` (pixels that made the value) and `chain` (the hash that names how it was computed).
    """

    published: Published
    """The chain that has the dates."""
    places: tuple[Point, ...]
    single: bool
    """Whether one place was asked for, not a list of one."""
    resolution: float | None
    array: xr.DataArray
    """Values with the dims t, bands (where there are some) and point (where several places were asked for)."""
    sampled: Sampled = field(repr=False)
    unit: str = ""
    label: str = ""
    """Of the quantity: what it is called beside an axis."""
    note: str = ""
    """Says whose values these are where the chain that was asked has no dates."""

    KEYS: ClassVar[tuple[str, ...]] = ("point", "band")

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each place, band and date."""
        values = _with_points(self.array).transpose("point", "bands", "t")
        shape, times = values.shape, values.t.values
        masked, classes, unmasked = self._masking(values)
        ids = self.sampled.ids
        scenes = scenes_of(self.published, {id for place in ids for date in place for id in date})
        told = [[facts(date, scenes) for date in place] for place in ids]

        def by_date(column: Any, dtype: Any = object) -> np.ndarray:
            """(point, t) as a row for each."""
            return np.repeat(np.array(column, dtype).reshape(shape[0], 1, shape[2]), shape[1], axis=1).ravel()

        outside = np.array([[not date for date in place] for place in ids]).reshape(shape[0], 1, shape[2])
        valid = np.isfinite(values.values)
        is_masked = masked & np.isfinite(unmasked)  # a mask says nothing of pixels without data but that they are none
        state = np.select([valid, np.broadcast_to(outside, shape), is_masked], [VALID, OUTSIDE, MASKED], MISSING)
        places = np.array(self.places, float)
        points = np.repeat(np.arange(shape[0]), shape[1] * shape[2])
        columns: dict[str, Any] = {
            "point": points,
            "lon": places[points, 0],
            "lat": places[points, 1],
            "date": np.tile(times, shape[0] * shape[1]),
            "scene": by_date([[one.scene for one in place] for place in told]),
            "band": np.tile(np.repeat(values.bands.values, shape[2]), shape[0]),
            "value": values.values.astype(np.float64).ravel(),
            "unmasked": unmasked.astype(np.float64).ravel(),
            "state": state.astype(object).ravel(),
            "mask_class": by_date(classes),
            "platform": by_date([[one.platform for one in place] for place in told]),
            "sun_elevation": by_date([[one.sun_elevation for one in place] for place in told], float),
            "cloud_cover": by_date([[one.cloud_cover for one in place] for place in told], float),
            "unit": self.unit,
            "crs": np.array(self.sampled.systems, object)[points],
            "resolution": np.array(self.sampled.metres, float)[points],
            "samples": valid.astype(np.int64).ravel(),
            "chain": self.hash,
        }
        if labels := series.labels_of(self.array, self.published):
            columns["label"] = np.tile(np.array(labels, object), shape[0] * shape[1])
        return pd.DataFrame(columns)

    @property
    def hash(self) -> str:
        """Names the chain whose values these are."""
        return self.published.chain_hash

    @property
    def failed(self) -> dict[str, str]:
        """Scenes that could not be read and were left out: id → reason."""
        return self.sampled.failed

    @property
    def quantity(self) -> str:
        return self.label or quantity_of(self.published)

    def value_of(self, expression: Any) -> PointSeries:
        """The series of another chain at the same places; what was read there is not read again.

        ```python
        found = s2.mask_clouds().ndvi().series(1.41, 43.58)
        found.value_of(s2.mask_clouds().index("EVI"))
        found.value_of(s2.band("B08"))
        ```
        """
        if not hasattr(expression, "series"):
            raise ArgumentError(f"value_of takes a chain, such as s2.index('EVI'); this is {expression!r:.60}")
        where = self.places[0] if self.single else (list(self.places),)
        return expression.series(*where, resolution=self.resolution)

    def curves(self) -> xr.DataArray:
        """The values with all dims that make a row's key: t, bands, point."""
        return _with_points(self.array)

    def __repr__(self) -> str:
        dates = self.array.sizes["t"]
        finite = self.array.notnull()
        valid = int(finite.any([d for d in finite.dims if d != "t"]).sum())
        where = f"lon={self.places[0][0]:g}, lat={self.places[0][1]:g}" if self.single else f"{len(self.places)} places"
        note = f"; {self.note}" if self.note else ""
        return f"<PointSeries: {where}, {dates} dates, values on {valid} of them, chain {self.hash[:12]}…{note}>"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>{self.table.to_html(max_rows=12)}"

    def _masking(self, values: xr.DataArray) -> tuple[np.ndarray, Any, np.ndarray]:
        """Whether masked (point, bands, t); classes (point, t); values without masks (point, bands, t)."""
        masks: Masks | None = masks_of(self.published)
        times, blank = values.t.values, [[""] * values.sizes["t"] for _ in self.places]
        if masks is None:
            return np.zeros(values.shape, bool), blank, values.values
        gone = np.zeros((len(times), len(self.places)), bool)
        for selector in masks.selectors:
            gone |= removed(self._there(selector), times)
        names: list[list[list[str]]] = [[[] for _ in times] for _ in self.places]
        for band in masks.classes:
            found = self._there(band.published).squeeze("bands", drop=True).reindex(t=times).transpose("point", "t")
            for place, row in zip(names, found.values, strict=True):
                for date, value in zip(place, row, strict=True):
                    date += [label] if (label := band.label(value)) else []
        classes = [[", ".join(date) for date in place] for place in names]
        unmasked = _with_points(self._there(masks.unmasked)).reindex(t=times).transpose("point", "bands", "t")
        return np.broadcast_to(gone.T[:, None], values.shape), classes, unmasked.values

    def _there(self, published: Published) -> xr.DataArray:
        """Another chain at these places."""
        found = series.sampled(published, self.places, self.resolution)
        return found.stacked()


def _with_points(array: xr.DataArray) -> xr.DataArray:
    array = array.drop_vars([n for n in array.coords if n not in array.dims])
    if "point" not in array.dims:
        array = array.expand_dims("point")
    if "bands" not in array.dims:
        array = array.expand_dims(bands=[""])
    return array


def point_series(
    published: Published,
    places: Sequence[Point],
    single: bool,
    resolution: float | None,
    unit: str = "",
    label: str = "",
    progress: Told = None,
) -> PointSeries:
    """See `Chain.series`."""
    part, note = series.nearest_dated(published)
    array, found = series.at_places(part, places, single, resolution, progress)
    return PointSeries(part, tuple(places), single, resolution, array, found, unit, label, note)
