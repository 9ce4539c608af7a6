"""The courses in `notebooks/courses`: notebooks run, solutions pass, wrong answers are told why, answers are right.

What an exercise expects is computed here once more, by rasterio and NumPy of the scenes' files.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import pytest
import rasterio
import shapely
from rasterio.features import geometry_mask
from rasterio.windows import Window
from shapely.geometry import box

from muses_lab import settings
from muses_lab.authoring.check import check
from muses_lab.courses.description import ChoiceExercise, Description
from muses_lab.exercises.participant import Course, course
from tests.helpers import REPOSITORY
from tests.helpers.scene_files import SceneFiles

COURSES = REPOSITORY / "notebooks" / "courses"
FIRST, FIELDS, LAND_COVER = "first-steps", "time-series-of-fields", "land-cover"
ALL = sorted(path.name for path in COURSES.iterdir() if path.is_dir())

pytestmark = pytest.mark.usefixtures("in_threads", "course_samples")


@pytest.fixture(scope="module")
def year(course_samples: Callable[[Path], None]) -> SceneFiles:
    return SceneFiles(settings.home() / "sample-864-36")


def opened(name: str) -> Course:
    return course(COURSES / name)


def expected(name: str, exercise: str) -> Any:
    return opened(name).description.exercise(exercise)[1]


def agrees(exercise: Any, value: Any) -> None:
    """An exercise's answer is the value that was computed here: closer than half its tolerance."""
    off = np.abs(np.asarray(exercise.expected, float) - np.asarray(value, float)).max()
    assert off <= max(exercise.tolerance / 2, 1e-9), f"{exercise.id}: {exercise.expected}, and not {value}"


def near(exercise: Any, value: Any) -> None:
    """A known wrong answer is one that has a hint of its own."""
    assert any(abs(one - value) <= exercise.tolerance for one, _ in exercise.near), f"{exercise.id}: {value}"


# -------------------------------------------------------------------------------------------------- all courses


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name if name != LAND_COVER else pytest.param(name, marks=pytest.mark.thorough) for name in ALL]
)
def test_files_and_descriptions_are_right(name):
    """Without running a notebook. The chains of the land cover fit their forests, which takes a quarter of a minute."""
    found = check(COURSES / name, run=False)
    assert found.ok, str(found)
    assert not [note for note in found.notes if "no wrong answer" in note], str(found)


@pytest.mark.parametrize("name", ALL)
def test_a_course_says_what_it_is_about_and_asks_in_every_notebook(name):
    about = Description.read(COURSES / name)
    assert len(about.objectives) >= 3 and about.hours
    kinds = {exercise.kind for _, exercise in about.exercises()}
    assert kinds == {"number", "chain", "map", "choice"}
    for notebook in about.notebooks:
        assert notebook.minutes and any(isinstance(one, ChoiceExercise) for one in notebook.exercises)
    assert sum(notebook.minutes for notebook in about.notebooks) == pytest.approx(60 * about.hours)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # a quarter of a minute for each of eight kernels, when nothing else runs
@pytest.mark.thorough  # browser/test_class.py plays the first one in a hub
@pytest.mark.parametrize("name", ALL)
def test_it_runs_as_a_participant_has_it_and_every_answer_is_told_what_it_should_be(name):
    """`muses-lab course check`: without a network, all cells, then the solutions, then wrong answers."""
    found = check(COURSES / name)
    assert found.ok, str(found)


# --------------------------------------------------------------------------------------------------- first steps

FIELD = (1.43765, 43.61658)


def test_first_steps_clear_scenes(year):
    found = expected(FIRST, "clear-scenes")
    seen = shapely.intersects(shapely.from_wkb(year.items.geometry), box(*opened(FIRST).area))
    clouds = year.items["eo:cloud_cover"][seen]
    agrees(found, (clouds < 20).sum())
    near(found, (clouds > 20).sum())
    near(found, len(clouds))
    assert len(opened(FIRST).collection().items) == len(clouds)


def test_first_steps_by_hand():
    found = expected(FIRST, "ndvi-by-hand")
    red, nir = 0.05, 0.45
    agrees(found, (nir - red) / (nir + red))
    for wrong in ((red - nir) / (nir + red), nir - red, nir / red):
        near(found, wrong)


def test_first_steps_the_history_of_a_place(year):
    values = year.ndvi(year.pixel(*FIELD))[:, 0, 0]
    clear = np.isfinite(values)
    days = expected(FIRST, "clear-days")
    agrees(days, clear.sum())
    there = np.isfinite(year.ndvi(year.pixel(*FIELD), masked=False))
    near(days, there.sum())
    near(days, there.sum() - clear.sum())
    agrees(expected(FIRST, "peak-month"), year.dates[np.nanargmax(values)].month)


def test_first_steps_a_field(year):
    bounds = (1.4366, 43.6158, 1.4387, 43.6174)
    window = year.window(bounds)
    values = year.ndvi(window)
    inside = ~geometry_mask([_utm(bounds)], values.shape[1:], year.transform(window))
    seen = np.isfinite(values[:, inside]).any(axis=1)
    means = {str(day.date()): np.nanmean(one[inside]) for day, one in zip(year.dates[seen], values[seen], strict=True)}
    found = expected(FIRST, "field-mean")
    agrees(found, means["2018-09-08"])
    near(found, means["2018-09-15"])
    near(found, means["2018-08-16"])


def _utm(bounds: tuple[float, float, float, float]) -> Any:
    return gpd.GeoSeries([box(*bounds)], crs="EPSG:4326").to_crs("EPSG:32631").iloc[0]


def test_first_steps_a_file(year):
    window = year.window((1.43, 43.61, 1.445, 43.62))
    found = expected(FIRST, "file-mean")
    middle = np.nanmedian(year.ndvi(window)[summer(year)], axis=0)
    agrees(found, np.nanmean(middle))
    near(found, np.nanmedian(middle))
    near(found, np.nanmean(np.nanmedian(year.ndvi(window), axis=0)))
    near(found, np.nanmean(np.nanmedian(year.ndvi(window, masked=False)[summer(year)], axis=0)))


def summer(scenes: SceneFiles) -> Any:
    return (scenes.dates.month >= 6) & (scenes.dates.month <= 8)


def test_first_steps_expected_maps(year):
    window = year.window((1.43, 43.60, 1.44, 43.61))
    ndvi, unmasked = year.ndvi(window), year.ndvi(window, masked=False)
    (july,) = unmasked[year.dates == "2018-07-05"]
    maps = {
        "july-ndvi": july,
        "clear-median": np.nanmedian(ndvi, axis=0),
        "summer-green": np.nanmedian(ndvi[summer(year)], axis=0),
    }
    for exercise, value in maps.items():
        same_pixels(opened(FIRST), exercise, year, window, value)


def same_pixels(
    of: Course, exercise: str, scenes: SceneFiles, window: Any, value: np.ndarray, atol: float = 1e-5
) -> None:
    """The expected chain of an exercise has these values in a window of 10 m pixels."""
    from odc.geo.geobox import GeoBox

    where = GeoBox(value.shape[-2:], scenes.transform(window), f"EPSG:{32631 if scenes.tile == '31TCJ' else 32630}")
    chain = of.document(of.description.exercise(exercise)[1].expected)
    np.testing.assert_allclose(chain.compute(where).values, value, atol=atol, err_msg=exercise)


# ----------------------------------------------------------------------------------------- time series of fields


@pytest.fixture(scope="module")
def years(course_samples: Callable[[Path], None]) -> SceneFiles:
    return SceneFiles(settings.home() / "sample-years")


def means(scenes: SceneFiles, file: str, name: str) -> pd.DataFrame:
    """Mean NDVI and share of the pixels that lie in a polygon of a course, by date."""
    shapes = gpd.read_file(COURSES / FIELDS / file).set_index("name").to_crs("EPSG:32631")
    bounds = gpd.GeoSeries([shapes.geometry[name]], crs="EPSG:32631").to_crs("EPSG:4326").total_bounds
    window = scenes.window(tuple(bounds))
    values = scenes.ndvi(window)
    inside = ~geometry_mask([shapes.geometry[name]], values.shape[1:], scenes.transform(window))
    own = values[:, inside]
    share = np.isfinite(own).mean(axis=1)
    mean = np.array([np.nanmean(one) if np.isfinite(one).any() else np.nan for one in own])
    return pd.DataFrame({"mean": mean, "share": share}, index=scenes.dates)


def test_fields_are_where_their_crops_grow():
    """Of the drawn ground: all pixels but a few of every field are of the crop that the file names."""
    from concurrent.futures import ThreadPoolExecutor

    from muses_lab.sample.ground import draw
    from muses_lab.sample.noise import Fields
    from muses_lab.sample.spectra import CLASSES
    from muses_lab.sample.years import SEED, SIZE, tile

    with ThreadPoolExecutor(2) as pool:
        classes = draw(tile(), Fields.make(SIZE, SEED, pool), SEED, pool).classes
    fields = gpd.read_file(COURSES / FIELDS / "fields.geojson").to_crs("EPSG:32631")
    assert len(fields) == 20 and (fields.crop == "unknown").sum() == 3
    known = {"F01": "sunflower", "F02": "maize", "F20": "rapeseed"}  # what the quiz says of the others
    for field in fields.itertuples():
        inside = ~geometry_mask([field.geometry], classes.shape, tile().transform(10))
        crop = known.get(field.name, field.crop)
        names = [CLASSES[code].name.removeprefix("winter ") for code in classes[inside]]
        assert np.mean(np.array(names) == crop) > 0.95, field.name


def test_fields_an_area():
    fields = gpd.read_file(COURSES / FIELDS / "fields.geojson").set_index("name")
    found = expected(FIELDS, "field-area")
    geodesic, _ = pyproj.Geod(ellps="WGS84").geometry_area_perimeter(fields.geometry["F15"])
    agrees(found, abs(geodesic) / 1e4)
    near(found, fields.to_crs("EPSG:3857").area["F15"] / 1e4)


def test_fields_days_that_were_seen(years):
    f05 = means(years, "fields.geojson", "F05").loc["2017"]
    found = expected(FIELDS, "seen-days")
    agrees(found, (f05.share >= 0.8).sum())
    near(found, (f05.share > 0).sum())
    near(found, len(f05))
    f13 = means(years, "fields.geojson", "F13").loc["2016-04":"2016-05"]
    agrees(expected(FIELDS, "spring-days"), (f13.share >= 0.8).sum())
    near(expected(FIELDS, "spring-days"), len(f13))
    agrees(expected(FIELDS, "rows"), 20 * len(years.dates))


def test_fields_the_length_of_a_season(years):
    """Whittaker's smoother by its definition, dense, and the half of the way up and down by straight lines."""
    values = years.ndvi(years.pixel(1.4138, 43.6436))[:, 0, 0]
    of_2017 = years.dates.year == 2017
    found = expected(FIELDS, "season-length")
    start, end = season(years.dates[of_2017], values[of_2017], 0.5)
    agrees(found, end - start)
    near(found, end)
    start, end = season(years.dates[of_2017], values[of_2017], 0.2)
    near(found, end - start)


def season(dates: pd.DatetimeIndex, values: np.ndarray, threshold: float) -> tuple[float, float]:
    """Days since 1 January on which a smoothed series passes a share of its amplitude, before and after its peak."""
    days = (dates - pd.Timestamp(dates[0].year, 1, 1)).days.to_numpy(float) + 10.91 / 24  # the time of the overpasses
    steps, n = np.diff(days) / 10, len(days)
    rough = np.zeros((n - 2, n))
    for row in range(n - 2):
        mean = (steps[row] + steps[row + 1]) / 2
        rough[row, row : row + 3] = np.array([1 / steps[row], -1 / steps[row] - 1 / steps[row + 1], 1 / steps[row + 1]])
        rough[row] /= mean
    valid = np.isfinite(values)
    smooth = np.linalg.solve(np.diag(valid.astype(float)) + 2 * rough.T @ rough, np.where(valid, values, 0))
    first, last = np.flatnonzero(valid)[[0, -1]]
    days, smooth = days[first : last + 1], smooth[first : last + 1]
    peak = smooth.argmax()
    up, down = (side.min() + threshold * (smooth[peak] - side.min()) for side in (smooth[: peak + 1], smooth[peak:]))
    before = max(i for i in range(peak) if smooth[i] < up)
    after = min(i for i in range(peak + 1, len(smooth)) if smooth[i] < down)
    start = np.interp(up, smooth[before : before + 2], days[before : before + 2])
    end = np.interp(-down, -smooth[after - 1 : after + 1], days[after - 1 : after + 1])
    return float(start), float(end)


def test_fields_a_dry_summer(years):
    meadow = means(years, "fields.geojson", "F07")
    august = meadow[(meadow.index.month == 8) & (meadow.share >= 0.8)]["mean"]
    dry, others = august[august.index.year == 2020].mean(), august[august.index.year != 2020].mean()
    found = expected(FIELDS, "dry-summer")
    agrees(found, dry - others)
    near(found, dry)
    near(found, others)


def test_fields_what_happened_where(years):
    """The meadow is where the sample says that houses were built, the wood where it burns."""
    from muses_lab.sample.years import BUILDING, changes, tile

    places = gpd.read_file(COURSES / FIELDS / "places.geojson").set_index("name").to_crs("EPSG:32631")
    inside = {
        name: ~geometry_mask([shape], (288, 288), tile().transform(10)) for name, shape in places.geometry.items()
    }
    where = changes()
    assert where.built[inside["meadow"]].mean() > 0.95 and where.planted[inside["young wood"]].mean() > 0.95
    assert where.burnt[inside["wood"]].sum() == where.burnt.sum()
    agrees(expected(FIELDS, "year-built"), BUILDING.year)


def dnbr_of(scenes: SceneFiles, window: Any) -> np.ndarray:
    nir, swir = scenes.band("B08", window), scenes.band("B12", window)
    nbr = (nir - swir) / (nir + swir)
    autumn = {year: (scenes.dates >= f"{year}-08-11") & (scenes.dates < f"{year}-10-15") for year in (2018, 2019)}
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.nanmedian(nbr[autumn[2018]], axis=0) - np.nanmedian(nbr[autumn[2019]], axis=0)


def test_fields_the_burnt_area(years):
    wood = gpd.read_file(COURSES / FIELDS / "places.geojson").set_index("name").loc[["wood"]]
    window = years.window(tuple(wood.total_bounds))
    fall = dnbr_of(years, window)
    inside = ~geometry_mask(wood.to_crs("EPSG:32631").geometry, fall.shape, years.transform(window))
    found = expected(FIELDS, "burnt-area")
    agrees(found, (fall[inside] > 0.27).sum() / 100)
    near(found, (fall[inside] > 0.27).sum() + 0.0)
    near(found, (fall[inside] > 0.1).sum() / 100)


def test_fields_expected_maps(years):
    window = years.window((1.402, 43.640, 1.412, 43.647))
    ndvi, dates = years.ndvi(window), years.dates

    def highest(first: str, after: str) -> np.ndarray:
        return np.fmax.reduce(ndvi[(dates >= first) & (dates < after)])

    spring, summer_ = highest("2017-04-01", "2017-06-01"), highest("2017-07-01", "2017-09-01")
    summers = np.stack([np.nanmedian(ndvi[(dates.year == year) & summer(years)], axis=0) for year in range(2016, 2022)])
    pairs = [(b, a) for b in range(6) for a in range(b)]
    maps = {
        "summer-crops": ((spring < 0.45) & (summer_ > 0.6)).astype(float),
        "green-spring": np.where(spring >= 0.6, spring, np.nan),
        "burnt": dnbr_of(years, window),
        "trend": np.median([(summers[b] - summers[a]) / (b - a) for b, a in pairs], axis=0),
    }
    maps["summer-crops"][np.isnan(spring) | np.isnan(summer_)] = np.nan
    for exercise, value in maps.items():
        same_pixels(opened(FIELDS), exercise, years, window, value, 2e-4 if exercise == "trend" else 1e-5)


# ---------------------------------------------------------------------------------------------------- land cover


LAND = {
    **dict.fromkeys((10, 11, 12, 13), "town"), 1: "wheat", 2: "maize", 3: "sunflower", 4: "rapeseed", 5: "grassland",
    6: "bare soil", 7: "broadleaf", 8: "conifer", 9: "water",
}  # fmt: skip


@pytest.fixture(scope="module")
def land(year: SceneFiles) -> np.ndarray:
    """The true class of each 10 m pixel."""
    with rasterio.open(year.folder / "truth" / "31TCJ" / "classes.tif") as file:
        codes = file.read(1)
    return np.array(["", *(LAND[code] for code in range(1, 14))])[codes]


def at(scenes: SceneFiles, array: np.ndarray, table: pd.DataFrame) -> np.ndarray:
    """Values of an array of the whole tile (…, y, x) at the points of a table."""
    rows, columns = scenes.pixels(table.lon.to_list(), table.lat.to_list())
    return array[..., rows, columns]


def points(name: str) -> pd.DataFrame:
    table = pd.read_csv(COURSES / LAND_COVER / name)
    if "parcel" in table:
        table["held_out"] = table.parcel.str[1:].astype(int) % 2 == 0
    return table


def test_land_cover_samples_say_the_truth(year, land):
    for name in ("samples.csv", "validation.csv"):
        table = points(name)
        assert (at(year, land, table) == table["class"]).all(), name
    samples = points("samples.csv")
    assert (samples.groupby("parcel")["class"].nunique() == 1).all()
    found = expected(LAND_COVER, "parcels")
    agrees(found, samples.groupby("class").parcel.nunique().min())
    near(found, samples["class"].value_counts().min())
    near(found, samples.parcel.nunique())
    split = expected(LAND_COVER, "split")
    sides = [set(own.parcel) for _, own in samples.groupby("held_out")]
    agrees(split, len(sides[0] & sides[1]))
    near(split, len(sides[0] | sides[1]))
    near(split, len(sides[0]))
    truth = pd.read_csv(COURSES / LAND_COVER / "true-areas.csv", index_col="class").hectares
    counted = pd.Series(land[49 : 49 + 610, 326 : 326 + 489].ravel()).value_counts() / 100
    pd.testing.assert_series_equal(truth, counted.sort_index(), check_names=False)


def test_land_cover_accuracies(year):
    """The forest of the first map by scikit-learn, of spectra that rasterio read."""
    from sklearn.ensemble import RandomForestClassifier

    whole = Window(0, 0, 864, 864)
    (july,) = (item for _, item in year.items.iterrows() if str(item.datetime).startswith("2018-07-05"))
    bands = [year.scene(july, name, whole, False) for name in JULY]
    samples, validation = points("samples.csv"), points("validation.csv")
    spectra = at(year, np.stack(bands), samples).T.astype(np.float32)
    ndvi = (spectra[:, 3] - spectra[:, 2]) / (spectra[:, 3] + spectra[:, 2])
    wheat = expected(LAND_COVER, "wheat-ndvi")
    agrees(wheat, np.median(ndvi[samples["class"] == "wheat"]))
    near(wheat, np.mean(ndvi[samples["class"] == "wheat"]))
    near(wheat, np.median(ndvi[samples["class"] == "maize"]))
    taught, held = ~samples.held_out, samples.held_out
    forest = RandomForestClassifier(
        100, max_depth=25, min_samples_leaf=5, random_state=0, max_features="sqrt", oob_score=True
    ).fit(spectra[taught], samples["class"][taught])
    said, truth = forest.predict(spectra[held]), samples["class"][held].to_numpy()
    overall = expected(LAND_COVER, "overall")
    agrees(overall, (said == truth).mean())
    near(overall, forest.score(spectra[taught], samples["class"][taught]))
    near(overall, forest.oob_score_)
    near(overall, forest.score(at(year, np.stack(bands), validation).T.astype(np.float32), validation["class"]))
    producers = expected(LAND_COVER, "producers")
    agrees(producers, (said[truth == "sunflower"] == "sunflower").mean())
    near(producers, (truth[said == "sunflower"] == "sunflower").mean())


JULY = ("B02", "B03", "B04", "B08", "B11", "B12")


def test_land_cover_the_example_of_olofsson():
    """Olofsson et al. (2014), Remote Sensing of Environment 148, 42-57, table 8: accuracy 0.95, 21 158 ha."""
    n = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
    weights = np.array([0.02, 0.015, 0.32, 0.645])
    p = weights[:, None] * n / n.sum(axis=1, keepdims=True)
    accuracy, area = expected(LAND_COVER, "olofsson-accuracy"), expected(LAND_COVER, "olofsson-area")
    agrees(accuracy, np.trace(p))
    near(accuracy, np.trace(n) / n.sum())
    agrees(area, p[:, 0].sum() * 10_000_000 * 0.09)
    near(area, 200_000 * 0.09)
    assert accuracy.expected == pytest.approx(0.95, abs=0.005) and area.expected == 21158


@pytest.mark.slow
def test_land_cover_expected_maps(year, land):
    """The seasons are NumPy's, and the map made of them is right where the exercise says so."""
    window = year.window((1.44, 43.60, 1.446, 43.604))
    ndvi = year.ndvi(window)
    seen = np.isfinite(year.ndvi(window, masked=False)).any(axis=(1, 2))
    days, ndvi = year.dates[seen], ndvi[seen]
    filled = np.empty_like(ndvi)
    times = year.items.datetime[seen].astype("int64").to_numpy().astype(float)
    for row, column in np.ndindex(*ndvi.shape[1:]):
        own = ndvi[:, row, column]
        clear = np.isfinite(own)
        filled[:, row, column] = np.interp(times, times[clear], own[clear])
    limits = ["2018-01-01", "2018-04-01", "2018-06-01", "2018-08-01", "2018-10-01", "2019-01-01"]
    seasons = [
        np.median(filled[(days >= first) & (days < after)], axis=0) for first, after in itertools.pairwise(limits)
    ]
    course_ = opened(LAND_COVER)
    same_pixels(course_, "seasons", year, window, np.stack(seasons))
    validation = points("validation.csv")
    names = np.array(sorted(set(LAND.values())))
    better = course_.chain("better-map").at(list(zip(validation.lon, validation.lat, strict=True)))
    accuracy = (names[better.values.ravel().astype(int) - 1] == validation["class"]).mean()
    agrees(expected(LAND_COVER, "better-accuracy"), accuracy)
