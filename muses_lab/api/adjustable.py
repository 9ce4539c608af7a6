"""What chains have of parameters: which there are, and the chain with other values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from muses_lab.api.controlled import Controlled
from muses_lab.api.parameters import (
    Parameter,
    Parameters,
    Recipe,
    arguments,
    replay,
    replayable,
    unknown,
    with_arguments,
)
from muses_lab.api.written import call
from muses_lab.document.graph import Node


class Adjustable(Controlled):
    """What expressions have of parameters."""

    _recipe: Recipe | None = None

    if TYPE_CHECKING:

        @property
        def _node(self) -> Node: ...

    @property
    def parameters(self) -> Parameters:
        """What can be changed of the chain, by name: its named parameters, then the arguments of its processes.

        ```python
        ndvi.focal_mean(3).parameters["focal_mean.radius"]
        ```

        The arguments are called `process.argument`; where a process stands several times, `process[1].argument`.
        """
        return Parameters(self._named, {name: one for name, (one, _) in arguments(self._node).items()})

    @property
    def _named(self) -> Mapping[str, Parameter]:
        return self._recipe.parameters if self._recipe else {}

    def with_parameters(self, values: Mapping[str, Any] | None = None, /, **named: Any) -> Self:
        """The chain with other values for its parameters; all others stay as they are.

        ```python
        green = ndvi.focal_mean(3) > ml.parameter("threshold", 0.4)
        green.with_parameters(threshold=0.5)
        green.with_parameters({"focal_mean.radius": 5}, threshold=0.5)
        ```

        Raises
        ------
        ArgumentError
            A name that the chain does not have, or a value outside of the parameter's limits.
        DocumentError
            A value that the process does not take.
        """
        values, known = {**(values or {}), **named}, self._named
        own = {name: known[name].but(value) for name, value in values.items() if name in known}
        others = {name: value for name, value in values.items() if name not in known}
        made: Self = replay(self, own) if own else self
        return made._with_arguments(others) if others else made

    @replayable
    def _with_arguments(self, values: Mapping[str, Any]) -> Self:
        known = arguments(self._node)
        for name in values:
            if name not in known:
                raise unknown(name, [*self._named, *known])
        made = self._made(with_arguments(self._node, values))  # type: ignore[attr-defined]
        made._written = call(self._written, "with_parameters", (dict(values),), {})  # type: ignore[attr-defined]
        return made
