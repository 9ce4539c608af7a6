"""A class on a real hub: a trainer publishes, three participants join by the link and work; the trainer looks on."""

from __future__ import annotations

import csv
import io
import os
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.accessibility import no_serious_faults, tab_reaches_everything
from tests.helpers.hubs import PASSWORD, HubUser, RunningHub, running_hub, until
from tests.helpers.jupyterlab import SCREENSHOTS, VIEWPORT, Notebook, Traffic
from tests.helpers.made_course import course_folder

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

NAMES = ("alice", "bob", "carol")
CELLS = {
    "01-map.ipynb": [
        "import muses_lab as ml\ncourse = ml.course()\ncourse",
        'course.exercise("clear-dates").check(11)',
        'course.exercise("clear-dates").check(12)',
        'course.quiz("colour")',
    ]
}
TITLE = "First <b>steps</b>"


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


@pytest.fixture(scope="module")
def hub(sample_catalog: Path) -> Iterator[RunningHub]:
    with running_hub(sample_catalog, GATEWAY="0", ACCOUNTS="one") as hub:
        yield hub


@pytest.fixture(scope="module")
def trainer(hub: RunningHub, browser: Browser) -> Iterator[Page]:
    """Has published the course by the command, as in a terminal, and opens the class."""
    user = HubUser(hub, "trainer")
    user.session.get(f"{hub.url}/hub/spawn", timeout=60)  # a server of one's own, which starts meanwhile
    folder = course_folder(hub.folder / "first-steps", CELLS, title=TITLE)
    own = {"MUSES_STORE_URL": f"{hub.url}/services/muses", "JUPYTERHUB_API_TOKEN": user.token()}
    command = [sys.executable, "-c", "from muses_lab.cli import app; app()", "course", "publish", str(folder)]
    told = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, timeout=120)
    assert "participants join by this link: /services/muses/courses/first-steps" in told.stdout, told
    context = browser.new_context(viewport=VIEWPORT)
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=hub.url)
    page = context.new_page()
    sign_in(page, f"{hub.url}/services/muses/courses/first-steps/class", "trainer")
    yield page
    context.close()


@pytest.fixture(scope="module")
def class_(hub: RunningHub, trainer: Page, browser: Browser) -> Iterator[dict[str, Participant]]:
    """Three have followed the link, and run the notebook's first cells."""
    found, contexts = {}, []
    for name in NAMES:
        contexts.append(browser.new_context(viewport=VIEWPORT))
        page = contexts[-1].new_page()
        sign_in(page, f"{hub.url}/services/muses/courses/first-steps", name)
        assert page.inner_text("h1") == TITLE and "show a map" in page.inner_text("main")
        page.get_by_role("link", name="Join").click(no_wait_after=True)  # their servers start together
        place = Place(f"{hub.url}/user/{name}/")
        found[name] = Participant(page, Notebook(page, place, Traffic(place)))  # type: ignore[arg-type]
    for name, one in found.items():
        one.page.wait_for_url(f"**/user/{name}/lab/tree/courses/first-steps/01-map.ipynb**", timeout=180_000)
        one.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    found["alice"].notebook.run_all()
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


def test_the_trainer_sees_who_is_here_and_what_they_answered(hub, trainer, class_):
    alice, bob = class_["alice"], class_["bob"]
    shows(trainer, "alice", 5, "✓ 2")  # 11 was wrong, 12 was right
    shows(trainer, "alice", 1, "A map")
    assert row(trainer, "alice")[0] == "here" and row(trainer, "alice")[4] == "2 of 4"
    alice.page.locator(".muses-quiz").get_by_role("radio", name="Water").check()
    alice.page.locator(".muses-quiz").get_by_role("button", name="Check").click()
    alice.page.get_by_text("Water is dark.").wait_for()
    shows(trainer, "alice", 6, "✗ 1")
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
    class_["alice"].notebook.until(lambda: "Break <until> ten" in card.inner_text(), 60, "no note in the card")
    carol = class_["carol"]
    carol.notebook.run("from muses_widgets import Map\nMap()")
    bar = carol.page.locator(".muses-panel .muses-bulletins")
    carol.notebook.until(lambda: bar.count() and "Break <until> ten" in bar.inner_text(), 60, "no note in the map")
    picture(carol.page, "note-in-a-map")
    no_serious_faults(carol.page, ".muses-panel")
    bar.get_by_role("button", name="Put away: Break <until> ten").click()
    assert bar.inner_text() == ""


def test_the_trainer_opens_a_copy_which_cannot_be_written_and_is_not_trusted(hub, trainer, class_):
    class_["alice"].notebook.save()
    trainer.get_by_role("button", name="alice").click()
    dialog = trainer.get_by_role("dialog")
    dialog.get_by_text("Water", exact=False).first.wait_for()
    no_serious_faults(trainer, "dialog[open]")
    with trainer.context.expect_page() as opened:
        dialog.get_by_role("link", name="Open a copy of 01-map.ipynb").click()
    page = opened.value
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=90_000)
    assert page.url.startswith(f"{hub.url}/user/trainer/lab/tree/class/first-steps/alice/01-map.ipynb")
    copy = hub.state / "home" / "trainer" / "class" / "first-steps" / "alice" / "01-map.ipynb"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o444
    page.close()
    dialog.get_by_role("button", name="Close").click()


def test_a_participant_starts_a_notebook_again_and_keeps_the_score(hub, trainer, class_):
    alice = class_["alice"]
    alice.card.scroll_into_view_if_needed()
    alice.card.get_by_role("button", name="Start again: A map").click()
    alice.card.get_by_role("button", name="Give it back").click()
    folder = hub.state / "home" / "alice" / "courses" / "first-steps"
    until(lambda: (folder / "01-map-mine.ipynb").exists(), 30, "the own notebook is not kept")
    assert row(trainer, "alice")[4] == "2 of 4"


def test_nothing_is_lost_when_the_service_is_killed(hub, trainer, class_):
    hub.kill("-m muses_lab.hub")
    quiz = class_["alice"].page.locator(".muses-quiz")
    quiz.get_by_role("radio", name="Vegetation").check()
    quiz.get_by_role("button", name="Check").click()
    shows(trainer, "alice", 6, "✓ 2")
    assert trainer.url.endswith("/services/muses/courses/first-steps/class")


def test_results_are_collected_and_the_course_is_removed(hub, trainer, class_):
    with trainer.expect_download() as download:
        trainer.get_by_role("link", name="Results (CSV)").click()
    lines = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    assert {(one["exercise"], one["state"], one["points"]) for one in lines if one["participant"] == "alice"} == {
        ("clear-dates", "right", "2.0"), ("colour", "right", "1.0"), ("masked", "", "0.0"),
    }  # fmt: skip
    with trainer.expect_download() as download:
        trainer.get_by_role("link", name="Notebooks (ZIP)").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert {f"{name}/01-map.ipynb" for name in NAMES} <= set(archive.namelist())
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
    assert (hub.state / "home" / "alice" / "courses" / "first-steps" / "01-map.ipynb").exists(), (
        "copies are their users'"
    )
