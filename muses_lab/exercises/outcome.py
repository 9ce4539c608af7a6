"""What a participant is told of an answer: right, or what to look at."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

State = Literal["right", "wrong", "error", "open"]

_SIGNS: dict[str, tuple[str, str]] = {
    "right": ("✓", "Right"),
    "wrong": ("✗", "Not yet"),
    "error": ("!", "Not looked at"),
    "open": ("○", "No answer yet"),
}
"""By state: a sign, and the word that says it to whoever does not see its colour."""

_COLOURS = {"right": "46, 125, 50", "wrong": "178, 84, 0", "error": "176, 0, 32", "open": "84, 110, 122"}
"""Of the edge and of a veil over the notebook's own background; texts keep the notebook's colour, light or dark."""


class Verdict(NamedTuple):
    """Whether an answer is right, and what its participant is told."""

    right: bool
    message: str = ""
    specific: bool = False
    """Whether it says what to do, so that the exercise's general hint is not needed."""


@dataclass(frozen=True, repr=False)
class Outcome:
    """What became of an answer to an exercise; made by `exercise.check(answer)`.

    ```python
    outcome = course.exercise("clear-dates").check(12)
    outcome                                     # is shown: "Right." or a hint
    outcome.right, outcome.points, outcome.message
    outcome.require()                           # AssertionError unless it is right: for graders
    ```
    """

    exercise: str
    """Id of the exercise."""
    state: State
    """`right`, `wrong`, `error` (the answer could not be looked at), or `open` (`None` was given, which is no try)."""
    message: str
    points: float = 0.0
    of: float = 1.0
    """Points that a right answer earns."""
    note: str = ""
    """What else to know, such as that the answer could not be kept."""

    @property
    def right(self) -> bool:
        return self.state == "right"

    def __bool__(self) -> bool:
        return self.right

    def require(self) -> Outcome:
        """The outcome itself where it is right.

        Raises
        ------
        AssertionError
            With the message, where it is not: a cell of nbgrader or otter-grader fails by it.
        """
        if not self.right:
            raise AssertionError(f"{self.exercise}: {self.message}")
        return self

    def _points(self) -> str:
        earned = f"{self.points:g} of {points_text(self.of)}"
        return f"({earned})" if self.right else ""

    def __repr__(self) -> str:
        sign, word = _SIGNS[self.state]
        told = " ".join(filter(None, (f"{sign} {word}.", self.message, self._points())))
        return "\n".join(filter(None, (told, self.note)))

    def _repr_html_(self) -> str:
        sign, word = _SIGNS[self.state]
        colour = _COLOURS[self.state]
        note = f'<div style="margin-top: 4px; opacity: 0.9">{marked(self.note)}</div>' if self.note else ""
        points = f' <span style="white-space: nowrap">{self._points()}</span>' if self._points() else ""
        return (
            f'<div role="status" style="{box_style(colour)}">'
            f'<strong><span aria-hidden="true">{sign}</span> {word}.</strong> '
            f"{marked(self.message)}{points}{note}</div>"
        )


def box_style(colour: str) -> str:
    """CSS of a box with an edge of a colour (red, green, blue), on a veil of it over the notebook's background."""
    return (
        f"border-left: 4px solid rgb({colour}); background: rgba({colour}, 0.1); padding: 8px 12px; "
        "border-radius: 3px; max-width: 46em; line-height: 1.45"
    )


def marked(text: str) -> str:
    """A text of a course as HTML: escaped, with `code` between backticks and its lines kept.

    >>> marked("`a < b` & c")
    '<code>a &lt; b</code> &amp; c'
    """
    escaped = html.escape(text, quote=False).replace("\n", "<br>")
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)


def points_text(points: float) -> str:
    """`1 point`, `2.5 points`."""
    return f"{points:g} point" + ("" if points == 1 else "s")


def joined(*sentences: str) -> str:
    """Sentences as one text; those that are empty are left out, and each ends as a sentence does."""
    return " ".join(s if s.endswith((".", "!", "?", ":", "…")) else f"{s}." for s in map(str.strip, sentences) if s)
