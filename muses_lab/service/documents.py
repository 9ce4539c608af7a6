"""GET and POST chains, GET chains/<hash>; POST styles, GET styles/<hash>, GET legend/<hash>"""

from __future__ import annotations

import json
from typing import Any

from jupyter_server.utils import url_path_join

from muses_lab.service.failures import public
from muses_lab.service.handler import IMMUTABLE, ServiceHandler, answer
from muses_lab.service.tile_service import check_hash
from muses_lab.style import Style


class ChainsHandler(ServiceHandler):
    """The published chains, newest first; POST publishes a document (an openEO process graph) and answers its hash.

    With `problems`: the items that were left out of its collections, with the reason.
    """

    @answer
    async def get(self) -> None:
        found = await self.service.pools.records.run(lambda: self.service.store().documents())
        self.send_json({"chains": [{"hash": h, "created": when.isoformat()} for h, when in found]})

    @answer
    async def post(self) -> None:
        chain_hash, problems = await self.service.pools.publishing.run(_publish, self.json_body(), self.service.store)
        self.set_header("Location", url_path_join(self.base_url, "muses", "chains", chain_hash))
        self.send_json({"hash": chain_hash, "problems": [public(line) for line in problems]}, status=201)


class ChainHandler(ServiceHandler):
    """The document of a published chain."""

    @answer
    async def get(self, chain: str) -> None:
        check_hash("chain", chain)
        text = await self.service.pools.records.run(lambda: self.service.store().document(chain))
        self.set_header("Cache-Control", IMMUTABLE)
        self.send_json(json.loads(text))


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


def _publish(document: Any, store: Any) -> tuple[str, tuple[str, ...]]:
    from muses_lab.api.chain import Chain

    chain = Chain.from_json(document)
    return chain.publish(store()), chain.problems
