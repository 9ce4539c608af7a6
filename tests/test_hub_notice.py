"""`muses-lab hub notice`: an administrator tells all users of a hub of a planned stop."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from muses_lab.cli import app
from muses_lab.cli.hub import moment
from muses_lab.errors import MusesError
from muses_lab.store import Who
from muses_lab.store.sql import SqlStore


def run(*words: str) -> str:
    done = CliRunner().invoke(app, ["hub", *words])
    assert done.exit_code == 0, done.output
    return done.output


def test_a_notice_is_told_listed_and_taken_back(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'muses.sqlite'}"
    soon = datetime.now() + timedelta(hours=2)
    told = run("notice", "The hub stops <soon>", "--at", soon.isoformat(timespec="minutes"), "--url", url)
    assert f"shown until {soon:%Y-%m-%d %H:%M}" in told
    store = SqlStore(url).of(Who("alice"))
    (note,) = store.notes()
    assert note.text == "The hub stops <soon>" and note.until is not None and note.until > datetime.now(UTC)
    assert run("notices", "--url", url).split()[0] == note.id
    run("take-back", note.id, "--url", url)
    assert store.notes() == [] and run("notices", "--url", url) == ""


def test_a_time_of_day_is_the_next_one_and_what_has_passed_is_refused() -> None:
    now = datetime(2026, 12, 1, 15, 0)
    assert moment("15:30", now).strftime("%dT%H:%M") == "01T15:30"
    assert moment("14:30", now).strftime("%dT%H:%M") == "02T14:30"
    for odd in ("25:00", "noon", "2026-13-01T10:00", "2020-01-01T10:00"):
        with pytest.raises(MusesError, match="at="):
            moment(odd, now)
