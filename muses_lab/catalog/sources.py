"""Files on this machine as STAC Items: what is registered is what the files say, not what was written about them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from pyproj.exceptions import ProjError
from shapely import segmentize, transform
from shapely.geometry import box, mapping, shape

from muses_lab.catalog.bands import renamed
from muses_lab.catalog.local import read_json
from muses_lab.catalog.stack import Stack, StackBand
from muses_lab.crs import transformer
from muses_lab.errors import CrsError, ReadError
from muses_lab.products import profiles
from muses_lab.products.described import described, is_data, says_bands
from muses_lab.products.items import PROBLEM, normalised
from muses_lab.products.known import profile_of_item
from muses_lab.products.profile import Profile
from muses_lab.raster.header import RasterInfo, read_header
from muses_lab.raster.orientation import why_not_a_grid
from muses_lab.times import format_time, parse_time

_IN_NAME = re.compile(
    r"(?<!\d)((?:19|20)\d{2})([-_.]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(?:[T_-]?([01]\d|2[0-3])([0-5]\d)([0-5]\d))?(?!\d)"
)
_FIELDS = {"type", "stac_version", "stac_extensions", "id", "geometry", "bbox", "properties", "links", "assets",
           "collection"}  # fmt: skip
"""Of a STAC Item; other top-level fields are not kept."""
_DATE_TAGS = ("ACQUISITIONDATETIME", "ACQUISITION_DATE", "TIFFTAG_DATETIME")


@dataclass(frozen=True)
class Options:
    """How dates and bands of plain rasters are found."""

    stack: Stack | None = None
    date: str | None = None
    pattern: re.Pattern[str] | None = None


@dataclass
class Found:
    items: list[dict[str, Any]]
    missing: list[str] = field(default_factory=list)
    """Assets that were left out, and why."""
    plain: bool = False
    """Whether it is a raster that says only of itself what it is."""
    failed: list[str] = field(default_factory=list)
    """Items that were left out, and why."""


def items_of(path: Path, options: Options) -> Found:
    """The STAC Items of one file; `ReadError` (or `StackError`) says why there are none."""
    if not path.is_file():
        raise ReadError("there is no such file" if not path.exists() else "it is not a file")
    if path.suffix.lower() in (".json", ".geojson"):
        return _of_json(path)
    header = _header(path)
    if options.stack is not None:
        return Found(_of_stack(path, header, options.stack))
    return Found([_of_raster(path, header, options)], plain=True)


def _header(path: Path) -> RasterInfo:
    """The header of a raster whose pixels can be placed."""
    header = read_header(path)
    if reason := why_not_a_grid(header.transform):
        raise ReadError(reason)
    return header


# STAC


def _of_json(path: Path) -> Found:
    document = read_json(path)
    kind = document.get("type") if isinstance(document, dict) else None
    if kind == "Feature":
        features = [document]
    elif kind == "FeatureCollection":
        features = document.get("features") or []
    else:
        hint = "; give the folder that its items are in" if kind in ("Catalog", "Collection") else ""
        raise ReadError(f"it is not a STAC Item or ItemCollection (its type is {kind!r}){hint}")
    found = Found([])
    for number, feature in enumerate(features):
        try:
            found.items.append(_of_item(feature, number, path, found.missing))
        except ReadError as error:  # of one: the others are there
            found.failed.append(str(error))
    if not found.items:
        raise ReadError("; ".join(found.failed) or "it has no items")
    return found


def _of_item(document: Any, number: int, path: Path, missing: list[str]) -> dict[str, Any]:
    item = _modern(document, number)
    profile = profile_of_item(item)
    usable, before = 0, len(missing)
    for key, asset in list(item["assets"].items()):
        file = _beside(asset["href"], path.parent)
        data = is_data(key, asset, profile)
        if file is not None and data:
            try:
                header = _header(file)
            except ReadError as error:
                missing.append(f"asset {key!r} of {item['id']}: {error}")
                del item["assets"][key]
                continue
            asset |= _placed(header) | {"href": str(file)}
            _correct_types(asset, header)
            _complete(key, asset, profile, header)
            usable += 1
        elif file is not None:
            asset["href"] = str(file)
        elif asset["href"].startswith("https://") and (not data or _is_placed(asset, item["properties"])):
            usable += data
        elif asset["href"].startswith("https://"):
            missing.append(
                f"asset {key!r} of {item['id']}: it is not beside the item, and nothing says where its pixels are"
            )
            del item["assets"][key]
        else:
            if data and not key.endswith("-jp2"):
                missing.append(f"asset {key!r} of {item['id']}: there is no file {asset.get('href')!r}")
            del item["assets"][key]
    if not usable:
        why = f": {missing[-1]}" if len(missing) > before else ""
        raise ReadError(f"none of the rasters of item {item['id']!r} is beside it or on the web{why}")
    item["links"] = [link for link in item.get("links", []) if link.get("rel") in ("license", "derived_from", "via")]
    return item


def _modern(document: Any, number: int) -> dict[str, Any]:
    """A copy in today's terms; `ReadError` for what cannot be registered."""
    item = normalised(deepcopy(document), number)
    if reason := item.get(PROBLEM):
        raise ReadError(f"{item['id']!r}: {reason}")
    item = {name: value for name, value in item.items() if name in _FIELDS}
    if not item["assets"]:
        raise ReadError(f"item {item['id']!r} has no assets")
    if not item["properties"].get("datetime") and not item["properties"].get("start_datetime"):
        raise ReadError(f"item {item['id']!r} has no datetime")
    if not item.get("geometry"):
        raise ReadError(f"item {item['id']!r} has no geometry")
    item.setdefault("bbox", list(shape(item["geometry"]).bounds))
    if not str(item.get("stac_version", "")).startswith("1."):
        item |= {"stac_version": "1.0.0", "stac_extensions": []}
    return item


def _beside(href: str, folder: Path) -> Path | None:
    """The local file of an href: the path itself, else a file of its base name beside the item."""
    parts = urlsplit(href)
    candidates = []
    if parts.scheme == "file":
        candidates.append(Path(unquote(parts.path)))
    elif not parts.scheme:
        candidates.append(folder / href)
    candidates.append(folder / unquote(parts.path).rpartition("/")[2])
    return next((c.resolve() for c in candidates if c.is_file()), None)


def _is_placed(asset: dict[str, Any], properties: dict[str, Any]) -> bool:
    said = {name for holder in (asset, properties) for name, value in holder.items() if value is not None}
    system = said & {"proj:code", "proj:epsg", "proj:wkt2", "proj:projjson"}
    return bool(system) and "proj:shape" in said and bool(said & {"proj:transform", "proj:bbox"})


def _placed(header: RasterInfo) -> dict[str, Any]:
    """What a file says of its grid: decimated and cropped copies differ from what their items say."""
    return {
        "proj:code": header.crs,
        "proj:shape": list(header.shape),
        "proj:transform": list(header.transform),
        "file:size": header.size,
        "muses:checked": True,
        **({"muses:overviews": header.overviews} if header.overviews else {}),
    }


def _correct_types(asset: dict[str, Any], header: RasterInfo) -> None:
    for old in ("proj:epsg", "proj:bbox", "proj:wkt2", "proj:projjson"):
        asset.pop(old, None)
    bands = asset.get("bands") or asset.get("raster:bands") or []
    for band, dtype in zip(bands, header.dtypes, strict=False):
        if "data_type" in band:
            band["data_type"] = dtype
        if "spatial_resolution" in band:
            band["spatial_resolution"] = abs(header.transform[0])
    if not any("data_type" in band for band in bands):
        asset["data_type"] = header.dtypes[0]
    if "gsd" in asset:
        asset["gsd"] = abs(header.transform[0])
    if header.opaque:
        asset["muses:opaque"] = True
    if len(header.dtypes) == 1 and header.categorical[0]:
        asset.setdefault("muses:categorical", True)


def _complete(key: str, asset: dict[str, Any], profile: Profile | None, header: RasterInfo) -> None:
    """Adds what the file says of its bands and the item does not."""
    if not says_bands(key, asset, profile) and len(header.dtypes) > 1:
        asset["bands"] = [{"name": said.name} for said in described(key, asset, profile, header)]
    said_bands = described(key, asset, profile, header)
    if len(said_bands) > 1 and not asset.get("bands"):
        asset["raster:bands"] = [dict(b) for b in asset.get("raster:bands") or [{} for _ in said_bands]]
    holders = asset.get("bands") or asset.get("raster:bands") or [asset]
    for said, holder in zip(said_bands, holders, strict=False):
        values = {"nodata": said.nodata, "raster:scale": said.scale, "raster:offset": said.offset}
        holder |= {field: value for field, value in values.items() if value is not None}


# Rasters


def _of_raster(path: Path, header: RasterInfo, options: Options) -> dict[str, Any]:
    item = _item(path, header, path.stem, _date_of(path, header, options))
    names = _band_names(header)
    item["assets"] = {
        name: _asset(path, header, i + 1, StackBand(name=name)) for i, name in enumerate(names) if not header.alpha[i]
    }
    if not item["assets"]:
        raise ReadError("it has no band but opacity (alpha)")
    match = options.pattern.search(path.name) if options.pattern and "band" in options.pattern.groupindex else None
    if match and len(names) == 1:
        begin, end = match.span("band")
        scene = Path(f"{path.name[:begin]}{path.name[end:]}").stem.strip("_.-")
        return renamed(item, scene or "scene", match["band"])
    return item


def item_at(url: str, header: RasterInfo) -> dict[str, Any]:
    """A raster on a server as an item; without a date in its name or tags it is of the beginning of 1970."""
    path = Path(urlsplit(url).path)
    item = _of_raster(Path(path.name), header, Options(None, "1970-01-01", None))
    for asset in item["assets"].values():
        asset["href"] = url
    return item


def _of_stack(path: Path, header: RasterInfo, stack: Stack) -> list[dict[str, Any]]:
    stack.check(len(header.dtypes), path)
    profile = profiles().get(stack.product or "")
    items = []
    stamps = _stamps(stack.dates)
    for d, date in enumerate(stack.dates):
        item = _item(path, header, f"{path.stem}_{stamps[d]}", parse_time(date))
        if stack.platform:
            item["properties"]["platform"] = stack.platform
        for b, band in enumerate(stack.bands):
            known = profile.band(band.name) if profile else None
            said = band.model_copy(
                update={
                    "common_name": band.common_name or (known.common_name if known else None),
                    "scale": stack.scale if band.scale is None else band.scale,
                    "offset": stack.offset if band.offset is None else band.offset,
                    "nodata": stack.nodata if band.nodata is None else band.nodata,
                }
            )
            item["assets"][band.name] = _asset(path, header, stack.index(d, b), said)
        items.append(item)
    return items


def _stamps(dates: list[str]) -> list[str]:
    """Short and different: days where they suffice, else times."""
    days = [date[:10].replace("-", "") for date in dates]
    return days if len(set(days)) == len(days) else [re.sub(r"[^0-9T]", "", date) for date in dates]


def _item(path: Path, header: RasterInfo, id: str, time: datetime) -> dict[str, Any]:
    """Place and time of a raster, without its assets."""
    geometry = _outline(header)
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": id,
        "geometry": geometry,
        "bbox": list(shape(geometry).bounds),
        "properties": {"datetime": format_time(time), "proj:code": header.crs},
        "links": [],
        "assets": {},
    }


def _outline(header: RasterInfo) -> dict[str, Any]:
    """A raster's outline in longitude and latitude; an edge that is straight in its own system is not there."""
    rows, columns = header.shape
    a, b, c, d, e, f = header.transform
    xs, ys = (c, c + a * columns), (f, f + e * rows)
    edges = segmentize(box(min(xs), min(ys), max(xs), max(ys)), max(abs(a) * columns, abs(e) * rows) / 5)
    try:
        degrees = transformer(header.crs, 4326)

        def projected(points: np.ndarray) -> np.ndarray:
            return np.round(np.column_stack(degrees.transform(points[:, 0], points[:, 1], errcheck=True)), 7)

        return mapping(transform(edges, projected))
    except (CrsError, ProjError) as error:
        raise ReadError(f"its place on Earth cannot be told: {error}") from None


def _asset(path: Path, header: RasterInfo, index: int, band: StackBand) -> dict[str, Any]:
    """One band of a file as an asset of its own."""
    i = index - 1
    said = {
        "eo:common_name": band.common_name,
        "data_type": header.dtypes[i],
        "nodata": band.nodata if band.nodata is not None or header.masked[i] else header.nodata[i],
        "raster:scale": band.scale if band.scale is not None else header.scales[i],
        "raster:offset": band.offset if band.offset is not None else header.offsets[i],
        "raster:spatial_resolution": abs(header.transform[0]),
    }
    return {
        "href": str(path),
        "type": "image/tiff; application=geotiff",
        "roles": ["data"],
        "bands": [{"name": band.name, **{key: value for key, value in said.items() if value is not None}}],
        **_placed(header),
        "muses:band": index,
        **({"muses:categorical": True} if band.categorical or header.categorical[i] else {}),
        **({"muses:opaque": True} if header.opaque else {}),
    }


def _band_names(header: RasterInfo) -> list[str]:
    """The file's own descriptions where every band has a different one, else b1, b2, …"""
    said = [(text or "").strip() for text in header.descriptions]
    named = [text for text, alpha in zip(said, header.alpha, strict=True) if not alpha]
    if all(named) and len(set(named)) == len(named):
        return said
    return [f"b{i + 1}" for i in range(len(said))]


def _date_of(path: Path, header: RasterInfo, options: Options) -> datetime:
    for text in _dates_of(path, header, options):
        try:
            return parse_time(text)
        except ValueError as error:
            raise ReadError(f"its date: {error}") from None
    raise ReadError(
        "it has no date, neither in its name (as 20180429 or 2018-04-29) nor in its tags; "
        "give one (--date), or a pattern that finds it in the name (--pattern)"
    )


def _dates_of(path: Path, header: RasterInfo, options: Options) -> Iterator[str]:
    if options.date:
        yield options.date
    if options.pattern:
        if match := options.pattern.search(path.name):
            yield match["date"]
        return  # who gives a pattern does not want another date
    if match := _IN_NAME.search(path.stem):
        year, _, month, day, hour, minute, second = match.groups()
        yield f"{year}-{month}-{day}" + (f"T{hour}:{minute}:{second}" if hour else "")
    for tag in _DATE_TAGS:
        if value := header.tags.get(tag):
            # TIFF writes 2018:04:29 10:31:02
            yield re.sub(r"^(\d{4}):(\d{2}):(\d{2})", r"\1-\2-\3", value.strip()).replace(" ", "T")
