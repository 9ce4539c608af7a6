"""The map of MUSES Lab, its panel, parcels, controls of parameters and the forms of operators, for notebooks."""

from __future__ import annotations

from muses_widgets.chain.panel import ChainPanel
from muses_widgets.cluster import ClusterPanel
from muses_widgets.controls import Controls
from muses_widgets.form import Form
from muses_widgets.linking import link
from muses_widgets.map import Map
from muses_widgets.panel import Panel
from muses_widgets.parcels.panel import ParcelsPanel
from muses_widgets.places.kept import Place, Places
from muses_widgets.series.panel import SeriesPanel
from muses_widgets.service import find_service
from muses_widgets.subshells import keep_from_ended_subshells
from muses_widgets.vectors.layer import VectorLayer
from muses_widgets.vectors.style import VectorStyle

keep_from_ended_subshells()

__all__ = [
    "ChainPanel",
    "ClusterPanel",
    "Controls",
    "Form",
    "Map",
    "Panel",
    "ParcelsPanel",
    "Place",
    "Places",
    "SeriesPanel",
    "VectorLayer",
    "VectorStyle",
    "find_service",
    "link",
]
