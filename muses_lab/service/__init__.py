"""The Jupyter Server extension: tiles, documents, legends, values and status behind the user's own login.

Everything is under `<base_url>/muses/`; every route needs a logged-in user. See `routes.py` for the list.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

_AT_REST = 1.0
"""Seconds after which a server that starts has nothing more urgent to do."""


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    return [{"module": "muses_lab.service"}]


def _load_jupyter_server_extension(serverapp: Any) -> None:
    from muses_lab import logs
    from muses_lab.crs import without_network
    from muses_lab.service import metrics
    from muses_lab.service.activity import Activity
    from muses_lab.service.class_presence import ClassPresence
    from muses_lab.service.kernels import Kernels
    from muses_lab.service.routes import add_routes

    without_network()  # for this process alone: kernels that it starts have their own settings
    service = add_routes(serverapp.web_app)
    metrics.offer(service)
    logs.take_over(serverapp.log.handlers, "server")
    activity = Activity(serverapp.web_app.settings, service)
    serverapp.io_loop.add_callback(activity.start)
    serverapp.io_loop.add_callback(ClassPresence(serverapp.web_app.settings, service).start)
    serverapp.io_loop.add_callback(Kernels(service, serverapp.log).start, serverapp.io_loop)
    make_ready = threading.Thread(target=_make_ready, name="muses-imports", daemon=True)
    serverapp.io_loop.call_later(_AT_REST, make_ready.start)
    serverapp.log.info("MUSES Lab serves %smuses/", serverapp.web_app.settings["base_url"])


def _make_ready() -> None:
    """Loads what the first tile takes, while nobody waits for it yet."""
    import muses_lab.api.chain
    import muses_lab.compute.dask_backend
    import muses_lab.compute.windows  # noqa: F401
    from muses_lab import render
    from muses_lab.engine.warm import windows
    from muses_lab.errors import MusesError
    from muses_lab.service import value_tile
    from muses_lab.store import default_store

    windows()
    render.warm()
    value_tile.warm()
    with suppress(MusesError):  # whoever asks it is told
        default_store()  # with SQLAlchemy: 0.9 s of computing, most of what a first view takes longer than the second
