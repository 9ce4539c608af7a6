"""Real STAC items, both ways in: none is lost without a word, each is where it says, and pixels are as rasterio has
them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from shapely.geometry import shape

import muses_lab as ml
from muses_lab.catalog.register import add
from muses_lab.errors import NotFound
from muses_lab.raster import access, http
from muses_lab.scenes.scene import Scenes
from tests.helpers.range_server import RangeServer, serving
from tests.oracles.values import values_by_metadata

DATA = Path(os.environ.get("MUSES_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def items_of(path: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(path.read_text())
    except ValueError:
        return []
    if not isinstance(found, dict):
        return []
    features = [found] if found.get("type") == "Feature" else found.get("features") or []
    return [f for f in features if isinstance(f, dict) and isinstance(f.get("assets"), dict)]


DOCUMENTS = [p for p in sorted(DATA.rglob("*.json")) if items_of(p)] if DATA.exists() else []


@pytest.fixture
def nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RangeServer]:
    """A server that has none of the files: those that are not here are asked for there, not on the internet."""
    monkeypatch.setattr(http, "BACK_OFF", 0.01)
    monkeypatch.setenv("MUSES_COMPUTE", "threads")
    (tmp_path / "nothing").mkdir()
    with serving(tmp_path / "nothing") as server:
        monkeypatch.setenv("MUSES_ALLOWED_HOSTS", f"127.0.0.1:{server.port}")
        yield server


def laid_out(path: Path, folder: Path, server: RangeServer) -> list[dict[str, Any]]:
    """The items of a document in one collection, beside copies of those of their files that are here."""
    here = {p.name: p for p in path.parent.rglob("*") if p.suffix.lower() in (".tif", ".tiff", ".jp2")}
    items = items_of(path)
    folder.mkdir()
    for item in items:
        item["collection"] = "c"
        for asset in item["assets"].values():
            name = asset["href"].rsplit("/", 1)[-1]
            if name in here:
                asset["href"] = name
                (folder / name).write_bytes(here[name].read_bytes())
            elif "://" in asset["href"]:
                asset["href"] = f"{server.url}/{name}"
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return items


def collection(way: str, folder: Path) -> tuple[ml.Collection | None, str]:
    """What one of the ways in gives, and what it tells."""
    if way == "open_catalog":
        return ml.collection("c", ml.open_catalog(folder / "items.json")), ""
    report = add([folder / "items.json"], catalog=folder.parent / "catalogue", collection="c")
    if not report.added:
        return None, str(report)
    return ml.collection("c", ml.open_catalog(folder.parent / "catalogue")), str(report)


def scenes_of(chain: ml.Collection | None) -> tuple[Scenes | None, str]:
    if chain is None:
        return None, ""
    try:
        resolved = chain.resolve()
    except NotFound as error:
        return None, str(error)
    (found,) = resolved.published.scenes.values()
    return found, " ".join(resolved.problems)


def stated_places(item: dict[str, Any]) -> list[tuple]:
    """CRS, transform and shape of the assets for which the metadata say all three."""
    found = []
    for asset in item["assets"].values():
        said = item["properties"] | asset
        crs = said.get("proj:code") or (said.get("proj:epsg") and f"EPSG:{said['proj:epsg']}")
        if crs and said.get("proj:transform") and said.get("proj:shape"):
            found.append((crs, tuple(map(float, said["proj:transform"][:6])), tuple(said["proj:shape"])))
    return found


@pytest.mark.skipif(not DOCUMENTS, reason=f"there are no real data in {DATA}")
@pytest.mark.parametrize("way", ["open_catalog", "catalog add"])
@pytest.mark.parametrize("path", DOCUMENTS, ids=[p.parent.name[:30] + "/" + p.stem[:30] for p in DOCUMENTS])
def test_real_items_are_opened_where_they_are_or_told_of(
    path: Path, way: str, nothing: RangeServer, fresh_home: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "files"
    items = laid_out(path, folder, nothing)
    chain, told = collection(way, folder)
    scenes, more = scenes_of(chain)
    told += more
    known = {scene.id: scene for scene in scenes.scenes} if scenes else {}
    for item in items:
        if item["id"] not in known:
            assert item["id"] in told or f"none of the {len(items)} scenes" in told, (item["id"], told)
            continue
        scene, places = known[item["id"]], stated_places(item)
        assert shape(scene.footprint).intersects(shape(item["geometry"]))
        for band in scenes.bands:
            if band.name not in scene.assets:
                assert band.name in told
                continue
            asset = scene.assets[band.name]
            file = Path(access.resolve_href(scenes.catalog, asset.href)) if "://" not in asset.href else None
            if file is None or not file.exists():
                assert (scene.crs, asset.transform, asset.shape) in places, band.name
                continue
            with rasterio.open(file) as source:
                assert scene.crs == source.crs.to_string()
                assert (asset.transform, asset.shape) == (tuple(source.transform)[:6], source.shape)
            found = chain.band(band.name).max("t").compute(ml.Window.like(file)).values
            np.testing.assert_allclose(
                np.squeeze(found), values_by_metadata(file, asset, band), rtol=1e-6, err_msg=band.name
            )
