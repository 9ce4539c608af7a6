"""What an export says of itself to a GIS, besides its values: title, names of bands, unit, dates, history, colours."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from muses_lab.document import graph
from muses_lab.engine import Published
from muses_lab.engine.graph import Step
from muses_lab.errors import BandError
from muses_lab.export import qgis
from muses_lab.export.pieces import Colour
from muses_lab.style import Style
from muses_lab.times import short_dates


@dataclass(frozen=True)
class Metadata:
    """Title and style of an export."""

    title: str
    given: str | None
    """The title that was given; None: it is the style's label, or the file's name."""
    style: Style | None
    bands: tuple[int, ...]
    """Numbers of the bands that the style shows."""
    labels: tuple[str, ...]
    """What the chain calls each layer (date, band, or both); that of a single image has no label."""
    times: tuple[np.datetime64, ...] | None
    """Of the dim `t`; None: the chain has none. Layers are in the order of `t`, then `bands`."""
    names: tuple[str, ...] | None
    """Of the dim `bands`; None: the chain has none."""
    periods: Mapping[np.datetime64, str]
    """What dates that stand for periods are called."""
    options: Any
    """Of the format, see `Writer.options`."""

    @classmethod
    def of(
        cls, style: Style | None, title: str | None, labels: Sequence[str], step: Step, target: Path, options: Any
    ) -> Metadata:
        """What an export to a file says; `BandError` where the style shows a band that there is not."""
        names = step.meta.bands
        if style is not None and names is not None and len(names) == 3 and not (style.bands or style.classes):
            style = replace(style, bands=names)  # as on a map
        shown = style.bands if style is not None and style.bands and names is not None else None
        for name in shown or ():
            if name not in (names or ()):
                raise BandError(f"the style shows band {name!r}; there are {', '.join(names or ())}", band=name)
        numbers = tuple((names or ()).index(name) + 1 for name in shown) if shown else (1,)
        named = title or (style.label if style is not None else None) or target.stem
        times = tuple(step.times) if step.meta.time else None
        return cls(named, title, style, numbers, tuple(labels), times, names, dict(step.labels or {}), options)

    @property
    def descriptions(self) -> list[str]:
        """Of the bands."""
        return [label or self.title for label in self.labels]

    @property
    def unit(self) -> str | None:
        return None if self.style is None else self.style.unit

    @property
    def is_rgb(self) -> bool:
        """Whether the file's first three bands are what is shown as red, green and blue."""
        return self.bands == (1, 2, 3)

    @property
    def palette(self) -> Mapping[int, Colour] | None:
        """The colour table, where the file may have bytes."""
        return qgis.colour_table(self.style) if len(self.labels) == 1 else None

    def to_json(self) -> dict[str, Any]:
        """As a job keeps it: what was given."""
        style = None if self.style is None else self.style.to_json()
        return {"title": self.given, "style": style, "options": asdict(self.options)}

    @property
    def dates(self) -> list[str]:
        """What people call each date: its period, else as short as they are each the only one; none without `t`."""
        short = short_dates(self.times or ())
        return [self.periods.get(time) or text for time, text in zip(self.times or (), short, strict=True)]

    def tags(self, dates: Sequence[np.datetime64], published: Published) -> dict[str, str]:
        """What GDAL's users look for: title, dates of the scenes, and how the file was made."""
        from muses_lab import __version__

        first, last = str(dates[0])[:19], str(dates[-1])[:19]
        when = f"{first}Z" if first == last else f"{len(dates)} dates from {first}Z to {last}Z"
        steps = ", ".join(node.process.rpartition(":")[2] for node in graph.walk(published.root))
        return {
            "TIFFTAG_DOCUMENTNAME": self.title,
            "TIFFTAG_IMAGEDESCRIPTION": f"{self.title}; scenes of {when}",
            "TIFFTAG_COPYRIGHT": credits(published, dates),
            "TIFFTAG_SOFTWARE": f"MUSES Lab {__version__}",
            **({"TIFFTAG_DATETIME": first.replace("-", ":").replace("T", " ")} if first == last else {}),
            "TIME_COVERAGE_START": f"{first}Z",
            "TIME_COVERAGE_END": f"{last}Z",
            "HISTORY": f"MUSES Lab {__version__}: {steps}; chain {published.chain_hash}",
        }


@contextmanager
def put_beside(texts: Mapping[Path, str | None], folder: Path) -> Iterator[None]:
    """Puts files beside an export that is put in place meanwhile; removes those of an earlier one.

    Everything that can fail happens before the export is put in place. So one that is in place has them, unless the
    process dies in between.
    """
    for path, text in texts.items():
        if text is not None:
            (folder / path.name).write_text(text, "utf-8")
    yield
    for path, text in texts.items():
        if text is None:
            path.unlink(missing_ok=True)
        else:
            os.replace(folder / path.name, path)


def credits(published: Published, dates: Sequence[np.datetime64]) -> str:
    """Whose data an export is made of: the words that Copernicus and the USGS ask for, or the collections' names."""
    years = sorted({str(date)[:4] for date in dates})
    year = years[0] if len(years) == 1 else f"{years[0]}–{years[-1]}"
    found = []
    for scenes in published.scenes.values():
        platforms = {(scene.platform or "").lower() for scene in scenes.scenes}
        if any(name.startswith("sentinel") for name in platforms):
            found.append(f"Contains modified Copernicus Sentinel data {year}")
        elif any(name.startswith("landsat") for name in platforms):
            found.append("Landsat data courtesy of the U.S. Geological Survey")
        else:
            found.append(f"Data: {scenes.collection}")
    return ". ".join(dict.fromkeys(found))


def labels_of(step: Step) -> list[str]:
    """What a chain calls the layers of its result: date, band, or both."""
    dates = [str(t)[:19] + "Z" for t in step.times] if step.meta.time else [""]
    bands = step.meta.bands if step.meta.bands is not None else ("",)
    return [" ".join(filter(None, (date, band))) for date in dates for band in bands]
