"""A real JupyterLab and a real Chromium: nothing between the tests and what a user has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from muses_lab.catalog import register_catalog
from tests.helpers import REPOSITORY
from tests.helpers.jupyterlab import FLAGS, VIEWPORT, Lab, Notebook, Traffic


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What tests measured (`record_property("measured", text)`): told, not asserted."""
    reports = [r for several in terminalreporter.stats.values() for r in several if isinstance(r, pytest.TestReport)]
    told = [text for r in reports if r.when == "call" for name, text in r.user_properties if name == "measured"]
    if told:
        terminalreporter.section("measured in the browser")
        for text in told:
            terminalreporter.write_line(text)


# Of the package, not of the session: Playwright's loop runs in the worker's main thread as long as it is there, and
# other tests have loops of their own.
@pytest.fixture(scope="package")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@contextmanager
def _starting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Lab]]:
    started: list[Lab] = []

    def start(name: str, catalog: Path, **environment: str) -> Lab:
        folder = tmp_path_factory.mktemp(name)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MUSES_LAB_HOME", str(folder / "home"))
            register_catalog(catalog)
        started.append(Lab(folder / "work", folder / "home", **environment))
        return started[-1]

    yield start
    for lab in started:
        lab.close()


@pytest.fixture(scope="module")
def start_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Lab]]:
    """Starts JupyterLabs, each with a home of its own that knows one catalogue, and with other settings if need be."""
    with _starting(tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory, sample_catalog: Path) -> Iterator[Lab]:
    """A JupyterLab that knows the small sample, and its cluster. Modules that want other ones have their own `lab`."""
    with _starting(tmp_path_factory) as start:
        yield start("lab", sample_catalog)


@pytest.fixture(scope="package")
def lab_in_threads(tmp_path_factory: pytest.TempPathFactory, sample_catalog: Path) -> Iterator[Lab]:
    """The same without a cluster, for modules that need none: their `lab` is this one."""
    with _starting(tmp_path_factory) as start:
        yield start("lab-in-threads", sample_catalog, MUSES_COMPUTE="threads")


@pytest.fixture(scope="module")
def traffic(lab: Lab) -> Traffic:
    return Traffic(lab)


@pytest.fixture(scope="module")
def page(browser: Browser, lab: Lab, traffic: Traffic) -> Iterator[Page]:
    context = browser.new_context(viewport=VIEWPORT)
    page = context.new_page()
    page.goto(f"{lab.url}login?next=%2Fapi%2Fstatus&token={lab.token}")  # from here on by cookie, as a user's browser
    traffic.watch(page)
    yield page
    context.close()
    lab.stop_kernels()
    lab.empty()


@pytest.fixture(scope="module")
def notebook(page: Page, lab: Lab, traffic: Traffic) -> Notebook:
    return Notebook(page, lab, traffic)
