"""What the engine's tests are made of: files and pinned scenes made here, and a chain evaluated block by block."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling

from muses_lab import settings
from muses_lab.api.chain import Chain
from muses_lab.compute.windows import Pixels, assemble
from muses_lab.document import artefacts
from muses_lab.engine import Engine, NodeKey, Published
from muses_lab.engine.mosaic import layout
from muses_lab.operators import registry
from muses_lab.raster.asset import Asset, Band
from muses_lab.scenes import source
from muses_lab.scenes.lists import as_artefact
from muses_lab.scenes.scene import Scene, Scenes

UTM31 = "EPSG:32631"
CORNER = (364_000.0, 4_833_900.0)
"""Upper left corner of what is made here: near Toulouse."""


def never() -> bool:
    return False


def write_tif(
    path: Path,
    values: np.ndarray,
    pixel: float = 10.0,
    corner: tuple[float, float] = CORNER,
    overviews: Iterable[int] = (),
    resampling: str = "average",
    crs: str = UTM31,
    **profile: Any,
) -> Path:
    """Writes (bands, y, x) or (y, x) values as a GeoTIFF; blocks of 128 unless the profile says otherwise."""
    values = values if values.ndim == 3 else values[None]
    if "blockysize" not in profile and profile.get("tiled", True):
        profile = {"tiled": True, "blockxsize": 128, "blockysize": 128, **profile}
    options = {
        "driver": "GTiff", "count": len(values), "height": values.shape[1], "width": values.shape[2], "crs": crs,
        "dtype": values.dtype, "transform": Affine(pixel, 0, corner[0], 0, -pixel, corner[1]), "compress": "deflate",
        **profile,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", **options) as file:
        file.write(values)
    factors = list(overviews)
    if factors:
        with rasterio.Env(GDAL_TIFF_OVR_BLOCKSIZE="128"), rasterio.open(path, "r+") as file:
            file.build_overviews(factors, Resampling[resampling])
    return path


@dataclass
class Made:
    """A registered catalogue folder in which tests put files; its scenes are pinned by hand."""

    folder: Path
    id: str = field(default_factory=lambda: f"made-{uuid.uuid4().hex[:8]}")

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        settings.register_catalog(self.id, str(self.folder))

    def asset(self, path: Path, band: int = 1, **values: Any) -> Asset:
        with rasterio.open(path) as file:
            transform, shape = tuple(file.transform)[:6], file.shape
        size = values.pop("size", path.stat().st_size)
        href = path.relative_to(self.folder).as_posix()
        return Asset(href, transform, shape, band=band, size=size, **values)

    def scene(self, id: str, day: str, assets: dict[str, Asset], crs: str = UTM31, **values: Any) -> Scene:
        time = day if "T" in day else f"{day}T10:50:00Z"
        return Scene(id, time, crs, assets, platform=values.pop("platform", "made-1"), **values)

    def scenes(self, bands: Iterable[Band], scenes: Iterable[Scene]) -> Scenes:
        return Scenes("made", self.id, tuple(bands), tuple(scenes))

    def chain(self, bands: Iterable[Band], scenes: Iterable[Scene]) -> Chain:
        return chain_of(self.scenes(bands, scenes))


def chain_of(scenes: Scenes, **arguments: Any) -> Chain:
    """The chain that reads a list; `arguments` of `muses:load_items`."""
    loaded = registry.node("muses:load_items", digest=scenes.digest, **arguments)
    return Chain(loaded, {scenes.digest: as_artefact(scenes)})


def forget_lists() -> None:
    """As in a new process: no list of scenes is known."""
    source._sources.clear()
    artefacts._all.clear()


def ndvi_of(folder: Path, size: int) -> Chain:
    """The NDVI of one scene of `size` × `size` pixels of 10 m."""
    made, rng = Made(folder), np.random.default_rng(7)
    bands = [Band(name, common, nodata=0.0, scale=1e-4) for name, common in (("B04", "red"), ("B08", "nir"))]
    assets = {
        band.name: made.asset(
            write_tif(folder / f"{band.name}.tif", rng.integers(1, 9000, (size, size), dtype=np.uint16))
        )
        for band in bands
    }
    return chain_of(made.scenes(bands, [made.scene("scene", "2018-06-10", assets, grid="MADE-1")])).ndvi().max("t")


def two_apart(made: Made) -> tuple[Chain, Path]:
    """Scenes "near", low values at `CORNER`, and "far", high ones 20 km east of it, and the file of the latter."""
    rng = np.random.default_rng(7)
    scenes = []
    for id, values, east in (("near", (1000, 5000), 0), ("far", (20000, 30000), 20_000)):
        stored = rng.integers(*values, (128, 128), dtype=np.uint16)
        path = write_tif(made.folder / f"{id}.tif", stored, corner=(CORNER[0] + east, CORNER[1]))
        scenes.append(made.scene(id, "2018-06-10", {"B": made.asset(path)}, grid="MADE-1"))
    return made.chain([Band("B", nodata=0.0)], scenes), path


def three(made: Made, sizes: bool) -> tuple[list[Path], Scenes]:
    """Three dates of one band, and their files, whose sizes the items say or not."""
    rng = np.random.default_rng(7)
    paths = [
        write_tif(made.folder / f"{n}.tif", rng.integers(1, 9000, (300, 300), dtype=np.uint16)) for n in ("a", "b", "c")
    ]
    assets = [made.asset(p) if sizes else made.asset(p, size=None) for p in paths]
    scenes = [
        made.scene(p.stem, f"2018-06-{10 + n}", {"B": a}, grid="MADE-1")
        for n, (p, a) in enumerate(zip(paths, assets, strict=True))
    ]
    return paths, made.scenes([Band("B", nodata=0.0)], scenes)


def window(rows: int, cols: int, pixel: float = 10.0, corner: tuple[float, float] = CORNER, crs: str = UTM31) -> GeoBox:
    """A window whose first pixel begins at `corner`."""
    return GeoBox((rows, cols), Affine(pixel, 0, corner[0], 0, -pixel, corner[1]), crs)


def pixels(engine: Engine, chain: Chain, box: GeoBox, cancelled: Callable[[], bool] = never) -> Pixels:
    """A chain on a window by an engine of the test's own: its blocks evaluated one after the other."""
    published = with_wholes(engine, chain.published, cancelled)
    engine.keep(published.hash, published)
    plan = layout(published.prepared, box)
    return assemble(plan, {key: engine.run(published.hash, key, cancelled) for key in plan.tasks})


def with_wholes(engine: Engine, published: Published, cancelled: Callable[[], bool] = never) -> Published:
    """A chain with the results of its `region` and `fit` nodes."""
    for step in published.prepared.whole_nodes():
        engine.keep(published.hash, published)
        result = engine.run(published.hash, NodeKey(step.node.hash), cancelled)
        assert result.body is not None
        published = published.with_results({step.node.hash: result.body}, {step.node.hash: result.report.failed})
    return published


def values(chain: Chain, box: GeoBox, engine: Engine | None = None) -> np.ndarray:
    return pixels(engine or Engine(64 << 20), chain, box).values
