"""What a map shows: tiles of chains, as pictures and as values; tiles of the base map; and the map's view.

GET tiles/<chain>/<style>/{z}/{x}/{y}.png, tiles/<chain>/{z}/{x}/{y}.v1, base/{z}/{x}/{y}.png?theme=; POST view
"""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from typing import Any

import muses_lab.render as rendering
from muses_lab.service import value_tile
from muses_lab.service.basemap import THEMES, base_tile
from muses_lab.service.failures import BadRequest
from muses_lab.service.handler import IMMUTABLE, ServiceHandler, answer
from muses_lab.service.metrics import TILES, outcome
from muses_lab.service.reports import HEADER
from muses_lab.service.tile import Tile
from muses_lab.service.tile_service import TileAnswer, is_private
from muses_lab.service.views import View


class PictureHandler(ServiceHandler):
    """Base of what answers with a picture, also where it failed: then with one that says so."""

    _etag: str | None = None
    kind = "picture"
    """As `metrics.TILES` tells it."""

    async def get(self, *args: str) -> None:
        raise NotImplementedError

    def on_finish(self) -> None:
        TILES.labels(self.kind, outcome(self.get_status())).observe(self.request.request_time())
        super().on_finish()

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


class ChainTileHandler(PictureHandler):
    """Base of the tiles of a published chain, cached by the browser for good.

    A failed tile has an error status, the error's code in `X-Muses-Error`, and a picture that shows that it failed.
    A tile for which scenes could not be read is one too (`X-Muses-Warning`), but not cached; nor is one of a private
    chain, which is gone with the code.
    """

    def is_kept(self, chain: str, *parts: str) -> bool:
        """Whether the browser has the tile of these parts of an address."""
        return not is_private(chain) and self.is_known(etag(chain, *parts), IMMUTABLE)

    def tell(self, tile: TileAnswer) -> None:
        """Says in headers what the tile tells of itself."""
        self.set_header(HEADER, tile.report)
        if tile.failed:
            self._etag = None
            self.clear_header("Etag")
            self.set_header("Cache-Control", "no-store")
            self.set_header("X-Muses-Warning", "scenes-failed")


class TileHandler(ChainTileHandler):
    """One tile of a chain, drawn with a style: 256 × 256 PNG."""

    @answer
    async def get(self, chain: str, style: str, z: str, x: str, y: str) -> None:
        tile = Tile.parse(z, x, y)
        if self.is_kept(chain, style, z, x, y):
            return
        made = await self.while_connected(self.service.picture(chain, style, tile))
        self.tell(made)
        self.finish(made.body, set_content_type="image/png")


class ValueTileHandler(ChainTileHandler):
    """The values of one tile of a chain of one or three bands, for whatever style the page colours them in.

    See `value_tile` for the format.
    """

    kind = "values"

    @answer
    async def get(self, chain: str, z: str, x: str, y: str) -> None:
        tile = Tile.parse(z, x, y)
        self.set_header("Vary", "Accept-Encoding")
        if self.is_kept(chain, value_tile.VERSION, z, x, y):
            return
        made = await self.while_connected(self.service.tile_values(chain, tile))
        self.tell(made)
        takes_gzip = value_tile.takes_gzip(self.request.headers.get("Accept-Encoding", ""))
        if takes_gzip:
            self.set_header("Content-Encoding", "gzip")
        body = made.body if takes_gzip else value_tile.unzipped(made.body)
        self.finish(body, set_content_type=value_tile.CONTENT_TYPE)


class BaseTileHandler(PictureHandler):
    """One tile of the offline base map. Cached for a day: it may look better in the next release."""

    kind = "base"

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
