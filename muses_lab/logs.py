"""How the processes of a hub log: a line for people, or, with `MUSES_LOG=json`, an object for machines."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from typing import Any

from muses_lab.errors import MusesError

_KINDS = ("text", "json")
_FIELDS = "{asctime}{levelname}{name}{message}"
_NAMES = {"asctime": "time", "levelname": "level", "name": "logger"}


def kind() -> str:
    """`text` or `json`, as `MUSES_LOG` says."""
    found = os.environ.get("MUSES_LOG") or "text"
    if found not in _KINDS:
        raise MusesError(f"MUSES_LOG={found!r} is no way to log; there are {' and '.join(map(repr, _KINDS))}")
    return found


def begin(service: str) -> None:
    """Sets how a process that is nobody's plugin logs, to its standard error."""
    logging.basicConfig(level=logging.INFO, format=f"[%(levelname)s %(asctime)s {service}] %(message)s", force=True)
    take_over(logging.getLogger().handlers, service)


def take_over(handlers: Iterable[logging.Handler], service: str) -> None:
    """Has handlers of others write objects, too, where that is asked for."""
    if kind() == "json":
        for handler in handlers:
            handler.setFormatter(_formatter(service))


def for_traitlets(service: str) -> dict[str, Any]:
    """The same for `Application.logging_config` of Jupyter's programs; empty where lines are for people."""
    if kind() == "text":
        return {}
    return {
        "formatters": {"json": {"()": _formatter, "service": service}},
        "handlers": {"console": {"formatter": "json"}},
    }


def _formatter(service: str) -> logging.Formatter:
    from pythonjsonlogger.json import JsonFormatter

    whose = {"user": user} if (user := os.environ.get("JUPYTERHUB_USER")) else {}
    return JsonFormatter(
        _FIELDS, style="{", rename_fields=_NAMES, datefmt="%Y-%m-%dT%H:%M:%S%z",
        static_fields={"service": service, "process": os.getpid(), **whose},
    )  # fmt: skip
