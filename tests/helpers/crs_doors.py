"""Texts that lead PROJ or GDAL elsewhere, and every way by which a text from elsewhere becomes a reference system.

As a program (`python -m tests.helpers.crs_doors DECOY URL`) it brings each text to each door and prints what became
of it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import numpy as np
import pyproj

from muses_lab import products
from muses_lab.api.chain import Chain
from muses_lab.document.graph import parse
from muses_lab.errors import MusesError
from muses_lab.export.materialized import area_from_json
from muses_lab.operators import registry
from muses_lab.operators.cubes import BBox
from muses_lab.raster.asset import Asset, Band
from muses_lab.raster.grid import Grid, Rect
from muses_lab.raster.window import Window, from_json
from muses_lab.scenes.lists import as_artefact
from muses_lab.scenes.scene import Scene, Scenes
from muses_lab.scenes.source import source_of
from muses_lab.scenes.wire import pack, unpack

POINT = {"type": "Point", "coordinates": [1.4, 43.6]}
BOUNDS = (1.3, 43.5, 1.5, 43.7)
WGS84 = pyproj.CRS(4326)
SPHERE = (
    'PROJCS["x / y",GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],PRIMEM["Greenwich",0],'
    'UNIT["degree",0.0174532925199433]],PROJECTION["Mercator_1SP"],PARAMETER["central_meridian",0],'
    'PARAMETER["scale_factor",1],PARAMETER["false_easting",0],PARAMETER["false_northing",0],UNIT["metre",1],'
    'EXTENSION["PROJ4","+proj=merc +a=6378137 +b=6378137 +lon_0=0 +x_0=0 +y_0=0 +k=1 +units=m %s +wktext +no_defs"]]'
)
DERIVED = (
    'GEOGCRS["r",BASEGEOGCRS["WGS 84",DATUM["World Geodetic System 1984",ELLIPSOID["WGS 84",6378137,298.257223563]]],'
    'DERIVINGCONVERSION["x",METHOD["%s"]],CS[ellipsoidal,2],AXIS["latitude",north,ANGLEUNIT["degree",0.0174532925199433]],'
    'AXIS["longitude",east,ANGLEUNIT["degree",0.0174532925199433]]]'
)
BOUND = (
    f'BOUNDCRS[SOURCECRS[{pyproj.CRS(4275).to_wkt()}],TARGETCRS[{WGS84.to_wkt()}],ABRIDGEDTRANSFORMATION["x",'
    'METHOD["NTv2",ID["EPSG",9615]],PARAMETERFILE["Latitude and longitude difference file","%s",ID["EPSG",8656]]]]'
)
DATUM = (
    'GEOGCS["x",DATUM["d",SPHEROID["WGS 84",6378137,298.257223563],EXTENSION["PROJ4_GRIDS","%s"]],'
    'PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]]'
)
HEIGHT = (
    f'COMPD_CS["c",{WGS84.to_wkt("WKT1_GDAL")},VERT_CS["h",VERT_DATUM["h",2005,EXTENSION["PROJ4_GRIDS","%s"]],'
    'UNIT["metre",1]]]'
)
GEOID = (
    f'COMPOUNDCRS["c",{WGS84.to_wkt()},VERTCRS["v",VDATUM["v"],CS[vertical,1],AXIS["up",up,LENGTHUNIT["metre",1]],'
    'GEOIDMODEL["%s"]]]'
)
REMARK = pyproj.CRS(3395).to_wkt()[:-1] + ',REMARK["PROJ CRS string: +proj=merc %s +type=crs"]]'


def used(path: str) -> dict[str, str]:
    """Texts by which PROJ opens a horizontal grid when it transforms coordinates."""
    pipeline = f"PROJ-based operation method: +proj=pipeline +step +proj=hgridshift +grids={path}"
    return {
        "extension": SPHERE % f"+nadgrids={path}",
        "extension, quoted": SPHERE % f'+nadgrids=""{path}""',
        "extension, second": SPHERE % f"+nadgrids=@missing.gsb,{path}",
        "parameter file": BOUND % path,
        "datum": DATUM % path,
        "method": DERIVED % f"PROJ hgridshift grids={path}",
        "pipeline": DERIVED % pipeline,
        "PROJJSON": pyproj.CRS(BOUND % path).to_json(),
        "PROJJSON method": pyproj.CRS(DERIVED % pipeline).to_json(),
        "PROJ string": f"+proj=longlat +ellps=WGS84 +nadgrids={path} +type=crs",
    }


def bad(path: str, url: str) -> dict[str, str]:
    """All texts that must be refused."""
    return used(path) | {
        "heights": HEIGHT % path,
        "geoid": GEOID % f"PROJ {path}",
        "geoid by itself": GEOID % path,
        "remark": REMARK % f"+nadgrids={path}",
        "spaces": SPHERE % f"+nadgrids = @null , {path}",
        "init": SPHERE.replace("+proj=merc", f"+init={path}:1") % "",
        "model": DERIVED % f"PROJ defmodel model={path}",
        "xy": DERIVED % f"PROJ deformation xy_grids={path} z_grids={path}",
        "file": DERIVED % f"PROJ tinshift file={path}",
        "up": BOUND % "../../decoy.gsb",
        "home": BOUND % "~/decoy.gsb",
        "drive": BOUND % "C:decoy.gsb",
        "share": BOUND % r"\\host\share\decoy.gsb",
        "grid of a server": BOUND % f"{url}/decoy.tif",
        "extension of a server": SPHERE % f"+nadgrids={url}/decoy.tif",
        "address": f"{url}/crs",
        "curl": f"/vsicurl/{url}/crs",
        "path": path,
        "urn of nobody": "urn:ogc:def:object:EPSG::4326",
        "init of PROJ": f"+init={path}:1",
        "a file's section": f"{path}:1",
        "authority": "decoy:1",
        "name": "WGS 84",
        "twice": '{"type": "GeographicCRS", "type": "BoundCRS"}',
        "no type": json.dumps({"proj": "longlat", "nadgrids": path}),
        "deep": "[" * 5000,
        "deep PROJJSON": '{"type":' + "[" * 5000,
        "deep WKT": "GEOGCS[" * 2000,
        "long": pyproj.CRS(32631).to_wkt()[:-1] + f',REMARK["{"a" * 20_000}"]]',
        "unclosed": 'GEOGCS["x",DATUM["d"',
        "behind its quotes": SPHERE.replace('"x / y"', '"x"+nadgrids=/y"') % "",
        "null": 'GEOGCS["\0"]',
    }


def item(**proj: object) -> dict:
    asset = {
        "href": "a.tif", "proj:shape": [100, 100], "proj:transform": [10, 0, 370_000, 0, -10, 4_830_000],
        "data_type": "uint16", "roles": ["data"], "type": "image/tiff; application=geotiff", **proj,
    }  # fmt: skip
    return {"type": "Feature", "id": "s", "properties": {"datetime": "2018-06-01T10:00:00Z"}, "assets": {"red": asset}}


def published(**proj: object) -> str:
    problems: list[products.Problem] = []
    found = products.scenes([item(**proj)], {"id": "c"}, "nowhere", problems)
    if problems:
        raise ValueError(problems[0].reason)
    return found.scenes[0].crs


def scenes(crs: str, more: str | None = None) -> Scenes:
    asset = Asset("a.tif", (10.0, 0.0, 370_000.0, 0.0, -10.0, 4_830_000.0), (100, 100))
    two = [Scene("a", "2018-06-01T00:00:00Z", crs, {"red": asset}, grid="g")]
    if more is not None:
        two.append(Scene("b", "2018-06-02T00:00:00Z", more, {"red": asset}, grid="g"))
    return Scenes.from_json(json.loads(Scenes("c", "nowhere", (Band("red"),), tuple(two)).to_bytes()))


def planned(pinned: Scenes) -> object:
    chain = Chain(registry.node("muses:load_items", digest=pinned.digest), {pinned.digest: as_artefact(pinned)})
    return chain.plan(Window.from_bounds(BOUNDS, resolution=100))


def packed(text: str) -> object:
    pinned = scenes(text)
    return planned(unpack(pack(pinned, source_of(pinned).columns)))


def many(text: str) -> object:
    """A list of so many grids that they are searched by place before they are made."""
    asset = Asset("a.tif", (10.0, 0.0, 370_000.0, 0.0, -10.0, 4_830_000.0), (100, 100))
    ring = {"type": "Polygon", "coordinates": [[[1.3, 43.5], [1.5, 43.5], [1.5, 43.7], [1.3, 43.5]]]}
    every = [
        Scene(f"s{n}", "2018-06-01T00:00:00Z", text, {"red": asset}, grid=f"g{n}", footprint=ring) for n in range(20)
    ]
    return planned(Scenes("c", "nowhere", (Band("red"),), tuple(every)))


def document(process: str, **arguments: object) -> object:
    nodes = {"a": {"process_id": "load_collection", "arguments": {"id": "s"}}}
    nodes["b"] = {"process_id": process, "arguments": {"data": {"from_node": "a"}, **arguments}, "result": True}  # type: ignore[dict-item]
    return parse(json.dumps({"process_graph": nodes}).encode(), registry)


def extent(crs: str) -> dict:
    return {"west": 1.3, "south": 43.5, "east": 1.5, "north": 43.7, "crs": crs}


DOORS: dict[str, Callable[[str], object]] = {
    "proj:code of an item": lambda text: published(**{"proj:code": text}),
    "proj:epsg of an item": lambda text: published(**{"proj:epsg": text}),
    "proj:wkt2 of an item": lambda text: published(**{"proj:wkt2": text}),
    "proj:projjson of an item": lambda text: published(**{"proj:projjson": text}),
    "a list of scenes": lambda text: planned(scenes(text)),
    "a second scene of a grid": lambda text: planned(scenes("EPSG:32631", text)),
    "a packed list of scenes": packed,
    "a long list of scenes": many,
    "a grid": lambda text: Grid("g", text, (0.0, 0.0), 10.0, Rect(0, 1, 0, 1)),
    "the projection of a document": lambda text: document("resample_spatial", resolution=10, projection=text),
    "the extent of a document": lambda text: document("muses:otsu", extent=extent(text), resolution=10),
    "a box": lambda text: BBox.model_validate(extent(text)),
    "the window of a job": lambda text: from_json({"shape": [2, 2], "affine": [1, 0, 1, 0, -1, 45], "crs": text}),
    "the area of a job": lambda text: area_from_json({"geometry": POINT, "crs": text}),
    "a window": lambda text: Window.from_bounds(BOUNDS, crs=text, resolution=0.01),
    "bounds of a window": lambda text: Window.from_bounds(BOUNDS, resolution=100, bounds_crs=text),
}  # fmt: skip


def outcome(door: str, text: str) -> str:
    """`refused: …` where an error of ours says so, and what happened else."""
    try:
        found = DOORS[door](text)
    except (MusesError, ValueError, Warning) as error:
        return f"refused: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return f"let in: {str(found)[:200]}"


if __name__ == "__main__":
    np.seterr(all="ignore")
    texts = bad(sys.argv[1], sys.argv[2])
    print(json.dumps({f"{door} | {label}": outcome(door, text) for door in DOORS for label, text in texts.items()}))
