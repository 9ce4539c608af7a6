"""The service's process: its address, its routes, its database, its end."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
from typing import Any
from urllib.parse import urlsplit

from jupyterhub.services.auth import HubOAuth, HubOAuthCallbackHandler
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

from muses_lab import logs, settings
from muses_lab.errors import MusesError, StoreUnavailable
from muses_lab.hub.access import Access
from muses_lab.hub.api import ROUTES, HealthHandler, UnknownHandler
from muses_lab.hub.class_page import PAGES
from muses_lab.hub.courses import COURSE_ROUTES
from muses_lab.hub.metrics import MetricsHandler
from muses_lab.hub.page import SharedHandler, StaticHandler
from muses_lab.hub.state import Service
from muses_lab.settings import number

logger = logging.getLogger("muses_lab.hub")


def database_url() -> str:
    """SQLAlchemy URL of the hub's store (`MUSES_HUB_DATABASE`); a SQLite file in `settings.home()` by default."""
    return os.environ.get("MUSES_HUB_DATABASE") or f"sqlite:///{settings.home() / 'hub.sqlite'}"


def application(service: Service, auth: HubOAuth) -> Application:
    prefix = auth.base_url.rstrip("/")
    shared: dict[str, Any] = {"service": service}
    pages = {**shared, "auth": auth}

    def logged(handler: RequestHandler) -> None:
        route = type(handler).__name__.removesuffix("Handler").lower()
        service.counted.request(route, handler.get_status(), handler.request.request_time())
        log_request(handler)

    return Application(
        [
            (rf"{prefix}/health", HealthHandler, shared),
            (rf"{prefix}/metrics", MetricsHandler, shared),
            *((rf"{prefix}/api/{path}", handler, shared) for path, handler in (*ROUTES, *COURSE_ROUTES)),
            (rf"{prefix}/shared/([A-Za-z0-9_-]+)", SharedHandler, pages),
            *((rf"{prefix}/{path}", handler, pages) for path, handler in PAGES),
            (rf"{prefix}/static/([a-z]+\.(?:js|css))", StaticHandler, shared),
            (rf"{prefix}/oauth_callback", HubOAuthCallbackHandler),
        ],
        cookie_secret=secrets.token_bytes(32),  # a new start asks the hub anew who visits; nobody has to type anything
        xsrf_cookies=True,
        log_function=logged,
        default_handler_class=UnknownHandler,
        default_handler_args=shared,
    )


def log_request(handler: RequestHandler) -> None:
    """One line for each request that failed, without what was asked for in it: that may be a secret."""
    status = handler.get_status()
    if status >= 400:
        took = 1000 * handler.request.request_time()
        logger.info("%d %s %s (%.0f ms)", status, handler.request.method, handler.request.path, took)


async def serve() -> None:
    """Serves until the process is told to end."""
    auth = HubOAuth.instance(cache_max_age=int(number("MUSES_HUB_TOKEN_SECONDS")))
    service = Service(
        database_url(),
        Access(auth, os.environ.get("MUSES_HUB_TRAINERS", "@trainers"), os.environ.get("MUSES_HUB_ADMINS", "")),
    )
    service.make_room()
    try:
        await asyncio.to_thread(service.store)
    except StoreUnavailable as error:
        logger.warning("%s; going on without, until it does", error)
    address = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    server = HTTPServer(
        application(service, auth), max_body_size=0, max_header_size=64 << 10, idle_connection_timeout=300
    )
    server.listen(address.port or 80, address.hostname or "127.0.0.1")
    logger.info("the service muses serves %s from %s", auth.base_url, service.url.split("@")[-1])
    ended = asyncio.Event()
    for number_ in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number_, ended.set)
    daily = asyncio.create_task(_keep_small(service))
    await ended.wait()
    daily.cancel()
    server.stop()
    await server.close_all_connections()
    await service.close()


async def _keep_small(service: Service) -> None:
    while True:
        try:
            await service.pool.run(service.forget)
        except MusesError as error:
            logger.warning("%s", error)
        await asyncio.sleep(3600)


def main() -> None:
    logs.begin("muses")
    for name in ("JUPYTERHUB_SERVICE_URL", "JUPYTERHUB_API_TOKEN"):
        if not os.environ.get(name):
            raise MusesError(
                f"{name} is not set: JupyterHub starts this service and sets it (see jupyterhub_config.py)"
            )
    asyncio.run(serve())
