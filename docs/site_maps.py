"""In kernels of the site's notebooks maps are shown as what `Map.save` writes: pictures with their legends."""

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


def bundle_of_row(box: Any, **options: Any) -> Any:
    """Of maps side by side."""
    if not all(type(one).__name__ == "Map" for one in box.children):
        return box._repr_mimebundle_(**options)
    return {"text/html": f'<div class="map-row">{"".join(picture(one) for one in box.children)}</div>'}


formatter = get_ipython().display_formatter.mimebundle_formatter
formatter.for_type_by_name("muses_widgets.map", "Map", bundle)
formatter.for_type_by_name("ipywidgets.widgets.widget_box", "HBox", bundle_of_row)
