"""The kernels of windows against plain NumPy: places of pixels, blocks that are touched, pixels that are pasted."""

from __future__ import annotations

import numpy as np
import shapely
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from muses_lab.raster import pixels
from tests.helpers.examples import examples

STEP, FAR = 16, 1 << 30
PLAIN = hypothesis_settings(max_examples=examples(20))


@given(
    st.integers(1, 70), st.integers(1, 70), st.integers(0, STEP - 1), st.integers(0, STEP - 1),
    st.floats(-0.3, 0.3), st.sampled_from([0.1, 10.0, 40.0, 1e-7]), st.booleans(), st.booleans(),
)  # fmt: skip
@PLAIN
def test_pixels_between_nodes_are_those_at_the_points_between_them(
    rows: int,
    columns: int,
    first_row: int,
    first_column: int,
    turned: float,
    size: float,
    nowhere: bool,
    goes_round: bool,
) -> None:
    down, across = (first_row + rows - 1) // STEP + 2, (first_column + columns - 1) // STEP + 2
    c, r = np.meshgrid(np.arange(across) * 160.0, np.arange(down) * -160.0)
    x, y = 3e5 + c + turned * r, 4.8e6 + r - turned * c
    if nowhere:
        x[-1, -1] = np.inf
        y[0, 0] = np.nan
    at = 3e5, 4.8e6, size, 1.5 * size, 360.0 * goes_round, (3e5 + 100, 3e5 + 400), FAR
    found = pixels.pixels_between(x, y, first_row, first_column, STEP, (rows, columns), *at)
    plain = (pixels.between(v, first_row, first_column, STEP, rows, columns) for v in (x, y))
    for got, expected in zip(found, pixels.pixels_at(*plain, *at), strict=True):
        assert got.dtype == np.int32 and np.array_equal(got, expected)


@given(st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from([1, 7, 40]))
@PLAIN
def test_the_blocks_that_are_touched_are_all_and_no_others(seed: int, everywhere: bool, spread: int) -> None:
    rng = np.random.default_rng(seed)
    shape, block = tuple(rng.integers(1, 60, 2)), 32
    r0, c0 = rng.integers(-50, 50, 2)
    rows = (r0 + np.arange(shape[0])[:, None] * spread // 7 + rng.integers(0, spread, shape)).astype(np.int32)
    cols = (c0 + np.arange(shape[1])[None] * spread // 7 + rng.integers(0, spread, shape)).astype(np.int32)
    where = rng.random(shape) < 0.05
    extent = (-20, 90, -10, 120)
    inside = (rows >= extent[0]) & (rows < extent[1]) & (cols >= extent[2]) & (cols < extent[3])
    mine = inside if everywhere else inside & where
    expected = {(int(r), int(c)) for r, c in zip(rows[mine] // block, cols[mine] // block, strict=True)}
    found = np.zeros((6, 6), np.bool_)
    pixels.touched(rows, cols, where, everywhere, extent, -1, -1, block, found)
    assert {(int(r) - 1, int(c) - 1) for r, c in np.argwhere(found)} == expected


@given(st.integers(0, 2**32 - 1), st.booleans())
@PLAIN
def test_pixels_of_a_block_are_pasted_and_others_left_alone(seed: int, everywhere: bool) -> None:
    rng = np.random.default_rng(seed)
    block = rng.random((2, 16, 16), np.float32)
    rows, cols = (rng.integers(-10, 50, (20, 30)).astype(np.int32) for _ in range(2))
    where = rng.random((20, 30)) < 0.5
    out = np.full((2, 20, 30), -1, np.float32)
    pixels.paste(block, 8, 4, rows, cols, where, everywhere, out)
    mine = (rows >= 8) & (rows < 24) & (cols >= 4) & (cols < 20) & (where | everywhere)
    expected = np.where(mine, block[:, (rows - 8).clip(0, 15), (cols - 4).clip(0, 15)], np.float32(-1))
    assert np.array_equal(out, expected)


@given(st.integers(0, 2**32 - 1))
@PLAIN
def test_depths_in_a_rectangle_are_distances_to_its_edge(seed: int) -> None:
    random = np.random.default_rng(seed)
    x, y = random.uniform(-2, 3, (2, 7, 9))
    west, south, east, north = 0.0, -1.0, *random.uniform(0.1, 2, 2)
    found = pixels.depths(x, y, west, south, east, north)
    inside = (x >= west) & (x <= east) & (y >= south) & (y <= north)
    assert np.array_equal(found >= 0, inside)
    edge = shapely.distance(shapely.boundary(shapely.box(west, south, east, north)), shapely.points(x, y))
    np.testing.assert_allclose(found[inside], edge[inside], atol=1e-12)
    x[0, 0], y[1, 1], x[2, 2], y[3, 3] = np.nan, np.nan, np.inf, -np.inf
    assert (np.diagonal(pixels.depths(x, y, west, south, east, north))[:4] == -np.inf).all()


@given(st.integers(0, 2**32 - 1), st.booleans())
@PLAIN
def test_the_rectangle_around_the_pixels_of_a_window(seed: int, everywhere: bool) -> None:
    random = np.random.default_rng(seed)
    rows, cols = random.integers(-900, 900, (2, 5, 8)).astype(np.int32)
    where = random.random((5, 8)) < 0.3
    where[random.integers(5), random.integers(8)] = True
    mine = np.ones_like(where) if everywhere else where
    found = pixels.around(rows, cols, where, everywhere)
    assert found == (rows[mine].min(), rows[mine].max() + 1, cols[mine].min(), cols[mine].max() + 1)
