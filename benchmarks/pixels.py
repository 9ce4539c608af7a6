"""Operators on pixels beside other packages, on the same arrays in one run.

python -m benchmarks.pixels                   a forest beside scikit-learn, a geometric median beside geomad
python -m benchmarks.pixels --pixels 65536 --rounds 3

geomad is what odc-algo's geomedian calls; it is left out where it is not installed (`pip install geomad`).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from sklearn.ensemble import RandomForestClassifier

from muses_lab.operators import registry
from muses_lab.operators.forest import Forest

try:
    import geomad
except ImportError:
    geomad = None

TREES, FEATURES, CLASSES, SAMPLES = 100, 20, 8, 20_000
DATES, BANDS, MISSING = 40, 6, 0.4


class Pair(NamedTuple):
    """An operator and another package, on the same pixels."""

    name: str
    ours: Callable[[], Any]
    other: str
    theirs: Callable[[], Any] | None
    times: float
    """As fast as the other one at least."""
    least: int
    """Every so many-th pixel is what they are given: what takes long."""


def forest(pixels: int, noise: bool) -> Pair:
    """Of classes that overlap, or of nothing but noise, whose trees are as large as can be."""
    rng = np.random.default_rng(1)
    centres = np.zeros((CLASSES, FEATURES)) if noise else np.random.default_rng(5).normal(size=(CLASSES, FEATURES))

    def drawn(count: int) -> tuple[np.ndarray, np.ndarray]:
        classes = rng.integers(0, CLASSES, count)
        return (centres[classes] + rng.normal(size=(count, FEATURES))).astype(np.float32), classes

    model = RandomForestClassifier(TREES, max_depth=25, min_samples_leaf=5, random_state=0, n_jobs=1)
    model.fit(*drawn(SAMPLES))
    bands = tuple(f"B{n}" for n in range(FEATURES))
    fitted = Forest(bands, tuple(range(1, CLASSES + 1)), model)
    values, _ = drawn(pixels)
    image = xr.DataArray(values.T.reshape(FEATURES, -1, 256), dims=("bands", "y", "x"), coords={"bands": list(bands)})
    name = "forest of noise" if noise else "forest"
    ours = registry["muses:random_forest"].fn
    return Pair(name, lambda: ours(image, fitted), "scikit-learn", lambda: model.predict(values), 4, 1)


def geomedian(pixels: int) -> Pair:
    """To steps of a millionth of the mean distance; geomad's are of 1e-6, where distances are about 0.1."""
    rng = np.random.default_rng(0)
    few = pixels // 8
    values = rng.normal(0.3, 0.05, (DATES, BANDS, few // 256, 256)).astype(np.float32)
    values[np.broadcast_to(rng.random((DATES, 1, few // 256, 256)) < MISSING, values.shape)] = np.nan
    cube = xr.DataArray(values, dims=("t", "bands", "y", "x"), coords={"bands": [f"B{n}" for n in range(BANDS)]})
    ours = registry["muses:geomedian"].fn
    theirs = None
    if geomad is not None:
        last = np.ascontiguousarray(values.transpose(2, 3, 1, 0))
        theirs = lambda: geomad.nangeomedian_pcm(last, num_threads=1, eps=1e-6, maxiters=1000, nocheck=True)  # noqa: E731
    return Pair("geomedian", lambda: ours(cube), "geomad", theirs, 1, 8)


def _processor(work: Callable[[], Any]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def measured(pair: Pair, pixels: int, rounds: int) -> Iterator[tuple[float, float]]:
    """Processor seconds of both for a million pixels, in turns; the other's are NaN where it is not installed."""
    share = 1e6 * pair.least / pixels
    pair.ours()  # compiled, or read from disk
    for _ in range(rounds):
        theirs = np.nan if pair.theirs is None else _processor(pair.theirs) * share
        yield _processor(pair.ours) * share, theirs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pixels", type=int, default=1 << 18, help="a multiple of 2048; seconds are for a million")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    pixels = options.pixels // 2048 * 2048
    print(f"{'':22} {'CPU s':>7} {'limit':>7}   beside (processor time)")
    for pair in (forest(pixels, noise=False), forest(pixels, noise=True), geomedian(pixels)):
        rounds = list(measured(pair, pixels, options.rounds))
        ratios = [theirs / ours for ours, theirs in rounds]
        beside = f"{median(ratios):.1f} × {pair.other} ({min(ratios):.1f}–{max(ratios):.1f})"
        beside = f"{pair.other} is not installed" if pair.theirs is None else beside
        print(f"{pair.name:22} {median(ours for ours, _ in rounds):7.2f} {f'≥ {pair.times:g} ×':>7}   {beside}")


if __name__ == "__main__":
    main()
