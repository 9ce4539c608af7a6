"""The cluster panel: `muses_widgets.ClusterPanel()` in a notebook, or as a part of the map's panel."""

from __future__ import annotations

from pathlib import Path

import anywidget

_JS = Path(__file__).parent / "js"


class ClusterPanel(anywidget.AnyWidget):
    """Size, memory, state of the user's cluster, and what it does; starts and stops it.

    >>> ClusterPanel()                                                  # doctest: +SKIP

    The page asks its Jupyter server, so a reopened notebook shows it too, without a kernel.
    """

    _esm = "\n".join((_JS / name).read_text("utf-8") for name in ("page.js", "cluster.js", "clusterpanel.js"))
    _css = "\n".join((_JS / name).read_text("utf-8") for name in ("panel.css", "cluster.css"))
