"""odc-stac with Dask: the clear median of a band over all dates as a COG; asked by `benchmarks/medians.py`.

    python odc_stac_median.py FOLDER OUT          prints {"seconds", "processor", "memory", "version"}

Chunks of 1024 × 1024 pixels of all dates, in two threads, and bottleneck's median: the quickest that was found.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import warnings
from pathlib import Path

from contestant import unshadow

unshadow()

import bottleneck  # noqa: E402
import dask  # noqa: E402
import odc.geo.xr  # noqa: E402, F401
import odc.stac  # noqa: E402
import pystac  # noqa: E402
import xarray as xr  # noqa: E402
from odc.geo.cog import write_cog  # noqa: E402

BAND, CLEAR, SCALE, OFFSET, THREADS, CHUNK = "B04", (4, 5, 6), 1e-4, -0.1, 2, 1024


def main(folder: Path, out: Path) -> None:
    warnings.simplefilter("ignore")
    odc.stac.configure_rio(cloud_defaults=False, GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR")
    path = folder / "items.json"
    items = [pystac.Item.from_dict(item) for item in json.loads(path.read_text())["features"]]
    for item in items:
        item.set_self_href(str(path))
        item.make_asset_hrefs_absolute()
    began, used = time.perf_counter(), time.process_time()
    bands = odc.stac.load(
        items, bands=[BAND, "SCL"], chunks={"x": CHUNK, "y": CHUNK}, resampling="nearest", groupby="time"
    )
    values = bands[BAND].astype("f4") * SCALE + OFFSET
    clear = values.where(bands.SCL.isin(CLEAR) & (bands[BAND] > 0)).chunk({"time": -1})
    found = xr.apply_ufunc(
        bottleneck.nanmedian, clear, input_core_dims=[["time"]], kwargs={"axis": -1}, dask="parallelized",
        output_dtypes=["f4"],
    )  # fmt: skip
    with dask.config.set(scheduler="threads", num_workers=THREADS):
        write_cog(found.compute(), str(out), overwrite=True, blocksize=512, compress="deflate", predictor=3)
    told = {
        "seconds": time.perf_counter() - began, "processor": time.process_time() - used,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "version": odc.stac.__version__,
    }  # fmt: skip
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
