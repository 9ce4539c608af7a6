"""GET tiles/<chain>/<style>/{z}/{x}/{y}.png"""

from __future__ import annotations

import hashlib
from typing import Any

import muses_lab.render as rendering
from muses_lab.errors import NotAnImage
from muses_lab.service.coalesce import Claim
from muses_lab.service.handler import ServiceHandler, answer
from muses_lab.service.tile import Tile
from muses_lab.service.tile_report import HEADER

IMMUTABLE = "private, max-age=31536000, immutable"


def etag(*parts: str) -> str:
    """A published chain's tile is named by its hashes and place alone."""
    return f'"{hashlib.sha256("/".join(parts).encode()).hexdigest()[:32]}"'


class TileHandler(ServiceHandler):
    """One tile of a published chain, drawn with a style: 256 × 256 PNG, cached by the browser for good.

    A failed tile has an error status, the error's code in `X-Muses-Error`, and a picture that shows that it failed.
    A tile for which scenes could not be read is a picture too (`X-Muses-Warning`), but not cached.
    """

    _share: Claim[Any] | None = None
    _etag: str | None = None

    @answer
    async def get(self, chain: str, style: str, z: str, x: str, y: str) -> None:
        tile = Tile.parse(z, x, y)
        published = await self.service.chain(chain)
        look = await self.service.style(style)
        self._etag = etag(chain, style, z, x, y)
        self.set_header("Cache-Control", IMMUTABLE)
        self.set_header("Etag", self._etag)
        if self.check_etag_header():
            self.set_status(304)
            self.finish()
            return
        if times := published.prepared.output.times:
            raise NotAnImage(f"the chain has {len(times)} dates; reduce them, for example with .median('t')")
        drawn = self.service.drawn(published.chain_hash, tile, look)
        if drawn is None:
            self._share = self.service.ask(published, tile)
            pixels = await self.service.wait(self._share, published, tile)
            drawn = await self.service.draw(published, tile, look, pixels)
        self.set_header(HEADER, drawn.report)
        if drawn.failed:
            self._etag = None
            self.clear_header("Etag")
            self.set_header("Cache-Control", "no-store")
            self.set_header("X-Muses-Warning", "scenes-failed")
        self.finish(drawn.drawing.png(look), set_content_type="image/png")

    async def head(self, *args: str) -> None:
        await self.get(*args)

    def compute_etag(self) -> str | None:
        return self._etag

    def on_connection_close(self) -> None:
        """The map no longer shows this tile: whatever nobody else waits for is dropped."""
        if self._share is not None:
            self._share.leave()

    def write_failure(self, code: str, message: str, details: dict[str, Any]) -> None:
        self._etag = None
        self.finish(rendering.error_tile(f"{code}: {message}"[:160]), set_content_type="image/png")
