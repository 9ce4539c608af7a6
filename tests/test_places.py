"""Kept places: a list of points and polygons that is changed, filtered, and comes back from files with its series."""

from __future__ import annotations

import json

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from muses_lab.api.features import RepairedVectors
from muses_lab.errors import ArgumentError, MusesError, NotFound
from muses_lab.tables.kept import KeptSeries
from muses_widgets.places.kept import COLOURS, Places, is_ours

pytestmark = pytest.mark.usefixtures("in_threads")

LON, LAT = 1.41, 43.58
POINT = shapely.Point(LON, LAT)
SQUARE = shapely.box(1.40, 43.57, 1.405, 43.575)


@pytest.fixture
def places() -> Places:
    return Places()


@pytest.fixture(scope="module")
def ndvi(s2):
    return s2.mask_clouds().ndvi()


@pytest.fixture(scope="module")
def of_point(ndvi):
    return ndvi.series(LON, LAT)


@pytest.fixture(scope="module")
def of_square(ndvi):
    return ndvi.over(SQUARE, stats=["mean", "q10"])


@pytest.fixture
def kept(places, of_point, of_square) -> Places:
    point, square = places.add(POINT, "Field"), places.add(SQUARE, attributes={"crop": "wheat", "area": 2.5})
    places.note(point.id, "NDVI", of_point)
    places.note(point.id, "as text", of_point.table.iloc[:3])
    places.note(square.id, "NDVI", of_square)
    return places


def test_places_get_names_and_colours_that_others_do_not_have(places):
    made = [places.add(POINT) for _ in COLOURS] + [places.add(SQUARE, "Wood", "green")]
    assert [place.colour for place in made] == [*COLOURS, "#008000"]
    assert [place.name for place in made[:2]] == ["Point 1", "Point 2"]
    assert made[-1].name == "Wood" and not made[-1].is_point
    assert len({place.id for place in places}) == len(places) == len(COLOURS) + 1
    places.remove(made[2].id)
    assert places.add(POINT).colour == COLOURS[2]  # it is free again
    assert places.add(POINT).id not in {place.id for place in made}  # ids are for good


def test_changes_are_told_once(places):
    told = []
    places.on_change(lambda: told.append(len(places)))
    field = places.add(POINT)
    places.change(field.id, name="  North   field ", visible=False)
    assert (places[field.id].name, places[field.id].visible) == ("North field", False)
    places.change(field.id, name="North field")  # it is called so already
    with places.together():
        places.add(POINT)
        places.add(POINT)
    places.remove(field.id)
    assert told == [1, 1, 3, 2]


def test_what_is_no_place_is_refused_with_a_sentence(places):
    with pytest.raises(ArgumentError, match="a point or a polygon, not a LineString"):
        places.add(shapely.LineString([(1, 43), (2, 44)]))
    with pytest.raises(ArgumentError, match="give degrees, longitude first"):
        places.add(shapely.Point(371_000, 4_826_000))
    with pytest.raises(ArgumentError, match="'no colour' is none"):
        places.add(POINT, colour="no colour")
    with pytest.raises(NotFound, match="there is no place '7'; there are none"):
        places["7"]
    place = places.add({"type": "Point", "coordinates": [LON, LAT]})
    with pytest.raises(ArgumentError, match="is no name"):
        places.change(place.id, name=" ")
    with pytest.raises(ArgumentError, match=r"places\.gpkg"):
        places.save("places.shp")


def test_places_are_found_by_name_and_filtered_by_attributes(kept):
    assert kept.find("Field").id == "1"
    kept.add(POINT, "Field")
    with pytest.raises(NotFound, match="2 places are called 'Field': give one of the ids '1', '3'"):
        kept.find("Field")
    assert kept.where("fie") == ["1", "3"]
    assert kept.where("crop = 'wheat' AND area > 2") == ["2"]
    assert kept.where("name = 'Field'") == ["1", "3"]
    with pytest.raises(MusesError, match="crops"):
        kept.where("crops = 'wheat'")


@pytest.mark.parametrize("name", ["places.gpkg", "places.geojson"])
def test_a_saved_list_comes_back_with_its_series_to_the_last_digit(kept, tmp_path, name):
    kept.change("2", visible=False, colour="red")
    path = kept.save(tmp_path / name)
    back = Places.open(path)
    assert [(p.id, p.name, p.colour, p.visible) for p in back] == [(p.id, p.name, p.colour, p.visible) for p in kept]
    assert dict(back["2"].attributes) == {"crop": "wheat", "area": 2.5} and not back["1"].attributes
    for place in kept:
        assert back[place.id].geometry.equals(place.geometry)
        assert list(back[place.id].series) == list(place.series)
        for quantity, rows in place.series.items():
            pd.testing.assert_frame_equal(
                back[place.id].series[quantity], rows, check_exact=True, check_dtype=False, check_like=True
            )
    assert back.add(POINT).id == "3"
    back.save(path)  # in the place of what is there
    assert len(Places.open(path)) == 3


def test_others_read_what_was_saved(kept, tmp_path, of_point):
    package, text = kept.save(tmp_path / "places.gpkg"), kept.save(tmp_path / "places.geojson")
    frame = geopandas.read_file(package, layer="places")
    assert list(frame["name"]) == ["Field", "Polygon 2"] and frame.crs == "EPSG:4326"
    series = geopandas.read_file(package, layer="series")
    of_field = series[(series["place"] == "1") & (series["quantity"] == "NDVI")]
    np.testing.assert_array_equal(of_field["value"], of_point.table["value"])
    assert list(of_field["scene"]) == list(of_point.table["scene"])
    document = json.loads(text.read_text())
    values = document["features"][0]["properties"]["series"]["NDVI"]["value"]
    np.testing.assert_array_equal(np.array(values, float), of_point.table["value"])


def test_the_series_of_all_places_are_one_table(kept, tmp_path, of_point, of_square):
    table = kept.table()
    assert len(table) == len(of_point.table) + 3 + len(of_square.table)
    assert list(table.columns[:3]) == ["place", "place_name", "quantity"] and "geometry" not in table
    rows = pd.read_csv(kept.to_csv(tmp_path / "all.csv"), float_precision="round_trip")
    np.testing.assert_array_equal(rows["value"], table["value"])
    rows = pd.read_parquet(kept.to_parquet(tmp_path / "all.parquet"))
    np.testing.assert_array_equal(rows["mean"], table["mean"])


def test_names_that_spreadsheets_would_run_are_texts_in_csv_and_as_they_are_elsewhere(places, tmp_path, of_point):
    names = ["=HYPERLINK(1)", "+1 field", "-field", "@SUM(A1)", "-12.5", "North"]
    for name in names:
        places.note(places.add(shapely.Point(1.4, 43.6), name).id, "=NDVI", of_point)
    rows = pd.read_csv(places.to_csv(tmp_path / "a.csv"), dtype=str)
    told = rows["place_name"].drop_duplicates().tolist()
    assert told == ["'=HYPERLINK(1)", "'+1 field", "'-field", "'@SUM(A1)", "-12.5", "North"]
    assert set(rows["quantity"]) == {"'=NDVI"}
    exact = pd.read_parquet(places.to_parquet(tmp_path / "a.parquet"))
    assert exact["place_name"].drop_duplicates().tolist() == names
    numbers = pd.read_csv(tmp_path / "a.csv", float_precision="round_trip")["value"]
    np.testing.assert_array_equal(numbers, exact["value"])


def test_a_file_of_others_becomes_places(tmp_path):
    frame = geopandas.GeoDataFrame(
        {"crop": ["wheat", "maize"], "id": [7, 8]}, geometry=[SQUARE, SQUARE.buffer(0.001)], crs="EPSG:4326"
    ).to_crs("EPSG:32631")
    frame.to_file(tmp_path / "parcels.gpkg")
    found = Places.open(tmp_path / "parcels.gpkg")
    assert [place.attributes["crop"] for place in found] == ["wheat", "maize"]
    assert found.where("crop = 'maize'") == ["2"]
    more = found.extend(tmp_path / "parcels.gpkg", name="crop")
    assert [place.name for place in more] == ["wheat", "maize"] and len(found) == 4
    assert np.allclose(found["1"].geometry.bounds, SQUARE.bounds)


# ----------------------------------------------------------------------- files: nothing is lost or changed

FORMATS = pytest.mark.parametrize("name", ["places.gpkg", "places.geojson"])


def again(places: Places, path) -> Places:
    back = Places.open(places.save(path))
    assert [dict(place.attributes) for place in back] == [dict(place.attributes) for place in places]
    types = [[type(value) for value in place.attributes.values()] for place in places]
    assert [[type(value) for value in place.attributes.values()] for place in back] == types
    return back


@FORMATS
def test_a_polygon_without_any_value_comes_back_with_its_columns(places, tmp_path, name):
    rows = pd.DataFrame({"date": pd.to_datetime(["2020-01-01"]), "mean": [np.nan], "q10": [np.nan], "chain": ["h"]})
    places.note(places.add(SQUARE).id, "NDVI", rows)
    places.note("1", "other", rows.iloc[:0])
    places.note(places.add(POINT).id, "NDVI", rows.rename(columns={"mean": "value"}).drop(columns="q10"))
    back = again(places, tmp_path / name)
    for place in places:
        assert list(back[place.id].series) == list(place.series)
        for quantity, table in place.series.items():
            pd.testing.assert_frame_equal(back[place.id].series[quantity], table.reset_index(drop=True))
    assert KeptSeries(back["1"].series["NDVI"]).VALUE == "mean"


@FORMATS
def test_series_keep_times_and_infinite_numbers(places, tmp_path, name):
    times = pd.to_datetime(["2020-01-01T10:11:12.123456", "1950-02-03T01:02:03.123999", None], format="ISO8601")
    rows = pd.DataFrame({"date": times, "value": [np.inf, -np.inf, 0.1 + 0.2], "n": [1, 2, 3], "fid": ["a", "b", ""]})
    places.note(places.add(POINT).id, "NDVI", rows)
    places.note("1", "no dates", rows[["value"]].astype("float32"))
    back = again(places, tmp_path / name)["1"].series
    pd.testing.assert_frame_equal(back["NDVI"], rows, check_exact=True)
    pd.testing.assert_frame_equal(back["no dates"], rows[["value"]].astype("float32"), check_exact=True)


OFTEN = ["Name", "name", "id", "ID", "fid", "Fid", "geom", "geometry", "colour", "visible", "series", "_name", "types"]
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_infinity=False, allow_nan=False) | st.text()
ATTRIBUTES = st.dictionaries(st.sampled_from([*OFTEN, "feature_name", "", "a", "A"]) | st.text(max_size=5), VALUES)


@FORMATS
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(known=[dict.fromkeys(OFTEN, "x"), {"n": 5, "b": True}, {}, {"n": 2**53 + 1, "b": None}])
@given(known=st.lists(ATTRIBUTES, min_size=1, max_size=3))
def test_attributes_of_any_name_and_type_come_back_as_they_were(known, tmp_path, name):
    places = Places()
    for attributes in known:
        places.add(POINT, "Field", attributes=attributes)
    back = again(places, tmp_path / name)
    assert [(place.id, place.name) for place in back] == [(place.id, place.name) for place in places]


@FORMATS
def test_attributes_of_numpy_are_numbers_and_missing_ones_none(places, tmp_path, name):
    given = {"n": np.int64(3), "gap": np.nan, "day": pd.Timestamp("2020-01-01"), "a": pd.NA}
    place = places.add(POINT, attributes=given)
    assert place.attributes == {"n": 3, "gap": None, "day": "2020-01-01T00:00:00", "a": None}
    again(places, tmp_path / name)
    with pytest.raises(ArgumentError, match="'n' .* is infinite"):
        places.add(POINT, attributes={"n": np.inf})
    assert len(places) == 1


def test_others_read_attributes_under_names_of_their_own(places, tmp_path):
    places.add(POINT, "Field", attributes={"Name": "x", "fid": 7, "wet": True})
    places.add(POINT, attributes={"fid": None})
    frame = geopandas.read_file(places.save(tmp_path / "places.gpkg"), layer="places")
    assert list(frame["name"]) == ["Field", "Point 2"] and list(frame["feature_Name"]) == ["x", None]
    assert frame["feature_fid"][0] == 7 and frame["wet"][0]


@FORMATS
def test_an_empty_list_comes_back_and_no_id_is_used_twice(places, tmp_path, name):
    for _ in range(3):
        places.add(POINT)
    places.remove("3")
    back = again(places, tmp_path / name)
    assert back.add(POINT).id == "4"
    back.clear()
    assert len(again(back, tmp_path / name)) == 0 and Places.open(tmp_path / name).add(POINT).id == "5"


@FORMATS
def test_a_file_with_columns_called_like_ours_is_anothers(tmp_path, name):
    path = tmp_path / name
    frame = geopandas.GeoDataFrame(
        {"id": [1, 1], "name": ["a", None], "colour": ["brown", "#zz"], "visible": ["no", "no"]},
        geometry=[POINT, SQUARE], crs="EPSG:4326",
    )  # fmt: skip
    frame.to_file(path)
    found = Places.open(path)
    assert [(place.id, place.name) for place in found] == [("1", "a"), ("2", "1" if name.endswith("json") else "2")]
    assert [place.attributes["colour"] for place in found] == ["brown", "#zz"]
    assert not is_ours(path) and is_ours(found.save(path))


def test_a_feature_that_lost_its_shape_takes_no_series_of_others_with_it(kept):
    document = kept.to_json()
    document["features"][0]["geometry"] = None
    with pytest.warns(RepairedVectors, match="no geometry"):
        back = Places.from_json(document)
    assert [(place.id, list(place.series)) for place in back] == [("2", ["NDVI"])]


def test_what_a_gis_changed_in_our_file_is_taken(kept, tmp_path):
    path = kept.save(tmp_path / "places.gpkg")
    frame = geopandas.read_file(path, layer="places")
    frame.loc[0, "name"] = "Moved"
    frame.geometry = [shapely.Point(2, 44), SQUARE]
    copied = frame.iloc[[0, 1, 1]].copy()
    copied.iloc[2, list(copied.columns).index("name")] = None
    copied.to_file(path, layer="places")
    back = Places.open(path)
    assert [(place.id, place.name) for place in back] == [("1", "Moved"), ("2", "Polygon 2"), ("3", "Place 3")]
    assert back["1"].point == (2, 44) and list(back["1"].series) == ["NDVI", "as text"]


def test_other_layers_of_our_file_stay_and_a_link_stays_a_link(kept, tmp_path):
    path = kept.save(tmp_path / "places.gpkg")
    geopandas.GeoDataFrame({"a": [1]}, geometry=[POINT], crs="EPSG:4326").to_file(path, layer="mine")
    link = tmp_path / "link.gpkg"
    link.symlink_to(path)
    kept.remove("2")
    assert kept.save(link) == link and link.is_symlink()
    assert len(geopandas.read_file(path, layer="mine")) == 1
    assert [place.name for place in Places.open(path)] == ["Field"]
