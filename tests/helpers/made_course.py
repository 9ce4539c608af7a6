"""A small course: two notebooks, a number, a choice and a chain to answer; as a folder, and as an archive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import yaml

from muses_lab.courses.archive import contents, pack

COURSE: dict[str, Any] = {
    "course": "first-steps",
    "title": "First <steps>",
    "hours": 1,
    "authors": ["Ada"],
    "objectives": ["show a map", "count <clear> dates"],
    "notebooks": [
        {
            "file": "01-map.ipynb", "title": "A map", "minutes": 20,
            "exercises": [
                {"id": "clear-dates", "kind": "number", "question": "How many are clear?", "expected": 12, "points": 2},
                {
                    "id": "colour", "kind": "choice", "question": "What is red?",
                    "choices": [{"text": "Vegetation", "right": True}, {"text": "Water", "feedback": "Water is dark."}],
                },
            ],
        },
        {
            "file": "02-clouds.ipynb", "title": "Clouds",
            "exercises": [{"id": "masked", "kind": "chain", "question": "Mask the clouds.", "needs": ["mask_clouds"]}],
        },
    ],
}  # fmt: skip


def course_folder(folder: Path, cells: dict[str, list[str]] | None = None, **changes: Any) -> Path:
    """Writes the course's files; `cells`: source of code cells by notebook."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {**COURSE, **changes}
    (folder / "course.yml").write_text(yaml.safe_dump(told))
    for notebook in told["notebooks"]:
        sources = (cells or {}).get(notebook["file"], ["print('hello')"])
        book = nbformat.v4.new_notebook(
            cells=[
                nbformat.v4.new_markdown_cell(f"# {notebook['title']}"),
                *map(nbformat.v4.new_code_cell, sources),
            ],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        )
        for number, cell in enumerate(book.cells):
            cell["id"] = f"cell-{number}"
        nbformat.write(book, folder / notebook["file"])
    return folder


def course_archive(folder: Path, cells: dict[str, list[str]] | None = None, **changes: Any) -> Path:
    """The same as an archive beside the folder."""
    archive = folder.with_suffix(".zip")
    pack(contents(course_folder(folder, cells, **changes)), archive)
    return archive
