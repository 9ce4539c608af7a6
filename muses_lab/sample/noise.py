"""Noise: periodic fractal fields, made once, which ground and sky look up by place."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import scipy.fft

FEATURE = 256
"""Largest wavelength of a fractal field, in its own pixels."""


def fractal(size: int, steepness: float, seed: int) -> np.ndarray:
    """A periodic `size` × `size` random field, mean 0 and deviation 1, smoother the greater `steepness`.

    Some of its beginning is repeated at its ends: `kernels.at` need not wrap a pixel's neighbours, and rows do not
    start a power of two apart, which would make them push each other out of the processor's caches.

    Examples
    --------
    >>> fractal(256, 1.6, seed=1).shape
    (257, 272)
    """
    rng = np.random.default_rng(seed)
    ky = np.fft.fftfreq(size)[:, None]
    kx = np.fft.rfftfreq(size)[None, :]
    # below the largest wavelength the spectrum is flat: features have a size, and do not fill the field
    amplitude = (kx**2 + ky**2 + (1 / FEATURE) ** 2) ** (-steepness / 2)
    amplitude[0, 0] = 0
    spectrum = scipy.fft.rfft2(rng.standard_normal((size, size), dtype=np.float32), workers=1)
    field = scipy.fft.irfft2(spectrum * amplitude.astype(np.float32), s=(size, size), workers=1)
    return np.pad((field / field.std()).astype(np.float32), ((0, 1), (0, 16)), mode="wrap")


@dataclass(frozen=True)
class Fields:
    """The noise that ground and sky are made of."""

    rough: np.ndarray
    smooth: np.ndarray
    detail: np.ndarray
    """Small enough for a processor's cache: it is sampled in wide steps."""

    @classmethod
    def make(cls, size: int, seed: int, pool: Executor) -> Fields:
        n = 4096 if size > 2048 else 1024
        made = [
            pool.submit(fractal, pixels, steepness, seed * 10 + k)
            for k, (pixels, steepness) in enumerate(((n, 1.55), (n, 2.6), (512, 1.5)), 1)
        ]
        return cls(*(m.result() for m in made))


def white(size: int, seed: int) -> np.ndarray:
    """A `size` × `size` field of independent normal numbers, for sensor noise."""
    return np.random.default_rng(seed).standard_normal((size, size), dtype=np.float32)
