"""Composites of whole spectra: the geometric median, the medoid, and the observation closest to the median.

All look at the bands of a date together: a date on which one of them is missing is left out. What they take was
measured on 200 × 200 pixels of 40 dates and 6 bands, of which 40 % were missing, in one thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import xarray as xr
from numba import njit
from pydantic import AfterValidator

from muses_lab.errors import BandError, DocumentError
from muses_lab.operators.contract import Cost, Cube, Meta
from muses_lab.operators.declare import operator
from muses_lab.resources import cancel

_VALUE = 15e-9
"""Seconds for a value (of one band and date) of a geometric median; some ten iterations."""
_SPREAD = 3e-9
"""More for each statistic of the distances to it."""
_PAIR = 0.5e-9
"""Seconds for a value and each other date, of a medoid."""
_SORTED = 25e-9
"""Seconds for a value of which a median is taken."""
_DATES = 60
"""Dates that a medoid is expected to have; the arguments do not tell."""

_STEP = 1e-6
"""Iterations end with a step of this share of the mean distance."""
_ITERATIONS = 1000
_NEAR = 0.05
"""An observation this near (as a share of the mean distance) is looked at: it may be the geometric median itself."""

Statistic = Literal["emad", "smad", "bcmad", "count"]
STATISTICS = ("emad", "smad", "bcmad", "count")


# ----------------------------------------------------------------------------------------------------- compiled code


@njit(cache=True, nogil=True)
def _gather(values, r, c, x, dates):
    """A pixel's observations that have all bands, one after the other in `x` (bands, dates); how many there are."""
    n = 0
    for t in range(values.shape[0]):
        there = True
        for b in range(values.shape[1]):
            v = np.float64(values[t, b, r, c])
            x[b, n] = v
            there &= np.isfinite(v)
        if there:
            dates[n] = t
            n += 1
    return n


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"}, error_model="numpy")
def _distances(x, n, point, out):
    """Euclidean distances of the observations from a point."""
    out[:n] = 0.0
    for b in range(x.shape[0]):
        line, p = x[b], point[b]
        for t in range(n):
            d = line[t] - p
            out[t] += d * d
    for t in range(n):
        out[t] = np.sqrt(out[t])


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"}, error_model="numpy")
def _is_middle(x, n, k, point, away):
    """Whether observation k is the geometric median: the pull of the others is not more than its own weight."""
    for b in range(x.shape[0]):
        point[b] = x[b, k]
    _distances(x, n, point, away)
    same, pull = 0, 0.0
    for t in range(n):
        if away[t] == 0.0:
            same += 1
    for b in range(x.shape[0]):
        line, p, total = x[b], point[b], 0.0
        for t in range(n):
            total += (line[t] - p) / away[t] if away[t] > 0.0 else 0.0
        pull += total * total
    return pull <= same * same


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"}, error_model="numpy")
def _geomedian(x, n, point, other, away, weight):
    """The geometric median of n observations, in `point`: Weiszfeld's iteration, from the mean."""
    for b in range(x.shape[0]):
        total = 0.0
        for t in range(n):
            total += x[b, t]
        point[b] = total / n
    if n < 3:
        return
    looked = -1
    for _ in range(_ITERATIONS):
        _distances(x, n, point, away)
        far, near, total = 0.0, np.inf, 0.0
        for t in range(n):
            far += away[t]
            near = min(near, away[t])
            weight[t] = 1.0 / away[t] if away[t] > 0.0 else 0.0
            total += weight[t]
        if total == 0.0:  # all are the same
            return
        if near * n <= _NEAR * far:
            nearest = int(np.argmin(away[:n]))
            if nearest != looked:
                looked = nearest
                if _is_middle(x, n, nearest, other, away):
                    point[:] = other
                    return
        step = 0.0
        for b in range(x.shape[0]):
            line, moved = x[b], 0.0
            for t in range(n):
                moved += weight[t] * line[t]
            moved /= total
            step += (moved - point[b]) ** 2
            point[b] = moved
        if np.sqrt(step) * n <= _STEP * far:
            return


@njit(cache=True, nogil=True)
def in_order(values, n):
    """Puts the first n values in order (Shell's sort: of some dozens it takes a third of the time of NumPy's)."""
    for gap in (57, 23, 10, 4, 1):
        for i in range(gap, n):
            v, k = values[i], i
            while k >= gap and values[k - gap] > v:
                values[k] = values[k - gap]
                k -= gap
            values[k] = v


@njit(cache=True, nogil=True)
def _middle_of(values, n):
    """Median of the first n values, which are put in order; missing of none."""
    if n == 0:
        return np.nan
    in_order(values, n)
    return 0.5 * (values[(n - 1) // 2] + values[n // 2])


@njit(cache=True, nogil=True, error_model="numpy")
def _spread(x, n, point, kind, away):
    """Median of the distances to a point: 0 Euclidean, 1 of the cosine, 2 of Bray and Curtis; where there are some."""
    if kind == 0:
        _distances(x, n, point, away)
        return _middle_of(away, n)
    known = 0
    for t in range(n):
        above, a, b = 0.0, 0.0, 0.0
        for k in range(x.shape[0]):
            v, p = x[k, t], point[k]
            if kind == 1:
                above += v * p
                a += v * v
                b += p * p
            else:
                above += abs(v - p)
                a += abs(v + p)
        below = np.sqrt(a) * np.sqrt(b) if kind == 1 else a
        if below > 0.0:
            away[known] = 1.0 - above / below if kind == 1 else above / below
            known += 1
    return _middle_of(away, known)


@njit(cache=True, nogil=True)
def _geomedians(values, kinds, first, last, out):
    """Rows `first` to `last` of (bands and statistics, y, x), of (dates, bands, y, x)."""
    dates, bands, _, columns = values.shape
    x, when = np.empty((bands, dates + 1)), np.empty(dates + 1, np.int64)
    away, weight = np.empty(dates), np.empty(dates)
    point, other = np.empty(bands), np.empty(bands)
    for r in range(first, last):
        for c in range(columns):
            n = _gather(values, r, c, x, when)
            if n > 0:
                _geomedian(x, n, point, other, away, weight)
            for b in range(bands):
                out[b, r, c] = point[b] if n > 0 else np.nan
            for i in range(kinds.size):
                if kinds[i] == 3:
                    out[bands + i, r, c] = n
                else:
                    out[bands + i, r, c] = _spread(x, n, point, kinds[i], away) if n > 0 else np.nan


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _medoids(values, first, last, out):
    """Rows `first` to `last`: the date of which the sum of the distances to all others is least; -1 of none."""
    dates, bands, _, columns = values.shape
    x, when = np.empty((bands, dates + 1)), np.empty(dates + 1, np.int64)
    away, total, point = np.empty(dates), np.empty(dates), np.empty(bands)
    for r in range(first, last):
        for c in range(columns):
            n = _gather(values, r, c, x, when)
            for t in range(n):
                for b in range(bands):
                    point[b] = x[b, t]
                _distances(x, n, point, away)
                total[t] = 0.0
                for other in range(n):
                    total[t] += away[other]
            best = 0
            for t in range(1, n):
                if total[t] < total[best]:
                    best = t
            out[r, c] = when[best] if n > 0 else -1


@njit(cache=True, nogil=True)
def _closest(values, first, last, out):
    """Rows `first` to `last`: the date that is closest to the median of each band; -1 of none."""
    dates, bands, _, columns = values.shape
    x, when = np.empty((bands, dates + 1)), np.empty(dates + 1, np.int64)
    away, point = np.empty(dates), np.empty(bands)
    for r in range(first, last):
        for c in range(columns):
            n = _gather(values, r, c, x, when)
            for b in range(bands):
                away[:n] = x[b, :n]
                point[b] = _middle_of(away, n)
            _distances(x, n, point, away)
            best = 0
            for t in range(1, n):
                if away[t] < away[best]:
                    best = t
            out[r, c] = when[best] if n > 0 else -1


# -------------------------------------------------------------------------------------------------------- operators


def _spectra(name: str, arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    meta = metas["data"]
    if not meta.time:
        raise DocumentError(f"{name} takes a series: the dimension 't' has been reduced already")
    if meta.bands is None:
        raise DocumentError(f"{name} takes bands, and the data have none: of one value a date take .median('t')")
    added = tuple(arguments.get("statistics") or ())
    if taken := [band for band in added if band in meta.bands]:
        raise BandError(f"there is a band {taken[0]!r} already: choose others with .bands(…)", band=taken[0])
    return Meta(False, meta.bands + added, meta.common)


def _every_band(
    arguments: Mapping[str, Any], metas: Mapping[str, Meta], wanted: tuple[str, ...] | None
) -> dict[str, tuple[str, ...] | None]:
    """All: each of them has a say in every value."""
    return {"data": metas["data"].bands}


def _once(statistics: list[str]) -> list[str]:
    if len(set(statistics)) < len(statistics):
        raise ValueError("names a statistic twice")
    return statistics


def _geomedian_cost(arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
    return Cost((_VALUE + _SPREAD * len(arguments["statistics"])) * rows * columns)


@operator(
    "muses:geomedian",
    shape=lambda arguments, metas: _spectra("geomedian", arguments, metas),
    needs=_every_band,
    reduces="t",
    cost=_geomedian_cost,
)
def geomedian(data: Cube, statistics: Annotated[list[Statistic], AfterValidator(_once)] = []) -> Cube:  # noqa: B006
    """Geometric median of the spectra of all dates, with its absolute deviations where they are asked for.

    ```python
    s2.bands("red", "nir").mask_clouds().geomedian()
    s2.bands("red", "nir").mask_clouds().geomedian(["emad", "smad", "bcmad", "count"])
    ```

    The spectrum from which the sum of the Euclidean distances to those of all dates is least: robust as a median, and
    with the relations of bands that real spectra have. Of two dates it is their mean, of one the date itself. It is
    found by Weiszfeld's iteration, to a step of a millionth of the mean distance, in double precision. A date on which
    a band is missing is left out; missing where no date is left. The result has the bands of the data, in their unit,
    and one for each of the `statistics`:

    - `emad`: the median of the Euclidean distances of the dates to it, in the unit of the bands,
    - `smad`: the median of the cosine distances 1 - a·b / (norm(a) norm(b)), whatever the brightness,
    - `bcmad`: the median of the distances of Bray and Curtis Σ abs(a - b) / Σ abs(a + b),
    - `count`: the number of dates.

    A distance that has no value (of a spectrum of zeros) is left out.

    Roberts, D., Mueller, N. & McIntyre, A. (2017), IEEE Transactions on Geoscience and Remote Sensing 55, 6254–6264,
    doi:10.1109/TGRS.2017.2723896; deviations: Roberts, D., Dunn, B. & Mueller, N. (2018), IGARSS, 3513–3516. Where an
    observation itself is the median: Vardi, Y. & Zhang, C.-H. (2000), PNAS 97, 1423–1426.
    """
    values = np.ascontiguousarray(data.data)
    dates, bands, rows, columns = values.shape
    kinds = np.array([STATISTICS.index(name) for name in statistics], np.int64)
    out = np.empty((bands + kinds.size, rows, columns), values.dtype)
    row = columns * dates * bands * (_VALUE + _SPREAD * kinds.size)
    for first, last in cancel.stripes(rows, row):
        _geomedians(values, kinds, first, last, out)
    return image_of(data, out, [*data.bands.values.tolist(), *statistics])


@operator(
    "muses:medoid",
    shape=lambda arguments, metas: _spectra("medoid", arguments, metas),
    needs=_every_band,
    reduces="t",
    cost=lambda arguments, pixel_size, rows, columns: Cost(_PAIR * _DATES * rows * columns, 8 * rows * columns),
)
def medoid(data: Cube) -> Cube:
    """The observation that is nearest to all others: all bands of one date, which was really measured.

    ```python
    s2.bands("red", "nir").mask_clouds().medoid()
    ```

    Of each pixel the date whose spectrum has the least sum of Euclidean distances to those of the other dates; of
    several the earliest. A date on which a band is missing is left out; missing where no date is left. Bands and units
    are those of the data. It takes a time that grows with the square of the number of dates.

    Flood, N. (2013), Remote Sensing 5, 6481–6500, doi:10.3390/rs5126481.
    """
    values = np.ascontiguousarray(data.data)
    dates, bands, rows, columns = values.shape
    place = np.empty((rows, columns), np.int64)
    for first, last in cancel.stripes(rows, columns * dates**2 * bands * _PAIR):
        _medoids(values, first, last, place)
    return image_of(data, taken(values, place), data.bands.values.tolist())


@operator(
    "muses:closest_to_median",
    shape=lambda arguments, metas: _spectra("closest_to_median", arguments, metas),
    needs=_every_band,
    reduces="t",
    cost=lambda arguments, pixel_size, rows, columns: Cost(_SORTED * rows * columns, 8 * rows * columns),
)
def closest_to_median(data: Cube) -> Cube:
    """The observation closest to the median of each band: all bands of one date, which was really measured.

    ```python
    s2.bands("red", "nir").mask_clouds().closest_to_median()
    ```

    Of each pixel the date whose spectrum has the least Euclidean distance to that of the medians of the bands; of
    several the earliest. A date on which a band is missing is left out; missing where no date is left. Bands and units
    are those of the data. Nearly as robust as the medoid, and faster for many dates.

    As the "median-like" best pixel of Flood, N. (2013), Remote Sensing 5, 6481–6500, doi:10.3390/rs5126481.
    """
    values = np.ascontiguousarray(data.data)
    dates, bands, rows, columns = values.shape
    place = np.empty((rows, columns), np.int64)
    for first, last in cancel.stripes(rows, columns * dates * bands * _SORTED):
        _closest(values, first, last, place)
    return image_of(data, taken(values, place), data.bands.values.tolist())


def taken(values: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Of (dates, …, y, x) the values of each pixel's date; missing where that is -1."""
    if not len(values):
        return np.full(values.shape[1:], np.nan, values.dtype)
    index = np.maximum(place, 0).reshape((1,) * (values.ndim - 2) + place.shape)
    chosen = np.take_along_axis(values, index, axis=0)[0]
    return np.where(place < 0, values.dtype.type(np.nan), chosen)


def image_of(data: xr.DataArray, values: np.ndarray, bands: list[str] | None) -> xr.DataArray:
    """Values (bands, y, x), or (y, x), as a cube at the places of another one."""
    coords: dict[str, Any] = {d: data.coords[d] for d in ("y", "x") if d in data.coords}
    if bands is None:
        return xr.DataArray(values, dims=("y", "x"), coords=coords)
    return xr.DataArray(values, dims=("bands", "y", "x"), coords={"bands": bands, **coords})


def warm() -> None:
    """Calls what is compiled, with the types that it is used with."""
    for precision in (np.float32, np.float64):
        spectra = xr.DataArray(
            np.zeros((1, 1, 8, 8), precision), dims=("t", "bands", "y", "x"), coords={"bands": ["one"]}
        )
        for composite in (geomedian, medoid, closest_to_median):
            composite(spectra)
