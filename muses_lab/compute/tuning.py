"""How Dask is set up for blocks: for the embedded cluster, and for whoever configures a gateway's clusters."""

from __future__ import annotations

from typing import Any

SETTINGS: dict[str, Any] = {
    # What waits is in the queue before Dask, and few blocks are sent: the scheduler need not hold any back.
    "distributed.scheduler.worker-saturation": "inf",
    # Looks at all threads a hundred times a second.
    "distributed.worker.profile.enabled": False,
    # As Dask has it, but for malloc, which is to keep what was freed (`engine.memory.keep_freed`).
    "distributed.nanny.pre-spawn-environ": dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), 1
    ),
}


def environment() -> dict[str, str]:
    """The same as variables, for schedulers and workers that are started elsewhere (`c.ClusterConfig.environment`)."""
    return {"DASK_" + name.upper().replace(".", "__").replace("-", "_"): str(value) for name, value in SETTINGS.items()}
