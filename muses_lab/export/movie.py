"""Frames of an animation: a sheet for each date, drawn from an export's values one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from odc.geo.geobox import GeoBox

from muses_lab.errors import ArgumentError
from muses_lab.export import drawing, provenance
from muses_lab.export.metadata import Metadata
from muses_lab.export.pieces import COPY, Pieces
from muses_lab.export.provenance import PREFIX
from muses_lab.export.running import RunningJob

_CREDITS, _EMPTY, _PLACE = (PREFIX + name for name in ("CREDITS", "EMPTY", "PLACE"))

MOST_FRAMES = 5000


def check_movie(window: GeoBox, facts: Metadata, most: int, what: str) -> None:
    """Raises where a chain has no dates or too many, or a window more pixels than a frame may have."""
    if facts.times is None:
        raise ArgumentError(
            "an animation shows dates, and the chain has none: begin with the chain as it is before it reduces them, "
            "chain.over_time().style(…), or export a picture (.png)"
        )
    if len(facts.times) > MOST_FRAMES:
        raise ArgumentError(
            f"{len(facts.times)} frames are more than {MOST_FRAMES}: choose dates, or periods, chain.over_time('month')"
        )
    drawing.check(window, facts, most, what)


class Movie:
    """The frames of an export.

    ```python
    movie = Movie(pieces, facts, tags, job)
    for pixels, caption in movie.pictures():
        movie.sheet.frame(pixels, caption)
    ```
    """

    def __init__(self, pieces: Pieces, facts: Metadata, tags: Mapping[str, str], job: RunningJob) -> None:
        """`tags` are those of an export, or what a file says (`of_text(movie.text)`)."""
        self._pieces, self._facts, self._job = pieces, facts, job
        given = facts.options.caption
        dates = facts.dates
        captions = ["" for _ in dates] if given == "" else [f"{given} {date}" if given else date for date in dates]
        credits = tags.get(_CREDITS, tags.get("TIFFTAG_COPYRIGHT", ""))
        if _EMPTY in tags:
            empty = tags[_EMPTY].split()
            missing = np.array([str(number) in empty for number in range(len(dates))])
        else:
            missing = _missing(pieces, len(dates), job)
        self.captions = [
            f"{text}: {drawing.NO_DATA}" if gone and given != "" else text
            for text, gone in zip(captions, missing, strict=True)
        ]
        """One for each frame; it says where all pixels are missing."""
        self.sheet = drawing.sheet_of(pieces.window, facts, {"TIFFTAG_COPYRIGHT": credits}, self.captions)
        said = {_CREDITS: credits, _EMPTY: " ".join(map(str, np.flatnonzero(missing)))}
        self.text = provenance.as_text({**tags, **said, _PLACE: "{} {}".format(*self.sheet.place)})
        """What a file of it says of itself."""

    def __len__(self) -> int:
        return len(self.captions)

    def pictures(self, stage: str, begin: float, share: float) -> Iterator[tuple[np.ndarray, str]]:
        """Each date as `render.pixels` draws it, with its caption; tells the job how far it is."""
        for number, caption in enumerate(self.captions):
            self._job.check()
            self._job.at(stage, begin + share * number / len(self))
            yield drawing.picture(self._pieces, self._facts, number, self._job), caption

    def frames(self, stage: str = "writing", begin: float = 0.0, share: float = COPY) -> Iterator[np.ndarray]:
        """Each frame, (rows, columns, RGB)."""
        for pixels, caption in self.pictures(stage, begin, share):
            yield self.sheet.frame(pixels, caption)


def place_of(said: Mapping[str, str]) -> tuple[int, int]:
    """Column and row of a frame in which the picture begins, by what its file says."""
    x, y = said[_PLACE].split()
    return int(x), int(y)


def _missing(pieces: Pieces, dates: int, job: RunningJob) -> np.ndarray:
    """Which dates have no value at all."""
    missing = np.ones(dates, bool)
    for piece in pieces.all:
        job.check()
        values = pieces.values(piece)
        missing &= np.isnan(values.reshape(dates, -1)).all(axis=1)
    return missing
