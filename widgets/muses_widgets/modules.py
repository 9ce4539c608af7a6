"""The widgets' JavaScript modules as one text: anywidget loads one per widget, and a saved notebook carries it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

JS = Path(__file__).parent / "js"
_PACKAGE = "muses_widgets/"
"""How the modules of other packages write the folder of ours."""

_IMPORT = re.compile(r'^import (?:\{([^{}]*)\} from )?"([^"]+)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (default |(?:async )?(?:function|class|const) (\w+))", re.MULTILINE)
_REST = re.compile(r"^(?:import\b|export\b).*$", re.MULTILINE)


def joined(entry: Path, also: Iterable[Path] = ()) -> str:
    """One module that does what `entry` does, after the modules `also`, which it need not know.

    Each module becomes a function with a scope of its own, after those that it imports. Understood are
    `import { a, b } from "./c.js";`, `import "./c.js";`, and `export` before `function`, `class`, `const`, `default`.
    A `ValueError` names the module that has another form, or that imports itself in a circle.
    """
    order: list[Path] = []
    for path in (*also, entry):
        _visit(path.resolve(), order, ())
    names = {path: f"module{n}" for n, path in enumerate(order)}
    parts = [_as_function(path, names) for path in order]
    return "\n".join([*parts, f"export default {names[entry.resolve()]}.default;\n"])


def _visit(path: Path, order: list[Path], users: tuple[Path, ...]) -> None:
    if path in users:
        circle = " → ".join(user.name for user in (*users[users.index(path) :], path))
        raise ValueError(f"JavaScript modules import one another in a circle: {circle}")
    if path in order:
        return
    for _, reference in _IMPORT.findall(path.read_text("utf-8")):
        _visit(_file(reference, path), order, (*users, path))
    order.append(path)


def _file(reference: str, user: Path) -> Path:
    """The file that an import names."""
    if reference.startswith(_PACKAGE):
        return (JS / reference.removeprefix(_PACKAGE)).resolve()
    if not reference.startswith("."):
        raise ValueError(f'{user}: import of "{reference}"; a module begins with "./", "../" or "{_PACKAGE}"')
    return (user.parent / reference).resolve()


def _as_function(path: Path, names: dict[Path, str]) -> str:
    text = path.read_text("utf-8")
    if any(" as " in wanted for wanted, _ in _IMPORT.findall(text)):
        raise ValueError(f"{path}: an import renames what it imports, which is not understood")
    exported = ["default" if kind == "default " else name for kind, name in _EXPORT.findall(text)]
    text = _EXPORT.sub(lambda found: "const exported = " if found[1] == "default " else found[1], text)
    text = _IMPORT.sub(lambda found: _as_names(found[1], names[_file(found[2], path)]), text)
    other = _REST.search(text)
    if other:
        raise ValueError(f"{path}: {other[0]!r} is a form that is not understood, see muses_widgets.modules.joined")
    given = ", ".join("default: exported" if name == "default" else name for name in exported)
    return f"// ---- {path.name}\nconst {names[path]} = (() => {{\n{text}\nreturn {{ {given} }};\n}})();"


def _as_names(wanted: str | None, module: str) -> str:
    return "" if wanted is None else f"const {{{wanted}}} = {module};"
