"""Compiles the engine's kernels and keeps them on disk, so that nobody's first view waits for a compiler."""

from __future__ import annotations

import imagecodecs
import numpy as np
import xarray as xr

from muses_lab import operators
from muses_lab.engine.compiled import vm
from muses_lab.operators import focal
from muses_lab.raster import pixels, warping
from muses_lab.raster.differences import undo_differences
from muses_lab.raster.values import to_physical


def warm() -> None:
    """Calls the kernels of every view with the types that reading and evaluation use: a process does so as it begins.

    Loads what unpacks blocks of files, too.
    """
    for name in ("deflate_decode", "lzw_decode", "zstd_decode"):
        getattr(imagecodecs, name)  # else a process's first view loads it
    for kind in ("u1", "u2", "u4"):
        undo_differences(np.zeros((4, 16), kind))
    for kind in ("u1", "u2", "i2"):
        block = np.zeros((8, 8), kind)
        for writeable in (True, False):
            block.setflags(write=writeable)
            vm.differs(block, 0)
            vm.differs(block[:4, :4], 0)
    for precision in (np.float32, np.float64):
        image = xr.DataArray(np.zeros((8, 8), precision), dims=("y", "x"))
        focal.apply_kernel(image, [[1.0]])
        focal.focal_mean(image, 1)
        focal.focal_median(image, 2)
    _code()
    windows()


def seldom() -> None:
    """Calls the kernels that few views have: they are compiled once after installing, loaded when used.

    Loading all of them takes two seconds of a process's start.
    """
    for kind in ("u1", "u2", "i2"):
        block = np.zeros((8, 8), kind)
        to_physical(block, None, 1.0, 0.0)
        to_physical(block[:4, :4], None, 1.0, 0.0)
    for precision in (np.float32, np.float64):
        warping.warm(precision)
    operators.warm()


def windows() -> None:
    """Calls those that lay out windows and put them together, which is done where tiles are drawn."""
    plain = pixels.between(np.zeros((3, 3)), 0, 0, 16, 16, 16)
    for x in (plain, np.broadcast_to(np.arange(16.0), (16, 16))):
        for y in (plain, np.broadcast_to(np.arange(16.0)[:, None], (16, 16))):
            pixels.pixels_at(x, y, 0.0, 0.0, 1.0, 1.0, 0.0, (0.0, 1.0), 1 << 30)
            pixels.depths(x, y, 0.0, 0.0, 1.0, 1.0)
    nodes = np.zeros((3, 3))
    pixels.pixels_between(nodes, nodes, 0, 0, 16, (16, 16), 0.0, 0.0, 1.0, 1.0, 0.0, (0.0, 1.0), 1 << 30)
    rows, cols = pixels.pixels_at(plain, plain, 0.0, 0.0, 1.0, 1.0, 0.0, (0.0, 1.0), 1 << 30)
    where = np.ones((16, 16), np.bool_)
    pixels.around(rows, cols, where, True)
    pixels.touched(rows, cols, where, True, (0, 16, 0, 16), 0, 0, 512, np.zeros((1, 1), np.bool_))
    for dtype in (np.float32, np.float64):
        for other in (np.float32, np.float64):
            pixels.paste(np.zeros((1, 512, 512), other), 0, 0, rows, cols, where, True, np.zeros((1, 16, 16), dtype))


def _code() -> None:
    """One pixel through the machine: all instructions and reducers are of one function."""
    image = np.zeros((1, 1), np.uint8)
    plane = (image.__array_interface__["data"][0], 1, 0, vm.NOTHING, -1, 0, 0, 0, 1, vm.STRAIGHT)
    planes, factors = np.array([plane], np.int64), np.ones((1, 4))
    maps, tables, absent = np.zeros(1, np.int32), np.zeros(1, np.float32), np.zeros(1, np.float32)
    vm.run(
        np.array([[vm.LOAD, 0, 0, 0, 0]], np.int32), np.empty(0, np.int32), np.empty(0, np.float32), 1,
        np.array([[0, 1]], np.int32), planes, factors, maps, tables, absent, np.ones((0, 1), np.bool_),
        np.zeros(1, np.int32), np.array([[vm.MEDIAN, 0]], np.int32), np.zeros(1), *vm.networks(1, False), 32,
        0, 1, np.empty((1, 1, 1), np.float32),
    )  # fmt: skip
    vm.all_removed(0, 1, planes, factors, maps, tables, absent[0], 1, 1)
