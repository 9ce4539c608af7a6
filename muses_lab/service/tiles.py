"""What a map shows: GET tiles/<chain>/<style>/{z}/{x}/{y}.png, GET base/{z}/{x}/{y}.png?theme=, POST view"""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from typing import Any

import muses_lab.render as rendering
from muses_lab.service.basemap import THEMES, base_tile
from muses_lab.service.failures import BadRequest
from muses_lab.service.handler import IMMUTABLE, ServiceHandler, answer
from muses_lab.service.reports import HEADER
from muses_lab.service.tile import Tile
from muses_lab.service.tile_service import is_private
from muses_lab.service.views import View


class PictureHandler(ServiceHandler):
    """Base of what answers with a picture, also where it failed: then with one that says so."""

    _etag: str | None = None

    async def get(self, *args: str) -> None:
        raise NotImplementedError

    async def head(self, *args: str) -> None:
        await self.get(*args)

    def is_known(self, etag: str, cached: str) -> bool:
        """Whether the browser has the picture of that name; else it may keep it, as `cached` says."""
        self._etag = etag
        self.set_header("Cache-Control", cached)
        self.set_header("Etag", etag)
        if not self.check_etag_header():
            return False
        self.set_status(304)
        self.finish()
        return True

    def compute_etag(self) -> str | None:
        return self._etag

    def write_failure(self, code: str, message: str, details: dict[str, Any]) -> None:
        self._etag = None
        self.finish(rendering.error_tile(f"{code}: {message}"[:160]), set_content_type="image/png")


def etag(*parts: str) -> str:
    """A published chain's tile is named by its hashes and place alone."""
    return f'"{hashlib.sha256("/".join(parts).encode()).hexdigest()[:32]}"'


class TileHandler(PictureHandler):
    """One tile of a published chain, drawn with a style: 256 × 256 PNG, cached by the browser for good.

    A failed tile has an error status, the error's code in `X-Muses-Error`, and a picture that shows that it failed.
    A tile for which scenes could not be read is a picture too (`X-Muses-Warning`), but not cached; nor is one of a
    private chain, which is gone with the code.
    """

    @answer
    async def get(self, chain: str, style: str, z: str, x: str, y: str) -> None:
        tile = Tile.parse(z, x, y)
        if not is_private(chain) and self.is_known(etag(chain, style, z, x, y), IMMUTABLE):
            return
        picture = await self.while_connected(self.service.picture(chain, style, tile))
        self.set_header(HEADER, picture.report)
        if picture.failed:
            self._etag = None
            self.clear_header("Etag")
            self.set_header("Cache-Control", "no-store")
            self.set_header("X-Muses-Warning", "scenes-failed")
        self.finish(picture.png, set_content_type="image/png")


class BaseTileHandler(PictureHandler):
    """One tile of the offline base map. Cached for a day: it may look better in the next release."""

    @answer
    async def get(self, z: str, x: str, y: str) -> None:
        tile = Tile.parse(z, x, y)
        theme = self.get_query_argument("theme", "light")
        if theme not in THEMES:
            known = " and ".join(THEMES)
            raise BadRequest(f"theme={theme[:40]!r} is none of the base map's, which are {known}", argument="theme")
        name = f'"base-{version("muses-lab")}-{theme}-{tile.z}-{tile.x}-{tile.y}"'
        if not self.is_known(name, "private, max-age=86400"):
            picture = await self.service.pools.basemap.run(base_tile, tile, theme)
            self.finish(picture, set_content_type="image/png")


class ViewHandler(ServiceHandler):
    """What a map shows now: tiles nearest to its centre go first, and those around it come before they are asked for.

    `{"id": the map's, "z", "center": [lon, lat], "bounds": [west, south, east, north], "layers": ["<chain>/<style>"]}`;
    layers are the visible ones, the top one first, none where the map has gone.
    """

    @answer
    async def post(self) -> None:
        self.service.look(View.from_json(self.json_body()))
        self.set_status(204)
        self.finish()
