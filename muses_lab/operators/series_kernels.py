"""Compiled code of the operators on series: pixel by pixel, without Python's lock.

Values are float64: (pixels, dates), each series after the other, or (dates, pixels) where pixels are worked on side by
side. Missing values are NaN. A pixel's numbers are made in one order, from its own values alone, so that they are
the same in any block. Results are written to `out`, which has NaN where nothing is defined.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

_LANES = 64
"""Pixels that are worked on side by side: their bands of a matrix stay in the nearest caches."""
_INSTANT = 1e-6
"""Days that are no time at all: what rounding makes of the same instant."""


@njit(cache=True, nogil=True, error_model="numpy")
def _compact(series, days, x, t):
    """The valid values of a series and their days, at the front of `x` and `t`; how many there are."""
    n = 0
    for i in range(series.size):
        v = series[i]
        if v == v:
            x[n] = v
            t[n] = days[i]
            n += 1
    return n


@njit(cache=True, nogil=True, error_model="numpy")
def _select(a, n, k):
    """Puts the k-th smallest of the first n numbers at place k, smaller ones before and larger ones after it."""
    low, high = 0, n - 1
    while low < high:
        pivot = a[k]
        i, j = low, high
        while i <= j:
            while a[i] < pivot:
                i += 1
            while pivot < a[j]:
                j -= 1
            if i <= j:
                a[i], a[j] = a[j], a[i]
                i += 1
                j -= 1
        if j < k:
            low = i
        if k < i:
            high = j
    return a[k]


@njit(cache=True, nogil=True, error_model="numpy")
def _quantile(a, n, p):
    """Of the first n numbers, interpolated linearly between the two nearest; puts them in another order."""
    place = p * (n - 1)
    k = min(int(math.floor(place)), n - 1)
    lower = _select(a, n, k)
    if k + 1 >= n or place == k:
        return lower
    upper = a[k + 1]
    for i in range(k + 2, n):
        upper = min(upper, a[i])
    return lower + (upper - lower) * (place - k)


# ------------------------------------------------------------------------------------------------- least squares


@njit(cache=True, nogil=True, error_model="numpy")
def least_squares(values, design, determined, out):
    """Coefficients and RMSE of each series on regressors, by normal equations over its valid dates.

    Solved by L D Lᵀ without pivoting, so that D tells what each regressor adds to those before it: where that is less
    than `determined` times its sum of squares, or no more dates are valid than there are regressors, all is missing.

    Parameters
    ----------
    values
        (dates, pixels).
    design
        (dates, terms).
    out
        (terms + 1, pixels).
    """
    dates, pixels = values.shape
    terms = design.shape[1]
    normal, right = np.empty((terms, terms, _LANES)), np.empty((terms, _LANES))
    count, squares, there = np.empty(_LANES), np.empty(_LANES), np.empty(_LANES)
    filled, fit = np.empty(_LANES), np.empty(_LANES)
    lower, pivot, solved = np.empty((terms, terms)), np.empty(terms), np.empty(terms)
    for begin in range(0, pixels, _LANES):
        size = min(_LANES, pixels - begin)
        normal[:] = 0.0
        right[:] = 0.0
        count[:] = 0.0
        for d in range(dates):
            for c in range(size):
                v = values[d, begin + c]
                valid = v == v
                there[c] = 1.0 if valid else 0.0
                filled[c] = v if valid else 0.0
                count[c] += there[c]
            for i in range(terms):
                w = design[d, i]
                for c in range(size):
                    right[i, c] += filled[c] * w
                for j in range(i + 1):
                    product = w * design[d, j]
                    for c in range(size):
                        normal[i, j, c] += there[c] * product
        for c in range(size):
            known = count[c] > terms
            for i in range(terms):
                for j in range(i):
                    rest = 0.0
                    for k in range(j):
                        rest += lower[i, k] * lower[j, k] * pivot[k]
                    lower[i, j] = (normal[i, j, c] - rest) / pivot[j]
                rest = 0.0
                for k in range(i):
                    rest += lower[i, k] * lower[i, k] * pivot[k]
                pivot[i] = normal[i, i, c] - rest
                known = known and pivot[i] > determined * normal[i, i, c]
                rest = 0.0
                for k in range(i):
                    rest += lower[i, k] * solved[k]
                solved[i] = right[i, c] - rest
            for i in range(terms - 1, -1, -1):
                found = solved[i] / pivot[i]
                for k in range(i + 1, terms):
                    found -= lower[k, i] * out[k, begin + c]
                out[i, begin + c] = found
            for i in range(terms):
                out[i, begin + c] = out[i, begin + c] if known else np.nan
        squares[:] = 0.0
        for d in range(dates):
            fit[:] = 0.0
            for i in range(terms):
                w = design[d, i]
                for c in range(size):
                    fit[c] += w * out[i, begin + c]
            for c in range(size):
                v = values[d, begin + c]
                apart = v - fit[c]
                squares[c] += apart * apart if v == v else 0.0
        for c in range(size):
            out[terms, begin + c] = math.sqrt(squares[c] / count[c])


@njit(cache=True, nogil=True, error_model="numpy")
def evaluated(coefficients, design, out):
    """The series (dates, pixels) that coefficients (terms, pixels) give on regressors (dates, terms)."""
    terms, pixels = design.shape[1], out.shape[1]
    for d in range(out.shape[0]):
        for c in range(pixels):
            out[d, c] = 0.0
        for i in range(terms):
            w = design[d, i]
            for c in range(pixels):
                out[d, c] += w * coefficients[i, c]


# ----------------------------------------------------------------------------------------------------- smoothing


@njit(cache=True, nogil=True, error_model="numpy")
def whittaker(values, middle, next_one, after_next, out):
    """(W + P) z = W y for each series, W 1 at its valid dates and 0 elsewhere, P symmetric with five diagonals.

    By L D Lᵀ. Missing where fewer than two dates are valid, and before the first and after the last valid one.

    Parameters
    ----------
    values, out
        (dates, pixels).
    middle, next_one, after_next
        The diagonals of P: elements (i, i), (i, i + 1), (i, i + 2).
    """
    dates, pixels = values.shape
    first_off, second_off = np.zeros((dates + 2, _LANES)), np.zeros((dates + 2, _LANES))  # of L, two rows later
    pivot, solved = np.zeros((dates + 2, _LANES)), np.zeros((dates + 2, _LANES))
    first, last, count = np.empty(_LANES), np.empty(_LANES), np.empty(_LANES)
    for begin in range(0, pixels, _LANES):
        size = min(_LANES, pixels - begin)
        first[:] = dates
        last[:] = -1
        count[:] = 0.0
        for d in range(dates):
            i = d + 2
            a, b, e = middle[d], next_one[d], after_next[d]
            for c in range(size):
                v = values[d, begin + c]
                valid = v == v
                weight = 1.0 if valid else 0.0
                y = v if valid else 0.0
                count[c] += weight
                first[c] = min(first[c], d) if valid else first[c]
                last[c] = d if valid else last[c]
                above, further = first_off[i - 1, c], second_off[i - 2, c]
                p = a + weight - above * above * pivot[i - 1, c] - further * further * pivot[i - 2, c]
                pivot[i, c] = p
                first_off[i, c] = (b - pivot[i - 1, c] * above * second_off[i - 1, c]) / p
                second_off[i, c] = e / p
                solved[i, c] = y - above * solved[i - 1, c] - further * solved[i - 2, c]
        for d in range(dates - 1, -1, -1):
            i = d + 2
            for c in range(size):
                z = solved[i, c] / pivot[i, c]
                if d + 1 < dates:
                    z -= first_off[i, c] * solved[i + 1, c]
                if d + 2 < dates:
                    z -= second_off[i, c] * solved[i + 2, c]
                solved[i, c] = z
                out[d, begin + c] = z if count[c] >= 2.0 and first[c] <= d <= last[c] else np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def savitzky_golay(values, days, window, degree, out):
    """Values at the valid dates of polynomials of a degree through the `window` valid dates around each of them.

    Discrete orthogonal polynomials (Forsythe 1957) of the dates themselves. (pixels, dates).
    """
    pixels, dates = values.shape
    x, t, place = np.empty(dates), np.empty(dates), np.empty(dates, np.int64)
    u, now, before = np.empty(window), np.empty(window), np.empty(window)
    half = window // 2
    for p in range(pixels):
        n = 0
        for i in range(dates):
            v = values[p, i]
            out[p, i] = np.nan
            if v == v:
                x[n], t[n], place[n] = v, days[i], i
                n += 1
        if n < window:
            continue
        for k in range(n):
            start = min(max(k - half, 0), n - window)
            scale = 2.0 / (t[start + window - 1] - t[start])
            sum_y, norm = 0.0, float(window)
            for j in range(window):
                u[j] = (t[start + j] - t[k]) * scale  # 0 at the date itself
                now[j], before[j] = 1.0, 0.0
                sum_y += x[start + j]
            found = sum_y / norm
            here, here_before, norm_before = 1.0, 0.0, 1.0
            for order in range(degree):
                alpha = 0.0
                for j in range(window):
                    alpha += u[j] * now[j] * now[j]
                alpha /= norm
                beta = norm / norm_before if order > 0 else 0.0
                norm_before, norm, product = norm, 0.0, 0.0
                for j in range(window):
                    after = (u[j] - alpha) * now[j] - beta * before[j]
                    before[j], now[j] = now[j], after
                    norm += after * after
                    product += after * x[start + j]
                here, here_before = -alpha * here - beta * here_before, here
                found += product / norm * here
            out[p, place[k]] = found


# ---------------------------------------------------------------------------------------------------------- gaps

LINEAR, NEAREST, PREVIOUS, SPLINE = 0, 1, 2, 3


@njit(cache=True, nogil=True, error_model="numpy")
def _spline(x, t, n, bend, work):
    """Second derivatives of the natural cubic spline through n points."""
    bend[0] = bend[n - 1] = 0.0
    if n < 3:
        return
    work[0] = 0.0
    for i in range(1, n - 1):
        left, right = t[i] - t[i - 1], t[i + 1] - t[i]
        p = 2.0 * (left + right) - left * work[i - 1]
        work[i] = right / p
        rate = 6.0 * ((x[i + 1] - x[i]) / right - (x[i] - x[i - 1]) / left)
        bend[i] = (rate - left * bend[i - 1]) / p
    for i in range(n - 2, 0, -1):
        bend[i] -= work[i] * bend[i + 1]


@njit(cache=True, nogil=True, error_model="numpy")
def fill(values, days, method, most, ends, out):
    """Each series with its missing dates filled; those of gaps longer than `most` days stay missing.

    Parameters
    ----------
    values, out
        (pixels, dates).
    method
        `LINEAR`, `NEAREST`, `PREVIOUS` or `SPLINE` (natural, cubic).
    ends
        Whether what lies before the first and after the last valid date, and no more than `most` days from it, gets
        its value; with `PREVIOUS` after the last one only.
    """
    pixels, dates = values.shape
    x, t, bend, work = np.empty(dates), np.empty(dates), np.empty(dates), np.empty(dates)
    for p in range(pixels):
        n = _compact(values[p], days, x, t)
        if method == SPLINE and n > 0:
            _spline(x, t, n, bend, work)
        k = 0  # the next valid date, or n
        for i in range(dates):
            v, day = values[p, i], days[i]
            out[p, i] = v
            if v == v:
                k += 1
                continue
            if n == 0:
                continue
            if k == 0 or k == n:
                near = 0 if k == 0 else n - 1
                if ends and abs(day - t[near]) <= most and not (method == PREVIOUS and k == 0):
                    out[p, i] = x[near]
                continue
            gap = t[k] - t[k - 1]
            if method == PREVIOUS:
                if day - t[k - 1] <= most:
                    out[p, i] = x[k - 1]
                continue
            if gap > most:
                continue
            share = (day - t[k - 1]) / gap
            if method == NEAREST:
                out[p, i] = x[k - 1] if day - t[k - 1] <= t[k] - day else x[k]
            else:
                out[p, i] = x[k - 1] + (x[k] - x[k - 1]) * share
                if method == SPLINE:
                    a, b = 1.0 - share, share
                    out[p, i] += ((a * a * a - a) * bend[k - 1] + (b * b * b - b) * bend[k]) * gap * gap / 6.0


# --------------------------------------------------------------------------------------------------------- trends


@njit(cache=True, nogil=True, error_model="numpy")
def line(values, years, out):
    """Count, slope, value at year 0 and r² of the straight line by least squares: (pixels, dates) → (pixels, 4)."""
    pixels, dates = values.shape
    x, t = np.empty(dates), np.empty(dates)
    for p in range(pixels):
        n = _compact(values[p], years, x, t)
        out[p, 0] = n
        out[p, 1:] = np.nan
        if n < 3:
            continue
        mean, middle, low, high = 0.0, 0.0, x[0], x[0]
        for i in range(n):
            mean += x[i]
            middle += t[i]
            low, high = min(low, x[i]), max(high, x[i])
        mean, middle = mean / n, middle / n
        squares, apart, product = 0.0, 0.0, 0.0
        for i in range(n):
            a, b = t[i] - middle, x[i] - mean
            squares += a * a
            apart += b * b
            product += a * b
        constant = low == high
        slope = 0.0 if constant else product / squares
        out[p, 1] = slope
        out[p, 2] = (low if constant else mean) - slope * middle
        out[p, 3] = 0.0 if constant else min(product * product / (squares * apart), 1.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _tied(x, n):
    """What ties take from the variance of Kendall's S, times 18; puts the first n numbers in order."""
    x[:n].sort()
    taken, run = 0.0, 1.0
    for i in range(1, n + 1):
        if i < n and x[i] == x[i - 1]:
            run += 1.0
        else:
            taken += run * (run - 1.0) * (2.0 * run + 5.0)
            run = 1.0
    return taken


@njit(cache=True, nogil=True, error_model="numpy")
def _normal_score(s, variance):
    """z with the correction of continuity, and its two-sided p."""
    z = 0.0
    if s > 0 and variance > 0:
        z = (s - 1.0) / math.sqrt(variance)
    elif s < 0 and variance > 0:
        z = (s + 1.0) / math.sqrt(variance)
    return z, math.erfc(abs(z) / math.sqrt(2.0))


@njit(cache=True, nogil=True, error_model="numpy")
def mann_kendall(values, years, with_slope, out):
    """Count, S, tau, z, p, slope and value at year 0: (pixels, dates) → (pixels, 7); NaN from less than three dates.

    Kendall's tau without correction for ties (tau-a). Slope and value are those of Theil and Sen, if `with_slope`.
    """
    pixels, dates = values.shape
    x, t = np.empty(dates), np.empty(dates)
    slopes = np.empty(dates * (dates - 1) // 2 if with_slope else 0)
    for p in range(pixels):
        n = _compact(values[p], years, x, t)
        out[p, 0] = n
        out[p, 1:] = np.nan
        if n < 3:
            continue
        s, k = 0, 0
        for i in range(n - 1):
            a = x[i]
            if with_slope:
                b = t[i]
                for j in range(i + 1, n):
                    slopes[k] = (x[j] - a) / (t[j] - b)
                    k += 1
            for j in range(i + 1, n):
                s += (x[j] > a) - (x[j] < a)
        pairs = n * (n - 1) / 2
        if with_slope:
            slope = _quantile(slopes, k, 0.5)
            out[p, 5] = slope
            out[p, 6] = _quantile(x, n, 0.5) - slope * _quantile(t, n, 0.5)
        variance = (n * (n - 1.0) * (2.0 * n + 5.0) - _tied(x, n)) / 18.0
        z, probability = _normal_score(float(s), variance)
        out[p, 1], out[p, 2], out[p, 3], out[p, 4] = s, s / pairs, z, probability


@njit(cache=True, nogil=True, error_model="numpy")
def seasonal_mann_kendall(values, year, season, years, seasons, out):
    """Count of cells, S, tau, z, p and slope: each season of the year by itself, then summed (Hirsch et al. 1982).

    Parameters
    ----------
    values
        (pixels, dates).
    year, season
        Of each date, from 0; there are so many `years` and `seasons`.
    out
        (pixels, 6).
    """
    pixels, dates = values.shape
    total, number = np.empty((seasons, years)), np.empty((seasons, years))
    x, t = np.empty(years), np.empty(years)
    slopes = np.empty(seasons * (years * (years - 1) // 2))
    for p in range(pixels):
        total[:] = 0.0
        number[:] = 0.0
        for i in range(dates):
            v = values[p, i]
            if v == v:
                total[season[i], year[i]] += v
                number[season[i], year[i]] += 1.0
        count, s, k, pairs, variance = 0, 0, 0, 0.0, 0.0
        for g in range(seasons):
            n = 0
            for y in range(years):
                if number[g, y] > 0:
                    x[n], t[n] = total[g, y] / number[g, y], y
                    n += 1
            count += n
            pairs += n * (n - 1) / 2
            for i in range(n - 1):
                for j in range(i + 1, n):
                    s += (x[j] > x[i]) - (x[j] < x[i])
                    slopes[k] = (x[j] - x[i]) / (t[j] - t[i])
                    k += 1
            if n > 1:
                variance += (n * (n - 1.0) * (2.0 * n + 5.0) - _tied(x, n)) / 18.0
        out[p, 0] = count
        out[p, 1:] = np.nan
        if k < 3:
            continue
        z, probability = _normal_score(float(s), variance)
        out[p, 1], out[p, 2], out[p, 3], out[p, 4] = s, s / pairs, z, probability
        out[p, 5] = _quantile(slopes, k, 0.5)


# ------------------------------------------------------------------------------------------------------- phenology

AMPLITUDE, ABSOLUTE, RELATIVE = 0, 1, 2


@njit(cache=True, nogil=True, error_model="numpy")
def phenology(values, days, method, threshold, out):
    """One season of each series: (pixels, dates) → (pixels, 13).

    Count, day of the start, of the peak and of the end, length, value at the peak, base, amplitude, values per day of
    the rise and of the fall, area above the base and above zero between start and end, and value at the start.
    """
    pixels, dates = values.shape
    x, t, ordered = np.empty(dates), np.empty(dates), np.empty(dates)
    for p in range(pixels):
        n = _compact(values[p], days, x, t)
        out[p, 0] = n
        out[p, 1:] = np.nan
        if n < 3:
            continue
        top = 0
        for i in range(1, n):
            if x[i] > x[top]:
                top = i
        left, right = x[0], x[n - 1]
        for i in range(top):
            left = min(left, x[i])
        for i in range(top + 1, n):
            right = min(right, x[i])
        if top == 0:
            left = right
        if top == n - 1:
            right = left
        base = (left + right) / 2.0
        peak = x[top]
        out[p, 2], out[p, 5], out[p, 6], out[p, 7] = t[top], peak, base, peak - base
        if method == AMPLITUDE:
            at_start, at_end = left + threshold * (peak - left), right + threshold * (peak - right)
        elif method == ABSOLUTE:
            at_start = at_end = threshold
        else:
            ordered[:n] = x[:n]
            low = _quantile(ordered, n, 0.1)
            high = _quantile(ordered, n, 0.9)
            at_start = at_end = low + threshold * (high - low)
        start, end = np.nan, np.nan
        i, j = top, top
        if peak > at_start:
            while i > 0 and x[i] > at_start:
                i -= 1
            if x[i] <= at_start:
                start = t[i] + (at_start - x[i]) / (x[i + 1] - x[i]) * (t[i + 1] - t[i])
        if peak > at_end:
            while j < n - 1 and x[j] > at_end:
                j += 1
            if x[j] <= at_end:
                end = t[j - 1] + (x[j - 1] - at_end) / (x[j - 1] - x[j]) * (t[j] - t[j - 1])
        out[p, 1], out[p, 3], out[p, 4], out[p, 12] = start, end, end - start, at_start if start == start else np.nan
        out[p, 8] = (peak - at_start) / (t[top] - start)
        out[p, 9] = (at_end - peak) / (end - t[top])
        if start == start and end == end:
            area, day, value = 0.0, start, at_start
            for k in range(i + 1, j):
                area += (t[k] - day) * (x[k] + value) / 2.0
                day, value = t[k], x[k]
            area += (end - day) * (at_end + value) / 2.0
            out[p, 10], out[p, 11] = area - base * (end - start), area


# ---------------------------------------------------------------------------------------------------------- breaks


@njit(cache=True, nogil=True, error_model="numpy")
def _furthest(x, n, mean):
    """Place and size of the largest sum of the first values' distances from a mean; before the last value."""
    total, place, most = 0.0, 0, -1.0
    for i in range(n - 1):
        total += x[i] - mean
        if abs(total) > most:
            place, most = i, abs(total)
    return place, most


@njit(cache=True, nogil=True, error_model="numpy")
def cusum(values, days, permutations, out):
    """Count, day, size, score and p of the break of each series: (pixels, dates) → (pixels, 5); see `breaks.cusum`.

    p only with permutations; they are the same ones for every series of so many dates.
    """
    pixels, dates = values.shape
    x, t, mixed = np.empty(dates), np.empty(dates), np.empty(dates)
    for p in range(pixels):
        n = _compact(values[p], days, x, t)
        out[p, 0] = n
        out[p, 1:] = np.nan
        if n < 4:
            continue
        mean, low, high = 0.0, x[0], x[0]
        for i in range(n):
            mean += x[i]
            low, high = min(low, x[i]), max(high, x[i])
        mean /= n
        if low == high:
            out[p, 2], out[p, 3], out[p, 4] = 0.0, 0.0, 1.0
            continue
        squares = 0.0
        for i in range(n):
            squares += (x[i] - mean) * (x[i] - mean)
        k, most = _furthest(x, n, mean)
        before, after = 0.0, 0.0
        for i in range(k + 1):
            before += x[i]
        for i in range(k + 1, n):
            after += x[i]
        out[p, 1] = t[k + 1]
        out[p, 2] = after / (n - k - 1) - before / (k + 1)
        out[p, 3] = most / math.sqrt(squares)  # standard deviation with n, times √n
        if permutations > 0:
            mixed[:n] = x[:n]
            state, reached = np.uint64(0x9E3779B97F4A7C15), 1
            for _ in range(permutations):
                for i in range(n - 1, 0, -1):
                    state ^= state << np.uint64(13)
                    state ^= state >> np.uint64(7)
                    state ^= state << np.uint64(17)
                    j = int((state >> np.uint64(11)) % np.uint64(i + 1))
                    mixed[i], mixed[j] = mixed[j], mixed[i]
                _, other = _furthest(mixed, n, mean)
                reached += other >= most * (1.0 - 1e-12)
            out[p, 4] = reached / (permutations + 1.0)


@njit(cache=True, nogil=True, error_model="numpy")
def largest_drop(values, days, out):
    """Count, size, day, days since the date before: the largest fall between neighbouring valid dates; (pixels, 4)."""
    pixels, dates = values.shape
    x, t = np.empty(dates), np.empty(dates)
    for p in range(pixels):
        n = _compact(values[p], days, x, t)
        out[p, 0] = n
        out[p, 1:] = np.nan
        if n < 2:
            continue
        out[p, 1] = 0.0
        for i in range(1, n):
            if x[i - 1] - x[i] > out[p, 1]:
                out[p, 1], out[p, 2], out[p, 3] = x[i - 1] - x[i], t[i], t[i] - t[i - 1]


@njit(cache=True, nogil=True, error_model="numpy")
def alerts(values, days, threshold, previous, confirm, begin, out):
    """Count, day, day of confirmation and size of the first drop that lasts: (pixels, 4); see `breaks.drop_alert`."""
    pixels, dates = values.shape
    x, t, before = np.empty(dates), np.empty(dates), np.empty(previous)
    for p in range(pixels):
        n = _compact(values[p], days, x, t)
        out[p, 0] = n
        out[p, 1:] = np.nan
        if n < previous + confirm:
            continue
        out[p, 3] = 0.0
        for i in range(previous, n - confirm + 1):
            if t[i] < begin:
                continue
            before[:] = x[i - previous : i]
            usual = _quantile(before, previous, 0.5)
            low, total = True, 0.0
            for j in range(i, i + confirm):
                low = low and x[j] - usual < -threshold
                total += x[j]
            if low:
                out[p, 1], out[p, 2], out[p, 3] = t[i], t[i + confirm - 1], usual - total / confirm
                break


# ---------------------------------------------------------------------------------------------------- two series


@njit(cache=True, nogil=True, error_model="numpy")
def lagged(values, others, days, lags, least, out):
    """Lag, r and count of the strongest correlation of a series with another one some days later: (pixels, 3).

    The other series is interpolated linearly between its valid dates. Of equal strength, the first one of `lags`.
    """
    pixels, dates = values.shape
    x, t, z, u = np.empty(dates), np.empty(dates), np.empty(dates), np.empty(dates)
    a, b = np.empty(dates), np.empty(dates)
    for p in range(pixels):
        out[p] = np.nan
        n, m = _compact(values[p], days, x, t), _compact(others[p], days, z, u)
        strongest = -1.0
        for g in range(lags.size):
            count, k = 0, 0
            for i in range(n):
                day = t[i] + lags[g]
                while k < m and u[k] < day - _INSTANT:
                    k += 1
                if k == m:
                    break
                if u[k] <= day + _INSTANT:
                    found = z[k]
                elif k == 0:
                    continue
                else:
                    found = z[k - 1] + (z[k] - z[k - 1]) * ((day - u[k - 1]) / (u[k] - u[k - 1]))
                a[count], b[count] = x[i], found
                count += 1
            if count < least:
                continue
            r = _correlation(a, b, count)
            if abs(r) > strongest:  # NaN is not
                strongest = abs(r)
                out[p, 0], out[p, 1], out[p, 2] = lags[g], r, count


@njit(cache=True, nogil=True, error_model="numpy")
def _correlation(a, b, n):
    """Pearson's r of the first n pairs; NaN where one of them is constant."""
    mean, other, same, alike = 0.0, 0.0, True, True
    for i in range(n):
        mean += a[i]
        other += b[i]
        same = same and a[i] == a[0]
        alike = alike and b[i] == b[0]
    if same or alike:
        return np.nan
    mean, other = mean / n, other / n
    squares, more, product = 0.0, 0.0, 0.0
    for i in range(n):
        v, w = a[i] - mean, b[i] - other
        squares += v * v
        more += w * w
        product += v * w
    return min(max(product / math.sqrt(squares * more), -1.0), 1.0)
