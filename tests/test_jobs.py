"""Jobs outlive their process: the store lists them, and they go on where they were."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).with_name("engine_helpers")))

from made import Made, chain_of, window, write_tif  # noqa: E402

import muses_lab as ml  # noqa: E402
from muses_lab.chain import Chain  # noqa: E402
from muses_lab.cli import app  # noqa: E402
from muses_lab.errors import Cancelled, ComputeError, MusesError, StoreUnavailable  # noqa: E402
from muses_lab.export import Job, geotiff, journal, pieces  # noqa: E402
from muses_lab.resuming import job as named  # noqa: E402
from muses_lab.scenes import Band  # noqa: E402
from muses_lab.store import JobRecord, default_store, new_id  # noqa: E402
from muses_lab.store.sql import SqlStore  # noqa: E402
from muses_lab.window import to_json  # noqa: E402

SIZE = 1100
WHOLE = window(SIZE, SIZE)
BANDS = [Band("B04", "red", nodata=0.0, scale=1e-4), Band("B08", "nir", nodata=0.0, scale=1e-4)]


@pytest.fixture(autouse=True)
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSES_COMPUTE", "threads")


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, isolated_home: Path) -> Chain:
    made = Made(tmp_path_factory.mktemp("scenes"))
    rng = np.random.default_rng(7)
    assets = {
        band: made.asset(write_tif(made.folder / f"{band}.tif", rng.integers(1, 9000, (SIZE, SIZE), dtype=np.uint16)))
        for band in ("B04", "B08")
    }
    return chain_of(made.scenes(BANDS, [made.scene("scene", "2018-06-10", assets, grid="MADE-1")])).ndvi().max("t")


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


WORK = """
import json, os, signal, sys
import muses_lab as ml
from muses_lab.chain import Chain
from muses_lab.store import default_store
from muses_lab.window import from_json
told = json.loads(sys.argv[1])
store = default_store()
chain = Chain.from_json(store.document(told["chain"])).with_scenes_of(store)
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
    real = geotiff._wait

    def lost(*args: Any) -> Any:
        if next(count) == 4:
            raise ComputeError("the cluster is gone")
        return real(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(geotiff, "_wait", lost)
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


def test_pieces_that_are_damaged_are_made_again(chain: Chain, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    interrupt(chain, path)
    (folder,) = [p for p in tmp_path.iterdir() if p.is_dir()]
    values = np.memmap(folder / pieces.VALUES, pieces.FLOAT, "r+", shape=(SIZE, SIZE))
    values[:512, :512] = 7
    values.flush()
    with (folder / pieces.DONE).open("a") as file:
        file.write("1024_1024 0")  # half a line
    done = CliRunner().invoke(app, ["jobs", "resume", ml.jobs()[0].id[:8]])
    assert done.exit_code == 0 and "a.tif is written" in done.output, done.output
    assert np.array_equal(read(path)[0], chain.compute(WHOLE).values, equal_nan=True)


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


# --------------------------------------------------------------------------------------------------------- pyramids


@pytest.mark.slow
def test_a_killed_pyramid_goes_on_where_it_was(chain: Chain) -> None:
    chain = chain * 5
    killed(chain, None, pieces=2)
    known = ml.jobs()[0]
    assert (known.state, known.record.kind) == ("interrupted", "pyramid")
    listed = CliRunner().invoke(app, ["jobs", "list"]).output.splitlines()[0]
    assert listed.startswith(known.id[:8]) and "interrupted" in listed
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
