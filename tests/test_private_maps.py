"""Maps of operators of a notebook: their code goes to their author's workers, past the server and the stores."""

from __future__ import annotations

import asyncio
import gc
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from scipy import ndimage

import muses_lab as ml
from muses_lab import compute
from muses_lab.compute import leases
from muses_lab.compute.windows import request_window
from muses_lab.document.graph import parse, to_bytes
from muses_lab.engine.cost import seconds
from muses_lab.engine.mosaic import layout
from muses_lab.engine.sealed import Sealed
from muses_lab.errors import DocumentError, MusesError, OperatorFailed, PrivateChain, TooLarge
from muses_lab.operators import Cube, Fit, Focal, registry
from muses_lab.operators.cubes import BBox, Metres
from muses_lab.scenes.wire import join, split
from muses_lab.service import private_chains
from muses_lab.service.private_chains import PrivateChains, PrivateGone
from muses_lab.service.tile import Tile
from muses_lab.service.tile_service import TileService
from muses_lab.store import default_store
from muses_widgets import Map, service
from muses_widgets.tiles import ChainTiles
from tests.helpers.made_stacks import own_window, stack

pytestmark = pytest.mark.usefixtures("in_threads", "own")

ROWS, COLUMNS = 30, 40
WINDOW = own_window(ROWS, COLUMNS)
BOUNDS = WINDOW.to_crs(4326).boundingbox.bbox
WHOLE: dict[str, Any] = {"extent": BOUNDS, "resolution": 10}
TRIPLED = "def apply_datacube(cube: xarray.DataArray, context) -> xarray.DataArray:\n    return cube * 3\n"
HERE = (os.getpid(), leases.process_start(os.getpid()) or "")


@pytest.fixture(scope="module")
def s2(tmp_path_factory: pytest.TempPathFactory) -> ml.Collection:
    values = np.random.default_rng(4).integers(1, 900, (3, 2, ROWS, COLUMNS)).astype(np.int16)
    return stack(values, tmp_path_factory.mktemp("made"), nodata=0)


@pytest.fixture(scope="module")
def image(s2: ml.Collection) -> ml.Chain:
    return s2.band("B4").median("t")


@pytest.fixture
def own(own: None) -> None:
    """Operators that are gone after a test."""

    @ml.operator
    def scaled(data: Cube, by: float = 2.0) -> Cube:
        return data * by

    @ml.operator(support=Focal(lambda arguments, pixel: int(20 / pixel) + 1))
    def highest(data: Cube) -> Cube:
        return data.copy(data=ndimage.maximum_filter(data.values, 3, mode="nearest"))

    @ml.operator
    def added(first: Cube, second: Cube) -> Cube:
        return first + second

    @ml.operator(support=Fit(lambda data: {"mean": float(data.mean())}))
    def centred(
        data: Cube, extent: BBox | None = None, resolution: Metres | None = None, fitted: dict[str, Any] | None = None
    ) -> Cube:
        assert fitted is not None
        return data - np.float32(fitted["mean"])


CHAINS: dict[str, Callable[[ml.Collection, ml.Chain], ml.Chain]] = {
    "of an image": lambda s2, image: image.scaled() + 1,
    "a neighbourhood": lambda s2, image: image.highest(),
    "of two chains": lambda s2, image: image.added(s2.band("B8").max("t")),
    "before a reduction": lambda s2, image: s2.scaled(by=3).median("t"),
    "three bands": lambda s2, image: ml.stack(red=image.scaled(), green=image, blue=image.highest()),
    "a mask": lambda s2, image: s2.where(s2.band("B8").scaled() > 900).band("B4").median("t"),
    "a UDF": lambda s2, image: image.run_udf(TRIPLED),
    "a UDF of periods": lambda s2, image: s2.band("B4").run_udf(TRIPLED).by_period("month", "mean").max("t"),
    "on another grid": lambda s2, image: image.scaled().on_grid("EPSG:32631", 20),
    "fitted": lambda s2, image: image.centred(**WHOLE),
    "below a threshold": lambda s2, image: image.scaled().otsu(**WHOLE),
    "below a region": lambda s2, image: image + (image.scaled() > 900).connected_components(**WHOLE),
    "beside a region": lambda s2, image: image.scaled() + (image > 400).connected_components(**WHOLE),
}  # fmt: skip


@pytest.mark.parametrize("kind", CHAINS)
def test_a_plan_without_code_leads_to_the_chains_pixels(
    s2: ml.Collection, image: ml.Chain, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = CHAINS[kind](s2, image)
    body, there = chain.sealed(), layout(chain.published.prepared, WINDOW)
    monkeypatch.setattr(cloudpickle, "loads", lambda *a, **k: pytest.fail("code was unpickled"))
    sealed = Sealed.opened(body)
    here = layout(sealed.prepared, WINDOW)
    assert (here.tasks, here.found, here.levels) == (there.tasks, there.found, there.levels)
    assert sealed.chain_hash == chain.published.chain_hash
    assert all(0 <= seconds(sealed.prepared, task) < 10 for task in here.tasks)
    monkeypatch.undo()  # from here on it is workers that evaluate
    monkeypatch.setenv("MUSES_COMPUTE", "threads")
    found = request_window(compute.executor(), sealed, WINDOW).result(60)
    np.testing.assert_array_equal(found.values, chain.pixels(WINDOW).values)
    assert found.bands == chain.pixels(WINDOW).bands


def test_the_plan_holds_no_code(image: ml.Chain) -> None:
    head, parts = split(image.run_udf(TRIPLED).scaled(by=7).sealed())
    plan = json.dumps(head["sealed"])
    assert "cube * 3" not in plan and "run_udf" not in plan and "scaled" not in plan
    assert [name for name in parts if head["private"].get(name.removeprefix("artefact ")) == "muses:code"]


def test_another_definition_is_another_layer(image: ml.Chain) -> None:
    def shown(factor: int) -> str:
        @ml.operator
        def scaled(data: Cube) -> Cube:
            return data * factor

        return ChainTiles(image.scaled().style(), "a").url

    assert shown(2) == shown(2) != shown(3)


# ------------------------------------------------------------------------------------------------- what is refused


def test_what_is_no_sealed_chain_is_refused(image: ml.Chain) -> None:
    body = image.scaled().sealed()
    head = split(body)[0]
    for junk in (b"", b"\x80\x04N.", body[: len(body) // 2], image.published.payload, join({}, {})):
        with pytest.raises(DocumentError):
            Sealed.opened(junk)
    code = image.run_udf(TRIPLED).published
    for document, told in (
        (code.document.decode(), "holds code: 'run_udf'"),
        (image.scaled().published.document.decode(), "holds code"),
    ):
        forged = {**head, "sealed": {**head["sealed"], "document": document}}
        with pytest.raises(PrivateChain, match=told):
            Sealed.opened(join(forged, {name: bytes(part) for name, part in split(body)[1].items()}))
    with pytest.raises(MusesError, match="evaluate them first"):
        from muses_lab.engine.sealed import seal

        seal(image.centred(**WHOLE).published)


def test_stand_ins_go_with_who_holds_them_and_never_run(image: ml.Chain) -> None:
    sealed = Sealed.opened(image.highest().sealed())
    (op,) = sealed.operators
    document = to_bytes(sealed.plan.root)
    assert registry[op.id] is op and parse(document, registry).hash == sealed.plan.root.hash
    with pytest.raises(PrivateChain, match="code is not here"):
        op.fn(image)
    with pytest.raises(PrivateChain, match="is private"):
        from muses_lab.publish.documents import keep

        keep(sealed.plan, default_store())


def test_a_chain_that_is_gone_takes_no_stand_in_of_another_along(image: ml.Chain) -> None:
    stays, goes = (Sealed.opened((image.scaled() + n).sealed()) for n in (1, 2))
    assert stays.operators == goes.operators
    (op,) = (op.id for op in goes.operators)
    del goes
    gc.collect()
    assert registry[op] is stays.operators[0]
    assert layout(stays.prepared, WINDOW).tasks


def test_threads_of_the_server_do_not_run_it(image: ml.Chain, tmp_path: Path) -> None:
    marks = tmp_path / "ran"

    @ml.operator
    def marking(data: Cube) -> Cube:
        marks.write_text(str(os.getpid()))
        return data

    layer = image.marking().style()
    sealed = layer.sealed()

    async def ask() -> None:
        server = TileService()
        name = await server.take_private(sealed.body, HERE)
        assert name == f"private-{layer.chain.published.chain_hash}" and len(server.private) == 1
        await server.picture(name, sealed.style, Tile(9, 258, 187))

    with pytest.raises(PrivateChain, match="runs on a cluster only.*without MUSES_COMPUTE=threads"):
        asyncio.run(ask())
    assert not marks.exists()


def test_the_store_has_nothing_of_it(image: ml.Chain) -> None:
    layer = image.scaled(by=5).style(vmax=11)
    sealed, store = layer.sealed(), default_store()
    assert sealed.chain not in [hash for hash, _ in store.documents()]
    assert not any(store.has_artefact(digest) for digest in layer.chain.published.artefacts)
    assert store.style(sealed.style) == layer.drawn.to_text()
    for share in (layer.publish, lambda: layer.share(user="bob"), layer.chain.materialize):
        with pytest.raises(PrivateChain, match="is private"):
            share()


# -------------------------------------------------------------------------------------------- kept, and for how long


def test_those_shown_longest_ago_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: PrivateChains[str] = PrivateChains(100)
    for name in ("a", "b"):
        kept.keep(name, name.upper(), 40, HERE)
    assert kept.get("a") == "A"
    kept.keep("c", "C", 40, HERE)
    assert [name for name in "abc" if name in kept._kept] == ["a", "c"] and kept.bytes == 80
    with pytest.raises(PrivateGone, match="Run the notebook's cells again"):
        kept.get("b")
    with pytest.raises(TooLarge, match="MUSES_PRIVATE_BYTES"):
        kept.keep("d", "D", 101, HERE)
    kept.keep("b", "again", 40, HERE)
    assert kept.get("b") == "again"


def test_what_nobody_looks_at_ends_with_its_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: PrivateChains[str] = PrivateChains(100)
    kept.keep("alive", "A", 1, HERE)
    kept.keep("ended", "E", 1, (HERE[0], "another"))
    now = private_chains.time.monotonic()
    monkeypatch.setattr(private_chains.time, "monotonic", lambda: now + private_chains.AFTER_KERNEL - 1)
    assert kept.get("ended") == "E"  # used now, and so kept
    monkeypatch.setattr(private_chains.time, "monotonic", lambda: now + 2 * private_chains.AFTER_KERNEL)
    assert kept.get("alive") == "A"
    with pytest.raises(PrivateGone):
        kept.get("ended")


# ------------------------------------------------------------------------------------------------------ on the map


def test_a_map_says_which_layers_are_private(
    image: ml.Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    given: list[bytes] = []
    monkeypatch.setattr(service, "give_private", given.append)
    m = Map()
    m.add(image.style(), name="Public")
    layer = m.add(image.scaled().style(cmap="magma", vmin=0, vmax=2000), name="Own")
    own, public = m.panel.layers
    assert own["private"] is True and public["private"] is False
    assert own["chain"] == f"private-{layer.chain.published.chain_hash}" and own["legend"]["vmax"] == 2000
    assert [Sealed.opened(body).chain_hash for body in given] == [layer.chain.published.chain_hash]
    address = m.tiles("Own").url
    m.add(layer, name="Own")  # the cell is run again: what failed is asked for again
    assert m.tiles("Own").url == f"{address}?again=1" and len(given) == 2
    m.add(image.scaled(by=3).style(), name="Own")
    assert m.panel.layers[0]["chain"] != own["chain"]
    assert "private" in repr(m.layer("Own"))
    m.fit_bounds(BOUNDS)
    m.save(tmp_path / "map.html")
    assert "Own" in (tmp_path / "map.html").read_text()


def test_more_dates_than_the_server_keeps_are_refused_at_once(
    s2: ml.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    own, given = s2.band("B4").scaled(), []

    def give(body: bytes) -> int:
        given.append(body)
        return 3 * len(body) - 1

    monkeypatch.setattr(service, "give_private", give)
    m = Map()
    with pytest.raises(MusesError, match="the 3 dates .*keeps .*MUSES_PRIVATE_BYTES.*choose fewer dates"):
        m.add(own.over_time(), name="Own")
    assert len(given) == 1 and not m.panel.layers
    m.add(own.median("t"), name="Own")


def test_values_series_and_zonal_statistics_are_those_of_the_code(s2: ml.Collection, image: ml.Chain) -> None:
    lon, lat = (BOUNDS[0] + BOUNDS[2]) / 2, (BOUNDS[1] + BOUNDS[3]) / 2
    assert float(image.scaled(by=3).at(lon, lat)) == 3 * float(image.at(lon, lat))
    series, before = (chain.median("t").series(lon, lat) for chain in (s2.band("B4").scaled(by=3), s2.band("B4")))
    np.testing.assert_array_equal(series.array, 3 * before.array)
    w, s, e, n = BOUNDS
    ring = [[w, s], [e, s], [e, n], [w, n], [w, s]]
    outline = {"type": "Polygon", "coordinates": [ring]}
    mean = [chain.aggregate_spatial(outline, "mean").compute().item() for chain in (image, image.scaled(by=3))]
    assert mean[1] == pytest.approx(3 * mean[0])


# ---------------------------------------------------------------------------------------------- errors of the code


def test_an_error_tells_the_line_of_the_users_code(image: ml.Chain) -> None:
    def helper(data: Cube) -> Cube:
        return data / {}["nothing"]  # the line that is told

    @ml.operator
    def broken(data: Cube) -> Cube:
        return helper(data)

    @ml.operator
    def silent(data: Cube) -> Cube:
        return None  # type: ignore[return-value]

    line = helper.__code__.co_firstlineno + 1
    told = rf"your operator 'broken' failed: KeyError: 'nothing' \(line {line}: return data / .*the line that is told"
    with pytest.raises(OperatorFailed, match=told):
        image.broken().compute(WINDOW)
    with pytest.raises(OperatorFailed, match="'silent' gave NoneType: it is to give a cube"):
        image.silent().compute(WINDOW)
    code = TRIPLED.replace("cube * 3", "cube * context['by']")
    with pytest.raises(OperatorFailed, match=r"the UDF failed: KeyError: 'by' \(line 2: return cube \* context"):
        image.run_udf(code).compute(WINDOW)
