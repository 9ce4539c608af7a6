"""The map of MUSES Lab, its panel, controls of parameters and the forms of operators, for notebooks."""

from __future__ import annotations

from muses_widgets.cluster import ClusterPanel
from muses_widgets.controls import Controls
from muses_widgets.form import Form
from muses_widgets.linking import link
from muses_widgets.map import Map
from muses_widgets.panel import Panel
from muses_widgets.service import find_service

__all__ = ["ClusterPanel", "Controls", "Form", "Map", "Panel", "find_service", "link"]
