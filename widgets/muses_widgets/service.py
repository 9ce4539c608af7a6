"""Is the tile service there? Asked of the Jupyter server that started this kernel; the browser needs no such thing."""

from __future__ import annotations

import json
import os
import ssl
import urllib.error
import urllib.request
import warnings
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

from muses_lab import compute
from muses_lab.compute import leases
from muses_lab.service.kept import BLOCKS
from muses_widgets.inputs import NotShown

CURE = "jupyter server extension enable muses_lab.service --sys-prefix"


class Service(NamedTuple):
    """What was found: the state, and the address that was asked."""

    state: Literal["there", "missing", "unknown"]
    url: str | None
    detail: str = ""
    """Why it is unknown; or, where it is there, that it is of another release than this kernel."""


def find_service(timeout: float = 2.0) -> Service:
    """Asks the server that started this kernel whether it runs the MUSES Lab service.

    `unknown` where there is no such server (a plain script), or it does not answer in time: that is no proof.
    """
    server = _server()
    if server is None:
        return Service("unknown", None, "this Python was not started by a Jupyter server")
    url = server["url"].rstrip("/") + "/muses/health"
    try:
        with _asked(server, url, timeout) as response:
            kind = response.headers.get_content_type()
            answer = json.load(response) if kind == "application/json" else {}
            if "status" not in answer:
                return Service("missing", url)
            return Service("there", url, _other_release(answer.get("version")))
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return Service("missing", url)
        return Service("unknown", url, f"HTTP {error.code}")
    except (OSError, ValueError) as error:
        return Service("unknown", url, str(error))


def _asked(server: dict[str, Any], url: str, timeout: float, body: bytes | None = None) -> Any:
    """The answer of the server that started this kernel; with a body it is a POST."""
    headers = {"Authorization": f"token {server['token']}"}
    if body is not None:
        headers["Content-Type"] = "application/octet-stream"
    request = urllib.request.Request(url, body, headers)
    context = ssl.create_default_context()
    if server.get("secure"):  # the server's own certificate, on this machine, is often self-signed
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    return opener.open(request, timeout=timeout)


def give_private(body: bytes, timeout: float = 60.0) -> int | None:
    """Hands a private chain (`Layer.sealed`) to the service of the server that started this kernel.

    Returns how many bytes of such chains that server keeps; None where there is no service.

    Raises
    ------
    NotShown
        The server is there and does not take it, with its reason. Where there is none, nothing is raised: a map in a
        plain script has no tiles of any chain.
    """
    server = _server()
    if server is None:
        return None
    process = f"{os.getpid()}-{leases.process_start(os.getpid())}"
    url = f"{server['url'].rstrip('/')}/muses/private?process={process}"
    try:
        with _asked(server, url, timeout, body) as response:
            return int(json.load(response)["limit"])
    except urllib.error.HTTPError as error:
        if error.code == 404 and not error.headers.get("X-Muses-Error"):
            return None  # there is no service, as the map says by itself
        reason = _reason(error, bool(server["token"]))
        raise NotShown(f"a layer with an operator of your own is not shown: {reason}") from None
    except (OSError, ValueError, KeyError) as error:
        raise NotShown(f"a layer with an operator of your own is not shown: {url} does not answer ({error})") from None


def keeps(blocks: Sequence[tuple[Any, ...]], timeout: float = 10.0) -> list[bool]:
    """Of blocks, whether the server that draws the maps has them already; without one, whether this process has."""
    server = _server()
    if server is None:
        return compute.keeps(blocks)
    found: list[bool] = []
    try:
        for first in range(0, len(blocks), BLOCKS):
            body = json.dumps({"blocks": blocks[first : first + BLOCKS]}).encode()
            with _asked(server, f"{server['url'].rstrip('/')}/muses/kept", timeout, body) as response:
                found += json.load(response)["kept"]
    except (OSError, ValueError, KeyError):  # no such service: what its workers have, this process may ask itself
        return compute.keeps(blocks)
    return found


def _reason(error: urllib.error.HTTPError, token: bool) -> str:
    if error.code in (401, 403) and not token:
        return (
            "the Jupyter server has no token by which it could know this kernel. Start it with one, beside the "
            "password: jupyter lab --IdentityProvider.token=…"
        )
    try:
        return str(json.load(error)["message"])
    except (ValueError, KeyError, TypeError):
        return f"the Jupyter server answered {error.code} {error.reason}"


def _server() -> dict[str, Any] | None:
    """The server that started this kernel: {url, token, secure}."""
    env = os.environ
    if "JUPYTERHUB_SERVICE_URL" in env and "JUPYTERHUB_API_TOKEN" in env:  # a user's server in JupyterHub
        return {"url": env["JUPYTERHUB_SERVICE_URL"], "token": env["JUPYTERHUB_API_TOKEN"]}
    info = _told_by_server()
    return info and {"url": info["url"], "token": info.get("token", ""), "secure": info.get("secure", False)}


def served_folder() -> Path | None:
    """The folder whose files the Jupyter server that started this kernel gives to its user's browser."""
    folder = (_told_by_server() or {}).get("root_dir")
    return Path(folder).resolve() if folder else None


def served_place(path: Path) -> str | None:
    """Where the page's Jupyter server serves a file, below its folder; None where it does not."""
    folder = served_folder()
    if folder is None or not path.resolve().is_relative_to(folder):
        return None
    place = path.resolve().relative_to(folder)
    hidden = any(part.startswith(".") for part in place.parts)
    return None if hidden else place.as_posix()


def _told_by_server() -> dict[str, Any] | None:
    """What the server that started this kernel wrote down of itself; None in a Python that no server started."""
    parent = os.environ.get("JPY_PARENT_PID")
    if not parent:
        return None
    from jupyter_core.paths import jupyter_runtime_dir

    try:
        info: dict[str, Any] = json.loads(Path(jupyter_runtime_dir(), f"jpserver-{parent}.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return info


@cache
def warn_without_service() -> None:
    """Says once per kernel, in the notebook, that maps will stay empty and how to cure that."""
    found = find_service()
    if found.state == "missing":
        warnings.warn(
            "The Jupyter server that runs this notebook does not have the MUSES Lab service, so maps stay without "
            f"tiles. In a terminal:\n\n    {CURE}\n\nthen restart the Jupyter server. `muses-lab doctor` tells more.",
            stacklevel=3,
        )
    elif found.state == "there" and found.detail:
        warnings.warn(found.detail, stacklevel=3)


def _other_release(there: str | None) -> str:
    here = version("muses-lab")
    if there in (None, here):
        return ""
    return (
        f"This kernel has MUSES Lab {here}, the Jupyter server that draws its maps {there}: use one environment "
        "for both, or restart the server if it is the older one."
    )
