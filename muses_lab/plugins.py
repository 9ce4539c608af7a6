"""Kinds of things that are one module each: found by looking into a folder, and at what installed packages add.

Nothing lists them. A package of someone else says in its `pyproject.toml`

```toml
[project.entry-points."muses_lab.operators"]
my_indices = "my_package.indices"
```

and importing that module declares what it adds, or the module states it in an attribute. A package that is broken is
reported by its name and left out: it must not take the others with it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from types import ModuleType
from typing import Any


class BrokenPlugin(UserWarning):
    """What an installed package adds cannot be used, and was left out."""


def found(package: str, group: str, attribute: str, check: Callable[[Any], None] = lambda _: None) -> list[Any]:
    """What the modules of a package and the entry points of a group state, in the order of their names.

    ```python
    found("muses_lab.export.formats", "muses_lab.formats", "WRITER")
    ```

    Parameters
    ----------
    package
        Dotted name of a package of ours; each of its modules is imported.
    group
        Group of entry points. Each names a module of an installed package.
    attribute
        Name of what such a module states; a module of ours without it adds nothing.
    check
        Raises where what an entry point states is not what is asked for.

    Warns
    -----
    BrokenPlugin
        An entry point cannot be imported, has no such attribute, or did not pass the check.
    """
    ours = [getattr(module, attribute) for module in folder(package) if hasattr(module, attribute)]
    added, _ = load(group, lambda module: check(getattr(module, attribute)))
    return ours + [getattr(module, attribute) for module in added]


def folder(package: str) -> list[ModuleType]:
    """The modules of a package of ours, imported, in the order of their names."""
    names = sorted(module.name for module in iter_modules(import_module(package).__path__))
    return [import_module(f"{package}.{name}") for name in names]


def load(group: str, check: Callable[[ModuleType], None] = lambda _: None) -> tuple[list[ModuleType], dict[str, str]]:
    """The modules that the entry points of a group name, imported; and what went wrong, by package and entry point.

    Each of those is told by the warning `BrokenPlugin` as well, and skipped.
    """
    modules: list[ModuleType] = []
    broken: dict[str, str] = {}
    for entry in sorted(entry_points(group=group), key=lambda entry: (entry.name, entry.value)):
        try:
            module = import_module(entry.module)
            check(module)
        except Exception as error:  # whatever a module of others may raise
            package = entry.dist.name if entry.dist is not None else "unknown"
            name = f"{entry.name!r} of the package {package!r}"
            broken[name] = f"{type(error).__name__}: {error}"
            warnings.warn(
                f"the entry point {name} ({group} = {entry.value}) cannot be used and is left out: {broken[name]}",
                BrokenPlugin,
                stacklevel=2,
            )
        else:
            modules.append(module)
    return modules, broken
