"""Jobs outlive their process: the store lists them, and they go on where they were."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from typer.testing import CliRunner

import muses_lab as ml
from muses_lab.api.chain import Chain
from muses_lab.api.jobs import job as named
from muses_lab.cli import app
from muses_lab.errors import Cancelled, ComputeError, MusesError, StoreUnavailable
from muses_lab.export import Job, at_exit, files, journal, pieces
from muses_lab.export.formats import geotiff
from muses_lab.operators import Cube
from muses_lab.raster.window import to_json
from muses_lab.store import JobRecord, default_store, new_id
from muses_lab.store.sql import SqlStore
from tests.helpers.examples import always
from tests.helpers.made_scenes import CORNER, ndvi_of, window

pytestmark = pytest.mark.usefixtures("in_threads")

SIZE = 1100
WHOLE = window(SIZE, SIZE)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, isolated_home: Path) -> Chain:
    return ndvi_of(tmp_path_factory.mktemp("scenes"), SIZE)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


WORK = """
import json, os, signal, sys
import muses_lab as ml
from muses_lab.api.chain import Chain
from muses_lab.store import default_store
from muses_lab.raster.window import from_json
told = json.loads(sys.argv[1])
store = default_store()
chain = Chain.from_json(store.document(told["chain"])).with_artefacts_of(store)
if told["path"]:
    job = chain.export(told["path"], from_json(told["window"]), progress=False)
else:
    job = chain.materialize(levels=0, progress=False)
job.observe(lambda job: os.kill(os.getpid(), signal.SIGKILL) if job.done == told["pieces"] else None)
job.wait(60)
"""


def killed(chain: Chain, path: Path | None, pieces: int) -> None:
    """Starts a job in another process, which is killed after so many pieces."""
    told = {"chain": chain.publish(), "path": path and str(path), "pieces": pieces, "window": to_json(WHOLE)}
    done = subprocess.run([sys.executable, "-c", WORK, json.dumps(told)], capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr


def interrupt(chain: Chain, path: Path) -> Job:
    """An export that loses its cluster after four pieces."""
    count = iter(range(100))
    real = files._wait

    def lost(*args: Any) -> Any:
        if next(count) == 4:
            raise ComputeError("the cluster is gone")
        return real(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_wait", lost)
        job = chain.export(path, WHOLE, progress=False)
        with pytest.raises(ComputeError):
            job.wait(60)
    return job


# --------------------------------------------------------------------------------------------------------- exports


@pytest.mark.slow
def test_a_killed_export_goes_on_where_it_was(chain: Chain, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    killed(chain, path, pieces=4)
    assert not path.exists()
    known = ml.jobs()[0]
    assert (known.state, known.path, known.record.kind) == ("interrupted", path, "export")
    assert "interrupted" in repr(known) and "a.tif" in repr(known)
    seen: list[int] = []
    job = known.resume(progress=False)
    job.observe(lambda job: seen.append(job.done))
    assert job.wait(60) == path
    assert min(seen) >= 5 and job.total == 9, "what was there is not computed again"
    assert np.array_equal(read(path)[0], chain.compute(WHOLE).values, equal_nan=True)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]
    after = ml.jobs()[0]
    assert after.id == known.id == job.id and after.state == "done" and after.record.bytes == path.stat().st_size
    with pytest.raises(MusesError, match="is done"):
        after.resume()


def workplace(path: Path) -> Path:
    """The folder in which an export is made."""
    (folder,) = path.parent.glob(f".{path.name}.muses-*[!k]")
    return folder


def damage(file: Path, how: str) -> None:
    """What disks and other programs do to a file."""
    size = file.stat().st_size
    if how == "truncated":
        os.truncate(file, size // 3)
    elif how == "emptied":
        os.truncate(file, 0)
    elif how == "gone":
        file.unlink()
    elif how == "replaced":
        other = file.with_name("other")
        other.write_bytes(np.random.default_rng(1).bytes(size))
        other.replace(file)
    else:
        middle = 300_000 if file.name == pieces.VALUES else size // 3  # in the first piece
        at, length = {
            "a bit": (middle, 1),
            "a hole": (middle, 200_000),
            "its beginning": (0, 4096),
            "an overview": (size // 8, 9),
        }[how]
        with file.open("r+b") as stream:
            stream.seek(at)
            body = np.frombuffer(stream.read(length), np.uint8)
            stream.seek(at)
            stream.write((body ^ 1 if how == "a bit" else np.zeros_like(body)).tobytes())


DAMAGES = ["a bit", "a hole", "its beginning", "truncated", "emptied", "gone", "replaced"]


def check_whole_or_absent(job: Job, path: Path, expected: np.ndarray) -> str:
    """What no damage may break: the file is the chain's values or not there, and the state says which."""
    try:
        job.wait(60)
    except (MusesError, OSError):
        assert not path.exists() and named(job.id).state == job.state == "failed"
    else:
        assert np.array_equal(read(path)[0], expected, equal_nan=True) and named(job.id).state == job.state == "done"
    assert [p for p in path.parent.iterdir() if p != path] == [], "no temporary is left"
    return job.state


@pytest.fixture(scope="module")
def expected(chain: Chain) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUSES_COMPUTE", "threads")
        return chain.compute(WHOLE).values


@pytest.mark.parametrize("how", always(DAMAGES, ["a hole", "truncated", "replaced"]))
@pytest.mark.parametrize("moment", ["under way", "when all are there", "while they are put together"])
def test_pieces_that_are_damaged_meanwhile_are_made_again(
    chain: Chain, expected: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, moment: str
) -> None:
    path = tmp_path / "a.tif"
    left = [1]  # it happens once

    def happen() -> None:
        if left and left.pop():
            damage(workplace(path) / pieces.VALUES, how)

    def copied(*args: Any, **options: Any) -> None:
        happen()
        real(*args, **options)

    if moment == "while they are put together":
        real = geotiff.copy_raster
        monkeypatch.setattr(geotiff, "copy_raster", copied)
    at, step = {"under way": 4, "when all are there": 9}.get(moment), Job.step

    def stepped(job: Job) -> None:
        step(job)
        if job.done == at:
            happen()

    monkeypatch.setattr(Job, "step", stepped)
    job = chain.export(path, WHOLE, progress=False)
    assert check_whole_or_absent(job, path, expected) == "done" and not left
    unharmed = how == "its beginning" or (how in ("gone", "replaced") and moment == "while they are put together")
    assert job.done == job.total and (job.total > 9 or unharmed), "the header is made anew, an open file stays"


@pytest.mark.parametrize("how", always([*DAMAGES, "an overview"], ["a bit", "truncated", "gone", "an overview"]))
def test_a_finished_file_that_is_damaged_before_it_is_in_place_is_made_again(
    chain: Chain, expected: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    path = tmp_path / "a.tif"
    real, left = files.to_disk, [1]

    def written(finished: Path) -> None:
        real(finished)
        if left and left.pop():
            damage(finished, how)

    monkeypatch.setattr(files, "to_disk", written)
    job = chain.export(path, WHOLE, progress=False)
    assert check_whole_or_absent(job, path, expected) == "done" and not left
    assert job.total == 9, "what is sound is not computed again"
    with rasterio.open(path, OVERVIEW_LEVEL=0) as overview:
        assert np.array_equal(overview.read(1), expected[::2, ::2], equal_nan=True)


@pytest.mark.parametrize("how", always(DAMAGES, ["a bit", "truncated", "emptied", "gone"]))
@pytest.mark.parametrize("file", [pieces.VALUES, pieces.DONE])
def test_pieces_that_were_damaged_in_between_are_made_again(
    chain: Chain, expected: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, how: str
) -> None:
    path = tmp_path / "a.tif"
    interrupt(chain, path)
    folder = workplace(path)
    damage(folder / file, how)
    if file == pieces.VALUES:
        with (folder / pieces.DONE).open("a") as done:
            done.write("1024_1024 0")  # half a line
    real, computed = files._wait, []

    def counted(*args: Any) -> Any:
        computed.append(1)
        return real(*args)

    monkeypatch.setattr(files, "_wait", counted)
    job = ml.jobs()[0].resume(progress=False)
    assert check_whole_or_absent(job, path, expected) == "done" and job.total == 9
    sound = {"a bit": 3, "a hole": 3, "truncated": 2, "its beginning": 4} if file == pieces.VALUES else {}
    assert len(computed) == 9 - sound[how] if how in sound else 5 <= len(computed) <= 9


def test_half_a_piece_does_not_count(chain: Chain, expected: np.ndarray, tmp_path: Path) -> None:
    """A process is killed while it writes: what the piece was before, or nothing, lies behind its first bytes."""
    path = tmp_path / "a.tif"

    def killed(handle: int, data: memoryview, at: int) -> None:
        os.pwrite(handle, data[: len(data) // 2], at)
        raise ComputeError("the process is gone")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "_write", killed)
        job = chain.export(path, WHOLE, progress=False)
        with pytest.raises(ComputeError):
            job.wait(60)
    assert check_whole_or_absent(chain.export(path, WHOLE, progress=False), path, expected) == "done"


def test_a_disk_that_never_gives_back_what_was_written_makes_the_job_fail(
    chain: Chain, expected: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    real, tries = geotiff.copy_raster, []

    def copied(*args: Any, **options: Any) -> None:
        tries.append(1)
        damage(workplace(path) / pieces.VALUES, "a hole")
        real(*args, **options)

    monkeypatch.setattr(geotiff, "copy_raster", copied)
    job = chain.export(path, WHOLE, progress=False)
    assert check_whole_or_absent(job, path, expected) == "failed" and len(tries) == files.TRIES
    assert re.search(r"rows \d+ to \d+, columns \d+ to \d+.* as they were computed.*another disk", str(job.error))
    assert "another disk" in named(job.id).record.error


def test_what_gdal_cannot_write_is_said_in_a_sentence(
    chain: Chain, expected: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pieces have their room; the file that is made of them does not."""
    path = tmp_path / "a.tif"
    real = geotiff.copy_raster
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def copied(*args: Any, **options: Any) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))  # of this process: nobody else writes now
        try:
            real(*args, **options)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    monkeypatch.setattr(geotiff, "copy_raster", copied)
    job = chain.export(path, WHOLE, progress=False)
    assert check_whole_or_absent(job, path, expected) == "failed"
    assert "a.tif could not be put together" in str(job.error) and "\n" not in str(job.error)


@pytest.mark.parametrize("how", ["a bit", "a hole", "truncated", "another window"])
def test_a_target_that_is_not_whole_is_not_this_jobs(chain: Chain, tmp_path: Path, how: str) -> None:
    """Its metadata name the chain, its pixels are others: it is left to its user."""
    path = tmp_path / "a.tif"
    job = chain.export(path, WHOLE, progress=False)
    job.wait(60)
    default_store().put_job(replace(default_store().job(job.id), state="running", process=f"{os.uname().nodename} 1 0"))
    if how == "another window":
        chain.export(path, window(SIZE, SIZE, corner=(CORNER[0] + 10, CORNER[1])), overwrite=True, progress=False).wait(
            60
        )
    else:
        damage(path, how)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="move it away"):
        named(job.id).resume(progress=False)
    assert path.read_bytes() == before and named(job.id).state == "interrupted"
    path.unlink()
    named(job.id).resume(progress=False).wait(60)
    assert named(job.id).state == "done"


def test_the_same_call_goes_on_as_well_and_another_one_does_not(chain: Chain, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    interrupt(chain, path)
    seen: list[int] = []
    other = (chain * 2).export(tmp_path / "b.tif", WHOLE, progress=False)
    other.wait(60)
    assert len([p for p in tmp_path.iterdir() if p.is_dir()]) == 1, "an export to another file leaves it"
    job = chain.export(path, WHOLE, progress=False)
    job.observe(lambda job: seen.append(job.done))
    job.wait(60)
    assert min(seen) >= 5
    interrupt(chain * 3, tmp_path / "c.tif")
    again = (chain * 4).export(tmp_path / "c.tif", WHOLE, progress=False)
    again.observe(lambda job: seen.append(-job.done))
    again.wait(60)
    assert -1 in seen and not [p for p in tmp_path.iterdir() if p.is_dir()]


def test_a_lost_cluster_leaves_the_pieces(chain: Chain, tmp_path: Path) -> None:
    job = interrupt(chain, tmp_path / "a.tif")
    known = named(job.id[:12])
    assert known.state == "failed" and known.record.done == 4 and "the cluster is gone" in known.record.error
    seen: list[int] = []
    again = known.resume(progress=False)
    again.observe(lambda job: seen.append(job.done))
    again.wait(60)
    assert min(seen) >= 5
    assert np.array_equal(read(tmp_path / "a.tif")[0], chain.compute(WHOLE).values, equal_nan=True)


def test_a_process_that_died_before_saying_so(chain: Chain, tmp_path: Path) -> None:
    """The file is there, the store says `running`: the job is done again, and replaces its own file only."""
    path = tmp_path / "a.tif"
    job = chain.export(path, window(64, 64), progress=False)
    job.wait(60)
    record = replace(default_store().job(job.id), state="running", process=f"{os.uname().nodename} 1 0")
    default_store().put_job(record)
    assert ml.jobs()[0].state == "interrupted"
    ml.jobs()[0].resume(progress=False).wait(60)
    assert ml.jobs()[0].state == "done"
    path.unlink()
    other = (chain * 2).export(path, window(64, 64), progress=False)
    other.wait(60)
    default_store().put_job(record)
    with pytest.raises(FileExistsError):
        named(job.id).resume(progress=False)


# ----------------------------------------------------------------------------------------------- materialized blocks


@pytest.mark.slow
def test_a_killed_materializing_job_goes_on_where_it_was(chain: Chain) -> None:
    chain = chain * 5
    killed(chain, None, pieces=2)
    known = ml.jobs()[0]
    assert (known.state, known.record.kind) == ("interrupted", "materialize")
    listed = CliRunner().invoke(app, ["jobs", "list"]).output.splitlines()[1]
    assert known.id[:8] in listed and "interrupted" in listed
    job = known.resume(progress=False)
    job.wait(60)
    assert job.total < 9 and ml.jobs()[0].state == "done"
    with pytest.raises(MusesError, match="cannot be shared"):
        ml.jobs()[0].share(user="bob")


def test_areas_come_back(chain: Chain) -> None:
    chain = chain * 6
    bounds = WHOLE.geographic_extent.boundingbox.bbox
    middle = (bounds[0], bounds[1], (bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2)
    job = chain.materialize(middle, levels=[0], progress=False)
    job.wait(60)
    record = replace(default_store().job(job.id), state="cancelled")
    default_store().put_job(record)
    again = ml.jobs()[0].resume(progress=False)
    again.wait(60)
    assert again.total == 0 and default_store().job(job.id).pixels == record.pixels


# ----------------------------------------------------------------------------------------------------------- records


def test_how_a_job_ends_is_noted(chain: Chain, tmp_path: Path) -> None:
    job = chain.focal_median(7).export(tmp_path / "a.tif", window(4000, 4000), progress=False)
    assert named(job.id).state == "running"
    with pytest.raises(MusesError, match="is running"):
        named(job.id).resume()
    job.cancel()
    with pytest.raises(Cancelled):
        job.wait(60)
    assert named(job.id).state == "cancelled"
    job = (chain * 0).otsu(extent=window(64, 64), resolution=10).export(tmp_path / "b.tif", WHOLE, progress=False)
    with pytest.raises(MusesError, match="only the value"):
        job.wait(60)
    assert named(job.id).state == "failed" and "only the value" in named(job.id).record.error
    with pytest.raises(MusesError, match="no job"):
        named("nothing")


def test_a_store_that_is_away_stops_no_job(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job = chain.focal_median(3).export(tmp_path / "a.tif", WHOLE, progress=False)

    def away(*_: Any) -> None:
        raise StoreUnavailable("the database is gone")

    monkeypatch.setattr(SqlStore, "put_job", away)
    assert job.wait(60).exists()
    assert "has not noted" in caplog.text


def test_who_is_gone_is_known() -> None:
    record = JobRecord(new_id(), "export", "a.tif", "/a.tif", "ab" * 32, process=journal.process())
    assert not journal.interrupted(record)
    assert not journal.interrupted(replace(record, state="failed", process="gone 1 2"))
    host = os.uname().nodename
    assert journal.interrupted(replace(record, process=f"{host} {os.getpid()} 1")), "another process of that number"
    now = datetime.now(UTC)
    elsewhere = replace(record, process="another-host 1 2")
    assert not journal.interrupted(replace(elsewhere, changed=now))
    assert journal.interrupted(replace(elsewhere, changed=now - timedelta(minutes=5)))


def test_old_jobs_are_forgotten(postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muses_lab.store.sql.MAX_JOBS", 5)
    for url in (postgres, f"sqlite:///{tmp_path / 'store.sqlite'}"):
        store = SqlStore(url)
        first = JobRecord("job-00000", "export", "a.tif", "/a.tif", "ab" * 32)
        store.put_job(first)
        for n in range(1, 10):
            store.put_job(replace(first, id=f"job-{n:05}", state="done"))
        assert [j.id for j in store.jobs()] == [*(f"job-{n:05}" for n in range(9, 4, -1)), "job-00000"]
        store.close()


# ------------------------------------------------------------------------------------------------ paused, done again


def held(chain: Chain, path: Path, **options: Any) -> tuple[Job, threading.Event]:
    """An export that is paused after its second piece, and what is set then."""
    paused, step = threading.Event(), Job.step

    def hold(job: Job) -> None:
        step(job)
        if job.path == path and job.done == 2 and not paused.is_set():
            job.pause()
            paused.set()

    with pytest.MonkeyPatch.context() as patch:  # a listener might come too late
        patch.setattr(Job, "step", hold)
        job = chain.export(path, WHOLE, progress=False, **options)
        assert paused.wait(60)
    return job, paused


def test_a_paused_job_waits_and_goes_on_to_the_same_bytes(chain: Chain, tmp_path: Path) -> None:
    job, _ = held(chain, tmp_path / "a.tif")
    assert job.state == "paused" and "paused" in repr(job) and ml.jobs()[0].state == "paused"
    assert not job.ended.wait(0.6) and job.done == 2
    assert not (tmp_path / "a.tif").exists()
    assert ml.jobs()[0].resume() is job
    first = job.wait(60).read_bytes()
    with pytest.raises(MusesError, match=r"a.tif is done; there is nothing to pause"):
        job.pause()
    (tmp_path / "other").mkdir()
    assert chain.export(tmp_path / "other" / "a.tif", WHOLE, progress=False).wait(60).read_bytes() == first


def test_a_paused_job_can_be_cancelled(chain: Chain, tmp_path: Path) -> None:
    job, _ = held(chain, tmp_path / "a.tif")
    ml.jobs()[0].cancel()
    with pytest.raises(Cancelled):
        job.wait(60)
    assert list(tmp_path.iterdir()) == []


def test_another_process_pauses_a_job(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so in the store, of which the job's process hears."""
    monkeypatch.setattr(journal, "PROGRESS_SECONDS", 0.05)
    monkeypatch.setattr(at_exit, "known", lambda id: None)
    job, _ = held(chain, tmp_path / "a.tif")
    job.resume()
    known = named(job.id)
    states = [known.state]
    if not job.ended.is_set():
        known.pause()
        while job.state == "running":
            time.sleep(0.02)
        if job.state == "paused":
            while (state := named(job.id).state) != "paused":
                states.append(state)
            assert set(states) <= {"running", "paused", "pausing"}
            going = named(job.id).resume()
            assert going.wait(60) == tmp_path / "a.tif"
    assert job.wait(60) and named(job.id).state == "done"


def test_the_store_keeps_a_wish_until_it_is_heard() -> None:
    store, record = default_store(), JobRecord(new_id(), "export", "a.tif", "/a.tif", "0" * 64, process="here 1 2")
    store.put_job(record)
    for wish, heard, state in (("pausing", "paused", "running"), ("resuming", "running", "paused")):
        store.put_job(replace(record, state=state))
        store.put_job(replace(record, state=wish))
        store.put_job(replace(record, state=state, done=1))
        assert (store.job(record.id).state, store.job(record.id).done) == (wish, 1)
        store.put_job(replace(record, state=heard))
        assert store.job(record.id).state == heard
    store.put_job(replace(record, state="done"))
    store.put_job(replace(record, state="pausing"))
    assert store.job(record.id).state == "done"


def test_a_failed_one_is_tried_again(chain: Chain, tmp_path: Path) -> None:
    job = interrupt(chain, tmp_path / "a.tif")
    assert job.state == "failed"
    again = job.retry(progress=False)
    assert again.id == job.id and again.wait(60).exists() and again.total - 9 == 0
    with pytest.raises(MusesError, match="is done; one that failed"):
        again.retry()


def test_the_commands_try_again_and_say_what_there_is_to_pause(chain: Chain, tmp_path: Path) -> None:
    job, run = interrupt(chain, tmp_path / "a.tif"), CliRunner()
    again = run.invoke(app, ["jobs", "retry", job.id[:8]])
    assert again.exit_code == 0 and again.output.strip() == f"{tmp_path / 'a.tif'} is written", again.output
    paused = run.invoke(app, ["jobs", "pause", job.id[:8]])
    assert paused.exit_code == 1 and "a.tif is done; there is nothing to pause" in paused.output
    twice = run.invoke(app, ["jobs", "retry", job.id[:8]])
    assert twice.exit_code == 1 and "is done; one that failed or was cancelled is tried again" in twice.output


def test_a_job_is_done_again_and_its_result_opened(chain: Chain, tmp_path: Path) -> None:
    job = chain.style("RdYlGn", vmin=0, vmax=1).export(tmp_path / "a.tif", WHOLE, title="A title", progress=False)
    first = job.wait(60).read_bytes()
    with pytest.raises(FileExistsError):
        job.run_again()
    again = ml.jobs()[0].run_again(tmp_path / "b.tif", progress=False)
    assert again.id != job.id and again.wait(60).read_bytes() == first
    layer = again.layer()
    assert layer.look.cmap == "RdYlGn"
    expected = chain.compute(WHOLE).values
    assert np.array_equal(again.open().compute(WHOLE).values.squeeze(), expected, equal_nan=True)


@pytest.mark.parametrize("pixel", [10.0, 7.3])
def test_a_job_is_written_as_python(chain: Chain, tmp_path: Path, pixel: float) -> None:
    box = window(40, 50, pixel)
    styled = chain.style(["#000000", "#ffffff"], vmin=-1, classes=None, label="It's 'NDVI'")
    name = 'it\'s a "name" with ünicode.tif'
    job = styled.export(tmp_path / name, box, overwrite=True, title='A "title"', progress=False)
    first = job.wait(60).read_bytes()
    code = job.to_python()
    assert code == ml.jobs()[0].to_python() and code.startswith("import") and "chain.style(cmap=" in code
    (tmp_path / name).unlink()
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["window"] == box and names["job"].wait(60).read_bytes() == first


def test_the_list_is_a_table(chain: Chain, tmp_path: Path) -> None:
    chain.export(tmp_path / "<b>.tif", window(40, 40), progress=False).wait(60)
    found = ml.jobs()
    assert list(found.table().columns) == ["job", "file", "state", "done", "left", "started", "size", "note"]
    assert "<b>.tif" in repr(found) and "100%" in repr(found).splitlines()[1]
    assert "&lt;b&gt;.tif" in found._repr_html_() and "<b>" not in found._repr_html_()
    assert "no jobs yet" in repr(type(found)([]))


def test_a_private_chain_cannot_be_started_from_the_list(chain: Chain, tmp_path: Path, own: None) -> None:
    @ml.operator
    def twice(data: Cube) -> Cube:
        return data * 2

    chain.twice().export(tmp_path / "a.tif", window(40, 40), progress=False).wait(60)
    with pytest.raises(MusesError, match="operators of a notebook is private"):
        ml.jobs()[0].run_again(overwrite=True)
