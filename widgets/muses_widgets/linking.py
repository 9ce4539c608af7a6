"""Maps that move together."""

from __future__ import annotations

from ipywidgets import jslink

from muses_widgets.inputs import NotShown
from muses_widgets.map import Map


def link(*maps: Map) -> None:
    """Lets maps show the same place at the same zoom and date from now on, whichever of them is moved.

    >>> before, after = Map(), Map()
    >>> link(before, after)
    >>> ipywidgets.HBox([before, after])

    All begin with the first one's. The page does it, so it works in a saved notebook without a kernel, too.

    Raises
    ------
    NotShown
        These are not two maps or more, each of them once.
    """
    if len(maps) < 2 or not all(isinstance(one, Map) for one in maps) or len(set(map(id, maps))) < len(maps):
        raise NotShown(f"link({', '.join(map(repr, maps))}) takes two maps or more, each of them once: link(a, b)")
    first, *others = maps
    for other in others:
        for trait in ("center", "zoom"):
            setattr(other, trait, getattr(first, trait))
            jslink((first, trait), (other, trait))
        other.date = first.date
        jslink((first.panel, "date"), (other.panel, "date"))
