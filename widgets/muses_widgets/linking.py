"""Maps that move together."""

from __future__ import annotations

from ipywidgets import jslink

from muses_widgets.map import Map


def link(*maps: Map) -> None:
    """Lets maps show the same place at the same zoom and date from now on, whichever of them is moved.

    >>> before, after = Map(), Map()
    >>> link(before, after)
    >>> ipywidgets.HBox([before, after])

    The page does it, so it works in a saved notebook without a kernel, too.
    """
    first, *others = maps
    for other in others:
        for trait in ("center", "zoom"):
            setattr(other, trait, getattr(first, trait))
            jslink((first, trait), (other, trait))
        if first.date:
            other.date = first.date
        jslink((first.panel, "date"), (other.panel, "date"))
