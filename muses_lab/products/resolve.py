"""From STAC to what reading needs: a collection's bands, and items as `Scenes`."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from pyproj.exceptions import ProjError

from muses_lab import settings
from muses_lab.crs import crs_name, transformer
from muses_lab.errors import CrsError, MusesError
from muses_lab.products.described import Described, described, finite, is_data, says_bands
from muses_lab.products.headers import Unavailable, local_header, remote_headers
from muses_lab.products.items import PROBLEM
from muses_lab.products.known import profile_of
from muses_lab.products.profile import CloudMask, Profile, processing_baseline
from muses_lab.raster import access, http
from muses_lab.raster.asset import Asset, Band
from muses_lab.raster.files import on_disk
from muses_lab.raster.header import RasterInfo
from muses_lab.raster.orientation import astray, corners, why_not_a_grid
from muses_lab.raster.sidecars import Affine6
from muses_lab.scenes.observations import observe, recency
from muses_lab.scenes.scene import Scene, Scenes
from muses_lab.times import format_time, parse_time

Place = tuple[str, Affine6, tuple[int, int]]
"""CRS, transform, shape."""


@dataclass(frozen=True)
class Product:
    """What a collection's numbers mean."""

    bands: tuple[Band, ...]
    masks: tuple[CloudMask, ...] = ()

    @property
    def cloud_mask(self) -> CloudMask | None:
        """The mask that is meant where none is named."""
        return self.masks[0] if self.masks else None


@dataclass(frozen=True)
class Problem:
    """An item, or one asset of it, that was left out; or what was not taken at its word."""

    item: str
    reason: str
    asset: str | None = None
    left_out: bool = True
    passing: bool = False
    """Whether a server did not answer meanwhile: at another time there may be no such problem."""

    def __str__(self) -> str:
        return f"{self.item}{f' ({self.asset})' if self.asset else ''}: {self.reason}"


class SkippedItems(UserWarning):
    """Items were left out of a collection, and nobody asked for the list of them."""


class _Odd(Exception):
    """Why an item or asset cannot be used."""


def product(collection: dict[str, Any]) -> Product:
    """Bands and masks of a STAC Collection, from its metadata and what is known of the product.

    >>> product({"id": "landsat-c2-l2"}).cloud_mask
    CloudMask(band='QA_PIXEL', keep=None, bits=31)
    """
    profile = profile_of(collection)
    bands = tuple(_collection_bands(collection, profile).values())
    if not bands and profile is not None:
        bands = tuple(_band(Described(known.name, 1), profile) for known in profile.bands)
    return Product(bands, profile.cloud_masks(b.name for b in bands) if profile else ())


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
    profile = profile_of(collection, [item for item in items if PROBLEM not in item])
    found: list[Scene] = []
    odd: list[Problem] = []
    said = {key: asset for key, asset in (collection.get("item_assets") or {}).items()
            if says_bands(key, asset, profile)}  # fmt: skip
    builder = _Builder(_collection_bands({"item_assets": said}, profile), profile, collection, catalog_id, odd)
    builder.learn(items)
    if not collection.get("item_assets"):
        builder.bands = _in_order(builder.bands, profile)
    for item in items:
        try:
            found.append(builder.scene(item))
        except _Odd as reason:
            odd.append(Problem(str(item.get("id")), str(reason)))
        except Exception as error:  # whatever stands in an item: the others are there
            odd.append(Problem(str(item.get("id")), f"it is not a STAC Item: {type(error).__name__}: {error}"))
    if builder.without_nodata:
        builder.bands, found = _with_own_nodata(builder.bands, found, builder.without_nodata)
    found = _without_copies(list(_with_true_grids(found)), odd)
    if any(isinstance(header, Unavailable) for header in builder.headers.values()):
        odd = [replace(problem, passing=True) for problem in odd]
    _report(odd, problems)
    return Scenes(
        collection=str(collection.get("id")),
        catalog=catalog_id,
        bands=tuple(_with_true_resolution(band, found) for band in builder.bands.values()),
        scenes=tuple(found),
    )


def _without_copies(found: list[Scene], odd: list[Problem]) -> list[Scene]:
    """Each acquisition once: of several copies the newest, and the others said."""
    copies = observe(found).copies
    for older, newer in copies.items():
        a, b = found[older], found[newer]
        said = _said_newer(a, b)
        odd.append(Problem(a.id, f"it is another copy of the acquisition of {b.id!r}, which is used because {said}"))
    return [scene for row, scene in enumerate(found) if row not in copies]


def _said_newer(older: Scene, newer: Scene) -> str:
    ranks = recency(older), recency(newer)
    if ranks[0][0] != ranks[1][0]:
        return f"its processing baseline is {newer.baseline}, not {older.baseline or 'unknown'}"
    if ranks[0][1] != ranks[1][1]:
        return f"it was processed on {newer.processed}, not on {older.processed or 'an unknown date'}"
    return "its id comes last, and nothing says which is newer; images of different times need their own datetime"


def _report(odd: list[Problem], problems: list[Problem] | None) -> None:
    if problems is not None:
        problems.extend(odd)
        return
    for left_out, title in ((True, "left out"), (False, "not taken at their word")):
        if some := [p for p in odd if p.left_out is left_out]:
            shown = "; ".join(map(str, some[:5]))
            more = f"; and {len(some) - 5} more" if len(some) > 5 else ""
            warnings.warn(f"{title}: {shown}{more}", SkippedItems, stacklevel=3)


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
    sizes = Counter(s.assets[band.name].steps[0] for s in found if band.name in s.assets)
    return replace(band, resolution=min(sizes, key=lambda size: (-sizes[size], size))) if sizes else band


def _with_own_nodata(
    bands: dict[str, Band], found: list[Scene], without: set[tuple[str, str]]
) -> tuple[dict[str, Band], list[Scene]]:
    """Bands in some of whose files nothing means missing: there each of the others states its own nodata."""
    names = {name for _, name in without}

    def own(scene: Scene, name: str, asset: Asset) -> Asset:
        if name not in names or asset.nodata is not None or (scene.id, name) in without:
            return asset
        return replace(asset, nodata=bands[name].nodata)

    scenes = [replace(s, assets={name: own(s, name, asset) for name, asset in s.assets.items()}) for s in found]
    return {name: replace(b, nodata=None) if name in names else b for name, b in bands.items()}, scenes


# Scenes

_OTHERS = 3
"""Files that are asked what bands their asset has where the first one cannot be had."""


@dataclass
class _Builder:
    bands: dict[str, Band]
    profile: Profile | None
    collection: dict[str, Any]
    catalog_id: str
    odd: list[Problem]

    def __post_init__(self) -> None:
        entry = settings.known_catalogs().get(self.catalog_id, {})
        root = entry.get("root", "")
        self.root = None if not root or "://" in root else Path(root).resolve()
        self.item_assets: dict[str, Any] = self.collection.get("item_assets") or {}
        self.headers: dict[str, RasterInfo | MusesError] = {}
        """Of files on servers, by URL."""
        self.like: dict[str, RasterInfo] = {}
        """Of one file of each asset whose bands nothing describes: the others have as many."""
        self.without_nodata: set[tuple[str, str]] = set()
        """(item, band) of files in which no value means missing, although the band has one."""

    def learn(self, items: list[dict[str, Any]]) -> None:
        """Finds out which bands there are, and asks servers for the headers that the items make necessary."""
        sound = [item for item in items if PROBLEM not in item]
        data = [(key, asset, item) for item in sound for key, asset in (item.get("assets") or {}).items()
                if is_data(key, asset, self.profile)]  # fmt: skip
        self._ask(data)
        for key, asset, item in data:
            with suppress(Exception):
                asset = self._whole(key, asset)
                placed = _stated_place(asset, item.get("properties") or {}) is not None
                header = self._header(self._href(asset), asset, placed)
                if header is not None and not says_bands(key, asset, self.profile):
                    self.like.setdefault(key, header)
                for said in described(key, asset, self.profile, header or self.like.get(key)):
                    # A nodata that only the file states is that file's: others may have none.
                    stated = said.nodata if header is None else described(key, asset, self.profile)[0].nodata
                    self.bands.setdefault(said.name, _band(replace(said, nodata=stated), self.profile))

    def _ask(self, data: list[tuple[str, dict[str, Any], dict[str, Any]]]) -> None:
        """Fetches the headers of files on servers: of all that nothing places, and of one of each asset whose bands
        nothing describes; where that one cannot be had, of others."""
        unplaced: list[str] = []
        of_bands: dict[str, list[tuple[str, str]]] = {}
        for key, asset, item in data:
            with suppress(Exception):  # it is told of the item
                if "://" not in (href := self._href(asset)):
                    continue
                url = access.resolve_href(self.catalog_id, href, http.addresses)
                if _stated_place(asset, item.get("properties") or {}) is None:
                    unplaced.append(url)
                elif not says_bands(key, self._whole(key, asset), self.profile):
                    of_bands.setdefault(key, []).append((url, item["id"]))
        firsts = [candidates[0][0] for candidates in of_bands.values()]
        self.headers = remote_headers([*unplaced, *firsts])
        for key, candidates in of_bands.items():
            self._ask_one(key, candidates)

    def _ask_one(self, key: str, candidates: list[tuple[str, str]]) -> None:
        """Finds out by one of (URL, item) what bands an asset has."""
        (_, item), *others = candidates
        reason: Unavailable | None = None
        for url, _ in [candidates[0], *others[:: max(1, len(others) // _OTHERS)][:_OTHERS]]:
            if url not in self.headers:
                self.headers |= remote_headers([url])
            found = self.headers[url]
            if isinstance(found, RasterInfo):
                self.like[key] = found
            if not isinstance(found, Unavailable):
                return
            reason = found
        told = f"nothing says what bands it has, and its file cannot be asked ({reason}): it is taken for one band"
        self.odd.append(Problem(item, told, key, left_out=False))

    def _whole(self, key: str, asset: dict[str, Any]) -> dict[str, Any]:
        """An asset with what the collection says of its bands, where it says nothing itself."""
        if asset.get("muses:checked") or says_bands(key, asset, None) or key not in self.item_assets:
            return asset
        return {**{k: v for k, v in self.item_assets[key].items() if not k.startswith("proj:")}, **asset}

    def _header(self, href: str, asset: dict[str, Any], placed: bool) -> RasterInfo | None:
        """The header of a file where there is one to be had; None where the item's own word has to do.

        What `catalog add` wrote was read from the file already.
        """
        if "://" in href:
            found = self.headers.get(href)
            if isinstance(found, Unavailable) and placed:  # it is told to who reads it
                return None
            if isinstance(found, MusesError):
                raise found
            return found
        if asset.get("muses:checked"):
            return None
        try:
            path = access.resolve_href(self.catalog_id, href)
        except MusesError:  # a catalogue that is not known here; if it matters, it is told to who reads it
            return None
        return local_header(self.catalog_id, path) if os.path.exists(on_disk(path)) else None

    def scene(self, item: dict[str, Any]) -> Scene:
        if PROBLEM in item:
            raise _Odd(item[PROBLEM])
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
            relative_orbit=_relative_orbit(properties),
            orbit_state=_text(properties.get("sat:orbit_state")),
            baseline=_text(processing_baseline(properties)),
            processed=_processed(properties),
            sun_elevation=_sun_elevation(properties),
        )

    def _assets(self, key: str, asset: dict[str, Any], item: dict[str, Any]) -> tuple[str, dict[str, Asset]]:
        asset = self._whole(key, asset)
        href = self._href(asset)
        stated = _stated_place(asset, item["properties"])
        header = self._header(href, asset, stated is not None)
        crs, transform, shape = self._place(key, item, href, stated, header)
        if reason := why_not_a_grid(transform):
            raise _Odd(reason)
        if min(shape) < 1:
            raise _Odd(f"it has no pixels (shape {list(shape)})")
        (size, modified), mask = self._states(href)
        size = _first(asset.get("file:size"), size)
        checksum = asset.get("file:checksum")
        placed = {}
        for said in described(key, asset, self.profile, header or self.like.get(key)):
            if said.name not in self.bands:
                continue
            if header is not None and said.index > len(header.dtypes):
                raise _Odd(f"band {said.name!r} is number {said.index} of its file, which has {len(header.dtypes)}")
            band = self.bands[said.name]
            if header is None and key in self.like:  # another file's numbers do not count for this one
                said = replace(said, nodata=None, scale=None, offset=None)
            values = self._values(said, band, item["properties"])
            if header is not None or asset.get("muses:checked"):
                known = self.profile.band(said.name) if self.profile else None
                values["nodata"] = _first(said.nodata, known and known.nodata)
                if values["nodata"] is None and band.nodata is not None:
                    self.without_nodata.add((item["id"], said.name))
            placed[said.name] = Asset(
                href=href, transform=transform, shape=shape, band=said.index, size=size, modified=modified,
                checksum=checksum if isinstance(checksum, str) else None,
                mask=mask, opaque=said.opaque,
                **{field: value for field, value in values.items() if value != getattr(band, field)},
            )  # fmt: skip
        return crs, placed

    def _states(self, href: str) -> tuple[tuple[int | None, int | None], tuple[int, int] | None]:
        """Size of a local file and when it was changed (microseconds since 1970), and of the mask beside it."""
        if "://" in href or self.root is None:
            return (None, None), None
        try:
            inside = not os.path.isabs(href) and ".." not in href.split("/")
            path = os.path.join(self.root, href) if inside else access.resolve_href(self.catalog_id, href)
            found = os.stat(path)
        except (OSError, ValueError, MusesError):  # it is told to who reads it
            return (None, None), None
        try:
            beside = os.stat(f"{path}.msk")
        except OSError:
            return (found.st_size, found.st_mtime_ns // 1000), None
        return (found.st_size, found.st_mtime_ns // 1000), (beside.st_size, beside.st_mtime_ns // 1000)

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
        self, key: str, item: dict[str, Any], href: str, stated: Place | None, header: RasterInfo | None
    ) -> Place:
        """CRS, transform and shape: as the file's header says where it is known, else as the metadata do."""
        if header is None or not header.is_placed:
            if stated is not None:
                return stated
            if header is not None:
                raise _Odd("neither it nor its file says where its pixels are (proj:code, proj:transform)")
            path = access.resolve_href(self.catalog_id, href)  # says why there is no header
            if "://" not in path:
                local_header(self.catalog_id, path)
            raise _Odd("it has no proj:code, proj:shape and proj:transform, and its file cannot be asked for them")
        same = stated is not None and _same_place(stated, header)
        if stated is not None and not same:
            reason = (
                f"it states the place {stated[0]}, {list(stated[1])}, {list(stated[2])}; its file has {header.crs}, "
                f"{list(header.transform)}, {list(header.shape)}, which counts"
            )
            self.odd.append(Problem(item["id"], reason, key, left_out=False))
        if stated is not None and same and stated[0] != header.crs:
            return stated  # the same in another system's words
        return header.crs, header.transform, header.shape

    def _values(self, said: Described, band: Band, properties: dict[str, Any]) -> dict[str, Any]:
        """Scale, offset and nodata of this item's band: its own words, else the collection's, else the product's."""
        known = self.profile.band(said.name) if self.profile else None
        offset = _first(said.offset, band.offset)
        if known and known.offset_of:
            offset = known.offset_of(properties, said.offset, _first(said.scale, band.scale))
        return {
            "scale": _first(said.scale, band.scale),
            "offset": offset,
            "nodata": _first(said.nodata, band.nodata),
        }


def _stated_place(asset: dict[str, Any], properties: dict[str, Any]) -> Place | None:
    """CRS, transform and shape by the metadata alone; None where they do not say all three."""

    def said(field: str) -> Any:
        return _first(asset.get(field), properties.get(field))

    shape, transform = said("proj:shape"), said("proj:transform")
    if shape and not transform and said("proj:bbox"):
        west, south, east, north = said("proj:bbox")[:4]
        transform = [(east - west) / shape[1], 0, west, 0, (south - north) / shape[0], north]
    if not shape or not transform or not (crs := _crs(asset) or _crs(properties)):
        return None
    return crs, _six(transform), (int(shape[0]), int(shape[1]))


def _same_place(stated: Place, header: RasterInfo) -> bool:
    """Whether the corners of an item's grid are those of its file's."""
    crs, transform, shape = stated
    there = corners(transform, shape)
    if crs != header.crs:
        try:
            xs, ys = transformer(crs, header.crs).transform([x for x, _ in there], [y for _, y in there])
        except (CrsError, ProjError):
            return False
        there = list(zip(xs, ys, strict=True))
    return not astray(header.transform, header.shape, there)


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


_NO_CODE = ("", "NONE", "EPSG:NONE")


def _crs(holder: dict[str, Any]) -> str | None:
    """The reference system that an item or asset states; a wrong field is told of where no other one is right."""
    refused = None
    for field in ("proj:code", "proj:epsg", "proj:wkt2", "proj:projjson"):
        stated = holder.get(field)
        if stated is None or (
            isinstance(stated, str) and stated.strip().upper() in _NO_CODE
        ):  # written by tools that had no code
            continue
        try:
            if field == "proj:epsg":
                stated = int(stated)
            return crs_name(json.dumps(stated) if isinstance(stated, dict) else stated)
        except (TypeError, ValueError, RecursionError) as error:
            refused = refused or f"its {field} is not a reference system that can be used: {error}"
    if refused:
        raise _Odd(refused)
    return None


def _cover(stated: Any) -> float | None:
    """A cloud cover that is a number of per cent; whatever else stands there is as good as none."""
    if isinstance(stated, bool) or not isinstance(stated, int | float) or not 0 <= stated <= 100:
        return None
    return stated


def _sun_elevation(properties: dict[str, Any]) -> float | None:
    """Also from the zenith angle that Sentinel-2 items state."""
    for field, turned in (("view:sun_elevation", False), ("s2:mean_solar_zenith", True)):
        stated = properties.get(field)
        if isinstance(stated, int | float) and not isinstance(stated, bool) and -90 <= stated <= 180:
            angle = 90 - stated if turned else stated
            if angle <= 90:
                return angle
    return None


def _utc(time: str) -> str:
    try:
        return format_time(parse_time(time))
    except ValueError as error:
        raise _Odd(f"its datetime {error}") from None


def _text(stated: Any) -> str | None:
    return str(stated).lower() if isinstance(stated, str | int | float) and str(stated).strip() else None


def _relative_orbit(properties: dict[str, Any]) -> int | None:
    """Also from the names of Sentinel-2 products (`…_R051_…`); the path of Landsat is one."""
    named = _PRODUCT_ORBIT.search(str(properties.get("s2:product_uri") or ""))
    stated = _first(properties.get("sat:relative_orbit"), properties.get("landsat:wrs_path"), named and named[1])
    try:
        return int(stated)
    except (TypeError, ValueError, OverflowError):
        return None


_PRODUCT_ORBIT = re.compile(r"_R(\d{3})_")


def _processed(properties: dict[str, Any]) -> str | None:
    """When an item was processed, else when it was made; None where nothing that is a time says it."""
    for field in ("processing:datetime", "s2:generation_time", "s1:processing_datetime", "created"):
        try:
            if properties.get(field):
                return format_time(parse_time(properties[field]))
        except ValueError:
            continue
    return None


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
    corners = [asset.bounds for asset in scene.assets.values()]
    return (scene.crs, *(round(f(c[i] for c in corners), 3) for i, f in enumerate((min, min, max, max))))


def _footprint(item: dict[str, Any], crs: str, assets: dict[str, Asset]) -> dict[str, Any]:
    geometry = item.get("geometry")
    if geometry and geometry.get("type") in ("Polygon", "MultiPolygon"):
        return {"type": geometry["type"], "coordinates": geometry["coordinates"]}
    west, south, east, north = next(iter(assets.values())).bounds
    try:
        lon, lat = transformer(crs, "EPSG:4326").transform(
            [west, east, east, west, west], [south, south, north, north, south], errcheck=True
        )
        return {"type": "Polygon", "coordinates": [[list(corner) for corner in zip(lon, lat, strict=True)]]}
    except (CrsError, ProjError) as error:
        raise _Odd(f"it has no footprint, and none can be made in {crs}: {error}") from None
