"""Views of a map as files: what comes back, in another home too, and what others will not see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import geopandas
import ipyleaflet
import numpy as np
import pytest
import shapely
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr

import muses_lab as ml
from muses_lab.api.views import View
from muses_lab.errors import DocumentError
from muses_lab.operators import Cube
from muses_lab.sample import generate
from muses_widgets import Map, VectorStyle
from muses_widgets.inputs import NotShown

pytestmark = pytest.mark.usefixtures("in_threads")

GRID = GeoBox((60, 80), Affine(10, 0, 360_000, 0, -10, 4_830_000), "EPSG:32631")


@pytest.fixture(scope="module")
def own_raster(isolated_home: Path) -> ml.Chain:
    values: xr.DataArray = wrap_xr(np.linspace(0, 1, 60 * 80, dtype="float32").reshape(60, 80), GRID)
    return ml.from_array(values)


@pytest.fixture
def m(s2: ml.Collection) -> Map:
    ndvi = s2.mask_clouds().ndvi()
    m = Map(center=(43.61, 1.4), zoom=12, basemap="None")
    m.add(ndvi.median("t").style(cmap="RdYlGn", vmin=0, vmax=1, label="NDVI"), name="NDVI", opacity=0.5)
    m.add(ndvi.over_time("month", "max").style(cmap="magma"), name="Months", visible=False)
    m.add(
        (ndvi.median("t") > 0.5).style(classes={0: ("bare", "tan"), 1: ("green", "darkgreen")}, hidden=[0]), name="Kind"
    )
    fields = geopandas.GeoDataFrame(
        {"crop": ["wheat", "maize"]}, geometry=[shapely.box(1, 43, 1.1, 43.1)] * 2, crs=4326
    )
    m.add(fields, name="Fields", style=VectorStyle.categories("crop", hidden=(1,)))
    m.add_background("https://a.example/wms", "Relief", layers="DEM", attribution="© A", opacity=0.7)
    m.areas.add(shapely.box(1.2, 43.5, 1.3, 43.6), name="Plot", colour="#d55e00")
    m.move("NDVI", "top")
    m.group("Plants", ["NDVI", "Fields", "Kind"], opacity=0.8)
    m.others[1].opacity = 0.4
    m.panel.closed = [m.tiles("Kind").model_id, m.others[1].model_id]
    m.date = "2018-04"
    m.swipe("NDVI", "Kind", at=0.3)
    return m


def shape_of(m: Map) -> dict[str, object]:
    """All that a view keeps, without ids."""
    names = {t.model_id: t.name for t in m.listed()}
    swipe = m.panel.swipe
    return {
        "layers": [(t.name, t.visible, t.opacity, t.entry["chain"], t.entry["style"]) for t in m.stack()],
        "rows": [(t.name, t.visible, t.opacity) for t in m.listed()], "groups": m.groups,
        "place": (m.center, m.zoom), "base": m.panel.basemap, "date": m.date,
        "folded": [names[id] for id in m.panel.closed],
        "swipe": (names[swipe["left"]], names[swipe["right"]], swipe["at"]),
        "others": [(type(o).__name__, o.name) for o in m.others],
    }  # fmt: skip


def test_a_view_comes_back_as_it_was(m, tmp_path):
    assert "Wrote " in repr(m.save_view(tmp_path / "view.json"))
    again = Map.open_view(tmp_path / "view.json", height="300px")
    assert shape_of(again) == shape_of(m) and again.panel.faults == [] and again.layout.height == "300px"
    relief, fields, _ = again.others
    assert (relief.url, relief.layers, relief.opacity) == ("https://a.example/wms", "DEM", 0.7)
    assert fields.legend == m.others[1].legend
    (plot,) = again.areas
    assert (plot.name, plot.colour) == ("Plot", "#d55e00")


def test_a_view_is_shown_in_a_map_that_has_others(m, tmp_path):
    m.save_view(tmp_path / "view.json")
    before = shape_of(m)
    m.swipe()
    m.remove("Kind")
    m.add_background("https://b.example/wms", "Other", layers="X")
    m.panel.basemap = "Offline"
    with pytest.raises(DocumentError):
        m.show_view(tmp_path / "none.json")
    assert "Other" in [one.name for one in m.others], "a file that cannot be read changes nothing"
    m.areas.remove(m.areas.find("1").id)
    m.show_view(tmp_path / "view.json")
    assert shape_of(m) == before and m.panel.faults == []
    m.panel._handle_custom_msg({"section": "view", "do": "open", "name": str(tmp_path / "view.json")}, [])
    assert m.panel.sections["view"] == {"opened": str(tmp_path / "view.json")}
    assert [area.name for area in m.areas] == ["Plot", "Plot"], "areas stay, and those of the view come to them"


def test_a_view_holds_the_scenes_as_they_were(m, tmp_path):
    m.save_view(tmp_path / "view.json")
    part = View.read(tmp_path / "view.json").layer("NDVI")
    window = ml.Window.from_bounds((1.38, 43.6, 1.4, 43.61), resolution=40)
    xr.testing.assert_identical(part.compute(window).drop_attrs(), m.layer("NDVI").compute(window).drop_attrs())


@pytest.mark.slow
def test_a_view_comes_back_in_another_home(m, tmp_path, sample_catalog):
    """Another user, who has registered the same catalogue, and knows nothing else."""
    m.save_view(tmp_path / "view.json")
    code = f"""
import json
from muses_lab.catalog import register_catalog
from muses_widgets import Map
register_catalog({str(sample_catalog)!r})
m = Map.open_view({str(tmp_path / "view.json")!r})
print(json.dumps([[t.name, t.entry["chain"]] for t in m.stack()] + m.panel.faults))
"""
    env = {**os.environ, "MUSES_LAB_HOME": str(tmp_path / "home")}
    out = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert json.loads(out.stdout.splitlines()[-1]) == [[t.name, t.entry["chain"]] for t in m.stack()]


def test_what_others_will_not_see_is_said_before_it_is_sent(own_raster, tmp_path, sample_catalog):
    m = Map()
    m.add(own_raster, name="Mine")
    m.add(ipyleaflet.Marker(location=(43, 1), name="Here"))
    checked = m.check_view()
    told = [str(fault) for fault in checked.faults]
    assert not checked.complete and checked.path is None
    assert any("layer 'Mine'" in line and "in no shared catalogue" in line for line in told)
    assert "Marker 'Here': only a notebook can hold it, not a file" in told
    assert repr(checked).startswith("Others will not see:\n  - layer 'Mine'")


def test_files_that_everybody_can_read_are_no_loss():
    with tempfile.TemporaryDirectory() as place:  # pytest's own folders are private
        folder = Path(place)
        generate(folder / "catalog", size=288, dates=2)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)
        m = Map()
        m.add(ml.collection("sentinel-2-l2a", str(folder / "catalog")).ndvi().median("t"), name="NDVI")
        (fault,) = m.check_view().faults
        assert not fault.lost and "where the catalogue" in fault.why
        folder.chmod(0o700)
        (fault,) = m.check_view().faults
        assert fault.lost


def test_a_private_layer_stays_with_its_author(own_raster, tmp_path, own):
    @ml.operator
    def doubled(data: Cube) -> Cube:
        return data * 2

    m = Map()
    m.add(own_raster.doubled(), name="Own")
    m.add(own_raster, name="Mine")
    assert "runs code of its author's notebook" in repr(m.save_view(tmp_path / "view.json"))
    assert "cloudpickle" not in (tmp_path / "view.json").read_text("utf-8")
    again = Map.open_view(tmp_path / "view.json")
    assert [t.name for t in again.stack()] == ["Mine"]
    assert again.panel.faults == ["layer 'Own': layer 'Own' is private: its author's notebook alone can show it"]


def test_an_address_with_a_key_is_not_written(tmp_path):
    m = Map()
    m.add_background("https://a.example/{z}/{x}/{y}.png?apikey=secret", "Keyed")
    with pytest.raises(NotShown, match="holds a key of yours"):
        m.save_view(tmp_path / "view.json")
    assert not list(tmp_path.iterdir())


def test_the_base_map_comes_back(tmp_path):
    for given in ("Offline", "Terrain", ipyleaflet.basemaps.Esri.WorldTopoMap):
        m = Map(basemap=given)
        m.save_view(tmp_path / "view.json")
        again = Map.open_view(tmp_path / "view.json")
        assert (again.panel.basemap, again.layers[0].url) == (m.panel.basemap, m.layers[0].url)
    assert "it comes from the internet" in repr(m.check_view())


def test_a_file_that_is_no_view_says_what_is_wrong(m, tmp_path):
    m.save_view(tmp_path / "view.json")
    good = json.loads((tmp_path / "view.json").read_text("utf-8"))
    for change, message in (
        ({"type": "x"}, 'its "type" is not "muses:view"'), ({"version": 2}, "version 2; this release reads 1"),
        ({"center": [100, 0]}, r"center\.0: Input should be less than"), ({"colour": 1}, "colour: Extra inputs"),
        ({"layers": [good["layers"][0]] * 2}, "2 layers 'NDVI'"),
    ):  # fmt: skip
        with pytest.raises(DocumentError, match=message):
            View.read({**good, **change})
    (tmp_path / "broken.json").write_text('{"type": ', "utf-8")
    with pytest.raises(DocumentError, match="it is no JSON"):
        Map.open_view(tmp_path / "broken.json")
    with pytest.raises(DocumentError, match="cannot be read"):
        Map.open_view(tmp_path / "nothing.json")
    with pytest.raises(DocumentError, match="a view is written as JSON"):
        m.save_view(tmp_path / "view.html")
    broken = {**good, "layers": [{**good["layers"][0], "chain": {"process_graph": {}}}, *good["layers"][1:]]}
    again = Map.open_view(broken)
    assert len(again.stack()) == 2 and again.panel.faults[0].startswith("layer 'NDVI': ")


def test_the_command_checks_a_view(own_raster, tmp_path):
    from typer.testing import CliRunner

    from muses_lab.cli import app

    m = Map(zoom=9)
    m.add(own_raster, name="Mine", visible=False)
    m.save_view(tmp_path / "view.json")
    done = CliRunner().invoke(app, ["view", str(tmp_path / "view.json")])
    assert done.exit_code == 1 and "layer 'Mine', hidden" in done.output and "missing: layer 'Mine'" in done.output
    assert "zoom 9, base map Offline" in done.output


def test_a_view_of_somebody_else_brings_no_markup_into_the_page(m: Map, tmp_path: Path) -> None:
    m.add_background("https://a.example/{z}/{x}/{y}.png", "Theirs", attribution='© <a href="https://a.example">A</a>')
    path = tmp_path / "view.json"
    m.save_view(path)
    told = json.loads(path.read_text())
    told["backgrounds"][0]["source"]["attribution"] = '<img src=x onerror="alert(1)">© A & B <script'
    told["basemap"] = {
        "name": "Odd",
        "url": "https://b.example/{z}/{x}/{y}.png",
        "attribution": "<svg onload=alert(1)>B",
    }
    opened = Map.open_view(told)
    said = [str(getattr(layer, "attribution", "")) for layer in opened.layers]
    said += [one["attribution"] for one in opened.panel.basemaps]
    assert not any("onerror" in text or "onload" in text or "<script" in text for text in said), said
    assert "© A &amp; B &lt;script" in said and "B" in said


def test_values_of_a_wrong_type_are_faults_of_their_layer(m: Map) -> None:
    told = json.loads(json.dumps(m._view().document.model_dump(mode="json")))
    told["vectors"][0]["style"] = {"chosen": 5}
    opened = Map.open_view(told)
    assert [tiles.name for tiles in opened.stack()] and any("vectors" in fault for fault in opened.panel.faults)
