"""The Jupyter Server extension: tiles, documents, legends, values and status behind the user's own login.

Everything is under `<base_url>/muses/`; every route needs a logged-in user. See `routes.py` for the list.
"""

from __future__ import annotations

from typing import Any


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    return [{"module": "muses_lab.service"}]


def _load_jupyter_server_extension(serverapp: Any) -> None:
    from muses_lab.service.routes import add_routes

    add_routes(serverapp.web_app)
    serverapp.log.info("MUSES Lab serves %smuses/", serverapp.web_app.settings["base_url"])
