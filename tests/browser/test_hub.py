"""Two users of a real JupyterHub in a real browser: each opens notebook 01 and computes on a cluster of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser, Page

from muses_lab.notebooks import TUTORIALS
from tests.helpers.hubs import PASSWORD, RunningHub, alive, running_hub, until
from tests.helpers.jupyterlab import SCREENSHOTS, VIEWPORT, Notebook, Traffic

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

NAME = "notebooks/01-first-map.ipynb"


@dataclass
class Place:
    """Where a user's server is, as `Notebook` and `Traffic` want to know it."""

    url: str
    token: str = ""


@dataclass
class Visit:
    """One user's browser window."""

    name: str
    page: Page
    notebook: Notebook
    traffic: Traffic
    tiles: list[str]

    def status(self, url: str) -> int:
        """What a page of this user is answered when it asks for `url`: with all its cookies, and its XSRF token."""
        script = """async (url) => {
          const xsrf = document.cookie.match(/(?:^|;\\s*)_xsrf=([^;]*)/)?.[1] ?? "";
          const answer = await fetch(url, { headers: { "X-XSRFToken": decodeURIComponent(xsrf) } });
          return answer.status;
        }"""
        return self.page.evaluate(script, url)


@pytest.fixture(scope="module")
def hub(sample_catalog: Path) -> Iterator[RunningHub]:
    with running_hub(sample_catalog, TITLE="Maps <for> all", CONTACT="lab@example.org") as hub:
        yield hub


def sign_in(page: Page, hub: RunningHub, name: str) -> None:
    page.goto(hub.url)
    page.fill("#username_input", name)
    page.fill("#password_input", PASSWORD)
    page.click("#login_submit")
    page.wait_for_url(f"**/user/{name}/lab**", timeout=180_000)


@pytest.fixture(scope="module")
def visits(hub: RunningHub, browser: Browser) -> Iterator[dict[str, Visit]]:
    """Both have logged in and run notebook 01, bob as far as its map."""
    found = {}
    contexts = []
    for name in ("alice", "bob"):
        contexts.append(browser.new_context(viewport=VIEWPORT))
        page = contexts[-1].new_page()
        place = Place(f"{hub.url}/user/{name}/")
        traffic = Traffic(place)  # type: ignore[arg-type]
        sign_in(page, hub, name)
        traffic.watch(page)
        notebook = Notebook(page, place, traffic)  # type: ignore[arg-type]
        notebook.open(NAME)
        if name == "alice":
            notebook.run_all(timeout=400)
        else:
            notebook.run_above("def show(", timeout=400)
        notebook.loaded(timeout=300)
        tiles = traffic.tiles()
        assert len(tiles) >= 12 and {tile.status for tile in tiles} == {200}
        found[name] = Visit(name, page, notebook, traffic, [tile.url for tile in tiles])
    yield found
    for context in contexts:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360])
def test_the_first_screen_says_what_this_is_and_whom_to_ask(hub, browser, scheme, width):
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.goto(hub.url)
    page.wait_for_load_state("networkidle")
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"hub-0-sign-in-{scheme}-{width}.png")
    assert page.title() == "Maps <for> all" == page.locator("h1").first.inner_text()
    assert "MUSES Lab: time series of satellite images" in page.inner_text("body")
    assert "any name does, with the one password that was printed where it was started" in page.inner_text("body")
    contact = page.get_by_role("link", name="lab@example.org")
    assert contact.get_attribute("href") == "mailto:lab@example.org"
    for seen in (page.locator("h1").first, page.locator("#muses-sign-in"), page.locator("#login-main form"), contact):
        box = seen.bounding_box()  # nothing is beyond the first screen, or cut off
        assert box and box["x"] >= 0 and box["x"] + box["width"] <= width and box["y"] + box["height"] <= 800, box
    page.goto(f"{hub.url}/hub/nothing")
    assert "There is nothing here" in page.inner_text("h1")
    page.get_by_role("link", name="lab@example.org").wait_for()
    page.get_by_role("button", name="To the sign-in page").click()
    page.wait_for_selector("#login_submit")
    context.close()


def corrected(place: Path, text: str) -> None:
    """What the administrator does: writes it anew beside, moves it over."""
    book = nbformat.read(place, 4)
    book.cells[0].source = f"# {text}"
    part = place.with_name(".part")
    nbformat.write(book, part)
    part.chmod(0o644)
    part.replace(place)


def visible(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def is_mine(copy: Path) -> bool:
    """Whether it is what the user wrote, into the first version."""
    text = copy.read_text()
    return "mine = 1" in text and "Corrected once" in text and "Corrected twice" not in text


@pytest.mark.thorough
def test_users_land_on_notebook_01_and_get_its_correction_with_their_copy_untouched(hub, browser):
    published, home = hub.state / "published", hub.state / "home" / "carol" / "notebooks"
    context = browser.new_context(viewport=VIEWPORT)
    page = context.new_page()
    heading = page.locator(".jp-Notebook:visible h1").first
    api = f"{hub.url}/hub/api/users/carol"
    ask = """async ([url, method]) => {
      const answer = await fetch(url, { method, headers: { "X-XSRFToken": window.jhdata.xsrf_token } });
      return answer.status === 200 ? await answer.json() : {};
    }"""

    def stop() -> None:
        """As by the hub's own page."""
        page.goto(f"{hub.url}/hub/home")
        page.evaluate(ask, [f"{api}/server", "DELETE"])
        until(lambda: not page.evaluate(ask, [api, "GET"]).get("servers"), 60, "the server does not stop")

    def start() -> None:
        page.goto(f"{hub.url}/hub/spawn")
        page.wait_for_url("**/user/carol/lab**", timeout=180_000)

    sign_in(page, hub, "carol")
    assert page.url.endswith(f"/user/carol/lab/tree/{NAME}")
    notebook = Notebook(page, Place(f"{hub.url}/user/carol/"), Traffic(Place(hub.url)))  # type: ignore[arg-type]
    assert "Your first map" in heading.inner_text(timeout=60_000)
    assert visible(home) == set(TUTORIALS)
    notebook.until(notebook.is_idle, 90, "the kernel is not ready")
    notebook.save()  # opened and saved, with what JupyterLab notes in it: that is no change

    stop()
    corrected(published / "01-first-map.ipynb", "Corrected once")
    start()
    notebook.until(lambda: heading.count() and "Corrected once" in heading.inner_text(), 90, "no correction")
    assert visible(home) == set(TUTORIALS)

    notebook.until(notebook.is_idle, 90, "the kernel is not ready")
    notebook.run("mine = 1")
    notebook.save()
    until(lambda: is_mine(home / "01-first-map.ipynb"), 30, "not saved")
    corrected(published / "01-first-map.ipynb", "Corrected twice")  # while the server runs
    (published / "data").mkdir()
    (published / "data" / "points.csv").write_text("lon,lat\n1.4,43.6\n")
    for path in (published / "data", published / "data" / "points.csv"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    until((home / "01-first-map-new.ipynb").exists, 120, hub.messages)
    until((home / "data" / "points.csv").exists, 120, hub.messages)
    assert is_mine(home / "01-first-map.ipynb")

    notebook.screenshot("hub-4-corrected")

    stop()
    page.goto(f"{hub.url}/hub/spawn")  # the user lands on the newest one; that it is shown was seen before
    page.wait_for_url(
        f"**/user/carol/lab/tree/{NAME.replace('.ipynb', '-new.ipynb')}", timeout=180_000, wait_until="commit"
    )
    assert "Corrected twice" in (home / "01-first-map-new.ipynb").read_text()
    assert is_mine(home / "01-first-map.ipynb")
    stop()
    context.close()


def test_each_sees_tiles_computed_on_a_cluster_of_their_own(hub, visits):
    for name, visit in visits.items():
        assert visit.notebook.errors() == []
        visit.notebook.covered(1, 0.1)  # the small sample fills no tile of this zoom
        assert len(hub.those("dask scheduler", user=name)) == 1 and hub.those("dask worker", user=name)
        assert visit.notebook.run("import os; print(os.environ['MUSES_COMPUTE'])") == "gateway"
        visit.notebook.screenshot(f"hub-1-{name}")
    assert len(hub.those("dask scheduler")) == 2


def test_kernel_and_service_share_the_cluster(hub, visits):
    notebook = visits["alice"].notebook
    assert notebook.run("print(float(ndvi.compute(window).mean()) > 0)").endswith("True")
    assert len(hub.those("dask scheduler", user="alice")) == 1


def test_the_cluster_panel_shows_stops_and_starts_it(hub, visits):
    visit = visits["alice"]
    visit.notebook.run("from muses_widgets import ClusterPanel\nClusterPanel()")
    box = visit.page.locator(".muses-cluster-panel .muses-cluster")
    visit.notebook.until(lambda: box.get_attribute("data-state") in ("idle", "busy"), 60, "the panel shows no cluster")
    assert "Your Dask cluster" in box.inner_text() and "1 thread" in box.inner_text(), box.inner_text()
    box.scroll_into_view_if_needed()
    visit.notebook.screenshot("hub-2-cluster-panel")
    before = hub.one("dask scheduler", user="alice")
    box.get_by_role("button", name="Stop").click()
    visit.notebook.until(lambda: box.get_attribute("data-state") == "off", 60, "the cluster is not stopped")
    until(lambda: not alive(before), 30, "the scheduler runs on")
    box.get_by_role("spinbutton", name="workers").fill("1")
    box.get_by_role("spinbutton", name="workers").press("Tab")
    box.get_by_role("button", name="Start").click()
    visit.notebook.until(lambda: box.get_attribute("data-state") == "idle", 90, "the cluster does not start")
    assert box.get_attribute("data-workers") == "1"


def test_a_shared_layer_is_computed_on_the_cluster_of_whom_it_is_shared_with(hub, visits):
    alice, bob = visits["alice"].notebook, visits["bob"]
    link = alice.run("link = ndvi.where(ndvi > 0.3).style(cmap='viridis').share(user='bob'); print(link.url)").split()[
        -1
    ]
    assert link.startswith(f"{hub.url}/services/muses/shared/")
    page = bob.page.context.new_page()
    page.goto(link)
    assert "alice shares this with you" in page.inner_text("body")
    page.close()
    before = hub.those("dask scheduler", user="alice")
    bob.traffic.forget()
    bob.notebook.run(f"m.add(ml.shared({link.rpartition('/')[2]!r}), name='Shared')")
    bob.notebook.until(lambda: bob.traffic.tiles(), 60, "no tile of the shared layer is asked for")
    bob.notebook.loaded(timeout=300)
    tiles = bob.traffic.tiles()
    assert {tile.status for tile in tiles} == {200}
    assert all(tile.url.startswith(f"{hub.url}/user/bob/") for tile in tiles)
    assert hub.those("dask scheduler", user="alice") == before
    assert "NotFound" in bob.notebook.run(
        "try:\n    ml.shared('0' * 22)\nexcept Exception as e: print(type(e).__name__)"
    )
    alice.run("link.revoke()")
    gone = f"try:\n    ml.shared({link.rpartition('/')[2]!r})\nexcept Exception as e: print(type(e).__name__)"
    assert "NotFound" in bob.notebook.run(gone)


def test_everything_of_the_others_is_refused(hub, visits):
    alice, bob = visits["alice"], visits["bob"]
    chain = alice.tiles[0].split("/muses/tiles/")[1].split("/")[0]
    home = f"{hub.url}/user/alice/"
    for url in (
        alice.tiles[0], f"{home}muses/chains/{chain}", f"{home}muses/cluster", f"{home}muses/jobs",
        f"{home}api/contents/{NAME}", f"{home}files/{NAME}", f"{home}api/kernels", f"{hub.url}/hub/api/users/alice",
    ):  # fmt: skip
        assert bob.status(url) in (403, 404), url
    cluster = next(path.name for path in (hub.state / "logs").iterdir())
    for path in ("", "/status"):
        assert bob.status(f"{hub.url}/services/dask-gateway/clusters/{cluster}{path}") == 404
    assert bob.status(f"{hub.url}/services/dask-gateway/api/v1/clusters/{cluster}") in (401, 403)
    assert bob.status(bob.tiles[0]) == 200
    bob.page.goto(f"{home}lab/tree/{NAME}")
    bob.notebook.until(lambda: "403" in bob.page.inner_text("body"), 30, "bob sees alice's notebook")
    bob.notebook.screenshot("hub-3-refused")


def test_nothing_left_the_machine_and_no_token_in_any_address(hub, visits):
    for visit in visits.values():
        assert len(visit.traffic.everything) > 100
        at_home = (hub.url, "blob:", "data:", "muses:")
        assert [url for url in visit.traffic.everything if not url.startswith(at_home)] == []
        assert [url for url in visit.traffic.everything if "token=" in url] == []
