"""What the service answers to: one line per route."""

from __future__ import annotations

from jupyter_server.utils import url_path_join
from tornado.web import Application

from muses_lab.service.cluster import ClusterHandler
from muses_lab.service.course_page import PAGES as COURSE_PAGES
from muses_lab.service.courses import CourseAnswersHandler, CourseResetHandler, MyCourseHandler
from muses_lab.service.documents import ChainHandler, ChainsHandler, LegendHandler, StyleHandler, StylesHandler
from muses_lab.service.exports import ExportHandler
from muses_lab.service.handler import ServiceHandler, UnknownRouteHandler
from muses_lab.service.jobs import JobHandler, JobsHandler
from muses_lab.service.kept import KeptHandler
from muses_lab.service.private import PrivateHandler
from muses_lab.service.share_page import SharedHandler
from muses_lab.service.status import HealthHandler, NotesHandler, StatusesHandler, StatusHandler
from muses_lab.service.tile_service import TileService
from muses_lab.service.tiles import BaseTileHandler, TileHandler, ValueTileHandler, ViewHandler
from muses_lab.service.uploads import UploadHandler
from muses_lab.service.value_tile import VERSION
from muses_lab.service.values import ValuesHandler

PART = "([^/]+)"

ROUTES: list[tuple[str, type[ServiceHandler]]] = [
    (rf"tiles/{PART}/{PART}/{PART}/{PART}/{PART}\.png", TileHandler),  # chain / style / z / x / y
    (rf"tiles/{PART}/{PART}/{PART}/{PART}\.{VERSION}", ValueTileHandler),  # chain / z / x / y
    (rf"base/{PART}/{PART}/{PART}\.png", BaseTileHandler),
    ("chains", ChainsHandler),
    (f"chains/{PART}", ChainHandler),
    ("styles", StylesHandler),
    (f"styles/{PART}", StyleHandler),
    (f"legend/{PART}", LegendHandler),
    (f"values/{PART}", ValuesHandler),
    (f"status/{PART}", StatusHandler),
    ("status", StatusesHandler),
    ("view", ViewHandler),
    ("kept", KeptHandler),
    ("private", PrivateHandler),
    (f"exports/{PART}", ExportHandler),  # job
    (f"uploads/{PART}", UploadHandler),  # id
    ("jobs", JobsHandler),
    (f"jobs/{PART}", JobHandler),  # id
    ("cluster", ClusterHandler),
    (f"courses/{PART}/me", MyCourseHandler),
    (f"courses/{PART}/reset/(.+)", CourseResetHandler),
    (f"courses/{PART}/answers", CourseAnswersHandler),
    ("notes", NotesHandler),
    ("health", HealthHandler),
    ("(?:.*)", UnknownRouteHandler),
]

PAGES = [*COURSE_PAGES, (r"shared/([A-Za-z0-9_-]{8,64})", SharedHandler)]
"""What people open themselves: who is not logged in is asked to."""


def add_routes(web_app: Application) -> TileService:
    """Adds the service to a Jupyter server's application."""
    service = web_app.settings["muses_service"] = TileService()
    base_url = web_app.settings["base_url"]
    routes = [*PAGES, *ROUTES]
    web_app.add_handlers(".*$", [(url_path_join(base_url, "muses", path), handler) for path, handler in routes])
    return service
