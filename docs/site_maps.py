"""In kernels of the site's notebooks a map is shown as what `Map.save` writes: a picture with its legends."""

from __future__ import annotations

import io
from html import escape
from typing import Any


def picture(m: Any) -> str:
    page = io.StringIO()
    m.save(page, title="The map, as a picture")
    return f'<iframe class="map-picture" srcdoc="{escape(page.getvalue())}" title="A map, as a picture"></iframe>'


def bundle(m: Any, **_: Any) -> dict[str, str]:
    return {"text/html": picture(m)}


formatter = get_ipython().display_formatter.mimebundle_formatter
formatter.for_type_by_name("muses_widgets.map", "Map", bundle)
