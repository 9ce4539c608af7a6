"""What others have shared: listed, and opened on the user's own server and cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, overload

from odc.geo.geobox import GeoBox

from muses_lab.api.chain import Chain
from muses_lab.api.layer import Layer
from muses_lab.errors import ArgumentError
from muses_lab.plain import shown
from muses_lab.publish import sharing
from muses_lab.raster.window import from_json
from muses_lab.store import Share, Store, default_store
from muses_lab.style import Style


@dataclass(frozen=True)
class Received:
    """Something that another user shares with this one."""

    share: Share
    store: Store

    @property
    def id(self) -> str:
        return self.share.id

    @property
    def title(self) -> str:
        return self.share.title

    @property
    def owner(self) -> str:
        return self.share.owner

    @property
    def view(self) -> dict[str, Any] | None:
        """{center, zoom} of the map that was shared."""
        return self.share.content.get("view")

    @property
    def window(self) -> GeoBox | None:
        """The window of the export that was shared: `open().export(path, window)` makes it here."""
        export = self.share.content.get("export")
        return from_json(export["window"]) if export else None

    def open(self) -> Layer | Chain:
        """The layer (or chain, where no style was shared), to be computed here."""
        content = self.share.content
        chain = Chain.from_json(self.store.document(content["chain"])).with_artefacts_of(self.store)
        if "style" not in content:
            return chain
        return Layer(chain, Style.from_json(self.store.style(content["style"])))

    def __repr__(self) -> str:
        until = f", until {self.share.expires:%d %B %Y}" if self.share.expires else ""
        return f"<{self.title!r} by {self.owner}{until}: ml.shared({self.id!r})>"


@overload
def shared(id: None = None) -> list[Received]: ...
@overload
def shared(id: str) -> Layer | Chain: ...


def shared(id: str | None = None) -> Any:
    """What others share with the user, newest first; with an id (the end of a link), that opened.

    ```python
    ml.shared()
    m.add(ml.shared("2mJw…"))
    ```
    """
    if id is None:
        store = default_store()
        return [Received(share, store) for share in store.shared()]
    return received(id).open()


def received(id: str) -> Received:
    """One share by its id, or by its link."""
    if not isinstance(id, str):
        raise ArgumentError(f"shared({shown(id)}) takes the link that was sent, or the id at its end")
    store = default_store()
    return Received(store.share(id.rstrip("/").rpartition("/")[2]), store)


def shares() -> list[sharing.Link]:
    """What the user has shared, newest first, with what was taken back or has expired."""
    return sharing.shares(default_store())
