"""What an export will be before it is made: size of its file, time, and the difference to what a map shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from odc.geo.geobox import GeoBox

from muses_lab.crs import crs_name, known_crs
from muses_lab.engine import Published
from muses_lab.engine.cost import Plan, plan
from muses_lab.export.formats import writer_of
from muses_lab.export.metadata import labels_of
from muses_lab.raster.grid import same_crs
from muses_lab.raster.window import checked
from muses_lab.resources import rates

_SAME = 1e-6
"""Share of a pixel by which places on one lattice may differ."""


def estimate(
    published: Published, window: GeoBox, format: Any = None, shown: GeoBox | None = None, said: tuple[str, ...] = ()
) -> Plan:
    """The plan of a chain on a window, with the file of a format (a name, a path or an ending), and the difference.

    `shown` is the window that a map shows; `said` what is left out of what it shows.
    """
    planned = plan(published.prepared, window)
    layers = len(labels_of(published.prepared.output))
    values = layers * window.shape.x * window.shape.y
    planned = replace(planned, values=values)
    if format is not None:
        writer = _writer(format)
        size = values * published.prepared.dtype.itemsize
        planned = replace(
            planned, format=writer.name, file_bytes=round(size * writer.share), writing=size / rates.write_rate()
        )
    if shown is None:
        return planned
    return replace(planned, differences=(*said, *_differences(published, planned, checked(shown))))


def _writer(format: Any) -> Any:
    text = str(format)
    if "." in text:
        return writer_of(Path(text if Path(text).suffix else f"a{text}"))
    return writer_of(Path("a.tif"), text) if text.lower() == "geotiff" else _named(text)


def _named(text: str) -> Any:
    from muses_lab.export.formats import writers

    for writer in writers():
        if writer.name.lower() == text.lower():
            return writer
    return writer_of(Path("a"), text)  # which says what there is


def _differences(published: Published, planned: Plan, shown: GeoBox) -> list[str]:
    """Why the values are not those that a map shows; none: they are, pixel for pixel."""
    seen, found = plan(published.prepared, shown), []
    for grid, metres in planned.levels.items():
        other = seen.levels.get(grid)
        if other is not None and abs(other - metres) > 1e-6 * metres:
            found.append(
                f"values are computed of pixels of {metres:g} m, the map shows those of {other:g} m: means of "
                "them, of classes the nearest"
                if other > metres
                else f"values are computed of pixels of {metres:g} m, the map shows finer ones of {other:g} m"
            )
            break
    if not _on_one_lattice(planned.window, shown):
        found.append(
            f"its pixels are {_text(planned.window)}, the map's {_text(shown)}: each takes the value of the chain's "
            "pixel that holds its centre"
        )
    if (planned.thinning is None) != (seen.thinning is None) or (
        planned.thinning and seen.thinning and planned.thinning.used != seen.thinning.used
    ):
        found.append(f"the map shows fewer dates: {seen.thinning}" if seen.thinning else f"{planned.thinning}")
    return found


def _on_one_lattice(a: GeoBox, b: GeoBox) -> bool:
    """Whether two windows have the same pixels where both are."""
    if not same_crs(crs_name(a.crs), crs_name(b.crs)):
        return False
    m, n = a.affine, b.affine
    if any(abs(p - q) > _SAME * abs(m.a) for p, q in zip((m.a, m.b, m.d, m.e), (n.a, n.b, n.d, n.e), strict=True)):
        return False
    column, row = ~m @ (n.c, n.f)
    return abs(column - round(column)) < 1e-3 and abs(row - round(row)) < 1e-3


def _text(window: GeoBox) -> str:
    unit = "°" if known_crs(crs_name(window.crs)).is_geographic else " m"
    return f"{abs(window.resolution.x):.4g}{unit} wide in {crs_name(window.crs)[:20]}"
