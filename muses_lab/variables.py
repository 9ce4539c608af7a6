"""Every environment variable that MUSES Lab reads, with its default and what it means: the page `docs/settings.md`."""

from __future__ import annotations

from dataclasses import dataclass

GROUPS = {
    "home": "Where things are kept",
    "cluster": "Where it is computed",
    "engine": "What may be read and computed",
    "service": "Maps and their service",
    "store": "The store",
    "course": "Courses and the class's evaluator",
    "hub": "A hub",
    "oauth": "Signing in to a hub by OAuth",
    "inner": "Inside of a hub",
}
"""Groups of settings as the page shows them."""


@dataclass(frozen=True)
class Variable:
    """One environment variable."""

    name: str
    group: str
    default: float | str | None
    """What holds where the variable is not set; None: nothing, or `otherwise` says what."""
    help: str
    """What it means, with its unit."""
    otherwise: str = ""
    """The default in words, where it is no constant or would be hard to read."""


_MIB, _GIB = 1 << 20, 1 << 30

_DECLARED = [
    Variable("MUSES_LAB_HOME", "home", None, "Folder of the user's own state: store, registered catalogues, sample, arrays of maps.", "the user's data folder"),
    Variable("MUSES_ARRAY_BYTES", "home", 2e9, "Bytes of the files of arrays that were shown on maps (`ml.from_array`); the oldest go first.", "2 GB"),
    Variable("MUSES_LOG", "home", "text", "How a hub's processes and Jupyter servers log: `text`, lines for people, or `json`, an object per line."),
    Variable("MUSES_COURSES", "course", None, "Folder of published courses.", "`courses` in the home of MUSES Lab; on a hub, in the hub's state"),
    Variable("MUSES_MAX_COURSE", "course", 4 * _GIB, "Bytes of a course with its scenes, packed and unpacked.", "4 GiB"),
    Variable("MUSES_LAB_PREFIX", "home", "/opt/muses-lab", "Folder of the software on all nodes of an HPC site (`deploy/hpc`)."),

    Variable("MUSES_COMPUTE", "cluster", "embedded", "Where chains are evaluated: `embedded` (a Dask cluster of the user's own on this machine), `threads` (of the process that asks) or `gateway` (Dask Gateway)."),
    Variable("MUSES_WORKERS", "cluster", None, "Worker processes of the embedded cluster; behind Dask Gateway, the most that a cluster may have.", "1; behind Dask Gateway what the hub allows"),
    Variable("MUSES_THREADS", "cluster", None, "Threads of a worker.", "the machine's cores, divided by the workers"),
    Variable("MUSES_WORKER_BYTES", "cluster", _GIB, "Memory of a worker in bytes, beyond what the imported libraries take: cache and evaluations together.", "1 GiB"),
    Variable("MUSES_WORKER_ENVIRONMENT", "cluster", None, "Names, separated by commas, of variables that workers of the embedded cluster get although they look like keys.", "none"),
    Variable("MUSES_START_TIMEOUT", "cluster", None, "Seconds in which a cluster must come up.", "60; 120 behind Dask Gateway"),
    Variable("MUSES_ANSWER_SECONDS", "cluster", 30, "Seconds without an answer after which a scheduler counts as lost, and is looked for or started again."),
    Variable("MUSES_WORKER_NICE", "cluster", 0, "By how much the threads that evaluate a user's chains have a lower priority than others of the machine (0 to 19, Linux).", "0; on a hub 10, so that exports give way to maps"),
    Variable("MUSES_TASK_SECONDS", "cluster", 900, "Seconds in which a block must come back; then the request fails."),
    Variable("MUSES_STUCK_SECONDS", "cluster", 60, "Seconds in which a block that was cancelled must end; then its worker is started anew."),
    Variable("MUSES_LEASE_GRACE", "cluster", 10, "Seconds for which the embedded cluster goes on after its last user."),
    Variable("MUSES_EARLY_START", "cluster", 900, "Seconds for which the embedded cluster that starts when a kernel imports `muses_lab` is kept although nothing was asked of it; 0: none starts before it is needed."),
    Variable("MUSES_GATEWAY_CLUSTER", "cluster", None, "Name of the Dask Gateway cluster to use.", "the oldest that runs, else a new one"),
    Variable("MUSES_ENGINE", "cluster", "muses_lab.engine:worker_engine", "What workers evaluate with, as `module:name`; for tests of the cluster."),

    Variable("MUSES_ALLOWED_HOSTS", "engine", None, "Hosts (`name` or `name:port`, separated by commas) that may be read although they have a private address or are not https.", "none"),
    Variable("MUSES_MAX_ITEMS", "engine", 10_000, "Scenes that one search of a remote catalogue may find; more are refused."),
    Variable("MUSES_MAX_HEADERS", "engine", 4_000, "Files on servers that one query may ask for their headers, where its items do not say where their pixels are."),
    # With 96 a view of 72 files, 50 ms away, took more processor time, and fewer blocks waited long enough to become one request with
    # their neighbours.
    Variable("MUSES_HTTP_CONNECTIONS", "engine", 48, "Requests of a worker to data servers at once."),
    Variable("MUSES_THINNING", "engine", "128,96,64,48", "Observations of a grid that are used at levels 3, 4, 5 and from 6 on; `off`: all."),
    Variable("MUSES_MAX_COMPUTE_BYTES", "engine", 4 * _GIB, "Bytes of an array that a notebook may ask for.", "4 GiB"),
    Variable("MUSES_MAX_REGION_PIXELS", "engine", 64e6, "Pixels of the extent of an operator that needs all of it.", "64 million"),
    Variable("MUSES_VIEW_SECONDS", "engine", 600, "Seconds that a view may be expected to take; what needs longer is refused."),
    Variable("MUSES_QUEUE_SECONDS", "engine", 1200, "Seconds of work that may wait in the queue; then requests are refused for a while."),
    Variable("MUSES_EXPORT_SECONDS", "engine", 86_400, "Seconds that an export may be expected to take.", "one day"),
    Variable("MUSES_RESULT_CACHE_BYTES", "engine", 256 * _MIB, "Bytes of the blocks that a process keeps of what it asked for.", "256 MiB"),

    Variable("MUSES_TILE_TIMEOUT", "service", 120, "Seconds in which a request must be answered: a tile, a publication, a look into the store."),
    Variable("MUSES_PREFETCH", "service", 1, "0: only tiles that a browser asks for are evaluated. Else those of a new view at once, and a ring around them while nobody waits."),
    Variable("MUSES_REQUESTS_PER_SECOND", "service", 200, "Requests of one user to the service per second, after a burst; above: 429."),
    Variable("MUSES_REQUESTS_BURST", "service", 1000, "Requests of one user at once before that limit counts."),
    Variable("MUSES_REQUESTS_AT_ONCE", "service", 512, "Requests of one user that may be under way together."),
    Variable("MUSES_MAX_DOCUMENT", "service", 4 * _MIB, "Bytes of a posted document.", "4 MiB"),
    Variable("MUSES_UPLOAD_BYTES", "service", 4 * _GIB, "Bytes of the largest file that may be dropped on a map; it is kept in `uploads` of the user's folder.", "4 GiB"),
    Variable("MUSES_PRIVATE_BYTES", "service", 256 * _MIB, "Bytes of the private chains (with operators declared in notebooks) that a Jupyter server keeps in memory for its maps; those shown longest ago go first.", "256 MiB"),
    Variable("MUSES_CLASS_SECONDS", "service", 5, "Seconds between what a participant's Jupyter server tells the hub of a course, and asks for notes."),
    Variable("MUSES_ACTIVITY_SECONDS", "service", 60, "Seconds between looks of a Jupyter server for running jobs, which count as activity of their kernel."),

    Variable("MUSES_STORE_URL", "store", None, "Place of the store of chains, jobs and shares: an SQLAlchemy URL, or the address of a hub's service.", "a SQLite file in the home"),
    # JupyterHub looks every 30 seconds whether a service is still there.
    Variable("MUSES_STORE_SECONDS", "store", 45, "Seconds for which a call waits while a hub's service is away."),
    Variable("MUSES_AUDIT_DAYS", "store", 365, "Days for which rows of the audit log are kept."),
    Variable("MUSES_AUDIT_SECONDS", "store", 30, "Seconds between writes of the audit log."),
    Variable("MUSES_MAX_ARTEFACT", "store", 64 * _MIB, "Bytes of an artefact (a list of scenes, a model, polygons) that a hub's service takes.", "64 MiB"),
    Variable("MUSES_MAX_NOTEBOOK", "store", 4 * _MIB, "Bytes of a participant's notebook that is kept for the trainer; of larger ones the outputs are left out.", "4 MiB"),

    Variable("MUSES_COURSE_URL", "course", None, "Address of the class's evaluator, which computes the blocks of a course's maps once for all; the hub sets it.", "none"),
    Variable("MUSES_COURSE_SECONDS", "course", 60, "Seconds without any block from the class's evaluator after which a participant's own cluster computes instead."),
    Variable("MUSES_COURSE_THREADS", "course", None, "Threads of the class's evaluator.", "the machine's cores"),
    Variable("MUSES_COURSE_BYTES", "course", 2 * _GIB, "Memory of the class's evaluator in bytes, beyond what the imported libraries take: decoded blocks, evaluations, finished blocks, chains.", "2 GiB"),
    Variable("MUSES_COURSE_BLOCKS", "course", 64, "Blocks of one participant that may wait at the class's evaluator."),
    Variable("MUSES_COURSE_BLOCK_SECONDS", "course", 30, "Seconds that one block may be expected to take there; what takes longer is computed by the participant's own cluster."),

    Variable("MUSES_HUB_URL", "hub", "http://127.0.0.1:8000", "Where the hub listens."),
    Variable("MUSES_HUB_PUBLIC_URL", "hub", None, "Where browsers reach it, if a server in front of it has another address.", "`MUSES_HUB_URL`"),
    Variable("MUSES_HUB_STATE", "hub", None, "The hub's folder: databases, secrets, homes, shared catalogues.", "`hub` in the home of MUSES Lab"),
    Variable("MUSES_HUB_AUTH", "hub", "demo", "Who proves a name: `demo` (one password for all), `pam` (the machine's accounts) or `oauth`."),
    Variable("MUSES_HUB_PASSWORD", "hub", None, "The one password of `demo`, of 8 characters at least.", "a new one, shown at the start"),
    Variable("MUSES_HUB_USERS", "hub", None, "Who may log in: names, `@unix-group`, or `*` for all that are known.", "`*` with `demo`, else nobody"),
    Variable("MUSES_HUB_ADMINS", "hub", None, "Names of administrators.", "none"),
    Variable("MUSES_HUB_TRAINERS", "hub", None, "Trainers, who publish courses and see what participants do: names, and `@group` of the hub.", "`@trainers`; with `demo` the user `trainer` too"),
    Variable("MUSES_HUB_GATEWAY", "hub", "1", "`0`: the hub runs without Dask Gateway, and each user's chains are evaluated by the user's own server (`MUSES_COMPUTE`)."),
    Variable("MUSES_HUB_EVALUATOR", "hub", "1", "`0`: the hub runs without an evaluator for classes, and each user's own cluster computes the maps of courses."),
    Variable("MUSES_HUB_ACCOUNTS", "hub", "auto", "`separate`: users' servers and clusters under Unix accounts of their own; `one`: all under the hub's; `auto`: separate where that is possible."),
    Variable("MUSES_HUB_TITLE", "hub", "MUSES Lab", "Title of the sign-in page."),
    Variable("MUSES_HUB_CONTACT", "hub", None, "Whom to ask: a text, a mail address or an https address.", "none"),
    Variable("MUSES_HUB_PUBLISHED", "hub", None, "Folder whose notebooks and data every user gets copies of.", "`published` in `MUSES_HUB_STATE`"),
    Variable("MUSES_HUB_START", "hub", None, "The published notebook that users land on.", "the first one"),
    Variable("MUSES_HUB_SAMPLE", "hub", "1", "`0`: the hub starts without the sample catalogue."),
    Variable("MUSES_HUB_DATABASE", "hub", None, "Database of documents, jobs, shares and audit: `postgresql+psycopg://…`.", "SQLite in `MUSES_HUB_STATE/muses`"),
    Variable("MUSES_HUB_USER_BYTES", "hub", 4 * _GIB, "Bytes of documents that a user may keep in the hub's store.", "4 GiB"),
    Variable("MUSES_HUB_WORKERS", "hub", 2, "Workers of one user's cluster, at most."),
    Variable("MUSES_HUB_CORES", "hub", 2, "Threads of each worker."),
    Variable("MUSES_HUB_MEMORY", "hub", 2, "Memory of each worker in GiB."),
    Variable("MUSES_HUB_LIMITS", "hub", None, "JSON file with other limits for groups and users.", "none"),
    Variable("MUSES_HUB_IDLE", "hub", 600, "Seconds after which a cluster without work ends."),
    Variable("MUSES_HUB_SERVER_IDLE", "hub", 0, "Seconds after which a user's server without use ends; 0: never."),
    Variable("MUSES_HUB_TLS_CERT", "hub", None, "File of the certificate for https.", "none"),
    Variable("MUSES_HUB_TLS_KEY", "hub", None, "File of its key.", "none"),
    Variable("MUSES_HUB_BEHIND_TLS", "hub", None, "`1` where a server in front of the hub encrypts.", "0"),

    Variable("MUSES_HUB_OAUTH_CLIENT_ID", "oauth", None, "The client's id; the identity provider tells it.", "needed"),
    Variable("MUSES_HUB_OAUTH_CLIENT_SECRET", "oauth", None, "The client's secret.", "needed"),
    Variable("MUSES_HUB_OAUTH_AUTHORIZE_URL", "oauth", None, "Address where users sign in.", "needed"),
    Variable("MUSES_HUB_OAUTH_TOKEN_URL", "oauth", None, "Address that gives tokens.", "needed"),
    Variable("MUSES_HUB_OAUTH_USERDATA_URL", "oauth", None, "Address that tells who the user is.", "needed"),
    Variable("MUSES_HUB_OAUTH_NAME", "oauth", "preferred_username", "Claim that has the user's name."),
    Variable("MUSES_HUB_OAUTH_SCOPE", "oauth", "openid profile", "Scopes that are asked for."),
    Variable("MUSES_HUB_OAUTH_SERVICE", "oauth", None, "What the sign-in button calls the provider.", "its host"),

    Variable("MUSES_HUB_PROXY_PORT", "inner", 8001, "Port of the proxy's interface, on loopback as all of these."),
    Variable("MUSES_HUB_API_PORT", "inner", 8081, "Port of the hub's interface."),
    Variable("MUSES_HUB_GATEWAY_API_PORT", "inner", 8786, "Port of the gateway's interface."),
    Variable("MUSES_HUB_GATEWAY_PORT", "inner", 8787, "Port of the gateway's proxy."),
    Variable("MUSES_HUB_STORE_PORT", "inner", 8788, "Port of the store's service."),
    Variable("MUSES_HUB_COURSE_PORT", "inner", 8789, "Port of the class's evaluator."),
    Variable("MUSES_HUB_CATALOGS", "inner", None, "File of the shared catalogues, given to users' servers by the hub.", "none"),
    Variable("MUSES_HUB_TOKEN_SECONDS", "inner", 30, "Seconds for which the store's service believes a token that the hub has confirmed."),
]  # fmt: skip

VARIABLES = {variable.name: variable for variable in _DECLARED}
"""All variables by name, in the order of the page."""


def markdown() -> str:
    """The page of settings, from the declarations alone."""
    lines = [
        "# Settings",
        "",
        "Settings are environment variables. None is needed. Set those of a lab before `make lab` or `jupyter lab` starts, those of",
        "a hub before `make hub`; [the administrator's guide](administrators.md) says which of them matter.",
        "This page is made by `muses-lab settings`.",
    ]
    for group, title in GROUPS.items():
        lines += ["", f"## {title}", "", "| variable | default | what it means |", "|---|---|---|"]
        lines += [
            f"| `{v.name}` | {v.otherwise or _shown(v.default)} | {v.help} |"
            for v in VARIABLES.values()
            if v.group == group
        ]
    return "\n".join(lines) + "\n"


def _shown(default: float | str | None) -> str:
    if isinstance(default, str):
        return f"`{default}`"
    return f"{default:,.0f}".replace(",", " ") if default is not None else "none"
