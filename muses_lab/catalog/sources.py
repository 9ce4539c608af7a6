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

from rio_stac import create_stac_item
from shapely.geometry import shape

from muses_lab.catalog.local import read_json
from muses_lab.catalog.stack import Stack, StackBand
from muses_lab.errors import ReadError
from muses_lab.products import PROFILES
from muses_lab.products.described import is_data
from muses_lab.products.header import Header, read_header
from muses_lab.products.known import profile_of_item
from muses_lab.products.times import format_time, parse_time

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


def items_of(path: Path, options: Options) -> Found:
    """The STAC Items of one file; `ReadError` (or `StackError`) says why there are none."""
    if not path.is_file():
        raise ReadError("there is no such file" if not path.exists() else "it is not a file")
    if path.suffix.lower() in (".json", ".geojson"):
        return _of_json(path)
    header = read_header(path)
    if options.stack is not None:
        return Found(_of_stack(path, header, options.stack))
    return Found([_of_raster(path, header, options)])


# STAC


def _of_json(path: Path) -> Found:
    document = read_json(path)
    kind = document.get("type") if isinstance(document, dict) else None
    if kind == "Feature":
        features = [document]
    elif kind == "FeatureCollection":
        features = document.get("features") or []
    else:
        raise ReadError(f"it is not a STAC Item or ItemCollection (its type is {kind!r})")
    found = Found([])
    for feature in features:
        found.items.append(_of_item(feature, path, found.missing))
    if not found.items:
        raise ReadError("it has no items")
    return found


def _of_item(document: dict[str, Any], path: Path, missing: list[str]) -> dict[str, Any]:
    item = _modern(document)
    profile = profile_of_item(item)
    usable = 0
    for key, asset in list(item["assets"].items()):
        file = _beside(asset["href"], path.parent)
        data = is_data(key, asset, profile)
        if file is not None and data:
            try:
                header = read_header(file)
            except ReadError as error:
                missing.append(f"asset {key!r} of {item['id']}: {error}")
                del item["assets"][key]
                continue
            asset |= _placed(header) | {"href": str(file)}
            _correct_types(asset, header)
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
        raise ReadError(f"none of the rasters of item {item['id']!r} is beside it or on the web")
    item["links"] = [link for link in item.get("links", []) if link.get("rel") in ("license", "derived_from", "via")]
    return item


def _modern(document: dict[str, Any]) -> dict[str, Any]:
    """A copy in today's terms: fields of STAC before 1.0 renamed, times in UTC."""
    item = {name: value for name, value in deepcopy(document).items() if name in _FIELDS}
    for name, kind in (("id", str), ("properties", dict), ("assets", dict)):
        if not isinstance(item.get(name), kind) or not item[name]:
            raise ReadError(f"it is not a STAC Item: it has no {name}")
    properties = item["properties"]
    bands = properties.pop("eo:bands", None)
    for key, asset in list(item["assets"].items()):
        if not isinstance(asset, dict) or not isinstance(asset.get("href"), str):
            del item["assets"][key]
            continue
        for holder in (asset, *(asset.get("bands") or ()), *(asset.get("raster:bands") or ())):
            # "nan" is allowed, but GeoParquet has one type per column; in floats it is missing anyway
            if isinstance(holder, dict) and isinstance(holder.get("nodata"), str):
                del holder["nodata"]
        numbered = asset.get("eo:bands")
        if bands and numbered and all(isinstance(i, int) for i in numbered):
            asset["eo:bands"] = [bands[i] for i in numbered]
        stem = re.sub(r"\.tiff?$", "", key, flags=re.IGNORECASE)  # Landsat's items once called a band SR_B4.TIF
        if stem != key and stem not in item["assets"]:
            item["assets"][stem] = item["assets"].pop(key)
    for old, new in (("eo:platform", "platform"), ("eo:instrument", "instruments")):
        if old in properties:
            value = properties.pop(old)
            properties.setdefault(new, str(value).lower().replace("_", "-") if new == "platform" else [value])
    for name in ("datetime", "start_datetime", "end_datetime"):
        if properties.get(name):
            try:
                properties[name] = format_time(parse_time(properties[name]))
            except ValueError as error:
                raise ReadError(f"its {name} {error}") from None
    if not properties.get("datetime") and not properties.get("start_datetime"):
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


def _placed(header: Header) -> dict[str, Any]:
    """What a file says of its grid: decimated and cropped copies differ from what their items say."""
    return {
        "proj:code": header.crs,
        "proj:shape": list(header.shape),
        "proj:transform": list(header.transform),
        "file:size": header.size,
        **({"muses:overviews": header.overviews} if header.overviews else {}),
    }


def _correct_types(asset: dict[str, Any], header: Header) -> None:
    for old in ("proj:epsg", "proj:bbox", "proj:wkt2", "proj:projjson"):
        asset.pop(old, None)
    bands = asset.get("bands") or asset.get("raster:bands") or []
    for band, dtype in zip(bands, header.dtypes, strict=False):
        if "data_type" in band:
            band["data_type"] = dtype
        if "spatial_resolution" in band:
            band["spatial_resolution"] = header.transform[0]
    if not any("data_type" in band for band in bands):
        asset["data_type"] = header.dtypes[0]
    if "gsd" in asset:
        asset["gsd"] = header.transform[0]


# Rasters


def _of_raster(path: Path, header: Header, options: Options) -> dict[str, Any]:
    item = _item(path, header, path.stem, _date_of(path, header, options))
    names = _band_names(header)
    item["assets"] = {name: _asset(path, header, i + 1, StackBand(name=name)) for i, name in enumerate(names)}
    return item


def _of_stack(path: Path, header: Header, stack: Stack) -> list[dict[str, Any]]:
    stack.check(len(header.dtypes), path)
    profile = PROFILES.get(stack.product or "")
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


def _item(path: Path, header: Header, id: str, time: datetime) -> dict[str, Any]:
    """Place and time of a raster, without its assets."""
    # densified: an edge that is straight in the file's system is not in longitude and latitude
    made = create_stac_item(
        str(path),
        input_datetime=time,
        properties={"start_datetime": None},  # keeps rio-stac from looking for a date of its own
        id=id,
        assets={},
        geom_densify_pts=4,
        geom_precision=7,
    )
    item = made.to_dict(include_self_link=False, transform_hrefs=False)
    item["properties"] = {"datetime": format_time(time), "proj:code": header.crs}
    item |= {"links": [], "assets": {}, "stac_extensions": []}
    return item


def _asset(path: Path, header: Header, index: int, band: StackBand) -> dict[str, Any]:
    """One band of a file as an asset of its own."""
    i = index - 1
    said = {
        "eo:common_name": band.common_name,
        "data_type": header.dtypes[i],
        "nodata": band.nodata if band.nodata is not None else header.nodata[i],
        "raster:scale": band.scale if band.scale is not None else header.scales[i],
        "raster:offset": band.offset if band.offset is not None else header.offsets[i],
        "raster:spatial_resolution": header.transform[0],
    }
    return {
        "href": str(path),
        "type": "image/tiff; application=geotiff",
        "roles": ["data"],
        "bands": [{"name": band.name, **{key: value for key, value in said.items() if value is not None}}],
        **_placed(header),
        "muses:band": index,
        **({"muses:categorical": True} if band.categorical else {}),
    }


def _band_names(header: Header) -> list[str]:
    """The file's own descriptions where every band has a different one, else b1, b2, …"""
    said = [(text or "").strip() for text in header.descriptions]
    if all(said) and len(set(said)) == len(said):
        return said
    return [f"b{i + 1}" for i in range(len(said))]


def _date_of(path: Path, header: Header, options: Options) -> datetime:
    for text in _dates_of(path, header, options):
        try:
            return parse_time(text)
        except ValueError as error:
            raise ReadError(f"its date: {error}") from None
    raise ReadError(
        "it has no date, neither in its name (as 20180429 or 2018-04-29) nor in its tags; "
        "give one (--date), or a pattern that finds it in the name (--pattern)"
    )


def _dates_of(path: Path, header: Header, options: Options) -> Iterator[str]:
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
