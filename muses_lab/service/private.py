"""POST private?process=<number>-<start>"""

from __future__ import annotations

import re

from tornado import web

from muses_lab.service.failures import BadRequest
from muses_lab.service.handler import ServiceHandler, answer


class PrivateHandler(ServiceHandler):
    """Takes a private chain (`engine.sealed`) from a kernel of this server, and answers its name in tiles' addresses,
    with how many bytes of such chains are kept.

    `process` tells the kernel's process: once it has ended, the chain is dropped when nobody looks at it any more.
    """

    auth_resource = "kernels"
    """Where a server's authorizer lets others look at maps only: what runs code is for who may start kernels."""

    @property
    def body_limit(self) -> int:
        return self.service.private.limit

    def check_size(self, size: int) -> None:
        self.service.private.check_size(size)

    def check_asker(self) -> None:
        """Refuses all but who has the server's token, which kernels know: a page's cookie is not enough for code."""
        if not self.token_authenticated:
            raise web.HTTPError(403, "private chains come from kernels, by the server's token")

    @answer
    async def post(self) -> None:
        said = re.fullmatch(r"(\d{1,10})-([0-9.]{1,40})", self.get_query_argument("process", ""))
        if said is None:
            raise BadRequest("process=<number>-<start> says which kernel's the chain is", argument="process")
        self.check_size(self._length)
        name = await self.service.take_private(bytes(self._body), (int(said[1]), said[2]))
        self.send_json({"chain": name, "limit": self.service.private.limit}, status=201)
