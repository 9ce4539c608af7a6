"""What holds for exports of every format: the values of a preview, for chains of each support; names; faults."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import xarray as xr
from PIL import Image
from rasterio import features

import muses_lab as ml
from muses_lab.api.chain import Chain
from muses_lab.errors import ComputeError, MusesError, NotFound, WindowError
from muses_lab.export import files, pieces
from muses_lab.export.formats import writers
from muses_lab.raster.asset import Band
from muses_lab.style import Style
from tests.helpers.made_scenes import Made, window, write_tif

pytestmark = pytest.mark.usefixtures("in_threads")

SIZE = 600
WHOLE = window(SIZE, SIZE)
TILE = 13, 4126, 2990
SUFFIXES = [writer.suffixes[0] for writer in writers()]


@pytest.fixture(scope="module")
def bands(made_once: Made) -> Chain:
    rng = np.random.default_rng(5)
    known = [Band("B04", "red", nodata=0.0, scale=1e-4), Band("B08", "nir", nodata=0.0, scale=1e-4)]
    found = []
    for n in range(2):
        assets = {}
        for band in known:
            coarse = rng.integers(1, 9000, (SIZE // 20, SIZE // 20), dtype=np.uint16)
            values = np.kron(coarse, np.ones((20, 20), np.uint16))
            values[:40, :40] = 0
            assets[band.name] = made_once.asset(
                write_tif(made_once.folder / f"alike-{n}-{band.name}.tif", values, overviews=[2, 4, 8])
            )
        found.append(made_once.scene(f"scene-{n}", f"2018-06-{10 + n}", assets, grid="MADE-1"))
    return made_once.chain(known, found)


CHAINS: dict[str, Any] = {
    "pixel": lambda ndvi: ndvi > 0.1,
    "focal": lambda ndvi: ndvi.focal_median(radius=2) > 0.1,
    "region": lambda ndvi: (ndvi > 0.1).connected_components(min_area=1000, extent=WHOLE, resolution=10),
    "fit": lambda ndvi: ndvi.otsu(extent=WHOLE, resolution=10),
}


@pytest.mark.parametrize("kind", CHAINS)
def test_a_preview_equals_its_export_in_every_format(bands: Chain, tmp_path: Path, kind: str) -> None:
    chain = CHAINS[kind](bands.ndvi().median("t"))
    box = ml.Window.tile(*TILE)
    layer = chain.style(cmap="viridis", vmin=0, vmax=2)
    seen = chain.compute(box).values.astype(np.float32)
    assert chain.plan(box, shown=box).difference == "identical to what you see"
    assert np.isfinite(seen).any() and len(np.unique(seen[np.isfinite(seen)])) > 1
    paths = {
        suffix: layer.export(tmp_path / f"a{suffix}", box, progress=False, **options).wait(60)
        for suffix, options in (
            (".tif", {}), (".nc", {}), (".zarr", {}), (".gpkg", {}), (".png", {"decoration": False}),
        )
    }  # fmt: skip
    with rasterio.open(paths[".tif"]) as file:
        assert np.array_equal(file.read(1), seen, equal_nan=True)
    for opened in (xr.open_dataset(paths[".nc"], engine="h5netcdf"), xr.open_zarr(paths[".zarr"])):
        with opened as found:
            assert np.array_equal(found["a"].values, seen, equal_nan=True)
    table = geopandas.read_file(paths[".gpkg"])
    burnt = features.rasterize(
        zip(table.geometry, table.value, strict=True),
        out=np.full(box.shape, np.nan, np.float32),
        transform=box.affine,
    )
    assert np.array_equal(burnt, seen, equal_nan=True)
    (tmp_path / "tile.png").write_bytes(layer.tile(*TILE))
    with Image.open(paths[".png"]) as one, Image.open(tmp_path / "tile.png") as other:
        assert np.array_equal(np.asarray(one.convert("RGBA")), np.asarray(other.convert("RGBA")))


def exported(bands: Chain, path: Path, box: Any = WHOLE, **options: Any) -> Any:
    """An export of what a format takes: classes, dates, or both, with a style."""
    green = bands.ndvi() > 0.1
    over = path.suffix in (".gif", ".mp4", ".webm")
    chain = green if over else green.max("t")
    style = Style(classes={0: ("bare", "tan"), 1: ("green", "green")})
    return chain.export(path, box, style=style, progress=False, **options)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ["with spaces", 'it\'s "quoted" (50%) #1 & [x]', "été-数据"])
def test_names_are_those_that_were_given(bands: Chain, tmp_path: Path, suffix: str, name: str) -> None:
    path = exported(bands, tmp_path / f"{name}{suffix}", window(64, 64)).wait(60)
    assert path == tmp_path / f"{name}{suffix}" and path.exists()
    found = next(writer for writer in writers() if suffix in writer.suffixes)
    assert found.texts(path)["MUSES_CHAIN"] and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_cannot_be_is_said_before_anything_is_made(bands: Chain, tmp_path: Path, suffix: str) -> None:
    with pytest.raises(ValueError, match="300.*255|30. bytes; it may have 255"):
        exported(bands, tmp_path / ("x" * 300 + suffix))
    with pytest.raises(FileNotFoundError, match="the folder .*nowhere does not exist"):
        exported(bands, tmp_path / "nowhere" / f"a{suffix}")
    with pytest.raises(NotFound, match="no scene of the chain touches the window"):
        exported(bands, tmp_path / f"a{suffix}", window(64, 64, corner=(600_000.0, 4_800_000.0)))
    up = exported(bands, tmp_path / ".." / tmp_path.name / f"up{suffix}", window(64, 64)).wait(60)
    assert up.resolve() == (tmp_path / f"up{suffix}").resolve()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        exported(bands, tmp_path / f"up{suffix}")


def test_a_window_that_nobody_means_is_refused(bands: Chain, tmp_path: Path) -> None:
    with pytest.raises(WindowError, match="pixels"):
        exported(bands, tmp_path / "a.tif", window(1_000_000, 1_000_000))
    with pytest.raises(MusesError, match="MUSES_EXPORT_SECONDS|would take|No space|allowed|large|pixels") as told:
        exported(bands, tmp_path / "b.gif", window(100_000, 100_000)).wait(60)
    assert "choose" in str(told.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_nothing(bands: Chain, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = next(one for one in writers() if suffix in one.suffixes)
    real = type(writer).write

    def full(self: Any, pieces: Any, facts: Any, tags: Any, path: Path, job: Any) -> None:
        real(self, pieces, facts, tags, path, job)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(writer), "write", full)
    with pytest.raises(MusesError, match=r"could not be put together .*No space left.*see whether its disk is full"):
        exported(bands, tmp_path / f"a{suffix}", window(64, 64)).wait(60)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_interrupted_export_goes_on_to_the_same_bytes(
    bands: Chain, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    exported(bands, whole / f"a{suffix}").wait(60)
    real, waited, most = files._wait, [], [2]

    def lost(*args: Any) -> Any:
        if len(waited) == most[0]:
            raise ComputeError("the cluster is gone")
        waited.append(args)
        return real(*args)

    monkeypatch.setattr(files, "_wait", lost)
    with pytest.raises(ComputeError, match="the cluster is gone"):
        exported(bands, cut / f"a{suffix}").wait(60)
    assert not (cut / f"a{suffix}").exists(), "whole or not at all"
    most[0] = 99
    ml.jobs()[0].resume(progress=False).wait(60)
    assert len(waited) == len(pieces.cut(WHOLE, pieces.SIZE)) > 2, "what was there is not computed again"
    assert bytes_below(cut) == bytes_below(whole)


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# ----------------------------------------------------------------------------------------- rules of the CF conventions


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
@pytest.mark.parametrize("crs", ["EPSG:32631", "EPSG:4326"])
def test_arrays_keep_the_rules_of_cf(bands: Chain, tmp_path: Path, suffix: str, crs: str) -> None:
    """By hand, as checkers of the conventions ask: each rule names the section of CF 1.11."""
    resolution = 20 if crs == "EPSG:32631" else 0.0002
    path = bands.export(tmp_path / f"a{suffix}", (1.33, 43.62, 1.34, 43.63), crs=crs, resolution=resolution,
                        progress=False).wait(60)  # fmt: skip
    engine: dict[str, Any] = {"engine": "h5netcdf" if suffix == ".nc" else "zarr"}
    with xr.open_dataset(path, decode_cf=False, **engine) as raw:
        assert raw.attrs["Conventions"].split(",")[0] == "CF-1.11"  # 2.6.1
        assert all(raw.attrs[name] for name in ("title", "history", "source"))  # 2.6.2
        names = [str(name) for name in raw.variables]
        assert all(name[0].isalpha() and name.replace("_", "").isalnum() for name in names)  # 2.3
        mapping = raw["spatial_ref"].attrs  # 5.6
        assert mapping["grid_mapping_name"] in ("transverse_mercator", "latitude_longitude") and mapping["crs_wkt"]
        for name in map(str, raw.dims):
            coordinate = raw[name]
            assert coordinate.dims == (name,) and "_FillValue" not in coordinate.attrs  # 2.5.1
            steps = np.diff(coordinate.values.astype(float))
            assert (steps > 0).all() or (steps < 0).all()  # 5
            assert coordinate.attrs["units"] and coordinate.attrs["standard_name"]  # 3.1, 3.3
            if name == "t":
                assert " since " in coordinate.attrs["units"] and coordinate.attrs["calendar"]  # 4.4
                assert coordinate.attrs["units_metadata"] == "leap_seconds: none"  # 4.4.3
        for band in ("B04", "B08"):
            variable = raw[band]
            assert variable.dims[0] == "t" and variable.attrs["grid_mapping"] == "spatial_ref"  # 2.4, 5.6
            assert variable.attrs["long_name"] and variable.dtype == np.float32  # 3.2
    with xr.open_dataset(path, decode_coords="all", **engine) as found:
        assert found.rio.crs is not None and found.rio.crs.to_string() == crs and "spatial_ref" in found.coords
