"""Scenes: the pinned list of inputs that a published chain refers to by digest.

A `Scenes` value is what a catalogue query resolves to. It is plain data: ids, dates, grids and hrefs (relative to
their catalogue where they can be), never an opened file. Its canonical JSON is the `muses:items` artefact.
"""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import rfc8785

from muses_lab.raster.asset import Asset, Band


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
    relative_orbit: int | None = None
    """STAC `sat:relative_orbit`, or the path of Landsat; None: not said."""
    orbit_state: str | None = None
    """STAC `sat:orbit_state`: ascending, descending or geostationary; None: not said."""
    baseline: str | None = None
    """Version of the processing; of two copies of one acquisition the higher one is used."""
    processed: str | None = None
    """When it was processed (ISO 8601, UTC); of two copies of one baseline the later one is used."""
    sun_elevation: float | None = None
    """STAC `view:sun_elevation`, degrees above the horizon; None: not said."""


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
            # Without the Z, which sorts behind fractions of a second.
            ordered = sorted(self.scenes, key=lambda s: (s.datetime.rstrip("Z"), s.id))
            object.__setattr__(self, "scenes", tuple(ordered))

    def __getstate__(self) -> dict[str, Any]:
        """Without what has been worked out of it, but for the digest, which is its name."""
        kept = ("collection", "catalog", "bands", "scenes", "digest")
        return {name: value for name, value in self.__dict__.items() if name in kept}

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
        "relative_orbit": scene.relative_orbit,
        "orbit_state": scene.orbit_state,
        "baseline": scene.baseline,
        "processed": scene.processed,
        "sun_elevation": scene.sun_elevation,
    }
    return {k: v for k, v in fields.items() if v is not None}


def _asset_to_json(asset: Asset) -> dict[str, Any]:
    fields = {
        "href": asset.href,
        "transform": list(asset.transform),
        "shape": list(asset.shape),
        "band": asset.band,
        "size": asset.size,
        "modified": asset.modified,
        "checksum": asset.checksum,
        "mask": None if asset.mask is None else list(asset.mask),
        "opaque": asset.opaque,
        "scale": asset.scale,
        "offset": asset.offset,
        "nodata": asset.nodata,
    }
    return {k: v for k, v in fields.items() if v is not None}


def scene_from_json(item: dict[str, Any]) -> Scene:
    assets = {
        name: Asset(**{**a, **{field: tuple(a[field]) for field in ("transform", "shape", "mask") if field in a}})
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
