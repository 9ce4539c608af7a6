"""`muses-lab hub`."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from typing import Annotated

import typer

from muses_lab.errors import MusesError

app = typer.Typer()
hub_app = typer.Typer(help="What an administrator tells all users of a hub.", no_args_is_help=True)
app.add_typer(hub_app, name="hub")

StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="The hub's database or service; by default MUSES_HUB_DATABASE, else MUSES_STORE_URL.",
        show_default=False,
    ),
]


@hub_app.command("notice")
def notice(
    text: Annotated[str, typer.Argument(help="What all users see in their maps and cards.")],
    at: Annotated[
        str | None,
        typer.Option(
            help="When the hub stops, as 14:30 or 2026-12-01T14:30; it is shown until then.", show_default=False
        ),
    ] = None,
    url: StoreUrl = None,
) -> None:
    """Tell all users of the hub something within ten seconds: a planned stop, for example."""
    from muses_lab.store import Note, new_id, open_store

    note = open_store(_url(url)).put_note(Note(new_id(), text, until=moment(at) if at else None))
    until = note.until.astimezone() if note.until else None
    typer.echo(f"{note.id}: shown{f' until {until:%Y-%m-%d %H:%M}' if until else ''}")


@hub_app.command("notices")
def notices(url: StoreUrl = None) -> None:
    """List what all users are told at present."""
    from muses_lab.store import open_store

    for note in open_store(_url(url)).notes():
        if note.kind == "note":
            typer.echo(f"{note.id}  {note.text}")


@hub_app.command("take-back")
def take_back(
    id: Annotated[str, typer.Argument(help="Of the notice, as `muses-lab hub notices` tells it.")],
    url: StoreUrl = None,
) -> None:
    """Show a notice no longer."""
    from muses_lab.store import open_store

    open_store(_url(url)).remove_note(id)


def moment(text: str, now: datetime | None = None) -> datetime:
    """A time of day, the next one of that kind; or a date and time. Local unless it says otherwise.

    >>> moment("14:30", datetime(2026, 12, 1, 15, 0)).strftime("%d %H:%M")
    '02 14:30'
    """
    now = (now or datetime.now()).astimezone()
    try:
        if "T" not in text and "-" not in text:
            hour, _, minute = text.partition(":")
            found = now.replace(hour=int(hour), minute=int(minute), second=0, microsecond=0)
            return found if found > now else found + timedelta(days=1)
        found = datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise MusesError(f"at={text!r} is no time such as 14:30 or 2026-12-01T14:30") from None
    if found <= now:
        raise MusesError(f"at={text!r} has passed: it is {now:%Y-%m-%dT%H:%M}")
    return found


def _url(url: str | None) -> str | None:
    return url or os.environ.get("MUSES_HUB_DATABASE")
