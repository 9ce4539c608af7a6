from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib import colormaps
from PIL import Image

from muses_lab.errors import BandError
from muses_lab.render import empty_tile, error_tile, render
from muses_lab.style import Style
from tests.helpers.examples import examples

dtypes = st.sampled_from([np.float32, np.float64])
planes = st.builds(
    lambda dtype, shape: (dtype, shape), dtypes, st.tuples(st.integers(1, 9), st.integers(1, 9))
).flatmap(
    lambda a: hnp.arrays(
        a[0], a[1], elements=st.floats(-1e6, 1e6, width=32) | st.sampled_from([np.nan, np.inf, -np.inf])
    )
)
ranges = st.tuples(st.integers(-1000, 1000), st.integers(1, 1000)).map(lambda p: (p[0] / 8, (p[0] + p[1]) / 8))
gammas = st.sampled_from([1.0, 1.0, 0.5, 2.2])


def decode(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    image.load()
    return image


def indices(png: bytes) -> np.ndarray:
    image = decode(png)
    assert image.mode == "P"
    return np.asarray(image)


def rgba(png: bytes) -> np.ndarray:
    return np.asarray(decode(png).convert("RGBA"))


@given(planes, ranges, gammas)
def test_missing_is_transparent_and_nothing_else_is(values: np.ndarray, ends: tuple, gamma: float) -> None:
    alpha = rgba(render(values, Style("RdYlGn", *ends, gamma=gamma)))[..., 3]
    assert alpha.shape == values.shape
    np.testing.assert_array_equal(alpha == 0, np.isnan(values))
    assert set(np.unique(alpha)) <= {0, 255}


@given(planes, ranges, gammas)
def test_a_larger_value_is_never_drawn_with_an_earlier_colour(values: np.ndarray, ends: tuple, gamma: float) -> None:
    index = indices(render(values, Style("viridis", *ends, gamma=gamma))).ravel().astype(int)
    order = np.argsort(values.ravel())  # NaN last
    seen = np.count_nonzero(~np.isnan(values))
    assert (np.diff(index[order][:seen]) >= 0).all()


@given(ranges, gammas, dtypes, st.sampled_from(["viridis", "RdYlGn", "tab10", ("red", "blue")]))
def test_the_ends_have_the_end_colours(ends: tuple, gamma: float, dtype: type, cmap: str) -> None:
    low, high = ends
    style = Style(cmap, low, high, gamma=gamma)
    values = np.array([[low, high, low - 1, high + 1, -np.inf, np.inf]], dtype)
    first, last = ([*style.colormap()(end, bytes=True)[:3], 255] for end in (0.0, 1.0))
    np.testing.assert_array_equal(rgba(render(values, style))[0], [first, last] * 3)


@given(planes, st.sets(st.integers(-5, 300), min_size=1, max_size=255), st.randoms())
def test_classes_have_exactly_their_colour(values: np.ndarray, codes: set, random) -> None:
    colour = {c: f"#{random.randrange(1 << 24):06x}" for c in codes}
    some = np.array([*codes, min(codes) - 0.5, max(codes) + 1], values.dtype)
    finite = np.isfinite(values)
    values = np.where(finite, some[np.abs(np.where(finite, values, 0)).astype(int) % len(some)], values)
    style = Style(classes={c: (str(c), colour[c]) for c in codes})
    drawn = rgba(render(values, style))
    for pixel, value in zip(drawn.reshape(-1, 4), values.ravel(), strict=True):
        expected = (*bytes.fromhex(colour[int(value)][1:]), 255) if value in codes else (0, 0, 0, 0)
        assert tuple(pixel) == expected


@given(
    hnp.arrays(np.float32, st.tuples(st.just(3), st.integers(1, 7), st.integers(1, 7)),
               elements=st.floats(-1, 2, width=32) | st.just(np.nan)),
    ranges, gammas,
)  # fmt: skip
def test_rgb_is_transparent_where_any_band_is_missing(values: np.ndarray, ends: tuple, gamma: float) -> None:
    image = decode(render(values, Style("viridis", *ends, gamma=gamma, bands=("r", "g", "b"))))
    assert image.mode == "RGBA"
    pixels = np.asarray(image)
    missing = np.isnan(values).any(axis=0)
    np.testing.assert_array_equal(pixels[..., 3] == 0, missing)
    low, high = ends
    t = np.clip((values.astype(float) - low) / (high - low), 0, 1) ** (1 / gamma) * 255
    close = np.abs(np.moveaxis(pixels[..., :3], -1, 0).astype(float) - t) <= 1.01
    assert close[:, ~missing].all()


def test_rgb_ends_are_black_and_white() -> None:
    values = np.broadcast_to(np.array([0, 0.3], np.float32), (3, 1, 2))
    pixels = rgba(render(values, Style(bands=("B04", "B03", "B02"))))
    assert pixels[0].tolist() == [[0, 0, 0, 255], [255, 255, 255, 255]]


@settings(max_examples=examples(15))
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_other_decoders_read_the_same_pixels(height: int, width: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 255, (3, height, width)).astype(np.float32)
    pixels = rgba(render(values, Style(vmax=254, bands=("r", "g", "b"))))
    np.testing.assert_array_equal(np.moveaxis(pixels[..., :3], -1, 0), np.rint(values.astype(float) * 255 / 254))


def test_opacity_is_in_the_image() -> None:
    values = np.array([[0.5, np.nan]], np.float32)
    assert rgba(render(values, Style(opacity=0.4)))[0, :, 3].tolist() == [102, 0]
    assert rgba(render(np.stack([values] * 3), Style(opacity=0.4, bands=("a", "b", "c"))))[0, :, 3].tolist() == [102, 0]


def test_integers_and_half_floats_are_drawn_too() -> None:
    style = Style(vmin=0, vmax=10_000, gamma=2)
    for dtype in (np.uint8, np.int16, np.uint16, np.int32, np.float16):
        values = np.array([[0, 100]], dtype)
        assert indices(render(values, style)).tolist() == indices(render(values.astype(np.float64), style)).tolist()
    assert indices(render(np.array([[True, False]]), Style())).tolist() == [[255, 1]]


def test_bands_are_picked_by_name() -> None:
    values = np.stack([np.full((2, 2), v, np.float32) for v in (0.0, 0.5, 1.0, np.nan)])
    bands = ("B02", "B03", "B04", "B08")
    assert (indices(render(values, Style(bands=("B04",)), bands)) == 255).all()
    assert rgba(render(values, Style(bands=("B04", "B03", "B02"), vmax=1), bands))[0, 0].tolist() == [255, 128, 0, 255]
    with pytest.raises(BandError, match="'B05'; there are B02, B03, B04, B08"):
        render(values, Style(bands=("B05",)), bands)
    with pytest.raises(BandError, match="4 bands cannot be drawn at once: B02"):
        render(values, Style(), bands)


def test_palette_of_256_entries_is_the_colormap() -> None:
    palette = decode(render(np.zeros((1, 1), np.float32), Style("viridis"))).getpalette()
    expected = colormaps["viridis"](np.linspace(0, 1, 255), bytes=True)[:, :3]
    assert np.array_equal(np.reshape(palette, (-1, 3))[1:], expected)


def test_same_values_and_style_give_the_same_bytes() -> None:
    values = np.random.default_rng(1).random((256, 256), np.float32)
    assert render(values, Style()) == render(values.copy(), Style())


@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_values_are_drawn_however_they_lie_in_memory(gamma: float) -> None:
    style = Style(vmin=0, vmax=1, gamma=gamma)
    for shape in ((8, 6), (3, 8, 6)):
        values = np.linspace(-0.2, 1.2, np.prod(shape), dtype="float32").reshape(shape)
        turned = np.asfortranarray(values)
        turned.setflags(write=False)
        apart = np.repeat(values, 2, axis=-1)[..., ::2]
        assert render(turned, style) == render(apart, style) == render(values, style)


def test_empty_and_error_tiles() -> None:
    assert decode(empty_tile()).size == (256, 256)
    assert not rgba(empty_tile())[..., 3].any()
    failed = rgba(error_tile("read-failed: 3 scenes could not be read"))
    assert failed.shape == (256, 256, 4)
    assert (failed[..., 3] > 0).all() and len(np.unique(failed.reshape(-1, 4), axis=0)) > 10
    assert error_tile("a") != error_tile("b")
    assert decode(error_tile("word " * 500 + "x" * 500)).size == (256, 256)
