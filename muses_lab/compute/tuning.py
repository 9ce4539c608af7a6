"""How Dask is set up for blocks: for the embedded cluster, and for whoever configures a gateway's clusters."""

from __future__ import annotations

from typing import Any

SETTINGS: dict[str, Any] = {
    # What waits is in the queue before Dask, and few blocks are sent: the scheduler need not hold any back.
    "distributed.scheduler.worker-saturation": "inf",
    # Looks at all threads a hundred times a second.
    "distributed.worker.profile.enabled": False,
    # Dask's nanny makes malloc give back every 64 KB: a block's memory would come anew from the system, page by page,
    # each time. The engine gives memory back itself (`engine.memory`).
    "distributed.nanny.pre-spawn-environ": {
        "MALLOC_TRIM_THRESHOLD_": 256 << 20,
        "MALLOC_MMAP_THRESHOLD_": 32 << 20,
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), 1),  # as Dask has them
    },
}


def environment() -> dict[str, str]:
    """The same as variables, for schedulers and workers that are started elsewhere (`c.ClusterConfig.environment`)."""
    return {"DASK_" + name.upper().replace(".", "__").replace("-", "_"): str(value) for name, value in SETTINGS.items()}
