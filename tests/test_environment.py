"""One environment, said once: pyproject, lock, conda and Binder agree, and the wheel is complete."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from functools import cache
from importlib.metadata import files, packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.helpers import REPOSITORY

PROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
LOCK = (REPOSITORY / "requirements.lock").read_text("utf-8")
ENTRIES = [
    Requirement(line.split(" \\")[0]) for line in LOCK.splitlines() if line and not line.startswith((" ", "#", "\t"))
]
LOCKED = {canonicalize_name(entry.name): str(entry.specifier).removeprefix("==") for entry in ENTRIES}
WANTED = [*PROJECT["dependencies"], *(r for extra in PROJECT["optional-dependencies"].values() for r in extra)]


@pytest.mark.parametrize("text", WANTED)
def test_the_lock_satisfies_the_project(text: str) -> None:
    wanted = Requirement(text)
    version = LOCKED.get(canonicalize_name(wanted.name))
    assert version, f"{wanted.name} is not in requirements.lock; run `make lock`"
    assert version in wanted.specifier, f"the lock has {wanted.name} {version}, the project wants {wanted.specifier}"


def test_what_is_imported_is_declared() -> None:
    """No module leans on a library that is there only because another one needs it."""
    optional = {canonicalize_name(Requirement(text).name) for text in PROJECT["optional-dependencies"]["hub"]}
    declared = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]} | optional
    undeclared: dict[str, str] = {}
    for root in ("muses_lab", "widgets/muses_widgets"):
        for path in sorted((REPOSITORY / root).rglob("*.py")):
            for name in imported(path) - sys.stdlib_module_names - {"muses_lab", "muses_widgets", "__future__"}:
                names = {canonicalize_name(found) for found in providers().get(name, [name])}
                if not names & declared:
                    undeclared[name] = str(path.relative_to(REPOSITORY))
    assert not undeclared, f"add to the dependencies in pyproject.toml, then `make lock`: {undeclared}"


ROOTS = {
    "dependencies": ("muses_lab", "widgets", "notebooks"),
    "hub": ("muses_lab", "jupyterhub_config.py", "tests"),
    "docs": ("docs",),
    "dev": ("tests", "benchmarks", "tools"),
}
"""Where the libraries of each list are imported."""

OTHERWISE = {
    "ipykernel": "runs the cells of notebooks",
    "voila": "a Jupyter server extension: notebooks as apps",
    "oauthenticator": "JupyterHub's settings name its classes",
    "myst-nb": "docs/conf.py names it as an extension",
    "pydata-sphinx-theme": "docs/conf.py names it as the theme",
    "sphinx-copybutton": "docs/conf.py names it as an extension",
    "pytest-timeout": "a plugin of pytest",
    "pytest-xdist": "a plugin of pytest",
    "mypy": "a command of make lint",
    "ruff": "a command of make lint",
    "pre-commit": "a command",
    "uv": "the command that installs and locks",
}
"""Libraries that are used without being imported, and how. Stubs (types-…) are read by mypy."""


def test_what_is_declared_is_imported() -> None:
    """What nothing imports leaves the lock, and what only tests import is a dependency of theirs alone."""
    lists = {"dependencies": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
    unused = {}
    for list_, roots in ROOTS.items():
        names = {canonicalize_name(Requirement(text).name) for text in lists[list_]}
        unknown = names - used(roots) - OTHERWISE.keys()
        unused[list_] = sorted(name for name in unknown if not name.startswith("types-"))
    assert lists.keys() == ROOTS.keys()
    assert not any(unused.values()), f"take out of pyproject.toml, then `make lock` and environment.yml: {unused}"


def used(roots: tuple[str, ...]) -> set[str]:
    """Distributions of which something is imported in folders of the repository."""
    modules = {name for root in roots for name in modules_below(REPOSITORY / root)}
    return {
        canonicalize_name(name)
        for module in modules
        for name in providers().get(module.split(".")[0], ())
        if len(providers()[module.split(".")[0]]) == 1 or gives(name, module)
    }


@cache
def providers() -> dict[str, list[str]]:
    """Distributions that give a top-level package; the whole environment is read for it."""
    return {name: list(found) for name, found in packages_distributions().items()}


@cache
def paths(distribution: str) -> list[str]:
    return [str(file) for file in files(distribution) or ()]


def gives(distribution: str, module: str) -> bool:
    """Whether it is this distribution of those that share a namespace (odc.geo and odc.stac) that is imported."""
    parts = module.split(".")
    start = "/".join(parts[:2])
    has = any(path.startswith((f"{start}/", f"{start}.")) for path in paths(distribution))
    return has or canonicalize_name(distribution) == canonicalize_name(parts[0])


@cache
def modules_below(root: Path) -> set[str]:
    """Full names of the modules that files and notebooks of a folder import."""
    names: set[str] = set()
    for path in [root] if root.is_file() else sorted(root.rglob("*")):
        if path.suffix == ".py":
            names |= modules_of(path.read_text("utf-8"))
        elif path.suffix == ".ipynb":
            cells = json.loads(path.read_text("utf-8"))["cells"]
            names |= modules_of("\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"))
    return names


def imported(path: Path) -> set[str]:
    """Top-level names of the libraries that a file imports."""
    return {name.split(".")[0] for name in modules_of(path.read_text("utf-8"))}


def modules_of(source: str) -> set[str]:
    """Full names of the modules that a file imports, or imports something of."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_every_entry_of_the_lock_is_pinned_and_hashed() -> None:
    assert all(re.fullmatch(r"==[^,*]+", str(entry.specifier)) for entry in ENTRIES)
    blocks = re.split(r"^(?=[A-Za-z0-9])", LOCK, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(ENTRIES)
    assert all("--hash=sha256:" in block for block in blocks)


def test_the_lock_has_nothing_that_makes_every_jupyter_server_start_late() -> None:
    assert "rfc3987-syntax" not in LOCKED, "jsonschema's formats import it; it builds a grammar for 1.3 s"


def test_the_lock_names_no_registry() -> None:
    assert "://" not in LOCK
    assert not re.search(r"--(index|extra-index|find-links|trusted-host|default-index)", LOCK)


def test_make_lock_is_the_command_that_made_the_lock() -> None:
    made_by = re.search(r"^#\s+(uv pip compile .*)$", LOCK, re.MULTILINE)
    assert made_by
    assert f"$(BIN)/{made_by[1]}" in (REPOSITORY / "Makefile").read_text("utf-8")


def environment(path: str) -> tuple[dict[str, Any], list[str], list[str]]:
    """The file, its conda packages, its pip lines."""
    doc = yaml.safe_load((REPOSITORY / path).read_text("utf-8"))
    conda = [entry for entry in doc["dependencies"] if isinstance(entry, str)]
    pip = [line for entry in doc["dependencies"] if isinstance(entry, dict) for line in entry["pip"]]
    return doc, conda, pip


@pytest.mark.parametrize("path", ["environment.yml", "binder/environment.yml"])
def test_conda_takes_everything_but_python_from_the_lock(path: str) -> None:
    doc, conda, pip = environment(path)
    assert doc["name"] == PROJECT["name"]
    assert [re.split("[=<>]", entry)[0] for entry in conda] == ["python", "pip"]
    first, *named = pip
    assert (REPOSITORY / path).parent.joinpath(first.removeprefix("-r ")).resolve() == REPOSITORY / "requirements.lock"
    direct = {canonicalize_name(Requirement(text).name) for text in WANTED}
    for text in named:
        entry = Requirement(text)
        assert canonicalize_name(entry.name) in direct, f"{entry.name} is not a dependency in pyproject.toml"
        assert LOCKED[canonicalize_name(entry.name)] in entry.specifier


def test_conda_and_binder_are_the_same_environment() -> None:
    (root, conda, pip), (binder, binder_conda, binder_pip) = map(
        environment, ("environment.yml", "binder/environment.yml")
    )
    assert (root["name"], root["channels"], conda) == (binder["name"], binder["channels"], binder_conda)
    assert pip[1:] == binder_pip[1:]


def test_the_version_is_said_once() -> None:
    text = (REPOSITORY / "muses_lab" / "__init__.py").read_text("utf-8")
    assert f'__version__ = "{PROJECT["version"]}"' in text


def test_pythons_agree() -> None:
    _, conda, _ = environment("environment.yml")
    version = conda[0].removeprefix("python=")
    assert version in SpecifierSet(PROJECT["requires-python"])
    assert f"--python-version {version}" in LOCK
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in SpecifierSet(PROJECT["requires-python"])


@pytest.mark.parametrize("path", [".ci/run", "binder/postBuild", "binder/start"])
def test_scripts_are_runnable(path: str) -> None:
    assert os.access(REPOSITORY / path, os.X_OK)
    subprocess.run(["bash", "-n", REPOSITORY / path], check=True)


def test_the_wheel_has_every_file_and_enables_itself_in_jupyter(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "uv", "build", "--wheel", "--quiet", "--out-dir", tmp_path, REPOSITORY]
    subprocess.run(build, check=True)
    (path,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        data = f"{path.name.rsplit('-', 3)[0]}.data/data"
        server = json.loads(wheel.read(f"{data}/etc/jupyter/jupyter_server_config.d/muses_lab.json"))
        lab = json.loads(wheel.read(f"{data}/share/jupyter/lab/settings/overrides.d/muses_lab.json"))
    assert server == {"ServerApp": {"jpserver_extensions": {"muses_lab.service": True}}}
    assert lab["@jupyter-widgets/jupyterlab-manager:plugin"] == {"saveState": True}
    tracked = subprocess.run(
        ["git", "ls-files", "muses_lab", "widgets/muses_widgets"],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert {name.removeprefix("widgets/") for name in tracked} <= names
