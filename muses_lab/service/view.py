"""POST view"""

from __future__ import annotations

from muses_lab.service.handler import ServiceHandler, answer
from muses_lab.service.views import View


class ViewHandler(ServiceHandler):
    """What a map shows now: tiles nearest to its centre go first, and those around it come before they are asked for.

    `{"id": the map's, "z", "center": [lon, lat], "bounds": [west, south, east, north], "layers": ["<chain>/<style>"]}`;
    layers are the visible ones, the top one first, none where the map has gone.
    """

    @answer
    async def post(self) -> None:
        self.service.look(View.from_json(self.json_body()))
        self.set_status(204)
        self.finish()
