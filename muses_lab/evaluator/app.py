"""The evaluator's process: its address, its routes, its end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from typing import Any
from urllib.parse import urlsplit

from tornado.httpserver import HTTPServer
from tornado.web import Application

from muses_lab import logs
from muses_lab.compute.queue import Executor
from muses_lab.crs import without_network
from muses_lab.errors import MusesError
from muses_lab.evaluator.api import ROUTES, UnknownHandler
from muses_lab.evaluator.state import Evaluator, Names
from muses_lab.hub.app import log_request
from muses_lab.settings import number

logger = logging.getLogger("muses_lab.evaluator")

NAME = "course"
"""Of the hub's service."""


def application(evaluator: Evaluator, prefix: str) -> Application:
    shared: dict[str, Any] = {"service": evaluator}
    return Application(
        [(rf"{prefix.rstrip('/')}/{path}", handler, shared) for path, handler in ROUTES],
        log_function=log_request,
        default_handler_class=UnknownHandler,
        default_handler_args=shared,
    )


async def serve(access: Names, url: str, prefix: str, executor: Executor | None = None) -> None:
    """Serves at an address until the process is told to end."""
    without_network()
    evaluator = Evaluator(access, executor)
    address = urlsplit(url)
    server = HTTPServer(application(evaluator, prefix), max_body_size=0, max_header_size=64 << 10)
    server.listen(address.port or 80, address.hostname or "127.0.0.1")
    threading.Thread(target=evaluator.preload, name="muses-preload", daemon=True).start()
    logger.info("the service %s computes for the courses in %s", NAME, evaluator.chains.pinned.folder)
    ended = asyncio.Event()
    for number_ in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number_, ended.set)
    await ended.wait()
    server.stop()
    for work in list(evaluator.under_way.values()):
        work.cancel()  # who waits asks elsewhere
    await server.close_all_connections()
    evaluator.close()


def main() -> None:
    from jupyterhub.services.auth import HubOAuth

    from muses_lab.hub.access import Access

    logs.begin(NAME)
    for name in ("JUPYTERHUB_SERVICE_URL", "JUPYTERHUB_API_TOKEN"):
        if not os.environ.get(name):
            raise MusesError(
                f"{name} is not set: JupyterHub starts this service and sets it (see jupyterhub_config.py)"
            )
    auth = HubOAuth.instance(cache_max_age=int(number("MUSES_HUB_TOKEN_SECONDS")))
    asyncio.run(serve(Access(auth, service=NAME), os.environ["JUPYTERHUB_SERVICE_URL"], auth.base_url))
