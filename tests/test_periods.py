"""Series aggregated by periods and intervals, on other dates, shifted: against pandas and xarray."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import muses_lab as ml
from muses_lab.document import graph
from muses_lab.errors import MusesError
from muses_lab.operators import registry
from muses_lab.operators.periods import label, starts
from tests.helpers.made_stacks import own_window, stack
from tests.helpers.refusals import refused

pytestmark = pytest.mark.usefixtures("in_threads")

WINDOW = own_window(600, 40)
CORNERS = ((slice(0, 300), slice(0, 31)), (slice(500, 600), slice(15, 40)))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[ml.Collection, xr.DataArray]:
    """31 dates of two bands in 14 months, none in one of them, and what they hold."""
    rng = np.random.default_rng(5)
    days = np.sort(rng.choice(420, 31, replace=False))
    days = days[(days < 150) | (days >= 181)]  # none in June 2018
    times = np.datetime64("2018-01-01") + days
    values = rng.normal(0.4, 0.2, (len(times), 2, 600, 40)).astype(np.float32)
    values[rng.random(values.shape) < 0.4] = np.nan
    values[:, :, 10:20] = np.nan  # never valid
    folder = tmp_path_factory.mktemp("series")
    collection = stack(values, folder, dates=[str(t) for t in times])
    cube = xr.DataArray(
        values, dims=("t", "bands", "y", "x"), coords={"t": times.astype("M8[ns]"), "bands": ["B4", "B8"]}
    )
    return collection, cube


def same(found: xr.DataArray, expected: xr.DataArray, exact: bool = True) -> None:
    assert found.dims == expected.dims
    assert found.t.values.tolist() == expected.t.values.tolist()
    if exact:
        np.testing.assert_array_equal(found.values, expected.values)
    else:
        np.testing.assert_allclose(found.values, expected.values, rtol=2e-6)


# -------------------------------------------------------------------------------------------------------- periods

PANDAS = {"hour": "h", "day": "D", "week": "W-SUN", "month": "M", "season": "Q-NOV", "year": "Y"}


@given(
    st.sampled_from(sorted(PANDAS)),
    st.datetimes(pd.Timestamp("1950-01-01").to_pydatetime(), pd.Timestamp("2060-01-01").to_pydatetime()),
    st.integers(0, 40_000),
)
@settings(max_examples=60, deadline=None)
def test_periods_are_those_of_pandas(period, first, hours) -> None:
    hours = hours // 20 if period == "hour" else hours
    a = pd.Timestamp(first)
    b = a + pd.Timedelta(hours=hours)
    expected = pd.period_range(a.to_period(PANDAS[period]), b.to_period(PANDAS[period]))
    found = starts(period, np.datetime64(a, "ns"), np.datetime64(b, "ns"))
    assert found[:-1].tolist() == expected.start_time.values.tolist()
    assert found[-1] == (expected[-1] + 1).start_time


@pytest.mark.parametrize(
    ("period", "at", "start", "end", "text"),
    [
        ("dekad", "2020-02-29T23:59", "2020-02-21", "2020-03-01", "2020-06"),
        ("dekad", "2020-02-10", "2020-02-01", "2020-02-11", "2020-04"),
        ("dekad", "2019-12-31", "2019-12-21", "2020-01-01", "2019-36"),
        ("tropical-season", "2020-01-01", "2019-11-01", "2020-05-01", "2020-ndjfma"),
        ("tropical-season", "2020-10-31", "2020-05-01", "2020-11-01", "2020-mjjaso"),
        ("season", "1969-12-31", "1969-12-01", "1970-03-01", "1970-djf"),
        ("decade", "1969-12-31", "1960-01-01", "1970-01-01", "1960"),
        ("decade", "2020-01-01", "2020-01-01", "2030-01-01", "2020"),
        ("decade-ad", "2020-12-31", "2011-01-01", "2021-01-01", "2011"),
        ("decade-ad", "2021-01-01", "2021-01-01", "2031-01-01", "2021"),
        ("week", "2021-01-03", "2020-12-28", "2021-01-04", "2020-53"),
        ("hour", "2021-01-03T17:59:59.9", "2021-01-03T17", "2021-01-03T18", "2021-01-03-17"),
        ("day", "2020-12-31T12", "2020-12-31", "2021-01-01", "2020-366"),
        ("month", "1812-07-14", "1812-07-01", "1812-08-01", "1812-07"),
        ("year", "2020-12-31T12", "2020-01-01", "2021-01-01", "2020"),
    ],
)
def test_periods_by_hand(period: str, at: str, start: str, end: str, text: str) -> None:
    time = np.datetime64(at, "ns")
    assert starts(period, time, time).tolist() == [np.datetime64(t, "ns").item() for t in (start, end)]
    assert label(period, np.datetime64(start, "ns")) == text


# --------------------------------------------------------------------------------------------------- aggregation


@pytest.mark.parametrize("reducer", ["median", "mean", "max", "std", "first", "product"])
def test_months_are_those_of_xarray(made, reducer: str) -> None:
    collection, cube = made
    found = collection.by_period("month", reducer).compute(WINDOW)
    assert found.dtype == np.float32 and found.sizes["t"] == 14
    grouped = cube[..., :40, :30].resample(t="MS")
    by_xarray = {"std": lambda g: g.std(ddof=1), "product": lambda g: g.prod(min_count=1)}
    expected = by_xarray.get(reducer, lambda g: getattr(g, reducer)())(grouped.map(lambda v: v) if False else grouped)
    found = found[..., :40, :30]
    if reducer == "std":  # of one value xarray says 0 or nothing, as its versions do
        expected = expected.where(cube[..., :40, :30].resample(t="MS").count() > 1)
        found = found.where(np.isfinite(expected))
    assert np.isnan(found.sel(t="2018-06")).all(), "no date is in June"
    assert found.label.values[[0, -1]].tolist() == ["2018-01", "2019-02"]
    same(found.transpose(*expected.dims), expected, exact=reducer in ("median", "max", "first"))


def test_a_reducer_that_counts_and_quantiles(made) -> None:
    collection, cube = made
    series, own = collection.band("B8"), cube.sel(bands="B8", drop=True)
    counted = series.by_period("season", "count").compute(WINDOW)
    same(counted, own.resample(t="QS-DEC").count().astype(np.float32))
    upper = series.by_period("year", "quantile", q=0.9).compute(WINDOW[:40, :30])
    expected = own[:, :40, :30].resample(t="YS").quantile(0.9, skipna=True)
    np.testing.assert_allclose(upper.values, expected.transpose("t", "y", "x").values, rtol=1e-6)


def test_compiled_code_and_functions_give_the_same(made) -> None:
    collection, cube = made
    masked = collection.mask(collection.band("B4") > 0.6).ndvi()
    found = masked.by_period("month", "median").compute(WINDOW[:50]).values
    ndvi = masked.compute(WINDOW[:50])
    meta = registry["aggregate_temporal_period"].shape({}, {"data": masked.published.prepared.output.meta})
    groups = masked.by_period("month", "median").published.prepared.output.groups
    reducer = masked.by_period("month", "median")._node.arguments["reducer"]
    by_numpy = registry["aggregate_temporal_period"].fn(ndvi, "month", reducer, groups=groups, meta=meta)
    np.testing.assert_array_equal(found, by_numpy.values)
    np.testing.assert_array_equal(found, ndvi.resample(t="MS").median().values)


def test_intervals_overlap_leave_out_and_are_put_in_order(made) -> None:
    collection, cube = made
    spans = [("2018-07-01", "2018-09-01"), ("2018-02-01", "2018-08-01"), "2018-06", (None, "2018-01-20")]
    found = collection.by_intervals(spans, "mean").compute(WINDOW[:20, :30])
    part = cube[..., :20, :30]
    first = part.t.values[0]
    assert found.t.values.tolist() == sorted(
        [first.item(), *(np.datetime64(t, "ns").item() for t in ("2018-02-01", "2018-06-01", "2018-07-01"))]
    )
    expected = part.sel(t=(part.t >= np.datetime64("2018-02-01")) & (part.t < np.datetime64("2018-08-01"))).mean("t")
    np.testing.assert_allclose(found.sel(t="2018-02-01").squeeze().values, expected.values, rtol=2e-6)
    assert np.isnan(found.sel(t="2018-06-01")).all()


def test_labels_that_are_dates_name_the_results(made) -> None:
    collection, _ = made
    spans = [["2018-01-01", "2018-03-01"], ["2018-01-01", "2018-05-01"]]
    found = collection.by_intervals(spans, "max", labels=["2018-02-15", "2018-04-15"]).compute(WINDOW[:20, :30])
    assert [str(t)[:10] for t in found.t.values] == ["2018-02-15", "2018-04-15"]
    assert found.label.values.tolist() == ["2018-02-15T00:00:00Z", "2018-04-15T00:00:00Z"]
    named = collection.by_intervals([["2018-04-01", None], ["2018-01-01", "2018-04-01"]], "max", labels=["b", "a"])
    assert named.dates("2018-04").compute(WINDOW[:20, :30]).label.values.tolist() == ["b"]
    for labels, said in (
        (None, "DistinctDimensionLabelsRequired"),
        (["a", "b"], "DistinctDimensionLabelsRequired"),
        (["2018"], "1 labels for 2"),
    ):
        with refused(said):
            collection.by_intervals(spans, "max", labels=labels)


def test_windows_have_no_seam_and_equal_the_export(made, tmp_path: Path) -> None:
    collection, _ = made
    chain = collection.ndvi().by_period("season", "median")
    whole = chain.compute(WINDOW)
    for rows, columns in CORNERS:
        np.testing.assert_array_equal(chain.compute(WINDOW[rows, columns]).values, whole.values[:, rows, columns])
    path = chain.export(tmp_path / "seasons.nc", WINDOW, progress=False).wait(60)
    with xr.open_dataset(path) as file:
        (name,) = [n for n in file.data_vars if file[n].ndim == 3]
        np.testing.assert_array_equal(file[name].values, whole.values)
        assert file.t.values.tolist() == whole.t.values.tolist()


def test_what_comes_after_takes_the_dates_that_it_wants(made) -> None:
    collection, cube = made
    monthly = collection.ndvi().by_period("month", "median")
    expected = monthly.compute(WINDOW)
    one = monthly.dates("2018-03").compute(WINDOW)
    same(one, expected.sel(t=["2018-03-01"]))
    highest = monthly.max("t").compute(WINDOW)
    np.testing.assert_array_equal(highest.values, expected.max("t").values)
    some = (monthly * 2).dates("2018-04-01", "2018-08-01").mean("t").compute(WINDOW)
    np.testing.assert_allclose(some.values, (expected * 2).sel(t=slice("2018-04", "2018-07")).mean("t"), rtol=2e-6)
    again = monthly.by_period("season", "count").compute(WINDOW)
    same(again, expected.resample(t="QS-DEC").count().astype(np.float32))
    halo = monthly.focal_mean(2).dates("2018-05").compute(WINDOW[490:540, 10:30])
    np.testing.assert_array_equal(
        halo.values, monthly.focal_mean(2).compute(WINDOW).sel(t=["2018-05-01"]).values[:, 490:540, 10:30]
    )


def test_only_the_dates_of_what_is_looked_at_are_read(made) -> None:
    collection, cube = made
    march = int(
        (cube.t.values < np.datetime64("2018-04-01")).sum() - (cube.t.values < np.datetime64("2018-03-01")).sum()
    )
    chain = collection.ndvi().by_period("month", "median").dates("2018-03")
    (needed,) = {dates for dates in chain.published.prepared.dates_below(chain.published.root).values()}
    assert needed is not None and len(needed) == march < 31
    every = collection.ndvi().by_period("month", "median")
    assert chain.plan(WINDOW).bytes < every.plan(WINDOW).bytes * (march + 1) / 20


def test_a_document_of_another_tool_is_the_same_chain(made) -> None:
    collection, _ = made
    chain = collection.resolve().by_period("month", "mean")
    document = graph.to_document(chain._node)
    (node,) = [n for n in document["process_graph"].values() if n["process_id"] == "aggregate_temporal_period"]
    assert node["arguments"]["period"] == "month" and set(node["arguments"]) == {"data", "period", "reducer"}
    assert graph.parse(document, registry).hash == chain._node.hash


def test_the_series_of_a_place(made) -> None:
    collection, cube = made
    chain = collection.band("B8").by_period("month", "max")
    lon, lat = WINDOW[5:6, 7:8].extent.centroid.to_crs("EPSG:4326").coords[0]
    values = cube.sel(bands="B8", drop=True)[:, 5, 7].resample(t="MS").max()
    found = chain.at(lon, lat)
    np.testing.assert_array_equal(found.values, values.values)
    assert found.attrs["labels"][:3] == ["2018-01", "2018-02", "2018-03"]
    in_march = ((cube.t >= np.datetime64("2018-03-01")) & (cube.t < np.datetime64("2018-04-01"))).sum()
    assert len(found.attrs["scenes"][2].split(", ")) == in_march > 0
    many = chain.at([lon, lon], [lat, lat])
    assert many.label.values[-1] == "2019-02" and len(str(many.scene.values[2, 1]).split(", ")) == in_march
    series = chain.mean("t").series(lon, lat).array
    assert series.t.values.tolist() == values.t.values.tolist()
    np.testing.assert_array_equal(series.values, values.values)


def test_far_away_each_month_is_thinned_by_itself(made, monkeypatch: pytest.MonkeyPatch) -> None:
    collection, cube = made
    monkeypatch.setenv("MUSES_THINNING", "2")
    chain = collection.band("B8").resolve().by_period("year", "count")
    far = own_window(70, 5, 80.0)
    found = chain.compute(far)
    assert found.max() <= 2
    alone = chain.dates("2018").compute(far)
    np.testing.assert_array_equal(alone.values, found.sel(t=["2018-01-01"]).values)


def test_what_makes_no_sense_is_refused(made) -> None:
    collection, _ = made
    ndvi = collection.ndvi()
    for call, said in (
        (lambda: ndvi.by_period("fortnight"), "month"),
        (lambda: ndvi.by_period("month", "focal_mean"), "is no reducer"),
        (lambda: ndvi.by_period("month", "median", q=0.5), "takes no q"),
        (lambda: ndvi.by_period("month", "quantile"), "takes q"),
        (lambda: ndvi.by_intervals([("2018-03-01", "2018-02-01")]), "before"),
        (lambda: ndvi.by_intervals([]), "valid"),
        (lambda: ndvi.median("t").by_period("month").compute(WINDOW), "reduced already"),
        (lambda: ndvi.by_intervals([("10:00", "12:00")]), "10:00"),
    ):
        with pytest.raises(MusesError, match=said):
            print(said, call())


# --------------------------------------------------------------------------------------------------- other dates


def test_on_the_dates_of_another_series(made, tmp_path: Path) -> None:
    collection, cube = made
    own = cube.sel(bands="B8", drop=True)[:, :40, :30]
    times = np.array(["2017-12-01", "2018-03-10", "2018-06-15", "2019-05-01"], "M8[ns]")
    other = stack(np.ones((4, 1, 600, 40), np.float32), tmp_path, bands=("B4",), dates=[str(t)[:10] for t in times])
    chain = collection.band("B8").on_dates(other.band("B4"))
    same(chain.compute(WINDOW[:40, :30]), own.sel(t=times, method="nearest").assign_coords(t=times))
    within = collection.band("B8").on_dates(other.band("B4"), within=20).compute(WINDOW[:40, :30])
    expected = np.full(within.shape, np.nan, np.float32)
    for k, time in enumerate(times):
        near = sorted(own.t.values, key=lambda t: (abs(t - time), t))
        for t in near:
            if abs(t - time) < np.timedelta64(20, "D"):
                expected[k] = np.where(np.isnan(expected[k]), own.sel(t=t), expected[k])
    np.testing.assert_array_equal(within.values, expected)
    whole = chain.compute(WINDOW)
    np.testing.assert_array_equal(chain.dates("2018-03").compute(WINDOW).values, whole.values[1:2])
    both = (chain + other.band("B4")).compute(WINDOW[:40, :30])
    np.testing.assert_allclose(both.values, whole.values[:, :40, :30] + 1, rtol=1e-6)


@pytest.mark.parametrize("steps", [1, 3, -2, 0, 99])
def test_shifted_as_xarray_does(made, steps: int) -> None:
    collection, cube = made
    own = cube.sel(bands="B8", drop=True)[:, :40, :30]
    found = collection.band("B8").shift(steps).compute(WINDOW[:40, :30])
    same(found, own.shift(t=steps))


def test_differences_of_neighbouring_dates(made) -> None:
    collection, cube = made
    own = cube.sel(bands="B8", drop=True)[:, :40, :30]
    series = collection.band("B8")
    same((series - series.shift()).compute(WINDOW[:40, :30]), own - own.shift(t=1))
