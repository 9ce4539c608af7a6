"""What this machine has and lacks for MUSES Lab, and the command that gets it: `muses-lab doctor`."""

from __future__ import annotations

import importlib
import re
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from muses_lab import settings
from muses_lab.errors import MusesError

PYTHONS = ((3, 11), (3, 14))
SERVER_EXTENSION = "muses_lab.service"
SAVE_STATE = "@jupyter-widgets/jupyterlab-manager:plugin"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SAMPLE_DISK = 6e9
MEMORY = 2e9


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Examples
    --------
    >>> print(Finding("memory", True, "8.0 GB free"))
    ok       memory: 8.0 GB free
    """

    name: str
    ok: bool
    found: str
    """What is there, or what is wrong with it."""
    cure: str = ""
    """The command, or the advice, that gets what is missing."""
    needed: bool = True
    """False: MUSES Lab works without; only those who want the named thing need it."""

    def __str__(self) -> str:
        state = "ok" if self.ok else "missing" if self.needed else "optional"
        line = f"{state:8} {self.name}: {self.found}"
        return line if self.ok or not self.cure else f"{line}\n{'':9}→ {self.cure}"


def examine() -> Iterator[Finding]:
    """All findings, one after another; a check that breaks is itself a finding."""
    for name, check in CHECKS.items():
        try:
            finding = check()
        except MusesError as error:  # says itself what to do
            finding = Finding(name, False, error.message)
        except Exception as error:  # whatever is broken on a stranger's machine, the other checks still tell
            finding = Finding(name, False, f"{type(error).__name__}: {error}", install())
        yield replace(finding, name=name)


def checkout() -> Path | None:
    """The source tree that this installation runs from; None when installed from a wheel."""
    folder = Path(__file__).resolve().parent.parent
    return folder if (folder / "requirements.lock").is_file() else None


def install() -> str:
    """The command that repairs the installation itself."""
    folder = checkout()
    return f"make -C {folder} --always-make install" if folder else f"{sys.executable} -m pip install -U muses-lab"


def python() -> Finding:
    low, high = PYTHONS
    version = ".".join(map(str, sys.version_info[:3]))
    wanted = f"{low[0]}.{low[1]} or newer, below {high[0]}.{high[1]}"
    ok = low <= sys.version_info[:2] < high
    return Finding("", ok, f"{version} ({sys.executable})", f"make install PYTHON=python3.11   (wanted: {wanted})")


def packages() -> Finding:
    """Installed versions against the lock, or against the package's own requirements where there is no lock."""
    from packaging.requirements import Requirement

    folder = checkout()
    if folder:
        text = (folder / "requirements.lock").read_text("utf-8")
        wanted = [Requirement(line) for line in re.findall(r"^([A-Za-z0-9][^\\\n]*?) *\\?$", text, re.MULTILINE)]
    else:
        wanted = [Requirement(line) for line in metadata.requires("muses-lab") or []]
    wanted = [r for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]
    wrong = []
    for requirement in wanted:
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is not installed")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} is {version} instead of {requirement.specifier}")
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        return Finding("", False, "; ".join(wrong[:5]) + more, install())
    return Finding("", True, f"{len(wanted)} as {'locked' if folder else 'required'}")


def server_extension() -> Finding:
    """The tile service is enabled in every Jupyter server of this environment, and can be loaded."""
    from jupyter_core.paths import jupyter_config_path
    from jupyter_server.extension.config import ExtensionConfigManager

    manager = ExtensionConfigManager(read_config_path=jupyter_config_path())
    if not manager.enabled(SERVER_EXTENSION):
        return Finding("", False, f"{SERVER_EXTENSION} is not enabled", install())
    module = importlib.import_module(SERVER_EXTENSION)
    if not hasattr(module, "_jupyter_server_extension_points"):
        return Finding("", False, f"{SERVER_EXTENSION} is enabled, but is not a server extension", install())
    return Finding("", True, f"{SERVER_EXTENSION} is enabled")


def widget_state() -> Finding:
    """JupyterLab saves widget state with the notebook: else a reopened notebook shows no map until it is run."""
    from jupyterlab.commands import get_app_dir, get_user_settings_dir
    from jupyterlab_server.settings_utils import get_settings

    app = Path(get_app_dir())
    found, _ = get_settings(
        str(app / "settings"),
        str(app / "schemas"),
        get_user_settings_dir(),
        SAVE_STATE,
        labextensions_path=[str(app.parent / "labextensions")],
    )
    default = found["schema"]["properties"]["saveState"]["default"]
    if found["settings"].get("saveState", default):
        return Finding("", True, "JupyterLab saves it with the notebook")
    if "saveState" in found["settings"]:
        return Finding(
            "", False, "switched off in your JupyterLab settings", "Settings → Jupyter Widgets → Save widget state"
        )
    return Finding("", False, "JupyterLab does not save it", install())


def home() -> Finding:
    folder = settings.home()
    probe = folder / ".doctor"
    probe.write_bytes(b"")
    probe.unlink()
    return Finding("", True, str(folder))


def disk() -> Finding:
    free = shutil.disk_usage(settings.home()).free
    return Finding(
        "",
        free >= SAMPLE_DISK,
        f"{free / 1e9:.1f} GB free at {settings.home()}",
        f"free {SAMPLE_DISK / 1e9:.0f} GB there for sample data and exports, or set MUSES_LAB_HOME to a larger disk",
    )


def memory() -> Finding:
    import psutil

    free = psutil.virtual_memory().available
    return Finding(
        "",
        free >= MEMORY,
        f"{free / 1e9:.1f} GB available",
        f"close something ({MEMORY / 1e9:.0f} GB wanted), or keep less of it: export MUSES_WORKER_BYTES={512 << 20}",
    )


def loopback() -> Finding:
    """Kernel, service and cluster talk to one another over 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname(), timeout=5):
            pass
        return Finding("", True, "connections to 127.0.0.1 work")


def catalogs() -> Finding:
    known = settings.registered_catalogs()
    there = [name for name, entry in known.items() if "://" in entry["root"] or Path(entry["root"]).is_dir()]
    gone = sorted(set(known) - set(there))
    found = ", ".join(sorted(there)) or "none yet"
    if gone:
        found += f" (folders that are gone: {', '.join(gone)})"
    return Finding("", bool(there), found, "muses-lab sample   (or: muses-lab catalog add FILES…)")


def store() -> Finding:
    """That it can be opened, and is whole; one that is not there yet is made when it is needed."""
    from muses_lab.store import open_store
    from muses_lab.store.sql import SqlStore

    url = settings.store_url()
    where = url.removeprefix("sqlite:///")
    if where != url and not Path(where).exists():
        return Finding("", True, "none yet; it is made when something is published")
    found = open_store(url)
    try:
        if isinstance(found, SqlStore) and (problems := found.database.problems()):
            raise found.database.damaged("; ".join(problems))
        found.documents(limit=1)
        return Finding("", True, str(found))
    finally:
        found.close()


def cluster() -> Finding:
    """Not running is well: the cluster starts when it is needed."""
    from muses_lab.compute import embedded
    from muses_lab.compute.release import release

    found = embedded.status()
    if not found["running"]:
        return Finding("", True, "not running; it starts when it is needed")
    if found["release"] != release():
        return Finding("", False, f"runs {found['release']}, installed is {release()}", "muses-lab cluster stop")
    return Finding("", True, f"running: {found['workers']} workers, {found['threads']} threads, pid {found['pid']}")


def browser() -> Finding:
    found = next((path for path in map(shutil.which, BROWSERS) if path), None)
    cure = "apt-get install chromium   (as root; any Chromium or Chrome on the PATH will do)"
    return Finding("", bool(found), found or "no Chromium, needed by `make test` only", cure, needed=False)


CHECKS: dict[str, Callable[[], Finding]] = {
    "Python": python,
    "packages": packages,
    "Jupyter server extension": server_extension,
    "widget state": widget_state,
    "own folder": home,
    "disk": disk,
    "memory": memory,
    "loopback": loopback,
    "catalogues": catalogs,
    "store": store,
    "cluster": cluster,
    "browser for tests": browser,
}
