"""Kinds of things that are one module each: found by looking into a folder, and at what installed packages add.

Nothing lists them. A module of the folder, or one that a package names as an entry point, states what it adds in an
attribute. A package that is broken is reported by its name and left out: it must not take the others with it.
"""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Any


class PluginProblem(UserWarning):
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
    PluginProblem
        An entry point cannot be imported, has no such attribute, or did not pass the check.
    """
    modules = list(_modules(package))
    return [getattr(module, attribute) for module in modules if hasattr(module, attribute)] + list(
        _added(group, attribute, check)
    )


def _modules(package: str) -> Iterator[Any]:
    folder = importlib.import_module(package).__path__
    for name in sorted(module.name for module in pkgutil.iter_modules(folder)):
        yield importlib.import_module(f"{package}.{name}")


def _added(group: str, attribute: str, check: Callable[[Any], None]) -> Iterator[Any]:
    for entry in sorted(entry_points(group=group), key=lambda entry: (entry.name, entry.value)):
        try:
            stated = getattr(entry.load(), attribute)
            check(stated)
        except Exception as error:  # whatever another's module does when it is imported
            whose = f" of the package {entry.dist.name}" if entry.dist is not None else ""
            warnings.warn(
                f"{entry.name} = {entry.value}{whose} ({group}) cannot be used and is left out: "
                f"{type(error).__name__}: {error}",
                PluginProblem,
                stacklevel=2,
            )
            continue
        yield stated
