"""Imports point downwards only, and each room keeps the libraries out that are not its business.

Read from the source, nothing is imported. Imports inside functions count like those at the top; those for the type
checker alone (`if TYPE_CHECKING:`) do not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
ROOTS = {"muses_lab": REPOSITORY / "muses_lab", "muses_widgets": REPOSITORY / "widgets" / "muses_widgets"}

BASE = {"errors", "settings", "scenes"}
PIXELS = BASE | {"graph", "operators", "engine", "remote"}
DRAWING = {"style", "render"}
CATALOG = {"catalog", "products"}
CHAIN = PIXELS | DRAWING | CATALOG | {"store", "compute", "export", "series", "zonal", "loading", "window", "sharing"}

MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "settings": {"errors"},
    "scenes": {"errors"},
    "graph": BASE,
    "operators": BASE | {"graph"},
    "remote": {"errors", "settings"},
    "engine": BASE | {"graph", "operators", "remote"},
    "compute": PIXELS | {"store"},
    "window": BASE,
    "style": {"errors"},
    "render": {"errors", "style"},
    "warm": {"engine", "render"},
    "store": {"errors", "settings"},
    "sharing": {"errors", "store"},
    "products": BASE | {"graph"},
    "catalog": BASE | {"graph", "products"},
    "sample": BASE | CATALOG,
    "loading": PIXELS | CATALOG,
    "export": PIXELS | DRAWING | {"compute", "store", "sharing", "window"},
    "series": PIXELS | {"compute", "store"},
    "zonal": PIXELS | {"compute", "store"},
    "chain": CHAIN,
    "received": CHAIN | {"chain"},
    "resuming": CHAIN | {"chain"},
    "muses_lab": CHAIN | {"chain", "received", "resuming", "sample"},  # the package itself: the names that users see
    "hub": {"errors", "settings", "store"},
    "deployment": {"settings", "compute"},
    "service": CHAIN | {"chain", "received", "sample", "muses_lab"},
    "doctor": CHAIN | {"chain", "sample", "service", "muses_lab"},
    "cli": CHAIN | {"chain", "sample", "service", "hub", "doctor", "resuming", "muses_lab"},
    "muses_widgets": CHAIN | {"chain", "muses_lab"},
}
"""What each room of muses_lab (and the widgets) may import from the others."""

BROWSER = {"IPython", "anywidget", "ipykernel", "ipyleaflet", "ipywidgets", "notebook", "traitlets", "voila"}
JUPYTER = BROWSER | {"jupyter_client", "jupyter_core", "jupyter_server", "jupyterhub", "jupyterlab", "tornado"}
HTTP = {"aiohttp", "flask", "httpx", "requests", "urllib3"}
DASK = {"dask", "dask_gateway", "distributed"}
PURE = DASK | JUPYTER | HTTP | {"sqlalchemy"}

NEVER: dict[str, set[str]] = {
    **{room: BROWSER for room in MAY_IMPORT if room not in ("service", "doctor", "muses_widgets")},
    **{room: PURE for room in ("graph", "operators", "engine")},
    **{room: DASK | JUPYTER for room in ("scenes", "style", "render", "store", "products", "catalog")},
}


def sources() -> Iterator[tuple[str, Path]]:
    for package, root in ROOTS.items():
        for path in sorted(root.rglob("*.py")):
            yield room(package, path.relative_to(root)), path


def room(package: str, path: Path) -> str:
    """The part of muses_lab that a file belongs to; all of muses_widgets is one."""
    if package != "muses_lab":
        return package
    name = path.parts[0].removesuffix(".py")
    return package if name in ("__init__", "__main__") else name


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of all that a file imports (`from a import b` gives `a.b`)."""
    for node in at_run_time(ast.parse(path.read_text("utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = absolute(path, node)
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below, without the bodies of `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for other in child.orelse:
                yield other
                yield from at_run_time(other)
        else:
            yield child
            yield from at_run_time(child)


def absolute(path: Path, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = next((name, root) for name, root in ROOTS.items() if path.is_relative_to(root))
    parts = [package[0], *path.relative_to(package[1]).parent.parts]
    parts = parts[: len(parts) - (node.level - 1)]
    return ".".join([*parts, node.module] if node.module else parts)


def target(name: str) -> str | None:
    """The room that a dotted name leads to; None for other libraries."""
    parts = name.split(".")
    if parts[0] != "muses_lab":
        return parts[0] if parts[0] in ROOTS else None
    if parts[1:] == ["__version__"]:
        return None
    if len(parts) > 1 and ((ROOTS["muses_lab"] / parts[1]).is_dir() or parts[1] in MAY_IMPORT):
        return parts[1]
    return "muses_lab"


FILES = [pytest.param(r, p, id=str(p.relative_to(REPOSITORY))) for r, p in sources()]


@pytest.mark.parametrize(("own", "path"), FILES)
def test_imports_point_downwards(own: str, path: Path) -> None:
    assert own in MAY_IMPORT, f"{own} is a new room: say in MAY_IMPORT what it may import"
    allowed = MAY_IMPORT[own] | {own}
    wrong = [f"line {line}: {name}" for line, name in imported(path) if (t := target(name)) and t not in allowed]
    assert not wrong, f"{own} may import only {sorted(allowed)}"


@pytest.mark.parametrize(("own", "path"), FILES)
def test_foreign_libraries_stay_in_their_rooms(own: str, path: Path) -> None:
    banned = NEVER.get(own, set())
    wrong = [f"line {line}: {name}" for line, name in imported(path) if name.split(".")[0] in banned]
    assert not wrong, f"{own} must not need {sorted(banned)}"


def test_what_workers_run_does_without_the_store() -> None:
    """A worker gets documents from the asker: it may be on a machine that cannot reach the store."""
    path = ROOTS["muses_lab"] / "compute" / "tasks.py"
    assert not [name for _, name in imported(path) if target(name) == "store"]


def test_the_directions_have_no_cycle() -> None:
    """The table itself: whoever may be imported never may import back."""
    for low, allowed in MAY_IMPORT.items():
        for other in allowed - {low}:
            assert low not in MAY_IMPORT[other], f"{low} and {other} may import each other"
