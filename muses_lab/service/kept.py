"""POST kept"""

from __future__ import annotations

from typing import Any

from muses_lab import compute
from muses_lab.service.failures import BadRequest
from muses_lab.service.handler import ServiceHandler, answer

BLOCKS = 1000
"""How many may be asked for at once."""


class KeptHandler(ServiceHandler):
    """Which blocks of steps are there already, in the memory of the workers or on disk: what a step costs no more.

    `{"blocks": [[hash of the step, grid, level, row, column], …]}` → `{"kept": [true, …]}`. Nothing is started for it.
    """

    @answer
    async def post(self) -> None:
        names = _names(self.json_body())
        kept = await self.service.pools.plans.run(compute.keeps, names, key="kept") if self.service.computed else None
        self.set_header("Cache-Control", "no-store")
        self.send_json({"kept": kept or [False] * len(names)})


def _names(body: Any) -> list[tuple[Any, ...]]:
    blocks = body.get("blocks") if isinstance(body, dict) else None
    if not isinstance(blocks, list) or not all(map(_is_name, blocks)):
        raise BadRequest("the body is {blocks: [[hash, grid, level, row, column], …]}", argument="blocks")
    if len(blocks) > BLOCKS:
        raise BadRequest(
            f"{len(blocks)} blocks are more than the {BLOCKS} that may be asked for at once", argument="blocks"
        )
    return [tuple(block) for block in blocks]


def _is_name(block: Any) -> bool:
    if not isinstance(block, list) or len(block) != 5:
        return False
    return all(isinstance(part, str) for part in block[:2]) and all(type(part) is int for part in block[2:])
