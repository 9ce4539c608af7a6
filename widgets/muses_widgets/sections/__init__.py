"""The sections of a map's panel: one module each.

A section is a JavaScript module that calls `addSection` (`js/sections.js` says what it may have) and, where the kernel
has something to do for it, a Python class. To add one here: `js/sections/<name>.js`, if it needs them
`js/sections/<name>.css` and `sections/<name>.py`, whose `SECTION` is a subclass of `Section`. Another package names
such a module in the entry-point group `muses_widgets.sections`; the JavaScript of its section imports ours as
`"muses_widgets/dom.js"`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Protocol

from muses_lab import plugins
from muses_lab.errors import NotFound
from muses_widgets.modules import JS


class SectionPanel(Protocol):
    """What a section may use of its panel."""

    layers: list[dict[str, Any]]

    def tell(self, section: str, state: dict[str, Any]) -> None: ...
    def show_problem(self, text: str) -> None: ...
    def observe(self, handler: Any, names: Any = ...) -> None: ...


class SectionMap(Protocol):
    """What a section may use of its map; see `muses_widgets.Map`."""

    @property
    def panel(self) -> SectionPanel: ...
    @property
    def clicked(self) -> Any: ...
    @property
    def others(self) -> list[Any]: ...
    def stack(self) -> list[Any]: ...
    def add(self, item: Any, name: Any = ...) -> Any: ...
    def view(self) -> Any: ...
    def fit_bounds(self, bounds: Any) -> None: ...


class Section:
    """The part of a section that lives in the kernel, one for each map.

    >>> class Mean(Section):
    ...     name = "mean"
    ...
    ...     def receive(self, message):
    ...         self.tell({"mean": sum(message["numbers"]) / len(message["numbers"])})
    """

    name: ClassVar[str]
    """As in the JavaScript's `addSection`."""
    script: ClassVar[Path | None] = None
    """The JavaScript module; None for the sections of this package, whose modules are in `js/sections`."""
    style: ClassVar[Path | None] = None
    """The CSS, likewise."""

    def __init__(self, map: SectionMap) -> None:
        self.map = map

    def tell(self, state: dict[str, Any]) -> None:
        """Makes the section's `told(state)` be called in every page that shows the map; saved with the notebook."""
        self.map.panel.tell(self.name, state)

    def tiles(self, id: str) -> Any:
        """The layer of the map with this id, a `muses_widgets.tiles.ChainTiles`."""
        found = next((tiles for tiles in self.map.stack() if tiles.model_id == id), None)
        if found is None:
            raise NotFound("that layer is no longer on the map")
        return found

    def receive(self, message: dict[str, Any]) -> None:
        """Called with what the section's JavaScript sends: `model.send({section: name, …})`.

        What it raises is shown in the panel.
        """


@cache
def kinds() -> tuple[type[Section], ...]:
    """All sections that have a part in the kernel: those of this package, then those of others."""
    return tuple(plugins.found(__name__, "muses_widgets.sections", "SECTION", _check))


def _check(section: Any) -> None:
    if not (isinstance(section, type) and issubclass(section, Section)):
        raise TypeError(f"its SECTION is {section!r}, which is no subclass of muses_widgets.sections.Section")


def scripts() -> list[Path]:
    """The JavaScript modules of all sections."""
    return _files("js", (kind.script for kind in kinds()))


def styles() -> list[Path]:
    """Their CSS."""
    return _files("css", (kind.style for kind in kinds()))


def _files(suffix: str, others: Iterable[Path | None]) -> list[Path]:
    return [*sorted((JS / "sections").glob(f"*.{suffix}")), *(path for path in others if path is not None)]
