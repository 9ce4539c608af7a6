"""Imports point downwards only, and each room keeps the libraries out that are not its business.

Read from the source, nothing is imported. Imports inside functions count like those at the top, and so do those for
the type checker alone (`if TYPE_CHECKING:`): who reads a module must know what it names.
"""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.helpers import REPOSITORY

ROOTS = {"muses_lab": REPOSITORY / "muses_lab", "muses_widgets": REPOSITORY / "widgets" / "muses_widgets"}

BASE = {
    "cached", "errors", "settings", "variables", "plain", "crs", "globe", "plugins", "progress", "resources", "times",
}  # fmt: skip
PIXELS = BASE | {"document", "operators", "raster", "scenes", "engine"}
DRAWING = {"style", "render"}
CATALOG = {"catalog", "products"}
PUBLISHED = PIXELS | CATALOG | {"store", "publish"}
FACE = PUBLISHED | DRAWING | {"compute", "export", "readings", "series", "tables", "training", "zonal", "api"}

MAY_IMPORT: dict[str, set[str]] = {
    "cached": set(),
    "errors": set(),
    "variables": set(),
    "settings": {"errors", "variables"},
    "plain": {"errors"},
    "logs": {"errors"},
    "plugins": set(),
    "progress": set(),
    "times": set(),
    "crs": {"errors"},
    "globe": set(),
    "notebooks": set(),
    "kernel": set(),
    "resources": {"errors", "settings"},
    "document": {"errors", "times"},
    "raster": BASE,
    "operators": BASE | {"document", "raster"},
    "scenes": BASE | {"document", "operators", "raster"},
    "engine": BASE | {"document", "operators", "raster", "scenes"},
    "compute": PIXELS | {"store"},
    "style": {"errors", "plain"},
    "render": {"errors", "style"},
    "uploaded": {"errors", "settings"},
    "warm": {"catalog", "engine", "render"},
    "store": {"errors", "settings"},
    "products": BASE | {"document", "raster", "scenes"},
    "catalog": BASE | {"document", "products", "raster", "scenes"},
    "sample": BASE | CATALOG | {"raster"},
    "publish": PIXELS | CATALOG | {"store", "style"},
    "export": PUBLISHED | DRAWING | {"compute"},
    "readings": PIXELS | {"compute"},
    "series": PUBLISHED | {"compute", "readings"},
    "zonal": PUBLISHED | {"compute", "series"},
    "tables": PUBLISHED | {"compute", "series", "zonal"},
    "training": PUBLISHED | {"zonal"},
    "api": FACE,
    "courses": {"errors", "notebooks", "plain", "settings", "store"},
    "exercises": FACE | {"courses", "sample"},
    "muses_lab": FACE | {"exercises", "kernel", "sample"},  # the package itself: the names that users see
    "hub": {"courses", "logs", "document", "errors", "resources", "settings", "store"},
    "evaluator": PUBLISHED | {"compute", "courses", "hub", "logs"},
    "deployment": {"logs", "settings", "variables", "compute", "notebooks"},
    "service": FACE | {"courses", "exercises", "kernel", "logs", "sample", "uploaded", "muses_lab"},
    "authoring": FACE | {"courses", "exercises", "muses_lab", "notebooks", "sample"},
    "doctor": FACE | {"sample", "service", "muses_lab"},
    "cli": FACE | {"authoring", "courses", "sample", "service", "hub", "doctor", "muses_lab"},
    "muses_widgets": FACE
    | {"courses", "exercises", "muses_lab", "service", "uploaded"},  # of the service the drawing of base maps
}
"""What each room of muses_lab (and the widgets) may import from the others."""

BROWSER = {"IPython", "anywidget", "ipykernel", "ipyleaflet", "ipywidgets", "notebook", "traitlets", "voila"}
JUPYTER = BROWSER | {"jupyter_client", "jupyter_core", "jupyter_server", "jupyterhub", "jupyterlab", "tornado"}
HTTP = {"aiohttp", "flask", "httpx", "requests", "urllib3"}
DASK = {"dask", "dask_gateway", "distributed"}
PURE = DASK | JUPYTER | HTTP | {"sqlalchemy"}

NEVER: dict[str, set[str]] = {
    **{room: BROWSER for room in MAY_IMPORT if room not in ("service", "doctor", "muses_widgets")},
    **{room: PURE for room in ("crs", "globe", "document", "operators", "engine", "resources", "scenes")},
    "raster": PURE - HTTP | BROWSER,
    **{room: DASK | JUPYTER for room in ("style", "render", "store", "products", "catalog")},
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
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = absolute(path, node)
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), filename=str(path))


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


def module_of(path: Path) -> str:
    package, root = next((name, root) for name, root in ROOTS.items() if path.is_relative_to(root))
    parts = [package, *path.relative_to(root).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_circle_of_files() -> None:
    """A package's `__init__` that offers names of its modules is imported by nobody inside it."""
    modules = {module_of(path): path for _, path in sources()}
    arrows = {}
    for name, path in modules.items():
        named = {n if n in modules else n.rpartition(".")[0] for _, n in imported(path)}
        arrows[name] = {n for n in named & modules.keys() if n not in (name, "muses_lab")}
    try:
        graphlib.TopologicalSorter(arrows).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"a circle: {' imports '.join(reversed(error.args[1]))}")


def private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def defined(room_: str) -> set[str]:
    """Private names that the files of a room define: functions, classes, variables, attributes."""
    found: set[str] = set()
    for own, path in sources():
        if own != room_:
            continue
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found.add(node.attr)
    return found


ROOMS = sorted({own for own, _ in sources()})


@pytest.mark.parametrize("own", ROOMS)
def test_no_private_name_of_another_room(own: str) -> None:
    mine = defined(own)
    wrong = []
    for other, path in sources():
        if other != own:
            continue
        wrong += [f"{path.name}:{line}: {name}" for line, name in imported(path)
                  if target(name) not in (None, own) and private(name.rpartition(".")[2])]  # fmt: skip
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Attribute) and private(node.attr) and node.attr not in mine:
                wrong.append(f"{path.name}:{node.lineno}: .{node.attr}")
    known = [w for w in wrong if not w.endswith(FOREIGN)]
    assert not known


FOREIGN = (
    "._replace", "._fields",  # of named tuples
    "._exit", "._getframe", "._register_atexit",  # of Python
    "._mapping",  # of rows of SQLAlchemy
    "._finished",  # of handlers of tornado
    "._preprocessing_hooks",  # of panel, which has no other switch
)  # fmt: skip
"""Private names of libraries that offer no other way, or that are public in all but their name."""
