"""Measuring, searching for places and the box of the saved view: what their parts in the kernel answer."""

from __future__ import annotations

import pytest

from muses_lab.catalog.place import places
from muses_widgets import Map
from muses_widgets.geodesic import measured


def answer(m: Map, section: str, **message: object) -> dict:
    m.panel._receive(m.panel, {"section": section, **message}, [])
    return m.panel.sections[section]


def test_lengths_and_areas_are_those_of_the_ellipsoid():
    degree = measured([[0.0, 0.0], [1.0, 0.0]], closed=False)
    assert degree == {"length": pytest.approx(111_319.491, abs=0.01), "area": None}  # π a / 180
    quarter = measured([[0.0, 0.0], [0.0, 90.0]], closed=False)
    assert quarter["length"] == pytest.approx(10_001_965.729, abs=0.01)  # of the meridian of WGS 84
    half = measured([[0.0, 0.0], [90.0, 0.0], [90.0, 90.0]], closed=True)
    assert half["area"] == pytest.approx(510_065_621_724_088 / 8, rel=1e-9)  # an eighth of the ellipsoid
    one_way, other_way = [[1.0, 43.0], [1.1, 43.0], [1.1, 43.1]], [[1.1, 43.1], [1.1, 43.0], [1.0, 43.0]]
    assert measured(one_way, True)["area"] == pytest.approx(measured(other_way, True)["area"]) != 0
    assert measured([[1.0, 43.0]], True) == {"length": 0.0, "area": None}
    assert measured(one_way[:2], True)["area"] is None


def test_a_line_across_the_date_line_is_short():
    assert measured([[179.5, 0.0], [-179.5, 0.0]], False)["length"] == pytest.approx(111_319.491, abs=0.01)


def test_the_map_answers_with_the_id_that_asked():
    told = answer(Map(), "measure", id="7", points=[[0, 0], [1, 0]], closed=False)
    assert told["id"] == "7" and told["length"] == pytest.approx(111_319.491, abs=0.01)


def test_towns_are_found_by_the_beginning_of_a_name():
    assert places("toulous")[0].name == "Toulouse" and places("Paris")[0].country == "FR"
    assert {p.country for p in places("Paris,US")} == {"US"}
    assert places("saint etienne")[0].name == "Saint-Étienne"
    assert places("qqqqq") == [] and places("") == [] and places("!?") == []
    assert len(places("san", 5)) == 5
    told = answer(Map(), "search", text="Toulouse")
    assert told["text"] == "Toulouse" and told["places"][0] == {
        "name": "Toulouse", "country": "FR", "lat": pytest.approx(43.604, abs=0.01),
        "lon": pytest.approx(1.444, abs=0.01),
    }  # fmt: skip


def test_the_box_of_the_view_writes_beside_the_notebook_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    m = Map()
    assert answer(m, "view", do="check") == {"lost": [], "notes": []}
    told = answer(m, "view", do="save", name="mine")
    assert (told["name"], told["lost"]) == ("mine.json", []) and told["bytes"] == (
        tmp_path / "mine.json"
    ).stat().st_size
    for name in ("../x", "/x/y", "", ".hidden", "a/b"):
        assert "is no name of a file" in answer(m, "view", do="save", name=name)["text"]
    assert [path.name for path in tmp_path.iterdir()] == ["mine.json"]
