"""How much of a window each date of a chain shows, and how much of it is clear."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from muses_lab import compute, settings
from muses_lab.api.frames import Frame, OverTime
from muses_lab.api.masks import clouds
from muses_lab.compute.windows import request_window
from muses_lab.document.graph import Callback, Node
from muses_lab.engine import Published
from muses_lab.operators import registry
from muses_lab.products.known import profile_of
from muses_lab.tables.observed import masks_of


class Share(NamedTuple):
    """Of one date, shares (0 to 1) of a window's pixels."""

    clear: float
    covered: float
    """That have data, clear or not."""


class Clearness(NamedTuple):
    """What tells clear pixels from others."""

    basis: str
    """A sentence's end: `by the chain's own mask`."""
    shares: Callable[[Sequence[Frame], GeoBox], list[Share]]
    """Those of some frames, one after the other in time, in a window."""


def clearness(over: OverTime) -> Clearness:
    """What tells the clear pixels of frames: the best that there is.

    A chain that masks is clear where it has values. Else the mask of its product (SCL, QA_PIXEL, …) tells, which is
    then all that is read; else the cloud cover that the scenes state, which is that of whole scenes and not of the
    window. Where nothing is known of clouds (radar), all that has values counts as clear.
    """
    published = over.cube.published
    if (masks := masks_of(published)) is not None:
        return Clearness("by the chain's own mask", lambda f, w: _by_values(published, masks.unmasked, f, w))
    if found := _product_masks(published):
        names = " and ".join(dict.fromkeys(name for name, _ in found))
        roots = [root for _, root in found]
        return Clearness(f"by the scenes' {names}", lambda f, w: _by_classes(published, roots, f, w))
    if any(np.isfinite(frame.facts.cloud_cover) for frame in over):
        return Clearness("by the cloud cover of whole scenes", lambda f, w: _by_scenes(published, f, w))
    return Clearness("", lambda f, w: _by_values(published, published, f, w))


def _by_values(published: Published, unmasked: Published, frames: Sequence[Frame], window: GeoBox) -> list[Share]:
    """What has values, before and after masking."""
    clear = _valid(published, frames, window)
    covered = clear if unmasked is published else _valid(unmasked, frames, window)
    return [Share(one, max(one, other)) for one, other in zip(clear, covered, strict=True)]


def _by_scenes(published: Published, frames: Sequence[Frame], window: GeoBox) -> list[Share]:
    covered = _valid(published, frames, window)
    clouded = [np.nan_to_num(frame.facts.cloud_cover / 100) for frame in frames]
    return [Share(one * (1 - cloud), one) for one, cloud in zip(covered, clouded, strict=True)]


def _by_classes(published: Published, roots: Sequence[Node], frames: Sequence[Frame], window: GeoBox) -> list[Share]:
    """By masks of products; of a frame of several dates what is clear on one of them."""
    prepared = published.prepared
    dates = [prepared.dates_read(prepared.root, frame.time) for frame in frames]
    every = frozenset().union(*dates)
    images = [_images(replace(published, root=root), min(every), max(every), window) for root in roots] if every else []
    found = []
    for wanted in dates:
        clear = covered = np.zeros(window.shape, bool)
        for image in images:
            flags = image.values[np.isin(image.t.values, list(wanted))]
            clear = clear | (flags == 0).any(0)
            covered = covered | np.isfinite(flags).any(0)
        found.append(Share(float(clear.mean()), float(covered.mean())))
    return found


def _product_masks(published: Published) -> list[tuple[str, Node]]:
    """Of each source that has a known mask the mask's name, and what is 1 where it flags a pixel, else 0."""
    prepared = published.prepared
    found = []
    for load in prepared.loads_below(prepared.root):
        scenes = prepared.source(load.node).scenes
        profile = profile_of({"id": scenes.collection})
        masks = profile.cloud_masks([band.name for band in scenes.bands]) if profile is not None else ()
        if masks and load.meta.time:
            mask = masks[0]
            node = registry.node(load.node.process, **{**load.node.arguments, "bands": [mask.band, *mask.also]})
            flags = registry.node("reduce_dimension", data=node, reducer=Callback(clouds(mask)), dimension="bands")
            found.append((mask.name or mask.band, flags))
    return list({node.hash: (name, node) for name, node in found}.values())


def _valid(published: Published, frames: Sequence[Frame], window: GeoBox) -> list[float]:
    """Of each frame the share of the window's pixels that have a value in all bands."""
    valid = _images(published, frames[0].time, frames[-1].time, window).notnull()
    if "bands" in valid.dims:
        valid = valid.all("bands")
    there = dict(zip(valid.t.values, valid.mean(("y", "x")).values.tolist(), strict=True))
    return [there.get(frame.time, 0.0) for frame in frames]


def _images(published: Published, first: np.datetime64, last: np.datetime64, window: GeoBox) -> xr.DataArray:
    """A chain's dates from the first to the last, which is included."""
    extent = [f"{first.astype('M8[us]')}Z", f"{last.astype('M8[us]') + 1}Z"]
    part = replace(published, root=registry.node("filter_temporal", data=published.root, extent=extent))
    ticket: Any = request_window(compute.executor(), part, window)
    try:
        return ticket.result(settings.number("MUSES_TASK_SECONDS")).array
    finally:
        ticket.release()
