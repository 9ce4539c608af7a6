"""Dask Gateway on a PBS cluster: dask-gateway-server -f dask_gateway_pbs.py"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from dask_gateway_common import configure  # noqa: E402

c = get_config()  # noqa: F821 (given by Dask Gateway)

configure(c, "dask_gateway_server.backends.jobqueue.pbs.PBSBackend", "PBSClusterConfig")
c.PBSClusterConfig.queue = "interactive"
c.PBSClusterConfig.project = "muses"
c.PBSClusterConfig.staging_directory = "{home}/.dask-gateway/"
