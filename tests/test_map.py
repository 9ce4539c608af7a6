"""What people give a map, and what they take off it: the map's `layers` are what its panel lists, in every way."""

from __future__ import annotations

import asyncio
import io
import re
from pathlib import Path

import ipyleaflet
import ipywidgets
import numpy as np
import pytest
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr

import muses_lab as ml
from muses_lab.errors import MusesError
from muses_widgets import Map
from muses_widgets.inputs import NotShown

pytestmark = pytest.mark.usefixtures("in_threads")

GRID = GeoBox((60, 80), Affine(10, 0, 360_000, 0, -10, 4_830_000), "EPSG:32631")
WEB = ipyleaflet.basemaps


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> xr.DataArray:
    array = wrap_xr(np.linspace(100, 300, 60 * 80, dtype="float32").reshape(60, 80), GRID)
    return array.rename("height").assign_attrs(units="m")


@pytest.fixture(scope="module")
def chain(image: xr.DataArray, isolated_home: Path) -> ml.Chain:
    return ml.from_array(image)


def names(m: Map) -> list[str]:
    """The panel's rows, the top one first; they are those of the map's layers that show chains."""
    rows = m.panel.layers
    assert {row["id"] for row in rows} == {t.model_id for t in m.stack()}
    return [row["name"] for row in rows]


class TestRemove:
    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    @pytest.mark.parametrize(
        "way",
        [
            lambda m, layer: m.remove(layer), lambda m, layer: m.remove(layer.chain), lambda m, layer: m.remove("b"),
            lambda m, layer: m.remove(m.tiles("b")), lambda m, layer: m.remove_layer(m.tiles("b")),
            lambda m, layer: m.__isub__(layer), lambda m, layer: m.__isub__(m.tiles("b")),
            lambda m, layer: setattr(m, "layers", m.layers[:-1]),
            lambda m, layer: m.substitute("b", ipyleaflet.Marker()),
            lambda m, layer: m.substitute_layer(m.tiles("b"), ipyleaflet.Marker()),
        ],
    )  # fmt: skip
    def test_what_is_removed_is_gone(self, chain, way):
        m = Map()
        m.add(chain, name="a")
        layer = m.add(chain.style(cmap="magma"), name="b")
        other = m.add(chain + 1, name="c")
        m.remove(other)
        if way.__code__.co_names[:2] == ("remove", "chain"):
            m.remove("a")
            m.add(chain * 2, name="a")
        way(m, layer)
        assert names(m) == ["a"]
        with pytest.raises(MusesError, match="it has 'a'"):
            m.layer("b")

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    @pytest.mark.parametrize("way", [Map.clear, Map.clear_layers, lambda m: setattr(m, "layers", ())])
    def test_everything_is_gone_and_comes_back(self, chain, way):
        m = Map()
        m.add(chain, name="a")
        before = m.layers
        way(m)
        assert names(m) == [] and m.panel.basemap == "None"
        m.layers = before
        assert names(m) == ["a"] and m.panel.basemap == "Offline"
        assert any(getattr(c, "widget", None) is m.panel for c in m.controls), "no page draws chains without the panel"

    def test_which_one_is_asked_where_it_is_not_clear(self, chain):
        m = Map()
        layer = chain.style()
        m.add(layer, name="a")
        m.add(layer, name="b")
        with pytest.raises(NotShown, match=r"as 'a' and 'b': say which by its name, m.remove\('a'\)"):
            m.remove(layer)
        with pytest.raises(NotShown, match="3 is no layer of a map"):
            m.remove(3)
        with pytest.raises(MusesError, match="no layer 'c'; it has 'a', 'b'"):
            m.remove("c")

    def test_a_row_that_the_browser_still_has_does_not_come_back(self, chain):
        m = Map()
        m.add(chain, name="a")
        m.add(chain + 1, name="b")
        stale = list(m.panel.layers)
        m.remove("b")
        m.panel.layers = stale[::-1]
        assert names(m) == ["a"]


class TestOrder:
    def test_of_the_rows_is_that_of_the_layers_and_of_the_panel(self, chain):
        m = Map()
        for name in "abc":
            m.add(chain, name=name)
        assert names(m) == ["c", "b", "a"]
        m.panel.layers = [m.panel.layers[i] for i in (1, 0, 2)]  # the panel's arrows
        m.add(chain, name="d")
        assert names(m) == ["d", "b", "c", "a"]
        m.add(chain, name="e", index=1)
        assert names(m) == ["d", "b", "c", "a", "e"] and [t.name for t in m.layers[:2]] == ["Offline", "e"]
        m.add(chain, name="d", index=1)
        assert names(m)[-1] == "d", "again with an index: moved"
        m.substitute("c", chain + 1)
        assert sorted(names(m)) == ["a", "b", "c", "d", "e"]
        m.layers = m.layers[::-1]
        assert names(m) == [t.name for t in reversed(m.layers) if t.name != "Offline"]

    @pytest.mark.parametrize("index", [-1, 3, 1.5, "top"])
    def test_an_index_that_is_none_is_refused(self, chain, index):
        m = Map()
        m.add(chain)
        with pytest.raises(NotShown, match=re.escape(f"index={index!r} is no place among the 2 layers")):
            m.add(chain, index=index)

    def test_as_in_ipyleaflet(self, chain):
        m = Map()
        m.add(chain, 0)  # its second argument is the index
        assert m.layers[0].layer.chain.identical(chain)
        m += chain
        assert len(m.stack()) == 2 and (m + ipyleaflet.Marker()) is m
        marker = ipyleaflet.Marker()
        m.add(marker, name="here", visible=False, opacity=0.5)
        assert (marker.name, marker.visible, marker.opacity) == ("here", False, 0.5)
        m.add(WEB.OpenTopoMap)
        assert m.layers[-1].url.startswith("https://") and names(m) == ["Layer 2", "Layer 1"]


class TestInputs:
    @pytest.mark.parametrize(
        ("item", "why"),
        [
            (None, "not None"), (np.zeros((2, 2)), "not a ndarray: it does not say where it lies"),
            (xr.Dataset({"b1": ("x", [1])}), "choose one of its variables, b1"), ([1], "one after the other"),
            (Map, "not the class Map itself"), (ipywidgets.Button(), "WidgetControl"),
            ({"type": "FeatureCollection", "features": []}, "there is no feature"), (7, "not an int"),
            ("nowhere.tif", "there is no file"), (Path("nowhere.nc"), "there is no file"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_shown_is_refused_with_a_cure(self, item, why):
        m = Map()
        with pytest.raises(MusesError, match=why):
            m.add(item)
        assert names(m) == [] and len(m.layers) == 1

    @pytest.mark.parametrize(
        ("options", "why"),
        [
            ({"palette": "magma"}, r"m.add takes no palette='magma'.*chain.style\(cmap=…\)"),
            ({"vmin": 0}, r"chain.style\(vmin=…\)"), ({"opactiy": 1}, "did you mean opacity?"),
            ({"name": 1.5}, "is no name"), ({"name": " "}, "is no name"),
        ],
    )  # fmt: skip
    def test_arguments_that_nothing_heeds_are_refused(self, chain, options, why):
        with pytest.raises(NotShown, match=why):
            Map().add(chain, **options)

    @pytest.mark.parametrize(
        ("options", "why"),
        [
            ({"palette": "magma"}, "colours are the layer's"), ({"zoom_start": 3}, "did you mean zoom?"),
            ({"scroll_weel_zoom": True}, "did you mean scroll_wheel_zoom?"),
            ({"center": "Toulouse"}, r"center='Toulouse' is no place: give \(latitude, longitude\)"),
            ({"center": (143.6, 1.4)}, "is not on Earth"), ({"center": (43.6, float("nan"))}, "is no place"),
            ({"basemap": "Bing"}, "there are 'Offline'.*ipyleaflet.basemaps"), ({"basemap": 3}, "basemap=int"),
            ({"basemap": WEB.Esri}, "choose one of its maps"), ({"basemap": WEB.MapBox}, "needs a key"),
            ({"basemap": ipyleaflet.Marker()}, "above the base map"), ({"layers": "a.tif"}, "no list of layers"),
            ({"layers": {3: "a.tif"}}, "3 is no name"), ({"layers": [("a", 1), ("a", 2)]}, "the name of 2 layers"),
            ({"layers": [3]}, "not an int"), ({"bounds": (1, 2, 3)}, "are no bounds"),
            ({"bounds": (360_000, 4_800_000, 380_000, 4_830_000)}, "metres of a CRS are not"),
            ({"bounds": (1.5, 43.5, 1.3, 43.7)}, "west 1.5 must be below east 1.3"),
        ],
    )  # fmt: skip
    def test_maps_are_not_made_of_what_they_do_not_know(self, options, why):
        with pytest.raises(MusesError, match=why):
            Map(**options)

    def test_layers_and_base_maps_of_ipyleaflet(self, chain):
        assert Map(basemap=WEB.Esri.WorldImagery).layers[0].url.startswith("https://server.arcgisonline.com/")
        own = ipyleaflet.TileLayer(url="https://example.org/{z}/{x}/{y}.png", name="Ours", base=True)
        m = Map(layers=[own, chain, ipyleaflet.Marker()])
        assert [type(t).__name__ for t in m.layers] == ["TileLayer", "ChainTiles", "Marker"]
        assert m.panel.base == own.model_id and m.panel.basemap == "Ours"
        assert "Ours" in [b["name"] for b in m.panel.basemaps]
        m.basemap = WEB.OpenTopoMap
        assert own not in m.layers and m.panel.basemap == "OpenTopoMap" and names(m) == ["Layer 1"]
        with pytest.raises(NotShown, match="m.layers holds ipyleaflet's layers"):
            m.layers = (chain,)

    def test_layers_are_named_as_a_dictionary_or_in_pairs(self, chain):
        assert names(Map(layers={"Low": chain, "High": chain.style(cmap="magma")})) == ["High", "Low"]
        assert names(Map(layers=[("Low", chain), chain, ("High", chain.style())])) == ["High", "Layer 1", "Low"]

    def test_an_array_and_a_file_get_colours_of_their_values(self, image, chain, tmp_path):
        m = Map()
        layer = m.add(image, name="Heights")
        assert layer.chain.identical(chain)
        assert layer.look.range == (104.0, 296.0) and (layer.look.label, layer.look.unit) == ("height", "m")
        chain.export(tmp_path / "file.tif", GRID, progress=False).wait()
        assert m.add(tmp_path / "file.tif", name="File").look.range == (104.0, 296.0)
        assert m.add(image * 0 + 7, name="Flat").look.range == (6.5, 7.5)
        narrow = m.add(300 + image / 1e6, name="Narrow").look.range
        assert 300 < narrow[0] < narrow[1] < 300.001
        assert names(m) == ["Narrow", "Flat", "File", "Heights"]


class TestBounds:
    @pytest.mark.parametrize(
        "bounds",
        [
            (1.3, 43.5, 1.5, 43.7), [1.3, 43.5, 1.5, 43.7], ((43.5, 1.3), (43.7, 1.5)), [[43.5, 1.3], [43.7, 1.5]],
            np.array([1.3, 43.5, 1.5, 43.7]),
        ],
    )  # fmt: skip
    def test_move_the_map_at_once_and_not_again(self, bounds):
        async def fit() -> tuple[Map, int]:
            m = Map()
            m.fit_bounds(bounds)
            return m, len(asyncio.all_tasks())

        m, tasks = asyncio.run(fit())
        assert tasks == 1, "nothing is left to be done later"
        assert m.center == pytest.approx([43.6, 1.4], abs=1e-3) and m.zoom == 11
        for name, value in zip(("left", "top", "right", "bottom"), (0, 0, 200, 150), strict=True):
            m.set_trait(name, value)  # the browser shows a small map
        m.fit_bounds(bounds)
        assert m.zoom == 9
        assert Map(bounds=bounds).zoom == 11

    def test_of_a_window(self):
        m = Map()
        m.fit_bounds(GRID)
        assert m.center == pytest.approx([43.61, 1.268], abs=0.01) and m.zoom > 13


class TestSave:
    def test_writes_a_page_that_needs_nothing(self, image, tmp_path):
        m = Map(bounds=(1.25, 43.60, 1.29, 43.62))
        m.add(image, name="<b>Heights</b>")
        m.add((ml.from_array(image) > 200).style(classes={1: ("high", "red")}), name="Hidden", visible=False)
        m.add(ipyleaflet.Marker(location=(43.61, 1.27), name="here"))
        m.save(tmp_path / "map.html", title="Made & <saved>")
        page = (tmp_path / "map.html").read_text("utf-8")
        assert "<script" not in page and "http" not in re.sub(r"http-equiv", "", page) and "muses:" not in page
        assert page.count('src="data:image/png;base64,') == 2  # base map, heights
        assert "&lt;b&gt;Heights&lt;/b&gt;" in page and "Made &amp; &lt;saved&gt;" in page and "height (m)" in page
        assert "Hidden when the page was made: Hidden" in page and "only a browser draws it: Marker here" in page
        stream = io.StringIO()
        m.save(stream)
        assert stream.getvalue().startswith("<!doctype html>")

    def test_refuses_what_it_cannot_write(self, tmp_path):
        with pytest.raises(NotShown, match=r"m.save\('map.html'\) writes one, m.export_view\('view.tif'\) pixels"):
            Map().save(tmp_path / "map.png")
        with pytest.raises(MusesError, match="there is no folder"):
            Map().save(tmp_path / "none" / "map.html")
        with pytest.raises(NotShown, match="takes no views"):
            Map().save(tmp_path / "map.html", views=[])
