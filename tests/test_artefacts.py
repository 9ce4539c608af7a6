"""Artefacts: one way by which what a document refers to goes through documents, store, published chain and worker."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest

import muses_lab as ml
from muses_lab.document import artefacts, graph
from muses_lab.document.artefacts import Artefact, Kind, OfKind, kinds
from muses_lab.engine import Published
from muses_lab.errors import ArgumentError, DocumentError, NotFound, TooLarge
from muses_lab.operators import operator, references, registry
from muses_lab.operators.contract import Cube, same_bands
from muses_lab.publish.artefacts import load_published
from muses_lab.publish.bundle import KEY
from muses_lab.store.sql import SqlStore
from tests.helpers.made_stacks import stack

BOUNDS = (500_000, 4_799_840, 500_160, 4_800_000)
WINDOW = ml.Window.from_bounds(BOUNDS, crs="EPSG:32631", resolution=10, bounds_crs="EPSG:32631")
VALUES = np.arange(1 * 2 * 16 * 16, dtype=np.int16).reshape(1, 2, 16, 16)


pytestmark = pytest.mark.usefixtures("in_threads")  # workers of a cluster do not know the operator of this test


class Table(dict[str, float]):
    """What the artefacts of this test hold: a number for each name."""


parsed: list[bytes] = []


def parse(body: bytes) -> Table:
    parsed.append(body)
    found = json.loads(body)
    if not isinstance(found, dict):
        raise ValueError("is no table: it has to be an object")
    return Table(found)


def given(value: Any) -> Table:
    if isinstance(value, Path):
        value = json.loads(value.read_text())
    if not isinstance(value, Mapping):
        raise ValueError("give a mapping, or the path of one")
    return Table(value)


@pytest.fixture(scope="module", autouse=True)
def tables() -> Iterator[Kind[Table]]:
    """A kind of artefact, and an operator that takes one: no module of the house knows them."""
    kind = kinds.add(
        Kind(
            "test:table", "table", "application/json", parse=parse, of=given, inline=Table, max_bytes=1000,
            write=lambda table: json.dumps(table, sort_keys=True, separators=(",", ":")).encode(),
        )
    )  # fmt: skip

    @operator(
        "test:add_entry", shape=lambda arguments, metas: entry_shape(arguments, metas), needs=same_bands, method=None
    )
    def add_entry(data: Cube, table: Annotated[Table, OfKind("test:table")], name: str = "a") -> Cube:
        """The value of an entry added to every pixel."""
        assert isinstance(table, Table)
        return data + np.float32(table[name])

    def entry_shape(arguments: Mapping[str, Any], metas: Mapping[str, Any]) -> Any:
        if arguments["name"] not in arguments["table"]:
            raise DocumentError(f"the table has no {arguments['name']!r}")
        return metas["data"]

    yield kind
    del registry._operators["test:add_entry"], kinds._kinds["test:table"]


@pytest.fixture
def red(tmp_path: Path) -> ml.Chain:
    return stack(VALUES, tmp_path / "stack", dates=["2020-01-01"]).band("B4").first("t")


@pytest.fixture
def store(tmp_path: Path) -> SqlStore:
    return SqlStore(f"sqlite:///{tmp_path / 'store.sqlite'}")


def forget() -> None:
    """As in a new process: nobody holds an artefact."""
    artefacts._all.clear()


def added(chain: ml.Chain, table: Any, name: str = "a") -> ml.Chain:
    return chain._with("test:add_entry", data=chain._node, table=table, name=name)


BODY = b'{"a":7,"b":0.5}'
DIGEST = hashlib.sha256(BODY).hexdigest()


def test_what_a_user_hands_over_becomes_the_artefact(red: ml.Chain, tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text('{"b": 0.5, "a": 7}')
    chains = [added(red, {"b": 0.5, "a": 7}), added(red, tmp_path / "table.json"), added(red, DIGEST)]
    assert len({chain.hash for chain in chains}) == 1
    (node,) = [n for n in graph.walk(chains[0]._node) if n.process == "test:add_entry"]
    assert node.arguments["table"] == DIGEST and references(chains[0]._node) == {DIGEST: "test:table"}
    for chain in chains[:2]:
        np.testing.assert_array_equal(chain.compute(WINDOW), VALUES[0, 0] + 7)
    np.testing.assert_array_equal(added(red, {"b": 0.5}, "b").compute(WINDOW), VALUES[0, 0] + 0.5)
    with pytest.raises(ArgumentError, match="table=7 of test:add_entry is no table: give a mapping, or the path"):
        added(red, 7)
    with pytest.raises(TooLarge, match="a table has .* bytes; the limit is 1000"):
        added(red, {str(n): n for n in range(200)})


def test_the_object_is_made_once_and_the_shape_of_a_result_may_depend_on_it(red: ml.Chain) -> None:
    with pytest.raises(DocumentError, match="the table has no 'c'"):
        _ = added(red, {"a": 1}, "c").published.prepared
    chain = added(red, {"a": 1, "b": 2})
    payload = (chain + added(red, {"a": 1, "b": 2}, "b")).published.payload
    del chain
    forget()
    parsed.clear()
    first, second = Published.from_payload(payload), Published.from_payload(payload)
    assert parsed == []
    _ = first.prepared, second.prepared
    assert len(parsed) == 1


def test_artefacts_travel_with_what_refers_to_them(red: ml.Chain, store: SqlStore) -> None:
    chain = added(red, json.loads(BODY))
    expected = VALUES[0, 0] + 7
    name = chain.publish(store)
    assert store.artefact(DIGEST) == BODY
    document = json.dumps(chain.to_json(artefacts=True))
    pickled = pickle.dumps(chain)
    bare = json.dumps(chain.to_json())
    payload = chain.published.payload
    for bring in (
        lambda: ml.Chain(load_published(name, store).root, load_published(name, store).artefacts),
        lambda: ml.Chain.from_json(bare).with_artefacts_of(store),
        lambda: ml.Chain.from_json(document),
        lambda: pickle.loads(pickled),
        lambda: ml.Chain(Published.from_payload(payload).root, Published.from_payload(payload).artefacts),
    ):
        del chain
        forget()
        chain = bring()
        assert chain.published.artefacts[DIGEST].body == BODY
        np.testing.assert_array_equal(chain.compute(WINDOW), expected)
        assert chain.publish(store) == name
    del chain
    forget()
    with pytest.raises(NotFound, match="is not in the store"):
        ml.Chain.from_json(bare).compute(WINDOW)


def test_what_a_document_brings_is_what_its_digest_names(red: ml.Chain) -> None:
    document = added(red, json.loads(BODY)).to_json(artefacts=True)
    assert document[KEY][DIGEST] == {"kind": "test:table", "type": "application/json", "text": BODY.decode()}
    for change, told in (
        ({"text": '{"a":8}'}, "its content is not what its digest names"),
        ({"kind": "muses:items"}, "has not the kind test:table"),
        ({"text": None}, "is empty"),
        ({"text": None, "base64": "?"}, "is damaged"),
        ({"text": "\ud800"}, "half a character"),
    ):
        forget()
        brought = {**document[KEY], DIGEST: {**document[KEY][DIGEST], **change}}
        with pytest.raises(DocumentError, match=told):
            ml.Chain.from_json({**document, KEY: brought})
    other = hashlib.sha256(b"[1]").hexdigest()
    forget()
    text = json.dumps({**document, KEY: {**document[KEY], DIGEST: {"kind": "test:table", "text": "[1]"}}})
    with pytest.raises(DocumentError, match=f"the table {other[:12]}… is no table: it has to be an object"):
        ml.Chain.from_json(text.replace(DIGEST, other))


def test_a_document_may_hold_the_object_itself_and_names_no_file(red: ml.Chain, tmp_path: Path) -> None:
    document = added(red, json.loads(BODY)).to_json()
    text = json.dumps(document)
    inline = ml.Chain.from_json(text.replace(f'"{DIGEST}"', '{"b":0.5,"a":7}'))
    assert inline.to_json() == document
    np.testing.assert_array_equal(inline.compute(WINDOW), VALUES[0, 0] + 7)
    (tmp_path / "table.json").write_bytes(BODY)
    for value in (str(tmp_path / "table.json"), 7, [BODY.decode()], DIGEST + "\n"):
        with pytest.raises(DocumentError, match="argument 'table' of 'test:add_entry' must be the SHA-256"):
            ml.Chain.from_json(text.replace(f'"{DIGEST}"', json.dumps(value)))


def test_an_artefact_is_of_one_kind(red: ml.Chain, store: SqlStore) -> None:
    scenes = next(iter(red.resolve().published.artefacts))
    with pytest.raises(DocumentError, match="is taken for 'muses:items' and for 'test:table'"):
        _ = added(red.resolve(), scenes).published
    with pytest.raises(DocumentError, match="no kind of artefact 'test:other' here; there are .*muses:items"):
        kinds["test:other"]
    store.put_artefact(DIGEST, "test:table", BODY)
    damaged = Artefact.read(kinds["test:table"], DIGEST, BODY)
    assert damaged.value == {"a": 7, "b": 0.5}
    with pytest.raises(DocumentError, match="its content is not what its digest names"):
        Artefact.read(kinds["test:table"], DIGEST, BODY + b" ")


def test_operators_on_values_refer_to_no_artefact() -> None:
    with pytest.raises(TypeError, match="only operators on cubes"):

        @operator("test:value")
        def value(x: float, table: Annotated[Table, OfKind("test:table")]) -> float:
            return x
