"""Clusters and principal components of an image's bands: fitted on a pinned extent, applied pixel by pixel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import xarray as xr
from numba import njit
from pydantic import Field

from muses_lab.errors import DocumentError, MusesError
from muses_lab.operators.contract import Cost, Cube, Fit, Meta
from muses_lab.operators.cubes import BBox, Metres
from muses_lab.operators.declare import operator
from muses_lab.resources import cancel

Scaling = Literal["none", "zscore", "minmax"]
"""How bands are brought to one scale: not; by mean and standard deviation; by least and greatest value."""

_TOGETHER = 1 << 14
"""Pixels between two looks at the cancel flag."""


def _samples(data: Cube) -> np.ndarray:
    """The pixels of which all bands are valid: float64 (pixel, band), row by row from the north-west."""
    cube = data.transpose("y", "x", "bands") if "bands" in data.dims else data.expand_dims("bands", -1)
    values = np.asarray(cube.data).reshape(-1, cube.shape[-1])
    return values[np.isfinite(values).all(axis=1)].astype(np.float64)


def _bands(data: Cube) -> list[str]:
    return [str(band) for band in data["bands"].values] if "bands" in data.dims else [""]


def _scales(values: np.ndarray, scaling: str) -> tuple[np.ndarray, np.ndarray]:
    """(offset, scale) of each band; the scale of a constant band is 1."""
    if scaling == "minmax":
        offset, scale = values.min(axis=0), np.ptp(values, axis=0)
    else:
        offset, scale = values.mean(axis=0), values.std(axis=0)
    if scaling == "none":
        scale = np.ones_like(offset)
    return offset, np.where(scale > 0, scale, 1.0)


def _one_image(arguments: Mapping[str, Any], metas: Mapping[str, Meta], name: str) -> Meta:
    meta = metas["data"]
    if meta.time:
        raise DocumentError(f"{name} takes an image without dates: reduce over 't' first")
    return meta


def _all_bands(
    arguments: Mapping[str, Any], metas: Mapping[str, Meta], wanted: tuple[str, ...] | None
) -> dict[str, tuple[str, ...] | None]:
    return {"data": metas["data"].bands}


# --------------------------------------------------------------------------------------------------------- k-means


def fit_kmeans(
    data: Cube, clusters: int = 8, scaling: str = "zscore", samples: int = 100_000, seed: int = 0
) -> dict[str, Any]:
    """The centres of k-means (Lloyd's algorithm from k-means++, the best of ten starts), in order of the first band."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    values = _samples(data)
    if len(values) > samples:
        chosen = np.random.default_rng(seed).choice(len(values), samples, replace=False)
        values = values[np.sort(chosen)]
    different = len(np.unique(values, axis=0)) if len(values) else 0
    if different < clusters:
        raise MusesError(f"{clusters} clusters need as many different pixels; the extent has {different}")
    cancel.check()
    offset, scale = _scales(values, scaling)
    with threadpool_limits(1):  # sums of several threads would differ from run to run
        model = KMeans(clusters, n_init=10, random_state=seed, algorithm="lloyd").fit((values - offset) / scale)
    centres = sorted(model.cluster_centers_.tolist())
    return {"bands": _bands(data), "offset": offset.tolist(), "scale": scale.tolist(), "centres": centres}


def _clustering(arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
    """Measured with ten bands, in ten starts: 22 to 37 µs for a sample and ten clusters of noise, 4 to 6 of classes."""
    used = min(arguments["samples"], rows * columns)
    return Cost(37e-6 * used * arguments["clusters"] / 10, 400 * used + 100 * rows * columns)


def _clusters(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    _one_image(arguments, metas, "kmeans")
    return Meta(time=False)


@operator("muses:kmeans", support=Fit(fit_kmeans), cost=_clustering, shape=_clusters, needs=_all_bands)
def kmeans(
    data: Cube,
    clusters: Annotated[int, Field(ge=2, le=1000)] = 8,
    scaling: Scaling = "zscore",
    samples: Annotated[int, Field(ge=100, le=1_000_000)] = 100_000,
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0,
    extent: BBox | None = None,
    resolution: Metres | None = None,
    fitted: dict[str, Any] | None = None,
) -> Cube:
    """The cluster of each pixel, 1, 2, …: the nearest of the centres that k-means found in the pinned extent.

    ```python
    image.kmeans(clusters=3, extent=(1.40, 43.56, 1.44, 43.60), resolution=20)
    s2.mask_clouds().median("t").kmeans(clusters=25, extent=(1.40, 43.56, 1.44, 43.60), resolution=20)
    ```

    Bands are brought to one scale first (`scaling`): by mean and standard deviation of the extent ("zscore"), to 0…1
    ("minmax"), or not ("none"). Of an extent with more pixels so many `samples` are drawn. Clusters are numbered in the
    order of their centres in the first band, then in the next ones; the same extent and `seed` give the same. Missing
    where any band is missing.

    Source: Lloyd 1982; starts by k-means++ (Arthur & Vassilvitskii 2007), scikit-learn.
    """
    assert fitted is not None
    cube = _ordered(data, fitted)
    values = np.ascontiguousarray(cube.data).reshape(-1, cube.shape[-1])
    offset, scale, centres = (np.array(fitted[name]) for name in ("offset", "scale", "centres"))
    out = np.empty(len(values), np.float32)
    for start in range(0, len(values), _TOGETHER):
        cancel.check()
        nearest(values[start : start + _TOGETHER], offset, scale, centres, out[start : start + _TOGETHER])
    return xr.DataArray(
        out.reshape(cube.shape[:-1]), {d: cube[d] for d in cube.dims[:-1] if d in cube.coords}, cube.dims[:-1]
    )


@njit(cache=True, nogil=True)
def nearest(values, offset, scale, centres, out):
    """The number (from 1) of the centre nearest to each pixel of (pixel, band), the first of several."""
    for n in range(values.shape[0]):
        best, least = np.nan, np.inf
        for k in range(centres.shape[0]):
            distance = 0.0
            for b in range(centres.shape[1]):
                difference = (values[n, b] - offset[b]) / scale[b] - centres[k, b]
                distance += difference * difference
            if distance < least:  # never of a missing value
                best, least = k + 1.0, distance
        out[n] = best


def _ordered(data: Cube, fitted: Mapping[str, Any]) -> Cube:
    """(…, bands) with the bands in the order in which they were fitted."""
    if "bands" not in data.dims:
        return data.expand_dims("bands", -1)
    return data.sel(bands=fitted["bands"]).transpose(..., "bands")


# -------------------------------------------------------------------------------------------- principal components


def fit_pca(data: Cube, components: int = 3, scaling: str = "none") -> dict[str, Any]:
    """The axes of most variance, each with its largest loading above zero, and the share of the variance of each."""
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    values = _samples(data)
    if len(values) < 2 or not np.ptp(values, axis=0).any():
        found = f"{len(values)} valid pixels" if len(values) < 2 else "one value in each band"
        raise MusesError(f"principal components need different pixels; the extent has {found}")
    cancel.check()
    offset, scale = _scales(values, scaling)
    with threadpool_limits(1):
        model = PCA(components, svd_solver="covariance_eigh").fit((values - offset) / scale)
    axes = model.components_
    largest = axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)]
    axes = axes * np.where(largest < 0, -1.0, 1.0)[:, None]
    return {
        "bands": _bands(data), "offset": (offset + model.mean_ * scale).tolist(), "scale": scale.tolist(),
        "axes": axes.tolist(), "explained": model.explained_variance_ratio_.tolist(),
    }  # fmt: skip


def _rotating(arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
    """Measured with ten bands: 290 to 350 ns and 240 bytes for a pixel."""
    return Cost(350e-9 * rows * columns, 260 * rows * columns)


def _components(arguments: Mapping[str, Any], metas: Mapping[str, Meta]) -> Meta:
    meta = _one_image(arguments, metas, "pca")
    have, components = len(meta.bands or ()), arguments["components"]
    if have < components:
        raise DocumentError(f"pca: {components} components need as many bands; the image has {have or 'none'}")
    return Meta(False, tuple(f"PC{n}" for n in range(1, components + 1)))


@operator("muses:pca", support=Fit(fit_pca), cost=_rotating, shape=_components, needs=_all_bands)
def pca(
    data: Cube,
    components: Annotated[int, Field(ge=1, le=1000)] = 3,
    scaling: Scaling = "none",
    extent: BBox | None = None,
    resolution: Metres | None = None,
    fitted: dict[str, Any] | None = None,
) -> Cube:
    """Principal components of the bands, as the bands PC1, PC2, …: the axes of most variance in the pinned extent.

    ```python
    s2.mask_clouds().median("t").pca(2, extent=(1.40, 43.56, 1.44, 43.60), resolution=20)
    s2.mask_clouds().median("t").pca(1, scaling="zscore", extent=(1.40, 43.56, 1.44, 43.60), resolution=20)
    ```

    Of the covariances of the bands, or of their correlations (`scaling="zscore"`), over all pixels of the extent that
    are valid in all bands. A component is the sum of (band − mean) / scale times its loading; the sign is such that
    the largest loading of an axis is positive. Missing where any band is missing.

    Source: Hotelling 1933; scikit-learn.
    """
    assert fitted is not None
    cube = _ordered(data, fitted)
    scaled = [
        (np.asarray(cube.isel(bands=b).data, np.float64) - fitted["offset"][b]) / fitted["scale"][b]
        for b in range(cube.shape[-1])
    ]
    out = []
    for axis in fitted["axes"]:
        cancel.check()
        total = np.zeros(cube.shape[:-1])
        for values, loading in zip(scaled, axis, strict=True):  # in one order, wherever the image begins
            total += values * loading
        out.append(total)
    dims = cube.dims[:-1]
    coords = {d: cube[d] for d in dims if d in cube.coords}
    labels = np.array([f"PC{n}" for n in range(1, len(out) + 1)], object)
    stacked = np.stack(out).astype(np.result_type(np.float32, data.dtype))
    return xr.DataArray(stacked, {**coords, "bands": labels}, ("bands", *dims))


def warm() -> None:
    """Calls what is compiled, with the types that it is used with."""
    for precision in (np.float32, np.float64):
        nearest(np.zeros((8, 8), precision), np.zeros(8), np.ones(8), np.zeros((1, 8)), np.empty(8, np.float32))
