"""Files of this machine, opened where they are: a link that leads elsewhere is noticed when the file is open.

A path that was checked earlier may lead elsewhere by now. So the check looks at where the opened file really is, not
at the path. A file inside a zip archive is one too: see `archive`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple

from muses_lab.errors import AccessDenied, ReadError
from muses_lab.raster import archive

_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
# Without O_NONBLOCK a named pipe would be waited for, maybe for ever.

_TELLS = hasattr(os, "O_PATH") and os.path.exists("/proc/self/fd")
"""Whether the system tells where an open file is."""


class Stamp(NamedTuple):
    """What tells one state of a file from another."""

    size: int
    modified: int
    """Nanoseconds since 1970 of the last change."""
    changed: int
    """Nanoseconds since 1970 when size, name, owner or content changed last: nobody can set it back."""
    number: int
    """The file's number on its disk."""
    device: int
    """The disk's number."""

    @classmethod
    def of(cls, found: os.stat_result) -> Stamp:
        return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev)

    @classmethod
    def at(cls, path: str) -> Stamp | None:
        """Of what a path leads to now; None where that is no file, or a part of an archive."""
        try:
            found = os.stat(path)
        except OSError:
            return None
        return cls.of(found) if stat.S_ISREG(found.st_mode) else None


class LocalFile:
    """An open file; a context manager. Its bytes are those of one file, whatever becomes of its name."""

    def __init__(self, path: str, handle: int) -> None:
        self._handle = -1  # until it is this one's to close
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise ReadError("it is not a file")
        self.path = path
        """Where it was asked for; where it really is, if that was asked."""
        self.stamp = Stamp.of(found)
        self._handle = handle

    @classmethod
    def open(cls, path: str, allows: Callable[[str], bool] | None = None) -> LocalFile:
        """Opens a file.

        Parameters
        ----------
        path
            With `allows`: free of links when it was checked.
        allows
            Whether a file may be read that is really there, a path without links. None: it is the user's own choice.

        Raises
        ------
        ReadError
            There is no such file.
        AccessDenied
            It is a link to somewhere else by now.
        """
        try:
            place, handle = (path, os.open(path, _FLAGS)) if allows is None else _opened(path, allows)
        except NotADirectoryError:
            return _archived(path, allows)
        except OSError as error:
            raise ReadError(f"the file is not there ({error.strerror})") from None
        try:
            return cls(place, handle)
        except BaseException:
            os.close(handle)
            raise

    @property
    def size(self) -> int:
        return self.stamp.size

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._handle, size, offset)

    def is_unchanged(self) -> bool:
        """Whether its bytes are still those of its stamp."""
        return Stamp.of(os.fstat(self._handle)) == self.stamp

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> LocalFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ArchivedFile(LocalFile):
    """A file inside a zip archive: it changes when the archive does."""

    def __init__(self, holder: LocalFile, name: str) -> None:
        self.path, self.stamp = f"{holder.path}/{name}", holder.stamp
        self._holder, self._member = holder, archive.Member(holder, name)

    @property
    def size(self) -> int:
        return self._member.size

    def read(self, offset: int, size: int) -> bytes:
        return self._member.read(offset, size)

    def is_unchanged(self) -> bool:
        return self._holder.is_unchanged()

    def close(self) -> None:
        self._holder.close()

    def __del__(self) -> None:
        """Nothing: what holds it closes itself."""


def on_disk(path: str) -> str:
    """The file that a path leads to, or the archive that it leads into."""
    inside = archive.split(path)
    return path if inside is None or os.path.isdir(inside[0]) else inside[0]


def _archived(path: str, allows: Callable[[str], bool] | None) -> ArchivedFile:
    inside = archive.split(path)
    if inside is None:
        raise ReadError("the file is not there (a part of its path is no folder)")
    holder = LocalFile.open(inside[0], allows)
    try:
        return ArchivedFile(holder, inside[1])
    except BaseException:
        holder.close()
        raise


def _opened(path: str, allows: Callable[[str], bool]) -> tuple[str, int]:
    """Where a file really is, and its handle: opened only after that was found to be allowed."""
    if not _TELLS:
        return _opened_elsewhere(path, allows)
    found = os.open(path, os.O_PATH | os.O_CLOEXEC)  # found, not opened: whatever it is, nothing happens to it
    try:
        place = os.readlink(f"/proc/self/fd/{found}")
        if place != path:
            _check(path, place, allows)
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise ReadError("it is not a file")
        return place, os.open(f"/proc/self/fd/{found}", _FLAGS)
    finally:
        os.close(found)


def _opened_elsewhere(path: str, allows: Callable[[str], bool]) -> tuple[str, int]:
    """The same where the system does not tell the place of an open file."""
    place = os.path.realpath(path)
    if place != path:
        _check(path, place, allows)
    handle = os.open(place, _FLAGS | os.O_NOFOLLOW)
    if os.path.realpath(path) != place or not os.path.samestat(os.fstat(handle), os.stat(place)):
        os.close(handle)
        raise ReadError("the file was replaced while it was opened")
    return place, handle


def _check(path: str, place: str, allows: Callable[[str], bool]) -> None:
    if place == f"{path} (deleted)":
        raise ReadError("the file was replaced while it was opened")
    if not allows(place):
        raise AccessDenied("the file is a link by now, which leads out of the catalogue's folders")
