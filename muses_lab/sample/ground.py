"""The ground: fields, woods, river, lakes and town as a function of place, drawn on a tile's 10 m pixels.

Everything is computed from ground coordinates (Lambert-93, counted from Toulouse), so that two tiles agree wherever
they see the same place, whatever their projection.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from numba import njit

from muses_lab.sample.noise import at, fractal, mix, uniform
from muses_lab.sample.place import STEP, Tile

WHEAT, MAIZE, SUNFLOWER, RAPESEED, GRASSLAND, BARE, FOREST, CONIFER, WATER, ROOF, STREET, GARDEN, INDUSTRY = range(
    1, 14
)


@dataclass(frozen=True)
class Ground:
    """The layers of a tile that `spectra` needs, uint8, at 10 m."""

    classes: np.ndarray
    shift: np.ndarray
    vigour: np.ndarray
    brightness: np.ndarray


@dataclass(frozen=True)
class Fields:
    """The noise that ground and sky are made of."""

    rough: np.ndarray
    smooth: np.ndarray

    @classmethod
    def make(cls, size: int, seed: int, pool: Executor) -> Fields:
        n = 4096 if size > 2048 else 1024
        rough = pool.submit(fractal, n, 1.55, seed * 10 + 1)
        smooth = pool.submit(fractal, n, 2.6, seed * 10 + 2)
        return cls(rough.result(), smooth.result())


def draw(tile: Tile, fields: Fields, seed: int, pool: Executor) -> Ground:
    """The ground of a tile; rows are shared among the threads of `pool`."""
    layers = [np.empty((tile.size, tile.size), np.uint8) for _ in range(4)]
    # what is large on the ground shrinks with the tile, so that a small sample has a river, a town and woods too
    scale = min(1.0, max(0.16, tile.size * 10 / 41_000))
    rows = range(0, tile.size, 96)
    list(
        pool.map(
            lambda row: _draw(row, row + 96, *tile.ground, scale, fields.rough, fields.smooth, seed, *layers), rows
        )
    )
    return Ground(*layers)


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
    border = (second - best) / (2 * max(1.0, np.hypot(sx - bx, sy - by)))
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
def _draw(row0, row1, gx, gy, scale, rough, smooth, seed, classes, shift, vigour, brightness):  # noqa: PLR0912, PLR0915
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
            grain = uniform(int(np.floor(x / 10)), int(np.floor(y / 10)), seed) - np.float32(0.5)

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

            lush = np.float32(1.0) + np.float32(0.05) * swell
            light = np.float32(1.0) + np.float32(0.015) * grain
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
                h2 = np.float32(lot >> np.uint64(16)) / np.float32(65536)
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
                    light += np.float32(0.14) * (h - np.float32(0.5))
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
                    light += np.float32(0.05) * fine + np.float32(0.05) * local
                    lush = np.float32(1.0) + np.float32(0.02) * fine
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
                        + np.float32(0.05) * swell
                        + np.float32(0.05) * stripe
                    )

            classes[row, col] = code
            shift[row, col] = 128 + int(np.round(min(31.0, max(-32.0, late))))
            vigour[row, col] = 5 * int(np.round(40 * min(1.27, max(0.3, lush))))
            brightness[row, col] = 3 * int(np.round(128 / 3 * min(1.98, max(0.4, light))))
