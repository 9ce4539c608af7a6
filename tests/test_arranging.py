"""Order, names and groups of a map's layers, from Python; the panel's traits say the same as the methods."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr

import muses_lab as ml
from muses_lab.errors import MusesError
from muses_widgets import Map, VectorStyle
from muses_widgets.inputs import NotShown

pytestmark = pytest.mark.usefixtures("in_threads")

GRID = GeoBox((60, 80), Affine(10, 0, 360_000, 0, -10, 4_830_000), "EPSG:32631")


@pytest.fixture(scope="module")
def chain(isolated_home: Path) -> ml.Chain:
    values: xr.DataArray = wrap_xr(np.linspace(0, 1, 60 * 80, dtype="float32").reshape(60, 80), GRID)
    return ml.from_array(values)


@pytest.fixture
def m(chain: ml.Chain) -> Map:
    m = Map()
    for number, name in enumerate("dcba"):
        m.add(chain + number, name=name)
    return m


def rows(m: Map) -> str:
    """`a G(b c) d`."""
    told, groups = [], {id: g["name"] for g in m.panel.groups for id in g["members"]}
    for entry in m.panel.layers:
        told.append(f"{groups[entry['id']]}:{entry['name']}" if entry["id"] in groups else entry["name"])
    return " ".join(told)


def test_layers_are_moved_in_the_list_and_above_one_another(m):
    m.move("a", below="c")
    assert rows(m) == "b c a d" and [t.name for t in m.stack()] == ["d", "a", "c", "b"]
    m.move("d", "top")
    m.move("b", "bottom")
    m.move("c", above="d")
    assert rows(m) == "c d a b"
    for wrong in (lambda: m.move("a"), lambda: m.move("a", "up"), lambda: m.move("a", "top", above="b")):
        with pytest.raises(NotShown, match="takes one of 'top', 'bottom', above=… or below=…"):
            wrong()
    with pytest.raises(NotShown, match="beside another one, not itself"):
        m.move("a", above="a")
    with pytest.raises(MusesError, match="no layer 'x'"):
        m.move("x", "top")


def test_a_layer_gets_another_name_by_which_it_is_found(m):
    before = m.tiles("a")
    m.rename("a", "NDVI 2018")
    assert rows(m) == "NDVI 2018 b c d" and m.tiles("NDVI 2018") is before
    before.name = "again"  # as the page does it
    assert rows(m) == "again b c d"
    with pytest.raises(NotShown, match="there is a layer 'b' already"):
        m.rename("again", "b")
    with pytest.raises(NotShown, match="give the new name"):
        m.rename("b", " ")


def test_a_group_holds_layers_together(m):
    m.group("G", ["b", "d"])
    assert rows(m) == "a G:b G:d c"
    assert m.groups == {"G": {"layers": ["b", "d"], "visible": True, "opacity": 1.0}}
    m.move("G", "top")
    assert rows(m) == "G:b G:d a c"
    m.move("c", below="b")
    assert rows(m) == "G:b G:c G:d a"
    m.move("d", below="a")
    assert rows(m) == "G:b G:c a d"
    m.move("a", above="G")
    assert rows(m) == "a G:b G:c d"
    m.rename("G", "Summer")
    m.group("Winter", "b")
    assert rows(m) == "a Winter:b Summer:c d"
    m.ungroup("b")
    assert list(m.groups) == ["Summer"]
    m.remove("c")
    assert m.groups == {} and rows(m) == "a b d"
    with pytest.raises(MusesError, match=r"no group 'G'; it has none: m.group\('G'"):
        m.group("G", visible=False)
    with pytest.raises(NotShown, match="give at least one layer"):
        m.group("G", [])


def test_a_layer_that_is_added_beneath_keeps_groups_together(m, chain):
    m.group("G", ["a", "c"])
    m.add(chain * 7, name="e", index=3)
    assert rows(m).count("G:") == 2 and "G:a G:c" in rows(m)


def test_a_hidden_group_is_in_no_picture_and_its_opacity_in_all(m, tmp_path):
    m.group("G", ["a", "b"], opacity=0.5)
    m.tiles("a").opacity = 0.5
    m.group("H", ["c"], visible=False)
    m.save(tmp_path / "map.html")
    page = (tmp_path / "map.html").read_text("utf-8")
    assert 'alt="a" style="opacity: 0.25"' in page and 'alt="b" style="opacity: 0.5"' in page
    assert 'alt="c"' not in page and "Hidden when the page was made: c." in page
    groups = {layer["name"]: layer["group"] for layer in m.status()["layers"]}
    assert groups == {"a": "G", "b": "G", "c": "H", "d": None}
    m.swipe("c", "d")
    assert m.groups["H"]["visible"], "what is compared is seen"


def test_what_the_page_says_of_order_and_groups_holds(m):
    ids = {entry["name"]: entry["id"] for entry in m.panel.layers}
    told = {"name": "G", "members": [ids["a"], ids["d"]], "visible": True, "opacity": 1.0, "open": False}
    m.panel.set_state({"groups": [told], "layers": [m.panel.layers[i] for i in (1, 0, 3, 2)]})
    assert rows(m) == "b G:a G:d c" and not m.panel.groups[0]["open"]


def test_the_map_goes_to_where_a_layer_is(m):
    m.center, m.zoom = (0, 0), 2
    m.zoom_to("a")
    lat, lon = m.center
    west, south, east, north = GRID.extent.to_crs("EPSG:4326").boundingbox.bbox
    assert west < lon < east and south < lat < north and m.zoom > 12
    m.group("G", ["a", "b"])
    m.center = (0, 0)
    m.zoom_to("G")
    assert m.center == pytest.approx((lat, lon))
    assert m.panel.layers[0]["bounds"] == pytest.approx((west, south, east, north), abs=1e-4)


def test_what_is_put_back_where_it_was_has_its_row_and_group_again(m):
    m.group("G", ["b", "c"])
    m.move("d", "top")
    before, layers = rows(m), m.layers
    for name in ("d", "b", "c"):
        m.remove(name)
        m.layers = layers
        assert rows(m) == before, name
    m.move("d", "bottom")
    only = m.tiles("d")
    m.remove("d")
    m.add(only)
    assert rows(m).startswith("d "), "it was added, not put back"


@pytest.fixture(scope="module")
def fields() -> geopandas.GeoDataFrame:
    boxes = [shapely.box(360_000 + x, 4_829_500, 360_050 + x, 4_829_600) for x in (0, 100, 200)]
    return geopandas.GeoDataFrame({"crop": ["wheat", "peas", "wheat"]}, geometry=boxes, crs="EPSG:32631")


def test_features_have_rows_like_chains(m, fields):
    layer = m.add(fields, name="Fields", style=VectorStyle.categories("crop"), opacity=0.5, visible=False)
    assert rows(m) == "Fields a b c d" and [one.name for one in m.stack()] == ["d", "c", "b", "a"]
    assert (layer.opacity, layer.visible) == (0.5, False)
    entry = m.panel.layers[0]
    assert entry["features"] == 3 and entry["legend"] == layer.legend and entry["bounds"] == layer.entry["bounds"]
    m.move("Fields", below="b")
    m.group("G", ["Fields", "c"])
    assert rows(m) == "a b G:Fields G:c d"
    m.rename("Fields", "Parcels")
    assert layer.name == "Parcels" and m.groups["G"]["layers"] == ["Parcels", "c"]
    with pytest.raises(NotShown, match="there is a layer 'a' already"):
        m.rename("Parcels", "a")
    layer.restyle("red")
    assert [one["label"] for one in m.panel.layers[2]["legend"]["entries"]] == ["all features"], "the row tells it too"
    told = m.status()["layers"][2]
    assert (told["name"], told["group"], told["features"], told["state"]) == ("Parcels", "G", 3, "not shown")
    m.zoom_to("Parcels")
    west, south, east, north = entry["bounds"]
    assert south < m.center[0] < north and west < m.center[1] < east
    kept = m.layers
    m.remove("Parcels")
    assert rows(m) == "a b G:c d"
    m.layers = kept  # the page's Undo
    assert rows(m) == "a b G:Parcels G:c d"
    with pytest.raises(NotShown, match="two different layers that are chains"):
        m.swipe("Parcels", "a")


def test_the_page_tells_the_state_of_features(m, fields):
    id = m.add(fields, name="Fields").model_id
    m.panel.shown = {"layers": {id: {"chain": "", "style": "", "state": "ok", "why": []}}}
    assert [one["state"] for one in m.status()["layers"]] == ["ok", "hidden", "hidden", "hidden", "hidden"]
    m.panel.shown = {"layers": {}}
    assert m.status()["layers"][0]["state"] == "hidden"


def test_a_name_is_of_one_layer_whatever_it_is(m, chain, fields):
    m.group("G", ["b", "c"], opacity=0.5)
    m.tiles("b").opacity = 0.25
    features = m.add(fields, name="b")
    assert rows(m) == "a G:b G:c d" and [one.name for one in m.stack()] == ["d", "c", "a"]
    assert (features.opacity, m.groups["G"]["opacity"]) == (0.25, 0.5)
    m.add(chain * 3, name="b")
    assert rows(m) == "a G:b G:c d" and m.others == [] and m.tiles("b").opacity == 0.25


def test_features_of_another_map_tell_their_new_one(m, fields):
    layer = Map().add(fields, name="Fields")
    m.add(layer)
    layer.name = "Parcels"
    assert rows(m).startswith("Parcels ")
    m.remove(layer)
    layer.name = "Gone"
    assert "Gone" not in rows(m)
