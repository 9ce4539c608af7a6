"""Operators on series beside other packages, on the same arrays in one run.

python -m benchmarks.series                   a million pixels × 72 dates, a third of them missing, in two threads
python -m benchmarks.series --pixels 200000 --rounds 3
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import pymannkendall
import xarray as xr
from scipy import signal, stats

from muses_lab.operators import registry

DATES, MISSING, THREADS = 72, 1 / 3, 2
COLUMNS = 1000


class Taken(NamedTuple):
    seconds: float
    processor: float
    """Seconds, of all threads."""


class Limit(NamedTuple):
    """What the operators are held to: seconds for a million pixels, or times as fast as another package."""

    process: str
    seconds: float | None = None
    times: float | None = None
    other: str = ""
    one: Callable[[np.ndarray, np.ndarray], Any] | None = None
    """(valid values, their days): the other package on one series."""


def _harmonics(values: np.ndarray, days: np.ndarray) -> Any:
    turn = 2 * np.pi * days / 365.25
    return np.linalg.lstsq(np.stack([np.ones_like(turn), np.cos(turn), np.sin(turn)], axis=1), values, rcond=None)


def _kendall(values: np.ndarray, days: np.ndarray) -> Any:
    return pymannkendall.original_test(values)


LIMITS = (
    Limit("whittaker", seconds=2),
    Limit("harmonic_regression", seconds=1, other="numpy.linalg.lstsq", one=_harmonics),
    Limit("theil_sen", times=20, other="pymannkendall.original_test", one=_kendall),
    Limit("mann_kendall", times=20, other="pymannkendall.original_test", one=_kendall),
    Limit("theil_sen", other="scipy.stats.theilslopes", one=lambda y, t: stats.theilslopes(y, t)),
    Limit("trend", other="scipy.stats.linregress", one=lambda y, t: stats.linregress(t, y)),
    Limit("savitzky_golay", other="scipy.signal.savgol_filter", one=lambda y, t: signal.savgol_filter(y, 5, 2)),
    Limit("fill_gaps", other="numpy.interp", one=lambda y, t: np.interp(np.arange(DATES), t, y)),
    Limit("phenology"),
    Limit("cusum"),
)  # fmt: skip
FEW = {"theil_sen": 20_000, "mann_kendall": 100_000}
"""Pixels at most, of what takes long; seconds are told for a million all the same."""


def series(pixels: int) -> xr.DataArray:
    rng = np.random.default_rng(0)
    times = np.datetime64("2018-01-01", "ns") + np.cumsum(rng.integers(5, 25, DATES)).astype("m8[D]")
    rows = max(THREADS, pixels // COLUMNS)
    values = rng.normal(0.4, 0.1, (DATES, rows, COLUMNS)).astype(np.float32)
    values[rng.random(values.shape, np.float32) < MISSING] = np.nan
    return xr.DataArray(values, dims=("t", "y", "x"), coords={"t": times})


def ours(process: str, data: xr.DataArray) -> Taken:
    """Seconds for a million pixels."""
    parts = [data.isel(y=half) for half in np.array_split(np.arange(data.sizes["y"]), THREADS)]
    begin, processor = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(registry["muses:" + process].fn, parts))
    share = 1e6 / (data.sizes["y"] * data.sizes["x"])
    return Taken((time.perf_counter() - begin) * share, (time.process_time() - processor) * share)


def theirs(one: Callable[[np.ndarray, np.ndarray], Any], data: xr.DataArray, number: int = 100) -> float:
    """Processor seconds for a million pixels."""
    days = (data.t.values - data.t.values[0]) / np.timedelta64(1, "D")
    picked = [data.values[:, 0, n].astype(np.float64) for n in range(number)]
    valid = [(y[~np.isnan(y)], days[~np.isnan(y)]) for y in picked]
    begin = time.process_time()
    for values, at in valid:
        one(values, at)
    return (time.process_time() - begin) * 1e6 / number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pixels", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    data = series(options.pixels)
    for process in dict.fromkeys(limit.process for limit in LIMITS):  # compiled, or read from disk
        registry["muses:" + process].fn(data.isel(y=slice(0, 2), x=slice(0, 4)))
    print(f"{'':22} {'s':>7} {'CPU s':>7} {'limit':>9}   beside (processor time)")
    for limit in LIMITS:
        rows = max(THREADS, min(options.pixels, FEW.get(limit.process, options.pixels)) // COLUMNS)
        part, rounds = data.isel(y=slice(0, rows)), []
        for _ in range(options.rounds):
            taken = ours(limit.process, part)
            rounds.append((taken, theirs(limit.one, data) / taken.processor if limit.one else 0.0))
        seconds, processor = (median(t[i] for t, _ in rounds) for i in (0, 1))
        ratios = [ratio for _, ratio in rounds]
        beside = f"{median(ratios):.0f} × {limit.other} ({min(ratios):.0f}–{max(ratios):.0f})" if limit.one else ""
        held = f"≤ {limit.seconds:g} s" if limit.seconds else f"≥ {limit.times:g} ×" if limit.times else ""
        print(f"{limit.process:22} {seconds:7.2f} {processor:7.2f} {held:>9}   {beside}")


if __name__ == "__main__":
    main()
