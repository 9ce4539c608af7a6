"""Copies of notebooks and data for their users (`muses_lab.notebooks`): what is new comes, the user's own stays."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest

from muses_lab import notebooks
from muses_lab.notebooks import RECORD, give, latest, originals


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "course"
    write(folder, {"01.ipynb": "one", "02.ipynb": "two", "day-1/03.ipynb": "three", "day-1/data/points.csv": "1,2"})
    return folder


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return tmp_path / "mine"


def write(folder: Path, files: dict[str, str]) -> None:
    """With a time of their own each, as an administrator has who is not quicker than the clock."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
        write.time += 1_000_000_000  # type: ignore[attr-defined]
        os.utime(folder / name, ns=(write.time, write.time))  # type: ignore[attr-defined]


write.time = 1_700_000_000_000_000_000  # type: ignore[attr-defined]


def read(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != RECORD)
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def test_folders_and_data_are_given_once(source, mine):
    assert give(source, mine).new == ["01.ipynb", "02.ipynb", "day-1/03.ipynb", "day-1/data/points.csv"]
    assert read(mine) == read(source)
    assert str(give(source, mine)) == ""


def test_a_correction_comes_and_what_the_user_changed_stays(source, mine):
    give(source, mine)
    write(mine, {"01.ipynb": "mine", "day-1/data/points.csv": "mine"})
    write(source, {"01.ipynb": "one!", "02.ipynb": "two!", "day-1/data/points.csv": "3,4", "04.ipynb": "four"})
    given = give(source, mine)
    assert (given.new, given.renewed) == (["04.ipynb"], ["02.ipynb"])
    assert given.beside == {"01.ipynb": "01-new.ipynb", "day-1/data/points.csv": "day-1/data/points-new.csv"}
    assert read(mine) == {
        "01.ipynb": "mine", "01-new.ipynb": "one!", "02.ipynb": "two!", "04.ipynb": "four", "day-1/03.ipynb": "three",
        "day-1/data/points.csv": "mine", "day-1/data/points-new.csv": "3,4",
    }  # fmt: skip
    assert latest(mine, "01.ipynb") == "01-new.ipynb" and latest(mine, "02.ipynb") == "02.ipynb"


def test_the_next_correction_renews_the_one_beside_until_that_is_the_users_too(source, mine):
    give(source, mine)
    write(mine, {"01.ipynb": "mine"})
    for text, places in (("second", ["01-new.ipynb"]), ("third", ["01-new.ipynb"])):
        write(source, {"01.ipynb": text})
        give(source, mine)
        assert [name for name in sorted(read(mine)) if name.startswith("01-")] == places
        assert (mine / places[-1]).read_text() == text
    write(mine, {"01-new.ipynb": "mine too"})
    write(source, {"01.ipynb": "fourth"})
    assert give(source, mine).beside == {"01.ipynb": "01-new-2.ipynb"}
    assert (mine / "01.ipynb").read_text() == "mine" and (mine / "01-new.ipynb").read_text() == "mine too"


def test_what_jupyterlab_notes_in_a_notebook_is_no_change_but_outputs_are(source, mine):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    write(source, {"01.ipynb": nbformat.writes(book), "02.ipynb": nbformat.writes(book)})
    give(source, mine)
    book.metadata |= {"language_info": {"name": "python"}, "kernelspec": {"name": "python3", "display_name": "Python"}}
    book.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    book.cells[0].id = "another"
    write(mine, {"01.ipynb": nbformat.writes(book, indent=4)})
    book.cells[0].outputs = [nbformat.v4.new_output("stream", text="2")]
    write(mine, {"02.ipynb": nbformat.writes(book)})
    corrected = nbformat.writes(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("2 + 2")]))
    write(source, {"01.ipynb": corrected, "02.ipynb": corrected})
    given = give(source, mine)
    assert (given.renewed, given.beside) == (["01.ipynb"], {"02.ipynb": "02-new.ipynb"})


def test_what_was_deleted_stays_away_until_there_is_a_newer_one(source, mine):
    give(source, mine)
    (mine / "02.ipynb").unlink()
    write(source, {"02.ipynb": "two"})  # copied anew, without a change
    assert str(give(source, mine)) == "" and not (mine / "02.ipynb").exists()
    write(source, {"02.ipynb": "two!"})
    assert give(source, mine).renewed == ["02.ipynb"]


def test_what_the_user_has_of_the_same_name_is_the_users(source, mine):
    write(mine, {"01.ipynb": "mine", "02.ipynb": "two"})
    (mine / "day-1").mkdir()
    (mine / "day-1" / "03.ipynb").symlink_to(mine / "02.ipynb")
    (mine / "day-1" / "data").write_text("no folder")
    given = give(source, mine)
    assert given.beside == {"01.ipynb": "01-new.ipynb", "day-1/03.ipynb": "day-1/03-new.ipynb"}
    assert (mine / "day-1" / "03.ipynb").is_symlink() and (mine / "day-1" / "data").read_text() == "no folder"
    assert list(given.left) == ["day-1/data/points.csv"] and "02.ipynb" not in given.new


def test_a_copy_that_the_user_moved_and_linked_is_the_users(source, mine, tmp_path):
    give(source, mine)
    (mine / "02.ipynb").rename(tmp_path / "kept.ipynb")
    (mine / "02.ipynb").symlink_to(tmp_path / "kept.ipynb")
    write(source, {"02.ipynb": "two!"})
    assert give(source, mine).beside == {"02.ipynb": "02-new.ipynb"}
    assert (mine / "02.ipynb").is_symlink() and (mine / "02.ipynb").read_text() == "two"


def test_no_file_changes_under_an_editor(source, mine):
    give(source, mine)
    write(mine, {".ipynb_checkpoints/01-checkpoint.ipynb": "one"})  # JupyterLab's: it was opened
    write(source, {"01.ipynb": "one!", "02.ipynb": "two!"})
    given = give(source, mine, running=True)
    assert (given.renewed, given.beside) == (["02.ipynb"], {"01.ipynb": "01-new.ipynb"})
    write(mine, {".ipynb_checkpoints/02-checkpoint.ipynb": "two!"})
    write(source, {"02.ipynb": "two!!"})
    assert give(source, mine).renewed == ["02.ipynb"]  # before the server starts nothing is open


def test_hidden_files_links_and_what_is_no_file_are_not_given(source, mine, tmp_path):
    secret = tmp_path / "secret"
    write(secret, {"key": "key"})
    (source / "link").symlink_to(secret / "key")
    (source / "folder-link").symlink_to(secret)
    os.mkfifo(source / "pipe")
    write(source, {".git/config": "x", ".hidden": "x", "__pycache__/a.pyc": "x"})
    given = give(source, mine)
    assert given.left == {"folder-link": "it is a link", "link": "it is a link", "pipe": "it is no file"}
    assert set(read(mine)) == {"01.ipynb", "02.ipynb", "day-1/03.ipynb", "day-1/data/points.csv"}


def test_sizes_and_number_are_bounded_with_a_word(source, mine, monkeypatch):
    monkeypatch.setattr(notebooks, "FILE_BYTES", 2 << 20)
    monkeypatch.setattr(notebooks, "ALL_BYTES", 3 << 20)
    write(source, {"large.tif": "x" * (3 << 20), "a.tif": "x" * (2 << 20), "b.tif": "x" * (2 << 20)})
    assert give(source, mine).left == {
        "b.tif": "with it there were more than 3 MB to copy for everybody",
        "large.tif": "it has 3 MB, and 2 MB at most are copied for everybody",
    }
    monkeypatch.setattr(notebooks, "FILES", 2)
    assert list(originals(source)[0]) == ["01.ipynb", "02.ipynb"]
    assert "there are more than 2 files" in originals(source)[1].values()


def test_a_copy_is_whole_or_absent_and_what_failed_is_tried_again(source, mine, monkeypatch):
    real, full = notebooks._copy, OSError(28, "No space left on device")

    def fails(original, part):
        part.write_text("half")
        if original.file.name == "02.ipynb":
            raise full
        return real(original, part)

    monkeypatch.setattr(notebooks, "_copy", fails)
    given = give(source, mine)
    assert given.left == {"02.ipynb": "No space left on device"} and len(given.new) == 3
    assert "02.ipynb" not in read(mine) and not [name for name in read(mine) if "part" in name]
    monkeypatch.setattr(notebooks, "_copy", real)
    assert give(source, mine).new == ["02.ipynb"]


def test_an_original_that_is_being_written_is_given_when_it_is_finished(source, mine):
    found, _ = originals(source)
    write(source, {"01.ipynb": "one and more"})
    with pytest.raises(OSError, match="changed while it was copied"):
        notebooks._copy(found["01.ipynb"], source / ".part")


@pytest.mark.parametrize("record", ["", "[]", "{", '{"01.ipynb": 3}'])
def test_without_its_record_no_copy_is_written_over(source, mine, record):
    give(source, mine)
    write(mine, {"01.ipynb": "mine", RECORD: record})
    write(source, {"01.ipynb": "one!"})
    given = give(source, mine)
    assert given.beside == {"01.ipynb": "01-new.ipynb"} and (mine / "01.ipynb").read_text() == "mine"
    assert not given.new and not given.renewed
    assert str(give(source, mine)) == ""


def test_only_some_are_given_where_they_are_named(source, mine):
    write(source, {"export.tif": "somebody's"})
    (source / "link").symlink_to("/etc/passwd")
    given = give(source, mine, only=["01.ipynb", "missing.ipynb"])
    assert (given.new, given.left) == (["01.ipynb"], {}) and list(read(mine)) == ["01.ipynb"]
