"""What the site's pages are made with: docstrings as reStructuredText, names that are not shown, kernels that draw."""

from __future__ import annotations

import re
import shutil
from functools import cache
from pathlib import Path

import yaml

FENCE = re.compile(r"^(\s*)```(\w*)\s*$")
LIST = re.compile(r"^\s*([-*]|\d+\.) ")
CODE = re.compile(r"(?<!`)`([^`]+)`(?![`_])")
NAME = re.compile(r"(ml\.)?[A-Za-z_]\w*(\.\w+)*")
LINK = re.compile(r"\[([^\]`]+)\]\((https?://[^)\s]+)\)")


def restructured(lines: list[str]) -> list[str]:
    """Markdown's fences, lists and links as reStructuredText writes them; all else is the same in both.

    >>> restructured(["```python", "x = 1", "```"])
    ['', '.. code-block:: python', '', '   x = 1', '']
    >>> restructured(["`a == b`, `Chain`, `ml.Chain`"])
    ['``a == b``, `Chain`, `ml.Chain <muses_lab.Chain>`']
    """
    made: list[str] = []
    inside = False
    for line in lines:
        fence = FENCE.match(line)
        if fence:
            inside = not inside
            made += ["", f"{fence[1]}.. code-block:: {fence[2] or 'text'}", ""] if inside else [""]
        elif inside:
            made.append(f"   {line}" if line.strip() else "")
        else:
            if LIST.match(line) and made and made[-1].strip() and not LIST.match(made[-1]):
                made.append("")
            made.append(LINK.sub(r"`\1 <\2>`__", CODE.sub(_code, line)))
    return made


def _code(found: re.Match[str]) -> str:
    """A name stays in single backticks, which link it where the reference has it; all else is code."""
    text = found[1]
    if not NAME.fullmatch(text):
        return f"``{text}``"
    return f"`{text} <muses_lab.{text[3:]}>`" if text.startswith("ml.") else found[0]


@cache
def inner_names() -> frozenset[str]:
    """Public attributes that the classes leave out of completion (`__dir__`)."""
    from muses_lab import Chain, Collection

    return frozenset(
        name
        for kind in (Chain, Collection)
        for name in set(dir(kind)) - set(kind.__dir__(object.__new__(kind)))
        if not name.startswith("_")
    )


def bibtex(citation: Path) -> str:
    """The entry of a CITATION.cff for BibTeX, as a block of code."""
    said = yaml.safe_load(citation.read_text("utf-8"))
    authors = " and ".join(f"{{{author['name']}}}" for author in said["authors"])
    fields = {"author": authors, "title": f"{{{said['title']}}}", "version": said["version"], "note": said["license"]}
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    return f"```bibtex\n@software{{muses_lab,\n{lines}\n}}\n```"


def kernel_folder(folder: Path) -> Path:
    """Makes an `IPYTHONDIR` whose kernels show maps as pictures (`site_maps.py`); IPython keeps its own files there."""
    startup = folder / "profile_default" / "startup"
    startup.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(__file__).with_name("site_maps.py"), startup / "50-maps.py")
    return folder
