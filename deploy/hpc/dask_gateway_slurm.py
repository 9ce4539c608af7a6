"""Dask Gateway on a Slurm cluster: dask-gateway-server -f dask_gateway_slurm.py"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from dask_gateway_common import configure  # noqa: E402

c = get_config()  # noqa: F821 (given by Dask Gateway)

configure(c, "dask_gateway_server.backends.jobqueue.slurm.SlurmBackend", "SlurmClusterConfig")
c.SlurmClusterConfig.partition = "interactive"
c.SlurmClusterConfig.account = "muses"
c.SlurmClusterConfig.staging_directory = "{home}/.dask-gateway/"
