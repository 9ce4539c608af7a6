"""The engine's compiled code: expressions over stored integers, and reducers over time.

An evaluation runs a short program (see `fuse`) over pieces of a row that stay in the processor's first cache: stored
values of every date are loaded and made physical, go through the program's vector instructions, and end as one layer of
a stack; then the stack is reduced. Nothing is compiled for a chain: the instructions are, once, and kept on disk.

Medians and quantiles come from sorting networks over the dates, many pixels at a time (Batcher 1968, odd-even merge).

All of it is in one file, with the numbers it uses: Numba compiles again when the function's own file has changed, not
when one that it imports from has.
"""

from __future__ import annotations

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic

# instructions: (operation, target register, arguments …)
LOAD, DATES, MASK, IF, CLIP = range(5)
ADD, SUBTRACT, MULTIPLY, DIVIDE, NORMALIZED_DIFFERENCE = range(10, 15)
GT, GTE, LT, LTE, EQ, NEQ = range(20, 26)
AND, OR, XOR = range(30, 33)
NOT, IS_NODATA, ABSOLUTE, SQRT, FLOOR, CEIL = range(40, 46)

# what a stack is reduced to
FIRST, LAST, MEAN, SUM, MIN, MAX, COUNT, VARIANCE, SD = range(9)
MEDIAN, QUANTILE = 20, 21
"""From 20 on: of the sorted values."""

# fields of a plane (stored values of one band of one scene): integers
ADDRESS, STRIDE, KIND, NODATA, TABLE, ROWS, COLUMNS, LOW, HIGH, CONTIGUOUS = range(10)
# and floating point
SCALE, OFFSET = range(2)
KINDS = {"|u1": 0, "<u2": 1, "<i2": 2, "<f4": 3}
NOTHING = -(1 << 40)
"""Where there is no nodata value."""


def _pointer_to(kind):
    @intrinsic
    def pointer(_context, address):
        def generate(context, builder, signature, arguments):
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(types.int64), generate

    return pointer


_u8, _u16 = _pointer_to(types.uint8), _pointer_to(types.uint16)
_i16, _f32 = _pointer_to(types.int16), _pointer_to(types.float32)


@njit(cache=True, nogil=True)
def undo_differences(stored, out):
    """Horizontal differencing undone (TIFF 6.0, predictor 2): running sums along rows, of unsigned integers."""
    rows, columns = stored.shape
    row = 0
    while row + 4 <= rows:  # four rows at once: a sum has to wait for the one before it
        a = b = c = d = stored.dtype.type(0)
        for col in range(columns):
            a += stored[row, col]
            b += stored[row + 1, col]
            c += stored[row + 2, col]
            d += stored[row + 3, col]
            out[row, col] = a
            out[row + 1, col] = b
            out[row + 2, col] = c
            out[row + 3, col] = d
        row += 4
    for r in range(row, rows):
        a = stored.dtype.type(0)
        for col in range(columns):
            a += stored[r, col]
            out[r, col] = a


# ------------------------------------------------------------------------------------------------- loading


@njit(cache=True, nogil=True, error_model="numpy")
def _straight(values, nodata, scale, offset, out):
    """Physical values of stored integers that lie side by side."""
    for i in range(out.size):
        v = values[i]
        out[i] = np.float32(np.float64(v) * scale + offset) if v != nodata else np.float32(np.nan)


@njit(cache=True, nogil=True, error_model="numpy")
def _straight_all(values, scale, offset, out):
    for i in range(out.size):
        out[i] = np.float32(np.float64(values[i]) * scale + offset)


@njit(cache=True, nogil=True)
def _look_up(values, table, out):
    for i in range(out.size):
        out[i] = table[values[i]]


@njit(cache=True, nogil=True)
def _integers(values, plane, scale, offset, tables, columns, out, contiguous):
    """One row of a plane of unsigned integers: physical values, or what a table says of them."""
    nodata, table = plane[NODATA], plane[TABLE]
    if contiguous:
        if table >= 0:
            _look_up(values, tables[table:], out)
        elif nodata == NOTHING:
            _straight_all(values, scale, offset, out)
        else:
            _straight(values, nodata, scale, offset, out)
        return
    if table >= 0:
        for i in range(out.size):
            out[i] = tables[table + values[columns[i]]]
    else:
        for i in range(out.size):
            v = np.int64(values[columns[i]])
            out[i] = np.float32(np.float64(v) * scale + offset) if v != nodata else np.float32(np.nan)


@njit(cache=True, nogil=True)
def _floats(values, plane, scale, offset, columns, out, contiguous):
    nodata = plane[NODATA]
    for i in range(out.size):
        v = values[i if contiguous else columns[i]]
        physical = np.float32(np.float64(v) * scale + offset)
        good = np.isfinite(physical) and not (nodata != NOTHING and v == np.float32(nodata))
        out[i] = physical if good else np.float32(np.nan)


@njit(cache=True, nogil=True)
def _plane_row(plane, scale, offset, maps, tables, absent, row, start, out):
    """A piece of a row of one plane; `absent` where the plane has no pixels."""
    stored = maps[plane[ROWS] + row]
    low = max(plane[LOW], start)
    high = min(plane[HIGH], start + out.size)
    if stored < 0 or low >= high:
        out[:] = absent
        return
    out[: low - start] = absent
    out[high - start :] = absent
    piece = out[low - start : high - start]
    contiguous = plane[CONTIGUOUS] != 0
    at = plane[ADDRESS] + stored * plane[STRIDE]
    first = low - plane[LOW] if contiguous else 0
    columns = maps[plane[COLUMNS] + low : plane[COLUMNS] + high]
    length = piece.size if contiguous else 1 << 30
    kind = plane[KIND]
    if kind == 0:
        _integers(carray(_u8(at + first), (length,)), plane, scale, offset, tables, columns, piece, contiguous)
    elif kind == 1:
        _integers(carray(_u16(at + 2 * first), (length,)), plane, scale, offset, tables, columns, piece, contiguous)
    elif kind == 2:
        _signed(carray(_i16(at + 2 * first), (length,)), plane, scale, offset, tables, columns, piece, contiguous)
    else:
        _floats(carray(_f32(at + 4 * first), (length,)), plane, scale, offset, columns, piece, contiguous)


@njit(cache=True, nogil=True)
def _signed(values, plane, scale, offset, tables, columns, out, contiguous):
    nodata, table = plane[NODATA], plane[TABLE]
    for i in range(out.size):
        v = np.int64(values[i if contiguous else columns[i]])
        if table >= 0:
            out[i] = tables[table + (v & 0xFFFF)]
        else:
            out[i] = np.float32(np.float64(v) * scale + offset) if v != nodata else np.float32(np.nan)


@njit(cache=True, nogil=True)
def _has_data(plane, scale, offset, maps, row, start, out):
    """1 where a plane has a valid stored value, else 0."""
    bare = plane.copy()
    bare[TABLE] = -1
    _plane_row(bare, scale, offset, maps, np.empty(0, np.float32), np.float32(np.nan), row, start, out)
    for i in range(out.size):
        out[i] = np.float32(0) if np.isnan(out[i]) else np.float32(1)


@njit(cache=True, nogil=True)
def _load(first, last, planes, factors, maps, tables, absent, row, start, spare, out):
    """A band of one date: of several scenes of an overpass, the first that has data at a pixel."""
    if first == last:
        out[:] = absent
        return
    _plane_row(planes[first], factors[first, SCALE], factors[first, OFFSET], maps, tables, absent, row, start, out)
    if last == first + 1:
        return
    got, valid, more = spare[0, : out.size], spare[1, : out.size], spare[2, : out.size]
    _has_data(planes[first], factors[first, SCALE], factors[first, OFFSET], maps, row, start, got)
    for p in range(first + 1, last):
        _has_data(planes[p], factors[p, SCALE], factors[p, OFFSET], maps, row, start, valid)
        _plane_row(planes[p], factors[p, SCALE], factors[p, OFFSET], maps, tables, absent, row, start, more)
        for i in range(out.size):
            if got[i] == 0 and valid[i] == 1:
                out[i] = more[i]
                got[i] = 1


@njit(cache=True, nogil=True)
def differs(values, nodata):
    """Whether a stored value is not the one that means missing."""
    for row in range(values.shape[0]):
        for col in range(values.shape[1]):
            if values[row, col] != nodata:
                return True
    return False


@njit(cache=True, nogil=True)
def all_removed(first, last, planes, factors, maps, tables, absent, rows, width):
    """Whether a mask (a table of a band's stored values) is true everywhere on the rectangle; missing is not true."""
    out = np.empty(256, np.float32)
    spare = np.empty((3, 256), np.float32)
    for row in range(rows):
        for start in range(0, width, 256):
            piece = out[: min(256, width - start)]
            _load(first, last, planes, factors, maps, tables, absent, row, start, spare, piece)
            for i in range(piece.size):
                if np.isnan(piece[i]) or piece[i] == 0:
                    return False
    return True


# -------------------------------------------------------------------------------------------- instructions
# Missing values are NaN and truth values 1 and 0, as in `operators.elementwise`, whose numbers these are bit by bit.


@njit(cache=True, nogil=True, error_model="numpy")
def _arithmetic(operation, a, b, out):
    if operation == ADD:
        for i in range(out.size):
            out[i] = a[i] + b[i]
    elif operation == SUBTRACT:
        for i in range(out.size):
            out[i] = a[i] - b[i]
    elif operation == MULTIPLY:
        for i in range(out.size):
            out[i] = a[i] * b[i]
    elif operation == DIVIDE:
        for i in range(out.size):
            out[i] = a[i] / b[i]
    else:
        for i in range(out.size):
            total = a[i] + b[i]
            index = (a[i] - b[i]) / total
            out[i] = np.float32(np.nan) if total == 0 else index


@njit(cache=True, nogil=True)
def _truth(yes, a, b):
    value = np.float32(1) if yes else np.float32(0)
    return value if (a == a) & (b == b) else np.float32(np.nan)


@njit(cache=True, nogil=True)
def _compare(operation, a, b, out):
    if operation == GT:
        for i in range(out.size):
            out[i] = _truth(a[i] > b[i], a[i], b[i])
    elif operation == GTE:
        for i in range(out.size):
            out[i] = _truth(a[i] >= b[i], a[i], b[i])
    elif operation == LT:
        for i in range(out.size):
            out[i] = _truth(a[i] < b[i], a[i], b[i])
    elif operation == LTE:
        for i in range(out.size):
            out[i] = _truth(a[i] <= b[i], a[i], b[i])
    elif operation == EQ:
        for i in range(out.size):
            out[i] = _truth(a[i] == b[i], a[i], b[i])
    else:
        for i in range(out.size):
            out[i] = _truth(a[i] != b[i], a[i], b[i])


@njit(cache=True, nogil=True)
def _logic(operation, a, b, out):
    missing, yes, no = np.float32(np.nan), np.float32(1), np.float32(0)
    if operation == AND:
        for i in range(out.size):
            known = missing if (a[i] != a[i]) | (b[i] != b[i]) else yes
            out[i] = no if (a[i] == 0) | (b[i] == 0) else known
    elif operation == OR:
        for i in range(out.size):
            unknown = (a[i] != a[i]) | (b[i] != b[i])
            true = ((a[i] == a[i]) & (a[i] != 0)) | ((b[i] == b[i]) & (b[i] != 0))
            out[i] = yes if true else (missing if unknown else no)
    else:
        for i in range(out.size):
            out[i] = _truth((a[i] != 0) ^ (b[i] != 0), a[i], b[i])


@njit(cache=True, nogil=True)
def _unary(operation, a, out):
    missing, yes, no = np.float32(np.nan), np.float32(1), np.float32(0)
    if operation == NOT:
        for i in range(out.size):
            out[i] = missing if a[i] != a[i] else (yes if a[i] == 0 else no)
    elif operation == IS_NODATA:
        for i in range(out.size):
            out[i] = yes if a[i] != a[i] else no
    elif operation == ABSOLUTE:
        for i in range(out.size):
            out[i] = abs(a[i])
    elif operation == SQRT:
        for i in range(out.size):
            out[i] = np.sqrt(a[i])
    elif operation == FLOOR:
        for i in range(out.size):
            out[i] = np.floor(a[i])
    else:
        for i in range(out.size):
            out[i] = np.ceil(a[i])


@njit(cache=True, nogil=True)
def _choose(operation, a, b, c, out):
    if operation == MASK:  # data, mask, replacement
        for i in range(out.size):
            out[i] = c[i] if (b[i] == b[i]) & (b[i] != 0) else a[i]
    elif operation == IF:  # condition, accept, reject
        for i in range(out.size):
            out[i] = b[i] if (a[i] == a[i]) & (a[i] != 0) else c[i]
    else:  # CLIP: value, lowest, highest
        for i in range(out.size):
            v = b[i] if a[i] < b[i] else a[i]
            out[i] = c[i] if v > c[i] else v


# ------------------------------------------------------------------------------------------------ reducers


# Values are sorted as whole numbers of the same order (a float's bits, those of negative ones turned): of floats LLVM
# makes masked stores, which cost some processors ten times as much.
LAST_KEY = np.int32(0x7FFFFFFF)


@njit(cache=True, nogil=True)
def _turned(bits):
    """Bits of a float to a whole number of the same order, and back."""
    return bits ^ ((bits >> np.int32(31)) & LAST_KEY)


@njit(cache=True, nogil=True)
def _sort(keys, low, high):
    """Sorts along the first axis, by a network of comparators (rows `low`, rows `high`)."""
    for q in range(low.size):
        a, b = keys[low[q]], keys[high[q]]
        for i in range(a.size):
            x, y = a[i], b[i]
            a[i] = min(x, y)
            b[i] = max(x, y)


@njit(cache=True, nogil=True)
def _sorted(stack, keys, low, high):
    """The values of a stack in ascending order, the missing ones at the end; `keys` is the same memory as integers."""
    for t in range(stack.shape[0]):
        for i in range(stack.shape[1]):
            key = _turned(keys[t, i])
            keys[t, i] = key if stack[t, i] == stack[t, i] else LAST_KEY
    _sort(keys, low, high)
    for t in range(stack.shape[0]):
        for i in range(stack.shape[1]):
            keys[t, i] = _turned(keys[t, i])


@njit(cache=True, nogil=True)
def _count(stack, valid):
    valid[:] = 0
    for t in range(stack.shape[0]):
        row = stack[t]
        for i in range(valid.size):
            valid[i] += np.int32(1) if row[i] == row[i] else np.int32(0)


@njit(cache=True, nogil=True)
def _better(kind, row, now, out):
    """What a reducer has so far, after one more date."""
    if kind == MIN:
        for i in range(out.size):
            out[i] = row[i] if (row[i] < now[i]) | (now[i] != now[i]) else now[i]
    elif kind == MAX:
        for i in range(out.size):
            out[i] = row[i] if (row[i] > now[i]) | (now[i] != now[i]) else now[i]
    else:
        for i in range(out.size):
            out[i] = row[i] if row[i] == row[i] else now[i]


@njit(cache=True, nogil=True, error_model="numpy")
def _in_order(kind, stack, valid, spare, wide, out):
    """Reducers that take the dates as they come; missing values are left out, nothing left is missing."""
    times, missing = stack.shape[0], np.float32(np.nan)
    if kind == COUNT:
        for i in range(out.size):
            out[i] = np.float32(valid[i])
    elif kind <= LAST or kind in (MIN, MAX):
        now, then = spare[0, : out.size], spare[1, : out.size]  # in turn: see above on masked stores
        now[:] = missing
        for k in range(times):
            _better(kind, stack[times - 1 - k] if kind == FIRST else stack[k], now, then)
            now, then = then, now
        out[:] = now
    elif kind in (SUM, MEAN):
        out[:] = 0
        for t in range(times):
            row = stack[t]
            for i in range(out.size):
                out[i] += row[i] if row[i] == row[i] else np.float32(0)
        if kind == MEAN:
            for i in range(out.size):
                out[i] /= np.float32(valid[i])
    else:
        _spread(kind, stack, valid, wide, out)
    if kind != COUNT:
        for i in range(out.size):
            out[i] = missing if valid[i] == 0 else out[i]


@njit(cache=True, nogil=True, error_model="numpy")
def _spread(kind, stack, valid, mean, out):
    """Sample variance or standard deviation in double precision; one value has none."""
    total = np.zeros(out.size)
    mean[: out.size] = 0
    for t in range(stack.shape[0]):
        row = stack[t]
        for i in range(out.size):
            mean[i] += np.float64(row[i]) if row[i] == row[i] else 0.0
    for i in range(out.size):
        mean[i] /= valid[i]
    for t in range(stack.shape[0]):
        row = stack[t]
        for i in range(out.size):
            apart = np.float64(row[i]) - mean[i]
            total[i] += apart * apart if row[i] == row[i] else 0.0
    for i in range(out.size):
        variance = total[i] / (valid[i] - 1) if valid[i] > 1 else np.nan
        out[i] = np.float32(np.sqrt(variance) if kind == SD else variance)


@njit(cache=True, nogil=True)
def _ranked(kind, probability, stack, valid, out):
    """Medians and quantiles (type 7 of Hyndman & Fan 1996) of sorted values; the missing ones are at the end."""
    for i in range(out.size):
        n = valid[i]
        if n == 0:
            out[i] = np.float32(np.nan)
        elif kind == MEDIAN:
            half = n >> 1
            out[i] = stack[half, i] if n & 1 else np.float32(0.5) * (stack[half - 1, i] + stack[half, i])
        else:
            place = (n - 1) * probability
            low = int(np.floor(place))
            fraction = np.float32(place - low)
            a = stack[low, i]
            out[i] = a if fraction == 0 else a + (stack[min(low + 1, n - 1), i] - a) * fraction


# --------------------------------------------------------------------------------------------- the machine


@njit(cache=True, nogil=True)
def run(
    code, constants, constant_values, registers, starts, planes, factors, maps, tables, absent, allowed,
    layers, reducers, probabilities, low, high, piece, out,
):  # fmt: skip
    """Evaluates a program on a rectangle.

    Parameters
    ----------
    code
        int32 (instructions, 5): operation, target, three arguments. Registers are written once in a date.
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
    low, high
        The sorting network.
    piece
        Pixels that are treated at a time.
    out
        float32 (outputs, rows, columns).
    """
    rows, columns = out.shape[1:]
    dates = starts.shape[1] - 1
    register = np.empty((registers, piece), np.float32)
    stack = np.empty((layers.size, dates, piece), np.float32)
    keys = stack.view(np.int32)
    spare = np.empty((3, piece), np.float32)
    wide = np.empty(piece, np.float64)
    valid = np.empty(piece, np.int32)
    for k in range(constants.size):
        register[constants[k], :] = constant_values[k]
    for row in range(rows):
        for start in range(0, columns, piece):
            n = min(piece, columns - start)
            for t in range(dates):
                for k in range(code.shape[0]):
                    operation = code[k, 0]
                    target = register[code[k, 1], :n]
                    a = register[code[k, 2], :n]
                    if operation == LOAD:
                        slot = code[k, 2]
                        _load(
                            starts[slot, t], starts[slot, t + 1], planes, factors, maps, tables, absent[slot],
                            row, start, spare, target,
                        )  # fmt: skip
                    elif operation == DATES:
                        if allowed[code[k, 3], t]:
                            target[:] = a
                        else:
                            target[:] = np.float32(np.nan)
                    elif operation >= NOT:
                        _unary(operation, a, target)
                    elif operation >= AND:
                        _logic(operation, a, register[code[k, 3], :n], target)
                    elif operation >= GT:
                        _compare(operation, a, register[code[k, 3], :n], target)
                    elif operation >= ADD:
                        _arithmetic(operation, a, register[code[k, 3], :n], target)
                    else:
                        _choose(operation, a, register[code[k, 3], :n], register[code[k, 4], :n], target)
                for j in range(layers.size):
                    stack[j, t, :n] = register[layers[j], :n]
            for j in range(layers.size):
                values = stack[j, :, :n]
                _count(values, valid[:n])
                ranked = False
                for m in range(reducers.shape[0]):
                    if reducers[m, 1] != j:
                        continue
                    if reducers[m, 0] >= MEDIAN:
                        ranked = True
                    else:
                        _in_order(reducers[m, 0], values, valid[:n], spare, wide, out[m, row, start : start + n])
                if not ranked:
                    continue
                _sorted(values, keys[j, :, :n], low, high)
                for m in range(reducers.shape[0]):
                    if reducers[m, 1] == j and reducers[m, 0] >= MEDIAN:
                        kind, p = reducers[m, 0], probabilities[m]
                        _ranked(kind, p, values, valid[:n], out[m, row, start : start + n])
