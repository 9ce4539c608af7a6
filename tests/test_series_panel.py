"""The kernel's part of the panel of series: what is plotted is what `.series()` gives, and what is kept stays."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
import shapely
from bokeh.document import Document
from bokeh.models import Scatter, Span
from PIL import Image

from muses_lab import readings
from muses_lab.crs import transformer
from muses_lab.errors import ArgumentError, NotFound
from muses_lab.operators.vectors import DEGREES
from muses_lab.scenes.scene import Band
from muses_widgets import Map, Places, SeriesPanel
from muses_widgets.series import words
from muses_widgets.series.dates import COMPARED, SCENE
from muses_widgets.series.images import DateImages
from tests.helpers.made_scenes import CORNER, UTM31, Made, write_tif
from tests.helpers.waiting import within

pytestmark = [pytest.mark.usefixtures("in_threads"), pytest.mark.slow]

LON, LAT = 1.40, 43.6
KEEP = [2, 4, 5, 6, 7, 8, 9]


@pytest.fixture(scope="module")
def clear(s2):
    return s2.mask_clouds(keep=KEEP)


@pytest.fixture
def m(clear) -> Map:
    m = Map(center=(43.6, 1.38), zoom=13)
    m.add(clear.ndvi().median("t").style(cmap="RdYlGn", label="NDVI"), name="Green")
    return m


@pytest.fixture
def panel(m) -> SeriesPanel:
    return done(SeriesPanel(m))


def done(panel: SeriesPanel) -> SeriesPanel:
    """When it has nothing to do any more."""
    end = time.monotonic() + 240
    while panel._newest._working or panel._chips._working or panel.told["state"] == "working":
        assert time.monotonic() < end, panel.told
        time.sleep(0.02)
    return panel


def click(panel: SeriesPanel, lon: float = LON, lat: float = LAT) -> SeriesPanel:
    panel.map.panel.clicked = [lat, lon]
    return done(panel)


def says(panel: SeriesPanel, **message: Any) -> SeriesPanel:
    panel._handle_custom_msg(message, [])
    return done(panel)


def figure(panel: SeriesPanel) -> Any:
    (root,) = Document.from_json(json.loads(panel.plot["item"])["doc"]).roots
    return root


def dots(panel: SeriesPanel) -> pd.DataFrame:
    """Date and value of each dot, as the browser gets them."""
    found = []
    for renderer in figure(panel).renderers:
        if isinstance(renderer.glyph, Scatter):
            data = renderer.data_source.data
            alpha = renderer.glyph.fill_alpha
            hollow = getattr(alpha, "value", alpha) == 0
            rows = {
                "date": data["date"],
                "value": data[renderer.glyph.y.field],
                "scene": data["scene"],
                "hollow": hollow,
            }
            found.append(pd.DataFrame(rows))
    rows = pd.concat(found, ignore_index=True)
    return rows.assign(date=pd.to_datetime(rows["date"], unit="ms")).sort_values("date", ignore_index=True)


def test_chart_table_csv_and_series_are_the_same_to_the_last_digit(s2, tmp_path):
    m = Map()
    m.add(s2.mask_clouds().ndvi().median("t").style(label="NDVI"), name="Green")
    panel = click(done(SeriesPanel(m)))
    expected = m.layer("Green").series(LON, LAT).table
    np.testing.assert_array_equal(expected["value"], s2.mask_clouds().ndvi().series(LON, LAT).table["value"])
    assert panel.value == "Green" and panel.told["state"] == "ok", panel.told
    for rows in (
        panel.table(),
        pd.read_csv(panel.to_csv(tmp_path / "a.csv"), float_precision="round_trip"),
        pd.read_parquet(panel.to_parquet(tmp_path / "a.parquet")),
    ):
        np.testing.assert_array_equal(rows["value"], expected["value"])
        np.testing.assert_array_equal(rows["unmasked"], expected["unmasked"])
        assert list(rows["scene"].fillna("")) == list(expected["scene"]) and set(rows["chain"]) == set(
            expected["chain"]
        )
    drawn = dots(panel)
    valid = expected[expected["value"].notna()]
    np.testing.assert_array_equal(drawn[~drawn["hollow"]]["value"], valid["value"])
    masked = expected[(expected["state"] == "masked") & expected["unmasked"].notna()]
    np.testing.assert_array_equal(drawn[drawn["hollow"]]["value"], masked["unmasked"])
    assert len(masked) and len(valid) > 1
    chart_dates = drawn[~drawn["hollow"]]["date"].astype("datetime64[ms]").to_numpy()
    np.testing.assert_array_equal(chart_dates, valid["date"].astype("datetime64[ms]").to_numpy())


def test_another_expression_reads_nothing(panel, monkeypatch):
    click(panel)
    says(panel, do="images", times=[])
    panel.value = "B04 + B08 + SCL"  # all bands that follow
    done(panel)
    asked = []
    real = readings._missing
    monkeypatch.setattr(readings, "_missing", lambda *a: [asked.append(one) or one for one in real(*a)])
    for text in ("NDVI", "B08 / B04", "NDVI.whittaker()", "B08"):
        panel.value = text
        done(panel)
        assert panel.told["state"] == "ok" and text in set(panel.table()["quantity"])
    assert asked == []


def test_the_next_click_replaces_the_candidate_and_plus_keeps_it(panel):
    click(panel)
    assert panel.place == [LON, LAT] and panel.kept == []
    click(panel, 1.41, 43.58)
    assert set(panel.table()["lon"]) == {1.41} and panel.place == [1.41, 43.58]
    says(panel, do="keep")
    assert panel.place is None and [place["name"] for place in panel.kept] == ["Point 1"]
    assert panel.layer in panel.map.layers and len(panel.layer.data["features"]) == 1
    click(panel)
    assert set(panel.table()["place_name"]) == {"", "Point 1"}
    id = panel.kept[0]["id"]
    says(panel, do="change", id=id, name="North field", colour="#ff0000")
    assert set(panel.table()["place_name"]) == {"", "North field"}
    colours = {entry["name"]: entry["colour"] for entry in panel.plot["legend"]["series"]}
    assert colours["North field"] == "#ff0000"
    says(panel, do="change", id=id, visible=False)
    assert set(panel.table()["place_name"]) == {""} and len(panel.layer.data["features"]) == 1  # the candidate's ring
    says(panel, do="remove", id=id)
    assert panel.kept == [] and not len(panel.places)
    panel.map.panel.clicked = None
    done(panel)
    assert panel.table().empty and "Click on the map" in panel.plot["text"]
    with pytest.raises(NotFound, match="there is no candidate"):
        panel.keep()


def test_a_polygon_is_a_place_too(panel, clear):
    square = shapely.box(1.40, 43.57, 1.405, 43.575)
    panel.look_at(square)
    done(panel)
    panel.keep("Wood")
    done(panel)
    expected = clear.ndvi().over(square, stats=["mean", "median", "q10", "q90"]).table
    np.testing.assert_array_equal(panel.table()["mean"], expected["mean"])
    assert panel.kept[0]["kind"] == "polygon" and panel.told["state"] == "ok"


def test_kept_places_are_filtered_and_come_back_from_their_file(m, tmp_path):
    path = tmp_path / "fields.gpkg"
    panel = done(SeriesPanel(m, places=path))
    for lon, name in ((1.40, "North field"), (1.41, "South field")):
        panel.look_at(lon, 43.6)
        done(panel)
        panel.keep(name)
    done(panel)
    panel.filter = "south"
    done(panel)
    assert panel.filtered == ["2"] and set(panel.table()["place_name"]) == {"South field"}
    panel.filter = "name ="
    assert panel.told["state"] == "failed" and "CQL2" in panel.told["text"]
    panel.filter = ""
    again = done(SeriesPanel(m, places=path))  # as in a notebook that is run again
    assert [place.name for place in again.places] == ["North field", "South field"]
    pd.testing.assert_frame_equal(
        again.table().sort_index(axis=1), done(panel).table().sort_index(axis=1), check_dtype=False
    )


def test_a_file_that_the_panel_did_not_make_is_only_read(m, tmp_path):
    path = tmp_path / "mine.geojson"
    feature = {"type": "Feature", "id": "x7", "geometry": {"type": "Point", "coordinates": [1.4, 43.6]}}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [{**feature, "properties": {"Name": "A"}}]}))
    before = path.read_bytes()
    panel = done(SeriesPanel(m, places=path))
    panel.places.change("1", name="B")
    assert done(panel).places["1"].series and path.read_bytes() == before
    assert panel.told["state"] == "ok" and "mine.geojson is of another program and is only read" in panel.told["text"]
    other = panel.places.save(tmp_path / "places.gpkg")
    again = done(SeriesPanel(m, places=other))
    again.places.change("1", name="C")
    assert done(again).told["text"] == "" and Places.open(other)["1"].name == "C"
    again.places.clear()
    done(again)
    assert not len(done(SeriesPanel(m, places=other)).places)


def test_a_place_whose_values_are_all_masked_and_one_with_a_name_of_kml_are_kept(clear, tmp_path):
    m = Map(center=(43.6, 1.38), zoom=13)
    m.add(clear.ndvi().mask(clear.ndvi() > -5).median("t").style(label="NDVI"), name="Green")
    path = tmp_path / "fields.gpkg"
    panel = done(SeriesPanel(m, places=path))
    panel.places.add(shapely.box(1.398, 43.598, 1.402, 43.602), "Masked", attributes={"Name": "x", "fid": 1, "geom": 2})
    assert done(panel).told["state"] == "ok"
    again = done(SeriesPanel(m, places=path))
    assert again.told["state"] == "ok" and again.table()["mean"].isna().all() and len(again.table())
    again.look_at(LON, LAT)
    assert done(again).told["state"] == "ok"


def test_files_go_to_the_page_and_come_from_it(panel, monkeypatch):
    sent = []

    def send(message, buffers=None):
        if message["kind"] == "file":
            sent.append((message, buffers))

    monkeypatch.setattr(panel, "send", send)
    click(panel)
    says(panel, do="keep")
    for kind in ("csv", "parquet", "gpkg", "geojson"):
        says(panel, do="file", kind=kind)
    names = [message["name"] for message, _ in sent]
    assert names == ["series.csv", "series.parquet", "places.gpkg", "places.geojson"], panel.told
    rows = pd.read_csv(io.BytesIO(sent[0][1][0]), float_precision="round_trip")
    np.testing.assert_array_equal(rows["value"], panel.table()["value"])
    panel._handle_custom_msg({"do": "open", "name": "mine.gpkg"}, [sent[2][1][0]])
    done(panel)
    assert [place["name"] for place in panel.kept] == ["Point 1", "Point 1"] and panel.told["state"] == "ok"
    panel._handle_custom_msg({"do": "open", "name": "mine.gpkg"}, [b"nonsense"])
    assert panel.told["state"] == "failed"


def test_a_dot_shows_its_scene_and_a_second_one_is_compared(panel, m):
    click(panel)
    first, second = panel.dates[0]["time"], panel.dates[-1]["time"]
    says(panel, do="show", time=first)
    scene, compared = f"{SCENE} {first[:10]}", f"{COMPARED} {second[:10]}"
    assert panel.shown == {"first": first, "second": ""} and m.tiles(scene).visible
    assert scene not in [choice["value"] for choice in panel.choices]
    says(panel, do="compare", time=second)
    assert panel.shown == {"first": first, "second": second}
    assert m.panel.swipe["left"] == m.tiles(scene).model_id and m.panel.swipe["right"] == m.tiles(compared).model_id
    other = panel.dates[1]["time"]
    says(panel, do="show", time=other)  # the layer takes the name of its date, and stays where it is
    scene = f"{SCENE} {other[:10]}"
    assert [t.name for t in m.stack()] == ["Green", scene, compared] and len(m.panel.swipe) == 3
    assert {"Green", scene, compared} == {row["name"] for row in m.panel.layers}
    says(panel, do="compare", time=None)
    assert panel.shown["second"] == "" and m.panel.swipe == {} and compared not in [t.name for t in m.stack()]
    m.remove(scene)
    assert panel.shown == {"first": "", "second": ""}


def test_layers_with_dates_move_to_the_dot_and_the_plot_follows_the_map(clear):
    m = Map()
    m.add(clear.ndvi().over_time().style(cmap="RdYlGn"), name="NDVI")
    panel = done(SeriesPanel(m))
    assert panel.shown["first"].startswith(m.tiles("NDVI").over.over[-1].label), "the date that the map shows already"
    click(panel)
    times = [date["time"] for date in panel.dates]
    says(panel, do="show", time=times[0])
    assert m.date == times[0][:10] and not [t.name for t in m.stack() if t.name.startswith(SCENE)]
    m.date = times[1][:10]
    assert panel.shown["first"] == times[1]
    panel.value = "EVI"
    done(panel)
    lines = {line.name: line for line in figure(panel).select({"type": Span})}
    assert lines["muses-date-0"].visible and not lines["muses-date-1"].visible
    assert lines["muses-date-0"].location == pytest.approx(np.datetime64(times[1], "ms").astype(float))
    panel.compare(times[2])
    assert m.layer(f"{COMPARED} {times[2][:10]}").chain.identical(m.tiles("NDVI").over.layer(times[2]).chain)


def test_images_are_made_of_the_dates_that_are_in_sight_and_clouds_are_in_them(panel):
    click(panel)
    some = [date["time"] for date in panel.dates][:3]
    says(panel, do="images", times=some)
    of, images = panel.images["of"], panel.images["images"]
    assert sorted(images) == some
    hollow = [date["time"] for date in panel.dates if date["state"] == "masked" and date["time"] in some]
    for time_ in some:
        if images[time_]:
            image = Image.open(io.BytesIO(base64.b64decode(images[time_].partition(",")[2])))
            assert image.size[0] >= 48
    assert not hollow or any(images[time_] for time_ in hollow)
    panel.value = "EVI"
    done(panel)
    assert panel.images["of"] != of and sorted(panel.images["images"]) == some  # of another chain, still in sight


def test_images_come_also_where_another_text_was_written_while_they_were_made(panel, monkeypatch):
    click(panel)
    some = [date["time"] for date in panel.dates]
    begun, go_on, real = threading.Event(), threading.Event(), DateImages._values

    def waits(*given):
        begun.set()
        assert go_on.wait(60)
        return real(*given)

    monkeypatch.setattr(DateImages, "_values", waits)
    panel._receive(None, {"do": "images", "times": some}, [])
    assert begun.wait(60)
    panel.value = "NDVJ"
    assert within(60, lambda: "did you mean NDVI" in panel.told.get("text", ""))
    go_on.set()
    assert within(60, lambda: not panel._chips._working)
    assert "did you mean NDVI" in panel.told["text"]
    panel.value = "NDVI"
    done(panel)
    assert sorted(panel.images["images"]) == some and panel.told["state"] == "ok"
    click(panel, 1.41, 43.58)
    assert sorted(panel.images["images"]) == [date["time"] for date in panel.dates if date["time"] in some]


def test_clouds_are_white_in_the_images_of_dates_and_fields_are_not(s2):
    m = Map()
    m.add(s2.mask_clouds().ndvi().median("t").style(cmap="RdYlGn"), name="NDVI")
    panel = click(done(SeriesPanel(m)))
    says(panel, do="images", times=[date["time"] for date in panel.dates])
    there = {date["time"]: date["state"] for date in panel.dates if panel.images["images"][date["time"]]}
    assert set(there.values()) == {"valid", "masked"}, "a clear date and a clouded one"
    seen = []
    for time_, state in there.items():
        image = chip(panel, time_)
        classes = s2.band("SCL").dates(time_, str(np.datetime64(time_) + 1)).drop("t").compute(panel._window()).values
        clouds, fields = classes == 9, np.isin(classes, (4, 5))
        middle = image[22:26, 22:26].mean()
        assert middle > 220 if state == "masked" else middle < 160, (time_, middle)
        if clouds.sum() > 50:
            assert image[clouds].mean() > 215, time_
        if fields.sum() > 50:
            assert image[fields].mean() < 160, time_
            assert np.ptp(image[fields].mean(axis=0)) > 8, f"{time_}: fields have a colour"
        seen.append((clouds.sum() > 50, fields.sum() > 50))
    assert np.any(seen, axis=0).all(), "clouds and fields were looked at"


def chip(panel: SeriesPanel, time_: str) -> np.ndarray:
    """The small image of a date as the page gets it: (y, x, 3)."""
    body = base64.b64decode(panel.images["images"][time_].partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(body)).convert("RGB"), float)


def test_curves_are_those_of_the_series(panel, clear):
    click(panel)
    panel.curves = ["whittaker", "trend", "breaks"]
    done(panel)
    assert panel.plot["legend"]["curves"] == ["whittaker", "trend", "breaks"]
    expected = clear.ndvi().series(LON, LAT)
    slope = float(expected.trend()["slope"].values.flat[0])
    if np.isfinite(expected.trend()["p"].values.flat[0]):
        assert any(f"trend {slope:+.3g}" in line for line in panel.plot["found"])
    panel.curves = []
    panel.by_year = True
    done(panel)
    assert panel.plot["by_year"] and "item" in panel.plot
    panel.by_year, panel.anomalies = False, True
    done(panel)
    drawn = dots(panel)
    np.testing.assert_array_equal(drawn["value"], expected.anomaly().values.ravel()[expected.array.notnull().values])


def test_two_quantities_have_an_axis_each(panel):
    click(panel)
    panel.second = "B08"
    done(panel)
    assert {entry["name"] for entry in panel.plot["legend"]["series"]} == {"Clicked place Green", "Clicked place B08"}
    assert len(figure(panel).yaxis) == 2


def test_what_is_not_known_is_said(m, panel):
    click(panel)
    panel.value = "NDVJ"
    done(panel)
    assert panel.told["state"] == "failed" and "NDVJ" in panel.told["text"]
    assert panel.status()["state"] == "failed" and "NDVJ" in repr(panel)
    panel.value = "NDVI"
    assert done(panel).told["state"] == "ok"
    with pytest.raises(ArgumentError, match="takes a map"):
        SeriesPanel("m")
    with pytest.raises(ArgumentError, match="no band, index or layer 'foo'"):
        SeriesPanel(m, value="foo")
    with pytest.raises(NotFound, match="no place is selected"):
        done(SeriesPanel(Map())).show_date("2018-01-01")


def test_scenes_that_cannot_be_read_are_told(panel, monkeypatch):
    real = type(panel._plotted.tables).read

    def broken(self, geometry, quantity):
        rows = real(self, geometry, quantity)
        self._failed[geometry.wkb, quantity.text] = ["S2A_20180121: the disk is gone"]
        return rows

    monkeypatch.setattr(type(panel._plotted.tables), "read", broken)
    click(panel)
    assert panel.told["state"] == panel.status()["state"] == "partial"
    assert panel.told["text"] == "1 scene could not be read and left out: S2A_20180121: the disk is gone"


def test_where_nothing_is_it_says_so(panel):
    click(panel, 10.0, 50.0)
    assert panel.plot["text"] and "item" not in panel.plot and panel.dates == []
    empty = done(SeriesPanel(Map()))
    assert empty.value == "" and "no layer" in empty.told["text"]
    empty.map.add(panel.map.layer("Green"), name="New")
    assert done(empty).value == "New"


def test_a_list_of_places_can_be_shared(m):
    places = Places()
    panel = done(SeriesPanel(m, places=places))
    kept = places.add(shapely.Point(LON, LAT), "Elsewhere")
    done(panel)
    assert panel.places is places and list(places[kept.id].series) == ["Green"]


def test_chains_of_ones_own_are_plotted_by_name(m, s2):
    panel = done(SeriesPanel(m, "wet", expressions={"wet": s2.ndwi() > 0}))
    click(panel)
    assert set(panel.table()["quantity"]) == {"wet"} and panel.told["state"] == "ok"


def test_a_panel_that_is_made_again_takes_the_place_of_the_first(panel, m):
    click(panel)
    panel.keep("Field")
    done(panel)
    again = done(SeriesPanel(m))
    assert [place.name for place in again.places] == ["Field"]
    assert [layer for layer in m.layers if layer.name == "Places"] == [again.layer]
    told = panel.place
    click(again, 1.41, 43.58)
    assert again.place == [1.41, 43.58] and panel.place == told


def test_times_keep_their_microseconds(tmp_path):
    made, rng = Made(tmp_path), np.random.default_rng(7)
    bands = [Band("B04", "red", nodata=0.0, scale=1e-4), Band("B08", "nir", nodata=0.0, scale=1e-4)]
    times = ["2018-03-10T10:50:41.123456", "2018-06-10T10:50:41.123999", "2018-09-10T10:50:41.024000"]
    scenes = []
    for n, time_ in enumerate(times):
        values = {b.name: rng.integers(1, 9000, (128, 128), dtype=np.uint16) for b in bands}
        assets = {name: made.asset(write_tif(tmp_path / f"{n}{name}.tif", v)) for name, v in values.items()}
        scenes.append(made.scene(f"s{n}", f"{time_}Z", assets, grid="MADE-1"))
    ndvi = made.chain(bands, scenes).ndvi()
    lon, lat = transformer(UTM31, DEGREES).transform(CORNER[0] + 640, CORNER[1] - 640)
    m = Map()
    m.add(ndvi.median("t").style(label="NDVI"), name="NDVI")
    panel = click(done(SeriesPanel(m)), lon, lat)
    assert [date["time"] for date in panel.dates] == times
    says(panel, do="images", times=times)
    assert sorted(panel.images["images"]) == times and all(panel.images["images"].values())
    says(panel, do="show", time=times[1])
    assert panel.shown["first"] == times[1] and panel.told["state"] == "ok"
    assert np.isfinite(m.layer(f"{SCENE} {times[1][:10]}").chain.at(lon, lat).values).any()

    moving = Map()
    moving.add(ndvi.over_time().style(label="NDVI"), name="NDVI")
    panel = click(done(SeriesPanel(moving)), lon, lat)
    says(panel, do="show", time=times[1])
    assert moving.date == "2018-06-10" and panel.shown["first"] == times[1]


def test_another_layer_of_the_same_name_has_its_own_values_images_and_scenes(clear, monkeypatch):
    early, late = clear.dates("2018-01-01", "2018-06-30").ndvi(), clear.dates("2018-07-01", "2018-12-31").ndvi()
    m = Map()
    m.add(early.median("t").style(label="NDVI"), name="Green")
    panel = click(done(SeriesPanel(m)))
    says(panel, do="keep")
    panel.selected = ""
    click(panel, 1.41, 43.58)
    before = [date["time"] for date in panel.dates]
    says(panel, do="images", times=before)
    monkeypatch.setattr(panel._newest, "take", lambda message: None)  # its answer takes long
    m.add(late.median("t").style(label="NDVI"), name="Green")
    assert panel.table().empty
    monkeypatch.undo()
    panel._ask()
    done(panel)
    after = [date["time"] for date in panel.dates]
    assert before and after and not set(before) & set(after) and set(panel.table()["place"]) == {"", "1"}
    assert set(panel.table()["date"].astype("datetime64[us]")) == {pd.Timestamp(one) for one in after}
    says(panel, do="images", times=after)
    assert sorted(panel.images["images"]) == after
    says(panel, do="show", time=after[-1])
    assert panel.shown["first"] == after[-1] and panel.told["state"] == "ok"
    m.remove("Green")
    done(panel)
    kept = panel.table()
    assert set(kept["place"]) == {"1"} and len(kept) == len(after)  # what was read of a layer that is gone


def test_the_newest_dates_are_drawn_before_all_are_read_and_nothing_is_read_twice(m, monkeypatch):
    monkeypatch.setattr(words, "LONG", 3)
    monkeypatch.setattr(words, "FIRST", 2)
    panel = done(SeriesPanel(m))
    drawn, asked = [], []
    panel.observe(lambda change: drawn.append((panel.told["state"], len(panel.dates))), "plot")
    real = readings._missing
    monkeypatch.setattr(readings, "_missing", lambda *a: [asked.append(one) or one for one in real(*a)])
    readings.forget()
    click(panel, 1.395, 43.605)
    whole = len(panel.dates)
    assert whole > 3 and drawn[0] == ("working", 2) and panel.told["state"] == "ok"
    assert len(panel.table()) == whole
    read = [(one.band.name, str(one.cell), time) for one in asked for time in one.times]
    assert len(read) == len(set(read)) == 3 * whole
