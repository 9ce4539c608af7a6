"""Processes that are the user's own, a kernel, a script or the Jupyter server, stay as the user has set them up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.service import OTHER_EXTENSIONS

STATE = """
import ctypes, json, os, sys
import rasterio

gdal = ctypes.CDLL(next(line.split()[-1] for line in open("/proc/self/maps") if "libgdal" in line))
gdal.GDALGetCacheMax64.restype = ctypes.c_int64
gdal.CPLGetConfigOptions.restype = ctypes.POINTER(ctypes.c_char_p)
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
pieces = (ctypes.c_void_p * 1200)()


def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


def gdal_options():
    found, options = gdal.CPLGetConfigOptions(), []
    while found and found[len(options)]:
        options.append(found[len(options)].decode())
    return sorted(options)


def kept():
    '''Whether the allocator keeps 120 MB that were freed at the end of its heap.'''
    before = resident()
    for n in range(len(pieces)):
        pieces[n] = libc.malloc(100_000)
        libc.memset(pieces[n], 1, 100_000)
    for n in reversed(range(len(pieces))):
        libc.free(pieces[n])
    return resident() - before > 100


def state():
    cache = gdal.GDALGetCacheMax64()
    return {"os.environ": dict(os.environ), "cache": cache, "options": gdal_options(), "kept": kept()}


before = state()
"""

KERNEL = """
import muses_lab as ml, muses_widgets, muses_lab.api.chain, muses_lab.export, muses_lab.compute.dask_backend
"""

SERVER = """
from jupyter_server.serverapp import ServerApp
app = ServerApp()
extensions = dict.fromkeys(sys.argv[2:], False) | {"muses_lab.service": True}  # others do what they like
app.initialize(["--allow-root", "--port=0", "--no-browser", f"--ServerApp.jpserver_extensions={extensions}"])
assert "muses_service" in app.web_app.settings
import muses_lab.service
muses_lab.service._make_ready()  # what it loads a second later
"""

COMPUTING = """
import muses_lab as ml
ml.use("threads")
red = ml.collection("sentinel-2-l2a", catalog=sys.argv[1]).mask_clouds().bands("red").median("t")
window = ml.Window.from_bounds((1.40, 43.58, 1.44, 43.61), crs="EPSG:4326", resolution=0.0005)
red.compute(window)
red.export("red.tif", window).wait()
"""

CHECK = """
after = state()
for name in before:
    if before[name] != after[name]:
        sys.exit(f"{name}: {before[name]} is now {after[name]}")
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads what Linux tells of a process")
@pytest.mark.parametrize("code", [KERNEL, SERVER, COMPUTING], ids=["kernel", "server", "computing in threads"])
def test_settings_of_gdal_the_allocator_and_the_environment_are_left_alone(code, sample_catalog, fresh_home, tmp_path):
    command = [sys.executable, "-c", STATE + code + CHECK, str(sample_catalog), *OTHER_EXTENSIONS]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_allocator_is_told_to_keep_what_was_freed_where_blocks_are_evaluated(tmp_path):
    """So the test above sees what it looks for."""
    from muses_lab.compute import tuning

    command = [sys.executable, "-c", STATE + "print(before['kept'])"]
    for variables, kept in (({}, "False"), (tuning.VARIABLES, "True")):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")} | variables
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.stdout.strip() == kept, done.stderr[-2000:]
