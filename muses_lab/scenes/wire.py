"""A pinned list of scenes as bytes that are ready to use: its columns as they are, its scenes a few at a time.

The list's document (`Scenes.to_bytes`) is what names it; this is how it travels to workers and is kept beside the
document in the store. Scenes are packed in chunks by grid, so that a window unpacks those of the grids it touches.
"""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, overload

import numpy as np

from muses_lab.raster.asset import Band
from muses_lab.scenes.scene import KeptScenes, Scene, Scenes, scene_from_json
from muses_lab.scenes.table import Columns

VERSION = 2
_CHUNK = 32
"""Scenes that are compressed together."""


class PackedScenes(KeptScenes):
    """The scenes of a packed list."""

    def __init__(self, columns: Columns, chunks: Sequence[bytes], order: np.ndarray) -> None:
        self.columns = columns
        self._chunks = chunks
        self._place = np.empty(len(order), np.int64)
        """Where each scene is among those of all chunks."""
        self._place[order] = np.arange(len(order))
        self._order = order
        self._made: dict[int, list[Scene]] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return PackedScenes, (self.columns, self._chunks, self._order)

    def __len__(self) -> int:
        return len(self._place)

    @overload
    def __getitem__(self, index: int) -> Scene: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Scene, ...]: ...
    def __getitem__(self, index: int | slice) -> Scene | tuple[Scene, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        chunk, within = divmod(int(self._place[index]), _CHUNK)
        return self._chunk(chunk)[within]

    def _chunk(self, number: int) -> list[Scene]:
        with self._lock:
            if number not in self._made:
                self._made[number] = [scene_from_json(json.loads(text)) for text in _texts(self._chunks[number])]
            return self._made[number]

    def texts(self) -> Sequence[str]:
        every = [text for chunk in self._chunks for text in _texts(chunk)]
        return [every[place] for place in self._place]


def columns_of(scenes: Scenes) -> Columns:
    return scenes.scenes.columns if isinstance(scenes.scenes, PackedScenes) else Columns.of(scenes)


def pack(scenes: Scenes, columns: Columns) -> bytes:
    order = np.argsort(columns.lattice, kind="stable")
    texts = scenes.texts
    chunks = [
        zlib.compress("\n".join(texts[i] for i in order[start : start + _CHUNK]).encode(), 1)
        for start in range(0, len(order), _CHUNK)
    ]
    arrays = {**columns.arrays(), "order": order, "lengths": np.array([len(c) for c in chunks], np.int64)}
    head = {
        "version": VERSION,
        "digest": scenes.digest,
        "collection": scenes.collection,
        "catalog": scenes.catalog,
        "bands": scenes.bands_to_json(),
        "lists": columns.lists(),
        "arrays": {name: [a.dtype.str, list(a.shape)] for name, a in arrays.items()},
    }
    body = {name: np.ascontiguousarray(a).tobytes() for name, a in arrays.items()}
    return join(head, {**body, "chunks": b"".join(chunks)})


def unpack(body: bytes) -> Scenes:
    """The list; `ValueError` where the bytes are of another release."""
    head, parts = split(body)
    if head.get("version") != VERSION:
        raise ValueError(f"a packed list of version {head.get('version')!r}; this release has {VERSION}")
    arrays: dict[str, Any] = {
        name: np.frombuffer(parts[name], np.dtype(kind)).reshape(shape)
        for name, (kind, shape) in head["arrays"].items()
    }
    ends = np.cumsum(arrays.pop("lengths"))
    chunks = [
        bytes(parts["chunks"][end - length : end]) for end, length in zip(ends, np.diff(ends, prepend=0), strict=True)
    ]
    order = arrays.pop("order")
    kept = PackedScenes(Columns(**arrays, **head["lists"]), chunks, order)
    scenes = Scenes(head["collection"], head["catalog"], tuple(Band(**b) for b in head["bands"]), kept)
    scenes.__dict__["digest"] = head["digest"]
    return scenes


def _texts(chunk: bytes) -> list[str]:
    return zlib.decompress(chunk).decode().split("\n")  # JSON texts hold no line ends


def join(head: dict[str, Any], parts: Mapping[str, bytes]) -> bytes:
    """Named parts behind a head of JSON."""
    text = json.dumps({**head, "parts": {name: len(part) for name, part in parts.items()}}).encode()
    text += b" " * (-len(text) % 8)  # arrays are read where they lie
    return b"".join([len(text).to_bytes(8, "little"), text, *(p + bytes(-len(p) % 8) for p in parts.values())])


def split(body: bytes) -> tuple[dict[str, Any], dict[str, memoryview]]:
    view = memoryview(body)
    start = 8 + int.from_bytes(view[:8], "little")
    head = json.loads(bytes(view[8:start]))
    parts = {}
    for name, length in head["parts"].items():
        parts[name] = view[start : start + length]
        start += length + -length % 8
    return head, parts
