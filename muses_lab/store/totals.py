"""Numbers of courses without anybody's name: how many are here, whose last cell failed, what was answered."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from muses_lab.store import schema
from muses_lab.store.schema import answer, presence

HERE = timedelta(minutes=1)
"""For which a participant counts as present who said so."""


class Totals(NamedTuple):
    """By course."""

    here: dict[str, int]
    failing: dict[str, int]
    """Those here whose last cell failed."""
    clusters: dict[tuple[str, str], int]
    """(course, state) → participants here."""
    answers: dict[tuple[str, str], int]
    """(course, state) → answers so far."""


def totals(connection: Connection) -> Totals:
    here = presence.c.seen >= schema.now() - HERE
    people = select(presence.c.course, func.count()).where(here).group_by(presence.c.course)
    clusters = select(presence.c.course, presence.c.cluster, func.count()).where(here)
    answers = select(answer.c.course, answer.c.state, func.count()).group_by(answer.c.course, answer.c.state)
    return Totals(
        {course: count for course, count in connection.execute(people)},
        {course: count for course, count in connection.execute(people.where(presence.c.error != ""))},
        {
            (course, state): count
            for course, state, count in connection.execute(clusters.group_by(presence.c.course, presence.c.cluster))
        },
        {(course, state): count for course, state, count in connection.execute(answers)},
    )
