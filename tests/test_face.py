"""What people hand over and hold: chains as Python objects, dates, places, and sentences for mistakes."""

from __future__ import annotations

import contextlib
import copy
import datetime
import hashlib
import json
import multiprocessing
import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import dask
import ipywidgets
import numpy as np
import pandas as pd
import pytest
import shapely
import xarray as xr

import muses_lab as ml
from muses_lab import compute
from muses_lab.api.written import LONGEST
from muses_lab.catalog import place
from muses_lab.document import artefacts
from muses_lab.errors import ArgumentError, DocumentError, MusesError, NotFound
from muses_lab.operators import registry
from muses_lab.publish.bundle import KEY
from muses_lab.scenes import source
from muses_lab.scenes.scene import Scenes, canonical
from muses_lab.scenes.source import source_of
from muses_lab.scenes.wire import pack, unpack
from muses_lab.series import OutsideScenes, dated, series_there
from tests.helpers.made_stacks import stack

pytestmark = pytest.mark.usefixtures("in_threads")

WINDOW = ml.Window.from_bounds((1.40, 43.58, 1.402, 43.582), crs="EPSG:32631", resolution=20)
BOX = (1.3, 43.5, 1.5, 43.7)
LON, LAT = 1.41, 43.58


@pytest.fixture
def ndvi(s2: ml.Collection) -> ml.Chain:
    return s2.mask_clouds().ndvi().median("t")


# ------------------------------------------------------------------------------------------ chains as objects (20)


def used(chain: ml.Chain) -> ml.Chain:
    """A chain that knows everything that can be worked out of it."""
    chain.compute(WINDOW)
    chain.style().drawn  # noqa: B018
    if isinstance(chain, ml.Collection):
        len(chain)
    return chain


COPIES: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda it: pickle.loads(pickle.dumps(it)),
    "the oldest pickle": lambda it: pickle.loads(pickle.dumps(it, 0)),
    "cloudpickle": lambda it: cloudpickle.loads(cloudpickle.dumps(it)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


@pytest.mark.parametrize("way", COPIES)
def test_chains_are_copied_before_and_after_their_first_use(s2: ml.Collection, ndvi: ml.Chain, way: str):
    again = COPIES[way]
    value = used(ndvi).at(LON, LAT).item()
    for chain in (s2.ndvi().median("t"), ndvi, s2, used(s2.limit(2).median("t").band("red")), ndvi.resolve(), ndvi > 0):
        made = again(chain)
        assert type(made) is type(chain) and made.identical(chain) and repr(made) == repr(chain)
    assert again(ndvi).at(LON, LAT).item() == value
    np.testing.assert_array_equal(again(ndvi.compute)(WINDOW), ndvi.compute(WINDOW))
    layer = ndvi.style(cmap="RdYlGn", vmin=0)
    _ = layer.drawn, layer.hash
    made = again(layer)
    assert made == layer and made.hash == layer.hash and made.look.range == layer.look.range
    assert again(s2).near("Toulouse").identical(s2.near("Toulouse"))


def test_what_was_worked_out_of_a_chain_does_not_travel(ndvi: ml.Chain):
    before = len(pickle.dumps(ndvi))
    used(ndvi)
    assert len(pickle.dumps(ndvi)) == before


def test_a_pinned_chain_takes_its_scenes_along(ndvi: ml.Chain):
    pinned = ndvi.resolve()
    (scenes,) = pickle.loads(pickle.dumps(pinned)).published.scenes.values()
    (expected,) = pinned.published.scenes.values()
    assert scenes == expected and scenes.digest == expected.digest
    packed = unpack(pack(expected, source_of(expected).columns))  # as long lists are kept
    copied = pickle.loads(pickle.dumps(packed))
    assert list(copied.scenes) == list(expected.scenes) and copied.to_bytes() == expected.to_bytes()


def test_deep_chains_are_copied_and_shown(ndvi: ml.Chain):
    chain = ndvi
    for _ in range(4000):
        chain = chain + 0.5
    made = pickle.loads(pickle.dumps(chain))
    assert made.identical(chain) and len(repr(made)) < LONGEST + 100
    doubled = ndvi
    for _ in range(60):  # written out in full it would have 2**60 terms
        doubled = doubled * doubled
    assert len(repr(doubled)) < LONGEST + 100


def _value(chain: ml.Chain) -> float:
    ml.use("threads")
    return chain.at(LON, LAT).item()


def test_chains_go_to_other_processes_and_through_the_user_s_own_dask(ndvi: ml.Chain, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MUSES_COMPUTE", "threads")
    value = _value(used(ndvi))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.starmap(ndvi.at, [(LON, LAT)])[0].item() == value
    tasks = [
        dask.delayed(_value)(ndvi),
        dask.delayed(_value)(ndvi.resolve()),
        dask.delayed(lambda x: x.chain)(ndvi.style()),
    ]
    found = dask.compute(*tasks, scheduler="threads")
    assert found[:2] == (value, value) and found[2].identical(ndvi)
    assert dask.base.tokenize(ndvi) == dask.base.tokenize(copy_of(ndvi)) != dask.base.tokenize(ndvi + 1)


def copy_of(chain: ml.Chain) -> ml.Chain:
    return pickle.loads(pickle.dumps(chain))


def test_sameness_where_python_asks_for_it(s2: ml.Collection, ndvi: ml.Chain):
    ndwi = s2.mask_clouds().ndwi().median("t")
    chains = [ndwi, ndvi]
    assert copy_of(ndvi) in chains and s2.ndvi() not in chains
    assert chains.index(copy_of(ndvi)) == 1 and chains.count(ndwi) == 1
    assert {ndvi, copy_of(ndvi), ndwi} == {ndwi, ndvi} and {ndvi: "a"}[copy_of(ndvi)] == "a"
    assert bool(ndvi == copy_of(ndvi)) and not bool(ndvi == ndwi) and bool(ndvi != ndwi) and not bool(ndvi != ndvi)
    assert bool(s2 == copy_of(s2)) and s2 != s2.limit(1)
    # pixel by pixel they are chains as ever, and stay without a truth value otherwise
    assert isinstance(ndvi == ndwi, ml.Chain) and (ndvi == ndvi).compute(WINDOW).max() == 1
    for test in (ndvi == 0, (ndvi == ndwi) & (ndvi > 0), ndvi > ndwi, ~(ndvi == ndwi), ndvi):
        with pytest.raises(TypeError, match="truth value"):
            bool(test)
    with pytest.raises(TypeError, match="truth value"):
        assert 0 not in [ndvi]


def test_sameness_of_layers(s2: ml.Collection, ndvi: ml.Chain):
    a, b = ndvi.style(cmap="RdYlGn"), s2.ndwi().median("t").style(cmap="RdYlGn")
    assert a == copy_of(ndvi).style(cmap="RdYlGn") and (a == b) is False and a != ndvi.style(cmap="viridis")
    assert a in [b, a] and [b, a].index(a) == 1 and {a, a.style(cmap="RdYlGn")} == {a} and a != "a"


def _keeping(seen: list[Any]) -> Callable[[Any], None]:
    def keep(chain: Any) -> None:
        seen.append(chain)

    return keep


def test_chains_and_layers_are_options_of_widgets(s2: ml.Collection, ndvi: ml.Chain):
    ndwi = s2.mask_clouds().ndwi().median("t")
    for options in ({"NDVI": ndvi, "NDWI": ndwi}, {"NDVI": ndvi.style(), "NDWI": ndwi.style(cmap="Blues")}):
        for kind in (ipywidgets.Dropdown, ipywidgets.Select, ipywidgets.RadioButtons, ipywidgets.SelectionSlider):
            chosen: list[Any] = []
            widget = kind(options=options, value=options["NDVI"])
            widget.observe(lambda change, chosen=chosen: chosen.append(change["new"]), "value")
            widget.label = "NDWI"
            widget.value = options["NDVI"]
            assert chosen == [options["NDWI"], options["NDVI"]] and widget.label == "NDVI"
            widget.options = [("one", options["NDWI"]), ("none", None)]
            assert widget.value == options["NDWI"]
        many = ipywidgets.SelectMultiple(options=options, value=[options["NDWI"]])
        assert many.label == ("NDWI",)
        seen: list[Any] = []
        keep = _keeping(seen)
        box = ipywidgets.interactive(keep, chain=options)
        box.update()
        box.children[0].label = "NDWI"
        assert seen[-1] == options["NDWI"]


# -------------------------------------------------------------------------------------------------- reprs (11)


def test_a_chain_shows_its_steps_as_they_were_written(s2: ml.Collection):
    ndvi = s2.near("Toulouse").dates("2018-03", "2018-06").mask_clouds().ndvi().median("t")
    root = f"collection('sentinel-2-l2a', catalog={s2.catalog.id!r})"
    text = f"{root}.near('Toulouse').dates('2018-03', '2018-06').mask_clouds().ndvi().median('t')"
    assert repr(ndvi) == f"<Chain {ndvi.hash[:8]}: {text}>"
    red = s2.band("red").median()
    base = f"{root}.band('red').median()"
    for chain, written in (
        ((red > 0.5).closing(2), f"({base} > 0.5).closing(2)"),
        (2 * (1 - red) ** 2, f"2 * (1 - {base}) ** 2"),
        (red - (red - 1), f"{base} - ({base} - 1)"),
        (red - 1 + 2, f"{base} - 1 + 2"),
        (-red, f"-{base}"),
        (abs(~red), f"abs(~{base})"),
        (red.mask(red < np.float32(0.25)), f"{base}.mask({base} < 0.25)"),
        (red.clip(max=1, min=xr.DataArray(0.5)), f"{base}.clip(max=1, min=0.5)"),
        (s2.ndwi(), f"{root}.ndwi()"),
        (copy_of(red) + 1, f"{base} + 1"),
    ):
        assert repr(chain) == f"<Chain {chain.hash[:8]}: {written}>"
    assert repr(red.style(cmap="gray", vmin=0)) == f"<Layer cmap='gray', vmin=0.0 of {red!r}>"
    assert repr(s2.near("Toulouse")) == f"<Collection {root}.near('Toulouse') in catalogue {s2.catalog.id!r}>"
    document = ml.Chain.from_json(ndvi.to_json())
    assert "→ ndvi → reduce_dimension(median)" in repr(document)


def test_the_repr_of_a_plan_is_a_sentence(s2: ml.Collection):
    plan = s2.ndvi().median("t").plan(WINDOW)
    assert repr(plan) == f"<Plan: {plan}>" and "GeoBox" not in repr(plan)


def test_completion_offers_what_users_need(s2: ml.Collection, ndvi: ml.Chain):
    layer = ndvi.style()
    for thing, offered, hidden in (
        (ndvi, {"ndvi", "at", "compute", "export", "median", "style"}, {"published", "pixels", "with_artefacts_of"}),
        (s2, {"near", "dates", "bbox", "table", "items"}, {"published", "pixels", "with_artefacts_of"}),
        (layer, {"at", "compute", "export", "plan", "share", "style", "chain"}, {"drawn"}),
    ):
        names = {name for name in dir(thing) if not name.startswith("_")}
        assert offered <= names and not hidden & names
        assert all(hasattr(thing, name) for name in names)
    assert {"plots", "collection"} <= set(dir(ml))
    assert all(getattr(ml, name) is getattr(ml, name) for name in ml.__all__)  # no module in the place of a function


# ------------------------------------------------------------------------------------------------- dates (23)


def test_dates_as_people_have_them(s2: ml.Collection):
    spring = s2.dates("2018-03-01", "2018-06-01")
    assert 0 < len(spring) < len(s2)
    chosen = s2.ndvi().dates("2018-03-01", "2018-06-01")
    for start, end in (
        (datetime.date(2018, 3, 1), datetime.date(2018, 6, 1)),
        ("2018-03", "2018-06"),
        (np.datetime64("2018-03-01"), np.datetime64("2018-06-01")),
    ):
        assert s2.dates(start, end).identical(spring) and s2.ndvi().dates(start, end).identical(chosen)
    for start, end in (
        (datetime.datetime(2018, 3, 1), datetime.datetime(2018, 6, 1)),
        (pd.Timestamp("2018-03-01"), pd.Timestamp("2018-06-01", tz="UTC")),
        (pd.Timestamp("2018-03-01 01:00", tz="Europe/Paris"), datetime.datetime(2018, 6, 1, tzinfo=datetime.UTC)),
        (xr.DataArray(np.datetime64("2018-03-01", "ns")), np.datetime64("2018-06-01T00:00:00", "ns")),
    ):
        assert [i["id"] for i in s2.dates(start, end).items] == [i["id"] for i in spring.items]
        assert s2.dates(start, end).query.start == "2018-03-01T00:00:00Z"
        assert s2.ndvi().dates(start, end).published.prepared.output.times == chosen.published.prepared.output.times


def test_one_date_stands_for_all_of_it(s2: ml.Collection):
    for given, period in (
        ("2018", ("2018-01-01", "2019-01-01")),
        ("2018-02", ("2018-02-01", "2018-03-01")),
        ("2018-12", ("2018-12-01", "2019-01-01")),
        ("2018-12-31", ("2018-12-31", "2019-01-01")),
        (datetime.date(2018, 2, 28), ("2018-02-28", "2018-03-01")),
    ):
        query = s2.dates(given).query
        assert (query.start, query.end) == period
        assert s2.ndvi().dates(given).identical(s2.ndvi().dates(*period))
    assert (s2.dates("2018", None).query.start, s2.dates("2018", None).query.end) == ("2018-01-01", None)


# ------------------------------------------------------------------------------------------------ numbers (23)


def test_numbers_in_arrays_without_dimensions_are_numbers(ndvi: ml.Chain):
    values = ndvi.compute(WINDOW)
    low, high = values.min(), values.max()
    for of in (lambda v: v, lambda v: v.values, lambda v: v.values[()], lambda v: v.chunk() if v.ndim else v.compute()):
        style = ndvi.style(vmin=of(low), vmax=of(high), opacity=np.array(0.5)).look
        assert style.range == (float(low), float(high)) and json.dumps(style.to_json())
        number = float(low)
        for made, expected in (
            (ndvi - of(low), ndvi - number),
            (ndvi > of(low), ndvi > number),
            (ndvi.clip(of(low), of(high)), ndvi.clip(number, float(high))),
            (ndvi.isin(np.array([1, 2])), ndvi.isin([1, 2])),
            (ndvi.isin({2, 1}), ndvi.isin([1, 2])),
            (ndvi.focal_mean(np.int64(2)), ndvi.focal_mean(2)),
        ):
            assert made.identical(expected)
    for act in (
        lambda: ndvi - values,
        lambda: values - ndvi,
        lambda: ndvi * np.ones(3),
        lambda: ndvi > pd.Series([1, 2]),
    ):
        with pytest.raises(TypeError, match=r"array of \d+|unsupported"):
            act()


# ---------------------------------------------------------------------------------------------------- at (11)


class Spot:
    """Anything with `lon` and `lat`, as what `m.clicked` gives."""

    lon, lat = LON, LAT


def test_a_place_is_given_in_many_ways_and_in_one_order(ndvi: ml.Chain):
    value = ndvi.at(LON, LAT)
    assert np.isfinite(value) and value.dims == () and (value.lon, value.lat) == (LON, LAT)
    point = {"type": "Point", "coordinates": [LON, LAT]}
    for found in (
        ndvi.at(lon=LON, lat=LAT), ndvi.at(Spot()), ndvi.at(shapely.Point(LON, LAT)), ndvi.at({"lon": LON, "lat": LAT}),
        ndvi.at(np.float64(LON), xr.DataArray(LAT)), ndvi.style().at(LON, LAT), ndvi.at(shapely.geometry.shape(point)),
    ):  # fmt: skip
        xr.testing.assert_identical(found, value)
    town = place("Toulouse")
    assert ndvi.at(town).item() == ndvi.at(town.lon, town.lat).item()


def test_many_places_at_once_are_each_of_them(s2: ml.Collection):
    series = s2.mask_clouds().bands("red", "nir")
    lons, lats = [1.41, 1.45, 1.40], [43.58, 43.57, 43.60]
    places = list(zip(lons, lats, strict=True))
    found = series.at(lons, lats)
    assert found.dims == ("t", "bands", "point") and found.name == "values"
    assert found.lon.values.tolist() == lons and found.lat.values.tolist() == lats
    for n, (lon, lat) in enumerate(places):
        one = series.at(lon, lat)
        np.testing.assert_array_equal(found.isel(point=n), one)
        named = [line.split(" ", 1) for line in one.attrs["scenes"]]
        assert [name for _, name in named] == found.scene.isel(point=n).values.tolist()
        assert [np.datetime64(time) for time, _ in named] == list(one.t.values.astype("M8[ms]"))
    for way in (places, np.array(places), pd.DataFrame(places).to_numpy(), [shapely.Point(p) for p in places]):
        xr.testing.assert_identical(series.at(way), found)
    frame = pd.DataFrame({"lon": lons, "lat": lats})
    xr.testing.assert_identical(series.at(frame.lon, frame.lat), found)
    image = series.median("t").band("nir").at(lons, lats)
    assert image.dims == ("point",) and np.isfinite(image).all()
    found.to_netcdf()  # what is told in attributes can be written to files


def test_values_name_the_scenes_they_are_of(s2: ml.Collection):
    series = s2.band("red").at(LON, LAT)
    items = {item["properties"]["datetime"][:19]: item["id"] for item in s2.items if "31TCJ" in item["id"]}
    named = dict(line.split(" ", 1) for line in series.attrs["scenes"])
    there = {time[:19]: id for time, id in named.items() if id}
    assert there and there.items() <= items.items()
    assert {time for time, value in zip(named, series.values, strict=True) if np.isfinite(value)} <= {
        time for time, id in named.items() if id
    }
    assert s2.band("red").max("t").at(LON, LAT).attrs["scenes"] == [id for id in named.values() if id]


def test_the_series_of_an_image_is_what_its_reducer_reduces(s2: ml.Collection):
    clear = s2.mask_clouds()
    expected = clear.ndvi().at(LON, LAT)
    assert np.isnan(expected).any() and np.isfinite(expected).any()
    image = clear.ndvi().median("t")
    few = clear.band("red").count("t") < 3
    doubled = image
    for _ in range(60):  # there are 2**60 ways through it
        doubled = doubled + doubled
    later = (image > 0.4, (image > 0.4).where(~few), ((image * 2) > 0.8).mask(few), doubled)
    for chain in (clear.ndvi(), image, image.style(), *later):
        found = chain.series(LON, LAT).array
        assert found.dims == ("t",) and list(found.t.values) == list(expected.t.values)
        np.testing.assert_array_equal(found, expected)
        assert found.attrs["scenes"] == expected.attrs["scenes"]
    assert np.nanmedian(image.series(LON, LAT).array) == pytest.approx(image.at(LON, LAT).item(), abs=1e-6)
    many = image.series([LON, 1.45], [LAT, 43.57]).array
    assert many.dims == ("t", "point") and many.sizes["point"] == 2
    np.testing.assert_array_equal(many.isel(point=0), expected)


def test_the_series_of_an_image_has_the_bands_that_the_image_uses(s2: ml.Collection):
    clear = s2.mask_clouds()
    found = clear.median("t").bands("red", "green").series(LON, LAT).array
    assert found.dims == ("t", "bands") and set(found.bands.values) == {"B04", "B03"}
    np.testing.assert_array_equal(found, clear.at(LON, LAT).sel(bands=found.bands))


def test_an_image_of_several_series_is_made_of_all_of_them(s2: ml.Collection):
    red, green = (s2.band(name).median("t") for name in ("red", "green"))
    several = ml.rgb(red, green, red * 2)
    parts = dated(several.published)
    assert [part.label for part in parts] == ["red", "green"]
    for part, band in zip(parts, ("red", "green"), strict=True):
        found = series_there(part, (LON, LAT))
        np.testing.assert_array_equal(found, s2.band(band).at(LON, LAT))
        assert found.attrs["scenes_found"] > 0
    with pytest.raises(ArgumentError, match="made of 2 series, not of one"):
        several.series(LON, LAT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nothing = series_there(parts[0], (10, 50))
    assert nothing.attrs["scenes_found"] == 0 and np.isnan(nothing).all()


def test_places_outside_of_all_scenes_are_told(ndvi: ml.Chain):
    with pytest.raises(
        ArgumentError, match=r"lon=43.58, lat=1.41, but there are some at lon=1.41, lat=43.58.*longitude first"
    ):
        ndvi.at(LAT, LON)
    with pytest.raises(ArgumentError, match="longitude first"):
        ndvi.at([LAT, 43.6], [LON, 1.4])
    with pytest.warns(OutsideScenes, match="no scene of the chain is at lon=10, lat=50"):
        assert np.isnan(ndvi.at(10, 50))
    with pytest.warns(OutsideScenes, match="at lon=10, lat=50 and at 1 of the other places"):
        found = ndvi.at([10, LON, 11], [50, LAT, 50])
    assert np.isfinite(found).values.tolist() == [False, True, False]


def test_layers_do_what_their_chain_does(ndvi: ml.Chain, tmp_path: Path):
    layer = ndvi.style(cmap="RdYlGn", vmin=0, vmax=1)
    xr.testing.assert_identical(layer.compute(WINDOW), ndvi.compute(WINDOW))
    assert str(layer.plan(WINDOW)).split(" about")[0] == str(ndvi.plan(WINDOW)).split(" about")[0]
    path = layer.export(tmp_path / "layer.tif", WINDOW, progress=False).wait(60)
    np.testing.assert_array_equal(xr.open_dataarray(path, engine="rasterio")[0], ndvi.compute(WINDOW))


# ------------------------------------------------------------------------------- documents with their scenes (5)


def test_a_document_with_its_scenes_runs_in_another_home(
    sample_catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MUSES_LAB_HOME", str(tmp_path / "mine"))
    chain = ml.collection("sentinel-2-l2a", str(sample_catalog)).limit(4).band("red").first("t")
    expected = chain.compute(WINDOW)
    text = json.dumps(chain.to_json(artefacts=True))
    assert str(sample_catalog) not in text and str(Path.home()) not in text
    name = chain.publish()

    monkeypatch.setenv("MUSES_LAB_HOME", str(tmp_path / "another"))
    nothing_is_kept(monkeypatch)
    with pytest.raises(NotFound):  # nobody here has the list
        ml.Chain.from_json(chain.resolve().to_json()).compute(WINDOW)
    for act in (lambda c: c.compute(WINDOW), lambda c: c.at(LON, LAT)):
        with pytest.raises(NotFound, match=r"catalogue 'muses-sample.*open it once with ml.open_catalog"):
            act(ml.Chain.from_json(text))
    ml.open_catalog(sample_catalog)
    again = ml.Chain.from_json(text)
    xr.testing.assert_identical(again.compute(WINDOW), expected)
    assert again.publish() == name == ml.Chain.from_json(json.loads(text)).publish()


def nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process: no list of scenes, no result."""
    compute.forget("threads")
    monkeypatch.setattr(source, "_sources", type(source._sources)())
    monkeypatch.setattr(artefacts, "_all", type(artefacts._all)())


def test_documents_of_long_lists_come_back(s2: ml.Collection):
    chain = s2.limit(1).ndvi().median("t").resolve()
    (scenes,) = chain.published.scenes.values()
    many = Scenes(scenes.collection, scenes.catalog, scenes.bands, tuple(scenes.scenes) * 2500)
    document = chain.to_json(artefacts=True)
    text = json.dumps(document).replace(scenes.digest, many.digest)
    document = json.loads(text)
    document[KEY] = {many.digest: {"kind": "muses:items", "text": many.to_bytes().decode()}}
    text = json.dumps(document)
    assert len(text) > 4 << 20
    made = ml.Chain.from_json(text)
    assert len(made._artefacts[many.digest].value) == 2500
    with pytest.raises(DocumentError, match="limit"):
        ml.Chain.from_json(text + " " * (64 << 20))


def changed(document: dict[str, Any], change: Callable[[dict[str, Any]], Any], rename: bool = True) -> dict[str, Any]:
    """A document whose list of scenes was changed, with the digest of the changed list where that has one."""
    document = copy.deepcopy(document)
    ((digest, artefact),) = document[KEY].items()
    body = json.loads(artefact["text"])
    change(body)
    artefact["text"] = json.dumps(body)
    if not rename:
        return document
    with contextlib.suppress(Exception):
        artefact["text"] = canonical(body)
    return json.loads(json.dumps(document).replace(digest, hashlib.sha256(artefact["text"].encode()).hexdigest()))


def _asset(body: dict[str, Any]) -> dict[str, Any]:
    return body["items"][0]["assets"]["B04"]


ODD: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no type": lambda body: body.pop("type"),
    "another version": lambda body: body.update(version=2),
    "no catalogue": lambda body: body.pop("catalog"),
    "a number as catalogue": lambda body: body.update(catalog=7),
    "no bands": lambda body: body.pop("bands"),
    "items that are none": lambda body: body.update(items=[7]),
    "a text as items": lambda body: body.update(items="abc"),
    "a date that is a number": lambda body: body["items"][0].update(datetime=7),
    "no CRS": lambda body: body["items"][0].pop("crs"),
    "a number as href": lambda body: _asset(body).update(href=7),
    "a shape of texts": lambda body: _asset(body).update(shape=["a", "b"]),
    "no pixels": lambda body: _asset(body).update(shape=[0, 10]),
    "too many pixels": lambda body: _asset(body).update(shape=[1 << 40, 1 << 40]),
    "pixels without size": lambda body: _asset(body).update(transform=[0, 0, 0, 0, 0, 0]),
    "a short transform": lambda body: _asset(body).update(transform=[1, 2]),
    "a rotated grid": lambda body: _asset(body).update(transform=[10, 5, 3e5, 5, -10, 4.8e6]),
    "band 0": lambda body: _asset(body).update(band=0),
    "not a number": lambda body: _asset(body).update(scale=float("nan")),
}


@pytest.mark.parametrize("kind", ODD)
def test_lists_that_are_none_are_refused_with_a_sentence(ndvi: ml.Chain, kind: str):
    document = ndvi.to_json(artefacts=True)
    with pytest.raises(DocumentError, match="list of scenes|not JSON|JSON number"):
        ml.Chain.from_json(changed(document, ODD[kind]))
    assert ml.Chain.from_json(changed(document, lambda body: None)).identical(ml.Chain.from_json(document))


def test_a_list_is_what_its_digest_names(ndvi: ml.Chain):
    document = ndvi.to_json(artefacts=True)
    with pytest.raises(DocumentError, match="not what its digest names"):
        ml.Chain.from_json(changed(document, lambda body: _asset(body).update(href="other.tif"), rename=False))
    with pytest.raises(DocumentError, match="map digests"):
        ml.Chain.from_json({**document, KEY: ["x"]})
    for digest in ("0" * 64, "x" * 10_000):  # of lists that the chain does not read nothing is looked at
        made = ml.Chain.from_json({**document, KEY: {**document[KEY], digest: {"type": "x"}}})
        assert set(made._artefacts) == set(document[KEY])


@pytest.mark.parametrize(
    "href", ["/etc/hostname", "../../outside.tif", "file:///etc/hostname", "http://127.0.0.1/x.tif"]
)
def test_files_that_documents_name_must_lie_where_the_catalogue_may_read(tmp_path: Path, href: str):
    made = stack(np.ones((1, 2, 4, 4), np.int16), tmp_path / "in", dates=["2020-01-01"])
    (tmp_path / "outside.tif").write_bytes(next((tmp_path / "in").rglob("*.tif")).read_bytes())
    chain = made.band("red").first("t")

    def elsewhere(body: dict[str, Any]) -> None:
        for asset in body["items"][0]["assets"].values():
            asset.update(href=href)
            asset.pop("size", None)
            asset.pop("modified", None)

    opened = ml.Chain.from_json(changed(chain.to_json(artefacts=True), elsewhere))
    found = opened.compute(made_window())
    assert np.isnan(found).all()
    (failed,) = found.attrs["scenes_failed"]
    assert re.search("outside the folders|only https URLs", failed), failed


def made_window() -> Any:
    from tests.helpers.made_stacks import own_window

    return own_window(4, 4)


# --------------------------------------------------------------------------- wrong types, orders and units, everywhere

POINT_IN_METRES = {"type": "Point", "coordinates": [363_000, 4_818_000]}
FIELD = {"type": "Polygon", "coordinates": [[[1.40, 43.58], [1.41, 43.58], [1.41, 43.59], [1.40, 43.58]]]}
METRES = (363_000, 4_818_000, 379_000, 4_840_000)

Case = tuple[str, Callable[[ml.Collection, ml.Chain], Any], str]

CASES: list[Case] = [
    # function, what is done with a collection and an image of it, what the sentence must name: the value, and the cure
    ("collection", lambda s2, red: ml.collection(5), r"collection\(5\).*for example 'sentinel-2-l2a'"),
    ("collection", lambda s2, red: ml.collection("sentinel-2-l2a", 5), r"catalog=5.*ml.open_catalog"),
    ("operator", lambda s2, red: ml.operator("edges")(lambda data: data), r"'edges'.*'namespace:name'.*'own:edges'"),
    ("parameter", lambda s2, red: ml.parameter("least one", 1), r"'least one' is no name of a parameter.*'threshold'"),
    ("parameter", lambda s2, red: ml.parameter("p", red), r"is no value of a parameter: give a number"),
    ("parameter", lambda s2, red: ml.parameter("p", 2, maximum=1), r"p=2: the parameter is at most 1"),
    ("over_time", lambda s2, red: red.over_time().frames, r"no dates any more.*s2.ndvi\(\).over_time\(\)"),
    ("with_parameters", lambda s2, red: red.with_parameters(t=1), r"no parameter 't'; it has .*see .parameters"),
    ("rgb", lambda s2, red: ml.rgb("red", "green", "blue"), r"rgb\('red'\) takes a chain"),
    ("rgb", lambda s2, red: ml.rgb(red, red, 1), r"rgb\(1\) takes a chain"),
    ("indices", lambda s2, red: red.indices(), r"no bands to make an index of.*s2.indices\(\)"),
    ("hsv", lambda s2, red: ml.hsv(120), r"hsv\(120\) takes a chain"),
    ("hsv", lambda s2, red: ml.hsv(red, "s"), r"hsv='s' is not a finite number"),
    ("stack", lambda s2, red: ml.stack(), r"stack\(\) takes chains, for example"),
    ("stack", lambda s2, red: ml.stack(red="red"), r"stack\('red'\) takes a chain"),
    ("where", lambda s2, red: ml.where(True, red, 0), r"where\(True\) takes a chain"),
    ("where", lambda s2, red: ml.where(red > 0, red, "b"), r"where='b' is not a finite number"),
    ("mosaic", lambda s2, red: ml.mosaic(red), r"mosaic\(<Chain .*takes a list of chains"),
    ("mosaic", lambda s2, red: ml.mosaic([]), r"mosaic\(\[\]\) has no chains"),
    ("blend", lambda s2, red: ml.blend(red, red, 50), r"alpha=50 is not between 0"),
    ("vectors", lambda s2, red: ml.vectors(5), r"vectors\(5\): give the path of a file"),
    ("vectors", lambda s2, red: ml.vectors(POINT_IN_METRES), r"no degrees of EPSG:4326: crs=…"),
    ("Vectors", lambda s2, red: ml.vectors(FIELD).burn("crop"), r"no attribute 'crop'; there are none"),
    ("Vectors", lambda s2, red: ml.vectors(FIELD).buffer("far"), r"metres='far' is not a finite number"),
    ("Table", lambda s2, red: red.aggregate_spatial(FIELD).compute(5.0, 5), r"takes from 1 to 2 positional"),
    ("Table", lambda s2, red: red.aggregate_spatial(FIELD).compute("x"), r"resolution='x' is not a finite number"),
    ("use", lambda s2, red: ml.use("dask"), r"'dask'.*'threads', 'embedded'"),
    ("use", lambda s2, red: ml.use(5), r"5.*'threads', 'embedded'"),
    ("shared", lambda s2, red: ml.shared(5), r"shared\(5\) takes the link"),
    ("Chain", lambda s2, red: ml.Chain(5), r"5 is no chain.*ml.collection"),
    ("Layer", lambda s2, red: ml.Layer(5, 6), r"Layer\(5, 6\).*chain.style"),
    ("OverTime", lambda s2, red: ml.OverTime(5), r"OverTime\(5\).*chain.over_time"),
    ("TimeLayer", lambda s2, red: ml.TimeLayer(5, 6), r"TimeLayer\(5, 6\).*over_time\(\).style"),
    ("read_graph", lambda s2, red: ml.read_graph("no-such-graph.json"), r"no document in 'no-such-graph.json'"),
    ("from_json", lambda s2, red: ml.Chain.from_json(5), r"5 is no document.*json.loads"),
    ("from_json", lambda s2, red: ml.Chain.from_json(Path("a.json")), r"a.json.*read_text"),
    ("from_json", lambda s2, red: ml.Chain.from_json("a.json"), r"not JSON"),
    ("at", lambda s2, red: red.at("Toulouse"), r"'Toulouse'.*lon=…, lat=…"),
    ("at", lambda s2, red: red.at(), r"None.*lon=…, lat=…"),
    ("at", lambda s2, red: red.at(1.4, "x"), r"lat='x' is not a finite number"),
    ("at", lambda s2, red: red.at(float("nan"), 43), r"lon=nan is not a finite number"),
    ("at", lambda s2, red: red.at([1.4, 1.5], [43]), r"as many longitudes as latitudes.*2 and 1"),
    ("at", lambda s2, red: red.at([]), r"empty list of places"),
    ("at", lambda s2, red: red.at([(1, 2, 3)]), r"\(1, 2, 3\) is no pair of longitude and latitude"),
    ("at", lambda s2, red: red.at(*METRES[:2]), r"lon=363000, .*metres.*pyproj"),
    ("at", lambda s2, red: red.at(1.4, 143.6), r"lat=143.6.*latitudes run from -90 to 90; the order is longitude"),
    ("at", lambda s2, red: red.at(1.41, 43.58, resolution="10m"), r"resolution='10m' is not a finite number"),
    ("at", lambda s2, red: red.at(1.41, 43.58, resolution=-1), r"resolution=-1 is not the size of a pixel in metres"),
    ("at", lambda s2, red: red.style().at("x"), r"at\('x'\) is no place"),
    ("series", lambda s2, red: red.series("Toulouse"), r"'Toulouse'.*lon=…, lat=…"),
    ("series", lambda s2, red: red.style().series([]), r"empty list of places"),
    ("over", lambda s2, red: red.over("nowhere.gpkg"), r"over\('nowhere.gpkg'\).*"),
    ("over", lambda s2, red: red.over(shapely.Point(LON, LAT), stats=["mode"]), r"'mode' is none; there are mean"),
    ("series", lambda s2, red: (red - s2.ndvi().max("t")).series(1.41, 43.58), r"made of 2 series.*ask for each"),
    ("compute", lambda s2, red: red.compute(BOX[:3]), r"\(1.3, 43.5, 1.5\) is no area.*Window.from_bounds"),
    ("compute", lambda s2, red: red.style().compute("here"), r"area\('here'\): there is no such file"),
    ("plan", lambda s2, red: red.plan(None), r"needs a window: ml.Window.from_bounds.*'footprint'"),
    ("plan", lambda s2, red: red.style().plan(5), r"5.*Window.from_bounds"),
    ("style", lambda s2, red: red.style("virdis"), r"'virdis'; did you mean 'viridis'"),
    ("style", lambda s2, red: red.style(palette=["red", "green"]), r"no 'palette'; did you mean 'cmap'"),
    ("style", lambda s2, red: red.style().style(vmn=3), r"no 'vmn'; did you mean 'vmin'"),
    ("style", lambda s2, red: red.style(zzz=3), r"no 'zzz'; it has cmap, vmin"),
    ("style", lambda s2, red: red.style(cmap=5), r"cmap=5 is neither a colormap's name nor 2 to 256 colours"),
    ("style", lambda s2, red: red.style(vmin="0"), r"vmin='0' is not a finite number"),
    ("style", lambda s2, red: red.style(vmin=np.ones(3)), r"vmin=array.*is not a finite number"),
    ("style", lambda s2, red: red.style(vmin=1, vmax=0), r"vmin=1 must be below vmax=0"),
    ("style", lambda s2, red: red.style(bands=5), r"bands=5 are not three band names"),
    ("style", lambda s2, red: red.style(classes=["a"]), r"classes=\['a'\] is not {value: \(label, colour\)}"),
    ("style", lambda s2, red: red.style(opacity=50), r"opacity=50 is not between 0 and 1"),
    ("style", lambda s2, red: red.style(gamma=0), r"gamma=0 is not between 0.05 and 20"),
    ("dates", lambda s2, red: s2.dates(5, 6), r"5 is not a date.*'2018-03-01'.*Timestamp"),
    ("dates", lambda s2, red: s2.dates("01/03/2018", None), r"'01/03/2018'.*write it as 2018-01-31"),
    ("dates", lambda s2, red: s2.dates("2018-06-01", "2018-03-01"), r"'2018-06-01' to '2018-03-01'.*must be later"),
    ("dates", lambda s2, red: s2.dates(("2018-03", "2018-06")), r"\('2018-03', '2018-06'\) is not a date"),
    ("dates", lambda s2, red: s2.dates(np.datetime64("NaT"), None), r"NaT.* is not a date"),
    ("dates", lambda s2, red: s2.dates(pd.NaT, None), r"NaT is not a date"),
    ("dates", lambda s2, red: s2.dates(datetime.datetime(2018, 3, 1)), r"datetime\(2018, 3, 1.*give the end as well"),
    ("dates", lambda s2, red: s2.dates(None), r"dates\(None\).*give a start and an end"),
    ("dates", lambda s2, red: s2.ndvi().dates("x", "y"), r"'x' is not a date"),
    ("dates", lambda s2, red: s2.ndvi().dates("2018-06", "2018-03"), r"first date must be before.*2018-06-01"),
    ("bbox", lambda s2, red: s2.bbox(*METRES), r"bbox\(363000.*no degrees.*pyproj"),
    ("bbox", lambda s2, red: s2.bbox("Toulouse"), r"'Toulouse'.*west, south, east, north in degrees"),
    ("bbox", lambda s2, red: s2.bbox([1, 2, 3]), r"\[1, 2, 3\].*west, south, east, north"),
    ("bbox", lambda s2, red: s2.bbox(1, 2, 3), r"north=None is not a finite number"),
    ("bbox", lambda s2, red: s2.bbox(1.3, 43.7, 1.5, 43.5), r"south is above north; the order is west, south"),
    ("bbox", lambda s2, red: s2.bbox(43.5, 101.3, 43.7, 101.5), r"101.3.*latitudes run from -90 to 90.*order is west"),
    ("bbox", lambda s2, red: s2.bbox(43.5, 1.3, 43.7, 1.5).resolve(), r"exchanged, west=1.3.*13 fit: the order is"),
    ("crop", lambda s2, red: red.crop(METRES), r"crop\(363000.*no degrees.*pyproj"),
    ("crop", lambda s2, red: red.crop(1.5, 43.5, 1.3, 43.7), r"west must be less than east.*'west': 1.5"),
    ("near", lambda s2, red: s2.near(5), r"near\(5\).*near\('Toulouse'\)"),
    ("near", lambda s2, red: s2.near("Toulouse", radius="10 km"), r"radius='10 km' is not a finite number"),
    ("near", lambda s2, red: s2.near("Toulouse", radius=-1), r"radius=-1 is not between 0 and \d+ metres"),
    ("intersects", lambda s2, red: s2.intersects("POINT (1 2)"), r"'POINT \(1 2\)'.*GeoJSON"),
    ("intersects", lambda s2, red: s2.intersects(POINT_IN_METRES), r"363000.*bring it to EPSG:4326"),
    ("intersects", lambda s2, red: s2.intersects({"type": "Pt"}), r"not a GeoJSON geometry.*'pt'"),
    ("filter", lambda s2, red: s2.filter(5), r"filter\(5\).*'eo:cloud_cover < 60'"),
    ("filter", lambda s2, red: s2.filter(red > 0.5), r"Chain.*\.where\(condition\)"),
    ("sort", lambda s2, red: s2.sort(5), r"sort\(5\).*'-eo:cloud_cover'"),
    ("limit", lambda s2, red: s2.limit("3"), r"limit\('3'\).*whole number from 0"),
    ("limit", lambda s2, red: s2.limit(-1), r"limit\(-1\).*whole number from 0"),
    ("mask_clouds", lambda s2, red: s2.mask_clouds(keep=4), r"keep=4 is no list of classes.*\[4, 5, 6\]"),
    ("mask_clouds", lambda s2, red: s2.mask_clouds(keep="4"), r"keep='4' is no list of classes"),
    ("mask_clouds", lambda s2, red: s2.mask_clouds(keep=["a"]), r"no class 'a' in SCL; it has 0 no_data, 1"),
    ("mask_clouds", lambda s2, red: s2.mask_clouds("CLM"), r"no mask 'CLM'; it has 'SCL'"),
    ("clouds", lambda s2, red: s2.clouds(4), r"clouds\(4\) takes the name of a mask, for example clouds\('SCL'\)"),
    ("compare_masks", lambda s2, red: s2.compare_masks(5), r"5 is no area.*Window.from_bounds"),
    ("compare_masks", lambda s2, red: s2.compare_masks(WINDOW, "SCL"), r"masks='SCL' is no list of names of masks"),
    ("mask_layers", lambda s2, red: s2.mask_layers({"clouds": 5}), r"mask=5 is neither the name .* nor a condition"),
    ("band", lambda s2, red: s2.band(5), r"5 is no name of a band.*'red' or 'B04'"),
    ("bands", lambda s2, red: s2.bands(), r"takes the names of bands"),
    ("bands", lambda s2, red: s2.bands("red", 4), r"4 is no name of a band"),
    ("ndvi", lambda s2, red: s2.ndvi(nir=8), r"'nir' .* valid.*string.*not 8"),
    ("normalized_difference", lambda s2, red: s2.normalized_difference("nir", 4), r"4 is no name of a band"),
    ("mask", lambda s2, red: red.mask(np.ones((3, 3))), r"mask\(array.*takes a chain.*chain > 0.5"),
    ("where", lambda s2, red: red.where("red > 0.5"), r"where\('red > 0.5'\) takes a chain"),
    ("clip", lambda s2, red: red.clip("a", 1), r"'min'.*valid number.*'a'"),
    ("clip", lambda s2, red: red.clip(1, 0), r"min must not be above max; they are 1 and 0"),
    ("between", lambda s2, red: red.between("a", 1), r"min='a' is not a finite number"),
    ("between", lambda s2, red: red.between(1, 0), r"between\(1, 0\).*first is above the second"),
    ("isin", lambda s2, red: red.isin(5), r"must be an array.*not 5"),
    ("has_bits", lambda s2, red: red.has_bits("a"), r"valid integer.*'a'"),
    ("scale", lambda s2, red: red.scale(0, "x"), r"valid number.*'x'"),
    ("scale", lambda s2, red: red.scale(1, 1), r"must differ; both are 1"),
    ("log", lambda s2, red: red.log("e"), r"base='e' is not a finite number"),
    ("log", lambda s2, red: red.log(1), r"base=1 is no base.*above 0 and not 1"),
    *[
        (name, lambda s2, red, name=name: getattr(s2, name)(dim="time"), r"'t' or 'bands'.*not 'time'")
        for name in ("mean", "median", "min", "max", "std", "sum", "count", "first", "last")
    ],
    ("quantile", lambda s2, red: s2.quantile(95), r"less than or equal to 1.*95"),
    ("quantile", lambda s2, red: s2.quantile("median"), r"valid number.*'median'"),
    ("apply_kernel", lambda s2, red: red.apply_kernel("x"), r"'kernel'.*valid list.*'x'"),
    ("apply_kernel", lambda s2, red: red.apply_kernel([[1, 1], [1]]), r"rows of a kernel must have the same len.*1\]"),
    ("apply_kernel", lambda s2, red: red.apply_kernel([[1, 1]]), r"odd number of rows and columns, not 1 × 2"),
    *[
        (name, lambda s2, red, name=name, given=given: getattr(red, name)(*given), sentence)
        for name in ("focal_mean", "focal_median", "erode", "dilate", "opening", "closing")
        for given, sentence in (
            (("3",), r"'radius'.*valid number.*'3'"), ((3, "km"), r"'px' or 'm'.*'km'"), ((-3,), r"greater than.*-3"),
        )
    ],
    ("connected_components", lambda s2, red: red.connected_components(min_area="1 ha"), r"valid number.*'1 ha'"),
    ("connected_components", lambda s2, red: red.connected_components(connectivity=6), r"4 or 8.*6"),
    ("connected_components", lambda s2, red: red.connected_components(extent="here"), r"'here' are no bounds.*west"),
    ("otsu", lambda s2, red: red.otsu(bins=0), r"greater than or equal to 2.*0"),
    ("otsu", lambda s2, red: red.otsu(extent=BOX, resolution="x"), r"valid number.*'x'"),
    ("at_resolution", lambda s2, red: red.at_resolution("10m"), r"valid number.*'10m'"),
    ("at_resolution", lambda s2, red: red.at_resolution(0.0001), r"greater than or equal to 0.001.*0.0001"),
    ("on_grid", lambda s2, red: red.on_grid("EPSG:3035"), r"'EPSG:3035'.*needs a resolution"),
    ("on_grid", lambda s2, red: red.on_grid("EPSG:99999", 10), r"'EPSG:99999' is not known"),
    ("on_grid", lambda s2, red: red.on_grid(4326, 10), r"resolution=10: .*degree.*1110 km; 10 m are about 0.0001"),
    ("on_grid", lambda s2, red: red.on_grid(3035, 0.0001), r"resolution=0.0001: .*0.1 mm; 0.0001 degrees are"),
    ("pin", lambda s2, red: red.otsu().pin((1, 2, 3), 10), r"\(1, 2, 3\) are no bounds.*west, south, east, north"),
    ("pin", lambda s2, red: red.otsu().pin(BOX, "x"), r"resolution='x' is not a finite number"),
    ("pin", lambda s2, red: red.otsu().pin(METRES, 10), r"longitudes run from -360 to 360.*363000"),
    ("pin", lambda s2, red: red.otsu().pin(BOX, 0.0001), r"greater than or equal to 0.001.*0.0001"),
    ("publish", lambda s2, red: red.publish("store"), r"'store' is no store; without one"),
    ("share", lambda s2, red: red.share(user="bob"), r"sharing needs a hub"),
    ("materialize", lambda s2, red: red.materialize("x"), r"'x' is not an area: give a window"),
    ("materialize", lambda s2, red: red.materialize(levels="x"), r"'x' is not a level: 0 is"),
    ("export", lambda s2, red: red.export(5, WINDOW), r"path=5 is no path: give a text.*'ndvi.tif'"),
    ("export", lambda s2, red: red.export(WINDOW, "a.tif"), r"path=GeoBox.* is no path"),
    ("export", lambda s2, red: red.export("a.tif", BOX[:2]), r"is no area: give a window, .*ml.Window.from_bounds"),
    ("export", lambda s2, red: red.export("a.tif"), r"needs a window: ml.Window.from_bounds"),
    ("export", lambda s2, red: red.export("a.bmp", WINDOW), r"'a.bmp' is not the name of a file of .*: .*GeoTIFF"),
    ("export", lambda s2, red: red.export("a.png", WINDOW), r"'a.png' is a picture, .* a style: chain.style\(cmap=…\)"),
    ("export", lambda s2, red: red.export("a.tif", WINDOW, crs=3857), r"a window has a grid: leave crs out"),
    ("export", lambda s2, red: red.export("a.tif", WINDOW, fps=3), r"no option 'fps', and the format GeoTIFF neither"),
    ("export", lambda s2, red: red.export("a.csv"), r"a.csv is a table: of what\? Give places"),
    ("export", lambda s2, red: red.export("no/where/a.tif", WINDOW), r"the folder .*where does not exist"),
    ("export", lambda s2, red: red.export("a.tif", WINDOW, style="viridis"), r"'viridis' is no style: chain.style"),
    ("export", lambda s2, red: red.export("a.tif", WINDOW, title=5), r"title=5 is not a text"),
    ("compare", lambda s2, red: ml.compare(red, 3), r"compare\(3\) takes two chains, or layers"),
    ("course", lambda s2, red: ml.course(5), r"folder=5 is no path.*'first-steps'"),
    ("course", lambda s2, red: ml.course("/nope"), r"/nope belongs to no course: `muses-lab course open NAME` makes"),
    ("jobs", lambda s2, red: ml.jobs("x"), r"limit='x' is not a whole number from 1 on"),
    ("jobs", lambda s2, red: ml.jobs(-1), r"limit=-1 is not a whole number"),
    ("open_file", lambda s2, red: ml.open_file(5), r"path=5 is no path.*'dem.tif'"),
    ("open_file", lambda s2, red: ml.open_file("nope.csv"), r"there is no file .*nope.csv"),
    ("produce", lambda s2, red: ml.produce(red, 5, tiles="native"), r"folder=5 is no path"),
    ("produce", lambda s2, red: ml.produce(red, "out"), r"areas=… \(polygons\) or tiles=… say where the outputs lie"),
    ("history", lambda s2, red: ml.history(5), r"path=5 is no path.*'ndvi.tif'"),
    ("history", lambda s2, red: ml.history("nope.tif"), r"there is no file .*nope.tif"),
    ("remake", lambda s2, red: ml.remake("nope.tif"), r"there is no file .*nope.tif"),
    ("open_raster", lambda s2, red: ml.open_raster(5), r"path=5 is no path.*'dem.tif'"),
    ("open_raster", lambda s2, red: ml.open_raster("nope.tif"), r"there is no file .*nope.tif"),
    ("open_raster", lambda s2, red: ml.open_raster("a.nc"), r"there is no file .*a.nc"),
    ("from_array", lambda s2, red: ml.from_array(5), r"int does not say where it lies: give an xarray.DataArray"),
    ("from_array", lambda s2, red: ml.from_array(np.zeros((3, 3))), r"ndarray does not say where it lies"),
    ("open_catalog", lambda s2, red: ml.open_catalog(5), r"5 is no catalogue: give the path .*URL"),
    ("open_catalog", lambda s2, red: ml.open_catalog("/nope"), r"there is no catalogue at /nope"),
    ("register_catalog", lambda s2, red: ml.register_catalog(5), r"5 is no catalogue"),
    ("remove_catalog", lambda s2, red: ml.remove_catalog("nope"), r"no catalogue 'nope' is known here; there are: "),
    ("plot", lambda s2, red: red.style().plot(BOX), r"is no window: ml.Window.from_bounds"),
    ("tile", lambda s2, red: red.style().tile("a", 1, 2), r"zoom, column and row are whole numbers, not 'a', 1, 2"),
    ("tile", lambda s2, red: red.style().tile(3, 9, 0), r"there is no tile 3/9/0; x and y run from 0 to 7"),
    ("Window", lambda s2, red: ml.Window.from_bounds(5), r"bounds are four numbers .*, not 5"),
    ("Window", lambda s2, red: ml.Window.like(5), r"5 is neither an xarray object nor the path of a raster"),
    ("arithmetic", lambda s2, red: red + "a", r"'a' cannot be combined.*numbers and other chains"),
    ("arithmetic", lambda s2, red: None * red, r"None cannot be combined"),
    ("arithmetic", lambda s2, red: red < [1], r"\[1\] cannot be combined"),
    ("arithmetic", lambda s2, red: red & np.ones((2, 3)), r"2 × 3 values.*a number, another chain"),
]  # fmt: skip


@pytest.fixture(scope="module")
def red(s2: ml.Collection) -> ml.Chain:
    return s2.band("red").median("t")


@pytest.mark.parametrize("case", CASES, ids=[f"{n}-{case[0]}" for n, case in enumerate(CASES)])
def test_what_is_wrong_is_answered_with_the_value_and_the_cure(s2: ml.Collection, red: ml.Chain, case: Case):
    _, act, sentence = case
    with pytest.raises((MusesError, TypeError, ValueError, OSError)) as refused:
        act(s2, red)
    text = " ".join(str(refused.value).split())
    assert re.search(sentence, text), text
    assert len(text) < 400


WITHOUT_ARGUMENTS = {
    "items", "hash", "identical", "is_pinned", "is_private", "masks", "problems", "product", "query", "resolve",
    "table", "to_json", "catalog", "indices", "chain", "look", "plots", "shares", "Collection", "__version__",
    "parameters", "status", "to_python", "Difference", "controls",
}  # fmt: skip


def test_every_public_function_is_tried(s2: ml.Collection, red: ml.Chain):
    public = {name for thing in (s2, red, red.style(), ml) for name in dir(thing) if not name.startswith("_")}
    operators = {op.method for op in registry}  # see test_methods.py
    assert public - {case[0] for case in CASES} - WITHOUT_ARGUMENTS - operators == set()
