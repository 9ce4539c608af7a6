"""The legend of a layer, and whether it can be drawn at all: both follow from chain and style together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import muses_lab as ml
from muses_lab.document.graph import Callback, Node, walk
from muses_lab.engine.graph import PreparedGraph
from muses_lab.errors import BandError, MusesError


def legend_of(layer: ml.Layer) -> dict[str, Any]:
    """What the panel draws (see `Style.legend`), and why pixels are `missing`; an error if there is no image of it."""
    return _colours(layer) | {"missing": why_missing(layer.chain.published.prepared)}


def why_missing(prepared: PreparedGraph) -> str:
    """What a pixel without a value means: `no clear date` where only a mask on the dates can be the reason."""
    dated = [step.node for step in prepared.steps.values() if step.times]
    reduced = [step.node for step in prepared.steps.values() if not step.times]
    masked = any(node.process == "mask" for node in dated)
    return "no clear date" if masked and not any(map(_takes_pixels_away, reduced)) else "no data"


def _takes_pixels_away(node: Node) -> bool:
    """Whether a step after the reduction over time may leave out pixels that have a value."""
    return node.process not in _KEEP_PIXELS or "if" in _processes(node.arguments.values())


_KEEP_PIXELS = {"add_dimension", "apply", "filter_bands", "merge_cubes", "reduce_dimension", "rename_labels"}


def _processes(arguments: Iterable[Any]) -> set[str]:
    return {inner.process for value in arguments if isinstance(value, Callback) for inner in walk(value.root)}


def _colours(layer: ml.Layer) -> dict[str, Any]:
    step = layer.chain.published.prepared.output
    if step.times:
        raise MusesError(
            f"the chain still has {len(step.times)} dates, and a map shows one image: reduce it over time first, for "
            'example with .median("t")'
        )
    look, bands = layer.look, step.meta.bands
    if look.bands:
        return layer.drawn.legend()
    if bands and len(bands) == 3:
        low, high = look.range_of("rgb")
        return look.legend() | {"kind": "rgb", "bands": list(bands), "vmin": low, "vmax": high, "gamma": look.gamma}
    if bands and len(bands) != 1:
        raise BandError(
            f"the chain has the bands {_listed(bands)}, and a map shows one or three: choose with .style(bands=...)"
        )
    return look.legend()


def _listed(bands: tuple[str, ...] | None) -> str:
    return ", ".join(bands) if bands else "no bands"
