"""How a chain was written: the calls and signs that built it, kept beside it for its repr."""

from __future__ import annotations

import functools
from collections.abc import Callable
from inspect import isfunction
from typing import Any, NamedTuple, TypeVar

from muses_lab.api.parameters import replayable
from muses_lab.plain import plain, shown

LONGEST = 400
"""Characters that are shown; of a longer one the end."""

_CALL = 9
_LEVELS = {"|": 2, "^": 3, "&": 4, "+": 5, "-": 5, "*": 6, "/": 6, "%": 6, "~": 7, "**": 8}
"""How tightly Python's operators bind; comparisons, which are not here, the least."""


class Written(NamedTuple):
    """Text, in which others stand; `level` is how tightly it binds."""

    parts: tuple[str | Written, ...]
    level: int = _CALL

    def __str__(self) -> str:
        """From the end to the beginning, until it is long enough: expressions may be deep, or name one chain often."""
        text: list[str] = []
        length = 0
        stack: list[str | Written] = [self]
        while stack:
            part = stack.pop()
            if isinstance(part, Written):
                stack.extend(part.parts)
            else:
                text.append(part)
                length += len(part)
                if length > LONGEST:
                    return "…" + "".join(reversed(text))[-LONGEST:]
        return "".join(reversed(text))


def text(value: str) -> Written:
    return Written((value,))


def call(of: Written, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Written:
    """`of.method(…)`."""
    parts: list[str | Written] = [*_tight(of, _CALL), f".{method}("]
    given = [("", a) for a in args] + [(f"{k}=", a) for k, a in kwargs.items()]
    for number, (name, value) in enumerate(given):
        parts += [f"{', ' if number else ''}{name}", _argument(value)]
    return Written((*parts, ")"))


def called(function: str, *args: Any) -> Written:
    """`function(…)`."""
    parts: list[str | Written] = [f"{function}("]
    for number, value in enumerate(args):
        parts += [", " if number else "", _argument(value)]
    return Written((*parts, ")"))


def infix(sign: str, left: Any, right: Any) -> Written:
    """`left sign right`."""
    level = _LEVELS.get(sign, 1)
    first, second = (_argument(side) for side in (left, right))
    least = level + 1 if level == 1 or sign == "**" else level  # 0 < a < 1 is two comparisons to Python
    return Written((*_tight(first, least), f" {sign} ", *_tight(second, level + (sign != "**"))), level)


def prefix(sign: str, of: Written) -> Written:
    return Written((sign, *_tight(of, _LEVELS["~"])), _LEVELS["~"])


def _tight(part: str | Written, least: int) -> tuple[str | Written, ...]:
    """In brackets where it binds less than that."""
    return ("(", part, ")") if isinstance(part, Written) and part.level < least else (part,)


def _argument(value: Any) -> str | Written:
    found = getattr(value, "_written", None)
    return found if isinstance(found, Written) else shown(plain(value) if getattr(value, "ndim", 1) == 0 else value)


C = TypeVar("C", bound=type)


def recorded(cls: C) -> C:
    """A class whose public methods that give a chain write down in it how they were called, and take named parameters.

    A method that calls others of them on the way overwrites what those wrote.
    """
    for name, method in list(vars(cls).items()):
        if isfunction(method) and not name.startswith("_") and method.__annotations__.get("return") in _CHAINS:
            setattr(cls, name, replayable(_recording(method)))
    return cls


_CHAINS = ("Chain", "Collection", "Self")


def _recording(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def written(self: Any, *args: Any, **kwargs: Any) -> Any:
        made = method(self, *args, **kwargs)
        if made is not self:
            made._written = call(self._written, method.__name__, args, kwargs)
        return made

    return written
