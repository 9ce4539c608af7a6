"""Makes the sample catalogue: a year of Sentinel-2-like scenes near Toulouse, complete or not at all."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rustac
from filelock import FileLock
from rasterio.errors import RasterioIOError

from muses_lab import settings
from muses_lab.errors import MusesError
from muses_lab.progress import Progress
from muses_lab.raster.checksum import multihash
from muses_lab.sample import stac
from muses_lab.sample.cog import write_cog
from muses_lab.sample.ground import Ground, draw
from muses_lab.sample.noise import Fields, white
from muses_lab.sample.place import Tile, tiles, whole_size
from muses_lab.sample.scene import RESOLUTIONS, render
from muses_lab.sample.sky import YEAR, Overpass, Swath, Weather, overpasses, swath, weather
from muses_lab.sample.truth import write_classes, write_truth

VERSION = 1
"""Goes up when the same parameters give other pixels."""
SEED = 2018
DEFAULT = {"size": 2112, "dates": 24}
"""Half a minute of two cores, 470 MB."""
FULL = {"size": 4128, "dates": 36}
"""Five minutes, 2.4 GB."""
BYTES = 2.75
"""What a 10 m pixel of one scene takes on disk at most, with all bands and overviews."""


def default_folder() -> Path:
    """Where the sample catalogue is kept unless another folder is named."""
    return settings.home() / "sample"


def catalog_id(size: int = DEFAULT["size"], dates: int = DEFAULT["dates"], seed: int = SEED) -> str:
    """The id of the catalogue that these parameters give."""
    return f"{_IDS}{whole_size(size)}-{dates}-{seed}"


_IDS = f"muses-sample-v{VERSION}-"


def generate(
    folder: str | os.PathLike[str] | None = None,
    *,
    size: int | None = None,
    dates: int | None = None,
    seed: int = SEED,
    reuse: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
) -> Path:
    """Makes the sample catalogue in `folder` and registers it; returns at once when it is there already.

    Asked for without `size` and `dates`, any sample that is there will do, a larger one too.

    Examples
    --------
    >>> folder = generate("sample", size=512, dates=6)     # doctest: +SKIP
    >>> ml.open_catalog(folder)                                 # doctest: +SKIP

    Parameters
    ----------
    folder
        Where the catalogue goes; `default_folder()` when None. It appears complete or not at all. A sample made with
        other parameters is replaced; a folder with anything else in it is refused.
    size
        Width of each tile in 10 m pixels, rounded up to a multiple of 96 so that all resolutions and overviews fit
        (4096 gives 4128); 2112 unless given. Small samples have the same river, town and woods at a smaller scale.
    dates
        Number of overpasses in the year, 1 to 70; 24 unless given. Each gives one or two items.
    seed
        Another seed gives another ground and other weather. Equal parameters give equal bytes.
    reuse
        Folder that may hold a sample of this release already, of any size: then its files are taken (linked, or copied
        where that is another disk) and none are made.
    progress
        Whether to tell how far it is, by a bar in a terminal, else by lines; None: only by a bar in a terminal.
    """
    any_will_do = size is None and dates is None
    size = DEFAULT["size"] if size is None else size
    dates = DEFAULT["dates"] if dates is None else dates
    _check(size, dates)
    target = Path(folder) if folder is not None else default_folder()
    target = target.expanduser().resolve()
    wanted = catalog_id(size, dates, seed)
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(str(target) + ".lock"):
        found = found_sample(target)
        made = found_sample(Path(reuse)) if reuse is not None else None
        if made and made.startswith(_IDS):
            wanted = made
        elif any_will_do and found and found.startswith(_IDS):
            wanted = found
        if found != wanted:
            with replaced(target) as part:
                if reuse is not None and wanted == made:
                    shutil.copytree(reuse, part, copy_function=_link)
                else:
                    _make(part, wanted, whole_size(size), dates, seed, progress)
    settings.register_catalog(wanted, str(target))
    return target


def of_size(size: int, dates: int, folder: Path | None = None) -> Path:
    """The sample of exactly this size, made in a folder of its own where it is not there; it is not registered.

    >>> ml.open_catalog(of_size(1056, 24))                          # doctest: +SKIP

    Its scenes, and so all values that are computed of them, are the same on every machine. `folder` is one in your own
    data folder when None.
    """
    _check(size, dates)
    wanted = catalog_id(size, dates)
    if folder is None and found_sample(default_folder()) == wanted:
        return default_folder()
    target = folder or settings.home() / f"sample-{size}-{dates}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(str(target) + ".lock"):
        if found_sample(target) != wanted:
            with replaced(target) as part:
                _make(part, wanted, whole_size(size), dates, SEED, None)
    return target


def _check(size: int, dates: int) -> None:
    if not 96 <= size <= 10_980:
        raise MusesError(f"size={size} is not possible: a tile has 96 to 10980 pixels of 10 m")
    if not 1 <= dates <= 70:
        raise MusesError(f"dates={dates} is not possible: the year has 1 to 70 overpasses to choose from")


@contextmanager
def replaced(target: Path) -> Iterator[Path]:
    """A folder to fill; it takes the place of `target` when it is whole, and is gone where it does not become so."""
    for left_over in target.parent.glob(f".{target.name}.part-*"):
        shutil.rmtree(left_over)
    part = target.parent / f".{target.name}.part-new"
    old = target.parent / f".{target.name}.part-old"
    try:
        with _disk(target.parent):
            yield part
        if target.exists():
            target.replace(old)
        part.replace(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _link(source: str, target: str) -> None:
    """A file of a finished sample never changes: on one disk it need not be there twice."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """A disk that became full is called so, whatever the writers say."""
    try:
        yield
    except (OSError, RasterioIOError) as error:
        free = shutil.disk_usage(folder).free
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or free < 1 << 24
        if not full:
            raise
        raise MusesError(
            f"the disk of {folder} is full ({free / 1e6:.0f} MB are free): nothing was kept of the sample"
        ) from error


def _check_space(folder: Path, scenes: int, size: int) -> None:
    needed, free = BYTES * scenes * size**2 + 1e6, shutil.disk_usage(folder).free
    if free < needed:
        raise MusesError(
            f"the sample needs about {needed / 1e6:.0f} MB, but {folder} has {free / 1e6:.0f} MB free; free some, "
            "name a folder on another disk (muses-lab sample FOLDER), or ask for less (--size, --dates)"
        )


def found_sample(target: Path) -> str | None:
    """The id of the sample in a folder; None where there is nothing, an error where there is something else."""
    try:
        found = json.loads((target / "catalog.json").read_text("utf-8"))["id"]
        if found.startswith("muses-sample-"):
            return found
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError):
        pass
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return None
    raise MusesError(f"{target} holds something else than a sample catalogue; name another folder or empty it first")


def _make(folder: Path, wanted: str, size: int, dates: int, seed: int, progress: bool | None) -> None:
    threads = os.cpu_count() or 1
    passes = overpasses(dates)
    east, west = tiles(size)
    middle = (east.outline.centroid.x, east.outline.centroid.y)
    swaths = [swath(o, middle, size * 10) for o in passes]
    work = [
        (tile, index)
        for index in range(len(passes))
        for tile in (east, west)
        if swaths[index].area(tile.outline).area > 0.02 * tile.outline.area
    ]
    _check_space(folder.parent, len(work), size)
    # all heavy work is compiled or GDAL's and runs without the interpreter's lock: threads use all cores and share the
    # layers of the ground
    with (
        ThreadPoolExecutor(threads) as pool,
        Progress(len(work) + 3, "Sample", "step", shown=sys.stderr.isatty() if progress is None else progress) as bar,
    ):
        fields = Fields.make(size, seed, pool)
        grain = white(1024, seed)
        bar.update()
        grounds: dict[str, Ground] = {}
        for tile in (east, west):
            grounds[tile.name] = draw(tile, fields, seed, pool)
            bar.update()
        places = np.concatenate([np.stack([a.ravel() for a in tile.ground], -1) for tile in (east, west)])
        skies = weather(passes, places, min(1.0, size * 10 / 41_000), fields, seed)
        truth = [pool.submit(write_truth, folder / "truth", tile, grounds[tile.name]) for tile in (east, west)]
        scenes = [
            pool.submit(write_scene, folder, t, grounds[t.name], fields, grain, passes[i], swaths[i], skies[i])
            for t, i in work
        ]
        try:
            for scene in as_completed(scenes):
                scene.result()
                bar.update()
            for layers in truth:
                layers.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    write_classes(folder / "truth")
    what = "A made-up year of Sentinel-2-like scenes near Toulouse, with the truth it was made from."
    write_catalog(folder, [s.result() for s in scenes], stac.catalog(wanted, what), str(YEAR))


def write_catalog(folder: Path, items: list[dict[str, Any]], catalog: dict[str, Any], period: str) -> None:
    """Writes what makes a folder of scenes a catalogue of one collection."""
    items = sorted(items, key=lambda i: (i["properties"]["datetime"], i["id"]))
    home = folder / stac.COLLECTION
    rustac.write_sync(str(home / "items.parquet"), items)
    (home / "collection.json").write_text(json.dumps(stac.collection(items, period), indent=1), "utf-8")
    (folder / "catalog.json").write_text(json.dumps(catalog, indent=1), "utf-8")


def write_scene(
    folder: Path,
    tile: Tile,
    ground: Ground,
    fields: Fields,
    grain: np.ndarray,
    overpass: Overpass,
    swath_: Swath,
    sky: Weather,
) -> dict[str, Any]:
    """Makes one scene's files and returns its item."""
    pixels = render(tile, ground, fields, grain, overpass, swath_, sky)
    files = {}
    for name, resolution in RESOLUTIONS.items():
        path = folder / stac.href(tile, overpass, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        size = write_cog(path, pixels.bands[name], tile.crs, tile.transform(resolution), 0, stac.OVERVIEWS[name])
        files[name] = {"file:size": size, "file:checksum": multihash(path)}
    return stac.item(tile, overpass, swath_.area(tile.outline), pixels.counts, files)
