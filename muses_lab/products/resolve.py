"""From STAC to what reading needs: a collection's bands, and items as `Scenes`."""

from __future__ import annotations

import json
import os
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform_geom

from muses_lab import settings
from muses_lab.errors import MusesError
from muses_lab.products.described import Described, described, finite, is_data
from muses_lab.products.header import Header, crs_name, read_header
from muses_lab.products.known import CloudMask, Profile, profile_of
from muses_lab.products.times import format_time, parse_time
from muses_lab.scenes import Asset, Band, Scene, Scenes

Affine6 = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Product:
    """What a collection's numbers mean."""

    bands: tuple[Band, ...]
    cloud_mask: CloudMask | None


@dataclass(frozen=True)
class Problem:
    """An item, or one asset of it, that was left out."""

    item: str
    reason: str
    asset: str | None = None


class SkippedItems(UserWarning):
    """Items were left out of a collection, and nobody asked for the list of them."""


class _Odd(Exception):
    """Why an item or asset cannot be used."""


def product(collection: dict[str, Any]) -> Product:
    """Bands and cloud mask of a STAC Collection, from its metadata and what is known of the product.

    >>> product({"id": "landsat-c2-l2"}).cloud_mask
    CloudMask(band='QA_PIXEL', keep=None, bits=31)
    """
    profile = profile_of(collection)
    bands = tuple(_collection_bands(collection, profile).values())
    if not bands and profile is not None:
        bands = tuple(_band(Described(known.name, 1), profile) for known in profile.bands)
    return Product(bands, profile.cloud_mask(b.name for b in bands) if profile else None)


def scenes(
    items: Iterable[dict[str, Any]],
    collection: dict[str, Any],
    catalog_id: str,
    problems: list[Problem] | None = None,
) -> Scenes:
    """STAC Items as `Scenes`: what a published chain pins.

    Parameters
    ----------
    items
        STAC Items (1.0 or 1.1) as dictionaries.
    collection
        Their STAC Collection, for what the items do not repeat.
    catalog_id
        Id of the registered catalogue that relative hrefs belong to.
    problems
        Gets one `Problem` for each item or asset that is left out. Without it they are a `SkippedItems` warning.
    """
    items = list(items)
    profile = profile_of(collection, items)
    bands = _collection_bands(collection, profile)
    for item in items:
        for key, asset in item.get("assets", {}).items():
            if is_data(key, asset, profile):
                for said in described(key, asset, profile):
                    bands.setdefault(said.name, _band(said, profile))
    if not collection.get("item_assets"):
        bands = _in_order(bands, profile)

    found: list[Scene] = []
    odd: list[Problem] = []
    builder = _Builder(bands, profile, collection, catalog_id, odd)
    for item in items:
        try:
            found.append(builder.scene(item))
        except _Odd as reason:
            odd.append(Problem(str(item.get("id")), str(reason)))
    _report(odd, problems)
    return Scenes(
        collection=str(collection.get("id")),
        catalog=catalog_id,
        bands=tuple(_with_true_resolution(band, found) for band in bands.values()),
        scenes=tuple(_with_true_grids(found)),
    )


def _report(odd: list[Problem], problems: list[Problem] | None) -> None:
    if problems is not None:
        problems.extend(odd)
    elif odd:
        shown = "; ".join(f"{p.item}{f' ({p.asset})' if p.asset else ''}: {p.reason}" for p in odd[:5])
        more = f"; and {len(odd) - 5} more" if len(odd) > 5 else ""
        warnings.warn(f"left out: {shown}{more}", SkippedItems, stacklevel=3)


# Bands


def _collection_bands(collection: dict[str, Any], profile: Profile | None) -> dict[str, Band]:
    bands = {
        said.name: _band(said, profile)
        for key, asset in (collection.get("item_assets") or {}).items()
        if is_data(key, asset, profile)
        for said in described(key, asset, profile)
    }
    return _in_order(bands, profile)


def _in_order(bands: dict[str, Band], profile: Profile | None) -> dict[str, Band]:
    """In the product's order, then as they came."""
    if profile is None:
        return bands
    rank = {known.name: i for i, known in enumerate(profile.bands)}
    last = len(rank)

    def place(name: str) -> int:
        known = profile.band(name)
        return rank[known.name] if known else last

    return {name: bands[name] for name in sorted(bands, key=place)}


def _band(said: Described, profile: Profile | None) -> Band:
    known = profile.band(said.name) if profile else None
    common = said.common_name
    if known and (common is None or (known.common_name or "").startswith(common)):
        common = known.common_name  # `rededge` of the metadata is `rededge1` of the table
    return Band(
        name=said.name,
        common_name=common,
        resolution=float(_first(said.resolution, known and known.resolution, 1.0)),
        dtype=_first(said.dtype, known and known.dtype, "uint16" if known else "float32"),
        nodata=finite(_first(said.nodata, known and known.nodata)),
        scale=_first(said.scale, known and known.scale, 1.0),
        offset=_first(said.offset, known and known.offset, 0.0),
        categorical=bool(_first(said.categorical, known and known.categorical, False)),
        overviews=said.overviews if said.overviews in ("average", "nearest", "mode") else None,
    )


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _with_true_resolution(band: Band, found: list[Scene]) -> Band:
    """The pixel size that the files have, not the one that is stated: they may have been decimated."""
    sizes = Counter(s.assets[band.name].transform[0] for s in found if band.name in s.assets)
    return replace(band, resolution=min(sizes, key=lambda size: (-sizes[size], size))) if sizes else band


# Scenes


@dataclass
class _Builder:
    bands: dict[str, Band]
    profile: Profile | None
    collection: dict[str, Any]
    catalog_id: str
    odd: list[Problem]

    def __post_init__(self) -> None:
        entry = settings.registered_catalogs().get(self.catalog_id, {})
        root = entry.get("root", "")
        self.root = None if not root or "://" in root else Path(root).resolve()

    def scene(self, item: dict[str, Any]) -> Scene:
        properties = item.get("properties") or {}
        time = properties.get("datetime") or properties.get("start_datetime")
        if not time:
            raise _Odd("it has no datetime")
        assets: dict[str, Asset] = {}
        systems: dict[str, str] = {}
        failed: list[Problem] = []
        for key, asset in (item.get("assets") or {}).items():
            if not is_data(key, asset, self.profile):
                continue
            try:
                crs, placed = self._assets(key, asset, item)
            except (_Odd, MusesError) as reason:
                failed.append(Problem(item["id"], str(reason), key))
                continue
            assets |= placed
            systems |= dict.fromkeys(placed, crs)
        if not assets:
            raise _Odd(f"none of its assets can be used: {failed[0].reason}" if failed else "it has no raster assets")
        self.odd.extend(failed)
        crs = min(systems.values(), key=lambda name: (-list(systems.values()).count(name), name))
        for name in [name for name in assets if systems[name] != crs]:
            self.odd.append(Problem(item["id"], f"it is in {systems[name]}, the item's other assets in {crs}", name))
            del assets[name]
        return Scene(
            id=item["id"],
            datetime=_utc(time),
            crs=crs,
            assets={name: assets[name] for name in self.bands if name in assets},
            platform=properties.get("platform"),
            grid=_grid_code(properties),
            footprint=_footprint(item, crs, assets),
            cloud_cover=_cover(properties.get("eo:cloud_cover")),
        )

    def _assets(self, key: str, asset: dict[str, Any], item: dict[str, Any]) -> tuple[str, dict[str, Asset]]:
        href = self._href(asset)
        crs, transform, shape, header = self._place(asset, item["properties"], href)
        a, b, _, d, e, _ = transform
        if b != 0 or d != 0 or a <= 0 or e >= 0:
            raise _Odd(f"its grid is rotated or not north-up (transform {list(transform)})")
        if min(shape) < 1:
            raise _Odd(f"it has no pixels (shape {list(shape)})")
        size = asset.get("file:size", header.size if header else None)
        placed = {}
        for said in described(key, asset, self.profile):
            if said.name not in self.bands:
                continue
            band = self.bands[said.name]
            values = self._values(said, band, item["properties"])
            placed[said.name] = Asset(
                href=href, transform=transform, shape=shape, band=said.index, size=size,
                **{field: value for field, value in values.items() if value != getattr(band, field)},
            )  # fmt: skip
        return crs, placed

    def _href(self, asset: dict[str, Any]) -> str:
        candidates = [asset.get("href"), *(a.get("href") for a in (asset.get("alternate") or {}).values())]
        for href in candidates:
            if not isinstance(href, str) or not href:
                continue
            if href.startswith(("https://", "http://")):
                return href
            if "://" in href or href.startswith("/vsi"):
                continue
            if self.root is not None:
                path = os.path.join(self.root, href)
                if os.path.isabs(path) and (real := Path(_real(path))).is_relative_to(self.root):
                    return real.relative_to(self.root).as_posix()
            return href
        raise _Odd(f"its href {asset.get('href')!r} is neither a file of the catalogue nor an https URL")

    def _place(
        self, asset: dict[str, Any], properties: dict[str, Any], href: str
    ) -> tuple[str, Affine6, tuple[int, int], Header | None]:
        """CRS, transform and shape: as the metadata say, else as the header of a local file does."""

        def said(field: str) -> Any:
            return _first(asset.get(field), properties.get(field))

        crs, shape, transform = _crs(asset) or _crs(properties), said("proj:shape"), said("proj:transform")
        if shape and not transform and said("proj:bbox"):
            west, south, east, north = said("proj:bbox")[:4]
            transform = [(east - west) / shape[1], 0, west, 0, (south - north) / shape[0], north]
        if crs and shape and transform:
            return crs, _six(transform), (int(shape[0]), int(shape[1])), None
        if "://" in href:
            raise _Odd("it has no proj:code, proj:shape and proj:transform, and is not a local file to read them from")
        header = read_header(settings.resolve_href(self.catalog_id, href))
        return header.crs, header.transform, header.shape, header

    def _values(self, said: Described, band: Band, properties: dict[str, Any]) -> dict[str, float | None]:
        """Scale, offset and nodata of this item's band: its own words, else the collection's, else the product's."""
        known = self.profile.band(said.name) if self.profile else None
        offset = _first(said.offset, band.offset)
        if known and known.reflectance:
            offset = reflectance_offset(properties, said.offset, _first(said.scale, band.scale))
        return {
            "scale": _first(said.scale, band.scale),
            "offset": offset,
            "nodata": _first(said.nodata, band.nodata),
        }


def reflectance_offset(properties: dict[str, Any], stated: float | None, scale: float) -> float:
    """The offset of a Sentinel-2 reflectance band, in reflectance: 0, or -0.1 for the shift of 1000 of baseline 04.00.

    The trap: products of baseline 04.00 and later store reflectance × 10000 + 1000. Some catalogues serve them so and
    say `offset: -0.1`, some say nothing (only the baseline tells), some have subtracted the 1000 already, say so
    in `earthsearch:boa_offset_applied`, and still state the offset.

    >>> reflectance_offset({"s2:processing_baseline": "05.09"}, stated=None, scale=1e-4)
    -0.1
    >>> reflectance_offset({"s2:processing_baseline": "04.00", "earthsearch:boa_offset_applied": True}, -0.1, 1e-4)
    0.0
    """
    applied = _first(properties.get("earthsearch:boa_offset_applied"), properties.get("sentinel:boa_offset_applied"))
    if applied:
        return 0.0
    baseline = _first(
        properties.get("s2:processing_baseline"),
        properties.get("processing:version"),
        properties.get("sentinel:processing_baseline"),
    )
    shifted = _number(baseline) >= 4.0
    if stated is not None and (stated != 0 or applied is None or not shifted):
        return stated
    return round(-1000 * scale, 12) if shifted else 0.0


def _number(text: Any) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return 0.0


def _real(path: str) -> str:
    """`os.path.realpath`, with the way to a folder followed once for all of its files."""
    folder, name = os.path.split(path)
    if name in ("", ".", "..") or os.path.islink(path):
        return os.path.realpath(path)
    return os.path.join(_real_folder(folder), name)


_real_folder = lru_cache(maxsize=4096)(os.path.realpath)


def _six(transform: list[float]) -> Affine6:
    if len(transform) not in (6, 9):
        raise _Odd(f"its proj:transform has {len(transform)} numbers, not 6 or 9")
    a, b, c, d, e, f = (float(v) for v in transform[:6])
    return a, b, c, d, e, f


def _crs(holder: dict[str, Any]) -> str | None:
    code = holder.get("proj:code")
    if code:
        return str(code).upper()
    if holder.get("proj:epsg"):
        return f"EPSG:{int(holder['proj:epsg'])}"
    written = holder.get("proj:wkt2") or holder.get("proj:projjson")
    if not written:
        return None
    return _crs_from(written if isinstance(written, str) else json.dumps(written))


@lru_cache(maxsize=256)
def _crs_from(text: str) -> str:
    try:
        return crs_name(CRS.from_user_input(text))
    except CRSError as error:
        raise _Odd(f"its proj:wkt2 or proj:projjson is not a reference system: {error}") from None


def _cover(stated: Any) -> float | None:
    """A cloud cover that is a number of per cent; whatever else stands there is as good as none."""
    if isinstance(stated, bool) or not isinstance(stated, int | float) or not 0 <= stated <= 100:
        return None
    return stated


def _utc(time: str) -> str:
    try:
        return format_time(parse_time(time))
    except ValueError as error:
        raise _Odd(f"its datetime {error}") from None


def _grid_code(properties: dict[str, Any]) -> str | None:
    """`grid:code` in its older spellings too. Not for Landsat: scenes of one path and row differ in extent."""
    code = properties.get("grid:code")
    if code:
        return None if str(code).startswith("WRS") else str(code)
    if properties.get("s2:mgrs_tile"):
        return f"MGRS-{properties['s2:mgrs_tile']}"
    for prefix in ("mgrs", "sentinel"):
        zone, *letters = (properties.get(f"{prefix}:{p}") for p in ("utm_zone", "latitude_band", "grid_square"))
        if zone and all(letters):
            return f"MGRS-{int(zone):02d}{letters[0]}{letters[1]}"
    return None


def _with_true_grids(found: list[Scene]) -> Iterable[Scene]:
    """Scenes with a grid code only where it holds: where they share system and extent with most others of that code."""
    extents: dict[str, Counter] = {}
    for scene in found:
        if scene.grid:
            extents.setdefault(scene.grid, Counter())[_extent(scene)] += 1
    for scene in found:
        if scene.grid:
            usual = max(extents[scene.grid].items(), key=lambda e: (e[1], e[0]))[0]
            if _extent(scene) != usual:
                scene = replace(scene, grid=None)
        yield scene


def _extent(scene: Scene) -> tuple:
    """CRS and bounds over all assets, to the metre."""
    corners = [_bounds(asset) for asset in scene.assets.values()]
    return (scene.crs, *(round(f(c[i] for c in corners), 3) for i, f in enumerate((min, min, max, max))))


def _bounds(asset: Asset) -> tuple[float, float, float, float]:
    a, _, c, _, e, f = asset.transform
    return c, f + e * asset.shape[0], c + a * asset.shape[1], f


def _footprint(item: dict[str, Any], crs: str, assets: dict[str, Asset]) -> dict[str, Any]:
    geometry = item.get("geometry")
    if geometry and geometry.get("type") in ("Polygon", "MultiPolygon"):
        return {"type": geometry["type"], "coordinates": geometry["coordinates"]}
    west, south, east, north = _bounds(next(iter(assets.values())))
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    try:
        return transform_geom(crs, "EPSG:4326", {"type": "Polygon", "coordinates": [ring]})
    except (CRSError, ValueError) as error:
        raise _Odd(f"it has no footprint, and none can be made in {crs}: {error}") from None
