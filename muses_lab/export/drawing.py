"""Pictures of an export's values by its style, as tiles of a map are drawn, one for each date."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from odc.geo.geobox import GeoBox

from muses_lab.errors import WindowError
from muses_lab.export.metadata import Metadata
from muses_lab.export.pieces import Pieces
from muses_lab.export.running import RunningJob
from muses_lab.export.sheet import Sheet
from muses_lab.render import pick, pixels
from muses_lab.style import Style

NO_DATA = "no data"
"""What the caption of a frame says of which all pixels are missing."""


def check(window: GeoBox, facts: Metadata, most: int, what: str) -> None:
    """`BandError` where the style cannot draw the chain's bands, `WindowError` above so many pixels."""
    bands = facts.names or ("",)
    pick(np.zeros((len(bands), 1, 1), np.float32), style_of(facts), facts.names)
    rows, columns = window.shape
    if rows * columns > most:
        factor = (rows * columns / most) ** 0.5
        pixel = abs(window.resolution.x) * factor
        raise WindowError(
            f"{what} of {columns} × {rows} pixels has more than {most / 1e6:.0f} million: choose a resolution of "
            f"{pixel:.3g} or coarser, or a smaller window; or export values (.tif), which have no limit"
        )


def style_of(facts: Metadata) -> Style:
    """The style of a picture's export, which has one."""
    assert facts.style is not None
    return facts.style


def picture(pieces: Pieces, facts: Metadata, date: int, job: RunningJob) -> np.ndarray:
    """A date as `render.pixels` draws it: indices (rows, columns), or RGBA."""
    style, bands = style_of(facts), len(facts.names or ("",))
    rgb = style.kind == "rgb"
    out = np.zeros((*pieces.window.shape, 4) if rgb else pieces.window.shape, np.uint8)
    for piece in pieces.all:
        job.check()
        values = pieces.values(piece, range(date * bands, (date + 1) * bands))
        out[piece.toslices()] = pixels(values, style, facts.names)
    return out


def sheet_of(window: GeoBox, facts: Metadata, tags: Mapping[str, str], captions: list[str]) -> Sheet:
    options = facts.options
    credits = tags.get("TIFFTAG_COPYRIGHT", "") if options.attribution is None else options.attribution
    return Sheet(window, style_of(facts), facts.title, captions, credits, options)


def caption_of(facts: Metadata, tags: Mapping[str, str]) -> str:
    """Of a picture: what was given, or its dates."""
    if facts.options.caption is not None:
        return facts.options.caption
    if facts.dates:
        return facts.dates[0]
    first, last = tags["TIME_COVERAGE_START"][:10], tags["TIME_COVERAGE_END"][:10]
    return first if first == last else f"{first} – {last}"
