"""Formats of exports: one module each, found in their folder or in an installed package."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import muses_lab as ml
from muses_lab.errors import ArgumentError, NotFound
from muses_lab.export import formats
from muses_lab.plugins import BrokenPlugin
from tests.helpers.installed import install
from tests.helpers.made_scenes import ndvi_of, window

RAW = """
import json

import numpy as np

from muses_lab.export.formats import NoOptions


class Raw:
    name, suffixes, packages, holds_texts = "Raw", (".raw",), ("numpy",), False
    draws, options, share = False, NoOptions, 1.0

    def check(self, target, window, facts):
        pass

    def write(self, pieces, facts, tags, path, job):
        rows, columns = pieces.window.shape
        out = np.memmap(path, pieces.dtype, "w+", shape=(pieces.layers, rows, columns))
        for piece in pieces.all:
            out[(slice(None), *piece.toslices())] = pieces.values(piece)
        out.flush()

    def differing(self, pieces, facts, path, job):
        stored = np.memmap(path, pieces.dtype, "r", shape=(pieces.layers, *pieces.window.shape))
        return [p for p in pieces.all if not pieces.holds(p, stored[(slice(None), *p.toslices())])]

    def is_written(self, path, chain, window):
        return False

    def texts(self, path):
        return {}

    def beside(self, target, window, facts):
        return {}


WRITER = Raw()
"""


@pytest.fixture
def fresh() -> Iterator[None]:
    formats.writers.cache_clear()
    yield
    formats.writers.cache_clear()


@pytest.mark.usefixtures("in_threads", "fresh")
def test_a_package_adds_a_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", monkeypatch, "muses_lab.formats", raw=RAW)
    chain = ndvi_of(tmp_path / "scenes", 700)
    box = window(600, 700)
    path = chain.export(tmp_path / "a.raw", box, progress=False).wait(60)
    expected = chain.compute(box).values
    assert np.array_equal(np.fromfile(path, expected.dtype).reshape(expected.shape), expected, equal_nan=True)
    assert ml.jobs()[0].record.options["format"] == "Raw"
    found = formats.texts_of(path)
    assert found["MUSES_CHAIN"] == chain.published.chain_hash and "numpy" in json.loads(found["MUSES_VERSIONS"])
    assert sorted(p.name for p in path.parent.iterdir() if p.is_file()) == ["a.raw", "a.raw.muses.json"]
    (tmp_path / "a.raw.muses.json").write_text("[]")
    with pytest.raises(NotFound, match=r"a\.raw does not say how it was made: .* its a\.raw\.muses\.json is not"):
        formats.texts_of(path)


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("WRITER = object()", "WRITER has no name, suffixes"),
        ("", "has no attribute 'WRITER'"),
        ("raise SystemError('at import')", "at import"),
    ],
)
def test_a_broken_one_is_named_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, why: str
) -> None:
    install(tmp_path, monkeypatch, "muses_lab.formats", broken=source, raw=RAW)
    with pytest.warns(BrokenPlugin, match=f"'broken' of the package 'additions'.*{why}"):
        known = formats.writers()
    assert known[-1].name == "Raw" and "GeoTIFF" in {writer.name for writer in known}


def test_the_names_ending_and_the_format_choose() -> None:
    assert formats.writer_of(Path("A.TIF")).name == formats.writer_of(Path("a.tiff"), "geotiff").name == "GeoTIFF"
    with pytest.raises(ArgumentError, match=r"'a.xyz' is not the name .* known: .*GeoTIFF \(.tif, .tiff\)"):
        formats.writer_of(Path("a.xyz"))
    with pytest.raises(ArgumentError, match=r"format='pdf' is none of the formats: GeoPackage"):
        formats.writer_of(Path("a.tif"), "pdf")
    with pytest.raises(ArgumentError, match=r"'a.dat' is not the name of a file of the format GeoTIFF"):
        formats.writer_of(Path("a.dat"), "GeoTIFF")
