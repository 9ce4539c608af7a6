"""GET base/{z}/{x}/{y}.png?theme=light|dark"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import muses_lab.render as rendering
from muses_lab.service.basemap import THEMES, base_tile
from muses_lab.service.failures import BadRequest
from muses_lab.service.handler import ServiceHandler, answer
from muses_lab.service.tile import Tile


class BaseTileHandler(ServiceHandler):
    """One tile of the offline base map. Cached for a day: it may look better in the next release."""

    _etag: str | None = None

    @answer
    async def get(self, z: str, x: str, y: str) -> None:
        tile = Tile.parse(z, x, y)
        theme = self.get_query_argument("theme", "light")
        if theme not in THEMES:
            known = " and ".join(THEMES)
            raise BadRequest(f"theme={theme[:40]!r} is none of the base map's, which are {known}", argument="theme")
        self._etag = f'"base-{version("muses-lab")}-{theme}-{tile.z}-{tile.x}-{tile.y}"'
        self.set_header("Cache-Control", "private, max-age=86400")
        self.set_header("Etag", self._etag)
        if self.check_etag_header():
            self.set_status(304)
            self.finish()
            return
        self.finish(await self.service.pools.basemap.run(base_tile, tile, theme), set_content_type="image/png")

    async def head(self, *args: str) -> None:
        await self.get(*args)

    def compute_etag(self) -> str | None:
        return self._etag

    def write_failure(self, code: str, message: str, details: dict[str, Any]) -> None:
        self._etag = None
        self.finish(rendering.error_tile(f"{code}: {message}"[:160]), set_content_type="image/png")
