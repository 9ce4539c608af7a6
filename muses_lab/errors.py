"""Errors that users meet: what was wrong, with which value, and what would be right."""

from __future__ import annotations

from typing import Any


class MusesError(Exception):
    """Base of all errors of MUSES Lab; `code` is stable and travels in JSON answers, with openEO's name beside it."""

    code = "error"
    openeo = ""
    """The name of this error in openEO (`ProcessUnsupported`), of a class or given to one error; empty: it has none."""
    http_status = 400

    def __init__(self, message: str, /, openeo: str = "", **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.openeo = openeo or type(self).openeo
        self.details = details

    def to_json(self) -> dict[str, Any]:
        name = {"openeo": self.openeo} if self.openeo else {}
        details = {"details": self.details} if self.details else {}
        return {"code": self.code, **name, "message": self.message, **details}

    def __reduce__(self):  # survives pickling between worker and client with its name and details
        return (_rebuild, (type(self), self.message, self.openeo, self.details))


def _rebuild(cls: type[MusesError], message: str, openeo: str, details: dict[str, Any]) -> MusesError:
    return cls(message, openeo=openeo, **details)


class ArgumentError(MusesError, ValueError):
    """A function was given something else than it takes: another type, order or unit; details name the `argument`."""

    code = "argument-invalid"


class DocumentError(MusesError):
    """A chain document (openEO process graph) is not valid; details name `node` and `argument`."""

    code = "document-invalid"


class PrivateChain(MusesError):
    """A chain with code of its user's own was to be published, shared or kept for others; or comes from elsewhere."""

    code = "private-chain"


class OperatorFailed(MusesError):
    """Code of the user's own (an operator declared in a notebook, a UDF) raised an error, or gave no cube."""

    code = "operator-failed"


class BandError(MusesError):
    """A band was asked for that the data do not have."""

    code = "band-unknown"


class GridError(MusesError):
    """Sources of different grids were combined without saying on which grid."""

    code = "grid-mismatch"


class CrsError(MusesError, ValueError):
    """A coordinate reference system is unknown, or written in a way that is not taken from elsewhere."""

    code = "crs-refused"


class WindowError(MusesError, ValueError):
    """A window or its bounds make no sense: another unit or order than said, no place, nothing in it, too large."""

    code = "window-refused"


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


class NoScenes(NotFound):
    """A collection has no scene that fits the query: its dates, place or filter."""

    code = "no-scenes"


class AmbiguousCollection(MusesError):
    """The same collection id in several catalogues; `choices` in the details are the names to choose from."""

    code = "collection-ambiguous"
    http_status = 409


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


class StoreUnusable(MusesError):
    """The store's file is damaged, of another release, or may not be written: somebody has to do something about it."""

    code = "store-unusable"
    http_status = 503


class RegistryUnusable(MusesError):
    """The list of registered catalogues cannot be read."""

    code = "registry-unusable"
    http_status = 503


class Timeout(MusesError):
    """Something took longer than its asker waits."""

    code = "timeout"
    http_status = 504


class Overloaded(MusesError):
    """Too much of one kind waits, or was given up and has not ended; to be asked again in `retry_after` seconds."""

    code = "overloaded"
    http_status = 503
