"""Widgets whose traits threads set while the page sets others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anywidget
import traitlets as t

TURN = threading.RLock()
"""One for all widgets: what one tells may set traits of another. Who holds a lock while traits are set holds this one:
observers run in its turn, and would wait for another lock whose holder waits for the turn."""


class Told(anywidget.AnyWidget):
    """A widget of which nothing that a thread tells is lost.

    While the kernel takes over what a page has sent, traitlets keeps all changes back and then tells of them; a change
    that another thread makes as it ends is told to nobody. So who sets a trait waits until that is over.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(getattr(type(self), name, None), t.TraitType):
            with TURN:
                super().__setattr__(name, value)
        else:
            super().__setattr__(name, value)

    def set_state(self, sync_data: dict[str, Any]) -> None:
        with TURN:
            super().set_state(sync_data)

    @contextmanager
    def hold_trait_notifications(self) -> Iterator[None]:
        with TURN, super().hold_trait_notifications():
            yield

    def _repr_mimebundle_(self, **options: Any) -> Any:
        found = super()._repr_mimebundle_(**options)
        if not isinstance(found, tuple):  # where no widgets are drawn at all
            return found
        data, metadata = found
        # The text is seen where widgets are not drawn: in a notebook that is not trusted yet, on GitHub.
        return {**data, "text/plain": f"{self!r}: run the notebook's cells to use it"}, metadata
