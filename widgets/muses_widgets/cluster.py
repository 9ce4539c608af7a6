"""The cluster panel: `muses_widgets.ClusterPanel()` in a notebook, or as a part of the map's panel."""

from __future__ import annotations

import anywidget

from muses_widgets.modules import JS, joined


class ClusterPanel(anywidget.AnyWidget):
    """Size, memory, state of the user's cluster, and what it does; starts and stops it.

    >>> ClusterPanel()                                                  # doctest: +SKIP

    The page asks its Jupyter server, so a reopened notebook shows it too, without a kernel.
    """

    _esm = joined(JS / "clusterpanel.js")
    _css = "\n".join((JS / name).read_text("utf-8") for name in ("panel.css", "sections/cluster.css"))
