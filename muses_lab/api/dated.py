"""A chain made of the scenes of other dates, whatever it does with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from muses_lab.document import graph
from muses_lab.document.graph import Node
from muses_lab.operators import registry
from muses_lab.operators.given import period
from muses_lab.publish.pinning import LOADS, WITHOUT_DATES
from muses_lab.times import parse_time


def of_dates(chain: Any, start: Any, end: Any = ...) -> Any:
    """The chain made of the scenes from `start` to before `end` only.

    ```python
    of_dates(ndvi_median, "2018-06")            # the median of June
    ```

    Dates that the chain itself has chosen still hold: it is of the scenes of both.
    """
    first, after = period(start, end)

    def redated(node: Node, arguments: dict[str, Any]) -> Node:
        if node.process in LOADS and node.process not in WITHOUT_DATES:
            before = arguments.get("temporal_extent") or (None, None)
            arguments["temporal_extent"] = [_both(before[0], first, max), _both(before[1], after, min)]
            return registry.node(node.process, **arguments)
        made = registry.node(node.process, **arguments)
        if node.process == "muses:load_items":
            return registry.node("filter_temporal", data=made, extent=[first, after])
        return made

    return chain._made(graph.rebuild(chain._node, redated))


def _both(one: Any, other: Any, choose: Callable[..., Any]) -> Any:
    """The bound that holds where two do; None is none."""
    if one is None or other is None:
        return other if one is None else one
    return choose(one, other, key=parse_time)
