"""A course is tried before anybody takes it: read, run as a participant would, solved, and answered wrongly.

Everything that is wrong is told at once. Notebooks run in a copy, in a home of its own and without a network: no host's
name is resolved, and nothing beyond this machine is reached.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from muses_lab.authoring import scenes
from muses_lab.authoring.new import SOLUTION
from muses_lab.authoring.publish import install_packed, pack
from muses_lab.courses import archive, copies
from muses_lab.courses.copies import TESTS
from muses_lab.courses.description import ChoiceExercise, CourseError, Description
from muses_lab.courses.journal import Journal
from muses_lab.errors import MusesError
from muses_lab.exercises.outcome import joined
from muses_lab.exercises.participant import Course
from muses_lab.plain import duration, first_line, shown

_CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)
_SECONDS = 600
"""In which a cell must end."""
_RESULT = "muses-course-check:"
"""What stands before the line in which a kernel tells of the answers that it looked at."""
_CUT = '''
import sys
def _cut(event, arguments):
    """No name is resolved and nothing beyond this machine is reached."""
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto"):
        host = arguments[1][0] if isinstance(arguments[1], tuple) else "localhost"
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host not in (None, "", "localhost", "0.0.0.0", "::1", "::") and not str(host).startswith("127."):
        raise OSError(f"{host} cannot be reached: a course is checked without a network")
sys.addaudithook(_cut)
'''
_ANSWERS = """
import json as _json
import muses_lab as _ml
_course = _ml.course()
_told = []
for _id, _code in _json.loads({asked!r}):
    try:
        _outcome = _course.exercise(_id).look(eval(_code, {{**globals(), "course": _course, "ml": _ml}}))
        _told.append([_outcome.state, _outcome.message])
    except Exception as _error:
        _told.append(["raised", f"{{type(_error).__name__}}: {{_error}}"])
print({prefix!r} + _json.dumps(_told))
"""


@dataclass(frozen=True)
class Fault:
    """Something of a course that is not right."""

    place: str
    """The file, and where in it."""
    what: str
    """What is wrong, with the value."""
    cure: str = ""
    """What would be right."""

    def __str__(self) -> str:
        return (
            f"{self.place}: {joined(self.what, self.cure).removesuffix('.')}"
            if self.cure
            else f"{self.place}: {self.what}"
        )


@dataclass
class Checked:
    """What a check found."""

    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is no fault and worth knowing."""

    @property
    def ok(self) -> bool:
        return not self.faults

    def __str__(self) -> str:
        return "\n".join([*(f"wrong: {one}" for one in self.faults), *(f"note: {one}" for one in self.notes)])


class WrongAnswer(BaseModel):
    """A wrong answer that a course says is to be tried."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    answer: str | int | float | bool | list[int]
    """Python, evaluated after the notebook with its solutions; numbers are themselves."""
    hint: str = Field(min_length=1)
    """A part of what the participant must be told; upper and lower case are the same."""

    @property
    def code(self) -> str:
        return self.answer if isinstance(self.answer, str) else repr(self.answer)


def check(folder: Path, *, run: bool = True, told: Callable[[str], object] = lambda line: None) -> Checked:
    """Tries a course; see the module.

    ```python
    print(check(Path("first-steps")))
    ```

    Parameters
    ----------
    folder
        The course's folder.
    run
        Whether notebooks are run; without it, files are only read.
    told
        Called with a line for what is done next.

    Returns
    -------
    Checked
        `ok`, or all `faults` that could be found. A course that cannot be read at all has that one fault.
    """
    found = Checked()
    try:
        description = Description.read(folder)
        files = archive.contents(folder)
    except CourseError as error:
        found.faults.append(Fault(str(folder), str(error)))
        return found
    told("reading its files")
    books = _books(description, files, found)
    tests = _tests(description, files, found)
    for name in description.files():
        if name not in files:
            found.faults.append(Fault("course.yml", f"{name} is named and is not in {folder}"))
    _questions(description, books, tests, found)
    if found.faults:
        found.notes.append("nothing was run: files come first")
        return found
    with _alone() as place:
        copy = _published(folder, place, run, found, told)
        if copy is not None:
            _documents(copy, found)
            if run and not found.faults:
                _run(copy, books, tests, place, found, told)
    return found


# ---------------------------------------------------------------------------------------------------- what is read


def _books(description: Description, files: Mapping[str, Path], found: Checked) -> dict[str, Any]:
    """The notebooks that can be read."""
    books = {}
    for notebook in description.notebooks:
        if notebook.file not in files:
            continue
        try:
            book = nbformat.read(files[notebook.file], 4)
            nbformat.validate(book)
        except (ValueError, nbformat.ValidationError, AttributeError, KeyError) as error:
            found.faults.append(Fault(notebook.file, f"it is no notebook: {first_line(error)}"))
            continue
        books[notebook.file] = book
        shown_cells = [n for n, cell in enumerate(book.cells, 1) if cell.get("outputs") or cell.get("execution_count")]
        if shown_cells:
            cells = ", ".join(map(str, shown_cells[:8]))
            cure = "In JupyterLab: Edit, Clear Outputs of All Cells; then save"
            found.faults.append(Fault(notebook.file, f"cells {cells} have outputs, which participants would see", cure))
        for number, cell in enumerate(book.cells, 1):
            place = f"{notebook.file}, cell {number}"
            if SOLUTION in cell.metadata.get("tags", ()):
                if cell.cell_type == "code":
                    cure = "Make it a text (Markdown) cell with ```python in <details>, as `course new` does"
                    found.faults.append(
                        Fault(place, "a solution in a code cell is run by all who run the notebook", cure)
                    )
                elif not _CODE.search(cell.source):
                    found.faults.append(Fault(place, "a solution without code", "Write it between ```python and ```"))
    return books


def _tests(description: Description, files: Mapping[str, Path], found: Checked) -> dict[str, list[WrongAnswer]]:
    """Wrong answers by exercise."""
    if TESTS not in files:
        return {}
    try:
        values = yaml.safe_load(files[TESTS].read_text("utf-8")) or {}
        tests = TypeAdapter(dict[str, list[WrongAnswer]]).validate_python(values)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if not isinstance(error, ValidationError):
            found.faults.append(Fault(TESTS, f"it is not YAML: {error}"))
            return {}
        for one in error.errors():
            place = ".".join(map(str, one["loc"]))
            cure = "Under each exercise's id stands a list of {answer: …, hint: …}"
            found.faults.append(Fault(f"{TESTS}, {place}", f"{one['msg']} ({shown(one.get('input'))})", cure))
        return {}
    known = {exercise.id for _, exercise in description.exercises()}
    for id in tests:
        if id not in known:
            cure = f"There are {', '.join(sorted(known)) or 'none'}"
            found.faults.append(Fault(TESTS, f"the course has no exercise {id!r}", cure))
    return {id: wrong for id, wrong in tests.items() if id in known}


def _questions(description: Description, books: Mapping[str, Any], tests: Mapping[str, Any], found: Checked) -> None:
    """Whether every exercise is asked for in its notebook, has a solution there, and hints."""
    for notebook, exercise in description.exercises():
        if notebook.file not in books:
            continue
        cells = [cell for cell in books[notebook.file].cells if cell.cell_type == "code"]
        code = "\n".join(cell.source for cell in cells)
        named = f'"{exercise.id}"' in code or f"'{exercise.id}'" in code
        if isinstance(exercise, ChoiceExercise):
            named = (
                named or re.search(rf"\.quiz\((\s*|[^)]*[\"']{re.escape(notebook.file)}[\"'][^)]*)\)", code) is not None
            )
            for choice in exercise.choices:
                if not choice.right and not choice.feedback and not exercise.hint:
                    place = f"course.yml, {exercise.id}"
                    cure = "Give it `feedback:`, or the question a `hint:`"
                    found.faults.append(Fault(place, f"the wrong choice {choice.text!r} is told nothing", cure))
        elif exercise.id not in tests:
            found.notes.append(f"{TESTS} has no wrong answer to {exercise.id!r}: nobody knows what it would be told")
        if not named:
            call = "course.quiz" if isinstance(exercise, ChoiceExercise) else "course.exercise"
            cure = f'There, {call}("{exercise.id}") asks it'
            found.faults.append(Fault(notebook.file, f"the exercise {exercise.id!r} is never asked", cure))


def _published(
    folder: Path, place: Path, run: bool, found: Checked, told: Callable[[str], object]
) -> copies.Copy | None:
    """A participant's copy, in a home of its own, with the scenes that a hub and a bundle give: without what is far
    from the course's area. Whole files of this machine are read where they are, as all are where none is to `run`."""
    told("looking for its scenes")
    try:
        description = Description.read(folder)
        described = scenes.find_scenes(description, folder)
        for scene, gone in scenes.missing(described):
            found.faults.append(Fault("course.yml", f"a file of the scene {scene} is not there: {gone}"))
        data = scenes.are_remote(described) or (run and description.area is not None)
        if data:
            told("copying its scenes, as publishing on a hub and a bundle do")
        packed = pack(folder, place / "course.zip", data=data)
        for one in packed.left_out:
            found.notes.append(f"left out of the scenes: {one}")
        with _at_home(place):
            copy, _ = copies.open_copy(install_packed(packed), place / "copy")
        return copy
    except (MusesError, OSError) as error:
        found.faults.append(Fault("course.yml", str(error)))
        return None


def _documents(copy: copies.Copy, found: Checked) -> None:
    """Whether chains can be read, and computed with the course's scenes."""
    description = copy.describe()
    with _at_home(copy.folder.parent):
        for name in description.files():
            if name.endswith(".json"):
                try:
                    _ = Course(copy).document(name).published.prepared
                except (MusesError, ValueError) as error:
                    found.faults.append(Fault(name, f"its chain cannot be used: {first_line(error)}"))


# ---------------------------------------------------------------------------------------------------- what is run


def _run(
    copy: copies.Copy,
    books: Mapping[str, Any],
    tests: Mapping[str, list[WrongAnswer]],
    place: Path,
    found: Checked,
    told: Callable[[str], object],
) -> None:
    description = copy.describe()
    journal = Journal(description.course, place / "home" / "courses" / "answers")
    for notebook in description.notebooks:
        file = copy.folder / notebook.file
        told(f"{notebook.file}: as a participant who runs all cells")
        begun = time.monotonic()
        ran = _execute(books[notebook.file], file, place, found, notebook.file)
        found.notes.append(f"{notebook.file} ran for {duration(time.monotonic() - begun)}")
        for id, best in journal.best().items():
            if best.right:
                cure = "Leave the place for the answer empty: answer = None"
                found.faults.append(Fault(notebook.file, f"the exercise {id!r} is solved before anybody answers", cure))
        journal.remove()
        if not ran:
            continue
        told(f"{notebook.file}: with its solutions, and with wrong answers")
        asked = _answers(notebook.exercises, tests)
        solved = _with_solutions(books[notebook.file])
        solved.cells.append(nbformat.v4.new_code_cell(_ANSWERS.format(asked=json.dumps(asked), prefix=_RESULT)))
        if not _execute(solved, file, place, found, f"{notebook.file} with its solutions"):
            journal.remove()
            continue
        tried = journal.best()
        for exercise in notebook.exercises:
            if not isinstance(exercise, ChoiceExercise) and not (exercise.id in tried and tried[exercise.id].right):
                last = (
                    f"it was told: {tried[exercise.id].last.message}" if exercise.id in tried else "it checks no answer"
                )
                cure = f"The solution ends with course.exercise({exercise.id!r}).check(…)"
                found.faults.append(
                    Fault(notebook.file, f"the solution of {exercise.id!r} does not pass: {last}", cure)
                )
        _compare(notebook.exercises, tests, _told(solved), found)
        journal.remove()


def _answers(exercises: Iterable[Any], tests: Mapping[str, list[WrongAnswer]]) -> list[tuple[str, str]]:
    """What the kernel is to look at: right choices, then wrong answers; exercise and Python."""
    asked = []
    for exercise in exercises:
        if isinstance(exercise, ChoiceExercise):
            asked.append((exercise.id, repr([n for n, one in enumerate(exercise.choices, 1) if one.right])))
        asked += [(exercise.id, wrong.code) for wrong in tests.get(exercise.id, ())]
    return asked


def _compare(
    exercises: Iterable[Any], tests: Mapping[str, list[WrongAnswer]], told: list[list[str]], found: Checked
) -> None:
    answers = iter(told)
    for exercise in exercises:
        if isinstance(exercise, ChoiceExercise):
            state, message = next(answers)
            if state != "right":
                found.faults.append(Fault(f"course.yml, {exercise.id}", f"its right choices are {state}: {message}"))
        for number, wrong in enumerate(tests.get(exercise.id, ())):
            state, message = next(answers)
            place = f"{TESTS}, {exercise.id}.{number}"
            if state == "right":
                found.faults.append(Fault(place, f"the answer {wrong.code} is taken for right"))
            elif state not in ("wrong", "open") and wrong.hint.casefold() not in message.casefold():
                found.faults.append(Fault(place, f"the answer {wrong.code} cannot be looked at: {message}"))
            elif wrong.hint.casefold() not in message.casefold():
                cure = f"course.yml has the hints of {exercise.id!r}"
                found.faults.append(Fault(place, f"{wrong.code} is told {message!r}, without {wrong.hint!r}", cure))


def _with_solutions(book: Any) -> Any:
    """The notebook with the code of its solutions in cells after them."""
    cells = []
    for cell in book.cells:
        cells.append(nbformat.from_dict(dict(cell)))
        if cell.cell_type == "markdown" and SOLUTION in cell.metadata.get("tags", ()):
            cells += [nbformat.v4.new_code_cell(code) for code in _CODE.findall(cell.source)]
    return nbformat.from_dict({**book, "cells": cells})


def _told(book: Any) -> list[list[str]]:
    texts = [output.get("text", "") for output in book.cells[-1].outputs if output.output_type == "stream"]
    line = next(line for line in "".join(texts).splitlines() if line.startswith(_RESULT))
    return json.loads(line.removeprefix(_RESULT))


def _execute(book: Any, file: Path, place: Path, found: Checked, name: str) -> bool:
    """Runs a notebook where a participant has it; what happened in which cell where it fails."""
    folder = file.parent
    client = NotebookClient(
        book, timeout=_SECONDS, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    try:
        client.execute(env=_environment(place), stderr=subprocess.DEVNULL)  # the kernel's own words, not the cells'
        return True
    except CellExecutionError as error:
        number, cell = next(
            (n, cell) for n, cell in enumerate(book.cells, 1)
            if any(output.output_type == "error" for output in cell.get("outputs", ()))
        )  # fmt: skip
        said = f"{error.ename}: {error.evalue}" if error.ename else first_line(error)
        found.faults.append(Fault(f"{name}, cell {number}", f"{said}, in: {_beginning(cell.source)}"))
    except (CellTimeoutError, DeadKernelError) as error:
        found.faults.append(Fault(name, first_line(error)))
    return False


def _beginning(source: str) -> str:
    """A cell's code on one line, of long ones the beginning."""
    line = " ".join(source.split())
    return line if len(line) <= 80 else f"{line[:79]}…"


def _environment(place: Path) -> dict[str, str]:
    """Of a kernel of a participant who has nothing but the course, and no network."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("MUSES_", "JUPYTERHUB_", "DASK_"))}
    proxies = {f"{scheme}_proxy": "http://127.0.0.1:9" for scheme in ("http", "https", "all")}
    proxies |= {name.upper(): value for name, value in proxies.items()}
    return {
        **kept, **proxies, "no_proxy": "127.0.0.1,localhost",
        "MUSES_LAB_HOME": str(place / "home"), "MUSES_COMPUTE": "threads", "IPYTHONDIR": str(place / "ipython"),
    }  # fmt: skip


@contextmanager
def _alone() -> Iterator[Path]:
    """A folder for a participant's home, and for a kernel's start without a network."""
    with tempfile.TemporaryDirectory(prefix="muses-check-", ignore_cleanup_errors=True) as name:
        place = Path(name)
        start = place / "ipython" / "profile_default" / "startup"
        start.mkdir(parents=True)
        (start / "00-without-network.py").write_text(_CUT, "utf-8")
        (place / "home").mkdir()
        yield place
        for path in place.rglob("*"):  # published courses are read-only
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)


@contextmanager
def _at_home(place: Path) -> Iterator[None]:
    """In the home of that participant."""
    names = ("MUSES_LAB_HOME", "MUSES_COURSES", "MUSES_STORE_URL", "JUPYTERHUB_USER")
    before = {name: os.environ.pop(name, None) for name in names}
    os.environ["MUSES_LAB_HOME"] = str(place / "home")
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
