"""The legend of a layer, and whether it can be drawn at all: both follow from chain and style together."""

from __future__ import annotations

from typing import Any

import muses_lab as ml
from muses_lab.errors import BandError, MusesError


def legend_of(layer: ml.Layer) -> dict[str, Any]:
    """What the panel draws (see `Style.legend`); an error if no image can be made of the chain."""
    step = layer.chain.resolved.program.output
    if step.times:
        raise MusesError(
            f"the chain still has {len(step.times)} dates, and a map shows one image: reduce it over time first, for "
            'example with .median("t")'
        )
    look, bands = layer.look, step.meta.bands
    if look.bands:
        for name in look.bands:
            if name not in (bands or ()):
                raise BandError(f"the style shows band {name!r}; the chain has {_listed(bands)}", band=name)
    elif bands and len(bands) == 3:
        low, high = look.range_of("rgb")
        return look.legend() | {"kind": "rgb", "bands": list(bands), "vmin": low, "vmax": high, "gamma": look.gamma}
    elif bands and len(bands) != 1:
        raise BandError(
            f"the chain has the bands {_listed(bands)}, and a map shows one or three: choose with .style(bands=...)"
        )
    return look.legend()


def _listed(bands: tuple[str, ...] | None) -> str:
    return ", ".join(bands) if bands else "no bands"
