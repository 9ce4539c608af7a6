"""The colours of a layer, changed in its row: written into its style."""

from __future__ import annotations

from typing import Any

from muses_widgets.sections import Section


class Colours(Section):
    """Gives a layer's style other values: {asked, layer, values: {"style.cmap": …, "style.vmin": …, …}}.

    The page shows them already where it colours the tiles itself. It is told {asked} once the style has them, or where
    they are refused.
    """

    name = "colours"

    def receive(self, message: dict[str, Any]) -> None:
        try:
            tiles = self.tiles(message["layer"])
            self.map.add(tiles.shown.with_parameters(message["values"]), name=tiles.name)
        finally:
            self.tell({"asked": message["asked"]})


SECTION = Colours
