"""Packages that add something of a kind by an entry point: installed for one test, as pip would install them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, group: str, **modules: str) -> None:
    """Puts a package `additions` on the path, with an entry point of the group for each module (name → source)."""
    package = folder / "additions"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for name, source in modules.items():
        (package / f"{name}.py").write_text(source, "utf-8")
    about = folder / "additions-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: additions\nVersion: 1.0\n")
    lines = [f"{name} = additions.{name}" for name in modules]
    (about / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
    monkeypatch.syspath_prepend(folder)
    for name in ("additions", *(f"additions.{name}" for name in modules)):
        sys.modules.pop(name, None)  # that of another test
