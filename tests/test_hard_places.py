"""Places where a panel could go wrong: outside, at borders, over nodata, across the antimeridian, thousands at once."""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import geopandas
import numpy as np
import pyproj
import pytest
import rasterio
import shapely

import muses_lab as ml
from muses_lab.catalog.register import add
from muses_lab.zonal.parts import OutsideData
from muses_widgets import Map, ParcelsPanel, SeriesPanel
from muses_widgets.series import panel as series_panel
from tests.helpers.made_scenes import Made
from tests.helpers.made_stacks import CRS, ORIGIN, stack
from tests.test_over import two_zones

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("in_threads"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
LONLAT = pyproj.Transformer.from_crs(CRS, 4326, always_xy=True)


def panel_of(chain: ml.Chain) -> SeriesPanel:
    m = Map()
    m.add(chain.style(vmin=0, vmax=1), name="Values")
    return settled(SeriesPanel(m, "Values"))


def settled(panel: SeriesPanel) -> SeriesPanel:
    end = time.monotonic() + 240
    while panel._newest._working:
        assert time.monotonic() < end, panel.told
        time.sleep(0.02)
    return panel


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, ml.Chain]:
    """Two dates of 600 × 600 pixels, more than a block; the first fifty columns have no data on the second date."""
    values = np.random.default_rng(4).normal(size=(2, 1, 600, 600)).astype(np.float32)
    values[1, :, :, :50] = np.nan
    return values, stack(values, tmp_path_factory.mktemp("blocks"), bands=("B4",)).band("B4")


@pytest.mark.parametrize(("row", "column"), [(511, 511), (512, 512), (511, 512), (0, 0), (599, 599), (300, 20)])
def test_pixels_at_borders_of_blocks_and_without_data_are_those_of_the_array(blocks, row: int, column: int) -> None:
    values, chain = blocks
    panel = panel_of(chain.max("t"))
    panel.look_at(*LONLAT.transform(ORIGIN[0] + 10 * column + 5, ORIGIN[1] - 10 * row - 5))
    settled(panel)
    assert panel.told["state"] == "ok", panel.told
    np.testing.assert_array_equal(panel.table().sort_values("date")["value"], values[:, 0, row, column])


def test_a_place_outside_is_told_and_a_polygon_that_reaches_outside_is_right(blocks) -> None:
    values, chain = blocks
    panel = panel_of(chain.max("t"))
    panel.look_at(30, 10)
    assert settled(panel).plot == {"text": "No series has a value here."} and panel.told["state"] == "ok"
    x, y = ORIGIN
    corners = [LONLAT.transform(x + 10 * i, y - 10 * j) for i, j in ((550, 550), (650, 550), (650, 650), (550, 650))]
    panel.look_at(shapely.Polygon(corners))
    settled(panel)
    expected = values[:, 0, 550:, 550:].mean(axis=(1, 2))
    np.testing.assert_allclose(panel.table().sort_values("date")["mean"], expected, rtol=1e-3, atol=1e-3)
    assert panel.table()["count"].to_numpy() == pytest.approx(2500, rel=1e-2)


def test_on_the_border_of_two_zones_a_place_has_one_value_each_date(made: Made) -> None:
    chain = two_zones(made)
    panel = panel_of(chain.max("t"))
    for lon in (-0.001, 0.0, 0.001):
        panel.look_at(lon, 43.498)
        rows = settled(panel).table()
        assert panel.told["state"] == "ok" and rows["value"].dropna().unique().tolist() == [7.0], (lon, panel.told)
    panel.look_at(shapely.box(-0.004, 43.497, 0.004, 43.499))
    assert settled(panel).table()["mean"].dropna().unique().tolist() == [7.0]


def test_a_polygon_that_crosses_itself_is_repaired_and_told(blocks, monkeypatch) -> None:
    _, chain = blocks
    panel = panel_of(chain.max("t"))
    x, y = ORIGIN[0] + 1200, ORIGIN[1] - 1200
    bow = [LONLAT.transform(*at) for at in ((x, y), (x + 100, y + 100), (x + 100, y), (x, y + 100))]
    shape = {"type": "Polygon", "coordinates": [[*bow, bow[0]]]}
    told: list[str] = []
    monkeypatch.setattr(panel.map.panel, "show_problem", told.append)
    panel._tools.data = [{"type": "Feature", "properties": {}, "geometry": shape}]
    settled(panel)
    assert panel.told["state"] == "ok", panel.told
    assert panel.table()["count"].to_numpy() == pytest.approx(50, rel=1e-2)
    assert len(told) == 1 and "was not valid" in told[0]


@pytest.fixture(scope="module")
def fiji(tmp_path_factory: pytest.TempPathFactory) -> ml.Chain:
    """A square kilometre through whose middle 180° runs."""
    folder: Path = tmp_path_factory.mktemp("fiji")
    x, y = pyproj.Transformer.from_crs(4326, "EPSG:32701", always_xy=True).transform(180, -17)
    transform = rasterio.transform.from_origin(round(x - 500, -1), round(y + 500, -1), 10, 10)
    with rasterio.open(folder / "fiji.tif", "w", driver="GTiff", height=100, width=100, count=1, dtype="float32",
                       crs="EPSG:32701", transform=transform) as file:  # fmt: skip
        file.write(np.arange(1e4, dtype=np.float32).reshape(100, 100), 1)
    add([folder / "fiji.tif"], catalog=folder / "catalogue", collection="fiji", date="2020-01-01")
    return ml.collection("fiji", ml.open_catalog(str(folder / "catalogue")))


def test_places_and_polygons_across_the_antimeridian(fiji: ml.Chain) -> None:
    panel = panel_of(fiji.max("t"))
    values: list[float] = []
    for lon in (179.998, 180.0, -179.998, 180.002):  # the last two are one place
        panel.look_at(lon, -17)
        assert settled(panel).told["state"] == "ok", (lon, panel.told)
        values += panel.table()["value"].tolist()
    columns = [value % 100 for value in values]  # of a row or its neighbour: the grid is not quite parallel
    assert values[2] == values[3] and columns[0] < columns[1] < columns[2], values
    beyond = shapely.geometry.mapping(shapely.box(179.997, -17.002, 180.002, -17))
    panel._tools.data = [{"type": "Feature", "properties": {}, "geometry": beyond}]  # as somebody draws it
    table = settled(panel).table()
    expected = fiji.over(shapely.box(179.997, -17.002, 180.002, -17), stats=["mean", "count"]).array.values.ravel()
    assert table["mean"].tolist() == pytest.approx([expected[0]], rel=1e-6)
    assert table["count"].tolist() == pytest.approx([expected[1]], rel=1e-6)


def test_of_thousands_of_places_the_first_are_plotted_and_it_is_said(blocks, monkeypatch) -> None:
    _, chain = blocks
    monkeypatch.setattr(series_panel, "MOST", 5)
    panel = panel_of(chain.max("t"))
    x, y = ORIGIN
    at = [(x + 100 * i, y - 100 * j) for i in range(50) for j in range(24)]
    squares = [shapely.box(west, north - 50, west + 50, north) for west, north in at]
    fields = {"name": [f"Field {n}" for n in range(1200)]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutsideData)
        panel.places.extend(geopandas.GeoDataFrame(fields, geometry=squares, crs=CRS))
        settled(panel)
        assert panel.told == {"state": "ok", "text": panel._told_of_many()}
        assert panel.told["text"].startswith("The first 5 of 1200 places are plotted")
        assert len(panel.kept) == 1200 and panel.table()["place_name"].nunique() == 5
        panel.filter = "name = 'Field 1199'"
        assert settled(panel).table()["place_name"].unique().tolist() == ["Field 1199"] and panel.told["text"] == ""
        parcels = ParcelsPanel(panel.map, panel.places)
        parcels.wait()
    assert len(parcels.names) == 1200 and np.isfinite(np.array(parcels.values["columns"]["mean"], float)).all()
