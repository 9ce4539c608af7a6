"""Artefacts: what a document refers to by digest, whatever it is: lists of scenes, fitted models, vectors, rasters.

An artefact is bytes of a kind; its digest is the SHA-256 of them. A kind says how they are written and read:

```python
TABLES = kinds.add(Kind("muses:table", "table", "application/json", write=to_bytes, parse=from_bytes, of=as_table))
artefact = Artefact.of(TABLES, {"a": 1})
artefact.digest, artefact.body, artefact.value
```

Whoever carries artefacts (documents, store, published chains, workers) knows no kind by its name.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from muses_lab.errors import DocumentError, TooLarge

T = TypeVar("T")


@dataclass(frozen=True)
class Packing(Generic[T]):
    """Another form of the same content that is quicker to read: how it travels to workers and lies in the user's store.

    It comes from the user's own processes only: what others hand over is read from its document.
    """

    name: str
    """Names the form and its version; another form under the same name would be misread."""
    pack: Callable[[T], bytes]
    unpack: Callable[[bytes], T]
    """Raises ValueError where the bytes are of another version."""
    worth: Callable[[T], bool]
    """Whether the store keeps this form, too."""


@dataclass(frozen=True, eq=False)
class Kind(Generic[T]):
    """What artefacts of one kind are, and how they become bytes and objects again.

    Parameters
    ----------
    name
        Names the kind in stores and documents, for example `muses:items`.
    noun
        What one of them is called in messages.
    media_type
        Of the bytes.
    write
        The object as bytes; equal content gives equal bytes.
    parse
        The object of bytes that anybody may have written. Executes no code of theirs, has limits, and raises a
        ValueError whose text goes on after "the list of scenes abc… ": "is damaged: …".
    of
        What a user hands over (an object, a path) as the object; raises a ValueError that says what would be right.
        By default the object itself.
    inline
        What a document may hold in the place of a digest (GeoJSON) as the object; None: nothing.
    digest
        The digest where the object knows it; by default that of what `write` gives.
    packing
        A form that is quicker to read.
    max_bytes
        Of one artefact.
    private
        It holds code. It goes to its author's own processes, in its packed form, and is made into an object there
        before the document that refers to it is read; no store, document or share takes it.
    """

    name: str
    noun: str
    media_type: str
    write: Callable[[T], bytes]
    parse: Callable[[bytes], T]
    of: Callable[[Any], T] = lambda given: given
    inline: Callable[[Any], T] | None = None
    digest: Callable[[T], str] | None = None
    packing: Packing[T] | None = None
    max_bytes: int = 64 << 20
    private: bool = False


class Kinds:
    """All kinds by name."""

    def __init__(self) -> None:
        self._kinds: dict[str, Kind[Any]] = {}

    def add(self, kind: Kind[T]) -> Kind[T]:
        if kind.name in self._kinds:
            raise ValueError(f"the kind of artefact {kind.name!r} is declared twice")
        self._kinds[kind.name] = kind
        return kind

    def __getitem__(self, name: str) -> Kind[Any]:
        try:
            return self._kinds[name]
        except KeyError:
            known = ", ".join(sorted(self._kinds))
            raise DocumentError(f"there is no kind of artefact {name!r} here; there are {known}") from None


kinds = Kinds()


@dataclass(frozen=True)
class OfKind:
    """In the annotation of an operator's parameter: documents hold the digest of an artefact there.

    `polygons: Annotated[Polygons, OfKind("muses:polygons")]` gives the function the object that the artefact holds.
    """

    kind: str


class Artefact:
    """Bytes of a kind, by their SHA-256; the object that they hold is made when it is first asked for.

    Made by `of`, `read` and `unpacked`. Immutable, safe to use from any thread.
    """

    __slots__ = ("__weakref__", "_body", "_lock", "_packed", "_value", "digest", "kind")

    def __init__(
        self, kind: Kind[Any], digest: str, body: bytes | None = None, packed: bytes | None = None, value: Any = None
    ) -> None:
        self.kind = kind
        self.digest = digest
        self._body = body
        self._packed = packed
        self._value = value
        self._lock = threading.Lock()

    @classmethod
    def of(cls, kind: Kind[T], value: T) -> Artefact:
        """The artefact of an object."""
        if kind.digest is not None:
            return _one(cls(kind, kind.digest(value), value=value))
        body = kind.write(value)
        _check_size(kind, body)
        return _one(cls(kind, hashlib.sha256(body).hexdigest(), body=body, value=value))

    @classmethod
    def read(cls, kind: Kind[Any], digest: str, body: bytes) -> Artefact:
        """The artefact of bytes from elsewhere, which must be what the digest names."""
        _check_size(kind, body)
        if hashlib.sha256(body).hexdigest() != digest:
            raise DocumentError(
                f"the {kind.noun} {digest:.12}… is damaged: its content is not what its digest names", digest=digest
            )
        return _one(cls(kind, digest, body=body))

    @classmethod
    def unpacked(cls, kind: Kind[Any], digest: str, packed: bytes) -> Artefact:
        """The artefact of `packed`, from a process of the user's own."""
        if kind.packing is None:
            return cls.read(kind, digest, packed)
        return _one(cls(kind, digest, packed=packed))

    @property
    def body(self) -> bytes:
        """The bytes that the digest names."""
        body = self._body
        return self.kind.write(self.value) if body is None else body

    @property
    def packed(self) -> bytes:
        """The bytes that travel."""
        if self.kind.packing is None:
            return self.body
        packed = self._packed
        return self.kind.packing.pack(self.value) if packed is None else packed

    @property
    def value(self) -> Any:
        """The object; `DocumentError` where the bytes hold none."""
        with self._lock:
            if self._value is None:
                self._value = self._made()
                if self.kind.digest is not None:  # the object writes the same bytes
                    self._body = self._packed = None
            return self._value

    def _made(self) -> Any:
        kind = self.kind
        try:
            if self._packed is not None and kind.packing is not None:
                value = kind.packing.unpack(self._packed)
            else:
                assert self._body is not None
                value = kind.parse(self._body)
            if kind.digest is not None and kind.digest(value) != self.digest:
                raise ValueError("is damaged: its content is not what its digest names")
        except ValueError as error:
            raise DocumentError(f"the {kind.noun} {self.digest:.12}… {error}", digest=self.digest) from None
        return value

    def __repr__(self) -> str:
        return f"<Artefact {self.kind.name} {self.digest:.8}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.kind.name, self.digest, self.packed)


def _restored(kind: str, digest: str, packed: bytes) -> Artefact:
    return Artefact.unpacked(kinds[kind], digest, packed)


def _check_size(kind: Kind[Any], body: bytes) -> None:
    if len(body) > kind.max_bytes:
        raise TooLarge(f"a {kind.noun} has {len(body)} bytes; the limit is {kind.max_bytes}")


_lock = threading.Lock()
_all: WeakValueDictionary[str, Artefact] = WeakValueDictionary()


def known(digest: str) -> Artefact | None:
    """The artefact with this digest that somebody in this process holds."""
    with _lock:
        return _all.get(digest)


def _one(made: Artefact) -> Artefact:
    """Chains that refer to the same artefact share it, and its object is made once."""
    with _lock:
        found = _all.get(made.digest)
        if found is not None and found.kind is made.kind:
            return found
        _all[made.digest] = made
        return made
