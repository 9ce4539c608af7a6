"""Compiled code of statistics of weighted values."""

from __future__ import annotations

import numpy as np
from numba import njit

MEAN, STD, MIN, MAX, SUM, COUNT, NUMBER, QUANTILES = range(8)
"""Places in a row of results; quantiles from the last one on."""


@njit(cache=True, nogil=True)
def weighted(values, weights, quantiles, out):
    """Statistics of each row of `values` (rows, pixels), whose missing ones count nothing.

    The mean, the standard deviation (of all there are, not of a sample) and the sum are of values times weights; the
    smallest and the largest of all with a weight. `COUNT` is the sum of the weights, `NUMBER` how many have one.
    Quantiles interpolate between the values in order, x_k at the place k w_k + (n - 1) Σ w_i (i < k) of n, which is
    linear interpolation where all weights are the same. Equal values stay in the order of the pixels
    (exactextract takes them for one value with the sum of their weights, whose median need not be among them).
    """
    number = values.shape[1]
    x, w, place = np.empty(number), np.empty(number), np.empty(number)
    for row in range(values.shape[0]):
        n, total, summed = 0, 0.0, 0.0
        low, high = np.inf, -np.inf
        for k in range(number):
            value = np.float64(values[row, k])
            if np.isnan(value) or weights[k] <= 0:
                continue
            x[n], w[n] = value, weights[k]
            total += weights[k]
            summed += value * weights[k]
            low, high = min(low, value), max(high, value)
            n += 1
        result = out[row]
        result[COUNT], result[NUMBER] = total, n
        if n == 0:
            for k in range(result.size):
                if k != COUNT and k != NUMBER:
                    result[k] = 0.0 if k == SUM else np.nan
            continue
        mean, squares = summed / total, 0.0
        for k in range(n):
            squares += w[k] * (x[k] - mean) ** 2
        result[MEAN], result[STD], result[SUM] = mean, np.sqrt(squares / total), summed
        result[MIN], result[MAX] = low, high
        if quantiles.size == 0:
            continue
        order, before = np.argsort(x[:n], kind="mergesort"), 0.0
        for k in range(n):
            place[k] = k * w[order[k]] + (n - 1) * before
            before += w[order[k]]
        for q in range(quantiles.size):
            at, k = quantiles[q] * place[n - 1], 0
            while k + 1 < n and place[k + 1] <= at:
                k += 1
            first = x[order[k]]
            if k + 1 < n:
                first += (at - place[k]) * (x[order[k + 1]] - first) / (place[k + 1] - place[k])
            result[QUANTILES + q] = first
