"""What is measured on the map."""

from __future__ import annotations

from typing import Any

from muses_widgets.geodesic import measured
from muses_widgets.sections import Section


class Measure(Section):
    """Answers {id, points: [[lon, lat], …], closed} with {id, length, area}; see `geodesic.measured`."""

    name = "measure"

    def receive(self, message: dict[str, Any]) -> None:
        self.tell({"id": message["id"], **measured(message["points"], message["closed"])})


SECTION = Measure
