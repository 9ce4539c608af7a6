"""The export panel's form in the kernel: what it asks for, what that will be, and the line that does the same."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
import xarray as xr
from PIL import Image

import muses_lab as ml
from muses_lab.errors import ArgumentError, MusesError
from muses_widgets import Map, Places, exporting
from muses_widgets.places.layer import PlacesLayer

pytestmark = pytest.mark.usefixtures("in_threads")

BOUNDS = (1.40, 43.57, 1.43, 43.59)
ZOOM = 12
FIELD = shapely.box(1.405, 43.575, 1.42, 43.585)


@pytest.fixture(scope="module")
def clear(s2: ml.Collection) -> ml.Chain:
    return s2.mask_clouds()


@pytest.fixture
def m(clear: ml.Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Map:
    monkeypatch.chdir(tmp_path)
    m = Map(zoom=ZOOM)
    m.add(clear.ndvi().median("t").style(cmap="RdYlGn", vmin=0, vmax=1, label="NDVI"), name="NDVI")
    m.add(clear.ndvi().over_time("month").style(cmap="RdYlGn", vmin=0, vmax=1), name="Months")
    m.add(clear.bands("B04", "B03", "B02").median("t").style(vmin=0, vmax=0.2), name="Colours")
    return m


def form(m: Map, layer: str = "NDVI", name: str = "out.tif", format: str = "GeoTIFF", **others: Any) -> dict[str, Any]:
    told = {"layer": m.tiles(layer).model_id, "bounds": list(BOUNDS), "zoom": ZOOM, "name": name, "format": format}
    return told | others


def ordered(m: Map, told: dict[str, Any], areas: dict[str, Any] | None = None) -> exporting.Order:
    one = exporting.Form.of(told)
    return exporting.order(one, next(t for t in m.stack() if t.model_id == one.layer), areas or {})


def written(m: Map, told: dict[str, Any], areas: dict[str, Any] | None = None) -> Path:
    """The file of a form, which the line of Python makes, too."""
    order = ordered(m, told, areas)
    path = order.item.export(order.path, order.area, progress=False, **order.options).wait()
    again = path.with_name(f"again-{path.name}")
    line = order.line.replace(repr(str(order.path)), repr(str(again)))
    eval(line, {"ml": ml, "m": m}).wait()
    if path.suffix == ".tif":
        with rasterio.open(path) as one, rasterio.open(again) as two:
            np.testing.assert_array_equal(one.read(), two.read())
            assert one.transform == two.transform
    return path


def told(m: Map, message: dict[str, Any], until: str) -> dict[str, Any]:
    m.panel._handle_custom_msg({"section": "export", **message}, [])
    end = time.monotonic() + 60
    while until not in m.panel.sections["export"] and time.monotonic() < end:
        time.sleep(0.02)
    return m.panel.sections["export"][until]


def test_the_view_as_shown_is_what_the_map_shows(m: Map) -> None:
    path = written(m, form(m))
    shown = m.layer("NDVI").chain.compute(exporting.Form.of(form(m)).shown)
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(1), shown.values)


def test_the_data_s_own_pixels_and_another_grid(m: Map) -> None:
    with rasterio.open(written(m, form(m, grid={"kind": "native"}))) as file:
        assert file.crs.to_epsg() == 32631 and file.res == (10, 10)
    own = {"kind": "own", "crs": "EPSG:2154", "resolution": "20"}
    with rasterio.open(written(m, form(m, name="own.tif", grid=own))) as file:
        assert file.crs.to_epsg() == 2154 and file.res == (20, 20)
    with rasterio.open(written(m, form(m, name="like.tif", grid={"kind": "like", "path": "own.tif"}))) as file:
        assert file.crs.to_epsg() == 2154 and file.res == (20, 20)


def test_an_area_of_the_map_and_one_of_a_file(m: Map, tmp_path: Path) -> None:
    areas = {"Field": FIELD.__geo_interface__, "Other": shapely.box(5, 5, 6, 6).__geo_interface__}
    drawn = written(m, form(m, area={"kind": "places", "names": ["Field"]}, grid={"kind": "native"}), areas)
    (tmp_path / "field.geojson").write_text(json.dumps(FIELD.__geo_interface__))
    file = {"kind": "file", "path": "field.geojson"}
    of_file = written(m, form(m, name="file.tif", area=file, grid={"kind": "native"}))
    with rasterio.open(drawn) as one, rasterio.open(of_file) as two:
        np.testing.assert_array_equal(one.read(), two.read())
        assert one.bounds == two.bounds and np.isnan(one.read(1)).any(), "pixels outside are missing"


def test_dates_and_bands(m: Map, clear: ml.Chain) -> None:
    months = m.tiles("Months").over.over
    path = written(m, form(m, "Months", "all.nc", "NetCDF", dates={"kind": "all"}))
    with xr.open_dataset(path) as file:
        assert file.sizes["t"] == len(months) > 1
    with rasterio.open(written(m, form(m, "Months"))) as file:
        shown = m.layer("Months").chain.compute(exporting.Form.of(form(m)).shown)
        np.testing.assert_array_equal(file.read(1), shown.values)
    with rasterio.open(written(m, form(m, "Colours", "two.tif", bands=["B03", "B02"]))) as file:
        assert file.descriptions == ("B03", "B02")


def test_pictures_and_animations(m: Map) -> None:
    bare = written(m, form(m, name="bare.png", format="PNG", options={"decoration": False, "fps": 2}))
    shown = exporting.Form.of(form(m)).shown
    with Image.open(bare) as picture:
        assert picture.size == (shown.shape.x, shown.shape.y)
    film = written(m, form(m, "Months", "film.gif", "GIF", dates={"kind": "all"}, options={"fps": 4}))
    with Image.open(film) as picture:
        assert picture.n_frames == len(m.tiles("Months").over)


def test_tables_of_areas_are_those_that_python_gives(m: Map, tmp_path: Path) -> None:
    areas = {"Field": FIELD.__geo_interface__, "Other": shapely.box(1.42, 43.575, 1.425, 43.58).__geo_interface__}
    drawn = {"kind": "places", "names": ["Field", "Other"]}
    asked = form(m, "Months", "areas.csv", "CSV", area=drawn, dates={"kind": "all"}, options={"stats": ["mean", "q90"]})
    table = pd.read_csv(written(m, asked, areas))
    assert len(table) == 2 * len(m.tiles("Months").over) and set(table["name"]) == {"Field", "Other"}
    assert {"mean", "q90"} <= set(table) and "median" not in table
    estimate = exporting.estimated(ordered(m, asked, areas), exporting.Form.of(asked).shown)
    assert estimate == {"areas": 2, "dates": len(m.tiles("Months").over)}
    (tmp_path / "field.geojson").write_text(json.dumps(FIELD.__geo_interface__))
    four = ["mean", "median", "q10", "q90"]
    of_file = {"kind": "file", "path": "field.geojson"}
    one = form(m, name="field.parquet", format="Parquet", area=of_file, options={"stats": four})
    assert ordered(m, one).line == "m.layer('NDVI').export('field.parquet', 'field.geojson')"
    assert set(four) <= set(pd.read_parquet(written(m, one)))


def test_an_array_in_the_kernel_is_a_line_of_python(m: Map) -> None:
    asked = form(m, format="array", grid={"kind": "native"})
    order = ordered(m, asked)
    assert order.path is None and order.line.startswith("values = m.layer('NDVI').chain.compute((1.4, ")
    names: dict[str, Any] = {"m": m, "ml": ml}
    exec(order.line, names)
    assert names["values"].rio.crs.to_epsg() == 32631
    estimate = exporting.estimated(order, exporting.Form.of(asked).shown)
    assert (estimate["height"], estimate["width"]) == names["values"].shape
    assert estimate["bytes"] == names["values"].nbytes
    exec(ordered(m, form(m, "Months", "", "array", dates={"kind": "all"})).line, names)
    assert names["values"].sizes["t"] == len(m.tiles("Months").over)
    m.panel._handle_custom_msg({"section": "export", "do": "export", "form": asked}, [])
    assert "an array is made in a cell" in m.panel.sections["export"]["text"]


def test_a_logo_and_the_values_of_polygons(m: Map, tmp_path: Path, clear: ml.Chain) -> None:
    Image.new("RGB", (40, 40), (255, 0, 255)).save(tmp_path / "logo.png")
    sheet = written(m, form(m, name="sheet.png", format="PNG", options={"decoration": True, "logo": "logo.png"}))
    with Image.open(sheet) as picture:
        colours = picture.convert("RGB").getcolors(1 << 24) or []
    assert (255, 0, 255) in {colour for _, colour in colours}
    m.add((clear.ndvi().median("t") > 0.5).style(classes={0: ("bare", "tan"), 1: ("green", "green")}), name="Kind")
    green = form(m, "Kind", "green.gpkg", "GeoPackage", grid={"kind": "native"}, options={"values": ["1"]})
    assert ordered(m, green).line.endswith("values=[1.0])")
    assert set(ml.vectors(written(m, green)).table()["value"]) == {1}


def test_what_the_quota_refuses_is_seen_before(m: Map, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSES_EXPORT_SECONDS", "0")
    estimate = told(m, {"do": "estimate", "asked": 1, "form": form(m)}, "estimate")
    assert "this export would take about" in estimate["error"] and estimate["line"].startswith("m.layer('NDVI')")
    monkeypatch.setenv("MUSES_MAX_COMPUTE_BYTES", "1000")
    with pytest.raises(MusesError, match="the result would have"):
        exporting.estimated(ordered(m, form(m, format="array")), exporting.Form.of(form(m)).shown)


@pytest.mark.parametrize(
    ("others", "why"),
    [
        ({"name": " "}, "the file has no name yet"),
        ({"area": {"kind": "file", "path": ""}}, "the area is a file that has no name yet"),
        ({"area": {"kind": "places", "names": []}}, "no area is drawn or chosen yet"),
        ({"grid": {"kind": "like", "path": " "}}, "the raster whose grid it takes has no name yet"),
        ({"grid": {"kind": "own", "crs": "EPSG:2154", "resolution": "ten"}}, "the pixel size 'ten' is no number"),
        ({"dates": {"kind": "between", "start": "", "end": ""}}, "neither a first nor a last day"),
        ({"format": "CSV"}, "'out.tif' is not the name of a CSV: it ends in .csv"),
        ({"format": "CSV", "name": "a.csv", "options": {"stats": ["mean"]}}, "a table is of polygons"),
        ({"format": "CSV", "name": "a.csv", "area": {"kind": "file", "path": "a.gpkg"}}, "no statistic is chosen yet"),
        ({"format": "GeoPackage", "name": "a.gpkg", "options": {"values": ["one"]}}, "the value 'one' is no number"),
        ({"name": "out.xyz"}, "is not the name of a file of the format GeoTIFF"),
    ],
)  # fmt: skip
def test_a_fault_of_the_form_is_told(m: Map, others: dict[str, Any], why: str) -> None:
    with pytest.raises(ArgumentError, match=why):
        ordered(m, form(m, **others))


def test_what_it_will_be_is_told_with_the_line_and_the_difference(m: Map) -> None:
    found = told(m, {"do": "estimate", "asked": 1, "form": form(m)}, "estimate")
    assert found["asked"] == 1 and found["scenes"] > 0 and found["bytes"] > 0 and "error" not in found
    assert found["difference"] == "identical to what you see" and found["line"].startswith("m.layer('NDVI').export(")
    other = told(m, {"do": "estimate", "asked": 2, "form": form(m, grid={"kind": "native"})}, "estimate")
    end = time.monotonic() + 60
    while other["asked"] != 2 and time.monotonic() < end:
        other = m.panel.sections["export"]["estimate"]
    assert "pixels of 10 m" in other["difference"]


def test_an_estimate_of_a_wrong_form_says_why(m: Map) -> None:
    wrong = form(m, grid={"kind": "own", "crs": "EPSG:nonsense", "resolution": "10"})
    assert "nonsense" in told(m, {"do": "estimate", "asked": 1, "form": wrong}, "estimate")["error"]


def test_what_can_be_chosen(m: Map) -> None:
    places = Places()
    places.add(FIELD, name="North field")
    places.add(shapely.Point(1.41, 43.58), name="A point")
    m.add(PlacesLayer(places))
    offer = told(m, {"do": "describe", "layer": m.tiles("Months").model_id}, "offer")
    assert offer["areas"] == ["North field"] and offer["native"] == ["EPSG:32631", 10.0] and len(offer["dates"]) > 1
    assert {"GeoTIFF", "NetCDF", "Zarr", "PNG", "GIF"} <= {one["name"] for one in offer["formats"]}
    still = told(m, {"do": "describe", "layer": m.tiles("Colours").model_id}, "offer")
    assert still["bands"] == ["B04", "B03", "B02"] and "GIF" not in {one["name"] for one in still["formats"]}


def test_the_panel_writes_what_the_form_says(m: Map) -> None:
    m.panel._handle_custom_msg({"section": "export", "do": "export", "form": form(m)}, [])
    end = time.monotonic() + 60
    while m.panel.sections["export"]["state"] in ("running", "paused") and time.monotonic() < end:
        time.sleep(0.02)
    done = m.panel.sections["export"]
    assert done["state"] == "done" and done["name"] == "out.tif" and done["folder"] is False
    assert Path(done["path"]).is_file()


def test_a_layer_that_is_gone_is_an_error_of_the_estimate(m: Map) -> None:
    told_form = form(m)
    m.remove("NDVI")
    with pytest.raises(MusesError):
        m.panel._parts["export"].tiles(told_form["layer"])
