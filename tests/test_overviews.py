"""Overviews of classes of which nothing is said: used where they are what decimation takes, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from scipy.ndimage import zoom

from muses_lab.engine import Engine
from muses_lab.raster.asset import Band
from muses_lab.raster.overviews import is_decimated
from muses_lab.raster.resampling import taken
from tests.helpers.made_scenes import CORNER, Made, pixels, window, write_tif

RNG = np.random.default_rng(5)
SCL = Band("SCL", dtype="uint8", categorical=True)


def classes(size: int = 1024) -> np.ndarray:
    """Patches of classes, of a few pixels."""
    return zoom(RNG.choice([1, 3, 8, 9], (-(-size // 8),) * 2), 8, order=0)[:size, :size].astype(np.uint8)[::-1]


def decimated(truth: np.ndarray, factor: int) -> np.ndarray:
    """What rasterio makes of an image by nearest neighbour, at once with all finer overviews."""
    profile = {"driver": "GTiff", "count": 1, "height": len(truth), "width": len(truth), "dtype": "uint8"}
    with rasterio.MemoryFile() as memory:
        with memory.open(**profile) as file:
            file.write(truth, 1)
        with memory.open(driver="GTiff") as _, rasterio.open(memory.name, "r+") as file:
            file.build_overviews([f for f in (2, 4, 8) if f <= factor], rasterio.enums.Resampling.nearest)
        with rasterio.open(memory.name, overview_level=factor.bit_length() - 2) as file:
            return file.read(1)


def files(made: Made, truths: Sequence[np.ndarray], resampling: Sequence[str], **profile) -> list[Path]:
    return [
        write_tif(made.folder / f"{n}.tif", truth, overviews=(2, 4, 8), resampling=how, **profile)
        for n, (truth, how) in enumerate(zip(truths, resampling, strict=True))
    ]


def seen(made: Made, paths: Sequence[Path], level: int, size: int = 1024) -> tuple[np.ndarray, list[tuple[str, int]]]:
    """Values by date; file and overview of every block that was decoded."""
    scenes = [
        made.scene(f"s{n}", f"2018-06-{10 + n}", {"SCL": made.asset(path)}, grid="MADE") for n, path in enumerate(paths)
    ]
    engine, number = Engine(64 << 20), -(-size // 2**level)
    engine.reader.log = []
    found = pixels(engine, made.chain([SCL], scenes), window(number, number, 10 * 2**level)).values[:, 0]
    return found, [(Path(path).stem, overview) for path, _, overview, *_ in engine.reader.log]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_overviews_by_nearest_neighbour_are_read_and_change_no_value(made: Made, level: int) -> None:
    truths = [classes() for _ in range(5)]
    found, decoded = seen(made, files(made, truths, ["nearest"] * 5), level)
    for values, truth in zip(found, truths, strict=True):
        np.testing.assert_array_equal(values, truth[:: 2**level, :: 2**level])
    whole = [name for name, overview in decoded if overview == 0]
    assert whole == ["0", "4"], "one block of the first and the last file was looked at"


@pytest.mark.parametrize(("said", "factor"), [(None, 4), ("nearest", 4), ("average", 1)])
def test_a_plan_expects_that_overviews_serve_unless_something_else_is_said(
    made: Made, said: str | None, factor: int
) -> None:
    path = write_tif(made.folder / "a.tif", classes(), overviews=(2, 4))
    chain = made.chain([replace(SCL, overviews=said)], [made.scene("s", "2018-06-10", {"SCL": made.asset(path)})])
    assert chain.plan(window(256, 256, 40)).pixels == (1024 // factor) ** 2


@pytest.mark.parametrize("how", ["average", "mode"])
def test_others_are_not_read(made: Made, how: str) -> None:
    truths = [classes() for _ in range(3)]
    found, decoded = seen(made, files(made, truths, [how] * 3), 2)
    for values, truth in zip(found, truths, strict=True):
        np.testing.assert_array_equal(values, truth[::4, ::4])
    assert [name for name, overview in decoded if overview] == ["0"], "one block, looked at"


def test_one_end_of_the_list_speaks_for_itself_only(made: Made) -> None:
    """An archive that was made anew from some date on."""
    truths = [classes() for _ in range(4)]
    for ways in (["nearest"] * 3 + ["average"], ["average"] + ["nearest"] * 3):
        found, _ = seen(made, files(made, truths, ways), 2)
        for values, truth in zip(found, truths, strict=True):
            np.testing.assert_array_equal(values, truth[::4, ::4])


def test_files_of_another_make_are_not_taken_for_the_same(made: Made) -> None:
    truths = [classes() for _ in range(3)]
    paths = files(made, truths, ["nearest"] * 3)
    write_tif(paths[1], truths[1], overviews=(2, 4, 8), resampling="average", compress="lzw")
    found, decoded = seen(made, paths, 2)
    for values, truth in zip(found, truths, strict=True):
        np.testing.assert_array_equal(values, truth[::4, ::4])
    assert ("1", 2) not in decoded and ("2", 2) in decoded


def test_uniform_blocks_tell_nothing(made: Made) -> None:
    truth = np.full((1024, 1024), 4, np.uint8)
    truth[:60, :60] = classes(60)  # in a corner, where nobody looks
    found, decoded = seen(made, files(made, [truth], ["average"]), 2)
    np.testing.assert_array_equal(found[0], truth[::4, ::4])
    assert len([overview for _, overview in decoded if overview == 0]) == 64


def test_files_of_one_class_leave_it_to_the_next(made: Made) -> None:
    truths = [np.full((1024, 1024), 4, np.uint8), classes(), classes()]
    found, decoded = seen(made, files(made, truths, ["nearest"] * 3), 3)
    np.testing.assert_array_equal(found[1], truths[1][::8, ::8])
    assert [name for name, overview in decoded if overview == 0] == ["0"] * 3 + ["1", "2"]


@pytest.mark.parametrize("size", [1000, 1098, 1373])
@pytest.mark.parametrize("level", [1, 2, 3])
def test_odd_sizes_are_decimated_as_gdal_does_it(made: Made, size: int, level: int) -> None:
    """Values are those of GDAL's overview, whether it is there to be read or is made of averages."""
    truth = classes(size)
    factor = 2**level
    expected = decimated(truth, factor)
    at = taken(tuple(-(-size // 2**n) for n in range(level + 1)))
    np.testing.assert_array_equal(expected, truth[np.ix_(at, at)])
    near, _ = seen(made, files(made, [truth], ["nearest"]), level, size)
    whole, _ = seen(made, files(made, [truth], ["average"]), level, size)
    np.testing.assert_array_equal(near, whole)
    shown = np.floor((np.arange(near.shape[1]) + 0.5) * factor * len(expected) / size).astype(int)
    inside = (np.arange(near.shape[1]) + 0.5) * factor < size
    np.testing.assert_array_equal(near[0][np.ix_(inside, inside)], expected[np.ix_(shown[inside], shown[inside])])


@pytest.mark.parametrize("how", ["nearest", "average"])
def test_files_that_run_northwards(made: Made, how: str) -> None:
    truth = classes()
    path = write_tif(made.folder / "a.tif", truth, overviews=(2, 4, 8), resampling=how)
    with rasterio.open(path, "r+") as file:
        file.transform = rasterio.Affine(10, 0, CORNER[0], 0, 10, CORNER[1] - 10 * len(truth))
    found, decoded = seen(made, [path], 2)
    np.testing.assert_array_equal(found[0], truth[::4, ::4][::-1])
    assert (("a", 2) in decoded) and (len([1 for _, n in decoded if n == 0]) == (1 if how == "nearest" else 64))


def test_equal_by_chance_is_not_enough() -> None:
    """Averages of a mask of zeros and ones are often what is in the corner."""
    fine = (RNG.random((512, 512)) > 0.5).astype(np.uint8)
    mean = fine.reshape(256, 2, 256, 2).mean(axis=(1, 3))

    def window(of: int, rows: tuple[int, int], cols: tuple[int, int]) -> np.ndarray:
        return (np.floor(mean + 0.5).astype(np.uint8) if of else fine)[slice(*rows), slice(*cols)]

    assert is_decimated(((512, 512), (256, 256)), (128, 128), 1, window) is False
