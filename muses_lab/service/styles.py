"""POST styles, GET styles/<hash>, GET legend/<hash>"""

from __future__ import annotations

from jupyter_server.utils import url_path_join

from muses_lab.service.handler import ServiceHandler, answer
from muses_lab.service.tiles import IMMUTABLE
from muses_lab.style import Style


class StylesHandler(ServiceHandler):
    """POST keeps a style and answers its hash: a palette can be changed without a kernel."""

    @answer
    async def post(self) -> None:
        style = Style.from_json(self.json_body())
        await self.service.pools.records.run(lambda: self.service.store().put_style(style.hash, style.to_text()))
        self.set_header("Location", url_path_join(self.base_url, "muses", "styles", style.hash))
        self.send_json({"hash": style.hash}, status=201)


class StyleHandler(ServiceHandler):
    """The document of a style."""

    @answer
    async def get(self, style: str) -> None:
        document = (await self.service.style(style)).to_json()
        self.set_header("Cache-Control", IMMUTABLE)
        self.send_json(document)


class LegendHandler(ServiceHandler):
    """What a legend of a style draws (see `Style.legend`)."""

    @answer
    async def get(self, style: str) -> None:
        legend = (await self.service.style(style)).legend()
        self.set_header("Cache-Control", IMMUTABLE)
        self.send_json(legend)
