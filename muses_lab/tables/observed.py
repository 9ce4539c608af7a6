"""What is told of the dates of a series: the scenes, and whether and by what a value is masked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from muses_lab.document.graph import Node, rebuild
from muses_lab.engine import Published
from muses_lab.operators import registry
from muses_lab.products import CloudMask
from muses_lab.products.known import profile_of
from muses_lab.scenes.scene import Scene

VALID, MASKED, MISSING, OUTSIDE = "valid", "masked", "missing", "outside"
"""States of a value: it is there; a mask removed it; the scene has no data there; no scene lies there."""

RADAR = ("sentinel-1", "radarsat", "alos", "terrasar", "tandem", "cosmo", "iceye", "capella", "nisar", "envisat-asar")
"""How names of radar platforms begin."""


class SceneFacts(NamedTuple):
    """Of a date; of several scenes of one date the names joined and the numbers averaged."""

    scene: str
    platform: str
    sun_elevation: float
    """Degrees; NaN where no scene says it."""
    cloud_cover: float
    """Per cent of the scenes; NaN where none says it."""


def facts(ids: Sequence[str], scenes: dict[str, Scene]) -> SceneFacts:
    """What the scenes of a date tell."""
    known = [scenes[id] for id in ids]
    platforms = dict.fromkeys(one.platform for one in known if one.platform)
    return SceneFacts(
        ", ".join(ids), ", ".join(platforms),
        _mean(one.sun_elevation for one in known), _mean(one.cloud_cover for one in known),
    )  # fmt: skip


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else np.nan


class DateFacts(NamedTuple):
    """Of the scenes that one date of a chain is made of."""

    platforms: tuple[str, ...] = ()
    orbits: tuple[str, ...] = ()
    """Relative orbit and direction as far as they are stated: `51 descending`."""
    cloud_cover: float = np.nan
    """Per cent of the scenes, in the mean; NaN where none says it."""


def facts_by_date(published: Published, times: Iterable[np.datetime64]) -> list[DateFacts]:
    """What is known of each of a chain's dates, of its scenes wherever they lie."""
    prepared = published.prepared
    at_time: dict[np.datetime64, list[Scene]] = {}
    for source in prepared.sources.values():
        for scene, observation in zip(source.scenes.scenes, source.columns.observation, strict=True):
            at_time.setdefault(source.columns.instants[observation], []).append(scene)
    found = []
    for time in times:
        scenes = [scene for date in prepared.dates_read(prepared.root, time) for scene in at_time.get(date, ())]
        platforms = sorted({scene.platform for scene in scenes if scene.platform})
        orbits = sorted({orbit for scene in scenes if (orbit := _orbit(scene))})
        found.append(DateFacts(tuple(platforms), tuple(orbits), _mean(scene.cloud_cover for scene in scenes)))
    return found


def _orbit(scene: Scene) -> str:
    number = "" if scene.relative_orbit is None else str(scene.relative_orbit)
    return " ".join(filter(None, (number, scene.orbit_state)))


def scenes_of(published: Published, ids: Iterable[str]) -> dict[str, Scene]:
    """Scenes of a chain by their ids."""
    wanted, found = set(ids), {}
    for source in published.prepared.sources.values():
        for row, id in enumerate(source.columns.ids):
            if id in wanted:
                found[id] = source.scenes.scenes[row]
    return found


class ClassBand(NamedTuple):
    """A band of classes or bits that a mask reads."""

    published: Published
    """Gives its values as they are."""
    name: str
    mask: CloudMask | None
    """What is known of its values."""

    def label(self, value: float) -> str:
        """What a value is called, `SCL 3` where that is not known; of bits all that are set."""
        if np.isnan(value):
            return ""
        meanings = self.mask.meanings if self.mask is not None else ()
        if self.mask is not None and self.mask.bits is not None:
            names = [name for name, bits in meanings if int(value) & bits]
            return ", ".join(names) or ("clear" if not int(value) & self.mask.bits else f"{self.name} {value:g}")
        return next((name for name, known in meanings if known == value), f"{self.name} {value:g}")


class Masks(NamedTuple):
    """The masks of a chain."""

    selectors: tuple[Published, ...]
    """Each is not 0 where it removes values."""
    classes: tuple[ClassBand, ...]
    unmasked: Published
    """The chain without them."""


def masks_of(published: Published) -> Masks | None:
    """The masks that remove values of a chain with dates; None where there are none."""
    prepared = published.prepared
    selectors: dict[str, Published] = {}
    classes: dict[tuple[str, str], ClassBand] = {}
    for step in prepared.steps.values():
        if step.selector is None or not step.meta.time or not prepared[step.selector].meta.time:
            continue
        selectors[step.selector.hash] = replace(published, root=step.selector)
        for load in prepared.loads_below(step.selector):
            source = prepared.source(load.node)
            for name in load.meta.bands or ():
                if source.band(name).categorical:
                    node = registry.node(load.node.process, **{**load.node.arguments, "bands": [name]})
                    mask = known_mask(source.scenes.collection, tuple(b.name for b in source.scenes.bands), name)
                    classes[source.scenes.digest, name] = ClassBand(replace(published, root=node), name, mask)
    if not selectors:
        return None
    return Masks(tuple(selectors.values()), tuple(classes.values()), replace(published, root=_unmasked(prepared.root)))


@lru_cache(maxsize=64)
def known_mask(collection: str, bands: tuple[str, ...], name: str) -> CloudMask | None:
    """What the classes or bits of a band of a known product mean."""
    profile = profile_of({"id": collection})
    masks = profile.cloud_masks(bands) if profile is not None else ()
    return next((mask for mask in masks if mask.band == name), None)


def _unmasked(root: Node) -> Node:
    def without(node: Node, arguments: dict[str, Any]) -> Node:
        operator = registry[node.process]
        if operator.masks is not None and operator.masks in arguments:
            return arguments[operator.cubes[0]]
        return registry.node(node.process, **arguments)

    return rebuild(root, without)


def removed(selector: xr.DataArray, times: np.ndarray) -> np.ndarray:
    """Whether a selector (t, …, point) removes values, on these dates: (t, point)."""
    others = [d for d in selector.dims if d not in ("t", "point")]
    found = (selector.fillna(0) != 0).any(others)
    return found.reindex(t=times, fill_value=False).transpose("t", "point").values


def is_radar(platform: str) -> bool:
    return platform.lower().startswith(RADAR)


def families(platforms: Iterable[str]) -> Iterator[str]:
    """Of each platform its sensor's: `sentinel-2a` and `sentinel-2b` are one."""
    for platform in platforms:
        stem = platform.lower()
        yield stem[:-1] if stem[-1:] in "abcd" and stem[-2:-1].isdigit() else stem
