"""An extension of the Jupyter server that is measured: it forgets, and tells what the workers did."""

from __future__ import annotations

import asyncio
from typing import Any

import tornado
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join


def forget_in_worker() -> None:
    """No decoded block, no result, no open file, no header."""
    from muses_lab.engine import worker_engine

    here = worker_engine()
    here.reader.close()
    here.cache.clear()


class ForgetHandler(APIHandler):
    """POST: what a first look finds: no pixels anywhere; documents stay where they are."""

    @tornado.web.authenticated
    async def post(self) -> None:
        from muses_lab import compute

        self.settings["muses_service"].forget()
        backend: Any = compute.executor().backend

        async def tell() -> None:
            client = await backend._client()
            await client.run(forget_in_worker)

        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(tell(), backend._loop))
        self.finish("{}")


class RestHandler(APIHandler):
    """POST {"on": bool}: whether nothing is begun for a map that is under way (`tile_service.Rest`)."""

    @tornado.web.authenticated
    async def post(self) -> None:
        from muses_lab.service.tile_service import Rest

        service, body = self.settings["muses_service"], self.get_json_body() or {}
        service._hold(False)
        service._rest = Rest(service._hold if body["on"] else lambda held: None)
        self.finish("{}")


class CountersHandler(APIHandler):
    """GET: the workers' counters."""

    @tornado.web.authenticated
    async def get(self) -> None:
        from muses_lab import compute

        self.finish(await asyncio.to_thread(compute.executor().counters))


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    return [{"module": "benchmarks.delivery_server"}]


def _load_jupyter_server_extension(serverapp: Any) -> None:
    base = serverapp.web_app.settings["base_url"]
    serverapp.web_app.add_handlers(
        ".*$",
        [
            (url_path_join(base, "benchmarks", "forget"), ForgetHandler),
            (url_path_join(base, "benchmarks", "rest"), RestHandler),
            (url_path_join(base, "benchmarks", "counters"), CountersHandler),
        ],
    )
