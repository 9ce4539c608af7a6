"""Sentinel-2 Level-2A as ESA delivers it: a folder `.SAFE`, or the zip archive that it is downloaded as.

Source: Sentinel-2 Products Specification Document (S2-PDGS-TAS-DI-PSD) 14.9: `MTD_MSIL2A.xml`, `MTD_TL.xml`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from shapely.geometry import Polygon, mapping

from muses_lab.errors import ReadError
from muses_lab.globe import on_globe
from muses_lab.products.known.sentinel2 import SENTINEL2_L2A
from muses_lab.raster import archive
from muses_lab.raster.files import LocalFile

_NAME = re.compile(r"S2[A-Z]_MSIL2A_\d{8}T\d{6}_.*(?:\.SAFE|\.zip)", re.IGNORECASE)
_MAIN = "MTD_MSIL2A.xml"
_MOST_XML = 32 << 20
"""Bytes of a metadata file; those of a tile have about one megabyte, of angles."""
_BAND_IDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
"""Bands by the `band_id` of offsets."""
_IMAGE = re.compile(r"(?:^|_)(?P<band>B\d{2}|B8A|SCL|AOT|WVP)_(?P<metres>\d{2})m$")
_FILES = {"JPEG2000": (".jp2", "image/jp2"), "GeoTIFF": (".tif", "image/tiff; application=geotiff")}
"""Ending and media type of images, by the format that the product names."""

ReadFunction = Callable[[str], bytes]


class Safe:
    """One item for each product: a file of each band, at the band's own resolution where there are several."""

    name = "Sentinel-2 L2A as ESA delivers it (.SAFE folder or zip)"

    def takes(self, path: Path) -> bool:
        return _NAME.fullmatch(path.name) is not None

    def item(self, path: Path) -> dict[str, Any]:
        inside, read = _zipped(path) if path.is_file() else ("", _folder(path))
        product = _parsed(read, _MAIN)
        images = [element.text or "" for element in product.iter("IMAGE_FILE")]
        granules = sorted({_granule(image) for image in images})
        if len(granules) != 1:
            raise ReadError(f"it has {len(granules)} tiles ({_MAIN}), and products of one tile are read")
        tile = _parsed(read, f"{granules[0]}/MTD_TL.xml")
        crs = _text(tile, "HORIZONTAL_CS_CODE")
        places = {int(p.get("resolution", 0)): p for p in tile.iter("Geoposition")}
        sizes = {int(s.get("resolution", 0)): s for s in tile.iter("Size")}
        kind = next((g.get("imageFormat", "") for g in product.iter() if g.tag in ("Granule", "Granules")), "")
        if kind not in _FILES:
            raise ReadError(f"its images are of the format {kind!r}, not one of {', '.join(_FILES)}")
        ending, media = _FILES[kind]
        assets = {}
        for band, (metres, image) in _chosen(images).items():
            if metres not in places or metres not in sizes:
                raise ReadError(f"nothing says where its pixels of {metres} m lie (MTD_TL.xml)")
            place, size = places[metres], sizes[metres]
            step = [float(_text(place, name)) for name in ("XDIM", "YDIM")]
            corner = [float(_text(place, name)) for name in ("ULX", "ULY")]
            assets[band] = {
                "href": f"{inside}{image}{ending}",
                "type": media,
                "roles": ["data"],
                "proj:code": crs,
                "proj:shape": [int(_text(size, "NROWS")), int(_text(size, "NCOLS"))],
                "proj:transform": [step[0], 0.0, corner[0], 0.0, step[1], corner[1]],
                "bands": [{"name": band, "nodata": 0, **_meaning(product, band)}],
            }
        footprint = _footprint(product)
        return {
            "type": "Feature",
            "stac_version": "1.1.0",
            "stac_extensions": [],
            "id": _text(product, "PRODUCT_URI").removesuffix(".SAFE"),
            "collection": SENTINEL2_L2A.name,
            "geometry": mapping(footprint),
            "bbox": list(footprint.bounds),
            "properties": _properties(product, tile),
            "links": [],
            "assets": assets,
        }


DELIVERY = Safe()


# ------------------------------------------------------------------------------------------------ folders and archives


def _folder(path: Path) -> ReadFunction:
    """How to read the files of a product's folder, and of no other: a link may lead out of it."""
    root = path.resolve()

    def read(name: str) -> bytes:
        with LocalFile.open(str(root / name), lambda place: Path(place).is_relative_to(root)) as file:
            _check_size(name, file.size)
            return file.read(0, file.size)

    return read


def _zipped(path: Path) -> tuple[str, ReadFunction]:
    """The product's folder in an archive, and how to read its files."""
    with LocalFile.open(str(path)) as file:
        mains = [name for name in archive.names(file) if re.fullmatch(rf"[^/]+/{re.escape(_MAIN)}", name)]
    if len(mains) != 1:
        raise ReadError(f"{len(mains)} products are in this archive (…/{_MAIN}), not one")
    inside = mains[0].removesuffix(_MAIN)

    def read(name: str) -> bytes:
        with LocalFile.open(str(path)) as file:
            return archive.read_whole(file, f"{inside}{name}", _MOST_XML)

    return inside, read


def _check_size(name: str, size: int) -> None:
    if size > _MOST_XML:
        raise ReadError(f"{name} has {size} bytes, and at most {_MOST_XML} are read")


def _parsed(read: ReadFunction, name: str) -> Element:
    try:
        return fromstring(read(name), forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError, RecursionError) as error:
        raise ReadError(f"{name} is not XML that can be read: {error}") from None
    except ReadError as error:
        raise ReadError(f"{name}: {error}") from None


# ----------------------------------------------------------------------------------------------------- what they say


def _found(root: Element, name: str) -> str | None:
    return next((e.text.strip() for e in root.iter(name) if e.text and e.text.strip()), None)


def _text(root: Element, name: str) -> str:
    found = _found(root, name)
    if found is None:
        raise ReadError(f"its metadata have no {name}")
    return found


def _granule(image: str) -> str:
    """The tile's folder of an image: `GRANULE/L2A_…`. The path is the product's word, and must stay inside."""
    parts = PurePosixPath(image).parts
    if len(parts) < 4 or parts[0] != "GRANULE" or ".." in parts or "\\" in image:
        raise ReadError(f"its image {image!r} is not in the folder of a tile (GRANULE/…/IMG_DATA)")
    return "/".join(parts[:2])


def _chosen(images: list[str]) -> dict[str, tuple[int, str]]:
    """Resolution and image of each band: at its own resolution, else the finest there is."""
    found: dict[str, list[tuple[int, str]]] = {}
    for image in images:
        if match := _IMAGE.search(image):
            found.setdefault(match["band"], []).append((int(match["metres"]), image))
    known = [band.name for band in SENTINEL2_L2A.bands if band.name in found]
    own = {band.name: band.resolution for band in SENTINEL2_L2A.bands}
    return {band: min(found[band], key=lambda image: (image[0] != own[band], image[0])) for band in known}


def _meaning(product: Element, band: str) -> dict[str, float]:
    """Scale and offset of a band: physical = stored / quantification + offset / quantification.

    `BOA_ADD_OFFSET` came with baseline 04.00. Products before it have none, and none is stated.
    """
    if band == "SCL":
        return {}
    name = band if band in ("AOT", "WVP") else "BOA"
    quantification = float(_found(product, f"{name}_QUANTIFICATION_VALUE")
                           or _text(product, f"L2A_{name}_QUANTIFICATION_VALUE"))  # fmt: skip
    if not quantification > 0:
        raise ReadError(f"its {name}_QUANTIFICATION_VALUE is {quantification}")
    said = {"raster:scale": 1 / quantification}
    if name == "BOA":
        number = str(_BAND_IDS.index(band))
        offsets = {e.get("band_id"): float(e.text or 0) for e in product.iter("BOA_ADD_OFFSET")}
        if offsets and number not in offsets:
            raise ReadError(f"its metadata have offsets, but none of {band} (BOA_ADD_OFFSET {number})")
        if offsets:
            said["raster:offset"] = offsets[number] / quantification
    return said


def _footprint(product: Element) -> Any:
    """The outline; one across the antimeridian in two parts."""
    numbers = [float(number) for number in _text(product, "EXT_POS_LIST").split()]
    points = list(zip(numbers[1::2], numbers[::2], strict=False))
    if max(x for x, _ in points) - min(x for x, _ in points) > 180:
        points = [(x + 360 if x < 0 else x, y) for x, y in points]
    return on_globe(Polygon(points))


def _properties(product: Element, tile: Element) -> dict[str, Any]:
    identifier = re.search(r"_T(\d{2}[A-Z]{3})_", _text(tile, "TILE_ID"))
    return {
        "datetime": _text(product, "PRODUCT_START_TIME"),
        "constellation": "sentinel-2",
        "platform": _text(product, "SPACECRAFT_NAME").lower(),
        "eo:cloud_cover": float(_text(product, "Cloud_Coverage_Assessment")),
        "s2:product_type": _text(product, "PRODUCT_TYPE"),
        "s2:product_uri": _text(product, "PRODUCT_URI"),
        "s2:processing_baseline": _text(product, "PROCESSING_BASELINE"),
        "s2:generation_time": _text(product, "GENERATION_TIME"),
        "sat:relative_orbit": int(_text(product, "SENSING_ORBIT_NUMBER")),
        "sat:orbit_state": _text(product, "SENSING_ORBIT_DIRECTION").lower(),
        **({"grid:code": f"MGRS-{identifier[1]}"} if identifier else {}),
    }
