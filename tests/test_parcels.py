"""The panel of parcels: what its kernel computes, tells and writes is what `.over()` gives."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely
from bokeh.document import Document
from bokeh.models import NoOverlap, Patch, Scatter, Segment

import muses_lab as ml
from muses_lab.errors import ArgumentError, NotFound
from muses_widgets import Map, ParcelsPanel, Places
from muses_widgets.parcels import panel as parcels_panel
from tests.helpers.made_stacks import CRS, ORIGIN

pytestmark = pytest.mark.usefixtures("in_threads")

STATS = ("mean", "median", "q10", "q90")


def fields(*extra: shapely.Geometry) -> geopandas.GeoDataFrame:
    """Twelve squares on the stack, then those that are given."""
    x, y = ORIGIN
    squares = [shapely.box(x + 33 + 90 * i, y - 120 - 80 * j, x + 90 + 90 * i, y - 60 - 80 * j)
               for j in range(3) for i in range(4)]  # fmt: skip
    shapes = [*squares, *extra]
    crops = ["wheat" if n % 2 else "maize" for n in range(len(shapes))]
    return geopandas.GeoDataFrame(
        {"name": [f"Field {n}" for n in range(len(shapes))], "crop": crops}, geometry=shapes, crs=CRS
    )


def shown_on(m: Map | None, masked: ml.Chain, polygons: Any, **options: Any) -> ParcelsPanel:
    panel = ParcelsPanel(m, polygons, **({"chain": masked} if m is None else {}), **options)
    panel.wait()
    return panel


@pytest.fixture
def m(masked: ml.Chain) -> Map:
    found = Map()
    found.add(masked.median("t").style(cmap="RdYlGn", vmin=-0.2, vmax=1, label="NDVI"), name="NDVI")
    return found


def until(condition: Any) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def drawn(panel: ParcelsPanel, glyph: type) -> dict[str, Any]:
    """The data of the first glyph of a kind in the chart, as the browser gets them."""
    (root,) = Document.from_json(json.loads(panel.series["item"])["doc"]).roots
    found = [r.data_source.data for plot in root.children for r in plot.renderers if isinstance(r.glyph, glyph)]
    return found[0]


# ------------------------------------------------------------------------------------------------------ numbers


def test_the_chart_the_table_the_files_and_over_have_the_same_digits(m: Map, masked: ml.Chain, tmp_path: Path) -> None:
    polygons = fields()
    panel = shown_on(m, masked, polygons)
    expected = masked.over(polygons, stats=list(STATS)).table
    panel.choose(5)
    until(lambda: panel.series.get("number") == 5)
    of_one = expected[expected.feature == 5]
    valid = of_one[of_one["mean"].notna()]
    dots = drawn(panel, Scatter)
    np.testing.assert_array_equal(dots["optical"], valid["mean"].to_numpy())
    np.testing.assert_array_equal(np.array(dots["date"]) * 1e6, valid["date"].to_numpy().astype("M8[ns]").astype(float))
    assert list(dots["scene"]) == valid["scene"].tolist()
    (edge,) = [np.array(one) for name, one in drawn(panel, Patch).items() if name not in ("date", "x", "xs")]
    assert sorted(edge) == sorted([*valid["q10"], *valid["q90"]])
    bars = drawn(panel, Segment)
    np.testing.assert_array_equal(bars["count"], of_one["count"].to_numpy())
    for date in (0, 20, 67):
        panel.date = date
        rows = expected[expected.date == expected.date.unique()[date]]
        for name in (*STATS, "count", "share"):
            told = np.array(panel.values["columns"][name], float)  # None → NaN
            np.testing.assert_array_equal(told, rows[name].to_numpy(), err_msg=name)
    for path in ("p.csv", "p.parquet", "p.gpkg"):
        written = panel.export(tmp_path / path)
        if path.endswith("csv"):
            read = pd.read_csv(written, float_precision="round_trip")
        elif path.endswith("gpkg"):
            read = pyogrio.read_dataframe(written, layer="series", read_geometry=False)
            assert geopandas.read_file(written, layer="features").name.tolist() == polygons.name.tolist()
        else:
            read = geopandas.read_parquet(written)
        for name in (*STATS, "count"):
            np.testing.assert_array_equal(read[name].to_numpy(float), expected[name].to_numpy())


def test_labels_of_dates_do_not_lie_on_each_other_on_a_narrow_page(m, masked):
    panel = shown_on(m, masked, fields())
    panel.choose(0)
    until(lambda: panel.series.get("item"))
    (root,) = Document.from_json(json.loads(panel.series["item"])["doc"]).roots
    policies = [axis.major_label_policy for plot in root.children for axis in plot.xaxis]
    assert len(policies) == 2 and all(isinstance(policy, NoOverlap) for policy in policies)


def test_small_plots_are_the_same_numbers(m: Map, masked: ml.Chain) -> None:
    panel = shown_on(m, masked, fields())
    panel._handle_custom_msg({"do": "small", "numbers": [3, 7]}, [])
    told = {one["number"]: one for one in panel.small["parcels"]}
    values = panel.found.array.sel(feature=7)
    for name, statistic in (("line", "mean"), ("low", "q10"), ("high", "q90")):
        np.testing.assert_array_equal(np.array(told[7][name], float), values.sel(statistic=statistic).values)
    assert list(told) == [3, 7]


# -------------------------------------------------------------------------------------------------------- state


def test_it_says_what_it_shows(m: Map, masked: ml.Chain) -> None:
    panel = shown_on(m, masked, fields())
    status = panel.status()
    assert (status["state"], status["parcels"], status["done"], status["statistic"]) == ("ok", 12, 12, "mean")
    assert status["notes"] == [] and status["date"] == panel.dates[panel.date]
    assert repr(panel) == "<ParcelsPanel of 12 parcels, 68 dates; ok>"
    assert [column["title"] for column in panel.columns] == [
        "crop", "mean", "median", "10 %", "90 %", "valid pixels", "valid share",
    ]  # fmt: skip
    assert panel.quantity == "NDVI"
    (layer,) = m.others
    assert layer.name == "Parcels" and len(layer.data["features"]) == 12
    assert m.panel.sections["parcels"]["panels"] == [{"panel": panel.model_id, "layer": layer.model_id}]


def test_its_colours_are_the_layer_s_and_the_same_for_all_dates(m: Map, masked: ml.Chain) -> None:
    panel = shown_on(m, masked, fields())
    mean, share = panel.legends["mean"], panel.legends["share"]
    assert (mean["vmin"], mean["vmax"], mean["label"]) == (-0.2, 1, "mean NDVI")
    assert (share["vmin"], share["vmax"]) == (0, 1)
    before = panel.legends
    panel.date = 3
    assert panel.legends == before
    m.add(masked.median("t").style(cmap="viridis", vmin=0, vmax=0.5, label="NDVI"), name="NDVI")
    assert panel.legends["mean"]["vmax"] == 0.5 and panel.told["state"] == "ok"


def test_it_follows_the_map_s_bar_of_dates_until_another_date_is_chosen(m: Map, masked: ml.Chain) -> None:
    panel = shown_on(m, masked, fields())
    before = panel.date
    assert panel.follows  # and there is no bar: the fullest date
    m.add(masked.over_time().style(label="NDVI"), name="NDVI")
    assert panel.wait() is not None
    m.date = "2016-08-05"
    assert panel.dates[panel.date].startswith("2016-08-04")
    m.date = "2016-08-14"
    assert panel.dates[panel.date].startswith("2016-08-14")
    m.date = None
    assert panel.date == 67  # the newest, as the map shows
    panel.follows, panel.date = False, before
    m.date = "2016-08-05"
    assert panel.date == before
    panel.follows = True
    assert panel.dates[panel.date].startswith("2016-08-04")


def test_values_of_the_former_layer_are_neither_shown_nor_exported(
    m: Map, masked: ml.Chain, monkeypatch, tmp_path
) -> None:
    panel = shown_on(m, masked, fields())
    panel.choose(3)
    until(lambda: panel.series.get("number") == 3)
    reached, go = threading.Event(), threading.Event()

    def broken(*args: Any) -> Any:
        reached.set()
        go.wait(60)
        raise OSError("the disk is gone")

    monkeypatch.setattr(parcels_panel, "zonal_series", broken)
    m.add((masked * 100).median("t").style(label="NDVI", unit="%"), name="NDVI")
    assert reached.wait(60) and panel.told["state"] == "working"
    with pytest.raises(NotFound, match="still computing"):
        panel.export(tmp_path / "former.csv")
    go.set()
    until(lambda: panel.told["state"] == "failed")
    assert panel.values == panel.legends == panel.series == panel.small == {} and panel.notes == []
    with pytest.raises(NotFound, match="the disk is gone"):
        panel.export(tmp_path / "former.csv")
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    panel.compute()
    assert panel.wait() is not None and panel.values["columns"]["mean"]


def test_a_parcel_that_is_chosen_no_longer_gets_no_plot(m: Map, masked: ml.Chain, monkeypatch) -> None:
    panel = shown_on(m, masked, fields())
    reached, go = threading.Event(), threading.Event()
    real = parcels_panel.bokehplots.item

    def slow(drawn: Any) -> str:
        reached.set()
        go.wait(60)
        return real(drawn)

    monkeypatch.setattr(parcels_panel.bokehplots, "item", slow)
    panel.choose(3)
    assert reached.wait(60)
    panel.chosen = -1
    go.set()
    until(lambda: not panel._plots._working)
    assert panel.series == {}


def test_the_polygons_of_kept_places_are_parcels(m: Map, masked: ml.Chain) -> None:
    places = Places()
    with pytest.raises(ArgumentError, match="has no polygon"):
        shown_on(m, masked, places)
    kept = places.extend(fields())
    places.add(shapely.Point(kept[0].point), "A point")
    panel = shown_on(m, masked, places)
    assert panel.names == [place.name for place in kept] and "a:crop" in panel.attributes
    expected = shown_on(m, masked, fields()).values["columns"]
    np.testing.assert_allclose(
        np.array(panel.values["columns"]["mean"], float), np.array(expected["mean"], float), rtol=1e-5
    )


def test_it_follows_its_layer(m: Map, masked: ml.Chain) -> None:
    panel = shown_on(m, masked, fields())
    first = panel.found
    m.add((masked * 100).median("t").style(label="NDVI", unit="%"), name="NDVI")
    assert panel.wait() is not first
    np.testing.assert_allclose(panel.found.found.values, first.found.values * 100, rtol=1e-5)
    assert panel.quantity == "NDVI (%)"


def test_a_newer_request_ends_the_one_under_way_and_so_does_cancel(m: Map, masked: ml.Chain, monkeypatch) -> None:
    counts: list[int] = []
    reached, go = threading.Event(), threading.Event()
    real = parcels_panel.zonal_series

    def slow(*args: Any) -> Any:
        *head, heard, unit, label = args

        def told(done: int, of: int) -> None:
            counts.append(done)
            if done == 2 and not go.is_set():
                reached.set()
                go.wait(60)
            heard(done, of)

        return real(*head, told, unit, label)

    monkeypatch.setattr(parcels_panel, "zonal_series", slow)
    panel = ParcelsPanel(m, fields())
    assert reached.wait(60)
    assert panel.told["state"] == "working" and panel.told["total"] == 12
    panel.compute()
    go.set()
    panel.wait()
    until(lambda: panel.told["state"] == "ok")
    assert counts == [1, 2, *range(1, 13)]  # the first ended where it was
    go.clear()
    reached.clear()
    panel.compute()
    assert reached.wait(60)
    panel._handle_custom_msg({"do": "cancel"}, [])
    go.set()
    until(lambda: panel.told["state"] == "cancelled")
    assert "older values" in panel.told["text"] and panel.found is not None


def test_a_cell_that_is_run_again_replaces_the_parcels_on_the_map(m: Map, masked: ml.Chain) -> None:
    first = shown_on(m, masked, fields())
    other = shown_on(m, masked, fields(), title="Others")
    again = shown_on(m, masked, fields())
    assert [layer.owner for layer in m.others] == [other, again]
    assert [one["panel"] for one in m.panel.sections["parcels"]["panels"]] == [other.model_id, again.model_id]
    before = first.date
    first.follows = True
    m.date = "2016-08-04"
    assert again.dates[before] == first.dates[before] and first.layer not in m.layers


# ----------------------------------------------------------------------------------------- polygons of all kinds


def test_polygons_outside_over_edges_and_that_cross_themselves_are_right_or_told(m: Map, masked: ml.Chain) -> None:
    x, y = ORIGIN
    bow = shapely.Polygon([(x + 300, y - 300), (x + 400, y - 400), (x + 400, y - 300), (x + 300, y - 400)])
    outside, edge = shapely.box(x + 5000, y - 300, x + 5100, y - 200), shapely.box(x - 50, y - 50, x + 50, y + 50)
    panel = shown_on(m, masked, fields(bow, outside, edge))
    assert panel.told["state"] == "ok"
    assert any("not valid" in note and "repaired" in note for note in panel.notes)
    assert any("outside of the data" in note and "13" in note for note in panel.notes)
    count = np.array(panel.values["columns"]["count"], float)
    assert count[12] == pytest.approx(50) and count[13] == 0 and count[14] == pytest.approx(25)
    panel.choose(13)
    until(lambda: panel.series.get("number") == 13)
    assert "outside of the data" in panel.series["text"] and "item" not in panel.series


def test_one_across_the_antimeridian_that_is_not_cut_is_told(m: Map, masked: ml.Chain) -> None:
    wide = geopandas.GeoDataFrame(geometry=[shapely.box(-179.9, 10, 179.9, 10.1)], crs=4326)
    panel = ParcelsPanel(m, wide)
    until(lambda: panel.told["state"] != "working")
    assert panel.told["state"] == "failed" and "antimeridian" in panel.told["text"]
    with pytest.raises(NotFound, match="antimeridian"):
        panel.found  # noqa: B018


def test_thousands_are_shown_and_too_many_are_refused(masked: ml.Chain) -> None:
    x, y = ORIGIN
    squares = [
        shapely.box(x + 10 * i, y - 10 * j - 10, x + 10 * i + 10, y - 10 * j) for i in range(50) for j in range(60)
    ]
    panel = shown_on(None, masked, geopandas.GeoDataFrame(geometry=squares, crs=CRS), stats=["mean"])
    assert panel.told == {"state": "ok", "text": "", "done": 3000, "total": 3000}
    assert len(panel.values["columns"]["mean"]) == 3000
    many = geopandas.GeoDataFrame(geometry=squares * 2, crs=CRS)
    with pytest.raises(ArgumentError, match="6000 polygons, and a panel shows up to 5000"):
        ParcelsPanel(None, many, chain=masked)


def test_what_it_cannot_do_it_says(m: Map, masked: ml.Chain) -> None:
    with pytest.raises(ArgumentError, match="give chain="):
        ParcelsPanel(None, fields())
    with pytest.raises(NotFound, match="has no layer"):
        ParcelsPanel(Map(), fields())
    with pytest.raises(NotFound, match="no layer 'NDWI'"):
        ParcelsPanel(m, fields(), "NDWI")
    with pytest.raises(ArgumentError, match="'variety' is no attribute of the parcels; there are name, crop"):
        ParcelsPanel(m, fields(), name="variety")
    panel = ParcelsPanel(m, fields(), stats=["average"])
    until(lambda: panel.told["state"] != "working")
    assert panel.told["state"] == "failed" and "average" in panel.told["text"]


def test_a_layer_of_several_series_asks_which(s2: ml.Collection) -> None:
    m = Map()
    clear = s2.mask_clouds()
    m.add(ml.rgb(*(clear.band(b).median("t") for b in ("red", "green", "blue"))), name="Colour")
    with pytest.raises(ArgumentError, match=r"'Colour' is made of several series \(red, green, blue\)"):
        ParcelsPanel(m, geopandas.GeoDataFrame(geometry=[shapely.box(1.4, 43.6, 1.41, 43.61)], crs=4326))


def test_bands_have_a_choice_and_a_chain_without_dates_one_value(masked: ml.Chain, eolearn: Any) -> None:
    both = shown_on(None, eolearn[0].bands("NDVI", "CLP"), fields())
    assert both.bands == ["NDVI", "CLP"]
    first = both.values["columns"]["mean"]
    both.band = 1
    assert both.values["columns"]["mean"] != first
    image = shown_on(None, masked.median("t"), fields())
    assert image.dates == [] and len(image.values["columns"]["mean"]) == 12
    image.choose(2)
    until(lambda: image.series.get("number") == 2)
    assert "item" not in image.series and not image.series.get("failed")
