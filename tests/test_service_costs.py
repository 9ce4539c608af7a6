"""Chains that take much, through the real service: a right picture or a refusal, and nobody else starves."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
import requests

import muses_lab as ml
from muses_lab.operators.focal import MAX_RADIUS
from muses_lab.service.tile import TilePixel
from tests.helpers.examples import always
from tests.helpers.service import LAT, LON, Server, path, picture

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("in_threads")]  # they share a Jupyter server

HERE = TilePixel.at(LON, LAT, 15)
SIZE = 2 * MAX_RADIUS + 1
WEIGHTS = np.random.default_rng(4).integers(1, 99, (SIZE, SIZE))


def blurred(chain: ml.Chain) -> ml.Chain:
    return chain.apply_kernel(WEIGHTS, 1 / float(WEIGHTS.sum()))


LARGE: dict[str, Callable[[ml.Chain], ml.Chain]] = {
    "a kernel of the largest size on every date": lambda c: blurred(c).max("t"),
    "kernel upon kernel": lambda c: blurred(blurred(c.max("t"))),
    "a median of the largest radius": lambda c: c.max("t").focal_median(MAX_RADIUS),
    "a median of the largest radius of every date": lambda c: c.focal_median(MAX_RADIUS).max("t"),
}


def answered(server: Server, url: str) -> requests.Response:
    """What the service says in the end: it may ask to come again."""
    for _ in range(20):
        response = server.session.get(server.muses(url), timeout=300)
        if response.status_code != 429:
            return response
        time.sleep(min(float(response.headers.get("Retry-After", 1)), 3))
    return response


@pytest.mark.parametrize("name", always(LARGE, ["a median of the largest radius"]))
def test_the_largest_neighbourhoods_give_a_picture_or_a_refusal(server: Server, s2: ml.Collection, name: str) -> None:
    published = LARGE[name](s2.dates("2018-06-01", "2018-08-01").ndvi()).style(vmin=0, vmax=1).publish()
    response = answered(server, path(published, HERE.tile))
    if response.status_code == 200:
        assert (picture(response)[..., 3] == 255).any()
    else:
        assert response.status_code in (413, 429) and response.headers["X-Muses-Error"] in ("too-large", "too-costly")
        assert "smaller" in requests.utils.unquote(response.headers["X-Muses-Message"])
    assert server.get("health").ok
    assert "Traceback" not in server.log.read_text()


def test_the_largest_kernel_of_an_image_is_right(server: Server, s2: ml.Collection) -> None:
    """As in a notebook, which evaluates it in blocks that begin elsewhere."""
    layer = blurred(s2.dates("2018-06-01", "2018-08-01").ndvi().max("t")).style(vmin=0, vmax=1)
    response = answered(server, path(layer.publish(), HERE.tile))
    assert response.status_code == 200 and response.content == layer.tile(*HERE.tile)
