"""What all tests share: isolation from the user's own state, real data, the sample catalogue, a browser."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from platformdirs import user_cache_path

import muses_lab as ml
from muses_lab import compute
from muses_lab.store import default_store
from muses_lab.style import Style
from tests.helpers import REPOSITORY, durations, groups, real_series
from tests.helpers.examples import FEW, MANY
from tests.helpers.hubs import HubUser, RunningHub
from tests.helpers.made_scenes import Made
from tests.helpers.service import Server, running_server

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SMALL_SAMPLE = {"size": 1024, "dates": 8}
KEEP_OLD_SAMPLES_FOR = 24 * 3600.0

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # by a shell that runs the tests in its background
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no error: no deadlines. `make test-thorough` loads the second profile, see `helpers/examples.py`.
hypothesis.settings.register_profile("few", deadline=None, max_examples=FEW)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=30 * MANY)
hypothesis.settings.load_profile("few")


@pytest.hookimpl(tryfirst=True)  # before marks are chosen by
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Thorough tests run where they are asked for."""
    if "thorough" not in config.option.markexpr:
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("thorough")])
        items[:] = [item for item in items if not item.get_closest_marker("thorough")]
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker("property")
    items[:] = groups.in_order(items)


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> groups.WholeGroups:
    return groups.WholeGroups(config, log)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    durations.tell(terminalreporter)


@pytest.fixture(scope="session", autouse=True)
def isolated_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Settings, store, registered catalogues, embedded cluster and Jupyter's files of a test run are its own."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        # Images of Python set it: each of the many processes that tests start would compile all that it imports.
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
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
    """A user's own folder with nothing in it, for this test only: no catalogue registered, an empty store.

    Chains are computed in threads: a cluster that this process knows already is that of another home.
    """
    home = tmp_path / "muses-lab-home"
    monkeypatch.setenv("MUSES_LAB_HOME", str(home))
    monkeypatch.setenv("MUSES_COMPUTE", "threads")
    monkeypatch.setattr(compute, "_default", None)
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
    """A PostgreSQL server for this test run (see `helpers/postgres.py`)."""
    from tests.helpers import postgres

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
def s2(sample_catalog: Path) -> ml.Collection:
    """The Sentinel-2 scenes of the small sample."""
    return ml.collection("sentinel-2-l2a", ml.open_catalog(str(sample_catalog)))


@pytest.fixture(scope="session")
def layer(s2: ml.Collection) -> ml.Layer:
    """The median NDVI of the small sample, as a layer."""
    return s2.mask_clouds().ndvi().median("t").style(cmap="RdYlGn", vmin=0, vmax=1, label="NDVI")


@pytest.fixture(scope="session")
def published(layer: ml.Layer) -> tuple[str, str]:
    """Published as a kernel does it: straight into the store."""
    return layer.publish()


@pytest.fixture(scope="session")
def published_style(isolated_home: Path) -> Style:
    """Published as a kernel does it: straight into the store."""
    style = Style(cmap="RdYlGn", vmin=0, vmax=1, label="NDVI")
    default_store().put_style(style.hash, style.to_text())
    return style


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, isolated_home: Path) -> Iterator[Server]:
    """A Jupyter server that computes in threads."""
    settings = {"MUSES_COMPUTE": "threads", "MUSES_MAX_DOCUMENT": "100000", "MUSES_ACTIVITY_SECONDS": "0.2"}
    with running_server(tmp_path_factory.mktemp("server"), **settings) as one:
        yield one


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """A registered catalogue folder for this test's own files."""
    return Made(tmp_path / "catalog")


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory, isolated_home: Path) -> Made:
    """A registered catalogue folder for the files of a module's tests."""
    return Made(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def in_threads() -> Iterator[None]:
    """Chains of this module's tests are computed in threads of this process; no cluster starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUSES_COMPUTE", "threads")
        patch.setattr(compute, "_default", None)
        yield


@pytest.fixture(scope="session")
def lab_sample() -> Path:
    """Folder of the sample catalogue that `make lab` makes; for slow tests only: making it takes half a minute."""
    return _sample("lab")


@pytest.fixture(scope="session")
def years_sample() -> Path:
    """Folder of the sample of six years, which a copy of it in a home's `sample-years` saves making."""
    from muses_lab.sample import six_years

    return _sample("years", make=six_years)


@pytest.fixture(scope="session")
def course_samples(isolated_home: Path, years_sample: Path) -> Callable[[Path], None]:
    """Puts the samples that the courses of `notebooks/courses` name into a home, as links; this run's has them."""
    from muses_lab import settings
    from muses_lab.sample.make import of_size

    made = _sample("864-36", make=lambda folder: of_size(864, 36, folder))

    def give(home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        for folder, name in ((made, "sample-864-36"), (years_sample, "sample-years")):
            if not (home / name).exists():
                (home / name).symlink_to(folder)

    give(settings.home())
    return give


def _sample(kind: str, make: Any = None, **arguments: Any) -> Path:
    """Made once per version of its generator, for all runs and workers of this user, and then only read."""
    from muses_lab.sample import generate

    cache = user_cache_path("muses-lab-tests", ensure_exists=True)
    folder = cache / f"sample-{kind}-{_version(arguments)}"
    if not folder.exists():
        _forget_old(cache, f"sample-{kind}-")
    (make or generate)(folder, **arguments)  # at once when it is there; a worker waits for the one that makes it
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


@pytest.fixture
def own() -> Iterator[None]:
    """Operators that a test declares as in a notebook are gone after it."""
    from muses_lab.operators import registry

    before, attributes = dict(registry._offered), set(vars(ml.Chain))
    yield
    for name in set(vars(ml.Chain)) - attributes:
        delattr(ml.Chain, name)
    registry._offered.clear()
    registry._offered.update(before)


@pytest.fixture(scope="module")
def eolearn(shared_data: Path, tmp_path_factory: pytest.TempPathFactory, isolated_home: Path) -> Any:
    """The real series of `eolearn`, see `helpers/real_series.py`."""
    return real_series.eolearn(shared_data, tmp_path_factory.mktemp("eolearn"))


@pytest.fixture(scope="module")
def masked(eolearn: Any) -> ml.Chain:
    """Its NDVI where it is valid."""
    return eolearn[0].band("NDVI").mask(eolearn[0].band("IS_VALID") == 0)
