"""Sharing with other users of the hub: what is granted, to whom, until when, and the link to it."""

from __future__ import annotations

import html
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from muses_lab.engine import Published
from muses_lab.errors import MusesError
from muses_lab.publish.documents import keep
from muses_lab.publish.private import check_public
from muses_lab.store import Share, Store, default_store, new_id
from muses_lab.style import Style

Names = str | Iterable[str] | None


@dataclass(frozen=True)
class Link:
    """A share that was made: its link works for those it was granted to, and for nobody else.

    ```python
    link = ndvi.style(cmap="RdYlGn").share(user="bob")
    link.url            # send it
    link.revoke()       # take it back
    ```
    """

    share: Share
    store: Store

    @property
    def id(self) -> str:
        return self.share.id

    @property
    def url(self) -> str:
        """Address of the page where it is opened; without the hub's host where that is not known here."""
        return address(self.store, self.share.id)

    def revoke(self) -> None:
        """From now on nobody opens it any more. What somebody has computed with it stays theirs."""
        self.store.revoke(self.share.id)

    def __repr__(self) -> str:
        return f"<Link {self.url}: {_granted(self.share)}>"

    def _repr_html_(self) -> str:
        url = html.escape(self.url)
        return f'<a href="{url}" target="_blank" rel="noopener">{url}</a><br>{html.escape(_granted(self.share))}'


def share(
    published: Published,
    style: Style | None,
    title: str,
    user: Names,
    group: Names,
    days: float | None,
    view: Mapping[str, Any] | None,
) -> Link:
    """Keeps a document (and the style of a layer) in the store and grants it; see `Chain.share`."""
    check_public(published.root)
    store = default_store()
    address(store, "")  # where nobody can be told, nothing is kept
    content: dict[str, Any] = {"chain": keep(published, store)}
    if style is not None:
        store.put_style(style.hash, style.to_text())
        content["style"] = style.hash
    if view is not None:
        content["view"] = view
    return grant(store, content, published.artefacts, title, user, group, days)


def grant(
    store: Store,
    content: Mapping[str, Any],
    artefacts: Iterable[str],
    title: str,
    user: Names,
    group: Names,
    days: float | None,
) -> Link:
    """Grants users and groups what is published; see `Chain.share`."""
    address(store, "")
    users, groups = _names(user), _names(group)
    if not users and not groups:
        raise MusesError("with whom? share(user='bob'), share(user=['bob', 'eve']) or share(group='class-a')")
    if days is not None and not 0 < days < 36_500:
        raise MusesError(f"days={days!r} is not how many days a share holds")
    expires = None if days is None else datetime.now(UTC) + timedelta(days=days)
    share = Share(new_id(), title, content, users, groups, tuple(sorted(set(artefacts))), expires=expires)
    return Link(store.put_share(share), store)


def shares(store: Store) -> list[Link]:
    """What the user has shared, newest first."""
    return [Link(share, store) for share in store.shares()]


def address(store: Store, id: str) -> str:
    """Where a share's link leads to: the hub's service, as browsers reach it."""
    url = getattr(store, "url", None)
    if not isinstance(url, str):
        raise MusesError("sharing needs a hub: on your own machine there is nobody to share with; send the notebook")
    return public_address(url, f"shared/{id}")


def public_address(url: str, path: str) -> str:
    """A page of the hub's service at `url` as browsers reach it; without the hub's host where that is not known."""
    public = urlsplit(os.environ.get("JUPYTERHUB_PUBLIC_HUB_URL", ""))
    host = f"{public.scheme}://{public.netloc}" if public.netloc else ""
    return f"{host}{urlsplit(url).path.rstrip('/')}/{path}"


def _names(names: Names) -> tuple[str, ...]:
    if names is None:
        return ()
    return (names,) if isinstance(names, str) else tuple(sorted(set(names)))


def _granted(share: Share) -> str:
    whom = ", ".join([*share.users, *(f"group {name}" for name in share.groups)])
    if share.revoked is not None:
        return f"{share.title!r}, taken back on {share.revoked:%d %B %Y}"
    until = f" until {share.expires:%d %B %Y %H:%M} UTC" if share.expires else ""
    expired = "" if share.active else " (expired)"
    return f"{share.title!r}, for {whom}{until}{expired}"
