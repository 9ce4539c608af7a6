"""Parts of a real hub are killed while a user pans and exports: all comes back, nothing is lost or left behind."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.helpers.hubs import HubUser, Kernel, RunningHub, alive, running_hub, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PARTS = {
    "worker": ("dask worker",),
    "scheduler": ("dask scheduler",),
    "gateway": ("-m dask_gateway_server",),
    "gateway's proxy": ("dask-gateway-proxy",),
    "proxy": ("configurable-http-proxy",),
    "store": ("-m muses_lab.hub",),
    "evaluator": ("-m muses_lab.evaluator",),
    "hub": ("-m jupyterhub -f",),
}
RELOADS = 120.0
"""Seconds within which a page that is reloaded again and again must be whole."""

EXPORT = """
import hashlib, muses_lab as ml
chain = ml.collection("sentinel-2-l2a").mask_clouds().ndvi().median("t")
window = ml.Window.from_bounds((1.30, 43.56, 1.46, 43.64), crs="EPSG:32631", resolution=10)
def begin(name):
    global job
    job = chain.export(name, window, overwrite=True, progress=False)
def pixels(name):
    import rasterio
    with rasterio.open(name) as file:
        return hashlib.sha256(file.read().tobytes()).hexdigest()
"""


@pytest.fixture(scope="module")
def hub(sample_catalog: Path, postgres_cluster: Any) -> Iterator[RunningHub]:
    with running_hub(sample_catalog, ACCOUNTS="one", DATABASE=postgres_cluster.database()) as hub:
        yield hub


@pytest.fixture(scope="module")
def kernel(alice: HubUser) -> Kernel:
    kernel = alice.kernel()
    kernel.run(EXPORT)
    return kernel


@pytest.fixture(scope="module")
def undisturbed(kernel: Kernel) -> str:
    """Digest of the export's pixels when nothing goes wrong."""
    return kernel.run("begin('whole.tif'); job.wait(200); print(pixels('whole.tif'))", 250).strip()


class Map:
    """A user who pans: every view has tiles that nobody has seen."""

    def __init__(self, user: HubUser, chain: str, style: str) -> None:
        self.user = user
        self.path = f"muses/tiles/{chain}/{style}"
        self.views = 0

    def pan(self) -> list[str]:
        """The tiles of the next view, within the sample."""
        self.views += 1
        return [f"{self.path}/15/{16505 + self.views}/{11958 + row}.png" for row in range(6)]

    def show(self, tiles: list[str]) -> list[int]:
        """The answers to one view's tiles, asked for at once; 0 where there is no answer."""
        with ThreadPoolExecutor(6) as pool:
            return list(pool.map(self._tile, tiles))

    def _tile(self, path: str) -> int:
        try:
            answer = self.user.ask(path)
            is_tile = answer.status_code == 200 and answer.headers["Content-Type"].startswith("image/")
            return 200 if is_tile else answer.status_code or 0
        except requests.RequestException:
            return 0

    def whole_after_reloads(self, tiles: list[str]) -> None:
        found: list[int] = []

        def whole() -> bool:
            found[:] = self.show(tiles)
            return set(found) == {200}

        until(whole, RELOADS, lambda: f"after {RELOADS:g} s of reloading: {found}\n{self.user.hub.messages()}")


@pytest.fixture(scope="module")
def map_(alice: HubUser, sample_catalog: Path) -> Map:
    import muses_lab as ml

    chain = ml.collection("sentinel-2-l2a", catalog=str(sample_catalog)).mask_clouds().ndvi().median("t")
    return Map(alice, *alice.publish(chain.to_json(), chain.style(cmap="RdYlGn", vmin=0, vmax=1).look.to_json()))


@pytest.mark.thorough
@pytest.mark.parametrize("part", PARTS)
def test_a_killed_part_comes_back_during_panning_and_exports(hub, alice, kernel, map_, undisturbed, part):
    server = hub.one("muses_lab.deployment.singleuser", user="alice")
    scheduler = hub.one("dask scheduler", user="alice")
    kernel.run("begin('disturbed.tif')")
    tiles = map_.pan()
    panning = threading.Thread(target=map_.show, args=(tiles,))
    panning.start()
    killed = hub.kill(*PARTS[part])
    back = until(lambda: [p for p in hub.those(*PARTS[part]) if p.pid != killed.pid], 60, hub.messages)
    panning.join()
    hub.up()
    map_.whole_after_reloads(tiles)
    map_.whole_after_reloads(map_.pan())
    printed = kernel.run("job.wait(200); print(job.state, job.failed, pixels('disturbed.tif'))", 250)
    assert printed.split() == ["done", "{}", undisturbed]
    # Nobody lost more than what was killed, and there is one of everything.
    assert alive(server)
    if part != "scheduler":
        assert alive(scheduler), f"the cluster did not survive its {part}"
    for name, words in PARTS.items():
        if name != "worker":
            assert len(until(lambda words=words: hub.those(*words), 10, name)) == 1, name
    assert alive(back[0])
    until(lambda: alice.cluster()["state"] in ("idle", "busy"), 60, lambda: str(alice.cluster()))


@pytest.mark.thorough
def test_a_killed_server_takes_its_cluster_along_and_comes_back_with_the_page(hub, alice, map_, undisturbed):
    server = hub.kill("muses_lab.deployment.singleuser", user="alice")
    until(lambda: not hub.those("dask", user="alice"), 60, hub.messages)  # no orphan
    alice.start()  # what a reload of the page does
    assert hub.one("muses_lab.deployment.singleuser", user="alice").pid != server.pid
    map_.whole_after_reloads(map_.pan())
    kernel = alice.kernel()
    kernel.run(EXPORT)
    assert kernel.run("begin('again.tif'); job.wait(200); print(pixels('again.tif'))", 250).strip() == undisturbed


@pytest.mark.thorough
def test_without_postgresql_maps_go_on_and_publishing_does_again_when_it_is_back(
    hub, alice, map_, postgres_cluster, sample_catalog
):
    import muses_lab as ml

    document = ml.collection("sentinel-2-l2a", catalog=str(sample_catalog)).mask_clouds().ndwi().median("t").to_json()
    map_.whole_after_reloads(map_.pan())
    postgres_cluster.stop(signal.SIGQUIT)  # as if it had crashed
    try:
        map_.whole_after_reloads(map_.pan())
        began = time.monotonic()
        refused = alice.ask("muses/chains", "POST", json=document)
        assert refused.status_code == 503 and time.monotonic() - began < 120, (refused.status_code, refused.text)
    finally:
        postgres_cluster.start()
    answer = until(
        lambda: (got := alice.ask("muses/chains", "POST", json=document)).status_code == 201 and got, 60, hub.messages
    )
    assert map_.path.split("/")[2] in alice.ask("muses/chains").text  # nothing is lost
    assert alice.ask(f"muses/chains/{answer.json()['hash']}").status_code == 200
