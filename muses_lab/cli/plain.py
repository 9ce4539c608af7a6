"""What the commands share: errors in one line, options as texts."""

from __future__ import annotations

import re
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from muses_lab.errors import MusesError


class PlainErrors(TyperGroup):
    """What went wrong is said in one line, with exit code 1; a traceback would be ours to read, not the user's."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (MusesError, OSError) as error:
            typer.echo(f"Error: {as_typed(str(error), _options(self))}", err=True)
            raise typer.Exit(1) from None


def _options(command: Any) -> set[str]:
    """Python's names of the options of a command and those below it."""
    own = {p.name for p in command.params if p.param_type_name == "option"}
    return own.union(*(_options(c) for c in getattr(command, "commands", {}).values()))


def as_typed(message: str, options: set[str]) -> str:
    """A message of the library, which names arguments as Python does (`size=5`), as it is typed here (`--size 5`)."""

    def typed(match: re.Match[str]) -> str:
        name, value = match.groups()
        return f"--{name.replace('_', '-')} {value}" if name in options else match[0]

    return re.sub(r"(?<![\w?&/.-])([a-z_]+)=('[^']*'|\"[^\"]*\"|[^\s,;:)]+)", typed, message)


def pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign:
        raise MusesError(f"{text!r} is no NAME=VALUE")
    return name, value


def json_or_text(text: str) -> Any:
    """A value as JSON; what is none is a text."""
    import json

    try:
        return json.loads(text)
    except ValueError:
        return text


def at_terminal() -> bool:
    """Whether somebody looks on: bars in a log are noise."""
    return sys.stderr.isatty()


def size_text(number: float) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.1f} MB"
