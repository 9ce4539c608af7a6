"""Exports say how they were made, and are made again to the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from pyproj import Transformer
from typer.testing import CliRunner

import muses_lab as ml
from muses_lab import settings
from muses_lab.api.chain import Chain
from muses_lab.cli import app
from muses_lab.errors import DocumentError, NotFound
from muses_lab.export import pieces, provenance
from muses_lab.export.pieces import _mark
from muses_lab.raster.asset import Band
from tests.helpers.made_scenes import CORNER, UTM31, Made, three, window, write_tif

pytestmark = pytest.mark.usefixtures("in_threads")

BOX = window(300, 280)


@pytest.fixture
def scenes(made: Made) -> tuple[list[Path], Chain]:
    paths, scenes = three(made, sizes=True)
    return paths, ml.Chain.from_json(_chain_document(made, scenes))


def _chain_document(made: Made, scenes) -> dict:
    return made.chain([Band("B", nodata=0.0)], scenes.scenes).band("B").median("t").to_json(artefacts=True)


def export(chain: Chain, path: Path, **options) -> Path:
    return chain.export(path, BOX, progress=False, **options).wait(60)


@pytest.mark.parametrize("ending", [".tif", ".nc", ".zarr"])
def test_an_export_is_made_again_to_the_same_bytes(scenes, tmp_path: Path, ending: str) -> None:
    _, chain = scenes
    path = export(chain, tmp_path / f"it's a name{ending}")
    told = {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    again = ml.remake(path, progress=False)
    assert again and again.new is None and again.differences == () and "the same bytes" in str(again)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == told, "nothing is left, the file as it was"
    new = ml.remake(path, tmp_path / f"other{ending}", progress=False)
    assert new.same and new.new == tmp_path / f"other{ending}" and new.new.exists()
    with pytest.raises(FileExistsError):
        ml.remake(path, tmp_path / f"other{ending}", progress=False)
    with pytest.raises(FileExistsError, match="is the file itself"):
        ml.remake(path, path, overwrite=True)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {"decoration": False}), ("a.png", {}), ("a.gpkg", {}), ("a.gif", {"fps": 3, "caption": "Day"}),
        ("a.mp4", {"fps": 3}), ("a.webm", {"decoration": False}),
    ],
)  # fmt: skip
def test_pictures_movies_and_polygons_are_made_again_too(made: Made, tmp_path: Path, name: str, options: dict) -> None:
    _, found = three(made, sizes=True)
    dates = made.chain([Band("B", nodata=0.0)], found.scenes).band("B")
    chain = dates if name.endswith((".gif", ".mp4", ".webm")) else dates.median("t")
    classes = {0: ("low", "#0000ff"), 1: ("high", "#ff0000")}
    styled = (chain > 4500).style(classes=classes) if name.endswith("gpkg") else chain.style("magma", vmax=9000)
    path = styled.export(tmp_path / name, BOX, progress=False, **options).wait(60)
    assert ml.history(path).options["style"] is not None
    again = ml.remake(path, tmp_path / f"other{path.suffix}", progress=False)
    assert again.same, str(again)


def test_tables_have_their_history_beside_them(s2: ml.Collection, tmp_path: Path) -> None:
    chain, places = s2.mask_clouds().ndvi(), [(1.40, 43.58), (1.41, 43.59)]
    path = chain.export(tmp_path / "a.csv", places, progress=False).wait(60)
    assert (tmp_path / "a.csv.muses.json").exists() and "table of  2 places" in str(ml.history(path))
    assert ml.remake(path, progress=False)
    boxes = [shapely.box(1.40, 43.58, 1.405, 43.585), shapely.box(1.41, 43.58, 1.412, 43.583)]
    fields = geopandas.GeoDataFrame({"crop": ["wheat", "='maize'"], "n": [1, 2]}, geometry=boxes, crs="EPSG:4326")
    path = chain.export(tmp_path / "b.parquet", fields, stats=["mean", "q90"], progress=False).wait(60)
    assert "table of  2 polygons" in str(ml.history(path))
    again = ml.remake(path, tmp_path / "c.parquet", progress=False)
    assert again.same, str(again)
    path.write_bytes(path.read_bytes() + b" ")
    assert ml.remake(path, progress=False).differences == ("the tables differ, or somebody has changed one",)


def test_a_table_is_made_again_with_the_ids_and_the_statistic_that_it_had(s2: ml.Collection, tmp_path: Path) -> None:
    boxes = [shapely.box(1.40, 43.58, 1.405, 43.585), shapely.box(1.41, 43.58, 1.412, 43.583)]
    fields = geopandas.GeoDataFrame({"n": [1, 2]}, geometry=boxes, crs="EPSG:4326", index=[10, 20])
    left = tmp_path / f"{_mark(tmp_path / 'a.csv')}{'0' * 16}"
    left.mkdir()
    (left / "table.csv").write_text("of a process that was killed")
    path = s2.ndvi().export(tmp_path / "a.csv", fields, stats="mean", progress=False).wait(60)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "a.csv.muses.json"], "what was left is removed"
    assert ml.history(path).options["stats"] == ["mean"]
    again = ml.remake(path, tmp_path / "b.csv", progress=False)
    assert again.same, str(again)
    assert set(pd.read_csv(tmp_path / "b.csv").feature) == {10, 20}


@pytest.mark.parametrize("kind", ["places", "polygons"])
def test_a_table_tells_the_scenes_that_could_not_be_read(tmp_path: Path, kind: str) -> None:
    made, scenes = Made(tmp_path / "made"), []
    for n in range(2):
        path = write_tif(made.folder / f"{n}.tif", np.full((200, 200), 7, np.uint16))
        scenes.append(made.scene(f"scene-{n}", f"2018-06-1{n}", {"B": made.asset(path)}, grid="MADE-1"))
    path.write_bytes(path.read_bytes()[:600])
    chain = made.chain([Band("B", nodata=0.0)], scenes).band("B")
    corner = Transformer.from_crs(UTM31, 4326, always_xy=True).transform(CORNER[0] + 800, CORNER[1] - 800)
    area = [corner] if kind == "places" else {"type": "Polygon", "coordinates": [[
        (corner[0] + dx, corner[1] + dy) for dx, dy in ((0, 0), (2e-3, 0), (2e-3, 2e-3), (0, 0))
    ]]}  # fmt: skip
    job = chain.export(tmp_path / "a.csv", area, progress=False)
    path = job.wait(60)
    assert list(job.failed) == ["scene-1"]
    found = ml.history(path)
    assert found.failed == job.failed and "left out  1" in str(found)


def test_a_style_and_a_title_come_back(scenes, tmp_path: Path) -> None:
    _, chain = scenes
    styled = chain.style("RdYlGn", vmin=0, vmax=9000, unit="m", label="Heights")
    path = styled.export(tmp_path / "a.tif", BOX, progress=False, title="A title").wait(60)
    (tmp_path / "a.qml").rename(tmp_path / "first.qml")
    assert ml.remake(path, tmp_path / "b.tif", progress=False)
    assert (tmp_path / "b.qml").read_bytes() == (tmp_path / "first.qml").read_bytes()


def test_the_history_tells_chain_scenes_and_versions(s2: ml.Collection, tmp_path: Path) -> None:
    box = ml.Window.from_bounds((1.40, 43.58, 1.402, 43.582), crs="EPSG:32631", resolution=20)
    chain = s2.mask_clouds().ndvi().median("t")
    path = chain.export(tmp_path / "a.tif", box, progress=False).wait(60)
    found = ml.history(path)
    text = str(found)
    assert ".mask_clouds().ndvi().median('t')" in text and "ml.Window.from_bounds(" in text
    assert found.window == box and found.chain.published.chain_hash == chain.published.chain_hash
    assert set(found.used) == set(chain.plan(box).ids) and found.used[0] in text
    assert {"GDAL", "numpy", "numba", "processor", "muses-lab"} <= set(found.versions)
    assert "muses-lab remake a.tif NEW" in text and found.failed == {} and found.problems == ()
    assert found.to_python() == chain.to_python()
    assert ml.remake(path, progress=False)


@pytest.mark.slow
def test_what_differs_is_said(scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, chain = scenes
    path = export(chain, tmp_path / "a.tif")
    with monkeypatch.context() as patch:
        real = provenance.versions()
        patch.setattr(provenance, "versions", lambda packages=(): {**real, "GDAL": "2.0", "processor": "abacus"})
        found = ml.remake(path, progress=False)
    assert not found and f"GDAL: {rasterio.__gdal_version__} then, 2.0 now" in found.differences
    assert any(line.startswith("processor:") for line in found.differences)
    assert found.differences[-1].startswith("the values are the same")
    files[1].unlink()
    command = [
        sys.executable,
        "-c",
        "from muses_lab.cli import app; app()",
        "remake",
        str(path),
        str(tmp_path / "b.tif"),
    ]
    # In another process, which has not read the scene before.
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "MUSES_COMPUTE": "threads"})
    assert done.returncode == 2, done.stderr
    assert "scene b could be read then, and cannot now: " in done.stdout and "the values differ" in done.stdout
    assert "left out  1\n          b: " in str(ml.history(tmp_path / "b.tif"))


KILLED = """
import os, signal, sys
import muses_lab as ml
from muses_lab.export import files
files._put_together = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
ml.remake(sys.argv[1], progress=False)
"""


@pytest.mark.slow
def test_what_a_killed_remake_has_left_the_next_one_removes(scenes, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    path = export(scenes[1], folder / "it's [a] name.tif")
    environment = {**os.environ, "MUSES_COMPUTE": "threads"}
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], capture_output=True, text=True, env=environment)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (left,) = (one for one in folder.iterdir() if one.is_dir())
    assert left.name.startswith(".it's [a] name.tif.muses-remake-") and list(left.iterdir())
    with pieces.scratch(path) as own:  # of another process that is at work
        assert not left.exists()
        assert ml.remake(path, progress=False) and own.exists()
    assert list(folder.iterdir()) == [path]


def test_a_file_that_was_changed_is_said_to_be(scenes, tmp_path: Path) -> None:
    _, chain = scenes
    path = export(chain, tmp_path / "a.tif")
    with path.open("ab") as file:
        file.write(b"more")
    assert ml.remake(path, progress=False).differences == (
        "a.tif itself: it is not as it was written, somebody has changed or damaged it",
    )


def test_what_says_nothing_is_refused(scenes, tmp_path: Path) -> None:
    with rasterio.open(tmp_path / "b.tif", "w", driver="GTiff", width=4, height=4, count=1, dtype="uint8") as file:
        file.write(np.zeros((1, 4, 4), np.uint8))
    with pytest.raises(NotFound, match=r"b\.tif does not say how it was made"):
        ml.history(tmp_path / "b.tif")
    with pytest.raises(NotFound, match="there is no file"):
        ml.remake(tmp_path / "c.tif")
    path = export(scenes[1], tmp_path / "a.tif")
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        file.update_tags(MUSES_DOCUMENT="{")
    with pytest.raises(DocumentError, match="MUSES_DOCUMENT is damaged"):
        ml.remake(path)


def test_models_and_vectors_travel_in_the_file(scenes, tmp_path: Path, fresh_home: Path) -> None:
    """So that it is made again where the store never heard of them."""
    files, chain = scenes
    outline = {"type": "Polygon", "coordinates": [[[1.30, 43.63], [1.35, 43.63], [1.35, 43.66], [1.30, 43.63]]]}
    masked = chain.mask_polygon(ml.vectors(outline))
    settings.register_catalog(next(iter(masked.published.scenes.values())).catalog, str(files[0].parent))
    path = export(masked, tmp_path / "a.tif")
    held = json.loads(ml.history(path).texts.get("MUSES_ARTEFACTS", "{}"))
    assert set(held) == set(masked.published.artefacts) - set(masked.published.scenes)
    assert ml.remake(path, progress=False)


def test_the_commands_tell_and_remake(scenes, tmp_path: Path) -> None:
    path = export(scenes[1], tmp_path / "a.tif")
    run = CliRunner()
    told = run.invoke(app, ["history", str(path)])
    assert told.exit_code == 0 and "scenes    3: a, b, c" in told.output
    again = run.invoke(app, ["remake", str(path), str(tmp_path / "b.tif")])
    assert again.exit_code == 0 and "the same bytes" in again.output
    with path.open("ab") as file:
        file.write(b"more")
    differs = run.invoke(app, ["remake", str(path)])
    assert differs.exit_code == 2 and "somebody has changed" in differs.output
    nothing = run.invoke(app, ["history", str(tmp_path / "none.tif")])
    assert nothing.exit_code == 1 and "there is no file" in nothing.output
