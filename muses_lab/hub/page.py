"""Pages of the hub's service; that which a share's link leads to: what it is, and how to open it."""

from __future__ import annotations

import html
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from jupyterhub.services.auth import HubOAuth, HubOAuthenticated
from tornado.web import authenticated

from muses_lab.errors import MusesError, NotFound
from muses_lab.hub.api import Base
from muses_lab.hub.state import Service
from muses_lab.store.records import Share, Who
from muses_lab.store.sql import SqlStore

T = TypeVar("T")

STATIC = Path(__file__).with_name("static")
SHARED_STATIC = ("dom.js", "format.js")
"""Modules that the widgets' pages have too."""

KINDS = {"view": "a view of a map", "export": "an export", "chain": "a layer"}


class StaticHandler(Base):
    """Scripts and styles of the pages: the same for everybody, so nobody has to be known."""

    async def get(self, name: str) -> None:
        file = widgets_static() / name if name in SHARED_STATIC else STATIC / name
        if not file.is_file():
            self.fail(NotFound("there is nothing at this address"))
            return
        kind = "text/css" if name.endswith(".css") else "text/javascript"
        self.set_header("Content-Type", f"{kind}; charset=UTF-8")
        self.set_header("Cache-Control", "no-cache")
        self.finish(file.read_bytes())


def widgets_static() -> Path:
    """The folder of the widgets' modules, which are installed with MUSES Lab; nothing of them is imported."""
    found = importlib.util.find_spec("muses_widgets")
    assert found is not None and found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / "js"


class Page(HubOAuthenticated, Base):
    """Base of what people open in a browser: who is not logged in is asked to.

    A page's scripts and styles are files of this service. What changes something, and what scripts ask for, needs the
    XSRF token of the page: JupyterHub believes no cookie without it.
    """

    def initialize(self, service: Service, auth: HubOAuth) -> None:  # type: ignore[override]
        super().initialize(service)
        self.hub_auth = auth

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header(
            "Content-Security-Policy",
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
            "form-action 'none'; frame-ancestors 'none'",
        )
        self.set_header("X-Frame-Options", "DENY")
        self.set_header("Cross-Origin-Opener-Policy", "same-origin")

    def check_xsrf_cookie(self) -> None:
        self.hub_auth.check_xsrf_cookie(self)

    async def prepare(self) -> None:
        await self.hub_auth.get_user(self, sync=False)  # asked here, without holding up everybody else

    @property
    def who(self) -> Who:
        return self.service.access.of(self.current_user)

    async def ask(self, function: Callable[[SqlStore], T]) -> T:
        """What the store says to this user, when it is their turn."""
        who = self.who
        async with self.service.access.turn(who.name):
            return await self.run(lambda: function(self.service.store().of(who)))

    def user_page(self, path: str) -> str:
        """Address of a page of the visitor's own server, which the hub starts if need be; for an attribute."""
        return html.escape(f"{self.hub_auth.hub_prefix}user-redirect/muses/{path}")

    def send_page(self, title: str, body: str, script: str = "", wide: bool = False) -> None:
        base = html.escape(self.hub_auth.base_url)
        module = f'<script type="module" src="{base}static/{script}"></script>' if script else ""
        self.set_header("Content-Type", "text/html; charset=UTF-8")
        self.finish(
            f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
            f"<title>{html.escape(title)} · MUSES Lab</title>"
            '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">'
            f'<link rel="stylesheet" href="{base}static/pages.css">{module}</head>'
            f"<body><main{' class=wide' if wide else ''}><h1>{html.escape(title)}</h1>{body}</main></body></html>"
        )

    def send_refusal(self, error: MusesError) -> None:
        self.set_status(error.http_status)
        name = bold(self.current_user["name"])
        self.send_page("This link does not open", f"<p>{html.escape(error.message)}. You are logged in as {name}.</p>")


class SharedHandler(Page):
    """GET shared/<id>: for logged-in users of the hub; whoever it was not granted to learns nothing."""

    @authenticated
    async def get(self, id: str) -> None:
        try:
            share = await self.ask(lambda store: store.share(id))
        except MusesError as error:
            self.send_refusal(error)
            return
        self.send_page(share.title or "A shared layer", self._opening(share, self.who))

    def _opening(self, share: Share, who: Who) -> str:
        kind = KINDS[next(name for name in KINDS if name in share.content)]
        by = "You share this" if share.owner == who.name else f"{bold(share.owner)} shares this with you"
        until = f", until {share.expires:%d %B %Y %H:%M} UTC" if share.expires else ""
        link = self.user_page(f"shared/{share.id}")
        return (
            f"<p class=by>{by}: {kind}{until}. It is computed on your own cluster.</p>"
            f'<p><a class=open href="{link}">Open in a notebook</a></p>'
            "<p>Or in a notebook of your own:</p>"
            f"<pre>import muses_lab as ml\n\nlayer = ml.shared({html.escape(repr(share.id))})</pre>"
        )


def bold(name: str) -> str:
    return f"<strong>{html.escape(name)}</strong>"
