"""Controls of chains and layers: what the package of widgets makes of their parameters."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from muses_lab.errors import MusesError

_GROUP, _NAME = "muses_lab.widgets", "controls"


class Controlled:
    """What chains and layers have of controls."""

    def controls(self, *names: str) -> Any:
        """Sliders, lists, dates and palettes for the parameters: a widget, see `muses_widgets.Controls`.

        ```python
        green = ndvi.focal_mean(3) > ml.parameter("threshold", 0.4, minimum=0, maximum=1)
        controls = green.controls("threshold")
        controls.items[0].compute(window)                 # the chain as it is set now
        ```

        `names` are those of `.parameters`; without any, those that were given a name by `ml.parameter`, or all. Those
        that change the layers of a map are `m.control_panel()`.

        Raises
        ------
        MusesError
            The package of widgets is not installed.
        """
        for entry in entry_points(group=_GROUP, name=_NAME):
            return entry.load()(self, *names)
        raise MusesError("the package muses_widgets is not installed here; it makes controls of parameters")
