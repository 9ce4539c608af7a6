"""STAC `file:checksum`: a multihash, compared with what a file holds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from muses_lab.errors import Cancelled
from muses_lab.raster.contained import Source

_KINDS = {b"\x11": "sha1", b"\x12": "sha256", b"\x13": "sha512", b"\xd5\x01": "md5"}
"""Code of a multihash → name in hashlib (multicodec table)."""
_PIECE = 1 << 20


def multihash(path: Path) -> str:
    """The SHA-256 of a file of our own as STAC writes it.

    >>> multihash(Path("/dev/null"))[:12]
    '1220e3b0c442'
    """
    with path.open("rb") as file:
        return f"1220{hashlib.file_digest(file, 'sha256').hexdigest()}"


def matches(multihash: str, file: Source, cancelled: Callable[[], bool] | None = None) -> bool | None:
    """Whether a file holds what a multihash in hexadecimal digits says; None where its kind is not known.

    Reads the whole file. `Cancelled` as soon as nobody waits any more.
    """
    try:
        said = bytes.fromhex(multihash)
    except ValueError:
        return None
    for code, name in _KINDS.items():
        digest = hashlib.new(name, usedforsecurity=False)
        if said.startswith(code + bytes([digest.digest_size])) and len(said) == len(code) + 1 + digest.digest_size:
            for offset in range(0, file.size, _PIECE):
                if cancelled is not None and cancelled():
                    raise Cancelled("nobody waits for this block any more")
                digest.update(file.read(offset, _PIECE))
            return digest.digest() == said[-digest.digest_size :]
    return None
