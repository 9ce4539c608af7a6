"""Any raster equals what rasterio reads of it: shape of pixels × orientation × system × nodata × mask × type × place;
its own pixels, those of windows in other systems, values at points, and exports, by both ways in.

Twenty examples by default; `make test-thorough` tries 1500.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer

import muses_lab as ml
from muses_lab.catalog.register import add
from muses_lab.engine import Engine
from tests.helpers.examples import examples
from tests.helpers.made_scenes import values

pytestmark = pytest.mark.usefixtures("in_threads")

GEOSTATIONARY = (
    'PROJCS["geos",GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],PRIMEM["Greenwich",0],'
    'UNIT["degree",0.0174532925199433]],PROJECTION["Geostationary_Satellite"],PARAMETER["central_meridian",0],'
    'PARAMETER["satellite_height",35785831],PARAMETER["false_easting",0],PARAMETER["false_northing",0],UNIT["metre",1]]'
)
PLACES: dict[str, tuple[str, float, float, float]] = {
    "UTM": ("EPSG:32631", 364_000, 4_833_900, 10),
    "UTM of the south": ("EPSG:32760", 500_000, 7_500_000, 20),
    "UTM across 180": ("EPSG:32601", 160_000, 7_800_000, 100),
    "degrees": ("EPSG:4326", 1.4, 43.6, 0.001),
    "degrees across 180": ("EPSG:4326", 179.98, -16.5, 0.001),
    "degrees from 0 to 360": ("EPSG:4326", 259.5, 40.0, 0.01),
    "degrees far north": ("EPSG:4326", 20.0, 89.5, 0.005),
    "polar, over the pole": ("EPSG:3995", -4_000, 4_000, 100),
    "polar, of the south": ("EPSG:3031", 1_200_000, -300_000, 500),
    "web Mercator": ("EPSG:3857", 155_000, 5_400_000, 38.2),
    "equal area": ("EPSG:3035", 3_700_000, 2_300_000, 100),
    "geostationary": (GEOSTATIONARY, 400_000, 4_200_000, 3000),
}
"""System, left and upper edge, size of a pixel."""
NODATA: dict[str, list[float | None]] = {
    "uint8": [None, 0, 255], "int16": [None, -9999, 0], "uint16": [None, 0, 65_535], "int32": [None, -2_147_483_648],
    "uint32": [None, 4_294_967_295], "float32": [None, float("nan"), -9999.9, 0.1, -3.4028234663852886e38, 1e20],
    "float64": [None, float("nan"), -9999.0, 9.969209968386869e36],
}  # fmt: skip
ENGINE = Engine(64 << 20)
LAYOUTS: list[dict[str, object]] = [
    {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}, {}, {"blockysize": 7},
    {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "lzw"}, {"ENDIANNESS": "BIG"},
]  # fmt: skip


@st.composite
def rasters(draw: st.DrawFn) -> dict[str, object]:
    dtype = draw(st.sampled_from(sorted(NODATA)))
    place = draw(st.sampled_from(sorted(PLACES)))
    return {
        "place": place,
        "dtype": dtype,
        "nodata": draw(st.sampled_from(NODATA[dtype])),
        "wide": draw(st.sampled_from([1.0, 1.5, 3.0])),
        "turned": (draw(st.booleans()), draw(st.booleans())),
        "mask": draw(st.sampled_from(["none", "inside", "beside"])),
        "shape": (draw(st.integers(1, 90)), draw(st.integers(1, 90))),
        "layout": draw(st.sampled_from(LAYOUTS)),
        "way": draw(st.sampled_from(["catalog add", "open_catalog"])),
        "seen in": draw(st.sampled_from(["EPSG:3857", "EPSG:4326"])),
        "seed": draw(st.integers(0, 1000)),
    }


def check(raster: dict) -> None:
    (rows, columns), (up, left) = raster["shape"], raster["turned"]
    crs, x, y, size = PLACES[raster["place"]]
    width, height = size * raster["wide"], size
    north_up = Affine(width, 0, x, 0, -height, y)
    stored = Affine(
        -width if left else width, 0, x + columns * width if left else x,
        0, height if up else -height, y - rows * height if up else y,
    )  # fmt: skip
    rng = np.random.default_rng(raster["seed"])
    numbers = rng.integers(0, 200, (rows, columns)).astype(raster["dtype"])
    if raster["nodata"] is not None:
        numbers[rng.random((rows, columns)) < 0.2] = raster["nodata"]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "a.tif"
        profile = {"driver": "GTiff", "height": rows, "width": columns, "count": 1, "dtype": raster["dtype"]}
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=raster["mask"] == "inside"),
            rasterio.open(
                path, "w", crs=crs, transform=stored, nodata=raster["nodata"], **profile, **raster["layout"]
            ) as file,
        ):
            file.write(numbers, 1)
            if raster["mask"] != "none":
                file.write_mask(rng.random((rows, columns)) < 0.7)
        with rasterio.open(path) as file:
            wide = np.float32 if numbers.dtype.itemsize <= 2 or raster["dtype"] == "float32" else np.float64
            right = file.read(1, masked=True).astype(wide).filled(np.nan)
        right = right[:: -1 if up else 1, :: -1 if left else 1]
        chain = opened(path, raster["way"]).max("t")
        window = GeoBox((rows, columns), north_up, crs)
        found = values(chain, window, ENGINE)
        np.testing.assert_array_equal(found, right, err_msg=str(raster))
        check_elsewhere(chain, right, window, raster["seen in"], rng)
        check_point(chain, right, window, rng)
        if raster["seed"] % 50 == 0:
            chain.export(Path(folder) / "out.tif", window, progress=False).wait(120)
            with rasterio.open(Path(folder) / "out.tif") as file:
                np.testing.assert_array_equal(file.read(1), right, err_msg=str(raster))


def opened(path: Path, way: str) -> ml.Collection:
    if way == "catalog add":
        report = add([path], catalog=path.parent / "catalogue", collection="c", date="2020-06-01")
        assert not report.failed, report
        return ml.collection("c", ml.open_catalog(str(path.parent / "catalogue"))).band("b1")
    bare = {
            "type": "Feature", "stac_version": "1.0.0", "id": "bare", "collection": "c", "links": [],
            "geometry": None, "properties": {"datetime": "2020-06-01T00:00:00Z"},
            "assets": {"b1": {"href": path.name}},
        }  # fmt: skip
    (path.parent / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": [bare]}))
    return ml.collection("c", ml.open_catalog(str(path.parent / "items.json"))).band("b1")


NEAR_AN_EDGE = 0.1
"""Pixels from the edge of one within which another way of computing places may choose its neighbour."""


def check_elsewhere(chain: ml.Chain, right: np.ndarray, window: GeoBox, crs: str, rng: np.random.Generator) -> None:
    """A window of another system, finer than the raster both ways, shows its nearest pixels."""
    rows, columns = right.shape
    to = Transformer.from_crs(window.crs, crs, always_xy=True)
    x, y = to.transform(*(window.affine @ (columns / 2, rows / 2)))
    beside, below = (to.transform(*(window.affine @ (columns / 2 + a, rows / 2 + b))) for a, b in ((1, 0), (0, 1)))
    step = 0.9 * min(float(np.hypot(u - x, v - y)) for u, v in (beside, below))
    if not np.isfinite([x, y, step]).all() or (crs == "EPSG:3857" and abs(y) > 1.5e7) or step > 1e5:
        return  # nothing of it is there
    there = GeoBox((24, 24), Affine(step, 0, x - 12.3 * step, 0, -step, y + 12.3 * step), crs)
    found = values(chain, there, ENGINE)
    cols, lines = np.meshgrid(np.arange(24) + 0.5, np.arange(24) + 0.5)
    xs, ys = there.affine @ (cols, lines)
    back = Transformer.from_crs(crs, window.crs, always_xy=True).transform(xs, ys)
    at, line = (np.asarray(b) for b in back)
    if window.crs.geographic:  # the turn around the Earth in which the raster is
        middle = (window.affine @ (columns / 2, rows / 2))[0]
        at = (at - middle + 180) % 360 - 180 + middle
    col, row = ~window.affine @ (at, line)
    if max(np.nanmax(np.hypot(np.diff(col, axis=n), np.diff(row, axis=n))) for n in (0, 1)) > 1:
        return  # beside a pole degrees are so different that the window is coarser somewhere
    sure = np.minimum(abs(col - np.round(col)), abs(row - np.round(row))) > NEAR_AN_EDGE
    inside = (col >= 0) & (col < columns) & (row >= 0) & (row < rows)
    wanted = np.full(found.shape, np.nan)
    wanted[inside] = right[row[inside].astype(int), col[inside].astype(int)]
    np.testing.assert_array_equal(found[sure], wanted[sure])


def check_point(chain: ml.Chain, right: np.ndarray, window: GeoBox, rng: np.random.Generator) -> None:
    row, col = int(rng.integers(right.shape[0])), int(rng.integers(right.shape[1]))
    lon, lat = Transformer.from_crs(window.crs, "EPSG:4326", always_xy=True).transform(
        *(window.affine @ (col + 0.5, row + 0.5))
    )
    if np.isfinite([lon, lat]).all():
        np.testing.assert_array_equal(np.ravel(chain.at(lon, lat).values), right[row, col])


@settings(max_examples=examples(8, 1500), deadline=None, suppress_health_check=list(HealthCheck))
@given(rasters())
def test_any_raster_is_what_rasterio_reads(raster: dict) -> None:
    check(raster)
