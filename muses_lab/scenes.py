"""Scenes: the pinned list of inputs that a published chain refers to by digest.

A `Scenes` value is what a catalogue query resolves to. It is plain data: ids, dates, grids and hrefs (relative to
their catalogue where they can be), never an opened file. Its canonical JSON is the `muses:items` artefact.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
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
    cloud_cover: float | None = None
    """STAC `eo:cloud_cover`, per cent; None: unknown. Decides which dates are left out of long series."""

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
    scenes: Sequence[Scene] = field(default=())
    """Ordered by (datetime, id)."""

    def __post_init__(self) -> None:
        if not isinstance(self.scenes, KeptScenes):
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
            "bands": self.bands_to_json(),
            "items": [scene_to_json(s) for s in self.scenes],
        }

    def bands_to_json(self) -> list[dict[str, Any]]:
        return [_lean(asdict(b)) for b in self.bands]

    def to_bytes(self) -> bytes:
        """Canonical JSON (RFC 8785)."""
        bands = canonical(self.bands_to_json())
        collection, catalog = canonical(self.collection), canonical(self.catalog)
        items = ",".join(self.texts)
        text = f'{{"bands":{bands},"catalog":{catalog},"collection":{collection},"items":[{items}],'
        return f'{text}"type":"muses:items","version":1}}'.encode()

    @cached_property
    def texts(self) -> Sequence[str]:
        """Canonical JSON of each scene."""
        if isinstance(self.scenes, KeptScenes):
            return self.scenes.texts()
        return tuple(canonical(scene_to_json(s)) for s in self.scenes)

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @classmethod
    def from_json(cls, doc: dict[str, Any]) -> Scenes:
        return cls(
            collection=doc["collection"],
            catalog=doc["catalog"],
            bands=tuple(Band(**b) for b in doc["bands"]),
            scenes=tuple(scene_from_json(item) for item in doc["items"]),
        )


class KeptScenes(Sequence[Scene]):
    """Scenes in their order that are made when somebody looks at them: of a long list a window needs a few."""

    @abstractmethod
    def texts(self) -> Sequence[str]:
        """Canonical JSON of each."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]


def scene_to_json(scene: Scene) -> dict[str, Any]:
    """The scene's part of a document, without what is None."""
    fields = {
        "id": scene.id,
        "datetime": scene.datetime,
        "crs": scene.crs,
        "assets": {name: _asset_to_json(asset) for name, asset in scene.assets.items()},
        "platform": scene.platform,
        "grid": scene.grid,
        "footprint": _lean(scene.footprint),
        "cloud_cover": scene.cloud_cover,
    }
    return {k: v for k, v in fields.items() if v is not None}


def _asset_to_json(asset: Asset) -> dict[str, Any]:
    fields = {
        "href": asset.href,
        "transform": list(asset.transform),
        "shape": list(asset.shape),
        "band": asset.band,
        "size": asset.size,
        "scale": asset.scale,
        "offset": asset.offset,
        "nodata": asset.nodata,
    }
    return {k: v for k, v in fields.items() if v is not None}


def scene_from_json(item: dict[str, Any]) -> Scene:
    assets = {
        name: Asset(**{**a, "transform": tuple(a["transform"]), "shape": tuple(a["shape"])})
        for name, a in item["assets"].items()
    }
    return Scene(**{**item, "assets": assets})


def _lean(value: Any) -> Any:
    """Leaves out what is None, so that a document does not change when an optional field is added."""
    if isinstance(value, dict):
        return {k: _lean(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_lean(v) for v in value]
    return value


class _Unusual(Exception):
    """A value that Python's encoder writes otherwise than RFC 8785 does."""


def canonical(value: Any) -> str:
    """RFC 8785 text of a JSON value; by Python's own encoder, fifty times as fast, wherever that writes the same."""
    try:
        return json.dumps(_plain(value), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    except _Unusual:
        return rfc8785.dumps(json.loads(json.dumps(value))).decode()


def _plain(value: Any) -> Any:
    """The value with whole numbers as integers; `_Unusual` for numbers with exponents and keys beyond ASCII."""
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return value
    if kind is float:
        return _number(value)
    if kind is int:
        if -_EXACT < value < _EXACT:
            return value
        raise _Unusual
    if kind is list or kind is tuple:
        return [_plain(v) for v in value]
    if kind is dict:
        for key in value:
            if type(key) is not str or not key.isascii():  # the orders of code units and of characters differ
                raise _Unusual
        return {k: _plain(v) for k, v in value.items()}
    raise _Unusual


_EXACT = 2**53


@lru_cache(maxsize=4096)
def _number(value: float) -> float | int:
    if value.is_integer() and abs(value) < _EXACT:
        return int(value)
    if 1e-4 <= abs(value) < 1e15:
        return value
    raise _Unusual
