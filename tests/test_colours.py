"""What the page colours is what the service draws: the same values, the same styles, by both, to the last bit."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from muses_lab.render import render
from muses_lab.service.value_tile import packed
from muses_lab.style import PALETTES, Style
from muses_widgets import Map
from muses_widgets.colours import colours_of, offered, told
from muses_widgets.modules import JS

SIZE = 64
COLOURED = f"""
import {{ readFileSync, writeFileSync }} from "node:fs";
import {{ coloured }} from "{(JS / "tilecolours.js").as_uri()}";
import {{ readValues }} from "{(JS / "values.js").as_uri()}";
for (const [values, colours, pixels] of JSON.parse(readFileSync(process.argv[1], "utf-8"))) {{
  const body = readFileSync(values);
  const own = body.buffer.slice(body.byteOffset, body.byteOffset + body.byteLength);
  writeFileSync(pixels, coloured(readValues(own), colours));
}}
"""


def by_the_page(folder: Path, cases: list[tuple[np.ndarray, dict]]) -> list[np.ndarray]:
    """RGBA of values as the page colours them."""
    work = []
    for n, (values, colours) in enumerate(cases):
        (folder / f"{n}.values").write_bytes(gzip.decompress(packed(values)))
        work.append([str(folder / f"{n}.values"), colours, str(folder / f"{n}.pixels")])
    (folder / "cases.json").write_text(json.dumps(work))
    done = subprocess.run(
        ["node", "--input-type=module", "--eval", COLOURED, str(folder / "cases.json")],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shapes = [values.shape[-2:] for values, _ in cases]
    return [
        np.frombuffer((folder / f"{n}.pixels").read_bytes(), "u1").reshape(*shape, 4) for n, shape in enumerate(shapes)
    ]


def by_the_service(values: np.ndarray, look: Style) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(render(values, look))).convert("RGBA"))


def measured(kind: str, bands: int = 1) -> np.ndarray:
    """Values as chains have them: of many decimals (sent as they are), or of a few steps (sent by a table)."""
    random = np.random.default_rng(5)
    values = random.normal(0.4, 0.35, (bands, SIZE, SIZE)).astype("float64" if "64" in kind else "float32")
    if "steps" in kind:
        values = np.round(values, 2)
    values[:, :3] = np.nan
    values[:, 3, :6] = [-np.inf, np.inf, 0, 1, -0.0, 0.5]
    values[0, 5, :9] = np.nan
    return values if bands > 1 else values[0]


CONTINUOUS = [
    Style(), Style(cmap="RdYlGn", vmin=-0.2, vmax=0.9), Style(cmap="magma_r", vmin=0.31, vmax=0.32),
    Style(cmap="turbo", gamma=2.2), Style(cmap="Set1", vmin=-1, vmax=1), Style(cmap="twilight", gamma=0.4, opacity=0.3),
    Style(cmap=["#102030", "tan", "white"], vmin=-1e6, vmax=3e7), Style(cmap=["red", "blue"], opacity=0.5, gamma=7),
    Style(vmin=-1e-12, vmax=1e-12), Style(vmin=0.25, vmax=0.75, opacity=0),
]  # fmt: skip


@pytest.mark.parametrize("kind", ["steps", "decimals", "steps of 64 bits", "decimals of 64 bits"])
def test_a_band_has_the_same_colours_in_every_style(tmp_path, kind):
    values = measured(kind)
    looks = [*CONTINUOUS, *(Style(cmap=name, vmin=-0.1, vmax=1.1) for name in PALETTES)]
    found = by_the_page(tmp_path, [(values, told(look, [0])) for look in looks])
    for look, pixels in zip(looks, found, strict=True):
        assert np.array_equal(pixels, by_the_service(values, look)), look
    assert (found[0][:3] == 0).all(), "what is missing is transparent"


@pytest.mark.parametrize("kind", ["steps", "decimals of 64 bits"])
@pytest.mark.parametrize(
    "look", [Style(), Style(vmin=0.1, vmax=0.7, gamma=1.6), Style(opacity=0.5, gamma=0.5)], ids=repr
)
def test_three_bands_have_the_same_colours(tmp_path, look, kind):
    values = measured(kind, bands=3)
    (pixels,) = by_the_page(tmp_path, [(values, told(look, [0, 1, 2]))])
    assert np.array_equal(pixels, by_the_service(values, look))
    assert (pixels[5, :9] == 0).all(), "a pixel is missing where one of its bands is"
    (pixels,) = by_the_page(tmp_path, [(values, told(look, [2, 0, 2]))])
    assert np.array_equal(pixels, by_the_service(values[[2, 0, 2]], look)), "bands in another order"
    (pixels,) = by_the_page(tmp_path, [(values, told(look, [1]))])
    assert np.array_equal(pixels, by_the_service(values[1], look)), "one of them alone"


def test_classes_have_the_same_colours(tmp_path):
    random = np.random.default_rng(2)
    values = random.integers(0, 300, (SIZE, SIZE)).astype("float32")
    values[0] = np.nan
    values[1] = 4.5
    few = Style(classes={4: ("wood", "forestgreen"), 6: ("water", "#2b6cb0"), 0.1: ("a tenth", "tan")}, opacity=0.7)
    many = Style(classes={n: (str(n), f"#{n:02x}10{255 - n:02x}") for n in range(255)})
    tenths = np.where(values > 99, np.float32(0.1), values)
    hiding = replace(few, hidden=(6, 0.1))
    cases = [(values, few), (values, many), (tenths, few), (tenths.astype("float64"), few), (tenths, hiding)]
    found = by_the_page(tmp_path, [(shown, told(look, [0])) for shown, look in cases])
    for (shown, look), pixels in zip(cases, found, strict=True):
        assert np.array_equal(pixels, by_the_service(shown, look))
    assert 0 < (found[4][..., 3] > 0).sum() < (found[2][..., 3] > 0).sum(), "what is hidden is transparent"


def test_the_palettes_that_are_offered_are_those_of_their_styles():
    tables = {name: told(Style(cmap=name), [0])["table"] for name in PALETTES}
    assert offered() == [{"name": name, "table": table} for name, table in tables.items()]
    assert not [name for name in PALETTES if name not in colormaps]


# A tile's format


def read(body: bytes) -> np.ndarray:
    """The values of a body, read from what the format says."""
    plain = gzip.decompress(body)
    end = plain.index(b"\n") + 1
    head, at, images = json.loads(plain[:end]), end, []
    assert end % 8 == 0

    def following(name: str, count: int) -> np.ndarray:
        nonlocal at
        found = np.frombuffer(plain, np.dtype(name).newbyteorder("<"), count, at)
        at += -(-found.nbytes // 8) * 8
        return found

    for band in head["bands"]:
        if band["codes"] is None:
            images.append(following(head["type"], np.prod(head["size"])))
        else:
            table = following(head["type"], band["table"])
            assert (np.diff(table) > 0).all()
            images.append(np.append(np.nan, table)[following(band["codes"], np.prod(head["size"]))])
    assert at == len(plain)
    return np.stack(images).reshape(-1, *head["size"]).astype(head["type"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("different", [0, 1, 255, 256, 4096, 4097, 65536])
def test_a_tile_has_the_values_themselves(dtype, different):
    random = np.random.default_rng(1)
    known = random.normal(0, 1e3, different).astype(dtype)
    values = np.full(256 * 256, np.nan, dtype)
    values[: len(known)] = known
    values = np.stack([random.permutation(values), random.permutation(values), values]).reshape(3, 256, 256)
    assert np.array_equal(read(packed(values)), values, equal_nan=True)
    assert np.array_equal(read(packed(values[1]))[0], values[1], equal_nan=True)


def test_few_values_take_one_byte_a_pixel():
    classes = np.random.default_rng(1).integers(0, 9, (256, 256)).astype("float32")
    assert len(gzip.decompress(packed(classes))) < 256 * 256 + 300


# What the page is told


@pytest.mark.usefixtures("in_threads")
def test_a_layer_of_one_or_three_bands_has_the_same_address_in_every_style(s2):
    m, clear = Map(), s2.mask_clouds()
    three = clear.bands("red", "green", "blue").median("t")
    m.add(clear.ndvi().median("t").style(cmap="RdYlGn"), name="NDVI")
    m.add(three.style(bands=("blue", "red", "green")), name="Colours")
    m.add(three.style(bands="blue", cmap="Blues"), name="Blue")
    before = {name: m.tiles(name).url for name in ("NDVI", "Colours", "Blue")}
    assert before["Colours"] == before["Blue"]
    assert m.panel.layers[0]["colours"]["bands"] == [2] and m.panel.layers[1]["colours"]["bands"] == [2, 0, 1]
    changes = {"NDVI": {"cmap": "magma", "gamma": 2}, "Colours": {"vmax": 0.1}, "Blue": {"opacity": 0.2}}
    for name, changed in changes.items():
        m.add(m.layer(name).with_parameters({f"style.{trait}": value for trait, value in changed.items()}), name=name)
        shown = next(entry["colours"] for entry in m.panel.layers if entry["name"] == name)
        assert m.tiles(name).url == before[name] and changed.items() <= shown.items()


@pytest.mark.usefixtures("in_threads")
def test_of_more_bands_the_service_draws_pictures(s2):
    m = Map()
    m.add(s2.mask_clouds().median("t").style(bands=("red", "green", "blue"), vmax=0.3), name="Colours")
    layer = m.layer("Colours")
    assert m.tiles("Colours").url.endswith(".png") and layer.drawn.hash in m.tiles("Colours").url
    assert m.panel.layers[0]["colours"] is None and colours_of(layer) is None
