"""The page that a share's link leads to: what it is, for those it was granted to, and how to open it."""

from __future__ import annotations

import html

from jupyterhub.services.auth import HubOAuth, HubOAuthenticated
from tornado.web import authenticated

from muses_lab.errors import MusesError
from muses_lab.hub.api import Base
from muses_lab.hub.state import Service
from muses_lab.store.records import Share, Who

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:4rem auto;padding:0 1rem;color:#1d2733}"
    "h1{font-size:1.5rem}code,pre{background:#eef1f4;padding:.2rem .4rem;border-radius:4px}pre{padding:1rem}"
    "a.open{display:inline-block;text-decoration:none;background:#0b63a5;color:#fff;padding:.6rem 1.2rem}"
    "a.open{border-radius:4px}a.open:focus-visible{outline:3px solid #f5a623}p.by{color:#4a5663}"
)
KINDS = {"view": "a view of a map", "export": "an export", "chain": "a layer"}


class SharedHandler(HubOAuthenticated, Base):
    """GET shared/<id>: for logged-in users of the hub; whoever it was not granted to learns nothing."""

    def initialize(self, service: Service, auth: HubOAuth) -> None:  # type: ignore[override]
        super().initialize(service)
        self.hub_auth = auth

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header(
            "Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
        )
        self.set_header("X-Frame-Options", "DENY")

    async def prepare(self) -> None:
        await self.hub_auth.get_user(self, sync=False)  # asked here, without holding up everybody else

    @authenticated
    async def get(self, id: str) -> None:
        try:
            who = self.service.access.of(self.current_user)
            async with self.service.access.turn(who.name):
                share = await self.run(lambda: self.service.store().of(who).share(id))
        except MusesError as error:
            self.set_status(error.http_status)
            name = self.current_user["name"]
            self._page(
                "This link does not open", f"<p>{html.escape(error.message)}. You are logged in as {_bold(name)}.</p>"
            )
            return
        self._page(share.title or "A shared layer", self._opening(share, who))

    def _opening(self, share: Share, who: Who) -> str:
        kind = KINDS[next(name for name in KINDS if name in share.content)]
        by = "You share this" if share.owner == who.name else f"{_bold(share.owner)} shares this with you"
        until = f", until {share.expires:%d %B %Y %H:%M} UTC" if share.expires else ""
        redirect = f"{self.hub_auth.hub_prefix}user-redirect/muses/shared/{share.id}"
        return (
            f"<p class=by>{by}: {kind}{until}. It is computed on your own cluster.</p>"
            f'<p><a class=open href="{html.escape(redirect)}">Open in a notebook</a></p>'
            "<p>Or in a notebook of your own:</p>"
            f"<pre>import muses_lab as ml\n\nlayer = ml.shared({html.escape(repr(share.id))})</pre>"
        )

    def _page(self, title: str, body: str) -> None:
        self.set_header("Content-Type", "text/html; charset=UTF-8")
        self.finish(
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)} · MUSES Lab</title>'
            f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
            f"<main><h1>{html.escape(title)}</h1>{body}</main></html>"
        )


def _bold(name: str) -> str:
    return f"<strong>{html.escape(name)}</strong>"
