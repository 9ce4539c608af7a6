"""Sentinel-2 L2A as ESA delivers it: what the products' metadata say, and their pixels as reflectance."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from shapely.geometry import shape

import muses_lab as ml
from muses_lab.catalog import Query
from muses_lab.errors import AccessDenied, ReadError
from muses_lab.products import Problem, scenes
from muses_lab.products.deliveries import deliveries, delivery_of
from muses_lab.products.deliveries.sentinel2_safe import DELIVERY
from muses_lab.raster import access
from tests.helpers.made_scenes import window

REAL = Path(os.environ.get("MUSES_TEST_DATA", Path(__file__).parents[2] / "shared" / "data")) / "stactools_sentinel2"
NAME = "S2A_MSIL2A_20230821T105031_N0509_R051_T31TCJ_20230822T021825"
IMAGES = {10: ["B02", "B03", "B04", "B08", "AOT", "WVP"], 20: ["B01", "B02", "B04", "B05", "B06", "B07", "B8A", "B11",
          "B12", "AOT", "WVP", "SCL"], 60: ["B01", "B02", "B04", "B09", "SCL"]}  # fmt: skip
SIZE = 1200  # metres
CORNER = (300000, 4900020)
OFFSETS = "".join(f'<BOA_ADD_OFFSET band_id="{n}">{-1000 - 10 * n}</BOA_ADD_OFFSET>' for n in range(13))

PRODUCT = """<?xml version="1.0"?>
<n1:Level-2A_User_Product xmlns:n1="https://example.org"><n1:General_Info><Product_Info>
<PRODUCT_START_TIME>2023-08-21T10:50:31.024Z</PRODUCT_START_TIME><PRODUCT_URI>{name}.SAFE</PRODUCT_URI>
<PRODUCT_TYPE>S2MSI2A</PRODUCT_TYPE><PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
<GENERATION_TIME>2023-08-22T02:18:25.000000Z</GENERATION_TIME>
<Datatake><SPACECRAFT_NAME>Sentinel-2A</SPACECRAFT_NAME><SENSING_ORBIT_NUMBER>51</SENSING_ORBIT_NUMBER>
<SENSING_ORBIT_DIRECTION>DESCENDING</SENSING_ORBIT_DIRECTION></Datatake>
<Granule_List><Granule imageFormat="JPEG2000">{images}</Granule></Granule_List>
</Product_Info><Product_Image_Characteristics>
<BOA_QUANTIFICATION_VALUE>10000</BOA_QUANTIFICATION_VALUE><AOT_QUANTIFICATION_VALUE>1000</AOT_QUANTIFICATION_VALUE>
<WVP_QUANTIFICATION_VALUE>1000</WVP_QUANTIFICATION_VALUE>
<BOA_ADD_OFFSET_VALUES_LIST>{offsets}</BOA_ADD_OFFSET_VALUES_LIST>
</Product_Image_Characteristics></n1:General_Info>
<EXT_POS_LIST>44.2 0.49 44.2 0.51 44.18 0.51 44.18 0.49 44.2 0.49</EXT_POS_LIST>
<Cloud_Coverage_Assessment>12.5</Cloud_Coverage_Assessment></n1:Level-2A_User_Product>"""

TILE = """<?xml version="1.0"?>
<n1:Level-2A_Tile_ID xmlns:n1="https://example.org">
<TILE_ID>S2A_OPER_MSI_L2A_TL_2APS_20230822T021825_A042640_T31TCJ_N05.09</TILE_ID><Tile_Geocoding>
<HORIZONTAL_CS_CODE>EPSG:32631</HORIZONTAL_CS_CODE>{places}</Tile_Geocoding></n1:Level-2A_Tile_ID>"""


def pixels(band: str, metres: int) -> np.ndarray:
    rng = np.random.default_rng([*band.encode(), metres])
    n = SIZE // metres
    if band == "SCL":
        return rng.integers(0, 12, (n, n), dtype=np.uint8)
    values = rng.integers(1000, 9000, (n, n), dtype=np.uint16)
    values[0, 0] = 0
    return values


def make(folder: Path, name: str = NAME, baseline: str = "05.09", offsets: str = OFFSETS) -> Path:
    """A product of 1.2 km, with images as JPEG 2000 without loss."""
    safe = folder / f"{name}.SAFE"
    granule = "GRANULE/L2A_T31TCJ_A042640_20230821T105031"
    images = []
    for metres, bands in IMAGES.items():
        (safe / granule / "IMG_DATA" / f"R{metres}m").mkdir(parents=True)
        for band in bands:
            image = f"{granule}/IMG_DATA/R{metres}m/T31TCJ_20230821T105031_{band}_{metres}m"
            images.append(f"<IMAGE_FILE>{image}</IMAGE_FILE>")
            values = pixels(band, metres)
            with rasterio.open(
                safe / f"{image}.jp2", "w", driver="JP2OpenJPEG", count=1, height=len(values), width=len(values),
                dtype=values.dtype, crs="EPSG:32631", transform=Affine(metres, 0, CORNER[0], 0, -metres, CORNER[1]),
                QUALITY="100", REVERSIBLE="YES",
            ) as file:  # fmt: skip
                file.write(values, 1)
    places = "".join(
        f'<Size resolution="{m}"><NROWS>{SIZE // m}</NROWS><NCOLS>{SIZE // m}</NCOLS></Size><Geoposition '
        f'resolution="{m}"><ULX>{CORNER[0]}</ULX><ULY>{CORNER[1]}</ULY><XDIM>{m}</XDIM><YDIM>{-m}</YDIM></Geoposition>'
        for m in IMAGES
    )
    (safe / granule / "MTD_TL.xml").write_text(TILE.format(places=places))
    text = PRODUCT.format(name=name, baseline=baseline, images="".join(images), offsets=offsets)
    (safe / "MTD_MSIL2A.xml").write_text(text)
    return safe


def packed(safe: Path, method: int) -> Path:
    path = safe.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", method) as file:
        for member in sorted(safe.rglob("*")):
            file.write(member, member.relative_to(safe.parent))
    shutil.rmtree(safe)
    return path


WINDOW = window(SIZE // 10, SIZE // 10, corner=CORNER)


@pytest.fixture(scope="module")
def safe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("safe"))


@pytest.mark.usefixtures("in_threads")
@pytest.mark.parametrize("how", ["folder", "stored", "deflated", "folder of products"])
def test_bands_are_reflectance(how: str, tmp_path: Path) -> None:
    path = make(tmp_path / "products")
    if how in ("stored", "deflated"):
        path = packed(path, zipfile.ZIP_STORED if how == "stored" else zipfile.ZIP_DEFLATED)
    catalog = ml.open_catalog(path.parent if how == "folder of products" else path)
    s2 = ml.collection("sentinel-2-l2a", catalog)
    found = s2.bands("B02", "B04", "B11", "SCL", "AOT", "B09").compute(WINDOW).squeeze("t")
    for band, metres, scale, offset in (
        ("B02", 10, 1e-4, -0.101), ("B04", 10, 1e-4, -0.103), ("B11", 20, 1e-4, -0.111), ("SCL", 20, 1, 0),
        ("AOT", 20, 1e-3, 0), ("B09", 60, 1e-4, -0.109),
    ):  # fmt: skip
        stored = pixels(band, metres)
        expected = (
            np.where(stored == 0, np.nan, stored * scale + offset).repeat(metres // 10, 0).repeat(metres // 10, 1)
        )
        assert np.allclose(found.sel(bands=band).values, expected, rtol=0, atol=1e-6, equal_nan=True), band
    ndvi = s2.mask_clouds().ndvi().median("t").compute(WINDOW).values
    red, nir = (pixels("B04", 10) * 1e-4 - 0.103), (pixels("B08", 10) * 1e-4 - 0.107)
    clear = np.isin(pixels("SCL", 20), (4, 5, 6, 7, 11)).repeat(2, 0).repeat(2, 1) & (pixels("B04", 10) > 0)
    assert np.allclose(ndvi, np.where(clear, (nir - red) / (nir + red), np.nan), atol=1e-5, equal_nan=True)


def test_bands_and_properties(safe: Path) -> None:
    catalog = ml.open_catalog(safe)
    (item,) = catalog.search(Query("sentinel-2-l2a", filter="eo:cloud_cover < 13"))
    problems: list[Problem] = []
    found = scenes([item], catalog.collection("sentinel-2-l2a"), catalog.id, problems)
    assert not problems
    assert [band.name for band in found.bands] == [
        "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12", "SCL", "AOT", "WVP",
    ]  # fmt: skip
    assert {b.name: b.resolution for b in found.bands if b.name in ("B01", "B04", "SCL", "AOT")} == {
        "B01": 60, "B04": 10, "SCL": 20, "AOT": 20,
    }  # fmt: skip
    (scene,) = found.scenes
    assert (scene.id, scene.datetime, scene.cloud_cover) == (NAME, "2023-08-21T10:50:31.024000Z", 12.5)
    assert (scene.grid, scene.platform, scene.baseline) == ("MGRS-31TCJ", "sentinel-2a", "05.09")
    assert (scene.relative_orbit, scene.orbit_state) == (51, "descending")
    assert not catalog.search(Query("sentinel-2-l2a", end="2023-08-21"))
    assert str(safe.parent) not in json.dumps(found.to_json()), "no path of this machine"


@pytest.mark.parametrize(
    ("baseline", "offsets", "offset"), [("02.14", "", 0.0), ("03.01", "", 0.0), ("04.00", "", -0.1),
                                        ("04.00", OFFSETS, -0.103)],
)  # fmt: skip
def test_offsets_follow_the_baseline(tmp_path: Path, baseline: str, offsets: str, offset: float) -> None:
    catalog = ml.open_catalog(make(tmp_path, baseline=baseline, offsets=offsets))
    found = scenes(catalog.search(Query("sentinel-2-l2a")), catalog.collection("sentinel-2-l2a"), catalog.id)
    asset, band = found.scenes[0].assets["B04"], next(b for b in found.bands if b.name == "B04")
    assert (band.offset if asset.offset is None else asset.offset) == pytest.approx(offset)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("GRANULE/L2A_T31TCJ_A042640_20230821T105031/IMG_DATA/R10m/T31TCJ_20230821T105031_B02",
         "GRANULE/../../../../etc/T31_B02", "not in the folder of a tile"),
        ("GRANULE/L2A_T31TCJ_A042640_20230821T105031/IMG_DATA/R10m/T31TCJ_20230821T105031_B02", "/etc/x/y/z_B02",
         "not in the folder of a tile"),
        ('<?xml version="1.0"?>', '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>',
         "MTD_MSIL2A.xml is not XML that can be read"),
        ("Cloud_Coverage_Assessment", "Cloud", "no Cloud_Coverage_Assessment"),
        ("<BOA_QUANTIFICATION_VALUE>10000", "<BOA_QUANTIFICATION_VALUE>0", "BOA_QUANTIFICATION_VALUE is 0"),
        ('band_id="3"', 'band_id="33"', "none of B04"),
        ("JPEG2000", "VRT", "format 'VRT'"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said(safe: Path, tmp_path: Path, old: str, new: str, why: str) -> None:
    bad = tmp_path / safe.name
    shutil.copytree(safe, bad)
    main = bad / "MTD_MSIL2A.xml"
    main.write_text(main.read_text().replace(old, new))
    with pytest.raises(ReadError, match=why):
        DELIVERY.item(bad)


def test_one_that_is_still_copied_is_read_when_it_is_whole(safe: Path, tmp_path: Path) -> None:
    product = tmp_path / safe.name
    shutil.copytree(safe, product)
    (tile,) = product.glob("GRANULE/*/MTD_TL.xml")
    text = tile.read_text()
    tile.unlink()
    with pytest.raises(ReadError, match="MTD_TL.xml"):
        ml.open_catalog(str(product)).collections()
    tile.write_text(text)
    assert [c["id"] for c in ml.open_catalog(str(product)).collections()] == ["sentinel-2-l2a"]


def test_links_out_of_the_product_are_not_followed(safe: Path, tmp_path: Path) -> None:
    bad = tmp_path / safe.name
    shutil.copytree(safe, bad)
    shutil.move(bad / "MTD_MSIL2A.xml", tmp_path / "elsewhere.xml")
    os.symlink(tmp_path / "elsewhere.xml", bad / "MTD_MSIL2A.xml")
    with pytest.raises(ReadError, match="MTD_MSIL2A.*link|link"):
        ml.open_catalog(bad).search(Query("sentinel-2-l2a"))
    image = next(bad.rglob("*B04_10m.jp2"))
    shutil.copy(safe / "MTD_MSIL2A.xml", tmp_path / "copy.xml")
    (bad / "MTD_MSIL2A.xml").unlink()
    shutil.move(tmp_path / "copy.xml", bad / "MTD_MSIL2A.xml")
    shutil.move(image, tmp_path / "B04.jp2")
    os.symlink(tmp_path / "B04.jp2", image)
    problems: list[Problem] = []
    catalog = ml.open_catalog(bad)
    found = scenes(catalog.search(Query("sentinel-2-l2a")), catalog.collection("sentinel-2-l2a"), catalog.id, problems)
    with pytest.raises(AccessDenied, match="outside|link"):
        access.resolve_href(catalog.id, image.relative_to(bad).as_posix())
    assert "B02" in found.scenes[0].assets


def test_it_is_found_by_its_name() -> None:
    assert DELIVERY in deliveries()
    for name in (f"{NAME}.SAFE", f"{NAME}.zip", f"{NAME}.SAFE.zip", f"{NAME}.safe"):
        assert delivery_of(Path("/data") / name) is DELIVERY
    for name in (NAME, f"{NAME.replace('L2A', 'L1C')}.SAFE", f"{NAME}.tar", "a.zip", f"{NAME}.SAFE.zip.part"):
        assert delivery_of(Path("/data") / name) is not DELIVERY


REAL_PRODUCTS = sorted(REAL.glob("S2*_MSIL2A_*.SAFE")) + sorted(REAL.glob("esa_*.SAFE"))


@pytest.mark.skipif(not REAL_PRODUCTS, reason=f"no real products in {REAL}")
@pytest.mark.parametrize("path", REAL_PRODUCTS, ids=lambda path: path.name[:30])
def test_real_metadata_say_what_stactools_says(path: Path) -> None:
    item = DELIVERY.item(path)
    expected = json.loads((path / "expected_output.json").read_text("utf-8"))
    said: dict[str, Any] = expected["properties"]
    for name in ("eo:cloud_cover", "grid:code", "platform", "s2:processing_baseline", "s2:product_uri",
                 "sat:relative_orbit", "sat:orbit_state", "s2:product_type"):  # fmt: skip
        assert item["properties"][name] == said[name], name
    assert item["properties"]["datetime"].rstrip("Z") == said["datetime"].rstrip("Z").ljust(19)[:23]
    there = {Path(asset["href"]).name: asset for asset in expected["assets"].values()}
    compared = 0
    for band, asset in item["assets"].items():
        theirs = there[Path(asset["href"]).name]
        assert asset["proj:transform"] == theirs["proj:transform"][:6] and asset["proj:shape"] == theirs["proj:shape"]
        (mine,), raster = asset["bands"], theirs.get("raster:bands", [{}])[0]
        if band.startswith("B") and "scale" in raster:
            assert mine["raster:scale"] == pytest.approx(raster["scale"])
            assert mine.get("raster:offset", 0) == pytest.approx(raster.get("offset", 0))
            compared += 1
    assert compared >= 11
    overlap = shape(item["geometry"]).intersection(shape(expected["geometry"])).area
    assert overlap == pytest.approx(shape(expected["geometry"]).area, rel=1e-3)
