"""A course in the notebook of whoever takes it: its exercises, scenes and chains, and how far one has come."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muses_lab.api.chain import Chain
from muses_lab.api.collection import Collection, collection
from muses_lab.api.layer import Layer
from muses_lab.catalog import Catalog
from muses_lab.courses import copies, places
from muses_lab.courses.description import ChoiceExercise, CourseError, CourseNotebook, Description
from muses_lab.courses.journal import Journal, shortened
from muses_lab.exercises import checking
from muses_lab.exercises.catalogs import named_catalog, pinned_catalog
from muses_lab.exercises.choices import numbers_of
from muses_lab.exercises.outcome import Outcome, box_style, marked, points_text
from muses_lab.exercises.score import Score, score_of
from muses_lab.plain import first_line, path, shown
from muses_lab.store.records import Answer, new_id

if TYPE_CHECKING:
    from muses_lab.exercises.badge import Badge

_WIDGETS = "muses_lab.widgets"
_NAMED = ("load_collection", "muses:load_collection")
"""Processes of documents that name a collection by its id."""
_LAST: dict[tuple[str, str], Outcome] = {}
"""What became of each exercise when it was checked last in this kernel, by course and id."""


def course(folder: str | Path | None = None) -> Course:
    """The course that the notebook belongs to.

    ```python
    course = ml.course()
    course                                              # a card: objectives, progress, the trainer's notes
    course.exercise("clear-dates").check(12)            # "Right." or a hint
    course.quiz("01-first-map.ipynb")                   # the questions of a notebook
    s2 = course.collection("sentinel-2-l2a")            # the scenes of the course
    course.score()
    ```

    It is found from the working directory upwards: a participant's copy, or a trainer's own folder with `course.yml`.
    `folder` is where to begin instead.

    Raises
    ------
    CourseError
        There is no course, it was removed, or its `course.yml` is not right: the message says what and where.
    """
    found = Course(copies.find_copy(None if folder is None else path("folder", folder, "first-steps")))
    places.note(found.id, found.copy.folder)
    return found


class Course:
    """A course as its participant has it; made by `ml.course()`."""

    def __init__(self, copy: copies.Copy, journal: Journal | None = None) -> None:
        self.copy = copy
        """Where it is worked on, and where what was published is read."""
        self._own = copy.describe()
        self._corrected: tuple[str, Description] = "", self._own
        self.journal = journal or Journal(self._own.course)
        """The answers that were given."""
        self._watchers: list[Callable[[], None]] = []

    @property
    def description(self) -> Description:
        """What the copy's version is made of, with the exercises as they are in the version that is published now.

        A trainer who corrects what is expected while a class is under way reaches everybody in it.
        """
        now = self.copy.current
        if now is None:
            return self._own
        if self._corrected[0] != now.version:
            try:
                self._corrected = now.version, corrected(self._own, now.describe())
            except CourseError:  # it is being removed
                return self._own
        return self._corrected[1]

    @property
    def id(self) -> str:
        return self._own.course

    @property
    def title(self) -> str:
        return self._own.title

    @property
    def area(self) -> tuple[float, float, float, float] | None:
        """West, south, east, north in degrees; None where the course has none."""
        return self.description.area

    @property
    def dates(self) -> tuple[str, str] | None:
        """First day and the day after the last one of its scenes."""
        return self.description.dates

    # ---- exercises

    @property
    def exercises(self) -> list[CourseExercise]:
        """All exercises, in the order of the course."""
        return [CourseExercise(self, notebook, exercise) for notebook, exercise in self.description.exercises()]

    def exercise(self, id: str) -> CourseExercise:
        """An exercise by its id; displayed, it is the question.

        ```python
        clear = course.exercise("clear-dates")
        clear.check(12)
        ```
        """
        if not isinstance(id, str):
            raise CourseError(f"course.exercise({shown(id)}) takes the id of an exercise, a text")
        return CourseExercise(self, *self.description.exercise(id))

    def quiz(self, *which: str) -> Any:
        """The multiple-choice questions of a notebook, or those of the ids, with buttons, feedback and what was chosen.

        ```python
        course.quiz("01-first-map.ipynb")
        course.quiz("ndvi-range", "why-median")
        course.quiz()                                       # all of the course
        ```

        Without the package of widgets it is a text; `course.exercise(id).check("the choice's text")` answers then.

        Raises
        ------
        CourseError
            There is no such notebook or exercise, it has no questions, or it is of another kind.
        """
        asked = self._questions(which)
        found = _widget("course_quiz")
        return Questions(asked) if found is None else found(self, asked)

    def _questions(self, which: Sequence[str]) -> list[CourseExercise]:
        if not which:
            which = [
                exercise.id for _, exercise in self.description.exercises() if isinstance(exercise, ChoiceExercise)
            ]
            if not which:
                raise CourseError(f"the course {self.id!r} has no question of the kind `choice`")
        found: list[CourseExercise] = []
        for name in which:
            notebook = next((one for one in self.description.notebooks if one.file == name), None)
            if notebook is None:
                one = self.exercise(name)
                if not isinstance(one.exercise, ChoiceExercise):
                    raise CourseError(
                        f"the exercise {name!r} is of the kind `{one.exercise.kind}`: "
                        f"course.exercise({name!r}).check(…) looks at its answer"
                    )
                found.append(one)
                continue
            own = [CourseExercise(self, notebook, e) for e in notebook.exercises if isinstance(e, ChoiceExercise)]
            if not own:
                raise CourseError(f"the notebook {name!r} has no question of the kind `choice`")
            found += own
        return found

    def score(self) -> Score:
        """What has been earned, a row for each notebook; the best of all tries counts."""
        return score_of(self.description, self.journal)

    def badge(self, name: str | None = None) -> Badge:
        """The badge, once enough points are earned: a picture with the name, the course, the date and the score.

        ```python
        course.badge("Ada Lovelace").save("badge.png")      # or .svg
        ```

        `name` is written on it; by default that of the user's account.

        Raises
        ------
        CourseError
            Points are missing; the message says how many, and which exercises are open.
        """
        score = self.score()
        score.require()
        from muses_lab.exercises.badge import Badge  # matplotlib takes long to import

        return Badge.of_score(self.description, score, name)

    def reset(self, notebook: str) -> str:
        """Gives back a notebook as it was published; what was changed stays beside it. Answers and points stay.

        >>> course.reset("01-first-map.ipynb")                                              # doctest: +SKIP
        '01-first-map.ipynb is as it was published; your own, as last saved, is in 01-first-map-mine.ipynb. If it is…'
        """
        kept = copies.reset(self.copy, notebook)
        self.changed()
        if kept is None:
            return f"{notebook} is as it was published: there was nothing to give back"
        return (
            f"{notebook} is as it was published; your own, as last saved, is in {kept.name}. If it is open, it still "
            "shows the old cells: choose File, Reload Notebook from Disk, and if JupyterLab asks, Revert (Overwrite "
            "would bring the old cells back)."
        )

    # ---- scenes and chains

    @cached_property
    def catalog(self) -> Catalog:
        """The catalogue of the course's scenes: those that were pinned; in a trainer's folder, where they come from."""
        if self.copy.scenes is not None:
            return pinned_catalog(self.copy.scenes)
        named = self.description.catalog
        if not named:
            raise CourseError(f"the course {self.id!r} names no `catalog` in its course.yml, and has no pinned scenes")
        inside = (self.copy.published / named).resolve().is_relative_to(self.copy.published.resolve())
        if self.can_reset and not inside:
            raise CourseError(f"`catalog: {named}` of the course {self.id!r} is outside of the course's folder")
        return named_catalog(named, self.copy.published)

    def collection(self, id: str | None = None) -> Collection:
        """The scenes of a collection of the course: of its area and dates.

        ```python
        s2 = course.collection("sentinel-2-l2a")
        ```

        Without an id the only, or first, one that the course names.
        """
        if id is None:
            if not self.description.collections:
                raise CourseError(f"the course {self.id!r} names no collections: give the id of one")
            id = self.description.collections[0]
        found = collection(id, self.catalog)
        if self.copy.scenes is None:
            found = found.bbox(*self.area) if self.area else found
            found = found.dates(*self.dates) if self.dates else found
        return found

    def chain(self, name: str) -> Chain:
        """A chain of the course by its name in `course.yml`, of the course's own scenes."""
        if name not in self.description.chains:
            names = ", ".join(self.description.chains) or "none"
            raise CourseError(f"the course {self.id!r} has no chain {shown(name)}; there are: {names}")
        return self.document(self.description.chains[name])

    def document(self, file: str) -> Chain:
        """The chain of a document in the course's folder, of the course's own scenes.

        The document is JSON: it is parsed, and never run. Collections in it are those of the course's catalogue that
        have the same id, whatever catalogue the trainer made it with. Where a newer version of the course is published,
        the document is that version's.
        """
        now = self.copy.current
        place = replace(self.copy, published=now.folder) if now and (now.folder / file).is_file() else self.copy
        text = place.file(file).read_text("utf-8")
        document = json.loads(text)
        self._take_scenes(document)
        return Chain.from_json(document)

    def file(self, name: str) -> Path:
        """A file of the course, such as `data/fields.geojson`: where it was published, to be read only."""
        return self.copy.file(name)

    def _take_scenes(self, document: Any) -> None:
        nodes = document.get("process_graph", {}) if isinstance(document, dict) else {}
        if not (self.copy.scenes or self.description.catalog) or not isinstance(nodes, dict):
            return
        known = {one["id"] for one in self.catalog.collections()}
        for node in nodes.values():
            arguments = node.get("arguments") if isinstance(node, dict) else None
            if not isinstance(arguments, dict) or node.get("process_id") not in _NAMED:
                continue
            id = arguments.get("id")
            own = id.rpartition(":")[2] if isinstance(id, str) else None
            if own in known:
                arguments["id"] = f"{self.catalog.id}:{own}"

    # ---- shown

    def watch(self, told: Callable[[], None]) -> None:
        """Calls a function after each answer that is given in this kernel to an exercise of this object."""
        self._watchers.append(told)

    def changed(self) -> None:
        """Tells those who watch that an answer was kept, or a notebook given back."""
        for told in self._watchers:
            told()

    @property
    def can_reset(self) -> bool:
        """Whether it is a participant's copy; a trainer's own folder has nothing that could be given back."""
        return self.copy.folder != self.copy.published

    def status(self) -> dict[str, Any]:
        """What the card shows, as values of JSON: title, objectives, progress by notebook, the badge."""
        score = self.score()
        return {
            "course": self.id, "title": self.title, "objectives": list(self.description.objectives),
            "hours": self.description.hours, "can_reset": self.can_reset, "newer": self.newer, **score.to_json(),
        }  # fmt: skip

    @property
    def newer(self) -> str:
        """What is told where a newer version of the course was published; empty where there is none."""
        if not self.copy.is_old:
            return ""
        return (
            "A newer version of this course was published. Answers are looked at as it says; the course's link, or "
            f"`muses-lab course open {self.id}`, brings what is new in the notebooks."
        )

    def __repr__(self) -> str:
        lines = [self.title, *filter(None, [self.newer]), *(f"  - {one}" for one in self.description.objectives)]
        return "\n".join([*lines, repr(self.score())])

    def _repr_mimebundle_(self, **options: Any) -> Any:
        made = _widget("course_card")
        return {"text/plain": repr(self)} if made is None else made(self)._repr_mimebundle_(**options)


@dataclass(frozen=True, repr=False)
class CourseExercise:
    """An exercise of a course; displayed, it is the question."""

    course: Course
    notebook: CourseNotebook
    exercise: checking.Exercise

    @property
    def id(self) -> str:
        return self.exercise.id

    def check(self, answer: Any) -> Outcome:
        """Looks at an answer, and keeps it: `right`, or what to look at. The best of all tries counts.

        ```python
        course.exercise("clear-dates").check(12)
        course.exercise("median-ndvi").check(ndvi)          # a chain
        course.exercise("why-median").check(2)              # the second choice, or its text
        ```

        `None`, which stands where an answer is to be written, is no try and is not kept.
        Values of chains are computed where yours are, on a small window. Nothing is raised for an answer that is wrong;
        `.require()` of the outcome does.
        """
        found = self.look(answer)
        _LAST[self.course.id, self.id] = found
        if found.state == "open":
            return replace(found, note=self.course.newer)
        record = Answer(
            new_id(), self.course.id, self.notebook.file, self.id, found.state, found.points,
            given=_given(self.exercise, answer), message=shortened(found.message), at=datetime.now(UTC),
        )  # fmt: skip
        try:
            self.course.journal.add(record)
        except OSError as error:
            note = f"This answer could not be kept: {first_line(error)}. Make room, then check it again."
            return replace(found, note=note)
        self.course.changed()
        return replace(found, note=self.course.newer)

    def require(self) -> Outcome:
        """What became of the last check in this kernel, where that was right: for the cells of graders.

        ```python
        ml.course().exercise("clear-dates").require()
        ```

        Raises
        ------
        AssertionError
            It was not right, or nothing was checked: earlier answers, of other runs of the notebook, do not count.
        """
        found = _LAST.get((self.course.id, self.id))
        if found is None:
            raise AssertionError(f"{self.id}: no answer was checked")
        return found.require()

    def look(self, answer: Any) -> Outcome:
        """Looks at an answer without keeping it: as the version of the course says that is published now."""
        return checking.outcome(self.now, answer, self.course)

    @property
    def now(self) -> checking.Exercise:
        """As it is looked at: corrected, where a newer version of the course was published since it was asked."""
        return self.exercise if self.course.copy.current is None else as_now(self.exercise, self.course.description)

    @property
    def title(self) -> str:
        return self.exercise.title or self.id

    def _choices(self) -> list[str]:
        return [one.text for one in self.exercise.choices] if isinstance(self.exercise, ChoiceExercise) else []

    def _line(self) -> str:
        best = self.course.journal.best().get(self.id)
        state = (
            ""
            if best is None
            else ", solved"
            if best.right
            else f", {best.tries} tr{'y' if best.tries == 1 else 'ies'}"
        )
        unit = getattr(self.exercise, "unit", "")
        return f"{points_text(self.exercise.points)}{f', answer in {unit}' if unit else ''}{state}"

    def __repr__(self) -> str:
        choices = [f"  {n}. {text}" for n, text in enumerate(self._choices(), start=1)]
        return "\n".join([f"{self.title} ({self._line()})", self.exercise.question, *choices])

    def _repr_html_(self) -> str:
        choices = "".join(f"<li>{marked(text)}</li>" for text in self._choices())
        listed = f'<ol style="margin: 4px 0 0">{choices}</ol>' if choices else ""
        return (
            f'<div style="{box_style("84, 110, 122")}"><strong>{marked(self.title)}</strong> ({self._line()})'
            f"<br>{marked(self.exercise.question)}{listed}</div>"
        )


class Questions(list[CourseExercise]):
    """Questions of a quiz as a text."""

    def __repr__(self) -> str:
        how = "course.exercise(id).check(number) answers one; with the package muses_widgets they have buttons"
        return "\n\n".join([*(f"[{one.id}] {one!r}" for one in self), how])


def corrected(own: Description, now: Description) -> Description:
    """A description with its exercises as they are in another one, where that has them."""
    books = [
        book.model_copy(update={"exercises": [as_now(exercise, now) for exercise in book.exercises]})
        for book in own.notebooks
    ]
    return own.model_copy(update={"notebooks": books})


def as_now(exercise: checking.Exercise, now: Description) -> checking.Exercise:
    """An exercise as another version has it: of the same id and kind, and a question's with the same choices.

    Else it stays: what was asked is what is looked at, and choices are told by their places.
    """
    found = next((one for _, one in now.exercises() if one.id == exercise.id), None)
    if found is None or found.kind != exercise.kind:
        return exercise
    if isinstance(exercise, ChoiceExercise) and [c.text for c in found.choices] != [c.text for c in exercise.choices]:
        return exercise
    return found


def _given(exercise: checking.Exercise, answer: Any) -> str:
    """An answer as its trainer reads it."""
    try:
        if isinstance(exercise, ChoiceExercise):
            chosen, _ = numbers_of(exercise, answer)
            if chosen is not None:
                return shortened("; ".join(exercise.choices[n].text for n in sorted(chosen)))
        chain = answer.chain if isinstance(answer, Layer) else answer
        if isinstance(chain, Chain):
            return shortened(chain.to_python())
        return shortened(shown(answer))
    except Exception as error:  # whatever an answer's text may raise
        return shortened(f"{type(answer).__name__}, which has no text: {first_line(error)}")


def _widget(name: str) -> Any:
    """What the package of widgets makes of a course; None where it is not installed."""
    for entry in entry_points(group=_WIDGETS, name=name):
        return entry.load()
    return None
