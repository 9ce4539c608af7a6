"""The class's evaluator without a hub: `python -m benchmarks.course_service URL [embedded]`.

Tokens name their owner (`of-alice`). With `embedded` an embedded Dask cluster evaluates, in the place of threads.
"""

from __future__ import annotations

import asyncio
import sys

from tornado.httputil import HTTPHeaders

from muses_lab import compute
from muses_lab.errors import AccessDenied
from muses_lab.evaluator.app import serve
from muses_lab.store.records import Who

PREFIX = "/services/course"


class Tokens:
    """In the place of a hub: `Authorization: token of-alice` is alice."""

    async def who(self, headers: HTTPHeaders) -> Who:
        kind, _, token = headers.get("Authorization", "").partition(" ")
        if kind != "token" or not token.startswith("of-"):
            raise AccessDenied("the hub does not know this token, or no longer")
        return Who(token.removeprefix("of-"))


if __name__ == "__main__":
    executor = compute.executor("embedded") if sys.argv[2:] == ["embedded"] else None
    asyncio.run(serve(Tokens(), sys.argv[1], PREFIX, executor))
