"""The sample catalogue: what is in it, that it is true to its own ground, and that it appears whole or not at all."""

from __future__ import annotations

import hashlib
import json
import resource
import signal
import subprocess
import sys
import time
from datetime import date, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pystac
import pytest
import rasterio
import rustac
import shapely
from pyproj import Transformer
from rio_cogeo import cog_validate

import muses_lab as ml
from muses_lab import sample, settings
from muses_lab.errors import MusesError
from muses_lab.raster import access
from muses_lab.sample.make import BYTES, DEFAULT
from muses_lab.sample.place import TOULOUSE, tiles, whole_size
from muses_lab.sample.spectra import COVERS
from muses_lab.sample.years import YEARS, changes, tile

SIZE = 480
CLEAR = (2, 4, 5, 6, 7)
CODES = {c.name: c.code for c in COVERS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return sample.generate(tmp_path_factory.mktemp("data") / "sample", size=SIZE, dates=6)


@pytest.fixture(scope="module")
def items(folder) -> list[dict]:
    return rustac.read_sync(str(folder / "sentinel-2-l2a" / "items.parquet"))["features"]


@pytest.fixture(scope="module")
def truth(folder) -> sample.Truth:
    return sample.Truth(folder)


def read(folder: Path, item: dict, asset: str) -> np.ndarray:
    with rasterio.open(folder / item["assets"][asset]["href"]) as file:
        return file.read(1)


def reflectance(folder: Path, item: dict, asset: str) -> np.ndarray:
    meta = item["assets"][asset]
    stored = read(folder, item, asset)
    values = stored * np.float32(meta["raster:scale"]) + np.float32(meta["raster:offset"])
    return np.where(stored == meta["nodata"], np.nan, values)


def day_of(item: dict) -> date:
    return datetime.fromisoformat(item["properties"]["datetime"]).date()


def digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


# ---- the catalogue


def test_catalogue_is_a_folder_of_stac_and_registered(folder, items):
    catalog = json.loads((folder / "catalog.json").read_text())
    assert catalog["id"] == sample.catalog_id(SIZE, 6) == f"muses-sample-v1-{SIZE}-6-2018"
    assert settings.registered_catalogs()[catalog["id"]]["root"] == str(folder)
    assert pystac.Catalog.from_dict(catalog).id == catalog["id"]
    collection = pystac.Collection.from_file(str(folder / "sentinel-2-l2a" / "collection.json"))
    assert set(collection.item_assets) == {"B01", "B02", "B03", "B04", "B08", "B11", "B12", "SCL"}
    assert collection.license == "CC0-1.0"
    west, south, east, north = collection.extent.spatial.bboxes[0]
    for item in items:
        parsed = pystac.Item.from_dict(item)
        assert parsed.collection_id == "sentinel-2-l2a"
        assert west <= item["bbox"][0] and south <= item["bbox"][1]
        assert item["bbox"][2] <= east and item["bbox"][3] <= north
        assert set(item["assets"]) == set(collection.item_assets)


def test_hrefs_resolve_inside_the_catalogue(folder, items):
    for item in items:
        for asset in item["assets"].values():
            path = access.resolve_href(sample.catalog_id(SIZE, 6), asset["href"])
            assert Path(path).stat().st_size == asset["file:size"]
            assert asset["file:checksum"] == f"1220{hashlib.sha256(Path(path).read_bytes()).hexdigest()}"


def test_assets_say_what_their_files_are(folder, items):
    for item in items[:3]:
        for name, asset in item["assets"].items():
            with rasterio.open(folder / asset["href"]) as file:
                assert file.crs.to_string() == asset["proj:code"]
                assert list(file.shape) == asset["proj:shape"]
                assert list(file.transform)[:6] == asset["proj:transform"]
                assert file.dtypes[0] == asset["data_type"]
                assert file.nodata == asset["nodata"] == 0
                assert file.res == (asset["gsd"], asset["gsd"])
                assert asset["muses:overviews"] == ("nearest" if name == "SCL" else "average")


def test_equal_parameters_give_equal_bytes(folder, tmp_path):
    again = sample.generate(tmp_path / "again", size=SIZE, dates=6)
    assert digests(again) == digests(folder)


def test_second_call_makes_nothing(folder):
    before = (folder / "catalog.json").stat()
    begun = time.monotonic()
    assert sample.generate(folder, size=SIZE, dates=6) == folder
    assert time.monotonic() - begun < 1
    assert (folder / "catalog.json").stat().st_ino == before.st_ino


def test_other_parameters_replace_and_another_seed_is_another_ground(tmp_path):
    place = tmp_path / "sample"
    sample.generate(place, size=96, dates=1)
    first = sample.Truth(place).classes("31TCJ")
    sample.generate(place, size=96, dates=1, seed=7)
    assert json.loads((place / "catalog.json").read_text())["id"] == "muses-sample-v1-96-1-7"
    assert (sample.Truth(place).classes("31TCJ") != first).mean() > 0.2
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_foreign_folder_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(MusesError, match="something else than a sample"):
        sample.generate(tmp_path, size=96, dates=1)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize("wrong", [{"size": 50}, {"size": 20_000}, {"dates": 0}, {"dates": 71}])
def test_impossible_parameters_are_named(tmp_path, wrong):
    with pytest.raises(MusesError, match="=".join(str(v) for v in next(iter(wrong.items())))):
        sample.generate(tmp_path / "x", **wrong)


def test_asked_for_without_a_size_any_sample_will_do(tmp_path, fresh_home):
    place = sample.generate(tmp_path / "sample", size=96, dates=1)
    before = digests(place)
    assert sample.generate(place) == place
    assert digests(place) == before
    assert list(settings.registered_catalogs()) == [sample.catalog_id(96, 1)]


def test_a_sample_that_is_there_is_reused_without_being_there_twice(tmp_path, fresh_home):
    made = sample.generate(tmp_path / "mine", size=96, dates=1)
    place = sample.generate(tmp_path / "hub", reuse=made)
    assert digests(place) == digests(made)
    assert all(file.samefile(made / file.relative_to(place)) for file in place.rglob("*.tif"))
    assert settings.registered_catalogs()[sample.catalog_id(96, 1)]["root"] == str(place)
    none = sample.generate(tmp_path / "own", size=96, dates=2, reuse=tmp_path / "nowhere")
    assert json.loads((none / "catalog.json").read_text())["id"] == sample.catalog_id(96, 2)


def test_too_little_space_is_said_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=90e6))
    with pytest.raises(MusesError, match=r"needs about \d+ MB, but .* has 90 MB free"):
        sample.generate(tmp_path / "sample")
    assert list(tmp_path.glob("*sample*")) == [tmp_path / "sample.lock"]


def test_a_disk_that_becomes_full_is_called_so_and_nothing_is_left(tmp_path, monkeypatch):
    free = iter([1e12])
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=next(free, 0)))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 12, limits[1]))
    try:
        with pytest.raises(MusesError, match=f"the disk of {tmp_path} is full"):
            sample.generate(tmp_path / "sample", size=288, dates=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.glob("*sample*")) == [tmp_path / "sample.lock"]


def test_progress_is_told_by_lines_where_there_is_no_terminal(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("muses_lab.progress.EVERY_SECONDS", 0.02)
    sample.generate(tmp_path / "sample", size=96, dates=2, progress=True)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) >= 3, lines
    assert lines[0].startswith("Sample: 0 of 6 steps") and lines[-1].startswith("Sample: 6 of 6 steps")
    sample.generate(tmp_path / "sample", size=96, dates=1)
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_the_sample_of_make_lab_is_small(lab_sample):
    files = [file for file in lab_sample.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 500e6
    scenes = len(list(lab_sample.rglob("SCL.tif")))
    assert sum(file.stat().st_size for file in files) < BYTES * scenes * whole_size(DEFAULT["size"]) ** 2


@pytest.mark.slow
def test_killed_run_leaves_nothing_half_and_the_next_one_completes(tmp_path):
    place = tmp_path / "sample"
    code = f"from muses_lab.sample import generate; generate({str(place)!r}, size=960, dates=12, progress=False)"
    child = subprocess.Popen([sys.executable, "-c", code])
    part = tmp_path / ".sample.part-new"
    while not list(part.rglob("B04.tif")):
        assert child.poll() is None, "ended before it could be killed"
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert part.exists() and not place.exists()
    sample.generate(place, size=96, dates=1)
    assert (place / "catalog.json").exists() and not part.exists()


# ---- tiles, overpasses, files


@pytest.mark.parametrize("size", [whole_size(96), whole_size(512), whole_size(4096)])
def test_tiles_of_two_zones_share_ground_and_hold_toulouse(size):
    east, west = tiles(size)
    assert (east.epsg, west.epsg) == (32631, 32630)
    assert all(v % 60 == 0 for t in (east, west) for v in (t.left, t.top))
    x, y = Transformer.from_crs(4326, east.epsg, always_xy=True).transform(*TOULOUSE)
    assert east.left < x < east.left + size * 10 and east.top - size * 10 < y < east.top
    assert 0.2 < (east.outline & west.outline).area / east.outline.area < 0.4
    assert all(size * 10 % resolution == 0 for resolution in (10, 20, 60, 160))


def test_tiles_of_one_overpass_are_one_observation(items):
    passes: dict[tuple, list[dict]] = {}
    for item in items:
        passes.setdefault((day_of(item), item["properties"]["platform"]), []).append(item)
    assert len(passes) == 6
    for tiles_ in passes.values():
        times = [datetime.fromisoformat(i["properties"]["datetime"]) for i in tiles_]
        assert (max(times) - min(times)).total_seconds() < 10
        assert len({i["properties"]["grid:code"] for i in tiles_}) == len(tiles_) <= 2
        assert len({i["properties"]["sat:relative_orbit"] for i in tiles_}) == 1
    assert {len(p) for p in passes.values()} == {1, 2}
    assert {i["properties"]["platform"] for i in items} == {"sentinel-2a", "sentinel-2b"}


def test_footprints_hold_exactly_the_pixels_with_data(folder, items):
    partial = 0
    for item in items:
        scl = read(folder, item, "SCL")
        area = shapely.from_geojson(json.dumps(item["geometry"]))
        asset = item["assets"]["SCL"]
        a, _, left, _, e, top = asset["proj:transform"]
        col, row = np.meshgrid(np.arange(scl.shape[1]), np.arange(scl.shape[0]))
        way = Transformer.from_crs(asset["proj:code"], 4326, always_xy=True)
        inside = shapely.contains_xy(area, *way.transform(left + (col + 0.5) * a, top + (row + 0.5) * e))
        assert inside[scl > 0].all()
        assert ((scl == 0) & inside).mean() < 0.01
        missing = 100 * (scl == 0).mean()
        assert item["properties"]["s2:nodata_pixel_percentage"] == pytest.approx(missing, abs=1e-3)
        partial += missing > 5
        for band in ("B04", "B08"):
            assert ((read(folder, item, band) == 0) == np.kron(scl == 0, np.ones((2, 2), bool))).all()
        assert ((read(folder, item, "B11") == 0) == (scl == 0)).all()
    assert partial >= 2


def test_files_are_cogs_whose_overviews_are_exact(folder, items):
    item = next(i for i in items if i["properties"]["s2:nodata_pixel_percentage"] > 5)
    for name, asset in item["assets"].items():
        path = folder / asset["href"]
        valid, errors, _ = cog_validate(str(path), strict=True)
        assert valid, errors
        with rasterio.open(path) as file:
            assert file.profile["compress"] == "deflate" and file.block_shapes == [(512, 512)] or max(file.shape) < 512
            full, factors = file.read(1), file.overviews(1)
            assert factors == [2, 4, 8, 16][: len(factors)]
            finer = full
            for factor in factors:
                ours = file.read(1, out_shape=(file.height // factor, file.width // factor))
                if name == "SCL":
                    expected = finer[::2, ::2]
                else:
                    cells = finer.reshape(finer.shape[0] // 2, 2, -1, 2).astype(float)
                    counts = (cells > 0).sum((1, 3))
                    expected = np.floor(cells.sum((1, 3)) / np.maximum(counts, 1) + 0.5)
                np.testing.assert_array_equal(ours, expected)
                finer = ours
    assert rasterio.open(folder / item["assets"]["B04"]["href"]).overviews(1)


# ---- the ground and what is seen of it


def test_both_tiles_show_the_same_ground(truth, folder):
    east, west = tiles(SIZE)
    rng = np.random.default_rng(0)
    x = east.left + rng.uniform(0, SIZE * 10, 20_000)
    y = east.top - rng.uniform(0, SIZE * 10, 20_000)
    wx, wy = Transformer.from_crs(east.epsg, west.epsg, always_xy=True).transform(x, y)
    col, row = (wx - west.left) / 10, (west.top - wy) / 10
    both = (col > 0) & (col < SIZE) & (row > 0) & (row < SIZE)
    ours = truth.classes("31TCJ")[((east.top - y) / 10).astype(int)[both], ((x - east.left) / 10).astype(int)[both]]
    theirs = truth.classes("30TYP")[row.astype(int)[both], col.astype(int)[both]]
    assert both.sum() > 4000
    # the pixels of the two do not coincide: they may differ along borders, and by chance one in six would agree
    assert (ours == theirs).mean() > 0.8


def test_ground_has_all_covers(truth):
    classes = truth.classes("31TCJ")
    share = {name: (classes == code).mean() for code, name in truth.names.items()}
    assert share["winter wheat"] > 0.05 and share["maize"] > 0.02 and share["sunflower"] > 0.02
    assert share["deciduous forest"] > 0.05 and share["water"] > 0.003 and share["roofs"] > 0.01
    assert all(s > 0 for s in share.values())


def test_crops_have_their_own_seasons(truth):
    classes = truth.classes("31TCJ")
    ndvi = {month: truth.ndvi("31TCJ", date(2018, month, 10)) for month in (1, 5, 8, 10)}

    def median(name: str, month: int) -> float:
        return float(np.median(ndvi[month][classes == CODES[name]]))

    assert median("winter wheat", 5) > 0.75 > 0.35 > median("winter wheat", 8)
    assert median("maize", 8) > 0.75 > 0.35 > median("maize", 5)
    assert median("sunflower", 10) < 0.3
    assert median("deciduous forest", 5) > 0.75 and median("water", 8) < 0
    assert median("rapeseed", 1) > 0.5 > median("bare soil", 1)


def test_clear_pixels_are_the_truth_within_noise_and_steps(folder, items, truth):
    compared = 0
    for item in items:
        clear10 = np.kron(np.isin(read(folder, item, "SCL"), CLEAR), np.ones((2, 2), bool))
        if not clear10.any():
            continue  # overcast
        for band in ("B02", "B04", "B08"):
            seen = reflectance(folder, item, band)[clear10]
            true = truth.reflectance(item["properties"]["grid:code"], day_of(item), (band,))[0][clear10]
            assert np.abs(seen - true).max() < 0.008
            assert np.abs(seen - true).mean() < 0.0025
            compared += seen.size
        true = truth.reflectance(item["properties"]["grid:code"], day_of(item), ("B11",))[0]
        true = true.reshape(SIZE // 2, 2, -1, 2).mean((1, 3))
        seen = reflectance(folder, item, "B11")
        assert np.abs(seen - true)[clear10[::2, ::2]].max() < 0.008
    assert compared > 1e6


def test_clouds_are_bright_and_shadows_dark(folder, items, truth):
    clouds = shadows = 0
    for item in items:
        scl = np.kron(read(folder, item, "SCL"), np.ones((2, 2), np.uint8))
        blue = reflectance(folder, item, "B02")
        true = truth.reflectance(item["properties"]["grid:code"], day_of(item), ("B02",))[0]
        if (scl == 9).any():
            assert np.median(blue[scl == 9]) > 0.4
            clouds += 1
        if (scl == 3).any():
            assert (blue[scl == 3] < true[scl == 3] + 0.003).all()
            shadows += 1
        counts = np.bincount(scl.ravel(), minlength=12)
        cover = 100 * counts[8:11].sum() / counts[1:].sum()
        assert item["properties"]["eo:cloud_cover"] == pytest.approx(cover, abs=1e-3)
    assert clouds and shadows


def test_offset_changes_with_the_baseline(folder, items):
    for item in items:
        late = day_of(item) >= date(2018, 9, 1)
        assert item["assets"]["B04"]["raster:offset"] == (-0.1 if late else 0)
        assert "raster:offset" not in item["assets"]["SCL"]
        stored = read(folder, item, "B12")
        assert (stored[stored > 0].min() > 1000) == late
    assert len({i["assets"]["B04"]["raster:offset"] for i in items}) == 2


@pytest.mark.slow
def test_a_year_has_clear_and_overcast_days(tmp_path):
    made = sample.generate(tmp_path / "year", size=96, dates=36)
    found = rustac.read_sync(str(made / "sentinel-2-l2a" / "items.parquet"))["features"]
    assert len({day_of(i) for i in found}) == 36 < len(found) <= 72
    cover = np.array([i["properties"]["eo:cloud_cover"] for i in found])
    assert (cover == 0).sum() >= 4 and cover.max() > 85 and 20 < cover.mean() < 60


@pytest.fixture(scope="module")
def years(years_sample) -> tuple[ml.Collection, ml.Window]:
    """The scenes of six years, and the window of all their pixels."""
    place = tile()
    bounds = (place.left, place.top - 10 * place.size, place.left + 10 * place.size, place.top)
    window = ml.Window.from_bounds(bounds, crs=place.crs, bounds_crs=place.crs, resolution=10)
    return ml.collection("sentinel-2-l2a", ml.open_catalog(str(years_sample))), window


def summer(chain: ml.Chain, year: int, window: ml.Window) -> np.ndarray:
    return chain.dates(f"{year}-06-01", f"{year}-09-01").median("t").compute(window).values


def test_six_years_have_the_same_months(years):
    scenes, _ = years
    by_year = scenes.table().datetime.dt.year.value_counts()
    assert dict(by_year) == dict.fromkeys(YEARS, 12)


def test_what_is_said_to_burn_has_burnt(years, in_threads):
    scenes, window = years
    nbr, where = scenes.mask_clouds().nbr(), changes()
    before, after = (nbr.dates(f"{year}-08-11", f"{year}-10-15").median("t").compute(window) for year in (2018, 2019))
    fall = (before - after).values
    untouched = where.wood & ~where.burnt & ~where.singed & ~where.felled
    assert np.nanmedian(fall[where.burnt]) > 0.6
    assert 0.2 < np.nanmedian(fall[where.singed]) < 0.5
    assert abs(np.nanmedian(fall[untouched])) < 0.05
    assert np.isfinite(fall[where.burnt]).mean() > 0.9, "the mask takes char for something dark"


def test_woods_grow_houses_stay_and_a_dry_summer_passes(years, in_threads):
    scenes, window = years
    ndvi, where = scenes.mask_clouds().ndvi(), changes()
    green = {year: summer(ndvi, year, window) for year in YEARS}
    planted = [float(np.nanmedian(green[year][where.planted])) for year in YEARS]
    assert planted[0] < planted[1] < planted[2] < planted[3] < planted[5]
    assert planted[4] < planted[3], "the dry summer"
    built = [float(np.nanmedian(green[year][where.built])) for year in YEARS]
    assert max(built[4:]) < min(built[:4]) - 0.1


@pytest.mark.slow
def test_six_years_are_made_once_and_are_the_same_again(years_sample, tmp_path):
    catalog = years_sample / "catalog.json"
    before = catalog.stat().st_mtime_ns
    assert sample.six_years(years_sample) == years_sample and catalog.stat().st_mtime_ns == before
    again = sample.six_years(tmp_path / "again")
    name = "sentinel-2-l2a/31TCJ/2019-08-14/B12.tif"
    assert (again / name).read_bytes() == (years_sample / name).read_bytes()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    with pytest.raises(MusesError, match="holds something else"):
        sample.six_years(tmp_path / "other")


def test_a_sample_by_name_is_of_exactly_that_size_and_registers_nothing(fresh_home):
    named = sample.named
    folder = named("sample-96-1")
    assert folder == settings.home() / "sample-96-1"
    assert json.loads((folder / "catalog.json").read_text())["id"] == sample.catalog_id(96, 1)
    written = (folder / "catalog.json").stat().st_mtime_ns
    assert named("sample-96-1") == folder and (folder / "catalog.json").stat().st_mtime_ns == written
    assert settings.known_catalogs() == {} and named("somewhere") is None and named("sample-x-1") is None
    with pytest.raises(MusesError, match="size=10 is not possible"):
        named("sample-10-1")
