"""`course.yml`: what a course is made of. Reading it checks every entry; nothing here opens a notebook or a scene."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from muses_lab.errors import MusesError
from muses_lab.plain import shown

FILE = "course.yml"
SCENES = "scenes.json"
"""Where `publish` and `bundle` write the pinned scenes: a STAC ItemCollection."""
SCENE_FILES = "data/scenes"
"""Where the files of scenes that are brought along lie in an archive."""
DATA = "data"
"""The folder of a course's data, which are read where they are published: those of the scenes, and others."""


class CourseError(MusesError):
    """A course that is not as it has to be."""

    code = "course"
    http_status = 400


def _id(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{1,39}", text):
        raise ValueError("a name here has 2 to 40 of a-z, 0-9 and '-', and begins with a letter or digit")
    return text


def _inside(text: str) -> str:
    path = PurePosixPath(text)
    if (
        not text
        or path.is_absolute()
        or ".." in path.parts
        or "\\" in text
        or any(p.startswith(".") for p in path.parts)
    ):
        raise ValueError("a file of a course is named by its path inside the course's folder, with '/', not hidden")
    return text


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


def _day(value: Any) -> Any:
    """A day as YAML gives it: `2018-04-01` without quotes is a date there."""
    text = value.isoformat() if isinstance(value, date) else value
    if isinstance(text, str):
        try:
            date.fromisoformat(text[:10])
        except ValueError:
            raise ValueError("a date is written 2018-04-01") from None
    return text


EXERCISES = 1000
"""Most exercises of a course."""
_FAULTS = 20
"""Faults that are told at once."""

Id = Annotated[str, AfterValidator(_id)]
Inside = Annotated[str, AfterValidator(_inside)]
Number = Annotated[float, AfterValidator(_finite)]
Day = Annotated[str, BeforeValidator(_day)]
Text = Annotated[str, Field(min_length=1, max_length=4000)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class _Exercise(_Entry):
    id: Id
    question: Text
    points: Annotated[float, Field(gt=0, le=100)] = 1.0
    title: str = ""
    right: str = ""
    """What a right answer is told."""
    hint: str = ""
    """What a wrong answer is told where no other hint fits."""


class NumberExercise(_Exercise):
    """An answer is a number, or an array of numbers, within a tolerance of the expected one."""

    kind: Literal["number"]
    expected: Number | list[Number]
    tolerance: Annotated[float, Field(ge=0)] = 0.0
    """Largest absolute difference."""
    unit: str = ""
    hints: dict[Literal["too_high", "too_low", "shape", "nothing"], str] = {}
    near: list[tuple[Number, str]] = []
    """Known wrong values, each with its hint: `[[2.5, "That is the mean; the median is asked."]]`."""


class ChainExercise(_Exercise):
    """An answer is a chain: operators that must be there, those that must not, and which comes before which."""

    kind: Literal["chain"]
    needs: list[str] = []
    """Operators by openEO process id, or method's name (`mask_clouds`)."""
    without: list[str] = []
    order: list[tuple[str, str]] = []
    """Pairs: the first operator comes before the second on the way from the scenes to the result."""
    expected: Inside | None = None
    """A chain's document: the answer must be identical, or give the same values in `bounds`."""
    bounds: tuple[Number, Number, Number, Number] | None = None
    """West, south, east, north in degrees; the course's area where it is left out."""
    tolerance: Annotated[float, Field(ge=0)] = 1e-6
    hints: dict[str, str] = {}
    """By operator that is missing or too many, `"a before b"` for an order, `"values"` where values differ."""


class MapExercise(_Exercise):
    """An answer is a layer, or a chain of one map; its pixels are compared with those of the expected one."""

    kind: Literal["map"]
    expected: Inside
    bounds: tuple[Number, Number, Number, Number] | None = None
    resolution: Annotated[float, Field(gt=0)] | None = None
    """Metres per pixel of the comparison."""
    tolerance: Annotated[float, Field(ge=0)] = 1e-6
    share: Annotated[float, Field(gt=0, le=1)] = 0.99
    """Of the pixels that must be within the tolerance."""
    hints: dict[Literal["more_nodata", "less_nodata", "too_high", "too_low", "bands", "values"], str] = {}


class Choice(_Entry):
    text: Text
    right: bool = False
    feedback: str = ""


class ChoiceExercise(_Exercise):
    """A question of a quiz: one or several of the choices are right."""

    kind: Literal["choice"]
    choices: Annotated[list[Choice], Field(min_length=2, max_length=12)]

    @model_validator(mode="after")
    def _one_is_right(self) -> ChoiceExercise:
        if not any(choice.right for choice in self.choices):
            raise ValueError("none of the choices is `right: true`")
        return self

    @property
    def several(self) -> bool:
        return sum(choice.right for choice in self.choices) > 1


Exercise = Annotated[NumberExercise | ChainExercise | MapExercise | ChoiceExercise, Field(discriminator="kind")]


class CourseNotebook(_Entry):
    file: Inside
    title: Text
    minutes: Annotated[int, Field(gt=0, le=600)] | None = None
    exercises: list[Exercise] = []

    @property
    def points(self) -> float:
        return sum(exercise.points for exercise in self.exercises)


class Description(_Entry):
    """A course as `course.yml` describes it.

    >>> Description.parse({"course": "first-steps", "title": "First steps",
    ...                    "notebooks": [{"file": "01-map.ipynb", "title": "A map"}]}).notebooks[0].file
    '01-map.ipynb'
    """

    course: Id
    title: Text
    language: str = "en"
    hours: Annotated[float, Field(gt=0, le=200)] | None = None
    authors: list[str] = []
    objectives: list[str] = []
    notebooks: Annotated[list[CourseNotebook], Field(min_length=1, max_length=100)]
    catalog: str = ""
    """The catalogue that scenes are pinned from: a sample (`muses_lab.sample.named`), the name of a registered one, or
    a file of the folder."""
    collections: list[str] = []
    bands: list[str] = []
    """Of all collections, by their own or common names: those that are pinned; all when empty."""
    area: tuple[Number, Number, Number, Number] | None = None
    """West, south, east, north in degrees: where the class works, what is bundled, and what is computed beforehand."""
    dates: tuple[Day, Day] | None = None
    """First day and the day after the last one of the scenes that are pinned."""
    zoom: tuple[Annotated[int, Field(ge=0, le=22)], Annotated[int, Field(ge=0, le=22)]] = (9, 13)
    chains: dict[Id, Inside] = {}
    """Documents of chains by name: what `muses-lab course warm` computes, and what notebooks may open."""
    badge: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Share of all points from which a participant gets the badge."""

    @model_validator(mode="after")
    def _names_are_single(self) -> Description:
        for what, names in (
            ("exercise", [exercise.id for _, exercise in self.exercises()]),
            ("notebook", [notebook.file for notebook in self.notebooks]),
        ):
            if doubled := sorted(name for name, count in Counter(names).items() if count > 1):
                raise ValueError(f"the {what} {doubled[0]!r} is there more than once")
        if (count := sum(len(notebook.exercises) for notebook in self.notebooks)) > EXERCISES:
            raise ValueError(f"the course has {count} exercises; {EXERCISES} are allowed")
        if self.area and not (-180 <= self.area[0] < self.area[2] <= 180 and -90 <= self.area[1] < self.area[3] <= 90):
            raise ValueError(f"area: {list(self.area)} is not west, south, east, north in degrees")
        if self.dates and self.dates[0] >= self.dates[1]:
            raise ValueError(f"dates: {list(self.dates)} is empty: the first day, and the day after the last one")
        if self.zoom[0] > self.zoom[1]:
            raise ValueError(f"zoom: {list(self.zoom)} has the larger level first")
        return self

    @property
    def points(self) -> float:
        return sum(notebook.points for notebook in self.notebooks)

    def exercises(self) -> Iterator[tuple[CourseNotebook, Any]]:
        """Every exercise with its notebook, in the order of the course."""
        for notebook in self.notebooks:
            for exercise in notebook.exercises:
                yield notebook, exercise

    def files(self) -> list[str]:
        """The files that it names, in its order: all must be in the course's folder."""
        expected = (getattr(exercise, "expected", None) for _, exercise in self.exercises())
        documents = (name for name in expected if isinstance(name, str))
        return list(dict.fromkeys([*(n.file for n in self.notebooks), *self.chains.values(), *documents]))

    def exercise(self, id: str) -> tuple[CourseNotebook, Any]:
        for notebook, exercise in self.exercises():
            if exercise.id == id:
                return notebook, exercise
        there = ", ".join(exercise.id for _, exercise in self.exercises()) or "none"
        raise CourseError(f"the course {self.course!r} has no exercise {shown(id)}; there are {there}")

    @classmethod
    def parse(cls, values: Any, source: str = FILE) -> Description:
        """A description of what YAML or JSON gave; every fault in one `CourseError`, with its place and value."""
        if not isinstance(values, dict):
            raise CourseError(
                f"{source} has to be a mapping with `course`, `title` and `notebooks`, not {shown(values)}"
            )
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            faults = error.errors(include_url=False)
            told = [_told(one) for one in faults[:_FAULTS]]
            more = [f"- and {len(faults) - _FAULTS} more"] if len(faults) > _FAULTS else []
            raise CourseError(f"{source} is not right:\n" + "\n".join([*told, *more])) from None

    @classmethod
    def read(cls, folder: Path) -> Description:
        """That of a course's folder."""
        file = folder / FILE
        try:
            text = file.read_text("utf-8")
        except OSError as error:
            raise CourseError(
                f"{folder} is no course: {FILE} cannot be read there ({error.strerror}); "
                "`muses-lab course new NAME` makes one"
            ) from None
        except UnicodeDecodeError as error:
            raise CourseError(f"{file} is not UTF-8: {error}") from None
        return cls.from_text(text, str(file))

    @classmethod
    def from_text(cls, text: str, source: str = FILE) -> Description:
        """That of a YAML text."""
        try:
            values = yaml.load(text, _Loader)  # noqa: S506 - a safe one
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise CourseError(f"{source} is not YAML: {error}") from None
        return cls.parse(values, source)

    def to_json(self) -> dict[str, Any]:
        """As it is published; `parse` reads it again."""
        return self.model_dump(mode="json", exclude_defaults=True)


class _Loader(yaml.SafeLoader):
    """YAML without aliases: some lines of them are lists of more entries than there is memory."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(
                None, None, f"an alias (*{event.anchor}) has no place here: write the value itself", event.start_mark
            )
        return super().compose_node(parent, index)


def _told(error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"])
    message = error["msg"].removeprefix("Value error, ")
    given = error.get("input")
    value = "" if error["type"] == "missing" or isinstance(given, dict | list) else f" ({shown(given)})"
    return f"- {place}: {message}{value}" if place else f"- {message}{value}"
