"""Files inside zip archives: the bytes of the file, however it is stored, and nothing outside the allowed folders."""

from __future__ import annotations

import os
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from muses_lab import settings
from muses_lab.errors import AccessDenied, ReadError
from muses_lab.raster import access, archive
from muses_lab.raster.files import LocalFile
from muses_lab.raster.header import read_header
from tests.helpers.made_scenes import write_tif


def zipped(path: Path, method: int, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, body in members.items():
            file.writestr(name.replace("__", "/"), body)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_any_part_of_a_member_is_read(tmp_path: Path, method: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_STEP", 100_000)
    body = np.random.default_rng(3).integers(0, 40, 1_000_000, dtype=np.uint8).tobytes()
    path = zipped(tmp_path / "a.zip", method, first=b"1", in__side=body, last=b"2")
    with LocalFile.open(f"{path}/in/side") as file:
        assert file.size == len(body) and file.path == f"{path}/in/side"
        for offset, size in ((0, 10), (999_990, 100), (500_000, 70_000), (10, 5), (499_999, 2), (0, 1_000_000), (5, 0)):
            assert file.read(offset, size) == body[offset : offset + size]


def test_a_raster_is_read_where_it_is(tmp_path: Path) -> None:
    plain = write_tif(tmp_path / "a.tif", np.arange(10_000, dtype=np.uint16).reshape(100, 100))
    path = zipped(tmp_path / "a.zip", zipfile.ZIP_DEFLATED, folder__a_tif=b"", **{"b__a.tif": plain.read_bytes()})
    inside, outside = read_header(f"{path}/b/a.tif"), read_header(plain)
    assert (inside.crs, inside.transform, inside.shape) == (outside.crs, outside.transform, outside.shape)


@pytest.mark.parametrize(
    ("member", "why"), [("nothing", "has no file 'nothing'"), ("../b", "has no file"), ("a/b.zip/c", "has no file")]
)
def test_what_is_not_there_is_said(tmp_path: Path, member: str, why: str) -> None:
    path = zipped(tmp_path / "a.zip", zipfile.ZIP_STORED, a=b"1")
    with pytest.raises(ReadError, match=why):
        LocalFile.open(f"{path}/{member}")


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", zipfile.ZIP_DEFLATED, a=bytes(range(256)) * 400)
    body = bytearray(path.read_bytes())
    body[40:120] = bytes(80)
    path.write_bytes(body)
    with LocalFile.open(f"{path}/a") as file, pytest.raises(ReadError, match="damaged"):
        file.read(0, file.size)
    path.write_bytes(b"no archive")
    with pytest.raises(ReadError, match="not a zip archive"):
        LocalFile.open(f"{path}/a")
    bomb = zipped(tmp_path / "b.zip", zipfile.ZIP_DEFLATED, a=b"1" * 50)
    body = bytearray(bomb.read_bytes())
    at = body.rindex(b"PK\x01\x02") + 24
    body[at : at + 4] = (1 << 30).to_bytes(4, "little")
    bomb.write_bytes(body)
    with pytest.raises(ReadError, match="claims to have 1073741824 bytes"):
        LocalFile.open(f"{bomb}/a")


def test_an_archive_outside_the_catalogue_is_not_read(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "catalog", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    secret = zipped(elsewhere / "a.zip", zipfile.ZIP_STORED, a=b"secret")
    zipped(folder / "mine.zip", zipfile.ZIP_STORED, a=b"mine")
    settings.register_catalog("archives", str(folder))
    path = access.resolve_href("archives", "mine.zip/a")
    with LocalFile.open(path, partial(access.may_read, "archives")) as file:
        assert file.read(0, 9) == b"mine"
    os.symlink(secret, folder / "link.zip")
    for href in ("link.zip/a", "../elsewhere/a.zip/a", "mine.zip/../../elsewhere/a.zip/a", f"{secret}/a"):
        with pytest.raises(AccessDenied):
            access.resolve_href("archives", href)
    (folder / "mine.zip").unlink()
    os.symlink(secret, folder / "mine.zip")  # after it was checked
    with pytest.raises(AccessDenied):
        LocalFile.open(path, partial(access.may_read, "archives"))
