"""Errors that users meet: what was wrong, with which value, and what would be right."""

from __future__ import annotations

from typing import Any


class MusesError(Exception):
    """Base of all errors of MUSES Lab; `code` is stable and travels in JSON answers."""

    code = "error"
    http_status = 400

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def to_json(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message, **({"details": self.details} if self.details else {})}

    def __reduce__(self):  # survives pickling between worker and client with its details
        return (_rebuild, (type(self), self.message, self.details))


def _rebuild(cls: type[MusesError], message: str, details: dict[str, Any]) -> MusesError:
    return cls(message, **details)


class DocumentError(MusesError):
    """A chain document (openEO process graph) is not valid; details name `node` and `argument`."""

    code = "document-invalid"


class BandError(MusesError):
    """A band was asked for that the data do not have."""

    code = "band-unknown"


class GridError(MusesError):
    """Sources of different grids were combined without saying on which grid."""

    code = "grid-mismatch"


class ExtentRequired(MusesError):
    """A `region` or `fit` operator was evaluated without a pinned extent and resolution."""

    code = "extent-required"


class NotAnImage(MusesError):
    """A chain that still has dates was to be drawn; reduce them first."""

    code = "not-an-image"


class TooLarge(MusesError):
    """A window asks for more than the limits allow."""

    code = "too-large"
    http_status = 413


class NotFound(MusesError):
    """A catalogue, collection, place, chain, artefact or style that does not exist."""

    code = "not-found"
    http_status = 404


class AccessDenied(MusesError):
    """An asset's place is outside what this installation may read."""

    code = "access-denied"
    http_status = 403


class ReadError(MusesError):
    """A scene's file could not be read; the scene is left out and reported."""

    code = "read-failed"
    http_status = 502


class Cancelled(MusesError):
    """Nobody waits for this evaluation any more."""

    code = "cancelled"
    http_status = 499


class ComputeError(MusesError):
    """The cluster could not be started, reached, or lost the work for good."""

    code = "compute-failed"
    http_status = 503


class StoreUnavailable(MusesError):
    """The store's database, or the hub that has it, cannot be reached; it may be back soon."""

    code = "store-unavailable"
    http_status = 503
