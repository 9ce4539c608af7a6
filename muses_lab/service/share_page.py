"""GET shared/<id>: what another user shares, as a notebook in the user's own folder. Links of shares lead here."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import nbformat
from jupyter_server.utils import ensure_async, url_escape, url_path_join

from muses_lab.plain import slug
from muses_lab.service.handler import PageHandler, answer
from muses_lab.store import Share

FOLDER = "shared"


class SharedHandler(PageHandler):
    """Writes the notebook, unless it is there, and opens it. Nothing in it runs before the user runs it."""

    @answer
    async def get(self, id: str) -> None:
        service = self.service
        share = await service.pools.records.run(lambda: service.store().share(id))
        path = f"{FOLDER}/{slug(share.title, 'layer')}-{re.sub('[^A-Za-z0-9]', '', share.id)[:8]}.ipynb"
        if not await ensure_async(self.contents_manager.file_exists(path)):
            if not await ensure_async(self.contents_manager.dir_exists(FOLDER)):
                await ensure_async(self.contents_manager.save({"type": "directory"}, FOLDER))
            model = {"type": "notebook", "content": notebook(share)}
            await ensure_async(self.contents_manager.save(model, path))
        self.redirect(url_path_join(self.base_url, "lab/tree", url_escape(path)))


def notebook(share: Share) -> Any:
    """A notebook that shows what is shared. Whatever its owner has written is a quoted text in it."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    text = f"{_quoted(share.owner)} shares {_quoted(share.title)} with you. It is computed on your own cluster."
    cells = [nbformat.v4.new_markdown_cell(text), nbformat.v4.new_code_cell(_code(share))]
    for number, cell in enumerate(cells):
        cell["id"] = f"shared-{number}"
    return nbformat.v4.new_notebook(cells=cells, metadata=kernel)


def _code(share: Share) -> str:
    export = share.content.get("export")
    if isinstance(export, Mapping):
        name = re.split(r"[\\/]", str(export.get("name", "")))[-1] or "export.tif"
        return (
            "from muses_lab.api.shared import received\n\n"
            f"export = received({share.id!r})\n"
            f"job = export.open().export({_literal(name)}, export.window)"
        )
    return (
        "import muses_lab as ml\nfrom muses_widgets import Map\n\n"
        f"m = Map({_place(share.content.get('view'))})\n"
        f"m.add(ml.shared({share.id!r}), name={_literal(share.title)})\nm"
    )


def _place(view: Any) -> str:
    """Where the map shall be, if that is what it says."""
    try:
        (lat, lon), zoom = map(float, view["center"]), float(view["zoom"])
    except (KeyError, TypeError, ValueError):
        return ""
    if not (abs(lat) <= 90 and abs(lon) <= 360 and 0 <= zoom <= 30 and math.isfinite(zoom)):
        return ""
    return f"center=({lat:.6g}, {lon:.6g}), zoom={zoom:g}"


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=True)


def _quoted(text: str) -> str:
    """A text as code in Markdown: none of it means anything."""
    return "`" + re.sub(r"[`\s]+", " ", text).strip() + "`"
