"""How Dask is set up for blocks: for the embedded cluster, and for whoever configures a gateway's clusters."""

from __future__ import annotations

from typing import Any

VARIABLES = {
    # The reference systems of scenes cannot make workers fetch grids.
    "PROJ_NETWORK": "OFF",
    # The C library's allocator keeps what was freed (glibc; elsewhere nothing happens). By itself it gives back what is
    # free at an arena's end beyond a few hundred kilobytes: every tile would have its memory anew from the system, page
    # by page, at 1 to 4 µs each (measured on virtual machines).
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
}
"""Variables that schedulers and workers start with; no process of a user's own has them."""

SETTINGS: dict[str, Any] = {
    # What waits is in the queue before Dask, and few blocks are sent: the scheduler need not hold any back.
    "distributed.scheduler.worker-saturation": "inf",
    # Looks at all threads a hundred times a second.
    "distributed.worker.profile.enabled": False,
    "distributed.worker.preload": ["muses_lab.compute.preload"],
}


def environment() -> dict[str, str]:
    """The same as variables, for schedulers and workers that are started elsewhere (`c.ClusterConfig.environment`)."""
    dask = {"DASK_" + name.upper().replace(".", "__").replace("-", "_"): str(value) for name, value in SETTINGS.items()}
    return {**dask, **VARIABLES}
