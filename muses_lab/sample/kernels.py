"""The compiled code of the sample: noise, ground, sky, sensor, overviews.

All of it is in one file, with the numbers it uses: Numba keeps compiled code on disk and compiles again only when the
function's own file has changed, not when one that it imports from has.
"""

from __future__ import annotations

import numpy as np
from numba import njit

STEP = 32
"""Every how many 10 m pixels the way to the ground is given; in between it is linear (to less than a centimetre)."""
BRIGHTNESS_SCALE = 1 / 128
NEVER = 99.0
"""A limit that noise never reaches."""
SQUARE = 64
LOW_BITS = np.uint64(0xFFFFFFFF)

# codes of land covers; `spectra` says what they are
WHEAT, MAIZE, SUNFLOWER, RAPESEED, GRASSLAND, BARE, FOREST, CONIFER, WATER = range(1, 10)
ROOF, STREET, GARDEN, INDUSTRY = range(10, 14)

# by band, in the order of `spectra.BANDS`
CLOUD = np.array([0.80, 0.79, 0.79, 0.79, 0.82, 0.48, 0.38], np.float32)
CIRRUS = np.array([0.50, 0.48, 0.46, 0.45, 0.46, 0.20, 0.14], np.float32)
SHADE = np.array([0.42, 0.45, 0.52, 0.56, 0.62, 0.66, 0.68], np.float32)
"""Share of a band's light that a full shadow takes away (blue sky light remains)."""


@njit(cache=True, nogil=True, inline="always")
def at(field, x, y):
    """Bilinear value of a periodic field (whose size is a power of two) at pixel position (x, y)."""
    n = field.shape[0] - 2
    x0 = np.floor(x)
    y0 = np.floor(y)
    fx = np.float32(x - x0)
    fy = np.float32(y - y0)
    i = int(x0) & n
    j = int(y0) & n
    top = field[j, i] + (field[j, i + 1] - field[j, i]) * fx
    low = field[j + 1, i] + (field[j + 1, i + 1] - field[j + 1, i]) * fx
    return top + (low - top) * fy


@njit(cache=True, nogil=True)
def mix(a, b, c):
    """A well-mixed 32-bit number from three integers (the finaliser of MurmurHash3), held in 64 bits."""
    h = (
        (np.uint64(a) * np.uint64(0x8DA6B343))
        ^ (np.uint64(b) * np.uint64(0xD8163841))
        ^ (np.uint64(c) * np.uint64(0xCB1AB31F))
    )
    h &= LOW_BITS
    h ^= h >> np.uint64(16)
    h = (h * np.uint64(0x85EBCA6B)) & LOW_BITS
    h ^= h >> np.uint64(13)
    h = (h * np.uint64(0xC2B2AE35)) & LOW_BITS
    h ^= h >> np.uint64(16)
    return h


@njit(cache=True, nogil=True)
def uniform(a, b, c):
    """A number in [0, 1) from three integers."""
    return np.float32(np.float64(mix(a, b, c)) / 4294967296.0)


@njit(cache=True, nogil=True)
def place_of(gx, gy, col, row):
    """Ground coordinates of pixel position (col, row), in 10 m pixels from the tile's corner."""
    u = col / STEP
    v = row / STEP
    i = int(u)
    j = int(v)
    u -= i
    v -= j
    x = (gx[j, i] * (1 - u) + gx[j, i + 1] * u) * (1 - v) + (gx[j + 1, i] * (1 - u) + gx[j + 1, i + 1] * u) * v
    y = (gy[j, i] * (1 - u) + gy[j, i + 1] * u) * (1 - v) + (gy[j + 1, i] * (1 - u) + gy[j + 1, i + 1] * u) * v
    return x, y


@njit(cache=True, nogil=True)
def _cell(x, y, spacing, seed):
    """The Voronoi cell of a jittered lattice at (x, y): its number, its centre, and the distance to its border."""
    ci = int(np.floor(x / spacing))
    cj = int(np.floor(y / spacing))
    best = second = 1e18
    bx = by = sx = sy = 0.0
    number = 0
    for j in range(cj - 1, cj + 2):
        for i in range(ci - 1, ci + 2):
            px = (i + 0.1 + 0.8 * uniform(i, j, seed)) * spacing
            py = (j + 0.1 + 0.8 * uniform(i, j, seed + 1)) * spacing
            d = (px - x) ** 2 + (py - y) ** 2
            if d < best:
                second, sx, sy = best, bx, by
                best, bx, by = d, px, py
                number = int(mix(i, j, seed + 2))
            elif d < second:
                second, sx, sy = d, px, py
    apart = np.hypot(sx - bx, sy - by)
    border = (second - best) / (2 * apart)
    return number, bx, by, border


@njit(cache=True, nogil=True)
def _parcel(u, v, half, area, block):
    """Halves a square again and again until its parts are as small as fields: number and distance to the border."""
    u0 = v0 = -half
    u1 = v1 = half
    node = 1
    border = 1e9
    for _ in range(11):
        w = u1 - u0
        h = v1 - v0
        r = uniform(block, node, 7)
        # a field is done when it is small, some earlier than others; thin strips are not cut further
        if w * h < area * (0.5 + 1.5 * r) or min(w, h) < 70:
            break
        cut = 0.32 + 0.36 * uniform(block, node, 8)
        if w > h * (0.7 + 0.6 * uniform(block, node, 9)):
            at_u = u0 + cut * w
            border = min(border, abs(u - at_u))
            if u < at_u:
                u1, node = at_u, 2 * node
            else:
                u0, node = at_u, 2 * node + 1
        else:
            at_v = v0 + cut * h
            border = min(border, abs(v - at_v))
            if v < at_v:
                v1, node = at_v, 2 * node
            else:
                v0, node = at_v, 2 * node + 1
    return node, border


@njit(cache=True, nogil=True)
def _river(x, y, turn, meander, phase, shift):
    """Distance from a meandering line through (0, 0) + shift across, and the position along it."""
    c, s = np.cos(turn), np.sin(turn)
    t = x * s + y * c
    a = x * c - y * s - shift
    m = meander * (np.sin(t / (2.9 * meander) + phase) + 0.5 * np.sin(t / (1.15 * meander) + 2 * phase))
    slope = np.cos(t / (2.9 * meander) + phase) / 2.9 + 0.5 / 1.15 * np.cos(t / (1.15 * meander) + 2 * phase)
    return abs(a - m) / np.sqrt(1 + slope * slope), t


@njit(cache=True, nogil=True)
def draw(row0, row1, gx, gy, scale, rough, smooth, seed, classes, shift, vigour, brightness):
    """Fills rows of the layers of a tile: see `ground.draw`."""
    small = max(scale, 0.35)
    for row in range(row0, row1):
        for col in range(classes.shape[1]):
            x, y = place_of(gx, gy, col + 0.5, row + 0.5)

            large = at(smooth, x / (22 * scale) + 311, y / (22 * scale) + 97)  # kilometres
            bend = at(smooth, x / (13 * small) + 900, y / (13 * small) + 500)
            bend2 = at(smooth, x / (13 * small) + 133, y / (13 * small) + 771)
            local = at(rough, x / 6 + 211, y / 6 + 400)  # hundreds of metres
            fine = at(rough, x / 2.3 + 50, y / 2.3 + 611)  # tens of metres
            swell = at(smooth, x / 3.1 + 640, y / 3.1 + 322)  # within fields

            wx = x + 95 * small * bend
            wy = y + 95 * small * bend2

            from_river, along = _river(wx, wy, -0.62, 1150 * scale, 0.9, -700 * scale)
            half_width = (52 + 16 * np.sin(along / (1900 * scale)) + 10 * large) * max(scale, 0.6)
            from_stream, _ = _river(wx + 160 * bend2, wy, 0.95, 620 * scale, 2.1, 3000 * scale)
            from_brook, _ = _river(wx, wy + 160 * bend, 1.25, 500 * scale, 0.4, -9000 * scale)
            from_stream = min(from_stream, from_brook)
            valley = np.exp(-((from_river / (2600 * scale)) ** 2))

            from_town = np.hypot(x, y * 0.9)
            urban = (
                1.25 * np.exp(-((from_town / (4400 * scale)) ** 2))
                + 0.52 * np.exp(-((from_town / (9500 * scale)) ** 2))
                + 0.24 * large
                + 0.10 * bend
                + 0.05 * local
            )
            _, vx, vy, _ = _cell(x, y, 4600 * small, seed + 40)
            kind = uniform(int(vx), int(vy), seed + 41)
            if kind < 0.62:
                from_village = np.hypot(x - vx, y - vy) / (small * (220 + 420 * kind))
                urban = max(urban, 1.25 - 0.5 * from_village + 0.22 * local)
            is_town = urban > 0.74

            # shapes of fields and quarters
            spacing = 430.0 if is_town else 1500.0
            block, bx, by, edge = _cell(wx, wy, spacing, seed + (60 if is_town else 50))
            turn = 1.57 * uniform(block, 1, 1)
            c, s = np.cos(turn), np.sin(turn)
            u = (wx - bx) * c + (wy - by) * s
            v = (wy - by) * c - (wx - bx) * s

            lush = np.float32(1.0) + np.float32(0.04) * swell
            light = np.float32(1.0)
            late = np.float32(0.0)

            code = 0
            if from_river < half_width or from_stream < 9 * max(scale, 0.6):
                code = WATER
            else:
                # hill lakes, and gravel pits beside the river
                _, lx, ly, _ = _cell(x, y, 3900 * small, seed + 70)
                kind = uniform(int(lx), int(ly), seed + 71)
                if kind < 0.42:
                    radius = small * (70 + 520 * kind)
                    if np.hypot(x - lx, (y - ly) * (0.7 + kind)) + 0.30 * radius * local < radius and not is_town:
                        code = WATER
            if code == WATER:
                light = np.float32(1.0) + np.float32(0.10) * bend + np.float32(0.03) * local
            elif is_town:
                street = min(abs(u - 84 * np.round(u / 84)), abs(v - 62 * np.round(v / 62)), edge)
                lot = mix(int(np.floor(u / 21)), int(np.floor(v / 17)), block)
                h = np.float32(lot & np.uint64(0xFFFF)) / np.float32(65536)
                h2 = np.float32((lot >> np.uint64(16)) % np.uint64(5)) / np.float32(5)  # five kinds of roof
                quarter = uniform(block, 2, 2)
                square = uniform(int(np.round(u / 84 - 0.5)), int(np.round(v / 62 - 0.5)), block)
                dense = 0.38 + 0.55 * min(1.0, max(0.0, urban - 0.74) * 1.6)
                works = quarter > 0.86 and urban < 1.3
                if edge < 9 and from_town < 11000 * scale:
                    code = STREET
                    light += np.float32(0.05) * (quarter - np.float32(0.5))
                elif works:
                    # sheds and car parks on wide lots
                    hall = uniform(int(np.floor(u / 66)), int(np.floor(v / 43)), block)
                    inside = abs(u / 66 - np.floor(u / 66) - 0.5) < 0.38 and abs(v / 43 - np.floor(v / 43) - 0.5) < 0.36
                    code = INDUSTRY if hall < 0.55 and inside else (GARDEN if hall > 0.86 else STREET)
                    light = np.float32(0.75) + np.float32(0.55) * hall + np.float32(0.10) * h
                elif square < 0.07 or (quarter < 0.05 and square < 0.8):
                    code = GARDEN
                    light += np.float32(0.06) * local
                elif street < 5.5:
                    code = STREET
                    light += np.float32(0.14) * (quarter - np.float32(0.5))
                else:
                    code = ROOF if h < dense else GARDEN
                    light = np.float32(0.74) + np.float32(0.46) * h2 + np.float32(0.10) * quarter
                    lush *= np.float32(0.75) + np.float32(0.4) * h2
                if from_river < half_width + 22 and code != STREET:
                    code = GARDEN
            else:
                node, border = _parcel(
                    u, v, 1500.0, (44e3 + 190e3 * uniform(block, 3, 3)) * (0.6 + 0.6 * valley), block
                )
                parcel = int(mix(block, node, 4))
                hills = 0.5 + 0.5 * np.tanh(large)
                woods = at(rough, x / (15 * scale) + 700, y / (15 * scale) + 40) + 0.45 * large + 0.10 * fine
                # a wood ends at a field's border more often than not
                woods += 0.22 * (uniform(parcel, 1, 5) - 0.5)
                near_water = from_river - half_width < 18 + 45 * max(0.0, local + 0.4) or from_stream < 22 + 14 * fine
                hedge = uniform(block, node, 11) < 0.16 + 0.3 * hills and border < 7
                if woods - 0.8 * valley > 1.05 or near_water or hedge or uniform(parcel, 2, 5) < 0.025:
                    pines = at(smooth, x / (6 * small) + 20, y / (6 * small) + 840)
                    code = CONIFER if pines > 1.05 and not near_water and not hedge else FOREST
                    light += np.float32(0.035) * fine + np.float32(0.05) * local
                    lush = np.float32(1.0) + np.float32(0.02) * local
                    late = np.float32(4.0) * large
                elif edge < 6.5:
                    code = STREET
                elif border < 5 and uniform(block, 4, 4) < 0.35:
                    code = GRASSLAND
                    light += np.float32(0.15)
                    lush *= np.float32(0.8)
                else:
                    p = uniform(parcel, 3, 5)
                    p_maize = 0.10 + 0.30 * valley
                    p_grass = 0.12 + 0.20 * hills * (1 - valley)
                    if p < p_maize:
                        code = MAIZE
                    elif p < p_maize + p_grass:
                        code = GRASSLAND
                    else:
                        p = (p - p_maize - p_grass) / (1 - p_maize - p_grass)
                        code = WHEAT if p < 0.46 else SUNFLOWER if p < 0.77 else RAPESEED if p < 0.95 else BARE
                    # each field its own date, vigour, soil; in some tillage leaves stripes
                    tilled = uniform(parcel, 7, 5) < 0.15
                    stripe = uniform(int(np.floor(v / 15)), parcel, 6) - np.float32(0.5) if tilled else np.float32(0)
                    late = np.float32(22.0) * (uniform(parcel, 4, 5) - np.float32(0.5))
                    lush *= np.float32(0.84) + np.float32(0.26) * uniform(parcel, 5, 5) + np.float32(0.05) * stripe
                    light = (
                        np.float32(0.86)
                        + np.float32(0.28) * uniform(parcel, 6, 5)
                        + np.float32(0.10) * large
                        + np.float32(0.035) * swell
                        + np.float32(0.05) * stripe
                    )

            classes[row, col] = code
            shift[row, col] = 128 + int(np.round(min(np.float32(31), max(np.float32(-32), late))))
            vigour[row, col] = 5 * int(np.round(40 * min(np.float32(1.27), max(np.float32(0.3), lush))))
            brightness[row, col] = 3 * int(np.round(128 / 3 * min(np.float32(1.98), max(np.float32(0.4), light))))


@njit(cache=True, nogil=True)
def cloudiness(x, y, form, limits, rough, smooth, detail):
    """Noise whose highest values are clouds."""
    u = form[0, 0] * x + form[0, 1] * y + form[0, 4]
    v = form[0, 2] * x + form[0, 3] * y + form[0, 5]
    value = at(rough, u, v) + limits[2] * at(smooth, 0.31 * u + 77, 0.31 * v + 5)
    if value < limits[0] - 0.6:  # far from a cloud: no detail makes it one
        return value
    return value + 0.13 * at(detail, 5.1 * u, 5.1 * v + 9)


@njit(cache=True, nogil=True)
def streakiness(x, y, form, rough, smooth):
    """Noise whose highest values are cirrus."""
    u = form[1, 0] * x + form[1, 1] * y + form[1, 4]
    v = form[1, 2] * x + form[1, 3] * y + form[1, 5]
    return at(rough, u, v) + 0.7 * at(smooth, 0.4 * u, 0.4 * v)


@njit(cache=True, nogil=True)
def many(x, y, form, limits, rough, smooth, detail):
    """Noise of clouds and of cirrus at many places."""
    values = np.empty((x.size, 2))
    for i in range(x.size):
        values[i, 0] = cloudiness(x[i], y[i], form, limits, rough, smooth, detail)
        values[i, 1] = streakiness(x[i], y[i], form, rough, smooth)
    return values


@njit(cache=True, nogil=True, inline="always")
def _ramp(value, low, high, least):
    """0 below `low`, 1 above `high`, smooth in between; 0 where that is less than `least`."""
    t = (value - low) / (high - low)
    if t >= 1:
        return np.float32(1)
    ramp = t * t * (3 - 2 * t) if t > 0 else 0.0
    return np.float32(ramp) if ramp >= least else np.float32(0)


@njit(cache=True, nogil=True)
def look(gx, gy, edge, form, limits, shadow, rough, smooth, detail, seen, clouds, cirrus, shadows):
    """Fills the sky over a tile: see `sky.look`."""
    size = seen.shape[0]
    thick = limits[0] + 0.6 * (limits[1] - limits[0])
    # in squares, because the wind turns the noise against the rows: its pixels stay in the processor's cache
    for corner in range((-(-size // SQUARE)) ** 2):
        row0 = corner // (-(-size // SQUARE)) * SQUARE
        col0 = corner % (-(-size // SQUARE)) * SQUARE
        for row in range(row0, min(size, row0 + SQUARE)):
            for col in range(col0, min(size, col0 + SQUARE)):
                x, y = place_of(gx, gy, 2 * col + 1.0, 2 * row + 1.0)
                if edge[0] * x + edge[1] * y < edge[2]:
                    continue
                seen[row, col] = True
                if limits[0] < NEVER:
                    value = cloudiness(x, y, form, limits, rough, smooth, detail)
                    clouds[row, col] = _ramp(value, limits[0], limits[1], 0.05)
                    if value < limits[1]:
                        value = cloudiness(x - shadow[0], y - shadow[1], form, limits, rough, smooth, detail)
                        shadows[row, col] = _ramp(value, limits[0], thick, 0.12)
                if limits[3] < NEVER:
                    value = streakiness(x, y, form, rough, smooth)
                    cirrus[row, col] = np.float32(0.38) * _ramp(value, limits[3], limits[4], 0.08)


@njit(cache=True, nogil=True, inline="always")
def _dn(reflectance, noise, offset):
    """DN of a reflectance: noise grows with the signal, steps of about 2 % make files small, never nodata."""
    value = reflectance * np.float32(10000)
    value += noise * (np.float32(0.8) + np.float32(0.001) * min(value, np.float32(4000)))
    if value < np.float32(1024):
        step, per_step = np.float32(16), np.float32(1 / 16)
    elif value < np.float32(2048):
        step, per_step = np.float32(32), np.float32(1 / 32)
    elif value < np.float32(6144):  # brighter than that are only clouds and a few roofs
        step, per_step = np.float32(64), np.float32(1 / 64)
    else:
        step, per_step = np.float32(256), np.float32(1 / 256)
    return np.uint16(max(np.float32(1), np.floor(value * per_step + np.float32(0.5)) * step + offset))


@njit(cache=True, nogil=True)
def render(
    classes,
    shift,
    vigour,
    brightness,
    greenness,
    spectra,
    seen,
    clouds,
    cirrus,
    shadows,
    grain,
    start,
    offset,
    fine,
    coarse,
    coastal,
    scl,
):
    """Fills the arrays of a scene: see `scene.render`."""
    wrap = grain.shape[0] - 1
    kept = np.ones(8, np.float32)  # what the sky leaves of the ground's light, and what it adds
    added = np.zeros(8, np.float32)
    total = np.empty(8, np.float32)
    for row in range(scl.shape[0]):
        for col in range(scl.shape[1]):
            if not seen[row, col]:
                continue
            opacity, veil, shade = clouds[row, col], cirrus[row, col], shadows[row, col]
            white = np.float32(0.62) + np.float32(0.38) * opacity
            for b in range(7):
                kept[b] = (np.float32(1) - SHADE[b] * shade) * (np.float32(1) - veil) * (np.float32(1) - opacity)
                added[b] = CIRRUS[b] * veil * (np.float32(1) - opacity) + CLOUD[b] * white * opacity
                total[b] = 0

            water = 0
            for k in range(4):
                r, c = 2 * row + (k >> 1), 2 * col + (k & 1)
                code = classes[r, c]
                water += code == WATER
                f = np.uint8(min(np.float32(255), vigour[r, c] * greenness[code, shift[r, c]] + np.float32(0.5)))
                light = brightness[r, c] * np.float32(BRIGHTNESS_SCALE)
                spectrum = spectra[code, f]
                for b in range(8):
                    total[b] += light * spectrum[b]
                for i in range(4):  # the bands of 10 m are 1 to 4 of BANDS
                    noise = grain[(r + start[i + 1, 0]) & wrap, (c + start[i + 1, 1]) & wrap]
                    fine[i, r, c] = _dn(light * spectrum[i + 1] * kept[i + 1] + added[i + 1], noise, offset)

            coastal[row, col] = total[0] / 4 * kept[0] + added[0]
            for b in range(5, 7):
                noise = grain[(row + start[b, 0]) & wrap, (col + start[b, 1]) & wrap]
                coarse[b - 5, row, col] = _dn(total[b] / 4 * kept[b] + added[b], noise, offset)
            scl[row, col] = _class(opacity, veil, shade, water, total[3] / 4, total[4] / 4)


@njit(cache=True, nogil=True, inline="always")
def _class(opacity, veil, shade, water, red, nir):
    """SCL class of a 20 m pixel."""
    if opacity > 0:
        return 9 if opacity > 0.55 else 8
    if veil > 0:
        return 10
    if shade > 0:
        return 3
    if water >= 2:
        return 6
    if red > 0.24 and nir < 1.5 * red:
        return 7  # sheet roofs, which the classifier of the real product does not trust either
    if nir - red > 0.4 * (nir + red):
        return 4
    return 2 if nir < 0.13 else 5


@njit(cache=True, nogil=True)
def coastal(values, offset):
    """60 m pixels: the mean of those 20 m pixels that have data (reflectance 0 means none)."""
    n = values.shape[0] // 3
    out = np.zeros((n, n), np.uint16)
    for row in range(n):
        for col in range(n):
            total = np.float32(0)
            count = 0
            for k in range(9):
                value = values[3 * row + k // 3, 3 * col + k % 3]
                total += value
                count += value > 0
            if count:
                out[row, col] = _dn(total / count, np.float32(0), offset)
    return out


@njit(cache=True, nogil=True)
def average(pixels, nodata):
    """Means of 2 × 2 pixels, of those that are not `nodata`."""
    rows, cols = pixels.shape[0] // 2, pixels.shape[1] // 2
    out = np.empty((rows, cols), pixels.dtype)
    for r in range(rows):
        for c in range(cols):
            total = count = 0
            for v in (
                pixels[2 * r, 2 * c],
                pixels[2 * r, 2 * c + 1],
                pixels[2 * r + 1, 2 * c],
                pixels[2 * r + 1, 2 * c + 1],
            ):
                if v != nodata:
                    total += int(v)
                    count += 1
            out[r, c] = (total + count // 2) // count if count else nodata
    return out
