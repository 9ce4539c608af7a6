"""Videos of a layer over time, written and read back by PyAV, which brings FFmpeg: a frame for each date.

Frames are 8-bit YUV 4:2:0 of BT.709, which every player and browser shows. That keeps brightness at each pixel and
colours at every second; what it takes to make the file again is in its comment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox
from rasterio.windows import Window as Pixels

from muses_lab.export import provenance
from muses_lab.export.metadata import Metadata
from muses_lab.export.movie import Movie, check_movie
from muses_lab.export.pieces import COPY, Pieces
from muses_lab.export.running import RunningJob
from muses_lab.export.sheet import Animation

_MOST = 8_900_000
"""Pixels of a frame: 4096 × 2160, which hardware decodes."""
_THREADS = 2
"""Of the encoder: what it writes depends on their number."""
_BRIGHTNESS = 16.0
"""By how much a frame that was read back may differ from what was drawn, in the mean, of 255."""
_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)


class Video:
    """One container with one codec; both are FFmpeg's names."""

    packages: tuple[str, ...] = ("av", "pillow", "matplotlib")
    holds_texts = True
    draws = True
    options: type[Any] = Animation
    share = 0.05

    def __init__(self, name: str, suffix: str, codec: str, quality: Mapping[str, str]) -> None:
        self.name, self.suffixes = name, (suffix,)
        self._container, self._codec, self._quality = suffix[1:], codec, dict(quality)

    def check(self, target: Path, window: GeoBox, facts: Metadata) -> None:
        check_movie(window, facts, _MOST, "a video's frame")

    def write(self, pieces: Pieces, facts: Metadata, tags: Mapping[str, str], path: Path, job: RunningJob) -> None:
        import av

        movie = Movie(pieces, facts, tags, job)
        width, height = (-(-side // 2) * 2 for side in movie.sheet.size)
        try:
            with av.open(str(path), "w", format=self._container, options={"fflags": "+bitexact"}) as container:
                container.metadata["title"], container.metadata["comment"] = facts.title, movie.text
                rate = Fraction(facts.options.fps).limit_denominator(1000)
                stream: Any = container.add_stream(self._codec, rate=rate, options=self._quality)
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                context = stream.codec_context
                context.thread_count = _THREADS
                context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
                context.color_range = 1  # 16 to 235, as of films
                for number, rgb in enumerate(movie.frames()):
                    frame = av.VideoFrame.from_ndarray(_even(rgb, width, height), format="rgb24")
                    frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
                    frame.pts, frame.time_base = number, 1 / rate
                    container.mux(stream.encode(frame))
                container.mux(stream.encode(None))
        except av.error.FFmpegError as error:
            raise OSError(str(error)) from error

    def differing(self, pieces: Pieces, facts: Metadata, path: Path, job: RunningJob) -> list[Pixels]:
        movie = Movie(pieces, facts, self.texts(path), job)
        width, height = (-(-side // 2) * 2 for side in movie.sheet.size)
        drawn = movie.frames("checking", COPY, 1 - COPY)
        try:
            same = all(
                found.shape == (height, width, 3)
                and np.abs((found.astype(np.float32) - _even(expected, width, height)) @ _LUMA).mean() <= _BRIGHTNESS
                for found, expected in zip(frames(path), drawn, strict=True)
            )
        except (OSError, ValueError):
            same = False
        return [] if same else list(pieces.all)

    def is_written(self, path: Path, chain: str, window: GeoBox) -> bool:
        try:
            return provenance.is_of(self.texts(path), chain, window) and sum(1 for _ in frames(path)) > 0
        except (OSError, ValueError):
            return False

    def texts(self, path: Path) -> Mapping[str, str]:
        import av

        try:
            with av.open(str(path), format=self._container) as container:
                named = {name.lower(): text for name, text in container.metadata.items()}
                return provenance.of_text(named.get("comment", ""))
        except (OSError, ValueError):  # FFmpeg's errors are both
            return {}

    def beside(self, target: Path, window: GeoBox, facts: Metadata) -> Mapping[Path, str | None]:
        return {}


def frames(path: Path) -> Iterator[np.ndarray]:
    """The frames of a video of ours, (rows, columns, RGB); `OSError` or `ValueError` where it is damaged."""
    import av

    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray()


def _even(rgb: np.ndarray, width: int, height: int) -> np.ndarray:
    """A frame with as many rows and columns as colours at every second pixel take: the last ones twice."""
    rows, columns, _ = rgb.shape
    return np.ascontiguousarray(np.pad(rgb, ((0, height - rows), (0, width - columns), (0, 0)), "edge"))
