"""The cluster panel: `muses_widgets.ClusterPanel()` in a notebook, or as a part of the map's panel."""

from __future__ import annotations

import anywidget

from muses_lab.plain import Status
from muses_widgets.modules import JS, joined
from muses_widgets.service import CURE, find_service


class ClusterPanel(anywidget.AnyWidget):
    """Size, memory, state of the user's cluster, and what it does; starts and stops it.

    >>> ClusterPanel()                                                  # doctest: +SKIP

    The page asks its Jupyter server, so a reopened notebook shows it too, without a kernel.
    """

    _esm = joined(JS / "clusterpanel.js")
    _css = "\n".join((JS / name).read_text("utf-8") for name in ("panel.css", "sections/cluster.css"))

    def status(self) -> Status:
        """Whether the service is there that the page asks; `print` gives JSON."""
        found = find_service()
        states = {"there": "ok", "missing": "failed", "unknown": "not shown"}
        why = found.detail or (f"the server has no MUSES Lab service: {CURE}" if found.state == "missing" else None)
        return Status(kind="cluster panel", state=states[found.state], why=why, service=found.url)

    def __repr__(self) -> str:
        return "<ClusterPanel: the page that shows it asks its Jupyter server>"
