"""Areas drawn on the map: what the panel's box and Python do with them is one list."""

from __future__ import annotations

from typing import Any

import geopandas
import pytest
import shapely

from muses_widgets import Map
from muses_widgets.places.polygons import PolygonTools

BOX = shapely.box(1.4, 43.5, 1.5, 43.6)


@pytest.fixture
def m() -> Map:
    return Map()


def do(m: Map, what: str, **message: Any) -> dict[str, Any]:
    m.panel._receive(m.panel, {"section": "areas", "do": what, **message}, [])
    return m.panel.sections["areas"]


def tools(m: Map) -> PolygonTools:
    (found,) = [one for one in m.controls if isinstance(one, PolygonTools)]
    return found


def drawn(m: Map, shape: Any) -> None:
    """As the page tells it."""
    tools(m).data = [{"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(shape)}]


def test_what_is_drawn_is_kept_and_named(m):
    assert do(m, "draw")["drawing"]
    drawn(m, BOX)
    assert tools(m).data == [], "the next one is drawn from the beginning"
    drawn(m, shapely.box(2, 43, 2.1, 43.1))
    told = m.panel.sections["areas"]["areas"]
    assert [area["name"] for area in told] == ["Area 1", "Area 2"] == [place.name for place in m.areas]
    assert told[0]["metres"] == pytest.approx(89.7e6, rel=0.01) and told[0]["bounds"] == [1.4, 43.5, 1.5, 43.6]
    do(m, "rename", id="1", name="North field")
    do(m, "colour", id="2", colour="#123456")
    assert [(p.name, p.colour) for p in m.areas][0][0] == "North field" and m.areas["2"].colour == "#123456"
    assert do(m, "remove", id="2")["areas"][0]["name"] == "North field" and len(m.areas) == 1
    assert not do(m, "stop")["drawing"] and not [one for one in m.controls if isinstance(one, PolygonTools)]


def test_corners_are_moved_and_the_series_of_before_is_forgotten(m):
    kept = m.areas.add(BOX, name="Field")
    m.areas.note(kept.id, "NDVI", geopandas.pd.DataFrame({"x": [1]}))
    assert do(m, "edit", id=kept.id)["editing"] == kept.id
    assert shapely.geometry.shape(tools(m).data[0]["geometry"]).equals(BOX) and not m.areas[kept.id].visible
    moved = shapely.box(1.4, 43.5, 1.6, 43.6)
    drawn(m, moved)
    assert m.areas[kept.id].geometry.equals(moved) and not m.areas[kept.id].series
    told = do(m, "draw")
    assert told["editing"] == "" and m.areas[kept.id].visible and tools(m).data == [] and len(m.areas) == 1
    do(m, "edit", id=kept.id)
    tools(m).data = []  # removed with the tool
    assert len(m.areas) == 0 and m.panel.sections["areas"]["editing"] == ""


def test_areas_from_python_are_listed(m):
    m.areas.add(BOX, name="Field")
    assert m.panel.sections["areas"]["areas"][0]["name"] == "Field"
    assert [layer.name for layer in m.others] == ["Areas"] and m.areas is m.areas


def test_they_are_saved_as_a_geopackage(m, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert do(m, "save", name="areas")["text"] == "there is no area to save yet"
    m.areas.add(BOX, name="Field")
    told = do(m, "save", name="areas")
    assert told["name"] == "areas.gpkg" and told["bytes"] == (tmp_path / "areas.gpkg").stat().st_size
    frame = geopandas.read_file(tmp_path / "areas.gpkg", layer="places")
    assert list(frame["name"]) == ["Field"] and frame.geometry[0].equals(BOX) and frame.crs == 4326
    for name in ("../x.gpkg", "", ".x"):
        assert "is no name of a file" in do(m, "save", name=name)["text"]


def test_what_fails_is_said_in_the_box(m):
    assert "there is no place 'x'" in do(m, "edit", id="x")["text"]
    m.areas.add(BOX)
    assert "colour='?' is none" in do(m, "colour", id="1", colour="?")["text"]
