"""The badge of a course: a picture with name, course, date and score, as SVG and PNG."""

from __future__ import annotations

import getpass
import html
import io
import os
import re
import textwrap
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Polygon, Rectangle

from muses_lab import plain
from muses_lab.courses.description import Description
from muses_lab.errors import ArgumentError
from muses_lab.exercises.score import Score

_INK, _SOFT, _BAND, _LEAF, _PAPER = "#12263a", "#4a5d6e", "#0f3d4c", "#8fd19e", "#ffffff"
_SIZE = (10.0, 5.6)
"""Inches; 100 pixels each in SVG, twice as many in PNG."""


@dataclass(frozen=True, repr=False)
class Badge:
    """What a participant takes home; made by `course.badge()`.

    ```python
    badge = course.badge("Ada Lovelace")
    badge                                   # is shown
    badge.save("badge.png")                 # or badge.svg
    ```
    """

    name: str
    course: str
    """Its title."""
    points: float
    of: float
    day: date
    """When the last point was earned."""
    hours: float | None = None

    @classmethod
    def of_score(cls, description: Description, score: Score, name: str | None) -> Badge:
        """The badge of a score that is enough for it."""
        if name is None:
            name = os.environ.get("JUPYTERHUB_USER") or getpass.getuser()
        if not isinstance(name, str) or not name.strip() or len(name) > 80:
            raise ArgumentError(f"name={plain.shown(name)} is no name of up to 80 characters", argument="name")
        day = score.last.astimezone().date() if score.last else date.today()
        return cls(" ".join(name.split()), description.title, score.points, score.of, day, description.hours)

    @property
    def text(self) -> str:
        """What it says."""
        share = f"{self.points:g} of {self.of:g} points ({100 * self.points / self.of:.0f} %)"
        return f"{self.name} has completed the course “{self.course}” with {share}, {self.day.day} {self.day:%B %Y}."

    @property
    def svg(self) -> str:
        """As SVG, with its text as title and description for screen readers; letters are outlines: it needs no font."""
        buffer = io.StringIO()
        # Without date and random ids: the same badge is the same file.
        with matplotlib.rc_context({"svg.hashsalt": "muses", "svg.fonttype": "path"}):
            self._figure().savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        drawn = buffer.getvalue()
        title, text = html.escape(f"Badge: {self.course}"), html.escape(self.text)
        said = f'<title id="badge-title">{title}</title><desc id="badge-text">{text}</desc>'
        start = drawn.index("<svg")
        return re.sub(
            r"<svg([^>]*)>",
            lambda m: f'<svg role="img" aria-labelledby="badge-title badge-text"{m[1]}>{said}',
            drawn[start:],
            count=1,
        )

    @property
    def png(self) -> bytes:
        """As PNG, 2000 × 1120 pixels; its text is in the file as `Description`."""
        buffer = io.BytesIO()
        about = {"Title": f"Badge: {self.course}", "Description": self.text, "Software": "MUSES Lab"}
        self._figure().savefig(buffer, format="png", dpi=200, metadata=about)
        return buffer.getvalue()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes it as `.svg` or `.png`; returns the file."""
        file = plain.path("path", path, "badge.png")
        if file.suffix.lower() not in (".svg", ".png"):
            raise ArgumentError(f"path={str(path)!r}: a badge is written as .svg or .png", argument="path")
        content = self.svg.encode() if file.suffix.lower() == ".svg" else self.png
        file.write_bytes(content)
        return file

    def __repr__(self) -> str:
        return f"<Badge: {self.text} badge.save('badge.png') keeps it>"

    def _repr_svg_(self) -> str:
        return self.svg

    def _figure(self) -> Figure:
        figure = Figure(figsize=_SIZE, dpi=100, facecolor=_PAPER)
        axes: Any = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, 1000), ylim=(0, 560))
        axes.axis("off")
        axes.add_patch(Rectangle((0, 0), 270, 560, color=_BAND, lw=0))
        _landscape(axes)
        axes.add_patch(Circle((135, 330), 84, color=_PAPER, lw=0))
        axes.add_patch(Circle((135, 330), 74, fill=False, edgecolor=_BAND, lw=3))
        axes.plot(
            [98, 124, 174], [330, 302, 362], color="#2e7d32", lw=11, solid_capstyle="round", solid_joinstyle="round"
        )
        axes.text(135, 500, "MUSES Lab", color=_PAPER, fontsize=19, weight="bold", ha="center", va="center")
        _fitted(axes, self.name, 320, 440, 34, 1, weight="bold", color=_INK)
        axes.text(320, 372, "has completed the course", color=_SOFT, fontsize=15, va="center")
        _fitted(axes, self.course, 320, 290, 26, 3, weight="bold", color=_BAND)
        axes.plot([320, 940], [170, 170], color="#c9d3da", lw=1.5)
        hours = f"   ·   {self.hours:g} hour{'' if self.hours == 1 else 's'}" if self.hours else ""
        score = f"{self.points:g} of {self.of:g} points   ·   {100 * self.points / self.of:.0f} %{hours}"
        axes.text(320, 128, score, color=_INK, fontsize=15, va="center")
        axes.text(320, 84, f"{self.day.day} {self.day:%B %Y}", color=_SOFT, fontsize=13, va="center")
        return figure


def _fitted(axes: Any, text: str, x: float, y: float, size: float, lines: int, **style: Any) -> None:
    """Text in the width beside the band: smaller, then on several lines, where it is long."""
    room = 620 / (0.86 * size)  # characters of bold letters, about 0.62 of their size in points, which is 1.39 pixels
    rows = textwrap.wrap(text, max(int(room), 1)) if lines > 1 else [text]
    if len(rows) > lines:
        rows = textwrap.wrap(text, max(int(room * len(rows) / lines), 1))[:lines]
    longest = max(map(len, rows))
    axes.text(
        x,
        y,
        "\n".join(rows),
        fontsize=min(size, size * room / longest),
        va="center",
        linespacing=1.2,
        parse_math=False,
        **style,
    )


def _landscape(axes: Any) -> None:
    """Fields under the seal: what the course is about."""
    for points, colour in (
        ([(0, 0), (0, 150), (120, 190), (270, 140), (270, 0)], "#1c5b5c"),
        ([(0, 0), (0, 88), (150, 132), (270, 96), (270, 0)], "#3c8d6a"),
        ([(0, 0), (0, 34), (110, 66), (270, 40), (270, 0)], _LEAF),
    ):
        axes.add_patch(Polygon(points, color=colour, lw=0))
