"""Noise on geographic ground: periodic fractal fields made once, and hashes of places, for compiled code."""

from __future__ import annotations

import numpy as np
import scipy.fft
from numba import njit

FEATURE = 256
"""Largest wavelength of a fractal field, in its own pixels."""


def fractal(size: int, steepness: float, seed: int) -> np.ndarray:
    """A periodic `size` × `size` random field, mean 0 and deviation 1, smoother the greater `steepness`.

    Examples
    --------
    >>> fractal(256, 1.6, seed=1).shape
    (256, 256)
    """
    rng = np.random.default_rng(seed)
    ky = np.fft.fftfreq(size)[:, None]
    kx = np.fft.rfftfreq(size)[None, :]
    # below the largest wavelength the spectrum is flat: features have a size, and do not fill the field
    amplitude = (kx**2 + ky**2 + (1 / FEATURE) ** 2) ** (-steepness / 2)
    amplitude[0, 0] = 0
    spectrum = scipy.fft.rfft2(rng.standard_normal((size, size), dtype=np.float32), workers=1)
    field = scipy.fft.irfft2(spectrum * amplitude.astype(np.float32), s=(size, size), workers=1)
    return (field / field.std()).astype(np.float32)


def white(size: int, seed: int) -> np.ndarray:
    """A `size` × `size` field of independent normal numbers, for sensor noise."""
    return np.random.default_rng(seed).standard_normal((size, size), dtype=np.float32)


@njit(cache=True, nogil=True, inline="always")
def at(field, x, y):
    """Bilinear value of a periodic field (whose size is a power of two) at pixel position (x, y)."""
    n = field.shape[0] - 1
    x0 = np.floor(x)
    y0 = np.floor(y)
    fx = np.float32(x - x0)
    fy = np.float32(y - y0)
    i = int(x0) & n
    j = int(y0) & n
    i1 = (i + 1) & n
    j1 = (j + 1) & n
    top = field[j, i] + (field[j, i1] - field[j, i]) * fx
    low = field[j1, i] + (field[j1, i1] - field[j1, i]) * fx
    return top + (low - top) * fy


_LOW = np.uint64(0xFFFFFFFF)


@njit(cache=True, nogil=True)
def mix(a, b, c):
    """A well-mixed 32-bit number from three integers (the finaliser of MurmurHash3), held in 64 bits."""
    h = (
        (np.uint64(a) * np.uint64(0x8DA6B343))
        ^ (np.uint64(b) * np.uint64(0xD8163841))
        ^ (np.uint64(c) * np.uint64(0xCB1AB31F))
    )
    h &= _LOW
    h ^= h >> np.uint64(16)
    h = (h * np.uint64(0x85EBCA6B)) & _LOW
    h ^= h >> np.uint64(13)
    h = (h * np.uint64(0xC2B2AE35)) & _LOW
    h ^= h >> np.uint64(16)
    return h


@njit(cache=True, nogil=True)
def uniform(a, b, c):
    """A number in [0, 1) from three integers."""
    return np.float32(np.float64(mix(a, b, c)) / 4294967296.0)
