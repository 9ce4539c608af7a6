"""Pictures and animations of layers: their pixels are those of tiles, whatever stands around them."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from PIL import Image

import muses_lab as ml
from muses_lab.api.chain import Chain
from muses_lab.api.layer import Layer
from muses_lab.errors import ArgumentError, BandError, NotAnImage, WindowError
from muses_lab.export.formats import gif, mp4, png, webm, writer_of
from muses_lab.export.movie import place_of
from muses_lab.export.sheet import Decoration, IndexedColours, scale_bar
from muses_lab.export.video import frames
from muses_lab.raster.asset import Band
from muses_lab.render import render
from muses_lab.style import Style
from tests.helpers.made_scenes import CORNER, Made, window, write_tif

pytestmark = pytest.mark.usefixtures("in_threads")

ROWS, COLS = 300, 540
WHOLE = window(ROWS, COLS)
TURNED = Affine.translation(*CORNER) @ Affine.rotation(45) @ Affine.scale(10, -10)
NDVI = {"cmap": "RdYlGn", "vmin": -0.5, "vmax": 1, "label": "NDVI"}


@pytest.fixture(scope="module")
def bands(made_once: Made) -> Chain:
    """Three dates, smooth from west to east; nothing but clouds on the second."""
    known = [Band("B04", "red", nodata=0.0, scale=1e-4), Band("B08", "nir", nodata=0.0, scale=1e-4),
             Band("B03", "green", nodata=0.0, scale=1e-4)]  # fmt: skip
    found = []
    across = np.linspace(0, 1, 600)[None, :] * np.linspace(0.2, 1, 400)[:, None]
    for n in range(3):
        assets = {}
        for k, band in enumerate(known):
            values = (500 + 8000 * (across if k == 1 else 0.3 + 0.2 * n * across)).astype(np.uint16)
            values[40 * n : 40 * n + 20] = 0
            if n == 1:
                values[:] = 0
            assets[band.name] = made_once.asset(write_tif(made_once.folder / f"p-{n}-{band.name}.tif", values))
        found.append(made_once.scene(f"scene-{n}", f"2018-06-{10 + n}", assets, grid="MADE-1", platform="Sentinel-2A"))
    return made_once.chain(known, found)


def image_of(layer: Layer, box=WHOLE) -> np.ndarray:
    """RGBA as tiles are drawn."""
    found = layer.chain.pixels(box)
    return np.asarray(Image.open(io.BytesIO(render(found.values, layer.drawn, found.bands))).convert("RGBA"))


def export(layer, path: Path, box=WHOLE, **options) -> Path:
    return layer.export(path, box, progress=False, **options).wait(120)


def rgba(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGBA"))


STYLES = {
    "continuous": lambda bands: bands.ndvi().max("t").style(**NDVI),
    "faint": lambda bands: bands.ndvi().max("t").style(**NDVI, opacity=0.5, gamma=1.5),
    "classes": lambda bands: (bands.ndvi().max("t") > 0.3).style(classes={1: ("green", "#117733")}, label="Cover"),
    "hidden": lambda bands: (bands.ndvi().max("t") > 0.3).style(
        classes={0: ("bare", "tan"), 1: ("green", "#117733")}, hidden=[0]
    ),
    "all hidden": lambda bands: (bands.ndvi().max("t") > 0.3).style(
        classes={1: ("green", "#117733")}, hidden=[1], label="Cover of the ground"
    ),
    "rgb": lambda bands: bands.max("t").style(bands=("B08", "red", "B03"), vmax=0.9),
}


@pytest.mark.parametrize("kind", STYLES)
def test_the_picture_alone_is_that_of_tiles_and_lies_where_it_is(bands: Chain, tmp_path: Path, kind: str) -> None:
    layer = STYLES[kind](bands)
    path = export(layer, tmp_path / "map.png", decoration=False)
    assert np.array_equal(rgba(path), image_of(layer))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.pgw", "map.png", "map.png.aux.xml"]
    with rasterio.open(path) as file:
        assert file.crs.to_epsg() == 32631 and file.transform == WHOLE.affine
    told = json.loads(subprocess.run(["gdalinfo", "-json", path], capture_output=True, check=True).stdout)
    assert told["geoTransform"] == [CORNER[0], 10, 0, CORNER[1], 0, -10] and told["size"] == [COLS, ROWS]
    (tmp_path / "map.png.aux.xml").unlink()
    told = json.loads(subprocess.run(["gdalinfo", "-json", path], capture_output=True, check=True).stdout)
    assert told["geoTransform"] == [CORNER[0], 10, 0, CORNER[1], 0, -10], "by the world file alone"


@pytest.mark.parametrize("kind", STYLES)
def test_what_stands_around_a_picture_leaves_its_pixels(bands: Chain, tmp_path: Path, kind: str) -> None:
    layer = STYLES[kind](bands)
    path = export(layer, tmp_path / "map.png", title="A title, été 2018")
    x, y = json.loads(png.WRITER.texts(path)["MUSES_PLACE"])
    found = rgba(path)
    assert np.array_equal(found[y : y + ROWS, x : x + COLS], image_of(layer))
    around = found[..., 3] == 255
    around[y : y + ROWS, x : x + COLS] = True
    assert around.all() and x >= 16 and y > 16 + 16 and found.shape[1] > COLS + 32 + 40, "title, margin, legend"
    assert [p.name for p in tmp_path.iterdir()] == ["map.png"], "a sheet lies nowhere"
    assert png.WRITER.is_written(path, layer.chain.published.chain_hash, WHOLE)
    assert not png.WRITER.is_written(path, layer.chain.published.chain_hash, window(9, 9))
    path.write_bytes(path.read_bytes()[:-200])
    assert not png.WRITER.is_written(path, layer.chain.published.chain_hash, WHOLE)


def test_a_tile_is_the_picture_of_its_window(bands: Chain, tmp_path: Path) -> None:
    layer = bands.ndvi().max("t").style(**NDVI)
    z, x, y = 13, 4126, 2990
    path = export(layer, tmp_path / "tile.png", ml.Window.tile(z, x, y), decoration=False)
    (tmp_path / "direct.png").write_bytes(layer.tile(z, x, y))
    assert np.array_equal(rgba(path), rgba(tmp_path / "direct.png")) and rgba(path)[..., 3].any()


def test_parts_can_be_left_out_and_others_given(bands: Chain, tmp_path: Path) -> None:
    layer = STYLES["continuous"](bands)
    Image.new("RGB", (400, 100), "#b00020").save(tmp_path / "logo.png")
    whole = rgba(export(layer, tmp_path / "a.png", title="T"))
    less = rgba(export(layer, tmp_path / "b.png", title="T", legend=False, scale=False, attribution="", caption=""))
    logo = rgba(export(layer, tmp_path / "c.png", title="T", logo=tmp_path / "logo.png", margin=40))
    assert less.shape[0] < whole.shape[0] and less.shape[1] < whole.shape[1]
    assert (logo[..., :3] == (0xB0, 0, 0x20)).all(axis=2).sum() > 500, "the logo"
    for wrong, why in (
        ({"logo": tmp_path / "no.png"}, "logo=.*no picture"), ({"margin": 900}, "margin=900"),
        ({"legend": 1}, "legend=1"),
        ({"frames": 3}, r"no option 'frames'.*PNG.*decoration, legend"), ({"caption": 3}, "caption=3"),
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=why):
            layer.export(tmp_path / "d.png", WHOLE, **wrong)


def test_it_says_what_cannot_be_a_picture(bands: Chain, tmp_path: Path) -> None:
    ndvi = bands.ndvi()
    with pytest.raises(ArgumentError, match=r"'a.png' is a picture.*chain.style"):
        ndvi.max("t").export(tmp_path / "a.png", WHOLE)
    with pytest.raises(NotAnImage, match=r"3 dates.*\.gif"):
        ndvi.style(**NDVI).export(tmp_path / "a.png", WHOLE)
    with pytest.raises(ArgumentError, match=r"the chain has none.*over_time"):
        ndvi.max("t").style(**NDVI).export(tmp_path / "a.gif", WHOLE)
    with pytest.raises(BandError, match="choose with"):
        bands.bands("B04", "B08").max("t").style().export(tmp_path / "a.png", WHOLE)
    huge = window(100_000, 100_000)
    with pytest.raises(WindowError, match=r"100000 × 100000 pixels has more than 100 million.*resolution of 100 or"):
        ndvi.max("t").style(**NDVI).export(tmp_path / "a.png", huge)
    for name in ("a.gif", "a.mp4", "a.webm"):
        with pytest.raises(WindowError, match="more than . million"):
            ndvi.over_time().style(**NDVI).export(tmp_path / name, huge)
    assert not list(tmp_path.iterdir())


def test_frames_of_a_gif_are_the_tiles_data(bands: Chain, tmp_path: Path) -> None:
    over = bands.ndvi().over_time()
    layer = over.style(**NDVI)
    for decoration in (True, False):
        path = export(layer, tmp_path / f"{decoration}.gif", decoration=decoration, fps=4)
        x, y = place_of(gif.WRITER.texts(path))
        colours = IndexedColours(layer.look)
        with Image.open(path) as file:
            assert file.n_frames == 3 and file.info["duration"] == 250 and file.info["loop"] == 0
            for number, one in enumerate(layer.layers()):
                file.seek(number)
                found = np.asarray(file.convert("RGB"))[y : y + ROWS, x : x + COLS]
                expected = image_of(one)
                assert (found[expected[..., 3] == 0] == 255).all(), "missing pixels are white"
                seen = expected[..., 3] > 0
                assert seen.any() == (number != 1)
                apart = np.abs(found.astype(int) - expected[..., :3])[seen]
                assert apart.size == 0 or apart.max() <= 6, "the nearest of 239 steps of the palette"
                assert np.isin(found.reshape(-1, 3) @ [65536, 256, 1], colours.table @ [65536, 256, 1]).all()
        assert gif.WRITER.is_written(path, over.cube.published.chain_hash, WHOLE)
    assert gif.WRITER.texts(path)["MUSES_EMPTY"] == "1", "the date without data is said"
    path.write_bytes(path.read_bytes()[:-900])
    assert not gif.WRITER.is_written(path, over.cube.published.chain_hash, WHOLE)


def test_classes_of_a_gif_have_exactly_their_colours(bands: Chain, tmp_path: Path) -> None:
    layer = (bands.ndvi() > 0.3).over_time().style(classes={0: ("bare", "#ccbb44"), 1: ("green", "#117733")})
    path = export(layer, tmp_path / "a.gif", decoration=False)
    with Image.open(path) as file:
        expected = image_of(layer.layers()[0])
        seen = expected[..., 3] > 0
        assert np.array_equal(np.asarray(file.convert("RGB"))[seen], expected[seen][:, :3])


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_frames_of_a_video_are_nearly_the_tiles_data(bands: Chain, tmp_path: Path, suffix: str) -> None:
    layer = bands.ndvi().over_time().style(**NDVI)
    path = export(layer, tmp_path / f"a{suffix}", title="NDVI, été")
    writer = writer_of(path)
    assert isinstance(writer, type(mp4.WRITER)) and writer in (mp4.WRITER, webm.WRITER)
    x, y = place_of(writer.texts(path))
    found = list(frames(path))
    assert len(found) == 3, "also the one without data"
    for number, one in enumerate(layer.layers()):
        expected = image_of(one).astype(int)
        white = np.where(expected[..., 3:] > 0, expected[..., :3], 255)
        assert np.abs(found[number][y : y + ROWS, x : x + COLS].astype(int) - white).mean() < 4
    assert writer.is_written(path, layer.over.cube.published.chain_hash, WHOLE)
    first = path.read_bytes()
    export(layer, path, title="NDVI, été", overwrite=True)
    assert path.read_bytes() == first, "the same chain gives the same bytes"
    path.write_bytes(first[: len(first) // 2])
    assert not writer.is_written(path, layer.over.cube.published.chain_hash, WHOLE)


def test_three_bands_move_too(bands: Chain, tmp_path: Path) -> None:
    layer = bands.over_time("year", "max").style(bands=("B08", "red", "B03"), vmax=0.9)
    path = export(layer, tmp_path / "a.gif", decoration=False)
    with Image.open(path) as file:
        expected = image_of(layer.layers()[0])
        seen = expected[..., 3] > 0
        apart = np.abs(np.asarray(file.convert("RGB")).astype(int) - expected[..., :3])[seen]
        assert file.n_frames == 1 and apart.mean() < 4


def test_all_frames_fit_however_long_their_captions_are() -> None:
    from muses_lab.export.sheet import Sheet

    for shape in ((1, 1), (3, 2000), (900, 7), (64, 64)):
        sheet = Sheet(window(*shape), Style(**NDVI), "t" * 300, ["c" * 50, "d"], "credits " * 60, Decoration())
        x, y = sheet.place
        assert x + shape[1] <= sheet.size[0] and y + shape[0] <= sheet.size[1]
        assert max(sheet.size) < 6000
        assert sheet.frame(np.zeros(shape, np.uint8), "d").shape == (*sheet.size[::-1], 3)


@pytest.mark.parametrize(
    ("box", "label", "share"),
    [
        (ml.Window.from_bounds((179, 10, 181, 12), crs="EPSG:4326", resolution=0.01), "50 km", 0.2287),
        (ml.Window.from_bounds((179, 10, 181, 12), crs="EPSG:3857", resolution=1000), "50 km", 0.2287),
        (GeoBox((100, 1000), TURNED, "EPSG:32631"), "2 km", 0.2),
        (GeoBox((1000, 100), TURNED, "EPSG:32631"), "200 m", 0.2),
        (ml.Window.from_bounds((-180, -80, 180, 80), crs="EPSG:4326", resolution=1), "10000 km", 0.2495),
    ],
)
def test_a_scale_bar_is_measured_along_the_windows_own_row(box: GeoBox, label: str, share: float) -> None:
    said, found = scale_bar(box, 0.25)
    assert said == label and found == pytest.approx(share, rel=1e-2)
