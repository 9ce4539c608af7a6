"""The engine's compiled code: expressions over stored integers, and reducers over time.

An evaluation runs a short program (see `compiler`) over pieces of a row that stay in the processor's first cache:
stored values of every date are loaded and made physical, go through the program's vector instructions, and end as one
layer of a stack; then the stack is reduced. Nothing is compiled for a chain: the instructions are, once, and kept on
disk.

Medians and quantiles come from sorting networks over the dates, many pixels at a time (Batcher 1968, odd-even merge);
those of up to `UNROLLED` dates are written out as vector instructions that keep the values in registers.

All of it is in one file, with the numbers it uses: Numba compiles again when the function's own file has changed, not
when one that it imports from has.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.extending import intrinsic

# instructions: (operation, target register, arguments …)
LOAD, DATES, MASK, IF, CLIP = range(5)
ADD, SUBTRACT, MULTIPLY, DIVIDE, RATIO, NORMALIZED_DIFFERENCE = range(10, 16)
POWER, MOD, LOG, ARCTAN2, ROUND = range(16, 21)
GT, GTE, LT, LTE, EQ, NEQ = range(22, 28)
AND, OR, XOR = range(30, 33)
NOT, IS_NODATA, ABSOLUTE, SQRT, FLOOR, CEIL, INT, SGN, IS_VALID, IS_INFINITE = range(40, 50)
EXP, LN, SIN, COS, TAN, ARCSIN, ARCCOS, ARCTAN = range(50, 58)
SINH, COSH, TANH, ARSINH, ARCOSH, ARTANH = range(58, 64)
COSTLY = frozenset({*range(POWER, ROUND + 1), *range(EXP, ARTANH + 1)})
"""Instructions that take ten times as long as the others: in double precision, value by value."""

# what a stack is reduced to
FIRST, LAST, MEAN, SUM, MIN, MAX, COUNT, VARIANCE, SD = range(9)
MEDIAN, QUANTILE = 20, 21
"""From 20 on: of the sorted values."""

# fields of a plane (stored values of one band of one scene): integers
ADDRESS, STRIDE, KIND, NODATA, TABLE, ROWS, COLUMNS, LOW, HIGH, ORDER = range(10)
# how the stored values lie in a row: those of `raster.resampling`
MAPPED, STRAIGHT, DOUBLED = range(3)
# and floating point; physical = stored * scale + offset, in double precision, or (stored + addend) / divisor in single
# where that gives the same for every stored value (divisor 0: it does not); of stored floats instead of these two the
# first and the last value that means missing (NaN: none does)
SCALE, OFFSET, ADDEND, DIVISOR = range(4)
FIRST_MISSING, LAST_MISSING = ADDEND, DIVISOR
KINDS = {"|u1": 0, "<u2": 1, "<i2": 2, "<f4": 3}
AS_IS = 4
"""Single precision that is a result already: infinity is a value, in files it is none."""
RUN = 128
"""Pixels that are sorted together, so few that clouds hide all of them on many dates, which need no place then."""
UNROLLED = 32
"""Up to so many dates a sorting network is written out."""
_LANES = 8
NOTHING = -(1 << 30)
"""Where there is no nodata value."""


def _pointer_to(kind):
    @intrinsic
    def pointer(_context, address):
        def generate(context, builder, signature, arguments):
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(types.int64), generate

    return pointer


_u8, _u16 = _pointer_to(types.uint8), _pointer_to(types.uint16)
_i16, _f32, _i32 = _pointer_to(types.int16), _pointer_to(types.float32), _pointer_to(types.int32)


# Rows of registers are named by their number, not cut out as arrays: that would count references for every instruction.

# ------------------------------------------------------------------------------------------------- loading


@njit(cache=True, nogil=True, error_model="numpy")
def _physical(values, factors, p, nodata, out):
    """Physical values of stored integers that lie side by side."""
    nodata = np.int32(nodata)
    if factors[p, DIVISOR] != 0:
        addend, divisor = np.float32(factors[p, ADDEND]), np.float32(factors[p, DIVISOR])
        for i in range(out.size):
            v = np.int32(values[i])
            physical = (np.float32(v) + addend) / divisor
            out[i] = np.float32(np.nan) if v == nodata else physical
        return
    scale, offset = factors[p, SCALE], factors[p, OFFSET]
    for i in range(out.size):
        v = np.int32(values[i])
        physical = np.float32(np.float64(v) * scale + offset)
        out[i] = np.float32(np.nan) if v == nodata else physical


@njit(cache=True, nogil=True)
def _look_up(values, tables, table, out):
    for i in range(out.size):
        out[i] = tables[table + values[i]]


@njit(cache=True, nogil=True)
def _doubled(values, tables, table, phase, out, scratch):
    """Each stored value (by its table) twice, as 20 m pixels on a grid of 10 m; `phase` 1: the first only once."""
    stored = (out.size + phase + 1) // 2
    for j in range(stored):
        scratch[j] = tables[table + values[j]]
    if phase:
        for i in range(out.size):
            out[i] = scratch[(i + 1) >> 1]
        return
    pairs = out.size // 2
    for j in range(pairs):  # of two stores side by side the compiler makes one
        v = scratch[j]
        out[2 * j] = v
        out[2 * j + 1] = v
    if 2 * pairs < out.size:
        out[2 * pairs] = scratch[pairs]


@njit(cache=True, nogil=True)
def _gather(values, straight, nodata, scale, offset, tables, table, maps, at, out):
    """Physical values, or what a table says, of stored integers wherever they are."""
    for i in range(out.size):
        v = np.int64(values[i if straight else maps[at + i]])
        if table >= 0:
            out[i] = tables[table + (v & 0xFFFF)]
        else:
            physical = np.float32(np.float64(v) * scale + offset)
            out[i] = np.float32(np.nan) if v == nodata else physical


@njit(cache=True, nogil=True)
def _floats(values, straight, factors, p, maps, at, out):
    scale, offset = factors[p, SCALE], factors[p, OFFSET]
    first, last = np.float32(factors[p, FIRST_MISSING]), np.float32(factors[p, LAST_MISSING])
    for i in range(out.size):
        v = values[i if straight else maps[at + i]]
        physical = np.float32(np.float64(v) * scale + offset)
        good = np.isfinite(physical) and not ((v >= first) & (v <= last))
        out[i] = physical if good else np.float32(np.nan)


@njit(cache=True, nogil=True)
def _integers(values, order, nodata, factors, p, tables, table, maps, at, phase, out, scratch):
    if order == STRAIGHT and table < 0:
        _physical(values, factors, p, nodata, out)
    elif order == STRAIGHT:
        _look_up(values, tables, table, out)
    elif order >= DOUBLED and table >= 0:
        _doubled(values, tables, table, phase, out, scratch)
    else:
        scale, offset = factors[p, SCALE], factors[p, OFFSET]
        _gather(values, order == STRAIGHT, nodata, scale, offset, tables, table, maps, at, out)


@njit(cache=True, nogil=True)
def _plane_rows(
    planes, p, factors, maps, tables, tabled, absent, row, rows, start, width, target, scratch
):  # fmt: skip
    """A piece of one plane (rows one after the other), to an address; `absent` where the plane has no pixels."""
    low = max(planes[p, LOW], start)
    high = min(planes[p, HIGH], start + width)
    order, kind, nodata = planes[p, ORDER], planes[p, KIND], planes[p, NODATA]
    table = planes[p, TABLE] if tabled else -1
    scale, offset = factors[p, SCALE], factors[p, OFFSET]
    columns = planes[p, COLUMNS] + low
    skip, phase = 0, 0
    if order == STRAIGHT:
        skip = low - planes[p, LOW]
    elif order >= DOUBLED and table >= 0 and kind < 2:
        skip = (low - planes[p, LOW] + order - DOUBLED) >> 1
        phase = (low - planes[p, LOW] + order - DOUBLED) & 1
    many = (1 << 30,)
    aside = carray(_f32(scratch), (width,))
    before = -2
    for k in range(rows):
        here = target + 4 * k * width
        out = carray(_f32(here), (width,))
        stored = maps[planes[p, ROWS] + row + k]
        if stored == before:  # coarser than the grid: the row is that above
            above = carray(_f32(here - 4 * width), (width,))
            for i in range(width):
                out[i] = above[i]
            continue
        before = stored
        if stored < 0 or low >= high:
            for i in range(width):
                out[i] = absent
            continue
        for i in range(low - start):
            out[i] = absent
        for i in range(high - start, width):
            out[i] = absent
        inside = carray(_f32(here + 4 * (low - start)), (high - low,))
        at = planes[p, ADDRESS] + stored * planes[p, STRIDE]
        if kind == 0:
            bytes_ = carray(_u8(at + skip), many)
            _integers(bytes_, order, nodata, factors, p, tables, table, maps, columns, phase, inside, aside)
        elif kind == 1:
            words = carray(_u16(at + 2 * skip), many)
            _integers(words, order, nodata, factors, p, tables, table, maps, columns, phase, inside, aside)
        elif kind == 2:
            signed = carray(_i16(at + 2 * skip), many)
            _gather(signed, order == STRAIGHT, nodata, scale, offset, tables, table, maps, columns, inside)
        elif kind == 3:
            _floats(carray(_f32(at + 4 * skip), many), order == STRAIGHT, factors, p, maps, columns, inside)
        else:
            results = carray(_f32(at + 4 * skip), many)
            for i in range(inside.size):
                inside[i] = results[i]


@njit(cache=True, nogil=True)
def _has_data(planes, p, factors, maps, tables, row, rows, start, width, target, scratch):
    """1 where a plane has a valid stored value, else 0."""
    missing = np.float32(np.nan)
    _plane_rows(planes, p, factors, maps, tables, False, missing, row, rows, start, width, target, scratch)
    out = carray(_f32(target), (rows * width,))
    for i in range(out.size):
        out[i] = np.float32(0) if np.isnan(out[i]) else np.float32(1)


@njit(cache=True, nogil=True)
def _load(first, last, planes, factors, maps, tables, absent, row, rows, start, width, target, spare):
    """A band of one date on a piece: of several scenes of an overpass, the first that has data at a pixel.

    `target` and `spare` (four registers) are addresses.
    """
    n = rows * width
    out = carray(_f32(target), (n,))
    if first == last:
        for i in range(n):
            out[i] = absent
        return
    scratch = spare + 12 * n
    _plane_rows(planes, first, factors, maps, tables, True, absent, row, rows, start, width, target, scratch)
    if last == first + 1:
        return
    got, valid, more = carray(_f32(spare), (n,)), carray(_f32(spare + 4 * n), (n,)), carray(_f32(spare + 8 * n), (n,))
    _has_data(planes, first, factors, maps, tables, row, rows, start, width, spare, scratch)
    for p in range(first + 1, last):
        _has_data(planes, p, factors, maps, tables, row, rows, start, width, spare + 4 * n, scratch)
        _plane_rows(planes, p, factors, maps, tables, True, absent, row, rows, start, width, spare + 8 * n, scratch)
        for i in range(n):
            if got[i] == 0 and valid[i] == 1:
                out[i] = more[i]
                got[i] = 1


@njit(cache=True, nogil=True)
def differs(values, nodata):
    """Whether a stored integer is not the one that means missing."""
    for row in range(values.shape[0]):
        for col in range(values.shape[1]):
            if values[row, col] != nodata:
                return True
    return False


@njit(cache=True, nogil=True)
def all_removed(first, last, planes, factors, maps, tables, absent, rows, width):
    """Whether a mask (a table of a band's stored values) is true everywhere on the rectangle; missing is not true."""
    memory = np.empty(5 * 256, np.float32)
    address = memory.ctypes.data
    for row in range(rows):
        for start in range(0, width, 256):
            n = min(256, width - start)
            _load(
                first, last, planes, factors, maps, tables, absent, row, 1, start, n, address, address + 4 * 256
            )  # fmt: skip
            for i in range(n):
                if np.isnan(memory[i]) or memory[i] == 0:
                    return False
    return True


# -------------------------------------------------------------------------------------------- instructions
# Missing values are NaN and truth values 1 and 0, as in `operators.elementwise`, whose numbers these are bit by bit.


@njit(cache=True, nogil=True, error_model="numpy")
def _with_number(operation, r, to, a, number, n):
    """Arithmetic of values and a number, which needs no place in the processor's first cache."""
    if operation == ADD:
        for i in range(n):
            r[to, i] = r[a, i] + number
    elif operation == SUBTRACT:
        for i in range(n):
            r[to, i] = r[a, i] - number
    elif operation == MULTIPLY:
        for i in range(n):
            r[to, i] = r[a, i] * number
    else:
        for i in range(n):
            r[to, i] = r[a, i] / number


@njit(cache=True, nogil=True, error_model="numpy")
def _of_number(operation, r, to, number, b, n):
    if operation == ADD:
        for i in range(n):
            r[to, i] = number + r[b, i]
    elif operation == SUBTRACT:
        for i in range(n):
            r[to, i] = number - r[b, i]
    elif operation == MULTIPLY:
        for i in range(n):
            r[to, i] = number * r[b, i]
    else:
        for i in range(n):
            r[to, i] = number / r[b, i]


@njit(cache=True, nogil=True, error_model="numpy")
def _arithmetic(operation, r, to, a, b, n):
    if operation == ADD:
        for i in range(n):
            r[to, i] = r[a, i] + r[b, i]
    elif operation == SUBTRACT:
        for i in range(n):
            r[to, i] = r[a, i] - r[b, i]
    elif operation == MULTIPLY:
        for i in range(n):
            r[to, i] = r[a, i] * r[b, i]
    elif operation == DIVIDE:
        for i in range(n):
            r[to, i] = r[a, i] / r[b, i]
    elif operation == RATIO:  # missing where something is divided by 0
        for i in range(n):
            x, y = r[a, i], r[b, i]
            quotient = x / y
            r[to, i] = np.float32(np.nan) if y == 0 else quotient
    elif operation == NORMALIZED_DIFFERENCE:
        for i in range(n):
            x, y = r[a, i], r[b, i]
            total = x + y
            index = (x - y) / total
            r[to, i] = np.float32(np.nan) if total == 0 else index
    else:
        for i in range(n):
            x, y = np.float64(r[a, i]), np.float64(r[b, i])
            if (x != x) | (y != y):  # also where the other one would decide: 1 to any power
                r[to, i] = np.float32(np.nan)
            else:
                r[to, i] = np.float32(_of_two(operation, x, y))


@njit(cache=True, nogil=True, error_model="numpy")
def _of_two(operation, x, y):
    """In double precision, which makes rounding to single precision the last and only error."""
    if operation == POWER:
        return math.pow(x, y)
    if operation == LOG:
        return math.log(x) / math.log(y)
    if operation == ARCTAN2:
        return math.atan2(x, y)
    if operation == ROUND:  # to y digits, of two as near the even one
        factor = math.pow(10.0, abs(y))
        scaled = x * factor if y >= 0 else x / factor
        rounded = np.rint(scaled) / factor if y >= 0 else np.rint(scaled) * factor
        return rounded if np.isfinite(scaled) else x
    if y == 0:  # MOD
        return x / y
    rest = np.fmod(x, y)
    if rest == 0:
        return math.copysign(0.0, y)
    return rest + y if (y < 0) != (rest < 0) else rest


@njit(cache=True, nogil=True, error_model="numpy")
def _function(operation, r, to, a, n):
    """Transcendental functions in double precision, as above."""
    if operation == EXP:
        for i in range(n):
            r[to, i] = np.float32(math.exp(np.float64(r[a, i])))
    elif operation == LN:
        for i in range(n):
            r[to, i] = np.float32(math.log(np.float64(r[a, i])))
    elif operation == SIN:
        for i in range(n):
            r[to, i] = np.float32(math.sin(np.float64(r[a, i])))
    elif operation == COS:
        for i in range(n):
            r[to, i] = np.float32(math.cos(np.float64(r[a, i])))
    elif operation == TAN:
        for i in range(n):
            r[to, i] = np.float32(math.tan(np.float64(r[a, i])))
    elif operation == ARCSIN:
        for i in range(n):
            r[to, i] = np.float32(math.asin(np.float64(r[a, i])))
    elif operation == ARCCOS:
        for i in range(n):
            r[to, i] = np.float32(math.acos(np.float64(r[a, i])))
    elif operation == ARCTAN:
        for i in range(n):
            r[to, i] = np.float32(math.atan(np.float64(r[a, i])))
    elif operation == SINH:
        for i in range(n):
            r[to, i] = np.float32(math.sinh(np.float64(r[a, i])))
    elif operation == COSH:
        for i in range(n):
            r[to, i] = np.float32(math.cosh(np.float64(r[a, i])))
    elif operation == TANH:
        for i in range(n):
            r[to, i] = np.float32(math.tanh(np.float64(r[a, i])))
    elif operation == ARSINH:
        for i in range(n):
            r[to, i] = np.float32(math.asinh(np.float64(r[a, i])))
    elif operation == ARCOSH:
        for i in range(n):
            r[to, i] = np.float32(math.acosh(np.float64(r[a, i])))
    else:
        for i in range(n):
            r[to, i] = np.float32(math.atanh(np.float64(r[a, i])))


@njit(cache=True, nogil=True)
def _truth(yes, x, y):
    value = np.float32(1) if yes else np.float32(0)
    return value if (x == x) & (y == y) else np.float32(np.nan)


@njit(cache=True, nogil=True)
def _compare(operation, r, to, a, b, n):
    if operation == GT:
        for i in range(n):
            r[to, i] = _truth(r[a, i] > r[b, i], r[a, i], r[b, i])
    elif operation == GTE:
        for i in range(n):
            r[to, i] = _truth(r[a, i] >= r[b, i], r[a, i], r[b, i])
    elif operation == LT:
        for i in range(n):
            r[to, i] = _truth(r[a, i] < r[b, i], r[a, i], r[b, i])
    elif operation == LTE:
        for i in range(n):
            r[to, i] = _truth(r[a, i] <= r[b, i], r[a, i], r[b, i])
    elif operation == EQ:
        for i in range(n):
            r[to, i] = _truth(r[a, i] == r[b, i], r[a, i], r[b, i])
    else:
        for i in range(n):
            r[to, i] = _truth(r[a, i] != r[b, i], r[a, i], r[b, i])


@njit(cache=True, nogil=True)
def _logic(operation, r, to, a, b, n):
    missing, yes, no = np.float32(np.nan), np.float32(1), np.float32(0)
    if operation == AND:
        for i in range(n):
            x, y = r[a, i], r[b, i]
            known = missing if (x != x) | (y != y) else yes
            r[to, i] = no if (x == 0) | (y == 0) else known
    elif operation == OR:
        for i in range(n):
            x, y = r[a, i], r[b, i]
            unknown = (x != x) | (y != y)
            true = ((x == x) & (x != 0)) | ((y == y) & (y != 0))
            r[to, i] = yes if true else (missing if unknown else no)
    else:
        for i in range(n):
            x, y = r[a, i], r[b, i]
            r[to, i] = _truth((x != 0) ^ (y != 0), x, y)


@njit(cache=True, nogil=True)
def _unary(operation, r, to, a, n):
    missing, yes, no = np.float32(np.nan), np.float32(1), np.float32(0)
    if operation == NOT:
        for i in range(n):
            x = r[a, i]
            r[to, i] = missing if x != x else (yes if x == 0 else no)
    elif operation == IS_NODATA:
        for i in range(n):
            x = r[a, i]
            r[to, i] = yes if x != x else no
    elif operation == ABSOLUTE:
        for i in range(n):
            r[to, i] = abs(r[a, i])
    elif operation == SQRT:
        for i in range(n):
            r[to, i] = np.sqrt(r[a, i])
    elif operation == FLOOR:
        for i in range(n):
            r[to, i] = np.floor(r[a, i])
    elif operation == CEIL:
        for i in range(n):
            r[to, i] = np.ceil(r[a, i])
    elif operation == INT:
        for i in range(n):
            r[to, i] = np.trunc(r[a, i])
    elif operation == SGN:
        for i in range(n):
            x = r[a, i]
            r[to, i] = missing if x != x else (yes if x > 0 else (-yes if x < 0 else no))
    elif operation == IS_VALID:
        for i in range(n):
            r[to, i] = yes if np.isfinite(r[a, i]) else no
    else:
        for i in range(n):
            r[to, i] = yes if np.isinf(r[a, i]) else no


@njit(cache=True, nogil=True)
def _choose(operation, r, to, a, b, c, n):
    if operation == MASK:  # data, mask, replacement
        for i in range(n):
            x, removed, other = r[a, i], r[b, i], r[c, i]
            r[to, i] = other if (removed == removed) & (removed != 0) else x
    elif operation == IF:  # condition, accept, reject
        for i in range(n):
            condition, x, y = r[a, i], r[b, i], r[c, i]
            r[to, i] = x if (condition == condition) & (condition != 0) else y
    else:  # CLIP: value, lowest, highest
        for i in range(n):
            x, low, high = r[a, i], r[b, i], r[c, i]
            x = low if x <= low else x  # of two zeros the limit's, as NumPy does: divided by, they differ
            r[to, i] = high if x >= high else x


# ------------------------------------------------------------------------------------------------ reducers


# Values are sorted as whole numbers of the same order (a float's bits, those of negative ones turned): of floats LLVM
# makes masked stores, which cost some processors ten times as much.
LAST_KEY, INFINITE = np.int32(0x7FFFFFFF), np.int32(0x7F800000)


def comparators(size, first, last):
    """(lower row, higher row) of comparators that bring the values of ranks `first` to `last` to their places.

    Batcher's odd-even merge sort (Knuth, TAOCP 5.2.2 M), without the comparators that those ranks do not depend on.
    """
    pairs = []
    p = 1
    while p < size:
        k = p
        while k >= 1:
            for j in range(k % p, size - k, 2 * k):
                for i in range(min(k, size - j - k)):
                    if (i + j) // (2 * p) == (i + j + k) // (2 * p):
                        pairs.append((i + j, i + j + k))
            k //= 2
        p *= 2
    wanted = set(range(first, last + 1))
    kept = []
    for low, high in reversed(pairs):
        if low in wanted or high in wanted:
            wanted |= {low, high}
            kept.append((low, high))
    return kept[::-1]


def middle(size):
    """The two ranks in the middle of an even number of values."""
    return size // 2 - 1, size // 2


def everything(size):
    return 0, size - 1


def sizes(dates):
    """Numbers of rows for which there are networks, from 0 on as far as so many dates may need, at equal distances."""
    step = 4 if dates <= UNROLLED else max(8, -(-dates // 512) * 8)
    return range(0, dates + step, step)


Networks = tuple[int, np.ndarray, np.ndarray, np.ndarray]


@lru_cache(maxsize=64)
def networks(dates: int, complete: bool) -> Networks:
    """How up to so many dates are sorted: see `run`.

    The distance of `sizes`, and for those of more than `UNROLLED` rows where the network of each begins, its
    comparators' lower rows and higher rows.
    """
    begins: list[int] = [0]
    found: list[tuple[int, int]] = []
    for size in sizes(dates):
        if size > UNROLLED:
            found += comparators(size, *(everything(size) if complete else middle(size)))
        begins.append(len(found))
    pairs = np.array(found, np.int32).reshape(-1, 2)
    low, high = np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])
    return sizes(dates).step, np.array(begins, np.int64), low, high


def _written_out(name, ranks):
    """A function (address of the first row, number of rows) that sorts the columns of `RUN` keys in place.

    For each number of rows there is a vector loop with all values in registers; only the `ranks` are put back.
    """

    def network(module, size):
        index, key = ir.IntType(64), ir.VectorType(ir.IntType(32), _LANES)
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [index]), f"{name}_{size}")
        function.linkage = "internal"
        entry, body, end = (function.append_basic_block(part) for part in ("entry", "body", "end"))
        builder = ir.IRBuilder(entry)
        builder.branch(body)
        builder.position_at_end(body)
        column = builder.phi(index)
        column.add_incoming(ir.Constant(index, 0), entry)
        address = builder.add(function.args[0], column)
        places = [
            builder.inttoptr(builder.add(address, ir.Constant(index, 4 * RUN * row)), key.as_pointer())
            for row in range(size)
        ]
        values = [builder.load(place, align=4) for place in places]
        first, last = ranks(size)
        for low, high in comparators(size, first, last):
            x, y = values[low], values[high]
            less = builder.icmp_signed("<", x, y)
            values[low], values[high] = builder.select(less, x, y), builder.select(less, y, x)
        for row in range(first, last + 1):
            builder.store(values[row], places[row], align=4)
        following = builder.add(column, ir.Constant(index, 4 * _LANES))
        column.add_incoming(following, body)
        builder.cbranch(builder.icmp_signed("<", following, ir.Constant(index, 4 * RUN)), body, end)
        builder.position_at_end(end)
        builder.ret_void()
        return function

    @intrinsic
    def sort(_context, address, size):
        def generate(context, builder, signature, arguments):
            done = builder.append_basic_block(f"{name}_done")
            chosen = builder.switch(arguments[1], done)
            for count in sizes(UNROLLED)[1:]:
                case = builder.append_basic_block(f"{name}_{count}")
                chosen.add_case(ir.Constant(ir.IntType(64), count), case)
                with builder.goto_block(case):
                    builder.call(network(builder.module, count), [arguments[0]])
                    builder.branch(done)
            builder.position_at_end(done)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), generate

    return sort


_sort_middle, _sort_all = _written_out("middle", middle), _written_out("every", everything)


@njit(cache=True, nogil=True)
def _sort(address, size, step, complete, begins, low, high):
    """Sorts so many rows of `RUN` keys, by columns: all of them, or so that the two in the middle are right."""
    if size <= UNROLLED:
        if complete:
            _sort_all(address, size)
        else:
            _sort_middle(address, size)
        return
    for q in range(begins[size // step], begins[size // step + 1]):
        a, b = carray(_i32(address + 4 * RUN * low[q]), (RUN,)), carray(_i32(address + 4 * RUN * high[q]), (RUN,))
        for i in range(RUN):
            x, y = a[i], b[i]
            a[i] = min(x, y)
            b[i] = max(x, y)


@njit(cache=True, nogil=True)
def _push(values, stack, valid, counted, n):
    """Puts a piece of a date on a stack, and counts its valid values if nobody else does; whether there are any."""
    some = np.int32(0)
    for i in range(n):
        v = values[i]
        stack[i] = v
        some += np.int32(1) if v == v else np.int32(0)
    if some > 0 and not counted:
        for i in range(n):
            valid[i] += np.int32(1) if values[i] == values[i] else np.int32(0)
    return some > 0


@njit(cache=True, nogil=True)
def _rank(bits, keys, pads, turn, valid, n):
    """Puts a run of a date, given as its bits, on rows that are to be sorted; False where nothing is valid.

    Missing values become what is in `pads`: the last key where all ranks are asked for. For medians (`turn` -1) they
    are the last and the first key in turn, so that the middle of the valid values is in the middle of all.
    """
    known = np.int32(0)
    for i in range(n):
        known += np.int32(0) if np.int32(bits[i] & LAST_KEY) > INFINITE else np.int32(1)
    if known == 0:
        return False
    for i in range(n):
        stored, pad = bits[i], pads[i]
        missing = np.int32(stored & LAST_KEY) > INFINITE
        key = np.int32(stored ^ np.int32(np.int32(stored >> np.int32(31)) & LAST_KEY))
        keys[i] = pad if missing else key
        pads[i] = np.int32(pad ^ turn) if missing else pad
        valid[i] += np.int32(0) if missing else np.int32(1)
    return True


@njit(cache=True, nogil=True)
def _better(kind, stack, t, spare, old, new, n):
    """What a reducer has so far (row `old`), after one more date (row `new`): in turn, see above on masked stores."""
    if kind == MIN:
        for i in range(n):
            v, best = stack[t, i], spare[old, i]
            spare[new, i] = v if (v < best) | (best != best) else best
    elif kind == MAX:
        for i in range(n):
            v, best = stack[t, i], spare[old, i]
            spare[new, i] = v if (v > best) | (best != best) else best
    else:
        for i in range(n):
            v, best = stack[t, i], spare[old, i]
            spare[new, i] = v if v == v else best


@njit(cache=True, nogil=True, error_model="numpy")
def _in_order(kind, stack, valid, spare, wide, out, n):
    """Reducers that take the dates as they come; missing values are left out, nothing left is missing."""
    times, missing = stack.shape[0], np.float32(np.nan)
    if kind == COUNT:  # of finite values
        for i in range(n):
            spare[0, i] = np.float32(valid[i])
        for t in range(times):
            for i in range(n):
                spare[0, i] -= np.float32(1) if np.isinf(stack[t, i]) else np.float32(0)
        for i in range(n):
            out[i] = spare[0, i]
    elif kind <= LAST or kind in (MIN, MAX):
        for i in range(n):
            spare[0, i] = missing
        for k in range(times):
            t = times - 1 - k if kind == FIRST else k
            _better(kind, stack, t, spare, k & 1, 1 - (k & 1), n)
        for i in range(n):
            out[i] = spare[times & 1, i]
    elif kind in (SUM, MEAN):
        for i in range(n):
            spare[0, i] = 0
        for t in range(times):
            for i in range(n):
                v = stack[t, i]
                spare[0, i] += v if v == v else np.float32(0)
        for i in range(n):
            total = spare[0, i] / np.float32(valid[i]) if kind == MEAN else spare[0, i]
            out[i] = missing if valid[i] == 0 else total
    else:
        _spread(kind, stack, valid, wide, out, n)


@njit(cache=True, nogil=True, error_model="numpy")
def _spread(kind, stack, valid, wide, out, n):
    """Sample variance or standard deviation in double precision; one value has none."""
    for i in range(n):
        wide[0, i] = 0
        wide[1, i] = 0
    for t in range(stack.shape[0]):
        for i in range(n):
            v = np.float64(stack[t, i])
            wide[0, i] += v if v == v else 0.0
    for i in range(n):
        wide[0, i] /= valid[i]
    for t in range(stack.shape[0]):
        for i in range(n):
            v = np.float64(stack[t, i])
            apart = v - wide[0, i]
            wide[1, i] += apart * apart if v == v else 0.0  # an infinite value has no distance: the result is missing
    for i in range(n):
        variance = wide[1, i] / (valid[i] - 1) if valid[i] > 1 else np.nan
        out[i] = np.float32(np.sqrt(variance) if kind == SD else variance)


@njit(cache=True, nogil=True)
def _value(key):
    """The value of a key."""
    return np.int32(key ^ ((key >> np.int32(31)) & LAST_KEY)).view(np.float32)


@njit(cache=True, nogil=True)
def _median(below, above, valid, out, n):
    """Medians from the two keys in the middle, of which the lower one is that of an odd number of valid values."""
    for i in range(n):
        x, y = _value(below[i]), _value(above[i])
        both = np.float32(0.5) * (x + y)
        found = x if valid[i] & np.int32(1) else both
        out[i] = np.float32(np.nan) if valid[i] == 0 else found


@njit(cache=True, nogil=True)
def _ranked(kind, probability, keys, valid, out, n):
    """Medians and quantiles (type 7 of Hyndman & Fan 1996) of sorted keys; those of missing values are at the end."""
    for i in range(n):
        m = valid[i]
        if m == 0:
            out[i] = np.float32(np.nan)
        elif kind == MEDIAN:
            middle = _value(keys[m >> 1, i])
            out[i] = middle if m & 1 else np.float32(0.5) * (_value(keys[(m >> 1) - 1, i]) + middle)
        else:
            place = (m - 1) * probability
            low = int(np.floor(place))
            fraction = np.float32(place - low)
            x, y = _value(keys[low, i]), _value(keys[min(low + 1, m - 1), i])
            apart = y - x
            if fraction == 0 or x == y:
                out[i] = x
            elif np.isfinite(apart):
                out[i] = x + apart * fraction
            else:
                out[i] = x * (np.float32(1) - fraction) + y * fraction


# --------------------------------------------------------------------------------------------- the machine


@njit(cache=True, nogil=True)
def _date(
    code, numbers, r, registers, t, starts, planes, factors, maps, tables, absent, allowed, row, rows, start, width,
    spare,
):  # fmt: skip
    """All instructions for one date and a piece."""
    n = rows * width
    for k in range(code.shape[0]):
        operation, to, a, b, c = code[k, 0], code[k, 1], code[k, 2], code[k, 3], code[k, 4]
        if operation == LOAD:
            target = registers + 4 * to * r.shape[1]
            _load(
                starts[a, t], starts[a, t + 1], planes, factors, maps, tables, absent[a], row, rows, start, width,
                target, spare,
            )  # fmt: skip
        elif operation == DATES:
            if allowed[b, t]:
                for i in range(n):
                    r[to, i] = r[a, i]
            else:
                for i in range(n):
                    r[to, i] = np.float32(np.nan)
        elif operation >= EXP:
            _function(operation, r, to, a, n)
        elif operation >= NOT:
            _unary(operation, r, to, a, n)
        elif operation >= AND:
            _logic(operation, r, to, a, b, n)
        elif operation >= GT:
            _compare(operation, r, to, a, b, n)
        elif operation >= ADD and operation <= DIVIDE and numbers[b]:
            _with_number(operation, r, to, a, r[b, 0], n)
        elif operation >= ADD and operation <= DIVIDE and numbers[a]:
            _of_number(operation, r, to, r[a, 0], b, n)
        elif operation >= ADD:
            _arithmetic(operation, r, to, a, b, n)
        else:
            _choose(operation, r, to, a, b, c, n)


@njit(cache=True, nogil=True)
def run(
    code, constants, constant_values, registers, starts, planes, factors, maps, tables, absent, allowed,
    layers, reducers, probabilities, step, begins, low, high, piece, above, below, out,
):  # fmt: skip
    """Evaluates a program on rows `above` to `below` of a rectangle.

    Parameters
    ----------
    code
        int32 (instructions, 5): operation, target, three arguments. An instruction never writes what it reads.
    constants, constant_values
        Registers that hold a number, and the numbers.
    starts
        int32 (inputs, dates + 1): the planes of each input and date, one after the other.
    planes, factors, maps, tables, absent
        See the fields above; `absent` is an input's value where it has no pixels.
    allowed
        bool (sets, dates) for DATES.
    layers
        Registers that are stacked over the dates.
    reducers, probabilities
        int32 (outputs, 2): what and of which stack; quantiles' probabilities.
    step, begins, low, high
        See `networks`. Dates without a valid value in a run are left out there.
    piece
        Pixels that instructions treat at a time: several rows, or a part of one.
    out
        float32 (outputs, rows, columns).
    """
    columns = out.shape[2]
    dates = starts.shape[1] - 1
    stacked = np.zeros(layers.size, np.bool_)  # what is done with each layer
    ranked = np.zeros(layers.size, np.bool_)
    complete = np.zeros(layers.size, np.bool_)
    for m in range(reducers.shape[0]):
        kind, j = reducers[m]
        if kind >= MEDIAN:
            ranked[j] = True
        else:
            stacked[j] = True
    for m in range(reducers.shape[0]):  # a stack of which not only the median is asked for is sorted as a whole
        if reducers[m, 0] > MEDIAN:
            complete[reducers[m, 1]] = True
    runs, depth = (piece + RUN - 1) // RUN, max(step * (begins.size - 2), 1)
    register = np.empty((registers, piece), np.float32)
    stack = np.empty((layers.size if stacked.any() else 0, dates, piece), np.float32)
    filled = np.empty(layers.size, np.int64)
    keys = np.empty((layers.size if ranked.any() else 0, runs, depth, RUN), np.int32)
    heights = np.empty((layers.size, runs), np.int64)
    pads = np.empty((layers.size, runs * RUN), np.int32)
    valid = np.empty((layers.size, runs * RUN), np.int32)
    spare = np.empty((4, piece), np.float32)
    wide = np.empty((2, piece), np.float64)
    results = np.empty((reducers.shape[0], piece), np.float32)
    address, spare_address = register.ctypes.data, spare.ctypes.data
    stack_at, keys_at, pads_at, valid_at = stack.ctypes.data, keys.ctypes.data, pads.ctypes.data, valid.ctypes.data
    numbers = np.zeros(registers, np.bool_)
    for k in range(constants.size):
        register[constants[k], :] = constant_values[k]
        numbers[constants[k]] = True
    width = min(columns, piece)
    together = max(1, piece // width)
    for row in range(above, below, together):
        some = min(together, below - row)
        for start in range(0, columns, width):
            wide_here = min(width, columns - start)
            n = some * wide_here
            filled[:] = 0
            heights[:] = 0
            valid[:] = 0
            pads[:] = LAST_KEY
            for t in range(dates):
                _date(
                    code, numbers, register, address, t, starts, planes, factors, maps, tables, absent, allowed, row,
                    some, start, wide_here, spare_address,
                )  # fmt: skip
                for j in range(layers.size):
                    here = address + 4 * layers[j] * piece
                    if stacked[j]:
                        layer = carray(_f32(stack_at + 4 * (j * dates + filled[j]) * piece), (piece,))
                        count = carray(_i32(valid_at + 4 * j * runs * RUN), (piece,))
                        if _push(carray(_f32(here), (piece,)), layer, count, ranked[j], n):
                            filled[j] += 1
                    if ranked[j]:
                        turn = np.int32(0) if complete[j] else np.int32(-1)
                        for k in range((n + RUN - 1) // RUN):
                            run = 4 * RUN * (j * runs + k)
                            if _rank(
                                carray(_i32(here + 4 * RUN * k), (RUN,)),
                                carray(_i32(keys_at + run * depth + 4 * RUN * heights[j, k]), (RUN,)),
                                carray(_i32(pads_at + run), (RUN,)), turn, carray(_i32(valid_at + run), (RUN,)),
                                min(RUN, n - k * RUN),
                            ):  # fmt: skip
                                heights[j, k] += 1
            for j in range(layers.size):
                if stacked[j]:
                    for m in range(reducers.shape[0]):
                        if reducers[m, 1] == j and reducers[m, 0] < MEDIAN:
                            _in_order(reducers[m, 0], stack[j, : filled[j]], valid[j], spare, wide, results[m], n)
                if ranked[j]:
                    for k in range((n + RUN - 1) // RUN):
                        _reduce(
                            j, reducers, probabilities, keys[j, k], heights[j, k], complete[j],
                            pads[j, k * RUN : (k + 1) * RUN], valid[j, k * RUN : (k + 1) * RUN], step, begins, low,
                            high, results[:, k * RUN :], min(RUN, n - k * RUN),
                        )  # fmt: skip
            for m in range(reducers.shape[0]):
                for k in range(some):
                    for i in range(wide_here):
                        out[m, row + k, start + i] = results[m, k * wide_here + i]


@njit(cache=True, nogil=True)
def _reduce(
    layer, reducers, probabilities, keys, height, complete, pads, valid, step, begins, low, high, results, n
):  # fmt: skip
    """Medians and quantiles of a layer on a run."""
    size = max(step, (height + step - 1) // step * step)
    for row in range(height, size):
        for i in range(n):
            keys[row, i] = pads[i]
            if not complete:
                pads[i] = ~pads[i]
    _sort(keys.ctypes.data, size, step, complete, begins, low, high)
    for m in range(reducers.shape[0]):
        if reducers[m, 1] == layer and reducers[m, 0] >= MEDIAN:
            if complete:
                _ranked(reducers[m, 0], probabilities[m], keys, valid, results[m], n)
            else:
                _median(keys[size // 2 - 1], keys[size // 2], valid, results[m], n)
