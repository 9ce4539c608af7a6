"""Answers on disk: none that was acknowledged is lost, whatever happens while another one is written."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from muses_lab.courses import journal as journals
from muses_lab.courses.journal import Journal, answers_folder, shortened
from muses_lab.errors import MusesError
from muses_lab.store.records import Answer, new_id
from tests.helpers import PYTHON_PATH

COURSE = "first-steps"


def answer(exercise: str = "dates", points: float = 0.0, text: str = "9", course: str = COURSE) -> Answer:
    state = "right" if points else "wrong"
    return Answer(new_id(), course, "01-map.ipynb", exercise, state, points, text, "told", datetime.now(UTC))


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(COURSE, tmp_path)


def test_answers_come_back_as_they_were_given(journal: Journal):
    given = [answer(text=text) for text in ("9", "größer\n„neun“ \U0001f30d", "", "\u2028 \x85")]
    for one in given:
        journal.add(one)
    assert journal.answers == given and not journal.read()[1]
    assert journal.file.stat().st_mode & 0o777 == 0o600 and Journal(COURSE, journal.folder).answers == given


def test_nothing_was_answered_yet(journal: Journal):
    assert journal.read() == ([], []) and journal.best() == {} and journal.unsent() == ([], 0)


def test_the_best_of_all_tries_counts(journal: Journal):
    for points in (0.0, 2.0, 0.0):
        journal.add(answer(points=points))
    journal.add(answer("share"))
    best = journal.best()
    assert (best["dates"].points, best["dates"].tries, best["dates"].right) == (2, 3, True)
    assert best["dates"].last.state == "wrong" and not best["share"].right


def test_an_answer_to_another_course_is_refused(journal: Journal):
    with pytest.raises(MusesError, match="was given to the journal of 'first-steps'"):
        journal.add(answer(course="another"))


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "null", '{"id": 3}', "\x00\x00", '{"id": "x", "course": "first-steps"}', "1" * 5000, "[" * 20_000],
    ids=range(8),
)  # fmt: skip
def test_a_line_that_is_no_answer_is_told_and_left_out(journal: Journal, line: str):
    first, last = answer(), answer()
    journal.add(first)
    with journal.file.open("a") as file:
        file.write(line + "\n")
    journal.add(last)
    found, broken = journal.read()
    assert (
        found == [first, last]
        and [one.line for one in broken] == [2]
        and str(broken[0]).startswith("line 2 is no answer")
    )
    assert journal.unsent()[0] == [first, last]


def test_an_answer_of_another_course_in_the_file_is_left_out(journal: Journal, tmp_path: Path):
    other = Journal("another", tmp_path)
    other.add(answer(course="another"))
    journal.add(answer())
    journal.file.write_bytes(other.file.read_bytes() + journal.file.read_bytes())
    assert len(journal.answers) == 1 and "of the course 'another'" in journal.read()[1][0].why


def test_what_is_there_twice_counts_once(journal: Journal):
    one = answer()
    journal.add(one)
    journal.add(one)
    assert journal.answers == [one] and journal.best()["dates"].tries == 1


def test_removing_forgets_all_of_one_course(journal: Journal, tmp_path: Path):
    other = Journal("another", tmp_path)
    other.add(answer(course="another"))
    journal.add(answer())
    journal.sent(journal.unsent()[1])
    journal.remove()
    journal.remove()
    assert journal.answers == [] and len(other.answers) == 1
    journal.add(answer())
    assert len(journal.unsent()[0]) == 1


def test_texts_are_made_to_fit_a_record():
    text = shortened("a\x00b\ud800\n" + "x" * 9000)
    assert text.startswith("a b?\n") and len(text) == 4096 and text.endswith("…")


def test_the_journals_of_all_courses(fresh_home: Path):
    for course in ("one", "two"):
        Journal(course).add(answer(course=course))
    assert [one.course for one in journals.journals()] == [
        "one",
        "two",
    ] and answers_folder().stat().st_mode & 0o777 == 0o700


# ------------------------------------------------------------------------------------------------- outbox


def test_the_outbox_goes_on_where_the_hub_has_said_that_it_has_it(journal: Journal):
    given = [answer() for _ in range(5)]
    for one in given[:4]:
        journal.add(one)
    found, position = journal.unsent(most=3)
    assert found == given[:3] and journal.unsent(most=3)[0] == given[:3]  # nobody has said so
    journal.sent(position)
    journal.add(given[4])
    found, position = journal.unsent()
    assert found == given[3:]
    journal.sent(position)
    assert journal.unsent() == ([], position) and Journal(COURSE, journal.folder).unsent() == ([], position)


@pytest.mark.parametrize("text", ["", "x", "-1", "999999", "1.5", "999999 3", "1 x"])
def test_where_the_position_is_damaged_all_is_sent_again(journal: Journal, text: str):
    one = answer()
    journal.add(one)
    (journal.folder / f"{COURSE}.sent").write_text(text)
    assert journal.unsent()[0] == [one]


def test_a_file_that_was_replaced_is_sent_from_its_beginning(journal: Journal):
    for _ in range(3):
        journal.add(answer(text="x" * 200))
    journal.sent(journal.unsent()[1])
    journal.file.unlink()
    one = answer()
    journal.add(one)
    assert journal.unsent()[0] == [one]


class Hub:
    """Keeps each answer once, and says how many it has."""

    def __init__(self) -> None:
        self.has: dict[str, Answer] = {}

    def take(self, journal: Journal) -> int:
        """What the Jupyter server does; how many answers came."""
        count = 0
        while (found := journal.unsent(2))[0]:
            self.has.update({one.id: one for one in found[0]})
            journal.sent(found[1], len(self.has))
            count += len(found[0])
        return count


def test_a_hub_that_has_fewer_answers_than_before_gets_all_anew(journal: Journal):
    """The course was removed with its answers and published again, or the hub's database is that of yesterday."""
    given = [answer() for _ in range(5)]
    for one in given[:4]:
        journal.add(one)
    hub = Hub()
    assert hub.take(journal) == 4 and not journal.hub_has(4) and hub.take(journal) == 0
    for kept in (2, 0):
        hub.has = dict(list(hub.has.items())[:kept])
        assert journal.hub_has(kept) and not Journal(COURSE, journal.folder).hub_has(kept)
        assert hub.take(journal) == 4 and list(hub.has.values()) == given[:4]
    assert not journal.hub_has(4)
    journal.add(given[4])
    assert hub.take(journal) == 1


def test_answers_of_another_computer_at_the_hub_are_no_reason_to_send_again(journal: Journal):
    hub = Hub()
    hub.has = {"elsewhere": answer()}
    journal.add(answer())
    assert not journal.hub_has(1) and hub.take(journal) == 1 and not journal.hub_has(2)
    hub.has["later"] = answer()
    assert not journal.hub_has(3) and hub.take(journal) == 0
    hub.has.pop("later")
    assert journal.hub_has(2) and hub.take(journal) == 1


def test_a_hub_that_keeps_none_of_what_it_takes_is_not_sent_it_for_ever(journal: Journal):
    """Answers of an account whose home was copied have another owner at the hub."""
    journal.add(answer())
    for held in (0, 0):
        journal.sent(journal.unsent()[1], held)
        assert not journal.hub_has(held) and journal.unsent()[0] == []


# ------------------------------------------------------------------------------------------------- crashes


class Killed(BaseException):
    """The process ends here."""


def crash(journal: Journal, one: Answer, after: int) -> None:
    """Adds an answer; the process is killed when so many bytes of it are on the disk."""
    real = os.write

    def cut(handle: int, data: bytes) -> int:
        real(handle, data[:after])
        raise Killed

    os.write = cut
    try:
        journal.add(one)
    except Killed:
        pass
    finally:
        os.write = real


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.text(max_size=8)),
        st.tuples(st.just("crash"), st.integers(0, 400)),
        st.tuples(st.just("full"), st.integers(0, 200)),
        st.tuples(st.just("send"), st.integers(1, 4)),
        st.tuples(st.just("send, and no answer comes"), st.integers(1, 4)),
        st.tuples(st.just("another kernel"), st.none()),
    ),
    max_size=12,
)


@given(STEPS)
def test_no_acknowledged_answer_is_lost_whatever_crashes_between(actions):
    """Also none is made up, the order stays, and the hub gets each one in the end."""
    with TemporaryDirectory() as folder:
        journal, acknowledged, attempted, at_hub = Journal(COURSE, Path(folder)), [], [], []
        for action, value in actions:
            one = answer(text=shortened(value) if isinstance(value, str) else "9")
            if action == "add":
                journal.add(one)
                acknowledged.append(one)
                attempted.append(one)
            elif action in ("crash", "full"):
                crash(journal, one, value)
                attempted.append(one)
            elif action == "another kernel":
                journal = Journal(COURSE, Path(folder))
            else:
                found, position = journal.unsent(value)
                at_hub += found
                if action == "send":
                    journal.sent(position)
        found, broken = journal.read()
        assert [one for one in attempted if one in found] == found  # in their order, and nothing else
        assert [one for one in found if one in acknowledged] == acknowledged
        assert len(broken) <= len(attempted) - len(acknowledged)
        while True:
            more, position = journal.unsent(3)
            at_hub += more
            journal.sent(position)
            if not more:
                break
        assert {one.id for one in at_hub} >= {one.id for one in acknowledged}
        assert {one.id for one in at_hub} <= {one.id for one in attempted}


WRITER = """
import sys
from pathlib import Path
from muses_lab.courses.journal import Journal
from muses_lab.store.records import Answer, new_id
journal = Journal("first-steps", Path(sys.argv[1]))
for n in range(int(sys.argv[2])):
    one = Answer(new_id(), "first-steps", "01-map.ipynb", "dates", "wrong", 0.0, "x" * 2000, "told")
    journal.add(one)
    print(one.id, flush=True)
"""


def test_kernels_that_write_at_once_and_one_that_is_killed(tmp_path: Path):
    """What a process printed was on the disk before."""
    env = {**os.environ, "PYTHONPATH": PYTHON_PATH}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), count], env=env, stdout=subprocess.PIPE, text=True
        )
        for count in ("40", "40", "100000")
    ]
    said: list[list[str]] = [[], [], []]

    def listen(n: int) -> None:
        for line in writers[n].stdout or ():
            said[n].append(line.strip())
            if n == 2 and len(said[2]) == 15:
                writers[2].kill()

    threads = [threading.Thread(target=listen, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for writer in writers:
        writer.wait(60)
    found, broken = Journal(COURSE, tmp_path).read()
    ids = [one.id for one in found]
    whole = [id for several in said for id in several if len(id) == len(ids[0])]
    assert len(said[0]) == len(said[1]) == 40 and set(whole) <= set(ids) and len(broken) <= 1
    for several in said[:2]:
        assert [id for id in ids if id in several] == several


def test_a_lock_of_a_process_that_hangs_is_not_waited_for_for_ever(journal: Journal, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(journals, "PATIENCE", 0.2)
    journal.add(answer())
    with FileLock(journal.folder / f"{COURSE}.lock"), pytest.raises(OSError, match="another process"):
        journal.add(answer())
    assert len(journal.answers) == 1
