"""Quizzes: questions with buttons or check boxes, looked at when one says so, with feedback for what was chosen."""

from __future__ import annotations

from typing import Any

import traitlets as t

from muses_lab.exercises import quiz
from muses_lab.exercises.participant import Course, CourseExercise
from muses_lab.plain import Status
from muses_widgets.modules import JS, joined
from muses_widgets.threads import Told


class Quiz(Told):
    """Questions of a course; made by `course.quiz(…)`.

    >>> course.quiz("01-first-map.ipynb")

    An answer is looked at by the kernel, or by the Jupyter server where none runs, and kept; the best of all tries
    counts. What was chosen and told stays with the saved notebook; what is right is not in the page before.
    """

    _esm = joined(JS / "course/quiz.js")
    _css = "\n".join((JS / name).read_text("utf-8") for name in ("panel.css", "course/course.css"))

    # As `QuizTraits` in js/types.d.ts.
    course = t.Unicode().tag(sync=True)
    """Its id."""
    questions: t.List[dict[str, Any]] = t.List(t.Dict()).tag(sync=True)
    answers: t.Dict[str, Any] = t.Dict().tag(sync=True)
    """By question what was chosen last, and what was told."""
    own_id = t.Unicode().tag(sync=True)

    def __init__(self, course: Course, asked: list[CourseExercise]) -> None:
        self._asked = {one.id: one for one in asked}
        super().__init__(course=course.id, questions=quiz.questions(asked), answers=quiz.answers(asked))
        self.own_id = self.model_id or ""
        self.on_msg(self._receive)

    def answer(self, question: str, *chosen: int) -> dict[str, Any]:
        """Answers a question by the places of choices, from 0, as a click on **Check** does."""
        found = quiz.check(self._asked[question], list(chosen))
        self.answers = {**self.answers, question: found}
        return found

    def status(self) -> Status:
        """The questions with their states; `print` gives JSON."""
        states = {one["id"]: self.answers.get(one["id"], {}).get("state", "open") for one in self.questions}
        return Status(kind="quiz", state="ok", course=self.course, questions=states)

    def __repr__(self) -> str:
        return "\n\n".join(repr(one) for one in self._asked.values())

    def _receive(self, _: Any, message: dict[str, Any], __: Any) -> None:
        if message.get("do") != "check" or message["question"] not in self._asked:
            return
        try:
            self.answer(message["question"], *map(int, message["chosen"]))
            self.send({"kind": "checked", "asked": message["asked"]})
        except Exception as error:  # no cell is there in which it could appear
            self.send({"kind": "checked", "asked": message["asked"], "failed": f"{type(error).__name__}: {error}"})
