"""What all tests share: isolation from the user's own state, real data, the sample catalogue, a browser."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from platformdirs import user_cache_path

from .hubs import HubUser, RunningHub

REPOSITORY = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SMALL_SAMPLE = {"size": 1024, "dates": 8}
KEEP_OLD_SAMPLES_FOR = 24 * 3600.0

hypothesis.settings.register_profile("no-seconds", deadline=None)  # a busy machine is no error
hypothesis.settings.load_profile("no-seconds")


@pytest.hookimpl(tryfirst=True)  # before xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browser tests follow one another on one worker: two browsers on two cores would only measure each other."""
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.fixture(scope="session", autouse=True)
def isolated_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Settings, store, registered catalogues, embedded cluster and Jupyter's files of a test run are its own."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("MUSES_", "DASK_", "JUPYTERHUB_")) and not name.startswith("MUSES_TEST_"):
                patch.delenv(name)
        for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
            folder = home / name.lower()
            folder.mkdir(mode=0o700)
            patch.setenv(name, str(folder))
        patch.setenv("MUSES_LAB_HOME", str(home / "muses-lab"))
        yield home


@pytest.fixture
def fresh_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's own folder with nothing in it, for this test only: no catalogue registered, an empty store."""
    home = tmp_path / "muses-lab-home"
    monkeypatch.setenv("MUSES_LAB_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real products, read in place (`MUSES_TEST_DATA`, else `../shared/data` beside the checkout)."""
    folder = Path(os.environ.get("MUSES_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real test data at {folder}; set MUSES_TEST_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the browser to drive (`MUSES_TEST_CHROMIUM`, else the system's Chromium)."""
    named = os.environ.get("MUSES_TEST_CHROMIUM")
    found = named or next((path for path in map(shutil.which, BROWSERS) if path), None)
    if not found:
        pytest.skip("no Chromium on the PATH; `make browser` installs it, or set MUSES_TEST_CHROMIUM")
    return found


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Any]:
    """A PostgreSQL server for this test run (see `store_helpers/postgres.py`)."""
    sys.path.insert(0, str(REPOSITORY / "tests" / "store_helpers"))
    import postgres

    if postgres.binaries() is None:
        pytest.skip("no PostgreSQL server here; on Debian: apt-get install postgresql")
    cluster = postgres.Cluster()
    yield cluster
    cluster.close()


@pytest.fixture
def postgres(postgres_cluster: Any) -> str:
    """SQLAlchemy URL of a new, empty PostgreSQL database."""
    return postgres_cluster.database()


@pytest.fixture(scope="session")
def sample_catalog() -> Path:
    """Folder of a small sample catalogue (a few dates), registered for this test run."""
    return _sample("small", **SMALL_SAMPLE)


@pytest.fixture(scope="session")
def full_sample() -> Path:
    """Folder of the sample catalogue at its full size; for slow tests only: making it takes about a minute."""
    return _sample("full")


def _sample(kind: str, **arguments: Any) -> Path:
    """Made once per version of its generator, for all runs and workers of this user, and then only read."""
    from muses_lab.sample import generate

    cache = user_cache_path("muses-lab-tests", ensure_exists=True)
    folder = cache / f"sample-{kind}-{_version(arguments)}"
    if not folder.exists():
        _forget_old(cache, f"sample-{kind}-")
    generate(folder, **arguments)  # at once when it is there; a worker waits for the one that makes it
    os.utime(folder)
    return folder


def _version(arguments: dict[str, Any]) -> str:
    """Digest of the generator's source, so that nobody has to remember to raise a number."""
    sources = sorted((REPOSITORY / "muses_lab" / "sample").rglob("*.py"))
    text = b"".join(path.read_bytes() for path in sources) + repr(sorted(arguments.items())).encode()
    return hashlib.sha256(text).hexdigest()[:16]


def _forget_old(cache: Path, prefix: str) -> None:
    for folder in cache.glob(f"{prefix}*"):
        if folder.is_dir() and time.time() - folder.stat().st_mtime > KEEP_OLD_SAMPLES_FOR:
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def alice(hub: RunningHub) -> HubUser:
    """A user of the module's hub, whose server runs."""
    return HubUser(hub, "alice").start()


@pytest.fixture(scope="module")
def bob(hub: RunningHub) -> HubUser:
    """Another one."""
    return HubUser(hub, "bob").start()
