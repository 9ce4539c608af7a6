"""A chain's values at places, and the series that they come from: one pixel each, asked for together."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from muses_lab import compute, readings, settings
from muses_lab.compute.windows import Pixels, WindowReport, request_window
from muses_lab.document.graph import Callback, Node, Parameter
from muses_lab.engine import Published
from muses_lab.engine.graph import Step
from muses_lab.engine.thinning import sentence
from muses_lab.errors import ArgumentError
from muses_lab.plain import number, users_line
from muses_lab.progress import Told, progress_of
from muses_lab.publish.documents import check_extents
from muses_lab.raster import access

_TOGETHER = 256
"""Places that are asked for at a time: as many as keep the cluster busy."""

_NATIVE = 1e-3
"""Metres: pixels so small are cut out of the native ones."""

_METRES = 111_320
"""Of a degree of latitude."""

Point = tuple[float, float]
"""Longitude, latitude."""


class OutsideScenes(UserWarning):
    """Values were asked for at a place where the chain has no scene: they are missing."""


class UnreadScenes(UserWarning):
    """Scenes could not be read: they are not in the values, which are missing where no other scene has any."""


class Sampled(NamedTuple):
    """A chain at places: the pixel of each, with the report of it."""

    published: Published
    pixels: tuple[Pixels, ...]

    def stacked(self) -> xr.DataArray:
        """The values with the dims that the chain has, and `point`."""
        arrays = [pixels.array.isel(y=0, x=0) for pixels in self.pixels]
        values = np.stack([array.values for array in arrays], axis=-1)
        return xr.DataArray(values, arrays[0].coords, (*arrays[0].dims, "point"), name="values")

    @property
    def ids(self) -> list[list[list[str]]]:
        """Ids of the scenes of each date of each place; where several lie there, of those that gave valid pixels."""
        times = self.published.prepared.output.times
        return [_scenes(self.published, pixels.report, times) for pixels in self.pixels]

    @property
    def failed(self) -> dict[str, str]:
        """Scenes that could not be read and were left out: id → reason."""
        return {id: why for pixels in self.pixels for id, why in pixels.report.failed}

    @property
    def systems(self) -> list[str]:
        """Reference system of the grid of each place; empty where there is none."""
        return [", ".join(pixels.report.systems) for pixels in self.pixels]

    @property
    def metres(self) -> list[float]:
        """Size of the pixel of each place; NaN where there is none."""
        return [min(pixels.report.levels, default=np.nan) for pixels in self.pixels]


def sampled(published: Published, places: Sequence[Point], resolution: float | None, progress: Told = False) -> Sampled:
    """A chain at places, of the native pixels or those of the level of `resolution` metres."""
    size = _NATIVE if resolution is None else number("resolution", resolution)
    if size <= 0:
        raise ArgumentError(f"resolution={size:g} is not the size of a pixel in metres", argument="resolution")
    if not places:
        raise ArgumentError("at was given an empty list of places")
    return Sampled(published, tuple(_pixels(published, places, size, progress)))


def at(
    published: Published, places: Sequence[Point], single: bool, resolution: float | None, progress: Told = False
) -> xr.DataArray:
    """See `Chain.at`; `single`: one place was given, not a list of one."""
    return at_places(published, places, single, resolution, progress)[0]


def at_places(
    published: Published, places: Sequence[Point], single: bool, resolution: float | None, progress: Told = False
) -> tuple[xr.DataArray, Sampled]:
    """What `Chain.at` gives, and the pixels that it is made of."""
    found = sampled(published, places, resolution, progress)
    _check_inside(published, places, found.pixels)
    if single:
        (pixels,) = found.pixels
        return _described(pixels.array.isel(y=0, x=0), published, pixels.report, places[0]), found
    return _many(found, places), found


def nearest_dated(published: Published) -> tuple[Published, str]:
    """The chain, or the nearest part that its values are made of which has dates; and a sentence that says which."""
    if published.prepared.output.meta.time:
        return published, ""
    parts = dated(published)
    if len(parts) != 1:
        raise ArgumentError(
            f"the values of the chain are made of {len(parts)} series, not of one: ask for each, before it is reduced "
            "over time, by .at(lon, lat)"
        )
    part = parts[0].published
    process = part.root.process.rpartition(":")[2]
    return part, f"the chain has no dates: this is what it reduces over time, the result of {process!r}"


class Dated(NamedTuple):
    """A part of a chain that has dates."""

    published: Published
    label: str
    """Of the band that is made of it; empty where it does not become one."""


def dated(published: Published) -> list[Dated]:
    """The parts of a chain with dates that its values are made of.

    A chain that has dates is such a part itself; one without has those that it reduces over time, each with the bands
    that it uses. What only decides which values are kept (a mask, a condition) does not count, and a part of one date
    (a raster) only where there is no other.
    """
    steps = published.prepared.steps
    found: dict[str, str] = {}
    stack = [(published.prepared.root, "")]
    met = set()
    while stack:
        node, label = stack.pop()
        if node.hash in met:
            continue
        met.add(node.hash)
        step = steps[node.hash]
        if step.meta.time:
            found[node.hash] = label
        else:
            label = step.arguments.get("label", label)
            stack += [(below, label) for below in reversed(_data_of(step))]
    several = [hash for hash in found if len(steps[hash].times) > 1]
    return [Dated(replace(published, root=steps[hash].node), found[hash]) for hash in several or found]


def series_there(part: Dated, place: Point) -> xr.DataArray:
    """The values of a part at a place; no warning where no scene is, `attrs["scenes_found"]` is 0 there."""
    (pixels,) = _pixels(part.published, [place], _NATIVE)
    return _described(pixels.array.isel(y=0, x=0), part.published, pixels.report, place)


_CUBES = {"x": "cube1", "y": "cube2"}
"""What a callback of two values is given of each."""


def _data_of(step: Step) -> list[Node]:
    """What the values of a step are made of, in order."""
    conditions = {step.operator.masks}
    for value in step.arguments.values():
        if isinstance(value, Callback) and value.root.process == "if":  # as in `Chain.where`
            condition = value.root.arguments["value"]
            conditions.add(_CUBES.get(condition.name) if isinstance(condition, Parameter) else None)
    return [step.arguments[name] for name in step.operator.cubes_in(step.arguments) if name not in conditions]


def check_known(published: Published) -> None:
    """`NotFound` says which catalogue is not known here, whose scenes would all be left out otherwise."""
    for catalog in {scenes.catalog for scenes in published.scenes.values()}:
        if not access.is_remote(catalog):
            access.resolve_href(catalog, "")


def attributes(published: Published, report: WindowReport) -> dict[str, Any]:
    """What an array tells of its evaluation."""
    return {
        "muses_chain": published.chain_hash,
        "scenes_used": report.scenes_used,
        "scenes_found": report.scenes_found,
        **({"thinned": sentence(*report.thinned)} if report.thinned else {}),
        **published.lacks(dict(report.failed)),
    }


def labels_of(array: xr.DataArray, published: Published) -> list[str]:
    """What an array's dates are called (`2018-03`), where they stand for more than a moment; else none."""
    labels = published.prepared.output.labels
    return [labels.get(time, "") for time in array.t.values] if labels and "t" in array.dims else []


def _pixels(published: Published, places: Sequence[Point], size: float, progress: Told = False) -> list[Pixels]:
    check_extents(published.root)
    check_known(published)
    if len(places) == 1 and (read := readings.pixels(published, _window(places[0], size))) is not None:
        return [read]  # somebody looks at this place, and will ask for more there
    executor = compute.executor()
    found: list[Pixels] = []
    with progress_of(len(places), "Values", "place", progress) as told:
        for start in range(0, len(places), _TOGETHER):
            some = places[start : start + _TOGETHER]
            tickets = [request_window(executor, published, _window(place, size)) for place in some]
            try:
                for ticket in tickets:
                    found.append(ticket.result(settings.number("MUSES_TASK_SECONDS")))
                    told.update()
            finally:
                for ticket in tickets:
                    ticket.release()
    return found


def _window(place: Point, size: float) -> GeoBox:
    """One pixel of so many metres with the place in its middle."""
    (lon, lat), degrees = place, size / _METRES
    return GeoBox((1, 1), Affine(degrees, 0, lon - degrees / 2, 0, -degrees, lat + degrees / 2), "EPSG:4326")


def _check_inside(published: Published, places: Sequence[Point], found: Sequence[Pixels]) -> None:
    outside = [place for place, pixels in zip(places, found, strict=True) if not pixels.report.found]
    if not outside:
        return
    lon, lat = outside[0]
    where = f"lon={lon:g}, lat={lat:g}"
    if len(outside) == len(places) and abs(lon) <= 90 and _has_scenes(published, (lat, lon)):
        raise ArgumentError(
            f"no scene of the chain is at {where}, but there are some at lon={lat:g}, lat={lon:g}: at takes longitude "
            "first, at(lon, lat)"
        )
    more = f" and at {len(outside) - 1} of the other places" if len(outside) > 1 else ""
    told = f"no scene of the chain is at {where}{more}: values are missing there"
    warnings.warn(told, OutsideScenes, stacklevel=users_line())


def _has_scenes(published: Published, place: Point) -> bool:
    from muses_lab.engine.mosaic import layout

    return bool(layout(published.prepared, _window(place, 1.0)).found)


def _described(array: xr.DataArray, published: Published, report: WindowReport, place: Point) -> xr.DataArray:
    array = array.assign_coords(lon=place[0], lat=place[1]).rename("values")
    array.attrs = attributes(published, report)
    if "t" in array.dims:  # not as a coordinate: `series.hvplot()` would draw an image over dates and names
        names = [", ".join(ids) for ids in _scenes(published, report, array.t.values)]
        times = np.datetime_as_string(array.t.values)
        array.attrs["scenes"] = [f"{time[:23]} {name}" for time, name in zip(times, names, strict=True)]
        if labels := labels_of(array, published):
            array.attrs["labels"] = labels
    else:
        array.attrs["scenes"] = _in_order(published, report)
    return array


def _many(found: Sampled, places: Sequence[Point]) -> xr.DataArray:
    published, array = found.published, found.stacked()
    lon, lat = np.array(places, float).T
    array = array.assign_coords(lon=("point", lon), lat=("point", lat))
    report = _together(pixels.report for pixels in found.pixels)
    array.attrs = attributes(published, report)
    if "t" not in array.dims:
        array.attrs["scenes"] = _in_order(published, report)
        return array
    if labels := labels_of(array, published):
        array = array.assign_coords(label=("t", labels))
    names = [[", ".join(date) for date in place] for place in found.ids]
    return array.assign_coords(scene=(("t", "point"), np.array(names, dtype=object).T.astype(str)))


def _in_order(published: Published, report: WindowReport) -> list[str]:
    """Ids of the scenes that lie there, in order of time."""
    at_time = _by_time(published, report.found)
    return [id for time in sorted(at_time) for id in at_time[time]]


def _scenes(published: Published, report: WindowReport, times: Sequence[np.datetime64]) -> list[list[str]]:
    """Ids of the scenes of each date; where several lie there, of those that gave valid pixels."""
    return ids_by_date(published, report.found, report.used, times)


def ids_by_date(
    published: Published, found: Collection[str], used: Collection[str], times: Sequence[np.datetime64]
) -> list[list[str]]:
    """Of the scenes that are `found` at a place the ids for each date; of several, of those that are `used`."""
    at_time, prepared = _by_time(published, found), published.prepared
    names = []
    for time in times:
        made_of = sorted(prepared.dates_read(prepared.root, time))
        ids = list(dict.fromkeys(id for instant in made_of for id in at_time.get(instant, [])))
        names.append([id for id in ids if id in used] or ids)
    return names


def _by_time(published: Published, found: Collection[str]) -> dict[np.datetime64, list[str]]:
    """The scenes that lie there, by observation."""
    at_time: dict[np.datetime64, list[str]] = {}
    for source in published.prepared.sources.values():
        for id, observation in zip(source.columns.ids, source.columns.observation, strict=True):
            if id in found:
                ids = at_time.setdefault(source.columns.instants[observation], [])
                ids += [] if id in ids else [id]
    return at_time


def _together(reports: Iterable[WindowReport]) -> WindowReport:
    every = list(reports)
    return WindowReport(
        used=frozenset().union(*(r.used for r in every)),
        found=frozenset().union(*(r.found for r in every)),
        failed=tuple(dict.fromkeys(line for r in every for line in r.failed)),
        levels=(),
        thinned=next((r.thinned for r in every if r.thinned), None),
    )
