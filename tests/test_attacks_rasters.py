"""Rasters that nobody means well with: refused with a reason, in little memory, and the scenes beside them are read."""

from __future__ import annotations

import resource
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from muses_lab.api.chain import Chain
from muses_lab.document.graph import Callback, Parameter
from muses_lab.engine import Engine
from muses_lab.errors import TooLarge
from muses_lab.operators import registry
from muses_lab.raster import tiff
from muses_lab.raster.gdal import driver_of
from muses_lab.raster.header import read_header
from muses_lab.scenes.lists import as_artefact
from tests.helpers.made_scenes import chain_of, pixels, three, values, window


def tif(
    width: int = 300, height: int = 300, tile: tuple[int, int] = (128, 128), *, data: bytes = b"",
    claims: int | None = None, again: bool = False, bands: int = 1, compression: int = 8,
) -> bytes:  # fmt: skip
    """A little-endian TIFF of which all tiles are the same bytes."""
    data = data or zlib.compress(bytes(min(2 * tile[0] * tile[1], 1 << 20)))
    number = -(-width // tile[1]) * -(-height // tile[0])
    size = len(data) if claims is None else claims
    tables = 8 + len(data)
    offsets, counts = struct.pack(f"<{number}I", *[8] * number), struct.pack(f"<{number}I", *[size] * number)
    first = (8, size) if number == 1 else (tables, tables + len(offsets))
    directory = tables + (0 if number == 1 else len(offsets) + len(counts))
    tags = [
        (254, 0), (256, width), (257, height), (258, 16), (259, compression), (262, 1), (277, bands), (284, 1),
        (317, 1), (322, tile[1]), (323, tile[0]), (324, first[0], number), (325, first[1], number),
    ]  # fmt: skip
    body = struct.pack("<2sHI", b"II", 42, directory) + data + (b"" if number == 1 else offsets + counts)
    body += struct.pack("<H", len(tags))
    for tag, value, *count in tags:
        body += struct.pack("<HHII", tag, 4, *(count or [1]), value)
    return body + struct.pack("<I", directory if again else 0)


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../a.tif", bytes(10 << 20))


BAD: dict[str, Callable[[Path], object]] = {
    "a tile of 8 GB": lambda p: p.write_bytes(tif(65536, 65536, (65536, 65536))),
    "a tile of exabytes": lambda p: p.write_bytes(tif(2**31 - 16, 2**31 - 16, (2**31 - 16, 2**31 - 16))),
    "4 GB for a block": lambda p: p.write_bytes(tif(claims=2**32 - 1)),
    "60 000 bands": lambda p: p.write_bytes(tif(bands=60_000)),
    "a bomb in a block": lambda p: p.write_bytes(tif(data=zlib.compress(bytes(64 << 20)))),
    "no data in a block": lambda p: p.write_bytes(tif(data=b"x" * 50)),
    "zstd that claims": lambda p: p.write_bytes(
        tif(compression=50000, data=bytes.fromhex("28b52ffde0") + struct.pack("<Q", 1 << 50) + bytes(40))
    ),
    "an unknown codec": lambda p: p.write_bytes(tif(compression=64_000)),
    "a zip": zipped,
    "HDF5": lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(4096)),
    "NetCDF": lambda p: p.write_bytes(b"CDF\x02" + b"\xff" * 4096),
    "PNG": lambda p: p.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 2**31 - 1, 2**31 - 1)),
    "a WMS description": lambda p: p.write_text(
        "<GDAL_WMS><Service name='TMS'><ServerUrl>http://127.0.0.1/</ServerUrl>"
    ),
    "a script in a VRT": lambda p: p.write_text('<VRTDataset rasterXSize="1" rasterYSize="1"><PixelFunctionCode>'),
    "random bytes": lambda p: p.write_bytes(b"II*\0" + np.random.default_rng(1).bytes(100_000)),
}


@pytest.mark.parametrize("how", BAD)
def test_a_malicious_scene_is_left_out_and_the_others_are_read(made, how: str) -> None:
    paths, scenes = three(made, sizes=False)
    box = window(300, 300)
    rest = values(chain_of(replace(scenes, scenes=(scenes.scenes[0], scenes.scenes[2]))).mean("t"), box)
    BAD[how](paths[1])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = pixels(Engine(64 << 20), chain_of(scenes).mean("t"), box)
    if found.report.failed:  # GDAL may take what little a file has for its pixels
        assert [id for id, _ in found.report.failed] == ["b"]
        assert np.array_equal(found.values, rest)
        assert str(made.folder) not in found.report.failed[0][1]
    else:
        assert how == "a bomb in a block", "nothing else holds pixels"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10  # KiB


def test_directories_in_a_circle_are_read_once(tmp_path: Path) -> None:
    body = tif(again=True)
    assert len(tiff.images(lambda offset, size: body[offset : offset + size])) == 1


def test_tables_that_claim_a_lot_are_not_read() -> None:
    """A sparse file whose directories each point to tables of 30 MB."""
    asked = []

    def read(offset: int, size: int) -> bytes:
        asked.append(size)
        return body[offset : offset + size].ljust(size, b"\0")

    number = 30 << 18
    tags = [(254, 4, 1, 1), (256, 4, 1, 16 * number)]  # 254: smaller copies of the first
    tags += [(257, 4, 1, 16), (258, 4, 1, 16), (322, 4, 1, 16), (323, 4, 1, 16)]
    tags += [(324, 4, number, 1 << 24), (325, 4, number, 1 << 24)]
    size = 2 + 12 * len(tags) + 4
    body = struct.pack("<2sHI", b"II", 42, 8)
    for i in range(60):
        body += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
        body += struct.pack("<I", 8 + (i + 1) * size if i < 59 else 0)
    with pytest.raises(tiff.Unusual, match="longer than any image needs"):
        tiff.images(read)
    assert sum(asked) < 80 << 20


@pytest.mark.parametrize(
    "name", ["a.tif", "a.vrt", "a.nc", "a.zip", "a.png", "a", "a.tif.vrt", "https://x.example/a.vrt"]
)
def test_only_formats_that_hold_their_own_pixels_are_opened(name: str) -> None:
    assert driver_of(name) == "GTiff"
    assert driver_of("https://x.example/a.JP2?sig=.vrt") == "JP2OpenJPEG"


def test_jpeg_2000_that_claims_a_continent(tmp_path: Path) -> None:
    """In a process of its own: 250 bytes that claim 40 000 × 40 000 pixels."""
    code = """if True:
        import resource, struct, sys
        import numpy as np, rasterio
        path = sys.argv[1]
        with rasterio.open(path, "w", driver="JP2OpenJPEG", height=64, width=64, count=1, dtype="uint16") as file:
            file.write(np.zeros((1, 64, 64), "uint16"))
        body = bytearray(open(path, "rb").read())
        at = body.find(b"\\xff\\x51")
        for place in (at + 6, at + 22, body.find(b"ihdr") + 4):
            struct.pack_into(">II", body, place, 40_000, 40_000)
        open(path, "wb").write(body)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            with rasterio.open(path, driver="JP2OpenJPEG") as file:
                file.read(1, window=((0, 512), (0, 512)))
        except rasterio.errors.RasterioError:
            print("refused", (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "a.jp2")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    said, megabytes = done.stdout.split()
    assert said == "refused" and int(megabytes) < 400, done.stderr


def test_a_header_that_is_none_is_not_registered(tmp_path: Path) -> None:
    for how, write in BAD.items():
        path = tmp_path / "bad.tif"
        write(path)
        with pytest.raises(Exception, match="cannot be read|no coordinate reference system"):
            read_header(path)
        assert how


def test_evaluations_inside_evaluations_have_a_limit(made) -> None:
    _, scenes = three(made, sizes=False)
    median = Callback(registry.node("median", inside_callback=True, data=Parameter("data")))
    node = registry.node(
        "reduce_dimension", data=chain_of(scenes)._node, dimension="t", reducer=median
    )  # fmt: skip
    for _ in range(200):
        node = registry.node("muses:focal_mean", data=node, radius=1)
    with pytest.raises(TooLarge, match="one after another"):
        _ = Chain(node, {scenes.digest: as_artefact(scenes)}).published.prepared
