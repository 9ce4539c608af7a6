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
LOAD, DATES, SKIP, MASK, IF, CLIP = range(6)
ADD, SUBTRACT, MULTIPLY, DIVIDE, NORMALIZED_DIFFERENCE = range(10, 15)
GT, GTE, LT, LTE, EQ, NEQ = range(20, 26)
AND, OR, XOR = range(30, 33)
NOT, IS_NODATA, ABSOLUTE, SQRT, FLOOR, CEIL = range(40, 46)

# what a stack is reduced to
FIRST, LAST, MEAN, SUM, MIN, MAX, COUNT, VARIANCE, SD = range(9)
MEDIAN, QUANTILE = 20, 21
"""From 20 on: of the sorted values."""

# fields of a plane (stored values of one band of one scene): integers
ADDRESS, STRIDE, KIND, NODATA, TABLE, ROWS, COLUMNS, LOW, HIGH, ORDER = range(10)
# how the stored values lie in a row: by a map; side by side; each for two pixels (+1: the first for one)
MAPPED, STRAIGHT, DOUBLED = range(3)
# and floating point
SCALE, OFFSET = range(2)
KINDS = {"|u1": 0, "<u2": 1, "<i2": 2, "<f4": 3}
AS_IS = 4
"""Single precision that is a result already: infinity is a value, in files it is none."""
EVERY_SIZE = 64
"""Up to so many dates there is a sorting network for every number of them."""
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


# Rows of registers are named by their number, not cut out as arrays: that would count references for every instruction.

# ------------------------------------------------------------------------------------------------- loading


@njit(cache=True, nogil=True)
def _physical(values, scale, offset, nodata, out):
    """Physical values of stored integers that lie side by side."""
    nodata = np.int32(nodata)
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
def _floats(values, straight, nodata, scale, offset, maps, at, out):
    for i in range(out.size):
        v = values[i if straight else maps[at + i]]
        physical = np.float32(np.float64(v) * scale + offset)
        good = np.isfinite(physical) and not (nodata != NOTHING and v == np.float32(nodata))
        out[i] = physical if good else np.float32(np.nan)


@njit(cache=True, nogil=True)
def _integers(values, order, nodata, scale, offset, tables, table, maps, at, phase, out, scratch):
    if order == STRAIGHT and table < 0:
        _physical(values, scale, offset, nodata, out)
    elif order == STRAIGHT:
        _look_up(values, tables, table, out)
    elif order >= DOUBLED and table >= 0:
        _doubled(values, tables, table, phase, out, scratch)
    else:
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
            _integers(bytes_, order, nodata, scale, offset, tables, table, maps, columns, phase, inside, aside)
        elif kind == 1:
            words = carray(_u16(at + 2 * skip), many)
            _integers(words, order, nodata, scale, offset, tables, table, maps, columns, phase, inside, aside)
        elif kind == 2:
            signed = carray(_i16(at + 2 * skip), many)
            _gather(signed, order == STRAIGHT, nodata, scale, offset, tables, table, maps, columns, inside)
        elif kind == 3:
            _floats(carray(_f32(at + 4 * skip), many), order == STRAIGHT, nodata, scale, offset, maps, columns, inside)
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
    """Whether a stored value is not the one that means missing."""
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
    else:
        for i in range(n):
            x, y = r[a, i], r[b, i]
            total = x + y
            index = (x - y) / total
            r[to, i] = np.float32(np.nan) if total == 0 else index


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
    else:
        for i in range(n):
            r[to, i] = np.ceil(r[a, i])


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
            x = low if x < low else x
            r[to, i] = high if x > high else x


# ------------------------------------------------------------------------------------------------ reducers


# Values are sorted as whole numbers of the same order (a float's bits, those of negative ones turned): of floats LLVM
# makes masked stores, which cost some processors ten times as much.
LAST_KEY = np.int32(0x7FFFFFFF)


@njit(cache=True, nogil=True)
def _sort(keys, low, high, n):
    """Sorts along the first axis, by a network of comparators (rows `low`, rows `high`)."""
    for q in range(low.size):
        a, b = low[q], high[q]
        for i in range(n):
            x, y = keys[a, i], keys[b, i]
            keys[a, i] = min(x, y)
            keys[b, i] = max(x, y)


@njit(cache=True, nogil=True)
def _keys_of(bits, start, keys, n):
    """Keys of a piece of a stack, given as its bits, without dates that have nothing there; how many dates are left.

    Missing values become the last key.
    """
    height = 0
    for t in range(bits.shape[0]):
        known = np.int32(0)
        for i in range(n):
            stored = bits[t, start + i]
            missing = np.int32(stored & LAST_KEY) > np.int32(0x7F800000)
            key = np.int32(stored ^ np.int32(np.int32(stored >> np.int32(31)) & LAST_KEY))
            keys[height, i] = LAST_KEY if missing else key
            known += np.int32(0) if missing else np.int32(1)
        if known > 0:
            height += 1
    if keys.shape[0] > EVERY_SIZE:  # the network may be for more
        keys[height:] = LAST_KEY
    return height


@njit(cache=True, nogil=True)
def _push(stack, layer, height, r, a, valid, n):
    """Puts a register on a stack and counts its valid values; whether there are any."""
    some = np.int32(0)
    for i in range(n):
        v = r[a, i]
        known = np.int32(1) if v == v else np.int32(0)
        stack[layer, height, i] = v
        valid[layer, i] += known
        some += known
    return some > 0


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
    if kind == COUNT:
        for i in range(n):
            out[i] = np.float32(valid[i])
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
            apart = np.float64(stack[t, i]) - wide[0, i]
            wide[1, i] += apart * apart if apart == apart else 0.0
    for i in range(n):
        variance = wide[1, i] / (valid[i] - 1) if valid[i] > 1 else np.nan
        out[i] = np.float32(np.sqrt(variance) if kind == SD else variance)


@njit(cache=True, nogil=True)
def _value(key):
    """The value of a key."""
    return np.int32(key ^ ((key >> np.int32(31)) & LAST_KEY)).view(np.float32)


@njit(cache=True, nogil=True)
def _ranked(kind, probability, keys, valid, first, out, n):
    """Medians and quantiles (type 7 of Hyndman & Fan 1996) of sorted keys; those of missing values are at the end."""
    for i in range(n):
        m = valid[first + i]
        if m == 0:
            out[first + i] = np.float32(np.nan)
        elif kind == MEDIAN:
            middle = _value(keys[m >> 1, i])
            out[first + i] = middle if m & 1 else np.float32(0.5) * (_value(keys[(m >> 1) - 1, i]) + middle)
        else:
            place = (m - 1) * probability
            low = int(np.floor(place))
            fraction = np.float32(place - low)
            x = _value(keys[low, i])
            out[first + i] = x if fraction == 0 else x + (_value(keys[min(low + 1, m - 1), i]) - x) * fraction


# --------------------------------------------------------------------------------------------- the machine


@njit(cache=True, nogil=True)
def _all_true(r, a, n):
    false = np.int32(0)
    for i in range(n):
        x = r[a, i]
        false += np.int32(0) if (x == x) & (x != 0) else np.int32(1)
    return false == 0


@njit(cache=True, nogil=True)
def _date(
    code, r, registers, t, starts, planes, factors, maps, tables, absent, allowed, row, rows, start, width, spare
):  # fmt: skip
    """All instructions for one date and a piece; False where it has no values there."""
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
        elif operation == SKIP:
            if _all_true(r, a, n):
                return False
        elif operation >= NOT:
            _unary(operation, r, to, a, n)
        elif operation >= AND:
            _logic(operation, r, to, a, b, n)
        elif operation >= GT:
            _compare(operation, r, to, a, b, n)
        elif operation >= ADD:
            _arithmetic(operation, r, to, a, b, n)
        else:
            _choose(operation, r, to, a, b, c, n)
    return True


@njit(cache=True, nogil=True)
def run(
    code, constants, constant_values, registers, starts, planes, factors, maps, tables, absent, allowed,
    layers, reducers, probabilities, pairs, low, high, piece, at_once, out,
):  # fmt: skip
    """Evaluates a program on a rectangle.

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
    pairs, low, high
        Sorting networks: where that of so many dates begins, and its comparators. Dates without a valid value in a
        piece are left out there.
    piece, at_once
        Pixels that instructions treat at a time (several rows, or a part of one), and that are sorted at a time.
    out
        float32 (outputs, rows, columns).
    """
    rows, columns = out.shape[1:]
    dates = starts.shape[1] - 1
    register = np.empty((registers, piece), np.float32)
    stack = np.empty((layers.size, dates, piece), np.float32)
    bits = stack.view(np.int32)
    keys = np.empty((dates + 1, at_once), np.int32)
    spare = np.empty((4, piece), np.float32)
    wide = np.empty((2, piece), np.float64)
    address, spare_address = register.ctypes.data, spare.ctypes.data
    valid = np.empty((layers.size, piece), np.int32)
    filled = np.empty(layers.size, np.int64)
    results = np.empty((reducers.shape[0], piece), np.float32)
    for k in range(constants.size):
        register[constants[k], :] = constant_values[k]
    width = min(columns, piece)
    together = max(1, piece // width)
    for row in range(0, rows, together):
        some = min(together, rows - row)
        for start in range(0, columns, width):
            wide_here = min(width, columns - start)
            n = some * wide_here
            filled[:] = 0
            valid[:] = 0
            for t in range(dates):
                if _date(
                    code, register, address, t, starts, planes, factors, maps, tables, absent, allowed, row, some,
                    start, wide_here, spare_address,
                ):  # fmt: skip
                    for j in range(layers.size):
                        if _push(stack, j, filled[j], register, layers[j], valid, n):
                            filled[j] += 1
            for j in range(layers.size):
                _reduce(
                    j, reducers, probabilities, stack[j, : filled[j]], bits[j, : filled[j]], valid[j], keys, pairs, low,
                    high, spare, wide, at_once, results, n,
                )  # fmt: skip
            for m in range(reducers.shape[0]):
                for k in range(some):
                    for i in range(wide_here):
                        out[m, row + k, start + i] = results[m, k * wide_here + i]


@njit(cache=True, nogil=True)
def _reduce(
    layer, reducers, probabilities, stack, bits, valid, keys, pairs, low, high, spare, wide, at_once, results, n
):  # fmt: skip
    """All reducers of one layer of a piece."""
    ranked = False
    for m in range(reducers.shape[0]):
        if reducers[m, 1] == layer:
            if reducers[m, 0] >= MEDIAN:
                ranked = True
            else:
                _in_order(reducers[m, 0], stack, valid, spare, wide, results[m], n)
    if not ranked:
        return
    for first in range(0, n, at_once):
        size = min(at_once, n - first)
        height = _keys_of(bits, first, keys, size)
        _sort(keys, low[pairs[height] : pairs[height + 1]], high[pairs[height] : pairs[height + 1]], size)
        for m in range(reducers.shape[0]):
            if reducers[m, 1] == layer and reducers[m, 0] >= MEDIAN:
                _ranked(reducers[m, 0], probabilities[m], keys, valid, first, results[m], size)


# ------------------------------------------------------------------------------------- windows and their blocks


@njit(cache=True, nogil=True)
def between(nodes, first_row, first_column, step, rows, columns):
    """Linear interpolation between the nodes of a lattice, `step` pixels apart: along columns, then along rows."""
    out = np.empty((rows, columns))
    line = np.empty(nodes.shape[1])
    share = np.arange(step) / step
    for r in range(rows):
        j = (first_row + r) // step
        down = share[(first_row + r) % step]
        for k in range(nodes.shape[1]):
            line[k] = nodes[j, k] + (nodes[j + 1, k] - nodes[j, k]) * down
        row = out[r]
        for k in range(nodes.shape[1] - 1):
            start = k * step - first_column
            low, apart = line[k], line[k + 1] - line[k]
            for c in range(max(start, 0), min(start + step, columns)):
                row[c] = low + apart * share[c - start]
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def pixels_at(x, y, west, north, size, far):
    """Rows and columns of the pixels that hold points; places that a CRS cannot show are far outside."""
    rows = np.empty(x.shape, np.int32)
    cols = np.empty(x.shape, np.int32)
    for r in range(x.shape[0]):
        for c in range(x.shape[1]):
            row, col = np.floor((north - y[r, c]) / size), np.floor((x[r, c] - west) / size)
            row, col = (row if row > -far else -far), (col if col > -far else -far)  # also where it is no number
            rows[r, c] = np.int32(row if row < far else far)
            cols[r, c] = np.int32(col if col < far else far)
    return rows, cols


@njit(cache=True, nogil=True)
def touched(rows, cols, where, everywhere, extent, top, left, block, found):
    """Marks the blocks that hold the pixels of a window inside an extent; block (`top`, `left`) is the first."""
    low_row, high_row, low_col, high_col = extent
    for r in range(rows.shape[0]):
        for c in range(rows.shape[1]):
            row, col = rows[r, c], cols[r, c]
            inside = (row >= low_row) & (row < high_row) & (col >= low_col) & (col < high_col)
            if inside and (everywhere or where[r, c]):
                found[row // block - top, col // block - left] = True


@njit(cache=True, nogil=True)
def paste(block, first_row, first_col, rows, cols, where, everywhere, out):
    """Copies the pixels of a window that lie in a block, (layers, y, x)."""
    height, width = block.shape[1:]
    for k in range(block.shape[0]):
        for r in range(rows.shape[0]):
            for c in range(rows.shape[1]):
                row, col = rows[r, c] - first_row, cols[r, c] - first_col
                if (row >= 0) & (row < height) & (col >= 0) & (col < width) and (everywhere or where[r, c]):
                    out[k, r, c] = block[k, row, col]
