"""JupyterHub for a class on one machine: a server and a Dask cluster for each user, on the same environment.

    npm install --prefix ~/chp configurable-http-proxy         # JupyterHub's proxy; Node 20 or newer
    export PATH=~/chp/node_modules/.bin:$PATH MUSES_HUB_PASSWORD=...   # one password for all users, 8 letters or more
    .venv/bin/jupyterhub -f jupyterhub_config.py               # then http://127.0.0.1:8000

Everybody's servers and clusters run as the account that starts the hub: users share its files, so this form is for
people who trust one another. Tiles need nothing here: `muses_lab.service` is part of every user's own server.
The hub and the gateway both read this file; each takes what is its own.
"""

import os
import sys
from pathlib import Path

from muses_lab import settings

c = get_config()  # noqa: F821 (given by JupyterHub and Dask Gateway)

BIN = Path(sys.prefix, "bin")
STATE = settings.home() / "hub"
STATE.mkdir(exist_ok=True, mode=0o700)
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
PATH = f"{BIN}{os.pathsep}{os.environ['PATH']}"

HUB = os.environ.get("MUSES_HUB_URL", "http://127.0.0.1:8000")
GATEWAY = "127.0.0.1:8787"
SERVICE = "/services/dask-gateway"

# The hub

c.JupyterHub.bind_url = HUB
c.JupyterHub.hub_bind_url = "http://127.0.0.1:8081"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:8001"
c.JupyterHub.cookie_secret_file = str(STATE / "cookie_secret")
c.JupyterHub.db_url = f"sqlite:///{STATE / 'jupyterhub.sqlite'}"
c.ConfigurableHTTPProxy.pid_file = str(STATE / "proxy.pid")

c.JupyterHub.authenticator_class = "shared-password"
c.SharedPasswordAuthenticator.user_password = os.environ.get("MUSES_HUB_PASSWORD", "")
c.Authenticator.allow_all = True

c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = str(STATE / "home" / "{username}")
c.Spawner.cmd = [str(BIN / "jupyterhub-singleuser")]
c.Spawner.args = ["--allow-root"] if ROOT else []
c.Spawner.default_url = "/lab"
c.Spawner.environment = {
    "PATH": PATH,
    "JUPYTERHUB_SINGLEUSER_APP": "jupyter_server.serverapp.ServerApp",
    "MUSES_COMPUTE": "gateway",  # the limits below are the hub's, not the notebook's
    "DASK_GATEWAY__ADDRESS": HUB + SERVICE,
    "DASK_GATEWAY__PROXY_ADDRESS": f"gateway://{GATEWAY}",
    "DASK_GATEWAY__PUBLIC_ADDRESS": SERVICE,
    "DASK_GATEWAY__AUTH__TYPE": "jupyterhub",
}

c.JupyterHub.services = [
    {
        "name": "dask-gateway",
        "url": f"http://{GATEWAY}",
        "command": [str(BIN / "dask-gateway-server"), "-f", str(Path(__file__).resolve())],
        "environment": {"PATH": PATH, "MUSES_LAB_HOME": str(settings.home())},
        "oauth_no_confirm": True,
    }
]
# Both roles: the browser comes as a user, the kernel with its server's token.
c.JupyterHub.load_roles = [
    {"name": "user", "scopes": ["self", "access:services!service=dask-gateway"]},
    {
        "name": "server",
        "scopes": ["users:activity!user", "access:servers!server", "access:services!service=dask-gateway"],
    },
]

# The gateway, a service of the hub

c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.DaskGateway.authenticator_class = "dask_gateway_server.auth.JupyterHubAuthenticator"
c.DaskGateway.address = "127.0.0.1:8786"
c.Proxy.address = GATEWAY
c.Proxy.prefix = SERVICE
# distributed has no `dask-scheduler` and `dask-worker` any more; workers would listen on all interfaces.
c.ClusterConfig.scheduler_cmd = [str(BIN / "dask"), "scheduler"]
c.ClusterConfig.worker_cmd = [str(BIN / "dask"), "worker", "--host", "127.0.0.1"]
c.ClusterConfig.worker_cores = 2
c.ClusterConfig.cluster_max_workers = 2
c.ClusterConfig.idle_timeout = 600
