"""The first course on a real hub: a trainer publishes it, three join by the link and work, the trainer looks on."""

from __future__ import annotations

import csv
import io
import os
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.accessibility import no_serious_faults, tab_reaches_everything
from tests.helpers import REPOSITORY
from tests.helpers.hubs import PASSWORD, HubUser, RunningHub, running_hub, until
from tests.helpers.jupyterlab import SCREENSHOTS, VIEWPORT, Notebook, Traffic

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

NAMES = ("alice", "bob", "carol")
COURSE = REPOSITORY / "notebooks" / "courses" / "first-steps"
BOOK, TITLE = "01-first-map.ipynb", "First steps"
CLEAR_SCENES, JULY_NDVI, LOW_NDVI = 5, 7, 9
"""Where the trainer's row has an exercise."""
WATER = "The NDVI of a pixel is -0.3. What is it most likely?"


@dataclass
class Place:
    url: str
    token: str = ""


@dataclass
class Participant:
    page: Page
    notebook: Notebook

    @property
    def card(self):
        return self.page.locator(".muses-course:not(.muses-quiz)").first

    def cell(self, text: str):
        return self.page.locator(".jp-Notebook .jp-CodeCell", has_text=text)

    def run(self, text: str) -> None:
        """The cell that has a text, as it is."""
        self.cell(text).locator(".jp-InputPrompt").click()
        self.page.keyboard.press("Escape")
        self.page.keyboard.press("Shift+Enter")

    def gives(self, exercise: str, answer: str, told: str) -> None:
        """Writes an answer into the cell that has room for it, runs the cell, and is told something."""
        check = f"{exercise}.check(answer)"
        cell = self.cell(check)
        cell.locator(".cm-content").fill(f"answer = {answer}\n\n{check}")
        cell.locator(".cm-content").press("Shift+Enter")
        said = cell.locator(".jp-OutputArea")
        self.notebook.until(lambda: told in said.inner_text(), 120, f"it is not said {told!r}")

    def chooses(self, question: str, choice: str, told: str) -> None:
        asked = self.page.locator(".muses-quiz").get_by_role("group", name=question)
        asked.get_by_role("radio", name=choice).check()
        asked.get_by_role("button", name="Check").click()
        asked.get_by_text(told).wait_for()


@pytest.fixture(scope="module")
def hub(sample_catalog: Path) -> Iterator[RunningHub]:
    with running_hub(sample_catalog, GATEWAY="0", ACCOUNTS="one") as hub:
        yield hub


@pytest.fixture(scope="module")
def trainer(hub: RunningHub, browser: Browser, course_samples: Callable[[Path], None]) -> Iterator[Page]:
    """Has published the course with its scenes by the command, as in a terminal, and opens the class."""
    user = HubUser(hub, "trainer")
    user.session.get(f"{hub.url}/hub/spawn", timeout=60)  # a server of one's own, which starts meanwhile
    own = {"MUSES_STORE_URL": f"{hub.url}/services/muses", "JUPYTERHUB_API_TOKEN": user.token()}
    command = [sys.executable, "-c", "from muses_lab.cli import app; app()", "course", "publish", str(COURSE)]
    told = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, timeout=300)
    assert "participants join by this link: /services/muses/courses/first-steps" in told.stdout, told
    context = browser.new_context(viewport=VIEWPORT)
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=hub.url)
    page = context.new_page()
    sign_in(page, f"{hub.url}/services/muses/courses/first-steps/class", "trainer")
    yield page
    context.close()


@pytest.fixture(scope="module")
def class_(hub: RunningHub, trainer: Page, browser: Browser) -> Iterator[dict[str, Participant]]:
    """Three have followed the link; Alice has run the notebook's cells as far as the first exercise."""
    found, contexts = {}, []
    for name in NAMES:
        contexts.append(browser.new_context(viewport=VIEWPORT))
        page = contexts[-1].new_page()
        sign_in(page, f"{hub.url}/services/muses/courses/first-steps", name)
        assert page.inner_text("h1") == TITLE and "Make one clean image of many dates" in page.inner_text("main")
        page.get_by_role("link", name="Join").click(no_wait_after=True)  # their servers start together
        place = Place(f"{hub.url}/user/{name}/")
        found[name] = Participant(page, Notebook(page, place, Traffic(place)))  # type: ignore[arg-type]
    for name, one in found.items():
        one.page.wait_for_url(f"**/user/{name}/lab/tree/courses/first-steps/{BOOK}**", timeout=180_000)
        one.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    found["alice"].notebook.run_above("clear_scenes.check(answer)", map=False)
    yield found
    for context in contexts:
        context.close()


def sign_in(page: Page, url: str, name: str) -> None:
    page.goto(url)
    page.fill("#username_input", name)
    page.fill("#password_input", PASSWORD)
    page.click("#login_submit")
    page.wait_for_url(url, timeout=60_000)


def row(trainer: Page, name: str) -> list[str]:
    """What a participant's row says: seen, notebook, error, cluster, points, and each exercise."""
    found = trainer.get_by_role("row").filter(has=trainer.get_by_role("button", name=name, exact=True))
    return found.locator("td").all_inner_texts() if found.count() else []


def shows(trainer: Page, name: str, place: int, text: str) -> None:
    def there() -> bool:
        trainer.wait_for_timeout(200)
        cells = row(trainer, name)
        return len(cells) > place and text in cells[place]

    until(there, 60, lambda: f"{name}'s row has no {text!r} at {place}: {row(trainer, name)}")


def picture(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"class-{name}.png")


def test_the_scenes_are_stored_once_for_all(hub, class_):
    published = hub.state / "courses" / "first-steps"
    assert len(list(published.rglob("scenes.json"))) == 1 and len(list(published.rglob("*.tif"))) > 100
    for name in NAMES:
        mine = hub.state / "home" / name / "courses" / "first-steps"
        assert (mine / BOOK).read_bytes() == (COURSE / BOOK).read_bytes()
        assert not list(mine.rglob("*.tif")) and not list(mine.rglob("scenes.json"))


def test_the_trainer_sees_who_is_here_and_what_they_answered(hub, trainer, class_):
    alice, bob = class_["alice"], class_["bob"]
    alice.gives("clear_scenes", "(table.cloud_cover > 20).sum()", "turn the sign round")
    shows(trainer, "alice", CLEAR_SCENES, "✗ 1")
    alice.gives("clear_scenes", "(table.cloud_cover < 20).sum()", "A third of a year's scenes")
    shows(trainer, "alice", CLEAR_SCENES, "✓ 2")
    shows(trainer, "alice", 1, "Your first map")
    assert row(trainer, "alice")[0] == "here" and row(trainer, "alice")[4] == "1 of 18"
    alice.run('course.quiz("01-first-map.ipynb")')
    alice.chooses(WATER, "A dense wood", "Woods have 0.8 and more.")
    shows(trainer, "alice", LOW_NDVI, "✗ 1")
    bob.notebook.until(bob.notebook.is_idle, 90, "the kernel is not ready")
    bob.notebook.run("raise ValueError('<img src=x onerror=document.title=1>')")
    shows(trainer, "bob", 2, "ValueError: <img src=x onerror=document.title=1>")
    shows(trainer, "carol", 0, "here")
    assert trainer.title() == f"{TITLE} · MUSES Lab"
    assert "3 participants, 3 here now" in trainer.inner_text(
        "main"
    ) and "1 participant with an error" in trainer.inner_text("main")
    picture(trainer, "view")
    no_serious_faults(trainer, "main")
    tab_reaches_everything(trainer, "main")


def test_a_note_reaches_everybody(trainer, class_):
    trainer.get_by_label("A note to all participants").fill("Break <until> ten")
    trainer.get_by_role("button", name="Send").click()
    trainer.get_by_role("button", name="Take back: Break <until> ten").wait_for()
    card = class_["alice"].card
    card.scroll_into_view_if_needed()
    class_["alice"].notebook.until(lambda: "Break <until> ten" in card.inner_text(), 60, "no note in the card")
    carol = class_["carol"]
    carol.notebook.run_above("by_hand = course.exercise")
    bar = carol.page.locator(".muses-panel .muses-bulletins")
    carol.notebook.until(lambda: bar.count() and "Break <until> ten" in bar.inner_text(), 60, "no note in the map")
    picture(carol.page, "note-in-a-map")
    no_serious_faults(carol.page, ".muses-panel")
    bar.get_by_role("button", name="Put away: Break <until> ten").click()
    assert bar.inner_text() == ""


def test_a_map_is_compared_with_the_one_of_the_course(trainer, class_):
    carol = class_["carol"]
    carol.run("july_ndvi = course.exercise")
    red_first = '(july.band("red") - july.band("nir")) / (july.band("red") + july.band("nir"))'
    carol.gives("july_ndvi", red_first, "Is it near infrared less red, in this order?")
    carol.gives("july_ndvi", "july.ndvi()", "Woods and summer crops are green")
    shows(trainer, "carol", JULY_NDVI, "✓ 2")
    assert row(trainer, "carol")[4] == "2 of 18"


def test_the_trainer_opens_a_copy_which_cannot_be_written_and_is_not_trusted(hub, trainer, class_):
    class_["alice"].notebook.save()
    trainer.get_by_role("button", name="alice").click()
    dialog = trainer.get_by_role("dialog")
    dialog.get_by_text("A dense wood", exact=False).first.wait_for()
    no_serious_faults(trainer, "dialog[open]")
    with trainer.context.expect_page() as opened:
        dialog.get_by_role("link", name=f"Open a copy of {BOOK}").click()
    page = opened.value
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=90_000)
    assert page.url.startswith(f"{hub.url}/user/trainer/lab/tree/class/first-steps/alice/{BOOK}")
    copy = hub.state / "home" / "trainer" / "class" / "first-steps" / "alice" / BOOK
    assert stat.S_IMODE(copy.stat().st_mode) == 0o444
    page.close()
    dialog.get_by_role("button", name="Close").click()


def test_a_participant_starts_a_notebook_again_and_keeps_the_score(hub, trainer, class_):
    alice = class_["alice"]
    alice.card.scroll_into_view_if_needed()
    alice.card.get_by_role("button", name="Start again: Your first map").click()
    alice.card.get_by_role("button", name="Give it back").click()
    folder = hub.state / "home" / "alice" / "courses" / "first-steps"
    until(lambda: (folder / "01-first-map-mine.ipynb").exists(), 30, "the own notebook is not kept")
    assert "cloud_cover > 20" not in (folder / BOOK).read_text()
    assert "(table.cloud_cover < 20).sum()" in (folder / "01-first-map-mine.ipynb").read_text()
    assert row(trainer, "alice")[4] == "1 of 18"


def test_nothing_is_lost_when_the_service_is_killed(hub, trainer, class_):
    hub.kill("-m muses_lab.hub")
    class_["alice"].chooses(WATER, "Water", "Water swallows near infrared")
    shows(trainer, "alice", LOW_NDVI, "✓ 2")
    assert trainer.url.endswith("/services/muses/courses/first-steps/class")


def test_results_are_collected_and_the_course_is_removed(hub, trainer, class_):
    with trainer.expect_download() as download:
        trainer.get_by_role("link", name="Results (CSV)").click()
    lines = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    assert len(lines) == 3 * 15, "each participant, each exercise"
    assert {(one["participant"], one["exercise"], one["state"], one["points"]) for one in lines if one["state"]} == {
        ("alice", "clear-scenes", "right", "1.0"), ("alice", "low-ndvi", "right", "1.0"),
        ("carol", "july-ndvi", "right", "2.0"),
    }  # fmt: skip
    with trainer.expect_download() as download:
        trainer.get_by_role("link", name="Notebooks (ZIP)").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert {f"{name}/{BOOK}" for name in NAMES} <= set(archive.namelist())
    trainer.get_by_role("button", name="Close the course").click()
    trainer.get_by_text("The course is closed").wait_for()
    page = class_["carol"].page
    page.goto(f"{hub.url}/services/muses/courses/first-steps")
    assert "nobody can join it now" in page.inner_text("main") and not page.get_by_role("link", name="Join").count()
    trainer.get_by_role("button", name="Remove…").click()
    trainer.get_by_label("Delete all answers").check()
    trainer.get_by_role("button", name="Remove", exact=True).click()
    trainer.wait_for_url("**/services/muses/courses")
    assert "No course is open" in trainer.inner_text("main")
    assert not (hub.state / "courses" / "first-steps").exists()
    assert (hub.state / "home" / "alice" / "courses" / "first-steps" / BOOK).exists(), "copies are their users'"
