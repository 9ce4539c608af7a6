"""Scenes: the pinned list of inputs that a published chain refers to by digest.

A `Scenes` value is what a catalogue query resolves to. It is plain data: ids, dates, grids and hrefs (relative to
their catalogue where they can be), never an opened file. Its canonical JSON is the `muses:items` artefact.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

import rfc8785

OverviewMethod = Literal["average", "nearest", "mode"]


@dataclass(frozen=True, slots=True)
class Band:
    """One band of a collection: what its stored numbers mean."""

    name: str
    """Asset key, for example `B04`; for stack files the name given in the mapping."""
    common_name: str | None = None
    """STAC `eo:common_name`, for example `red`."""
    resolution: float = 1.0
    """Native pixel size in units of the scene's CRS (metres for UTM)."""
    dtype: str = "uint16"
    nodata: float | None = None
    """Stored value that means missing (tested before scale and offset)."""
    scale: float = 1.0
    """physical = stored × scale + offset."""
    offset: float = 0.0
    categorical: bool = False
    """True for classes and bit fields, which are never averaged."""
    overviews: OverviewMethod | None = None
    """How the stored overviews were made; None when unknown (categorical bands then do not use them)."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One band of one scene: where its pixels are."""

    href: str
    """Relative to the catalogue's root, or absolute path, or https URL; unsigned."""
    transform: tuple[float, float, float, float, float, float]
    """Affine a, b, c, d, e, f from (column, row) to the scene's CRS; north-up (b = d = 0)."""
    shape: tuple[int, int]
    """Rows, columns at full resolution."""
    band: int = 1
    """1-based band inside the file."""
    size: int | None = None
    """Bytes of the file when it was registered; a file of another size is refused as changed."""
    scale: float | None = None
    """Overrides the band's, where one item differs (processing baselines)."""
    offset: float | None = None
    nodata: float | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """One STAC item (or one date of a stack file), reduced to what reading it needs."""

    id: str
    datetime: str
    """ISO 8601, UTC, ending in Z."""
    crs: str
    """For example `EPSG:32631`."""
    assets: dict[str, Asset]
    """By band name."""
    platform: str | None = None
    grid: str | None = None
    """STAC `grid:code`, for example `MGRS-31TCJ`: scenes with the same code share their lattice and extent."""
    footprint: dict[str, Any] | None = None
    """GeoJSON geometry in longitude and latitude of where the scene has data; None: its whole rectangle."""

    @property
    def time(self) -> dt.datetime:
        return dt.datetime.fromisoformat(self.datetime.replace("Z", "+00:00")).astimezone(dt.UTC)

    @property
    def longitude(self) -> float:
        """Rough longitude of the scene, for its solar day."""
        ring = self.footprint["coordinates"] if self.footprint else None
        while ring and isinstance(ring[0][0], list | tuple):
            ring = ring[0]
        return sum(p[0] for p in ring) / len(ring) if ring else 0.0

    @property
    def observation(self) -> tuple[str, str]:
        """(solar day, platform): scenes that share it are one observation, one step of `t`."""
        day = (self.time + dt.timedelta(hours=self.longitude / 15)).date().isoformat()
        return day, self.platform or ""


@dataclass(frozen=True)
class Scenes:
    """The resolved, pinned inputs of one `load_collection`: the `muses:items` artefact."""

    collection: str
    catalog: str
    """Id of the catalogue that relative hrefs belong to."""
    bands: tuple[Band, ...]
    scenes: tuple[Scene, ...] = field(default=())
    """Ordered by (datetime, id)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "scenes", tuple(sorted(self.scenes, key=lambda s: (s.datetime, s.id))))

    def __len__(self) -> int:
        return len(self.scenes)

    def band(self, name: str) -> Band:
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Band]:
        return {b.name: b for b in self.bands}

    def to_json(self) -> dict[str, Any]:
        return {
            "type": "muses:items",
            "version": 1,
            "collection": self.collection,
            "catalog": self.catalog,
            "bands": [_lean(asdict(b)) for b in self.bands],
            "items": [_lean(asdict(s)) for s in self.scenes],
        }

    def to_bytes(self) -> bytes:
        """Canonical JSON (RFC 8785)."""
        return rfc8785.dumps(json.loads(json.dumps(self.to_json())))

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @classmethod
    def from_json(cls, doc: dict[str, Any]) -> Scenes:
        scenes = []
        for item in doc["items"]:
            assets = {
                name: Asset(**{**a, "transform": tuple(a["transform"]), "shape": tuple(a["shape"])})
                for name, a in item["assets"].items()
            }
            scenes.append(Scene(**{**item, "assets": assets}))
        return cls(
            collection=doc["collection"],
            catalog=doc["catalog"],
            bands=tuple(Band(**b) for b in doc["bands"]),
            scenes=tuple(scenes),
        )


def _lean(value: Any) -> Any:
    """Leaves out what is None, so that a document does not change when an optional field is added."""
    if isinstance(value, dict):
        return {k: _lean(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_lean(v) for v in value]
    return value
