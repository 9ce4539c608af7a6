"""`apply_neighborhood`: windows counted from the grid, against NumPy and SciPy window by window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

import muses_lab as ml
from muses_lab.errors import DocumentError, MusesError
from muses_lab.operators.neighborhood import _periods
from tests.helpers.made_stacks import own_window, stack

pytestmark = pytest.mark.usefixtures("in_threads")

ROWS, COLUMNS, TIMES = 530, 47, 6
WINDOW = own_window(ROWS, COLUMNS)
KERNEL = [[1, 2, 1], [0, 3, 0], [-1, 1, 2]]
DATES = ["2020-01-05", "2020-01-25", "2020-02-10", "2020-04-01", "2020-04-30", "2020-05-02"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[ml.Collection, np.ndarray]:
    rng = np.random.default_rng(4)
    values = rng.uniform(0, 1, (TIMES, 2, ROWS, COLUMNS)).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    return stack(values, tmp_path_factory.mktemp("windows"), dates=DATES), values


def in_windows(image: np.ndarray, size: tuple[int, int], overlap: tuple[int, int], fn: Any) -> np.ndarray:
    """`fn` of each window with its overlap, where values are missing beyond the image; then without the overlap."""
    (width, height), (across, down) = size, overlap
    out = np.full_like(image, np.nan)
    rows, columns = image.shape
    padded = np.pad(image, ((down, height + down), (across, width + across)), constant_values=np.nan)
    for r in range(0, rows, height):
        for c in range(0, columns, width):
            window = padded[r : r + height + 2 * down, c : c + width + 2 * across]
            found = fn(window)[down : down + height, across : across + width]
            target = out[r : r + height, c : c + width]
            target[...] = found[: target.shape[0], : target.shape[1]]
    return out


def convolved(image: np.ndarray, border: float = 0.0) -> np.ndarray:
    filled = np.where(np.isnan(image), 0.0, image).astype(np.float64)
    return ndimage.convolve(filled, np.array(KERNEL, float), mode="constant", cval=border)


@pytest.mark.parametrize(
    ("size", "overlap"), [((20, 16), (0, 0)), ((64, 64), (0, 0)), ((8, 100), (1, 0)), ((20, 16), (3, 2))]
)
def test_neighbourhoods_end_at_windows_and_their_overlap(made, size, overlap) -> None:
    collection, values = made
    image = collection.band("B4").first("t")
    chain = image.apply_neighborhood(
        lambda part: part.apply_kernel(KERNEL, border=5),
        {"x": size[0], "y": size[1]},
        {"x": overlap[0], "y": overlap[1]},
    )
    with np.errstate(all="ignore"):
        first = values[0, 0].copy()
        for later in values[1:, 0]:
            first = np.where(np.isnan(first), later, first)
    expected = in_windows(first, size, overlap, lambda window: convolved(window, 5))
    found = chain.compute(WINDOW).values
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    for rows, columns in ((slice(500, 530), slice(3, 20)), (slice(101, 250), slice(40, 47))):
        part = chain.compute(WINDOW[rows, columns]).values
        np.testing.assert_array_equal(part, found[rows, columns])


def test_a_process_that_looks_no_farther_than_the_overlap_needs_no_windows(made) -> None:
    image = made[0].band("B8").max("t")
    own = image.apply_kernel(KERNEL).compute(WINDOW).values
    found = image.apply_neighborhood(lambda p: p.apply_kernel(KERNEL), 16, 1).compute(WINDOW).values
    np.testing.assert_array_equal(found, own)


def test_series_are_cut_into_periods_from_the_first_day_on(made) -> None:
    collection, values = made
    image = collection.band("B8").apply_neighborhood(
        lambda part: part.merge_cubes(part.reduce_dimension(lambda data: data.mean(), "t"), lambda x, y: x - y),
        {"t": "P1M"},
    )
    expected = values[:, 1].copy()
    with np.errstate(all="ignore"):
        for some in ([0, 1], [2], [3], [4, 5]):  # from the 5th of a month to that of the next one
            some_values = expected[some]
            mean = np.nansum(some_values, 0) / np.isfinite(some_values).sum(0)
            expected[some] = some_values - mean
    found = image.compute(WINDOW)
    np.testing.assert_allclose(found.values, expected, rtol=1e-4, atol=1e-5)
    small = WINDOW[100:110, 5:9]
    one = image.dates("2020-04-20", "2020-05-01").compute(small).values
    np.testing.assert_array_equal(one[0], found.values[4, 100:110, 5:9])


def test_windows_of_dates_have_what_overlaps(made) -> None:
    collection, values = made
    chain = collection.band("B4").apply_neighborhood(
        lambda part: part.merge_cubes(part.reduce_dimension("max", "t"), lambda x, y: y + 0), {"t": 2}, {"t": 1}
    )
    red = values[:, 0]
    expected = np.stack([np.fmax.reduce(red[max(n - 1, 0) : n + 3]) for n in (0, 2, 4) for _ in range(2)])
    found = chain.compute(WINDOW).values
    np.testing.assert_array_equal(found, expected)


def test_windows_of_one_pixel_are_arrays(made) -> None:
    collection, _ = made
    ndvi = collection.ndvi()
    pixel = {"x": 1, "y": 1}
    for process in ("array_interpolate_linear", lambda data: data - data.mean()):
        whole = ndvi.apply_dimension(process, "t").compute(WINDOW).values
        found = ndvi.apply_neighborhood(process, pixel).compute(WINDOW).values
        np.testing.assert_array_equal(found, whole)
    halves = ndvi.apply_neighborhood("cumsum", pixel | {"t": 3}).compute(WINDOW).values
    for part, dates in ((halves[:3], ("2020-01-01", "2020-03-01")), (halves[3:], ("2020-03-01", "2020-06-01"))):
        apart = ndvi.dates(*dates).apply_dimension("cumsum", "t").compute(WINDOW).values
        np.testing.assert_array_equal(part, apart)
    with pytest.raises(MusesError, match="no arrays"):
        collection.apply_neighborhood("array_interpolate_linear", pixel).compute(WINDOW)
    each = collection.apply_neighborhood("array_interpolate_linear", pixel | {"bands": 1}).compute(WINDOW).values
    own = collection.apply_dimension("array_interpolate_linear", "t").compute(WINDOW).values
    np.testing.assert_array_equal(each, own)


def test_metres_are_whole_pixels_of_the_level(made) -> None:
    image = made[0].band("B4").min("t")
    kernel = [[1] * 5] * 5
    metres = [{"dimension": d, "value": 240, "unit": u} for d, u in (("x", "m"), ("y", None))]
    found = image.apply_neighborhood(lambda p: p.apply_kernel(kernel), metres).compute(WINDOW).values
    np.testing.assert_array_equal(
        found, image.apply_neighborhood(lambda p: p.apply_kernel(kernel), 24).compute(WINDOW).values
    )


def test_durations_are_those_of_the_calendar() -> None:
    times = [np.datetime64(t) for t in ("2020-01-31T10:00", "2020-02-28T10:00", "2020-02-29T10:00", "2020-03-31T00:00")]
    assert [(r.first, r.last) for r in _periods("P1M", None, times)] == [(0, 2), (2, 3), (3, 4)]
    assert [(r.start, r.stop) for r in _periods("P1M", "P1D", times)] == [(0, 3), (1, 4), (3, 4)]
    assert [(r.first, r.last) for r in _periods("PT12H", None, times)] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    far = [np.datetime64("2000-01-01"), np.datetime64("2020-01-01")]
    assert [(r.first, r.last) for r in _periods("PT1S", None, far)] == [(0, 1), (1, 2)]


@pytest.mark.parametrize(
    ("process", "size", "said"),
    [
        (lambda p: p.reduce_dimension("mean", "t"), 16, "without dates"),
        (lambda p: p.filter_bands(["B4"]), 16, "gives the bands B4"),
        (lambda p: p.filter_temporal(["2020-02-01", None]), 16, "leaves out dates"),
        (lambda p: p.aggregate_temporal_period("month", "mean"), 16, "makes dates of others"),
        (lambda p: p.reduce_spatial("mean"), 16, "depends on"),
        (lambda p: p.resample_spatial(20), 16, "changes the grid"),
        (lambda p: p.apply_neighborhood(process="cumsum", size=[]), 16, "of parts of the grid itself"),
        ("mean", 16, "gives one value"),
        ("cumsum", 16, "windows are cubes"),
        (lambda p: p.apply_kernel([[1, 1, 1]]), 4, "at least 8 pixels"),
        (lambda p: p.apply_kernel([[1, 1, 1]]), 2000, "the limit is 1024"),
        (lambda p: p.apply_kernel([[1, 1, 1]]), {"x": 16.5}, "no whole number"),
        (lambda p: p.apply_kernel([[1, 1, 1]]), {"t": "P1X"}, "no duration"),
        (lambda p: p.apply_kernel([[1, 1, 1]]), {"t": "P" + 400 * "9" + "Y"}, "thousand years"),
        (lambda p: p.apply_kernel([[1, 1, 1]]), {"x": "P1D"}, "only dates have durations"),
        (lambda p: p.apply_kernel([[1, 1, 1]]), {"z": 3}, "size"),
    ],
)
def test_what_cannot_be_done_by_windows_is_refused(made, process, size, said: str) -> None:
    with pytest.raises(MusesError, match=said):
        made[0].apply_neighborhood(process, size).compute(WINDOW)
    with pytest.raises(DocumentError, match="of which a window has all values"):
        made[0].apply_neighborhood(lambda p: p.apply_kernel([[1, 1, 1]]), {"x": 16}, {"y": 2})


def test_code_looks_at_its_window(made) -> None:
    collection, values = made
    code = (
        "def apply_datacube(cube: xarray.DataArray, context: dict) -> xarray.DataArray:\n"
        "    return cube.fillna(0).max(('x', 'y')) + 0 * cube.fillna(0)\n"
    )
    image = collection.band("B4").max("t")
    chain = image.apply_neighborhood(lambda part: part.run_udf(udf=code), {"x": 32, "y": 50})
    assert chain.is_private
    with np.errstate(all="ignore"):
        highest = np.fmax.reduce(values[:, 0])
    expected = in_windows(highest, (32, 50), (0, 0), lambda w: np.full_like(w, np.nanmax(w, initial=0)))
    np.testing.assert_array_equal(chain.compute(WINDOW).values, expected)
    with pytest.raises(MusesError, match="looks at all pixels of a window"):
        image.apply_neighborhood(lambda part: part.run_udf(udf=code), {"x": 32}).compute(WINDOW)


def test_documents_hand_context_and_names_of_dimensions_to_the_process(made) -> None:
    collection, values = made
    load = collection.band("B4").to_json()["process_graph"]
    (last,) = [name for name, node in load.items() if node.pop("result", False)]
    code = (
        "def apply_datacube(cube: xarray.DataArray, context: dict) -> xarray.DataArray:\n"
        "    return cube + context['more']\n"
    )
    udf = {"process_id": "run_udf", "result": True, "arguments": {
        "data": {"from_parameter": "data"}, "udf": code, "runtime": "Python", "context": {"from_parameter": "context"},
    }}  # fmt: skip
    size = [{"dimension": d, "value": v, "unit": "px"} for d, v in (("longitude", 64), ("lat", 64), ("when", None))]
    renamed = {"data": {"from_node": last}, "source": "t", "target": "when"}
    windows = {
        "data": {"from_node": "r"}, "size": size, "overlap": [], "context": {"more": 2},
        "process": {"process_graph": {"u": udf}},
    }  # fmt: skip
    document = load | {
        "r": {"process_id": "rename_dimension", "arguments": renamed},
        "n": {"process_id": "apply_neighborhood", "result": True, "arguments": windows},
    }
    found = ml.Chain.from_json(document, trust_code=True).compute(WINDOW[:70, :40]).values
    np.testing.assert_array_equal(found, values[:, 0, :70, :40] + 2)
