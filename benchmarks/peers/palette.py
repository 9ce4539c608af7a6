"""RdYlGn from 0 to 1 as an 8-bit palette PNG by Pillow: for the contestants whose tools end with numbers.

Pillow's fastest level; the colours are those of rio-tiler and Matplotlib: the eleven of ColorBrewer's scheme, linear
between them.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

RDYLGN = (
    (165, 0, 38),
    (215, 48, 39),
    (244, 109, 67),
    (253, 174, 97),
    (254, 224, 139),
    (255, 255, 191),
    (217, 239, 139),
    (166, 217, 106),
    (102, 189, 99),
    (26, 152, 80),
    (0, 104, 55),
)
LAST = 254  # index of the highest colour; 255 is transparent
PALETTE = np.stack(
    [np.interp(np.linspace(0, 10, LAST + 1), range(11), channel) for channel in zip(*RDYLGN, strict=True)], axis=1
).round()


def png(values: np.ndarray) -> bytes:
    """Of values with NaN where nothing is valid."""
    indices = np.clip(values, 0, 1) * LAST + 0.5
    indices[np.isnan(indices)] = 255
    image = Image.fromarray(indices.astype("u1"), mode="P")
    image.putpalette(PALETTE.astype("u1").tobytes() + b"\0\0\0")
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=255, compress_level=1)
    return buffer.getvalue()
