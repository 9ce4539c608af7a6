"""What Dask Gateway's configurations for Slurm and PBS share. The gateway runs as a user of its own on a login node.

Users' jobs run under the users' own accounts: the gateway's account needs sudo for the launcher alone, see README.md.
"""

import os

PREFIX = os.environ.get("MUSES_LAB_PREFIX", "/opt/muses-lab")  # the same on all nodes: one release everywhere
SERVER = "/var/lib/muses-lab/gateway"
ENVIRONMENT = {
    "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES": "[]",  # pages that show code, paths and logs
    "DASK_DISTRIBUTED__WORKER__HTTP__ROUTES": "[]",
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
    "PROJ_NETWORK": "OFF",  # what scenes say of their reference systems fetches no grids
    "MUSES_WORKER_BYTES": str(int(3.4 * 2**30)),  # of worker_memory: the libraries take 0.6 GiB
}


def configure(c, backend, cluster):
    """Everything but the batch system's own settings."""
    c.DaskGateway.backend_class = backend
    c.DaskGateway.authenticator_class = "dask_gateway_server.auth.JupyterHubAuthenticator"  # told by JUPYTERHUB_API_…
    c.DaskGateway.address = "0.0.0.0:8786"  # jobs on other nodes report here; a firewall lets in the nodes only
    c.Proxy.address = "0.0.0.0:8787"
    c.Proxy.prefix = "/services/dask-gateway"
    of_backend = c[backend.rpartition(".")[2]]
    # The clusters' keys are in the database, encrypted: DASK_GATEWAY_ENCRYPT_KEYS must be set, see README.md.
    of_backend.db_url = f"sqlite:///{SERVER}/gateway.sqlite"
    of_backend.dask_gateway_jobqueue_launcher = f"{PREFIX}/bin/dask-gateway-jobqueue-launcher"
    options = c[cluster]
    options.scheduler_setup = options.worker_setup = f"export PATH={PREFIX}/bin:$PATH"
    options.scheduler_cmd = [f"{PREFIX}/bin/dask", "scheduler"]
    options.worker_cmd = [f"{PREFIX}/bin/dask", "worker"]
    options.environment = ENVIRONMENT
    options.scheduler_cores, options.scheduler_memory = 1, "2 G"
    options.worker_cores, options.worker_threads, options.worker_memory = 4, 4, "4 G"
    options.cluster_max_workers = 8
    options.idle_timeout = 600
