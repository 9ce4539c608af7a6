"""Several chains as one: bands side by side, one or the other, the first that is valid, blends, colours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from matplotlib.colors import hsv_to_rgb

import muses_lab as ml
from muses_lab.engine import Engine
from muses_lab.engine.compiled import compiler
from muses_lab.errors import ArgumentError, BandError, GridError
from muses_lab.raster.asset import Band
from tests.helpers.made_scenes import Made, values, window, write_tif
from tests.oracles.uncompiled import without_code

SIZE = 150
BOX = window(SIZE, SIZE)
NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def stored() -> dict[str, np.ndarray]:
    """(date, row, column) of each band, from 0 to 1; NaN where missing."""
    rng = np.random.default_rng(11)
    return {
        name: np.where((v := rng.integers(0, 100, (2, SIZE, SIZE))) < 20, np.nan, v.astype(np.float32) / 100)
        for name in NAMES
    }


@pytest.fixture(scope="module")
def cube(tmp_path_factory: pytest.TempPathFactory, isolated_home: Path, stored: dict[str, np.ndarray]) -> ml.Chain:
    made = Made(tmp_path_factory.mktemp("combine"))
    scenes = []
    for n in range(2):
        assets = {}
        for name in NAMES:
            image = np.nan_to_num(stored[name][n] * 100).round().astype(np.uint8)
            assets[name] = made.asset(write_tif(made.folder / f"{name}{n}.tif", image))
        scenes.append(made.scene(f"s{n}", f"2020-01-0{n + 1}", assets, grid="MADE-1"))
    return made.chain([Band(name, nodata=0.0, scale=0.01) for name in NAMES], scenes)


@pytest.fixture(scope="module")
def images(cube: ml.Chain) -> dict[str, ml.Chain]:
    return {name: cube.band(name).max("t") for name in NAMES}


@pytest.fixture(scope="module")
def arrays(stored: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The maxima over time."""
    return {name: np.fmax(*stored[name]) for name in NAMES}


def where(condition: np.ndarray, unknown: np.ndarray, a: np.ndarray | float, b: np.ndarray | float) -> np.ndarray:
    return np.where(unknown, np.nan, np.where(condition, a, b))


def test_where_chooses_and_unknown_is_missing(images: dict[str, ml.Chain], arrays: dict[str, np.ndarray]) -> None:
    a, b, c = (arrays[name] for name in NAMES)
    condition = images["a"] > 0.6
    for chosen, expected in (
        ((images["b"], images["c"]), where(a > 0.6, np.isnan(a), b, c)),
        ((images["b"], -1), where(a > 0.6, np.isnan(a), b, -1)),
        ((2, images["c"]), where(a > 0.6, np.isnan(a), 2, c)),
        ((1, 0), where(a > 0.6, np.isnan(a), 1, 0)),
    ):
        np.testing.assert_allclose(values(ml.where(condition, *chosen), BOX), expected, rtol=1e-6)


def test_a_mosaic_takes_the_first_that_is_valid(images: dict[str, ml.Chain], arrays: dict[str, np.ndarray]) -> None:
    layers = [images[n] for n in NAMES]
    expected = arrays["a"]
    for name in "bc":
        expected = np.where(np.isnan(expected), arrays[name], expected)
    np.testing.assert_allclose(values(ml.mosaic(layers), BOX), expected, rtol=1e-6)
    other = values(ml.mosaic(layers[::-1]), BOX)
    assert (np.nan_to_num(other, nan=-1) != np.nan_to_num(expected, nan=-1)).mean() > 0.5, "the order counts"
    assert ml.mosaic([layers[0]]).identical(layers[0])
    np.testing.assert_array_equal(np.isnan(other), np.isnan(expected))


def test_a_blend(images: dict[str, ml.Chain], arrays: dict[str, np.ndarray]) -> None:
    a, b, c = (arrays[name] for name in NAMES)
    np.testing.assert_allclose(values(ml.blend(images["a"], images["b"], 0.25), BOX), 0.75 * a + 0.25 * b, rtol=1e-5)
    np.testing.assert_allclose(values(ml.blend(images["a"], 1, images["c"]), BOX), a * (1 - c) + c, rtol=1e-5)
    over = values(ml.blend(images["a"], images["b"], images["c"] * 3 - 1), BOX)
    share = np.clip(c * 3 - 1, 0, 1)
    np.testing.assert_allclose(over, a * (1 - share) + b * share, rtol=1e-5, atol=1e-6)
    for alpha in (-0.1, 1.5, float("nan"), "x"):
        with pytest.raises(ArgumentError, match="alpha="):
            ml.blend(images["a"], images["b"], alpha)  # type: ignore[arg-type]


def test_bands_side_by_side(images: dict[str, ml.Chain], arrays: dict[str, np.ndarray], cube: ml.Chain) -> None:
    found = ml.stack(x=images["a"], y=images["b"])
    np.testing.assert_allclose(values(found, BOX), np.stack([arrays["a"], arrays["b"]]), rtol=1e-6)
    more = ml.stack(cube.max("t"), y=images["b"] * 2)
    assert more.published.prepared.output.meta.bands == ("a", "b", "c", "y")
    np.testing.assert_allclose(values(more, BOX)[3], arrays["b"] * 2, rtol=1e-6)
    np.testing.assert_array_equal(values(ml.rgb(*images.values()), BOX), values(cube.max("t"), BOX))


def test_hsv_is_that_of_matplotlib(images: dict[str, ml.Chain], arrays: dict[str, np.ndarray]) -> None:
    a, b, c = (arrays[name] for name in NAMES)
    for turn in (360, -720, 3000):
        found = values(ml.hsv(images["a"] * turn, images["b"], images["c"]), BOX)
        expected = hsv_to_rgb(np.nan_to_num(np.stack([(a * turn / 360) % 1, b, c], -1))).transpose(2, 0, 1)
        missing = np.isnan(a + b + c)
        np.testing.assert_allclose(found, np.where(missing, np.nan, expected), atol=2e-5)
    plain = values(ml.hsv(images["a"] * 360, 2, 0.5), BOX)
    assert np.nanmax(plain) == 0.5 and np.nanmin(plain) == 0


CHAINS: dict[str, Callable[[ml.Chain, ml.Chain, ml.Chain], ml.Chain]] = {
    "where": lambda a, b, c: ml.where(a > 0.5, b, c).max("t"),
    "constant": lambda a, b, c: ml.where(a > 0.5, b, 0.5).median("t"),
    "mosaic": lambda a, b, c: ml.mosaic([a, b, c]).median("t"),
    "blend": lambda a, b, c: ml.blend(a, b, c).mean("t"),
    "stack": lambda a, b, c: ml.stack(x=a, y=b).median("t"),
    "hsv": lambda a, b, c: ml.hsv(a * 360, b, c).max("t"),
}


@pytest.mark.parametrize("name", CHAINS)
def test_compiled_and_numpy_are_equal_with_dates(cube: ml.Chain, stored: dict[str, np.ndarray], name: str) -> None:
    chain = CHAINS[name](*(cube.band(n) for n in NAMES))
    prepared = chain.published.prepared
    reducers = [s for s in prepared.steps.values() if s.reduces_time]
    assert reducers and all(compiler.code_of(prepared, s) is not None for s in reducers), "it is compiled"
    fast = values(chain, BOX)
    with without_code():
        slow = values(chain, BOX, Engine(64 << 20))
    np.testing.assert_array_equal(fast, slow)
    if name == "where":
        a, b, c = (stored[n] for n in NAMES)
        expected = where(a > 0.5, np.isnan(a), b, c)
        np.testing.assert_allclose(fast, np.fmax(*expected), rtol=1e-6)
    again = ml.Chain.from_json(json.dumps(chain.to_json(artefacts=True)))
    assert again.identical(chain.resolve())


@hypothesis_settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_tile_is_the_same_part_of_the_whole(data: st.DataObject, images: dict[str, ml.Chain]) -> None:
    a, b, c = images.values()
    chain = ml.mosaic([ml.where(a > 0.5, b, c), ml.blend(a, b, 0.3), 0 * c])
    whole = values(chain, BOX)
    r, c0 = data.draw(st.integers(0, SIZE - 50)), data.draw(st.integers(0, SIZE - 50))
    h, w = data.draw(st.integers(1, 50)), data.draw(st.integers(1, 50))
    part = BOX[r : r + h, c0 : c0 + w]
    np.testing.assert_array_equal(values(chain, part), whole[r : r + h, c0 : c0 + w])


def test_what_does_not_fit_is_told(images: dict[str, ml.Chain], cube: ml.Chain, tmp_path: Path) -> None:
    a, b = images["a"], images["b"]
    other = Made(tmp_path)
    path = write_tif(tmp_path / "other.tif", np.ones((50, 50), np.uint8), pixel=30.0)
    far = (
        other.chain([Band("a")], [other.scene("o", "2020-01-01", {"a": other.asset(path)}, grid="OTHER")])
        .band("a")
        .max("t")
    )
    for combined in (lambda: ml.mosaic([a, far]), lambda: ml.where(a > 0, a, far), lambda: ml.blend(a, far, 0.5)):
        with pytest.raises(GridError, match="say on which grid"):
            values(combined(), BOX)
    assert np.isfinite(values(ml.mosaic([a, far.on_grid(a)]), BOX)[:30, :30]).all()
    with pytest.raises(BandError, match="cannot be combined|must be the same"):
        values(ml.mosaic([cube.bands("a", "b").max("t"), cube.bands("b", "c").max("t")]), BOX)
    wrong: list[Callable[[], ml.Chain]] = [
        lambda: ml.mosaic([]), lambda: ml.mosaic([a, 1]), lambda: ml.where(1, a, b), lambda: ml.where(a > 1, "x", b),
        lambda: ml.stack(), lambda: ml.stack(a, x=1), lambda: ml.hsv(1), lambda: ml.blend(1, a, 0.5),
    ]  # type: ignore[arg-type, list-item]  # fmt: skip
    for call in wrong:
        with pytest.raises(ArgumentError):
            call()
