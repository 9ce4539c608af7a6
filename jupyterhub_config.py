"""JupyterHub with a Dask cluster for each user, on one machine: `make hub` starts it and says where to log in.

    make hub                                    # a demonstration: on loopback, one password for all
    MUSES_HUB_AUTH=pam MUSES_HUB_USERS=@students MUSES_HUB_URL=https://lab.example.org \\
        MUSES_HUB_TLS_CERT=/etc/… MUSES_HUB_TLS_KEY=/etc/… make hub        # as root: the machine's own accounts

Settings are environment variables, `MUSES_HUB_…`: `muses-lab settings` lists them all, `docs/administrators.md` says
which matter, `muses_lab/deployment/config.py` checks them.

The hub and the gateway both read this file; each takes what is its own.
"""

import os
import shutil
import sys
from pathlib import Path

from muses_lab import deployment, logs
from muses_lab.compute import tuning
from muses_lab.deployment.accounts import Accounts, separated
from muses_lab.deployment.config import HubSettings
from muses_lab.deployment.gateway import HubAuthenticator, UserClusters, cluster_options, encryption_key

c = get_config()  # noqa: F821 (given by JupyterHub and Dask Gateway)
c.Application.logging_config = logs.for_traitlets(os.environ.get("JUPYTERHUB_SERVICE_NAME") or "hub")

hub = HubSettings.from_environment()
HERE = Path(__file__).resolve().parent
STATE = hub.state
separate, why_not = separated(hub)
os.umask(0o077)  # databases, keys and logs of the hub and its services are its own …
for folder in (STATE, STATE / "home", STATE / "clusters"):  # … but users' processes pass through to what is theirs
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711 if separate else 0o700)
accounts = Accounts(hub, separate)

HUB_API = f"http://127.0.0.1:{hub.port('API')}"
GATEWAY = f"127.0.0.1:{hub.port('GATEWAY')}"
GATEWAY_PREFIX = "/services/dask-gateway"
STORE = f"127.0.0.1:{hub.port('STORE')}"
COURSE = f"127.0.0.1:{hub.port('COURSE')}"
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
NICE = os.environ.get("MUSES_WORKER_NICE") or "10"  # users' evaluations give way to servers and the class's evaluator
STORE_LIMITS = ("MUSES_MAX_", "MUSES_AUDIT_", "MUSES_HUB_USER_BYTES", "MUSES_HUB_TOKEN_SECONDS")
# What a user's own server computes with, where there are no clusters; `threads` costs least.
OWN_COMPUTE = os.environ.get("MUSES_COMPUTE") or "threads"
# What the workers must see as the servers do: where files may be read from, where the code is.
SHARED = {name: os.environ[name] for name in ("MUSES_ALLOWED_HOSTS", "MUSES_LOG", "PYTHONPATH") if os.environ.get(name)}


def configure_hub() -> None:
    from jupyterhub.services.service import _ServiceSpawner

    from muses_lab.deployment.spawner import AccountSpawner

    # The hub and its proxy. Only the proxy listens where users come from; all else is on loopback.

    c.JupyterHub.bind_url = hub.url
    c.JupyterHub.public_url = hub.public_url + "/"  # what links start with
    c.JupyterHub.hub_bind_url = HUB_API
    c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{hub.port('PROXY')}"
    c.ConfigurableHTTPProxy.pid_file = str(STATE / "proxy.pid")  # by which one that a killed hub has left is ended
    chp = str(HERE / "node_modules" / ".bin" / "configurable-http-proxy")  # by `make hub`, else the system's
    c.ConfigurableHTTPProxy.command = [shutil.which(chp) or shutil.which("configurable-http-proxy") or chp]
    c.JupyterHub.ssl_cert = hub.certificate
    c.JupyterHub.ssl_key = hub.key
    c.JupyterHub.cookie_secret_file = str(STATE / "cookie_secret")
    c.JupyterHub.db_url = f"sqlite:///{STATE / 'jupyterhub.sqlite'}"
    c.JupyterHub.implicit_spawn_seconds = 1  # the page of a server that died is the page of one that starts
    c.Spawner.poll_interval = 5
    c.Spawner.http_timeout = 120  # a class starts all its servers in the same minute
    # Services are kept by a spawner without configuration: a dead gateway would be noticed after 30 s.
    _ServiceSpawner.poll_interval.default_value = 2

    # Who may come in

    c.Authenticator.allow_all = "*" in hub.users
    c.Authenticator.allowed_users = {name for name in hub.users if name[0] not in "*@"}
    c.Authenticator.admin_users = hub.admins
    c.Authenticator.blocked_users = {"root"}
    c.Authenticator.username_pattern = r"[a-z0-9][a-z0-9._@+-]{0,62}"  # it becomes the name of a folder
    if hub.authentication == "demo":
        c.JupyterHub.authenticator_class = "shared-password"
        c.SharedPasswordAuthenticator.user_password = hub.password
    elif hub.authentication == "pam":
        c.JupyterHub.authenticator_class = "pam"
        c.PAMAuthenticator.allowed_groups = {name[1:] for name in hub.users if name.startswith("@")}
    else:
        c.JupyterHub.authenticator_class = "generic-oauth"
        c.GenericOAuthenticator.client_id = hub.oauth("CLIENT_ID")
        c.GenericOAuthenticator.client_secret = hub.oauth("CLIENT_SECRET")
        c.GenericOAuthenticator.authorize_url = hub.oauth("AUTHORIZE_URL")
        c.GenericOAuthenticator.token_url = hub.oauth("TOKEN_URL")
        c.GenericOAuthenticator.userdata_url = hub.oauth("USERDATA_URL")
        c.GenericOAuthenticator.oauth_callback_url = f"{hub.public_url}/hub/oauth_callback"
        c.GenericOAuthenticator.username_claim = hub.environment.get("OAUTH_NAME", "preferred_username")
        c.GenericOAuthenticator.scope = hub.environment.get("OAUTH_SCOPE", "openid profile").split()
        c.GenericOAuthenticator.enable_pkce = True
        c.GenericOAuthenticator.login_service = hub.identity_provider

    # What its pages say

    c.JupyterHub.template_paths = [str(Path(deployment.__file__).parent / "templates")]
    c.JupyterHub.template_vars = {
        "muses_title": hub.title,
        "muses_contact": hub.contact,
        "muses_contact_link": hub.contact_link,
        "muses_sign_in": hub.sign_in,
    }

    # Users' servers: JupyterLab, the notebooks, the tile service (part of every Jupyter server with MUSES Lab)

    AccountSpawner.accounts = accounts
    c.JupyterHub.spawner_class = AccountSpawner
    c.Spawner.cmd = [sys.executable, "-m", "muses_lab.deployment.singleuser"]
    c.Spawner.args = ["--allow-root"] if ROOT and not separate else []
    server_idle = int(hub.seconds("SERVER_IDLE"))
    if server_idle:
        c.Spawner.args += [
            f"--ServerApp.shutdown_no_activity_timeout={server_idle}",
            f"--MappingKernelManager.cull_idle_timeout={server_idle}",
        ]
    c.Spawner.default_url = "/lab"  # the user's server knows better: the notebook to begin with
    c.Spawner.environment = {
        **SHARED,
        "PATH": PATH,
        "JUPYTERHUB_SINGLEUSER_APP": "jupyter_server.serverapp.ServerApp",
        "MUSES_HUB_PUBLISHED": str(hub.published),
        "MUSES_HUB_START": hub.start,
        "MUSES_HUB_CATALOGS": str(STATE / "catalogs.json"),
        "MUSES_COURSES": str(hub.courses),
        # Straight to the services, not through the hub's proxy: one part less that may fail, and less to pass.
        "MUSES_STORE_URL": f"http://{STORE}/services/muses",
        "MUSES_COMPUTE": OWN_COMPUTE,
        "MUSES_WORKER_NICE": NICE,
    }
    if hub.evaluator:
        c.Spawner.environment["MUSES_COURSE_URL"] = f"http://{COURSE}/services/course"
    if hub.gateway:
        c.Spawner.environment |= {
            "MUSES_COMPUTE": "gateway",  # the limits below are the hub's, not the notebook's
            "DASK_GATEWAY__ADDRESS": f"http://{GATEWAY}{GATEWAY_PREFIX}",
            "DASK_GATEWAY__PROXY_ADDRESS": f"gateway://{GATEWAY}",
            "DASK_GATEWAY__PUBLIC_ADDRESS": GATEWAY_PREFIX,
            "DASK_GATEWAY__AUTH__TYPE": "jupyterhub",
        }

    # Services, started and kept by the hub: the clusters, and the store of documents, jobs, shares and audit

    ONCE = [sys.executable, "-m", "muses_lab.deployment.once"]
    gateway = {
        "name": "dask-gateway",
        "url": f"http://{GATEWAY}",
        "command": [
            *ONCE,
            str(STATE / "gateway.json"),
            sys.executable,
            "-m",
            "dask_gateway_server",
            "-f",
            __file__,
        ],
        "environment": {
            **SHARED,
            **hub.without_secrets(),
            "MUSES_HUB_STATE": str(STATE),
            "MUSES_HUB_ACCOUNTS": "separate" if separate else "one",
            "PATH": PATH,
        },
        "display": False,
    }
    uid = accounts.of_service("muses")
    store = {
        "name": "muses",
        "url": f"http://{STORE}",
        "command": [
            *ONCE,
            str(STATE / "store.json"),
            sys.executable,
            "-m",
            "muses_lab.deployment.store",
            str(hub.store),
            *([] if uid is None else [str(uid)]),
        ],
        "environment": {
            **SHARED,
            **{name: value for name, value in os.environ.items() if name.startswith(STORE_LIMITS)},
            "MUSES_HUB_DATABASE": hub.database,
            "MUSES_HUB_TRAINERS": hub.trainers,
            "MUSES_HUB_ADMINS": ",".join(sorted(hub.admins)),
            "MUSES_COURSES": str(hub.courses),
            "PATH": PATH,
        },
        "oauth_no_confirm": True,
        "display": False,
    }
    uid = accounts.of_service("course")
    evaluator = {
        "name": "course",
        "url": f"http://{COURSE}",
        "command": [
            *ONCE,
            str(STATE / "course.json"),
            sys.executable,
            "-m",
            "muses_lab.deployment.course",
            str(STATE / "course"),
            *([] if uid is None else [str(uid)]),
        ],
        "environment": {
            **SHARED,
            **tuning.VARIABLES,
            **{name: value for name, value in os.environ.items() if name.startswith(("MUSES_MAX_", "MUSES_COURSE_"))},
            "MUSES_COURSES": str(hub.courses),
            "MUSES_HUB_CATALOGS": str(STATE / "catalogs.json"),
            "PATH": PATH,
        },
        "display": False,
    }
    wanted = {"dask-gateway": hub.gateway, "muses": True, "course": hub.evaluator}
    c.JupyterHub.services = [one for one in (gateway, store, evaluator) if wanted[one["name"]]]
    # Both roles: the browser comes as a user, the kernel with its server's token.
    SERVICES = [f"access:services!service={service['name']}" for service in c.JupyterHub.services]
    c.JupyterHub.load_roles = [
        {"name": "user", "scopes": ["self", *SERVICES]},
        {"name": "server", "scopes": ["users:activity!user", "access:servers!server", *SERVICES]},
    ]
    if hub.gateway:  # clusters end with their user's server: the gateway asks whether there is one
        scopes = ["read:users:name", "read:servers"]
        c.JupyterHub.load_roles.append({"name": "clusters", "scopes": scopes, "services": ["dask-gateway"]})

    whose = "each under an account of its own"
    if not separate:
        whose = f"all under the hub's account ({why_not}), so users can read each other's files"
    print(f"MUSES Lab: users' servers and clusters run {whose}", file=sys.stderr)


def configure_gateway() -> None:
    """One cluster for each user."""
    UserClusters.accounts = accounts
    UserClusters.logs = STATE / "logs"
    c.DaskGateway.backend_class = UserClusters
    c.DaskGateway.authenticator_class = HubAuthenticator
    c.DaskGateway.address = f"127.0.0.1:{hub.port('GATEWAY_API')}"
    c.Proxy.address = GATEWAY
    c.Proxy.prefix = GATEWAY_PREFIX
    c.Proxy.proxy_status_period = 2
    c.UserClusters.clusters_directory = str(STATE / "clusters")
    # Clusters are written down, so that a gateway that was killed finds them again.
    c.UserClusters.db_url = f"sqlite:///{STATE / 'gateway.sqlite'}"
    c.UserClusters.db_encrypt_keys = [encryption_key(STATE / "gateway.key")]
    # Straight to the gateway, not through its proxy; and one who is late on a busy machine is not taken for dead.
    c.UserClusters.api_url = f"http://127.0.0.1:{hub.port('GATEWAY_API')}/api"
    c.UserClusters.cluster_heartbeat_period = 5
    c.UserClusters.cluster_heartbeat_timeout = 60
    c.UserClusters.sigint_timeout = 3
    c.UserClusters.sigterm_timeout = 1
    c.UserClusters.cluster_options = cluster_options(
        hub,
        {
            **SHARED,
            **tuning.environment(),
            "MUSES_WORKER_NICE": NICE,
            "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES": "[]",  # pages that show code, paths and logs
            "DASK_DISTRIBUTED__WORKER__HTTP__ROUTES": "[]",
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",  # MUSES Lab tries again, and knows what it tries
        },
    )
    # distributed has no programs `dask-scheduler` and `dask-worker` any more.
    c.ClusterConfig.scheduler_cmd = [sys.executable, "-m", "dask", "scheduler"]
    c.ClusterConfig.worker_cmd = [sys.executable, "-m", "dask", "worker"]
    c.ClusterConfig.idle_timeout = hub.seconds("IDLE")


if os.environ.get("JUPYTERHUB_SERVICE_NAME") == "dask-gateway":
    configure_gateway()
else:
    configure_hub()
