"""The compiled kernels against NumPy: every reducer on any values, sorting networks, stored integers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from muses_lab.engine.compiled import vm
from muses_lab.engine.compiled.run import factors_of
from muses_lab.raster.differences import undo_differences
from muses_lab.warm import PARTS
from tests.helpers.examples import examples
from tests.oracles.reducers import numpy_of

SINGLE = st.floats(width=32, allow_nan=True, allow_infinity=True)
MILD = st.one_of(st.just(float("nan")), st.floats(-1e6, 1e6, width=32))


def stacks(elements: st.SearchStrategy[float], dates: int = 12) -> st.SearchStrategy[np.ndarray]:
    shapes = st.tuples(st.integers(1, dates), st.integers(1, 3), st.integers(1, 40))
    return shapes.flatmap(lambda shape: hnp.arrays(np.float32, shape, elements=elements))


def reduced(stack: np.ndarray, kinds: Sequence[tuple[int, float]], piece: int = 32) -> np.ndarray:
    """(dates, rows, columns) through the machine: loaded as they are, then reduced."""
    dates, rows, columns = stack.shape
    images = [np.ascontiguousarray(image) for image in stack]
    everything = 0, rows, 0, columns, vm.STRAIGHT
    planes = [(i.__array_interface__["data"][0], i.strides[0], vm.AS_IS, vm.NOTHING, -1, *everything) for i in images]
    maps = np.concatenate([np.arange(rows, dtype=np.int32), np.arange(columns, dtype=np.int32)])
    out = np.empty((len(kinds), rows, columns), np.float32)
    vm.run(
        np.array([[vm.LOAD, 0, 0, 0, 0]], np.int32), np.empty(0, np.int32), np.empty(0, np.float32), 1,
        np.arange(dates + 1, dtype=np.int32)[None], np.array(planes, np.int64),
        np.tile([1.0, 0.0, 0.0, 0.0], (dates, 1)), maps, np.zeros(1, np.float32), np.array([np.nan], np.float32),
        np.ones((0, dates), np.bool_), np.zeros(1, np.int32), np.array([(kind, 0) for kind, _ in kinds], np.int32),
        np.array([p for _, p in kinds]),
        *vm.networks(dates, any(kind == vm.QUANTILE for kind, _ in kinds)), piece, 0, rows,
        out,
    )  # fmt: skip
    return out


@given(stacks(MILD), st.floats(0, 1))
@hypothesis_settings(max_examples=examples(20))
def test_reducers_are_numpys(stack: np.ndarray, p: float) -> None:
    stack = np.where(np.isfinite(stack), stack, np.float32("nan"))
    kinds = [
        (kind, p)
        for kind in (
            vm.MEDIAN, vm.QUANTILE, vm.MEAN, vm.SUM, vm.MIN, vm.MAX, vm.COUNT,
            vm.VARIANCE, vm.SD,
        )
    ]  # fmt: skip
    for (kind, _), got in zip(kinds, reduced(stack, kinds), strict=True):
        expected = numpy_of(kind, p, stack)
        if kind in (vm.MEDIAN, vm.MIN, vm.MAX, vm.COUNT):
            np.testing.assert_array_equal(got, expected)
        else:
            scale = np.nan_to_num(np.abs(stack)).max(initial=1)
            power = 2 if kind == vm.VARIANCE else 1
            tolerance = 2e-5 * scale**power * (stack.shape[0] if kind == vm.SUM else 1)
            np.testing.assert_allclose(got, expected, rtol=2e-5, atol=tolerance)


@given(stacks(SINGLE))
@hypothesis_settings(max_examples=examples(20))
def test_order_statistics_of_any_numbers_are_exact(stack: np.ndarray) -> None:
    """Infinities, subnormal numbers and both zeros too: lowest, middle (odd counts), highest, first and last."""
    lowest, highest, first, last, median = reduced(
        stack,
        [(vm.QUANTILE, 0.0), (vm.QUANTILE, 1.0), (vm.FIRST, 0), (vm.LAST, 0), (vm.MEDIAN, 0)],
    )
    for row, col in np.ndindex(*stack.shape[1:]):
        valid = stack[:, row, col][~np.isnan(stack[:, row, col])]
        if valid.size == 0:
            assert np.isnan([lowest[row, col], highest[row, col], first[row, col], last[row, col]]).all()
            continue
        assert (lowest[row, col], highest[row, col]) == (valid.min(), valid.max())
        assert (first[row, col], last[row, col]) == (valid[0], valid[-1])
        if valid.size % 2:
            assert median[row, col] == np.sort(valid)[valid.size // 2]


@pytest.mark.parametrize("size", [2, 4, 8, 24, 64, 66, 130])
def test_comparators_put_the_ranks_that_are_asked_for_in_order(size: int) -> None:
    rng = np.random.default_rng(size)
    for first, last in (vm.everything(size), vm.middle(size), (0, 0), (size - 1, size - 1)):
        for _ in range(20):
            values = rng.integers(0, 9, size)
            expected = np.sort(values)[first : last + 1]
            for a, b in vm.comparators(size, first, last):
                values[a], values[b] = min(values[a], values[b]), max(values[a], values[b])
            assert (values[first : last + 1] == expected).all()


@pytest.mark.parametrize("dates", [1, 4, 5, 24, 32, 33, 97, 340, 1200])
def test_there_is_a_network_for_every_number_of_dates(dates: int) -> None:
    step, begins, _, _ = vm.networks(dates, False)
    reachable = vm.sizes(dates)
    assert reachable.step == step
    assert len(begins) == len(reachable) + 1
    assert reachable[-1] >= dates
    written_out = vm.sizes(vm.UNROLLED)
    assert all(size in written_out or begins[size // step + 1] > begins[size // step] for size in reachable[1:])


@pytest.mark.parametrize("size", [3, 23, 31, 32, 33, 63, 97, 200])
def test_series_with_gaps_have_the_medians_of_numpy(size: int) -> None:
    """Gaps of whole rows make all numbers of dates appear that there are networks for; rows of one run differ."""
    rng = np.random.default_rng(size)
    stack = rng.normal(size=(size, 6, 300)).astype(np.float32)
    stack[rng.random(stack.shape) < 0.3] = np.nan
    for row in range(6):
        stack[rng.random(size) < row / 5, row] = np.nan
    for kind in ((vm.QUANTILE, 0.5), (vm.MEDIAN, 0.0)):
        got = reduced(stack, [kind], 1024)[0]
        np.testing.assert_allclose(got, numpy_of(*kind, stack), rtol=1e-6, atol=1e-6)
    both = reduced(stack, [(vm.MEDIAN, 0), (vm.MEAN, 0), (vm.QUANTILE, 0.9), (vm.COUNT, 0)], 1024)
    np.testing.assert_array_equal(both[0], numpy_of(vm.MEDIAN, 0, stack))
    np.testing.assert_array_equal(both[3], numpy_of(vm.COUNT, 0, stack))


@pytest.mark.parametrize(
    ("dtype", "scale", "offset", "quick"),
    [("<u2", 1e-4, -0.1, True), ("<u2", 1e-4, 0.0, True), ("|u1", 1 / 200, 0.0, True), ("<u2", 0.0000275, -0.2, False),
     ("<u2", 1.0, 0.0, False), ("<u2", 1e-3, 1e-5, False)],
)  # fmt: skip
def test_a_division_stands_in_for_scale_and_offset_only_where_every_value_stays(
    dtype: str, scale: float, offset: float, quick: bool
) -> None:
    _, _, addend, divisor = factors_of(dtype, None, scale, offset)
    assert (divisor != 0) is quick
    if quick:
        stored = np.arange(2 ** (8 * np.dtype(dtype).itemsize))
        exact = (stored * scale + offset).astype(np.float32)
        np.testing.assert_array_equal((stored.astype(np.float32) + np.float32(addend)) / np.float32(divisor), exact)


@given(hnp.arrays(st.sampled_from(["u1", "u2", "u4", "u8"]), hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)))
@hypothesis_settings(max_examples=examples(20))
def test_differences_undone_wrap_around_as_integers_do(values: np.ndarray) -> None:
    stored = np.diff(values, axis=1, prepend=np.zeros((len(values), 1), values.dtype))
    undo_differences(stored)
    np.testing.assert_array_equal(stored, values)


FRESH = """
import numpy as np
from muses_lab.engine.compiled import vm
from muses_lab.engine.warm import warm
from muses_lab.raster import differences
warm()
def compiled():
    return {n: len(f.signatures) for n, f in {**vars(vm), **vars(differences)}.items() if hasattr(f, "signatures")}
before = compiled()
import muses_lab as ml
from muses_lab import compute
compute.use("threads")
s2 = ml.collection("sentinel-2-l2a", catalog=CATALOG)
clear = s2.mask_clouds()
box = ml.Window.tile(12, 2063, 1494)
for chain in (clear.ndvi().median("t"), clear.ndvi().quantile(0.9) > 0.4, clear.bands("B04", "B03", "B02").mean("t"),
              s2.bands("B11").max("t"), clear.ndvi().median("t").focal_mean(2)):
    assert np.isfinite(chain.compute(box).values).any()
assert compiled() == before, {n: (before[n], k) for n, k in compiled().items() if before[n] != k}
"""


@pytest.mark.slow
def test_nothing_is_compiled_once_the_kernels_are_warm(sample_catalog) -> None:
    code = FRESH.replace("CATALOG", repr(str(sample_catalog)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-2000:]


PART = """
import sys
from numba.core.caching import IndexDataCacheFile
from numba.core.dispatcher import Dispatcher
from muses_lab import warm
used, load = set(), IndexDataCacheFile.load
def noting(cache, key):
    used.add(cache._index_path)
    return load(cache, key)
IndexDataCacheFile.load = noting
getattr(warm, sys.argv[1])()

modules = [module for name, module in list(sys.modules.items()) if name.startswith("muses_lab")]
every = {kernel for module in modules for kernel in vars(module).values() if isinstance(kernel, Dispatcher)}
index = {kernel: kernel._cache._cache_file._index_path for kernel in every if hasattr(kernel._cache, "_cache_file")}
code = {kernel: kernel.py_func for kernel in index}
calls = {kernel: [of.__globals__.get(name) for name in of.__code__.co_names] for kernel, of in code.items()}
taken = {kernel for kernel in index if index[kernel] in used}
while more := {called for kernel in taken for called in calls[kernel] if called in index} - taken:
    taken |= more
print(*{index[kernel] for kernel in taken}, sep="\\n")
"""


@pytest.mark.slow
def test_what_is_compiled_side_by_side_has_no_function_in_common() -> None:
    """Numba reads the index of a function, adds to it and writes it: two processes would lose each other's."""
    told = [
        subprocess.run([sys.executable, "-c", PART, part.__name__], capture_output=True, text=True, timeout=250)
        for part in PARTS
    ]
    often, others = (set(one.stdout.split()) for one in told)
    assert len(often) > 40 and len(others) > 50, told
    assert often & others == set()
