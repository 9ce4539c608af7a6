"""Valid rasters with random metadata, domains, files beside them and reference systems, met in every way.

`python -m tests.helpers.fuzz_rasters FOLDER DECOYS URL SEED NUMBER` prints each file that Python opened outside the
folder; the test watches what C libraries open.
"""

from __future__ import annotations

import os
import random
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from affine import Affine

from muses_lab import settings
from muses_lab.api.chain import Chain
from muses_lab.catalog.register import add
from muses_lab.compute.windows import assemble
from muses_lab.engine import Engine
from muses_lab.engine.mosaic import layout
from muses_lab.errors import MusesError
from muses_lab.operators import registry
from muses_lab.raster.asset import Asset, Band
from muses_lab.raster.header import read_header
from muses_lab.raster.window import Window
from muses_lab.scenes.lists import as_artefact
from muses_lab.scenes.scene import Scene, Scenes

BEGIN = "the-fuzz-begins"
PLACE = (10.0, 0.0, 364_000.0, 0.0, -10.0, 4_833_900.0)
DOMAINS = [
    "", "OVERVIEWS", "IMAGE_STRUCTURE", "SUBDATASETS", "DERIVED_SUBDATASETS", "GEOLOCATION", "RPC", "xml:VRT",
    "xml:ESRI", "xml:XMP", "json:ISIS3", "IMAGERY", "overviews", "MASK", "COLOR_PROFILE", "ESRI", "WMSMetadata",
]  # fmt: skip
KEYS = [
    "OVERVIEW_FILE", "MASK_FILE", "SUBDATASET_1_NAME", "X_DATASET", "Y_DATASET", "SRS", "BASENAME", "PROXY", "VRT",
    "SourceFilename", "INTERNAL_MASK_FLAGS_1", "source_0", "LINE_NUM_COEFF", "AREA_OR_POINT", "OVR_RESAMPLING_ALG",
]  # fmt: skip
BESIDE = [
    "{}.aux.xml", "{}.ovr", "{}.msk", "{}.msk.ovr", "{}.ovr.ovr", "{}.xml", "{}.vrt", "{stem}.tfw", "{stem}.wld",
    "{stem}.tab", "{stem}.aux", "{stem}.prj", "{stem}_rpc.txt", "{stem}_RPC.TXT", "{stem}.IMD", "{stem}.RPB",
    "{stem}_metadata.txt", "{stem}_MTL.txt", "METADATA.DIM", "{stem}.j2w", "{stem}.hdr", "{stem}.til", "{stem}.XML",
]  # fmt: skip
LAYOUTS: list[dict[str, object]] = [
    {}, {"ENDIANNESS": "BIG"}, {"BIGTIFF": "YES"}, {"tiled": True, "blockxsize": 128, "blockysize": 128},
    {"compress": "lzw", "predictor": 2}, {"compress": "packbits"}, {"dtype": "uint8", "compress": "jpeg"},
    {"count": 3, "interleave": "pixel"}, {"driver": "JP2OpenJPEG"}, {"driver": "JP2OpenJPEG", "GMLJP2V2_DEF": "YES"},
]  # fmt: skip


class Maker:
    """Random rasters; the same for the same seed."""

    def __init__(self, decoys: Path, url: str, seed: int) -> None:
        self.rng = random.Random(seed)
        self.decoys, self.url = decoys, url

    def name(self) -> str:
        """What GDAL or PROJ could take for something to open."""
        pick, number = self.rng.choice, self.rng.randrange(1 << 30)
        file = str(self.decoys / pick(["secret.tif", "secret.txt", "grid.gsb"]))
        address = (
            f"{pick(['/vsicurl/', '/vsicurl_streaming/', '', '/vsis3/', '/vsigzip//vsicurl/'])}{self.url}/{number}.tif"
        )
        target = pick([file, file, address])
        return pick([
            target, f"/vsizip/{target}", f"/vsigzip/{target}", f"/vsisubfile/0_100,{target}", f"file://{file}",
            f"GTIFF_DIR:1:{target}", f"GTIFF_RAW:{target}", f"../decoys/{os.path.basename(file)}",
            f":::BASE:::{target}",
            f'<VRTDataset rasterXSize="256" rasterYSize="256"><VRTRasterBand dataType="UInt16" band="1"><SimpleSource>'
            f"<SourceFilename>{target}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>",
            f"<GDAL_WMS><Service name='TMS'><ServerUrl>{self.url}/${{x}}</ServerUrl></Service></GDAL_WMS>",
            f"<GDALWarpOptions><SourceDataset>{target}</SourceDataset></GDALWarpOptions>", f"vrt://{target}",
            f"+proj=longlat +nadgrids={target}", f"DERIVED_SUBDATASET:AMPLITUDE:{target}", f"NETCDF:{target}:x",
        ])  # fmt: skip

    def place(self) -> tuple[str, str]:
        """Domain and key of metadata: every other time those that GDAL is known to follow."""
        if self.rng.random() < 0.5:
            return self.rng.choice(["OVERVIEWS", "overviews"]), self.rng.choice(["OVERVIEW_FILE", "MASK_FILE"])
        return self.rng.choice(DOMAINS), self.rng.choice(KEYS)

    def wkt(self) -> str:
        """A reference system that names a grid, or an address that stands for one."""
        target = self.name()
        return self.rng.choice([
            f'GEOGCS["x",DATUM["d",SPHEROID["WGS 84",6378137,298.257223563],EXTENSION["PROJ4_GRIDS","{target}"]],'
            'PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]]',
            'PROJCS["x",GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],'
            'PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]],PROJECTION["Mercator_1SP"],PARAMETER["central_meridian",0],'
            'PARAMETER["scale_factor",1],PARAMETER["false_easting",0],PARAMETER["false_northing",0],UNIT["metre",1],'
            f'EXTENSION["PROJ4","+proj=merc +a=6378137 +b=6378137 +units=m +nadgrids={target} +wktext"]]',
            target, f"+proj=utm +zone=31 +nadgrids={target}", f"+init={target}:1", f"ESRI::{target}",
        ])  # fmt: skip

    def xml(self) -> str:
        """Auxiliary metadata with anything in it."""
        places = [self.place() for _ in range(self.rng.randrange(4))]
        items = "".join(
            f'<Metadata domain="{domain}"><MDI key="{key}">{escape(self.name())}</MDI></Metadata>'
            for domain, key in places
        )
        more = self.rng.choice([
            "", f"<SRS>{escape(self.wkt())}</SRS>", "<GeoTransform>364000,10,0,4833900,0,-10</GeoTransform>",
            f'<PAMRasterBand band="1"><Description>{escape(self.name())}</Description></PAMRasterBand>',
            f"<Subdataset name='1'><PAMDataset>{items}</PAMDataset></Subdataset>",
            f"<GCPList Projection='{escape(self.wkt(), {chr(39): '&apos;'})}'></GCPList>",
            f'<!DOCTYPE a [<!ENTITY x SYSTEM "{escape(self.name())}">]>',
        ])  # fmt: skip
        return f"<PAMDataset>{items}{more}</PAMDataset>"

    def raster(self, folder: Path) -> Path:
        options = {
            "driver": "GTiff", "height": 512, "width": 512, "count": 1, "dtype": "uint16", "crs": "EPSG:32631",
            "transform": Affine(*PLACE), **self.rng.choice(LAYOUTS),
        }  # fmt: skip
        if self.rng.random() < 0.3 and options["driver"] == "GTiff":
            options |= {"crs": "+proj=tmerc +lon_0=3.1 +k=0.9 +ellps=GRS80", "GEOTIFF_KEYS_FLAVOR": "ESRI_PE"}
        path = folder / ("a.jp2" if options["driver"] == "JP2OpenJPEG" else "a.tif")
        with rasterio.open(path, "w", **options) as file:
            file.write(np.full((options["count"], 512, 512), 7, options["dtype"]))
            for _ in range(self.rng.randrange(5)):
                domain, key = self.place()
                file.update_tags(ns=domain or None, **{key: self.name()})
                file.update_tags(1, ns=domain or None, **{key: self.name()})
        if self.rng.random() < 0.5 and options["driver"] == "GTiff":
            with rasterio.open(path, "r+") as file:
                file.build_overviews(self.rng.choice([[2], [2, 4, 8]]))
        self.written_over(path)
        self.beside(path)
        return path

    def written_over(self, path: Path) -> None:
        """Texts of the keys, and some bytes of the directories."""
        body = bytearray(path.read_bytes())
        at = body.find(b"ESRI PE String = ")
        if at >= 0:
            end = body.index(b"|", at)
            body[at + 17 : end] = self.wkt().encode()[: end - at - 17].ljust(end - at - 17)
        if self.rng.random() < 0.2:
            for _ in range(8):
                body[self.rng.randrange(8, min(400, len(body)))] = self.rng.randrange(256)
        path.write_bytes(body)

    def beside(self, path: Path) -> None:
        for _ in range(self.rng.randrange(6)):
            name = self.rng.choice(BESIDE).format(path.name, stem=path.stem)
            other = path.with_name(name)
            kind = self.rng.randrange(4)
            if other.is_symlink() or other == path:
                continue
            if kind == 0:
                other.unlink(missing_ok=True)
                os.symlink(self.decoys / self.rng.choice(["secret.tif", "secret.txt"]), other)
            elif kind == 1:
                other.write_text(self.name())
            elif kind == 2 and not name.endswith(("wld", "tfw", "j2w")):
                with rasterio.open(other, "w", driver="GTiff", height=256, width=256, count=1, dtype="uint16") as file:
                    file.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=self.name())
            else:
                other.write_text(self.xml())


def meet(path: Path, folder: Path) -> None:
    """A raster in every way that it can be met, whatever comes of it."""
    ways = [
        lambda: read_header(path),
        lambda: Window.like(path),
        lambda: add([path], catalog=folder / "registered", collection="fuzz", date="2018-06-10"),
    ]
    for way in ways:
        with suppress(MusesError, ValueError):
            way()
    settings.register_catalog("fuzz", str(path.parent))
    scene = Scene("s", "2018-06-10T10:00:00Z", "EPSG:32631", {"B": Asset(path.name, PLACE, (512, 512))}, grid="FUZZ")
    scenes = Scenes("fuzz", "fuzz", (Band("B", dtype="uint16"),), (scene,))
    chain = Chain(registry.node("muses:load_items", digest=scenes.digest), {scenes.digest: as_artefact(scenes)})
    engine, published = Engine(64 << 20), chain.published
    engine.keep(published.hash, published)
    for pixel, size in ((10, 512), (40, 128), (160, 32)):
        bounds = (PLACE[2], PLACE[5] - pixel * size, PLACE[2] + pixel * size, PLACE[5])
        box = Window.from_bounds(bounds, crs="EPSG:32631", bounds_crs="EPSG:32631", shape=(size, size))
        plan = layout(published.prepared, box)
        found = assemble(plan, {key: engine.run(published.hash, key, lambda: False) for key in plan.tasks})
        valid = found.values[np.isfinite(found.values)]
        if (valid == 42_424).any() or np.isin(valid, [0x6573, 0x7263, 0x7465, 0x2074]).any():
            print(f"pixels of a decoy: {path}", flush=True)
    engine.reader.close()


def main(folder: Path, decoys: Path, url: str, seed: int, number: int) -> None:
    warnings.simplefilter("ignore")
    settings.home()
    maker = Maker(decoys, url, seed)
    paths = []
    for n in range(number + 2):
        (folder / str(n)).mkdir(parents=True)
        paths.append(maker.raster(folder / str(n)))
    for path in paths[:2]:  # all that is loaded when it is first needed is loaded now
        meet(path, path.parent)
    watching = True

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event in ("open", "socket.connect", "subprocess.Popen", "os.listdir"):
            target = str(arguments[1] if event == "socket.connect" else arguments[0])
            if str(decoys) in target or event in ("socket.connect", "subprocess.Popen"):
                print(f"{event}: {target}", flush=True)

    sys.addaudithook(hook)
    (folder / BEGIN).write_text("")
    for path in paths[2:]:
        meet(path, path.parent)
    watching = False
    print("met", number, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
