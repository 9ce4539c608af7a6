"""Features on the map: how they are drawn, what their legend says, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely

import muses_lab as ml
from muses_lab.errors import ArgumentError, MusesError, NotFound
from muses_widgets import Map, VectorLayer, VectorStyle
from muses_widgets.inputs import NotShown
from muses_widgets.vectors.layer import MOST_CORNERS

CROPS = ["wheat", "maize", "wheat", None, "peas", "wheat"]
AREAS = [1.0, 2.0, 3.0, 4.0, float("nan"), 100.0]


@pytest.fixture(scope="module")
def fields() -> geopandas.GeoDataFrame:
    boxes = [shapely.box(360_000 + 100 * n, 4_820_000, 360_090 + 100 * n, 4_820_090) for n in range(6)]
    return geopandas.GeoDataFrame({"crop": CROPS, "area": AREAS}, geometry=boxes, crs="EPSG:32631")


def colours(layer: VectorLayer) -> list[str]:
    return [feature["properties"]["style"]["color"] for feature in layer.data["features"]]


def legend(layer: VectorLayer) -> list[tuple[str, str]]:
    return [(entry["label"], entry["colour"]) for entry in layer.legend["entries"]]


def test_features_of_any_form_are_a_layer(fields, tmp_path):
    fields.to_file(tmp_path / "fields.gpkg")
    geojson = json.loads(fields.to_crs(4326).to_json())
    for item in (fields, str(tmp_path / "fields.gpkg"), tmp_path / "fields.gpkg", geojson, ml.vectors(fields)):
        m = Map()
        layer = m.add(item)
        assert isinstance(layer, VectorLayer) and layer in m.others and len(layer.data["features"]) == 6
        lon, lat = shapely.geometry.shape(layer.data["features"][0]["geometry"]).centroid.coords[0]
        assert lon == pytest.approx(1.27, abs=0.01) and lat == pytest.approx(43.52, abs=0.02)
    assert m.add(tmp_path / "fields.gpkg").name == "fields"


def test_the_same_name_replaces(fields):
    m = Map()
    m.add(fields, name="Fields")
    m.add(fields, name="Other")
    again = m.add(fields[:2], name="Fields", style="red")
    assert [layer.name for layer in m.others] == ["Fields", "Other"] and m.others[0] is again
    assert colours(again) == ["red"] * 2 and m.panel.layers[1]["features"] == 2
    assert [m.add(fields).name for _ in range(2)] == ["Features", "Features 2"]


def test_categories_have_a_colour_each_and_the_rest_another(fields):
    layer = Map().add(fields, style=VectorStyle.categories("crop"))
    told = dict(legend(layer))
    assert list(told) == ["maize (1)", "peas (1)", "wheat (3)", "others (1)"]
    assert [colours(layer)[n] for n in (0, 2, 5)] == [told["wheat (3)"]] * 3
    assert colours(layer)[3] == told["others (1)"] and len(set(told.values())) == 4
    chosen = Map().add(fields, style=VectorStyle.categories("crop", {"wheat": "gold"}, label="crop"))
    assert legend(chosen) == [("wheat (3)", "gold"), ("others (3)", "#9e9e9e")]
    assert [f["properties"]["label"] for f in chosen.data["features"]] == [crop or "" for crop in CROPS]


@pytest.mark.parametrize(
    ("look", "labels"),
    [
        ({"classes": 2}, ["1 to 3 (3)", "3 to 100 (2)"]),
        ({"classes": 3, "method": "equal"}, ["1 to 34 (4)", "34 to 67 (0)", "67 to 100 (1)"]),
        ({"breaks": (2, 50)}, ["1 to 2 (2)", "2 to 50 (2)", "50 to 100 (1)"]),
    ],
)
def test_classes_of_a_number_are_counted_as_numpy_does(fields, look, labels):
    layer = Map().add(fields, style=VectorStyle.graduated("area", **look))
    assert [label for label, _ in legend(layer)] == [*labels, "no value (1)"]
    assert colours(layer)[4] == "#9e9e9e" and colours(layer)[0] != colours(layer)[5]
    if "classes" in look and "method" not in look:
        inner = np.quantile([1, 2, 3, 4, 100], [0.5])
        assert sum(c == colours(layer)[0] for c in colours(layer)) == int((np.array(AREAS) <= inner).sum())


def test_the_first_rule_that_fits_counts(fields):
    rules = {"crop = 'wheat' AND area > 2": "#d55e00", "crop = 'wheat'": "#0072b2"}
    layer = Map().add(fields, style=VectorStyle.rules(rules))
    other = "#9e9e9e"
    assert colours(layer) == ["#0072b2", other, "#d55e00", other, other, "#d55e00"]
    assert [label for label, _ in legend(layer)] == [
        "crop = 'wheat' AND area > 2 (2)", "crop = 'wheat' (1)", "others (3)",
    ]  # fmt: skip


def test_a_layer_is_drawn_in_another_way(fields):
    layer = Map().add(fields, style="red")
    layer.restyle(VectorStyle.graduated("area"))
    assert len(set(colours(layer))) > 3
    with pytest.raises(ArgumentError, match="'height' is no attribute of these features; there are crop, area"):
        layer.restyle(VectorStyle.graduated("height"))
    assert len(set(colours(layer))) > 3 and layer.look.by == "area"


def test_a_style_comes_back_from_its_document():
    for style in (
        VectorStyle(), VectorStyle.single("red", fill=0.1),
        VectorStyle.categories("crop", {"wheat": "gold"}, label="x"),
        VectorStyle.graduated("area", 3, "equal", "magma", width=1), VectorStyle.graduated("area", breaks=[1, 2]),
        VectorStyle.rules({"a = 1": "red"}), VectorStyle.categories("crop", hidden=(0, 2)),
    ):  # fmt: skip
        document = json.loads(json.dumps(style.to_json()))
        assert VectorStyle.from_json(document) == style
    assert VectorStyle().to_json() == {}
    with pytest.raises(ArgumentError, match="a style of vectors has"):
        VectorStyle.from_json({"color": "red"})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VectorStyle.graduated("a", method="jenks"), "there are quantiles, equal, or give breaks"),
        (lambda: VectorStyle.graduated("a", classes=1), "classes=1 is not between 2 and 12"),
        (lambda: VectorStyle.graduated("a", breaks=[2, 1]), "do not ascend"),
        (lambda: VectorStyle.single("reddish"), "'reddish' is no colour"),
        (lambda: VectorStyle.single(hidden=(-1,)), "no places in the legend, from 0"),
        (lambda: VectorStyle.single(fill=2), "fill=2 is not between 0 and 1"),
        (lambda: VectorStyle.rules({"a = ": "red"}), "is not CQL2"),
    ],
)
def test_what_is_no_style_is_refused(make, message):
    with pytest.raises(MusesError, match=message):
        make()


def test_what_cannot_be_shown_is_refused(fields, tmp_path):
    with pytest.raises(MusesError, match=r"no number: categories\('crop'\)"):
        Map().add(fields, style=VectorStyle.graduated("crop"))
    with pytest.raises(MusesError, match="is no style of vectors"):
        Map().add(fields, style={"color": "red"})
    (tmp_path / "broken.gpkg").write_bytes(b"no GeoPackage")
    with pytest.raises(MusesError, match="it is no GeoPackage"):
        Map().add(tmp_path / "broken.gpkg")
    with pytest.raises(NotFound, match="there is no file"):
        Map().add(tmp_path / "x.tif", style="red")
    with pytest.raises(NotShown, match="style= is of features"):
        Map().add(np.ones((2, 2)), style="red")


def test_shapes_of_very_many_corners_are_drawn_simplified_and_that_is_said():
    circles = [shapely.Point(n, 43).buffer(0.4, quad_segs=12_000) for n in range(4)]
    frame = geopandas.GeoDataFrame(geometry=circles, crs=4326)
    layer = Map().add(frame)
    corners = sum(len(f["geometry"]["coordinates"][0]) for f in layer.data["features"])
    assert corners <= MOST_CORNERS and layer.note.startswith("drawn simplified, by up to ")
    assert shapely.get_num_coordinates(layer.features.shapes).sum() > MOST_CORNERS


def test_an_entry_of_the_legend_is_hidden_by_the_page_or_in_python(fields):
    layer = Map().add(fields, style=VectorStyle.categories("crop"))
    places = [feature["properties"]["place"] for feature in layer.data["features"]]
    entries = layer.legend["entries"]
    assert [entries[place]["label"].split(" (")[0] for place in places] == [crop or "others" for crop in CROPS]
    drawn = layer.data
    layer.set_state({"hidden": [places[0]]})  # as the page does it
    assert layer.look == VectorStyle.categories("crop", hidden=(places[0],)) and layer.data is drawn
    assert [one["value"] for one in layer.legend["entries"] if one.get("hidden")] == [places[0]]
    layer.restyle("red")
    assert layer.hidden == [] and not layer.legend["entries"][0].get("hidden")
    with pytest.raises(ArgumentError, match="hidden=4: the legend has 4 entries"):
        layer.restyle(VectorStyle.categories("crop", hidden=(4,)))


def test_a_layer_tells_itself_for_a_saved_view(fields, tmp_path: Path):
    layer = Map().add(fields, name="Fields", style=VectorStyle.categories("crop"))
    told = json.loads(json.dumps(layer.to_json(), allow_nan=False))
    again = Map().add(told["features"], name="Fields", style=VectorStyle.from_json(told["style"]))
    assert colours(again) == colours(layer) and again.legend == layer.legend
