"""The pages of the site are complete and lead somewhere. (`make docs` builds it; `.ci/run` does, too.)"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

import muses_lab as ml
import muses_widgets

from .site_modules import site_check, site_pages

REPOSITORY = Path(__file__).resolve().parent.parent
DOCS = REPOSITORY / "docs"
GENERATED = {DOCS / "operators.md"}
"""Pages that `make docs` writes and no commit holds."""
PAGES = sorted([*({*DOCS.rglob("*.md")} - GENERATED), *REPOSITORY.glob("*.md"), *(REPOSITORY / "deploy").rglob("*.md"),
                *(REPOSITORY / "benchmarks").rglob("*.md"), *(REPOSITORY / "notebooks").glob("*.ipynb")])  # fmt: skip
FENCED = re.compile(r"^(`{3,})(.*?)^\1", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def children(page: Path) -> Iterator[Path]:
    """The pages in the tables of contents of a page."""
    for _, body in FENCED.findall(page.read_text("utf-8")):
        if not body.startswith("{toctree}"):
            continue
        for line in body.splitlines()[1:]:
            entry = re.sub(r"^.*<(.*)>$", r"\1", line.strip())
            if entry and not entry.startswith(":"):
                yield from (
                    path for end in (".md", ".ipynb") for path in page.parent.glob(entry.removesuffix(end) + end)
                )


def test_every_page_is_in_the_contents() -> None:
    found, left = set(), [DOCS / "index.md"]
    while left:
        page = left.pop().resolve()
        if page not in found:
            found.add(page)
            left += children(page)
    missing = {*DOCS.rglob("*.md"), *(REPOSITORY / "notebooks").glob("*.ipynb"), REPOSITORY / "CHANGELOG.md"} - found
    assert not missing, "name them in a toctree of the page above them"


def places(page: Path) -> set[str]:
    """The names that headings have in links."""
    titles = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_between_files_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(FENCED.sub("", page.read_text("utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, place = unquote(link).partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists() or target in GENERATED, link
        assert not place or place in places(target), f"{link}: {target.name} has no such heading"


@pytest.mark.parametrize("module", [ml, muses_widgets], ids=lambda module: module.__name__)
def test_every_public_name_is_in_the_reference(module) -> None:
    text = "\n".join(page.read_text("utf-8") for page in (DOCS / "reference").glob("*.md"))
    listed = set()
    for block in re.split(r"^\.\. currentmodule:: ", text, flags=re.MULTILINE)[1:]:
        if block.startswith(f"{module.__name__}\n"):
            listed |= set(re.findall(r"^\.\. auto\w+:: (\w+)$", block, re.MULTILINE))
    assert listed == set(module.__all__) - {"__version__"}


def test_docstrings_become_what_the_site_reads() -> None:
    """Python's documentation tool reads reStructuredText; our docstrings are Markdown with NumPy's sections."""
    lines = ["Of `Chain`, and `a == b`:", "- one", "- [two](https://example.org)", "```python", "if a:", "    b", "```"]
    assert site_pages.restructured(lines) == [
        "Of `Chain`, and ``a == b``:", "", "- one", "- `two <https://example.org>`__",
        "", ".. code-block:: python", "", "   if a:", "       b", "",
    ]  # fmt: skip


def test_names_that_are_not_completed_are_not_in_the_reference() -> None:
    assert site_pages.inner_names()
    assert not site_pages.inner_names() & {"compute", "median", "filter", "hash"}


def test_a_site_that_leans_on_another_host_or_a_missing_page_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<script src="https://cdn.example.org/x.js"></script><a href="b.html">b</a><a href="#here">h</a>'
        '<h1 id="there"></h1><a href="#there">t</a><a href="https://example.org">e</a>'
    )
    (tmp_path / "a.css").write_text("@import 'https://fonts.example.org/x.css'; b { background: url(data:,) }")
    assert len(site_check.troubles(tmp_path)) == 4
    (tmp_path / "a.html").write_text('<a href="a.html">a</a>')
    (tmp_path / "a.css").write_text("")
    assert site_check.troubles(tmp_path) == []


def test_version_and_licence_are_those_of_the_project() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text("utf-8"))
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert project["version"] in (REPOSITORY / "CHANGELOG.md").read_text("utf-8")


def test_the_operators_of_the_how_to_run() -> None:
    """In a process of its own: what they declare is none of ours."""
    text = (DOCS / "how-to" / "add-an-operator.md").read_text("utf-8")
    code = "".join(re.findall(r"^````python\n(.*?)^````", text, re.MULTILINE | re.DOTALL))
    check = """
import numpy as np, xarray as xr
from muses_lab.operators import registry
image = xr.DataArray(np.arange(25.0).reshape(5, 5), dims=("y", "x"))
assert registry["muses:focal_range"].fn is focal_range
assert focal_range(image, radius=1).data[2, 2] == 12
import muses_lab as ml
assert callable(ml.Chain.ndmi)
"""
    subprocess.run([sys.executable, "-c", code + check], check=True)


def test_the_screenshot_is_small() -> None:
    assert (DOCS / "images" / "map.png").stat().st_size <= 200_000


def test_the_architecture_names_every_room() -> None:
    rows = re.findall(r"^\| (`.*?) \|", (DOCS / "architecture.md").read_text("utf-8"), re.MULTILINE)
    rooms = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    packages = {init.parent.name for init in (REPOSITORY / "muses_lab").glob("*/__init__.py")}
    assert rooms == packages - {"notebooks"}
