"""Compiled code of model functions: their values and derivatives, and non-linear least squares, pixel by pixel.

A model is a short program (see `curves`). Its registers are series: first the parameters, then what does not depend on
them, then the result of each instruction. Derivatives go through the program with the values (forward mode), so they
are exact. A pixel's numbers are made in one order, from its own values alone.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

ADD, SUBTRACT, MULTIPLY, DIVIDE, POWER, LOG, ARCTAN2, IF = range(8)
EXP, LN, SQRT, ABSOLUTE, SIN, COS, TAN, ARCSIN, ARCCOS, ARCTAN = range(10, 20)
SINH, COSH, TANH, ARSINH, ARCOSH, ARTANH = range(20, 26)

_STEPS = 200
_SINGULAR = 1e-10
"""What a column must keep of its length beside those before it."""
_SETTLED = 1e-14
"""Of the sum of squares: a step that would take off less ends the search."""


@njit(cache=True, nogil=True, error_model="numpy")
def _of_two(operation, a, b):
    """The value of an instruction on two values, and its derivatives by them."""
    if operation == ADD:
        return a + b, 1.0, 1.0
    if operation == SUBTRACT:
        return a - b, 1.0, -1.0
    if operation == MULTIPLY:
        return a * b, b, a
    if operation == DIVIDE:
        return a / b, 1.0 / b, -a / (b * b)
    if operation == POWER:
        v = a**b
        by_base = 0.0 if b == 0.0 else b * a ** (b - 1.0)
        return v, by_base, (v * math.log(a) if a > 0.0 else 0.0 if a == 0.0 else np.nan)
    if operation == LOG:
        base = math.log(b)
        v = math.log(a) / base
        return v, 1.0 / (a * base), -v / (b * base)
    square = a * a + b * b
    return math.atan2(a, b), b / square, -a / square


@njit(cache=True, nogil=True, error_model="numpy")
def _of_one(operation, a):
    """The value of an instruction on one value, and its derivative."""
    if operation == EXP:
        v = math.exp(a)
        return v, v
    if operation == LN:
        return (math.log(a) if a >= 0.0 else np.nan), 1.0 / a
    if operation == SQRT:
        v = math.sqrt(a) if a >= 0.0 else np.nan
        return v, 0.5 / v
    if operation == ABSOLUTE:
        return abs(a), (1.0 if a > 0.0 else -1.0 if a < 0.0 else 0.0)
    if operation == SIN:
        return math.sin(a), math.cos(a)
    if operation == COS:
        return math.cos(a), -math.sin(a)
    if operation == TAN:
        v = math.tan(a)
        return v, 1.0 + v * v
    if operation in (ARCSIN, ARCCOS):
        inside = abs(a) <= 1.0
        slope = 1.0 / math.sqrt(1.0 - a * a) if inside else np.nan
        if operation == ARCSIN:
            return (math.asin(a) if inside else np.nan), slope
        return (math.acos(a) if inside else np.nan), -slope
    if operation == ARCTAN:
        return math.atan(a), 1.0 / (1.0 + a * a)
    if operation == SINH:
        return math.sinh(a), math.cosh(a)
    if operation == COSH:
        return math.cosh(a), math.sinh(a)
    if operation == TANH:
        v = math.tanh(a)
        return v, 1.0 - v * v
    if operation == ARSINH:
        return math.asinh(a), 1.0 / math.sqrt(a * a + 1.0)
    if operation == ARCOSH:
        return (math.acosh(a) if a >= 1.0 else np.nan), (1.0 / math.sqrt(a * a - 1.0) if a >= 1.0 else np.nan)
    return (math.atanh(a) if abs(a) <= 1.0 else np.nan), 1.0 / (1.0 - a * a)


@njit(cache=True, nogil=True, error_model="numpy")
def _evaluate(code, uses, first, p, n, values, slopes):
    """Fills the registers from `first` on, and those of the parameters, for the first n dates."""
    count = p.size
    for j in range(count):
        for d in range(n):
            values[j, d] = p[j]
    for line in range(code.shape[0]):
        r, operation, a, b, c = first + line, code[line, 0], code[line, 1], code[line, 2], code[line, 3]
        two = operation < EXP
        for d in range(n):
            by_b = 0.0
            if operation == IF:
                chosen = values[c, d] == values[c, d] and values[c, d] != 0.0
                v = values[a, d] if chosen else values[b, d]
                by_a = 1.0 if chosen else 0.0
                by_b = 1.0 - by_a
            elif two:
                v, by_a, by_b = _of_two(operation, values[a, d], values[b, d])
            else:
                v, by_a = _of_one(operation, values[a, d])
            values[r, d] = v
            for j in range(count):
                if uses[r, j]:
                    s = 0.0
                    if uses[a, j] and by_a != 0.0:
                        s += by_a * slopes[a, j, d]
                    if two and uses[b, j] and by_b != 0.0:
                        s += by_b * slopes[b, j, d]
                    slopes[r, j, d] = s


@njit(cache=True, nogil=True, error_model="numpy")
def _solve(columns, rest, rows, diagonal, work, triangle, step):
    """The step that brings `rest` nearest to zero by columns, damped by `diagonal` (0: none); what it takes off.

    By modified Gram–Schmidt on the columns, scaled by the caller, which loses less than normal equations. -1 where the
    columns do not determine it.
    """
    count = step.size
    for j in range(count):
        for d in range(rows):
            work[j, d] = columns[j, d]
        for i in range(count):
            work[j, rows + i] = diagonal if i == j else 0.0
    for d in range(rows):
        work[count, d] = rest[d]
    for i in range(count):
        work[count, rows + i] = 0.0
    total = rows + count
    taken = 0.0
    for j in range(count):
        whole = 0.0
        for d in range(rows):
            whole += columns[j, d] * columns[j, d]
        square = 0.0
        for d in range(total):
            square += work[j, d] * work[j, d]
        if not square > _SINGULAR * _SINGULAR * (whole + diagonal * diagonal):
            return -1.0
        length = math.sqrt(square)
        for d in range(total):
            work[j, d] /= length
        triangle[j, j] = length
        for other in range(j + 1, count + 1):
            dot = 0.0
            for d in range(total):
                dot += work[j, d] * work[other, d]
            triangle[j, other] = dot
            for d in range(total):
                work[other, d] -= dot * work[j, d]
        taken += triangle[j, count] * triangle[j, count]
    for j in range(count - 1, -1, -1):
        s = triangle[j, count]
        for other in range(j + 1, count):
            s -= triangle[j, other] * step[other]
        step[j] = s / triangle[j, j]
    return taken


@njit(cache=True, nogil=True, error_model="numpy")
def _residuals(y, values, result, n, rest):
    """Fills `rest`; the sum of squares."""
    cost = 0.0
    for d in range(n):
        rest[d] = y[d] - values[result, d]
        cost += rest[d] * rest[d]
    return cost


@njit(cache=True, nogil=True, error_model="numpy")
def fit(series, known, code, uses, result, start, every, out):
    """The parameters of a model that are nearest to each series by least squares; NaN where none are.

    Levenberg–Marquardt: steps of Gauss and Newton, damped where one is no progress (Moré 1978). Ends where an undamped
    step would take off next to nothing of the sum of squares.

    Parameters
    ----------
    series
        float64 (pixels, dates), NaN where missing.
    known
        float64 (registers that do not depend on parameters, dates).
    code
        int64 (instructions, 4): operation and registers.
    uses
        bool (registers, parameters): whether it depends on it.
    result
        The register of the model's value.
    start
        The parameters to begin with.
    every
        Whether a series with missing values has no fit.
    out
        float64 (pixels, parameters).
    """
    count, dates = start.size, series.shape[1]
    first = count + known.shape[0]
    values, slopes = np.zeros((first + code.shape[0], dates)), np.zeros((first + code.shape[0], count, dates))
    for j in range(count):
        slopes[j, j] = 1.0
    y, rest, tried = np.empty(dates), np.empty(dates), np.empty(dates)
    columns, work = np.empty((count, dates)), np.empty((count + 1, dates + count))
    triangle, step, scale = np.empty((count, count + 1)), np.empty(count), np.empty(count)
    p, trial = np.empty(count), np.empty(count)
    for pixel in range(series.shape[0]):
        n, squares = 0, 0.0
        for d in range(dates):
            v = series[pixel, d]
            if math.isfinite(v):
                y[n] = v
                squares += v * v
                for k in range(known.shape[0]):
                    values[count + k, n] = known[k, d]
                n += 1
        out[pixel] = np.nan
        if n < count or (every and n < dates):
            continue
        p[:] = start
        scale[:] = 0.0
        _evaluate(code, uses, first, p, n, values, slopes)
        cost = _residuals(y, values, result, n, rest)
        if not math.isfinite(cost):
            continue
        damping, fresh = 0.0, True
        for _ in range(_STEPS):
            if fresh:
                for j in range(count):
                    square = 0.0
                    for d in range(n):
                        square += slopes[result, j, d] * slopes[result, j, d]
                    scale[j] = max(scale[j], math.sqrt(square))
                    for d in range(n):
                        columns[j, d] = slopes[result, j, d] / scale[j] if scale[j] > 0.0 else 0.0
            taken = _solve(columns, rest, n, math.sqrt(damping), work, triangle, step)
            if taken < 0.0 and damping > 0.0:  # derivatives that are no numbers
                break
            size, length = 0.0, 0.0
            if taken >= 0.0:
                for j in range(count):
                    size += step[j] * step[j]
                    length += p[j] * p[j] * scale[j] * scale[j]
                    trial[j] = p[j] + step[j] / scale[j] if scale[j] > 0.0 else p[j]
                small = size <= 1e-20 * length or taken <= _SETTLED * cost or cost <= 1e-26 * squares
                if damping == 0.0 and small:
                    out[pixel] = trial
                    break
                _evaluate(code, uses, first, trial, n, values, slopes)
                after = _residuals(y, values, result, n, tried)
                fresh = after < cost
                if fresh:
                    p[:] = trial
                    rest[:n] = tried[:n]
                    cost = after
                    damping = damping * 0.1 if damping > 1e-6 else 0.0
                    continue
                if damping == 0.0 and taken <= 1e-10 * cost:  # as near as rounding lets it come
                    out[pixel] = p
                    break
            fresh = False
            damping = damping * 10.0 if damping > 0.0 else 1e-3
            if damping > 1e12:
                break
