"""GET values/<chain>?lon=&lat=&z=[&style=]"""

from __future__ import annotations

import math
from typing import Any

from muses_lab.service.handler import ServiceHandler, answer
from muses_lab.service.tile import TilePixel
from muses_lab.style import Style


class ValuesHandler(ServiceHandler):
    """The chain's values at a place: of exactly the pixel that the map shows there at that zoom.

    `values` (null: missing) run over `dates`, and for each over `bands`, those that the chain has; `texts` are the
    values for reading, with the class's label if `style` is given and has classes. `scenes_here`: how many scenes
    touch the pixel. `scenes_used` of `scenes_found`, `metres_per_pixel` (of the level that the value is of),
    `native_metres_per_pixel` and `failed` are the tile's.
    """

    @answer
    async def get(self, chain: str) -> None:
        lon, lat, zoom = self.number("lon"), self.number("lat"), self.zoom()
        place = TilePixel.at(lon, lat, zoom)
        published = await self.service.chain(chain)
        style_hash = self.get_query_argument("style", None)
        style = await self.service.style(style_hash) if style_hash else None
        pixels = await self.while_connected(self.service.pixels(published, place.tile, urgent=True))
        shown = pixels.values[..., place.row, place.col].reshape(-1).tolist()  # dates × bands, those there are
        values = [v if math.isfinite(v) else None for v in shown]
        scenes_here = await self.service.pools.plans.run(_scenes_at, published, place, key=published.chain_hash)
        self.set_header("Cache-Control", "no-store")
        self.send_json(
            {
                "chain": chain,
                "lon": lon,
                "lat": lat,
                "z": zoom,
                "tile": {"x": place.tile.x, "y": place.tile.y, "col": place.col, "row": place.row},
                "bands": list(pixels.bands or ()),
                "dates": [str(t)[:19] + "Z" for t in published.prepared.output.times],
                "values": values,
                "texts": [describe(v, style) for v in shown],
                "label": style.label if style else None,
                "unit": style.unit if style else None,
                "scenes_here": scenes_here,
                "scenes_used": pixels.report.scenes_used,
                "scenes_found": pixels.report.scenes_found,
                "metres_per_pixel": [round(size, 3) for size in pixels.report.levels],
                "native_metres_per_pixel": [round(size, 3) for size in pixels.report.native],
                "failed": [{"id": str(scene)} for scene, _ in pixels.report.failed],
            }
        )


def _scenes_at(published: Any, place: TilePixel) -> int:
    """How many pinned scenes touch a pixel; in a thread."""
    from muses_lab.engine.mosaic import layout
    from muses_lab.raster.window import Window

    row, col = place.row, place.col
    return len(layout(published.prepared, Window.tile(*place.tile)[row : row + 1, col : col + 1]).found)


def describe(value: float, style: Style | None = None) -> str:
    """A value for reading: class label, number with unit, or that there are no data."""
    if math.isnan(value):
        return "no data"
    if style and style.classes and value in style.classes:
        return f"{style.classes[value][0]} ({value:g})"
    text = ("−∞" if value < 0 else "∞") if math.isinf(value) else f"{value:.6g}"
    return f"{text} {style.unit}" if style and style.unit else text
