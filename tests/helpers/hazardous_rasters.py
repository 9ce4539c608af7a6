"""Valid rasters that name other files: in their own metadata, and in files beside them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import rasterio

from tests.helpers.decoys import Decoys, raster

OWN = 7
"""The value of all pixels of the rasters themselves."""

Write = Callable[[Path, Decoys], object]


def inline_vrt(decoys: Decoys, source: str | None = None) -> str:
    """A VRT written out where a path is expected; its pixels are the decoy's."""
    source = source or str(decoys.path("secret.tif"))
    return (
        '<VRTDataset rasterXSize="256" rasterYSize="256"><VRTRasterBand dataType="UInt16" band="1"><SimpleSource>'
        f"<SourceFilename>{source}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )


def raw_vrt(decoys: Decoys) -> str:
    """The bytes of any file as pixels."""
    return (
        '<VRTDataset rasterXSize="100" rasterYSize="100"><VRTRasterBand dataType="UInt16" band="1" '
        f'subClass="VRTRawRasterBand"><SourceFilename>{decoys.path("secret.txt")}</SourceFilename>'
        "<ImageOffset>0</ImageOffset><PixelOffset>2</PixelOffset><LineOffset>200</LineOffset></VRTRasterBand>"
        "</VRTDataset>"
    )


NAMES: dict[str, Callable[[Decoys], str]] = {
    "a path": lambda d: str(d.path("secret.tif")),
    "a VRT": inline_vrt,
    "raw bytes": raw_vrt,
    "an address": lambda d: f"/vsicurl/{d.url(f'{uuid4().hex}.tif')}",
    "an address in a VRT": lambda d: inline_vrt(d, f"/vsicurl/{d.url(f'{uuid4().hex}.tif')}"),
}
"""What stands where GDAL expects the name of an overview."""


def tagged(path: Path, name: str, **profile: object) -> Path:
    raster(path, OWN, **profile)
    with rasterio.open(path, "r+") as file:
        file.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=name)
    return path


def jpeg_2000(path: Path, name: str) -> Path:
    """A JPEG 2000 with GDAL's metadata in a box of its own."""
    raster(path, OWN, driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES", BLOCKXSIZE=128, BLOCKYSIZE=128)
    told = name.replace("&", "&amp;").replace("<", "&lt;")
    text = (
        '<GDALMultiDomainMetadata><Metadata domain="OVERVIEWS">'
        f'<MDI key="OVERVIEW_FILE">{told}</MDI></Metadata></GDALMultiDomainMetadata>'
    ).encode()
    body = path.read_bytes()
    at = body.index(b"jp2c") - 4  # boxes behind the codestream of unknown length would be part of it
    path.write_bytes(body[:at] + (len(text) + 8).to_bytes(4, "big") + b"xml " + text + body[at:])
    path.with_name(f"{path.name}.aux.xml").unlink(missing_ok=True)
    return path


DATUM = (
    'GEOGCS["x",DATUM["d",SPHEROID["WGS 84",6378137,298.257223563],EXTENSION["PROJ4_GRIDS","{}"]],'
    'PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]]'
)


def keyed(path: Path, decoys: Decoys, **profile: object) -> Path:
    """A TIFF whose GeoTIFF keys hold WKT that names a grid: PROJ opens it as soon as the file is opened."""
    unnamed = "+proj=tmerc +lon_0=3.123 +k=0.9996 +x_0=500000 +ellps=GRS80 +units=m"  # else its code would be taken
    raster(path, OWN, crs=unnamed, GEOTIFF_KEYS_FLAVOR="ESRI_PE", **profile)
    body = path.read_bytes()
    at = body.index(b"ESRI PE String = ") + 17
    length = body.index(b"|", at) - at
    text = DATUM.format(decoys.path("grid.gsb")).encode()
    assert len(text) <= length
    path.write_bytes(body[:at] + text.ljust(length) + body[at + length :])
    return path


def keyed_jpeg_2000(path: Path, decoys: Decoys) -> Path:
    """The same in the box of a JPEG 2000 that holds such keys."""
    keys = keyed(path.with_suffix(".tif"), decoys, size=1).read_bytes()
    path.with_suffix(".tif").unlink()
    options = {"QUALITY": "100", "REVERSIBLE": "YES", "GEOJP2": "NO", "GMLJP2": "NO"}
    raster(path, OWN, driver="JP2OpenJPEG", **options)
    path.with_name(f"{path.name}.aux.xml").unlink(missing_ok=True)
    body = path.read_bytes()
    at = body.index(b"jp2c") - 4
    box = b"uuid" + bytes.fromhex("b14bf8bd083d4b43a5ae8cd7d5a6ce03") + keys
    path.write_bytes(body[:at] + (len(box) + 4).to_bytes(4, "big") + box + body[at:])
    return path


def auxiliary_system(path: Path, decoys: Decoys) -> Path:
    """Files beside a raster that name a grid."""
    raster(path, OWN)
    told = DATUM.format(decoys.path("grid.gsb")).replace('"', "&quot;")
    path.with_name(f"{path.name}.aux.xml").write_text(f"<PAMDataset><SRS>{told}</SRS></PAMDataset>")
    return path


def auxiliary(path: Path, name: str) -> Path:
    raster(path, OWN)
    told = name.replace("&", "&amp;").replace("<", "&lt;")
    path.with_name(f"{path.name}.aux.xml").write_text(
        f'<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{told}</MDI></Metadata>'
        f"<PAMRasterBand band='1'><Description>near infrared</Description></PAMRasterBand></PAMDataset>"
    )
    return path


def linked(path: Path, decoys: Decoys, ending: str) -> Path:
    """A file beside the raster is a link to a decoy."""
    raster(path, OWN, **({"transform": None} if ending.startswith("tfw") else {}))
    beside = path.with_name(f"{path.name}.{ending}") if ending != "tfw" else path.with_suffix(".tfw")
    os.symlink(decoys.path("secret.txt" if ending in ("tfw", "aux.xml") else "secret.tif"), beside)
    return path


STRIPPED = {
    "strips": {},
    "big-endian": {"ENDIANNESS": "BIG"},
    "BigTIFF": {"BIGTIFF": "YES"},
    "tiles": {"tiled": True, "blockxsize": 128, "blockysize": 128},
    "jpeg": {"dtype": "uint8", "compress": "jpeg", "tiled": True, "blockxsize": 128, "blockysize": 128},
}

HAZARDS: dict[str, tuple[str, Write]] = {
    **{f"{name} in a TIFF": ("a.tif", lambda p, d, n=n: tagged(p, n(d))) for name, n in NAMES.items()},
    **{
        f"a path in a TIFF of {kind}": ("a.tif", lambda p, d, o=options: tagged(p, NAMES["a path"](d), **o))
        for kind, options in STRIPPED.items()
    },
    **{f"{name} in a JPEG 2000": ("a.jp2", lambda p, d, n=n: jpeg_2000(p, n(d))) for name, n in NAMES.items()},
    **{f"{name} in .aux.xml": ("a.tif", lambda p, d, n=n: auxiliary(p, n(d))) for name, n in NAMES.items()},
    "a link .ovr": ("a.tif", lambda p, d: linked(p, d, "ovr")),
    "a link .msk": ("a.tif", lambda p, d: linked(p, d, "msk")),
}
"""What is dangerous → name of the raster, and how it is written. All hold `OWN` everywhere."""

SIDECARS: dict[str, tuple[str, Write]] = {
    "a link .aux.xml": ("a.tif", lambda p, d: linked(p, d, "aux.xml")),
    "a link .tfw": ("a.tif", lambda p, d: linked(p, d, "tfw")),
    "a grid in .aux.xml": ("a.tif", auxiliary_system),
}
"""Rasters that cannot be registered as long as that file is beside them: nobody knows what its author meant."""

GRIDS: dict[str, tuple[str, Write]] = {
    "a grid in the keys of a TIFF": ("a.tif", keyed),
    "a grid in the keys of a big-endian TIFF": ("a.tif", lambda p, d: keyed(p, d, ENDIANNESS="BIG", BIGTIFF="YES")),
    "a grid in the keys of a JPEG 2000": ("a.jp2", keyed_jpeg_2000),
}
"""Rasters that are refused altogether."""
