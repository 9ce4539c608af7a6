"""Towns by name, in the gazetteer that needs no connection."""

from __future__ import annotations

from typing import Any

from muses_lab.catalog.place import places
from muses_widgets.sections import Section


class Search(Section):
    """Answers {text} with {text, places: [{name, country, lat, lon}]}, the likeliest first."""

    name = "search"

    def receive(self, message: dict[str, Any]) -> None:
        text = str(message["text"])[:200]
        found = [{"name": p.name, "country": p.country, "lat": p.lat, "lon": p.lon} for p in places(text)]
        self.tell({"text": text, "places": found})


SECTION = Search
