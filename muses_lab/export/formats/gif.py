"""Animated GIF of a layer over time: a frame for each date, with 256 colours for all of them.

Written a frame at a time, each whole and for the same time: Pillow's own writer drops frames that are equal to the one
before. Classes have exactly their colours; a colormap's 255 steps are drawn by 239, three bands by 256 colours that
suit all frames. What it takes to make the file again is in its comment.
Source: GIF89a specification; Netscape's application extension, which says that it repeats.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from odc.geo.geobox import GeoBox
from PIL import GifImagePlugin, Image
from rasterio.windows import Window as Pixels

from muses_lab.export import drawing, provenance
from muses_lab.export.metadata import Metadata
from muses_lab.export.movie import Movie, check_movie
from muses_lab.export.pieces import COPY, Pieces
from muses_lab.export.running import RunningJob
from muses_lab.export.sheet import Animation, IndexedColours

_MOST = 4_000_000
"""Pixels of a frame."""
_SAMPLE = 12
"""Frames of which the colours of three bands are chosen."""


class Gif:
    name = "GIF"
    suffixes = (".gif",)
    packages = ("pillow", "matplotlib")
    holds_texts = True
    draws = True
    options = Animation
    share = 0.15

    def check(self, target: Path, window: GeoBox, facts: Metadata) -> None:
        check_movie(window, facts, _MOST, "a GIF's frame")

    def write(self, pieces: Pieces, facts: Metadata, tags: Mapping[str, str], path: Path, job: RunningJob) -> None:
        movie = Movie(pieces, facts, tags, job)
        colours = _Colours(movie, facts)
        delay = max(2, round(100 / facts.options.fps))  # hundredths of a second
        first = Image.new("P", movie.sheet.size)
        first.putpalette(colours.table.tobytes())
        with path.open("wb") as file:
            for part in GifImagePlugin.getheader(first, info={"background": 0})[0]:
                file.write(part)
            file.write(b"!\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00")
            file.write(_comment(movie.text))
            for indices in colours.frames("writing", 0.0, COPY):
                image = Image.fromarray(indices, "P")
                image.putpalette(colours.table.tobytes())
                for part in GifImagePlugin.getdata(image, duration=10 * delay, disposal=1, include_color_table=False):
                    file.write(part)
            file.write(b";")

    def differing(self, pieces: Pieces, facts: Metadata, path: Path, job: RunningJob) -> list[Pixels]:
        try:
            movie = Movie(pieces, facts, self.texts(path), job)
            colours = _Colours(movie, facts)
            with Image.open(path, formats=("GIF",)) as file:
                frames = colours.frames("checking", COPY, 1 - COPY)
                same = getattr(file, "n_frames", 1) == len(movie)
                for number, expected in enumerate(frames if same else ()):
                    file.seek(number)
                    same &= np.array_equal(np.asarray(file.convert("RGB")), colours.table[expected])
        except (OSError, ValueError, SyntaxError, EOFError):
            same = False
        return [] if same else list(pieces.all)

    def is_written(self, path: Path, chain: str, window: GeoBox) -> bool:
        if not provenance.is_of(self.texts(path), chain, window):
            return False
        try:
            with Image.open(path, formats=("GIF",)) as file:
                for number in range(getattr(file, "n_frames", 1)):
                    file.seek(number)
                    file.load()
            return path.read_bytes().endswith(b";")
        except (OSError, ValueError, SyntaxError, EOFError):
            return False

    def texts(self, path: Path) -> Mapping[str, str]:
        try:
            with Image.open(path, formats=("GIF",)) as file:
                return provenance.of_text(bytes(file.info.get("comment", b"")).decode("ascii"))
        except (OSError, ValueError, SyntaxError):
            return {}

    def beside(self, target: Path, window: GeoBox, facts: Metadata) -> Mapping[Path, str | None]:
        return {}


WRITER = Gif()


class _Colours:
    """The colours of a movie, and its frames by their numbers."""

    def __init__(self, movie: Movie, facts: Metadata) -> None:
        style = drawing.style_of(facts)
        self._movie = movie
        self._indexed = None if style.kind == "rgb" else IndexedColours(style)
        self.table = _chosen(movie) if self._indexed is None else self._indexed.table
        """RGB of each number."""
        self._palette = Image.new("P", (1, 1))
        self._palette.putpalette(self.table.tobytes())

    def frames(self, stage: str, begin: float, share: float) -> Iterator[np.ndarray]:
        """Numbers of colours, (rows, columns)."""
        for pixels, caption in self._movie.pictures(stage, begin, share):
            if self._indexed is not None:
                yield self._movie.sheet.frame_indexed(pixels, caption, self._indexed)
            else:
                frame = Image.fromarray(self._movie.sheet.frame(pixels, caption))
                yield np.asarray(frame.quantize(palette=self._palette, dither=Image.Dither.NONE))


def _chosen(movie: Movie) -> np.ndarray:
    """256 colours that suit all frames, by the median cut of some of them."""
    step = max(1, len(movie) // _SAMPLE)
    some = [frame[::2, ::2] for number, frame in enumerate(movie.frames(share=0.0)) if number % step == 0]
    chosen = Image.fromarray(np.concatenate(some)).quantize(256, dither=Image.Dither.NONE).getpalette() or []
    return np.array(chosen + [0] * (768 - len(chosen)), np.uint8).reshape(256, 3)


def _comment(text: str) -> bytes:
    body = text.encode("ascii")
    parts = (body[at : at + 255] for at in range(0, len(body), 255))
    return b"!\xfe" + b"".join(bytes([len(part)]) + part for part in parts) + b"\x00"
