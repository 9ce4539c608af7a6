"""What other packages add: modules that they name in an entry-point group, imported once.

A package says in its `pyproject.toml`

```toml
[project.entry-points."muses_lab.operators"]
my_indices = "my_package.indices"
```

and importing that module declares what it adds.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from importlib.metadata import entry_points


class BrokenPlugin(UserWarning):
    """A package's module could not be imported: what it adds is missing."""


def load(group: str) -> dict[str, str]:
    """Imports the modules of a group, in the order of their names; what went wrong, by package and entry point.

    Each of those is told by the warning `BrokenPlugin` and skipped: a broken package must not stop all others.
    """
    broken: dict[str, str] = {}
    for entry in sorted(entry_points(group=group), key=lambda entry: (entry.name, entry.value)):
        try:
            import_module(entry.module)
        except Exception as error:  # whatever a module of others may raise
            package = entry.dist.name if entry.dist is not None else "unknown"
            name = f"{entry.name!r} of the package {package!r}"
            broken[name] = f"{type(error).__name__}: {error}"
            warnings.warn(
                f"the entry point {name} ({group}) is skipped, its module {entry.module!r} cannot be imported: "
                f"{broken[name]}",
                BrokenPlugin,
                stacklevel=2,
            )
    return broken
