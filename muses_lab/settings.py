"""Where things are kept, and the limits: one place, each overridable by an environment variable."""

from __future__ import annotations

import copy
import ipaddress
import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock
from platformdirs import user_data_path

from muses_lab.errors import AccessDenied, NotFound


def home() -> Path:
    """Folder of the user's own state: store, registered catalogues, sample data (`MUSES_LAB_HOME`)."""
    path = _home(os.environ.get("MUSES_LAB_HOME"))
    if not os.path.isdir(path):
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


@lru_cache(maxsize=8)
def _home(named: str | None) -> Path:
    return Path(named or user_data_path("muses-lab"))


def number(name: str, default: float) -> float:
    """A numeric setting from the environment variable `name`."""
    text = os.environ.get(name)
    if not text:
        return default
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name}={text!r} is not a number") from None


def worker_bytes() -> int:
    """Memory of one worker beyond what the imported libraries take (`MUSES_WORKER_BYTES`, default 1 GiB).

    Cache and evaluations together; `engine.memory` says how it is divided.
    """
    return int(number("MUSES_WORKER_BYTES", 1 << 30))


def store_url() -> str:
    """SQLAlchemy URL of the store (`MUSES_STORE_URL`); a SQLite file in `home()` by default."""
    return os.environ.get("MUSES_STORE_URL") or f"sqlite:///{home() / 'store.sqlite'}"


# Registered catalogues: id → root folder or URL, and the folders outside it that its items may point to.


def _registry_file() -> Path:
    return home() / "catalogs.json"


def registered_catalogs() -> dict[str, dict[str, Any]]:
    """All catalogues that this user opened or made: id → {"root": ..., "roots": [...]}."""
    return copy.deepcopy(_entries())


def _entries(lately: bool = False) -> dict[str, dict[str, Any]]:
    """The registry as it is, or (`lately`, with every read) as it was a fifth of a second ago at most."""
    global _looked
    named = os.environ.get("MUSES_LAB_HOME")
    if lately and _looked[0] == named and time.monotonic() - _looked[1] < 0.2:
        return _looked[2]
    file = _registry_file()
    try:
        found = file.stat()
    except FileNotFoundError:
        return {}
    entries = _registry(file, (found.st_ino, found.st_mtime_ns))
    _looked = named, time.monotonic(), entries
    return entries


_looked: tuple[str | None, float, dict[str, dict[str, Any]]] = (None, -1.0, {})


@lru_cache(maxsize=8)
def _registry(file: Path, stamp: tuple[int, int]) -> dict[str, dict[str, Any]]:
    """The registry as it was at that time: it is asked for with every band that is read."""
    return json.loads(file.read_text("utf-8"))


def register_catalog(catalog_id: str, root: str, roots: list[str] | None = None, source: str | None = None) -> None:
    """Remembers where a catalogue's files are, so that relative hrefs can be read by kernel, service and workers.

    `root` is a folder or URL; `roots` are folders outside it that its items may point to (files registered in place);
    `source` is what to open the catalogue by where that is not its root (one file in a folder).
    """
    file = _registry_file()
    with FileLock(str(file) + ".lock"):
        entries = registered_catalogs()
        known = entries.get(catalog_id, {})
        kept = known.get("roots", []) if known.get("root") == root else []
        source = source or (known.get("source") if known.get("root") == root else None)
        entry = {"root": root, "roots": sorted({*kept, *(roots or [])})}
        if source and source != root:
            entry["source"] = source
        if known == entry:
            return
        if "source" not in entry:  # a folder is one catalogue: made anew under another id, the old one is gone
            entries = {id: e for id, e in entries.items() if e["root"] != root or "source" in e}
        entries[catalog_id] = entry
        part = file.with_suffix(".part")
        part.write_text(json.dumps(entries, indent=1), "utf-8")
        part.replace(file)


Lookup = Callable[[str, int], Iterable[str]]
"""(host, port) → its addresses; `OSError` where it has none."""


def addresses(host: str, port: int) -> Iterable[str]:
    """The addresses of a host as the name service knows them now."""
    return {str(info[4][0]) for info in socket.getaddrinfo(host, port, proto=socket.IPPROTO_TCP)}


def is_remote(catalog_id: str) -> bool:
    """Whether relative hrefs of a catalogue lead to a server."""
    entry = _entries(lately=True).get(catalog_id)
    return entry is not None and "://" in entry["root"]


def resolve_href(catalog_id: str, href: str, lookup: Lookup = addresses) -> str:
    """The path or URL to open for `href` of a catalogue; raises `AccessDenied` outside the allowed places.

    Local files must lie in the catalogue's folder or in a folder registered with it (symbolic links followed first).
    URLs must be https (or http to a host in `MUSES_ALLOWED_HOSTS`) and must not lead to a private address.
    """
    try:
        return _resolved(_entries(lately=True), catalog_id, href, lookup)
    except (AccessDenied, NotFound):  # unless it was registered a moment ago
        return _resolved(_entries(), catalog_id, href, lookup)


def _resolved(entries: dict[str, dict[str, Any]], catalog_id: str, href: str, lookup: Lookup) -> str:
    entry = entries.get(catalog_id)
    if entry is None:
        raise NotFound(
            f"catalogue {catalog_id!r} is not registered on this machine; open it once with ml.open_catalog(path)"
        )
    root = entry["root"]
    if "://" in href:
        return check_url(href, lookup)
    if "://" in root:
        return check_url(root.rstrip("/") + "/" + href, lookup)
    return _local(catalog_id, root, tuple(entry["roots"]), href)


@lru_cache(maxsize=1 << 16)
def _local(catalog_id: str, root: str, roots: tuple[str, ...], href: str) -> str:
    """The real path of a file of a catalogue; kept, because following links costs more than finding a block."""
    try:
        path = Path(root, href).resolve()
    except (ValueError, OSError, RuntimeError) as error:  # a null byte, a circle of links
        raise AccessDenied(f"{href!r} is not a path: {error}", href=href) from None
    allowed = [Path(root).resolve(), *(Path(r).resolve() for r in roots)]
    if not any(path.is_relative_to(a) for a in allowed):
        raise AccessDenied(
            f"{href!r} is outside the folders of catalogue {catalog_id!r}; register its folder with "
            "`muses-lab catalog add`",
            href=href,
        )
    return str(path)


def driver_of(path: str | Path) -> str:
    """The only GDAL driver that may open a file of that name: one whose files hold their own pixels.

    Never a VRT or the like, which would point to other places.
    """
    name = urlsplit(path).path if isinstance(path, str) and "://" in path else str(path)
    return "JP2OpenJPEG" if name.lower().endswith((".jp2", ".j2k")) else "GTiff"


@lru_cache(maxsize=8)
def _names(text: str) -> frozenset[str]:
    return frozenset(h.strip().lower() for h in text.split(",") if h.strip())


def allowed_hosts() -> frozenset[str]:
    """Hosts that may be read although they are not https or have a private address (`MUSES_ALLOWED_HOSTS`)."""
    return _names(os.environ.get("MUSES_ALLOWED_HOSTS", ""))


def is_allowed(host: str, port: int | None) -> bool:
    """Whether a host is one of `allowed_hosts`, by name alone or with its port."""
    names = allowed_hosts()
    return bool(host) and (host in names or bool(port) and f"{host}:{port}" in names)


def check_url(url: str, lookup: Lookup = addresses) -> str:
    """`url` if it may be read, else `AccessDenied`: https only, no private, loopback or link-local address.

    `lookup` finds a host's addresses: one that remembers them, for who asks often.
    """
    shown, scheme, host, port = _parsed(url)
    if is_allowed(host, port) and scheme in ("http", "https"):
        return url
    if scheme != "https" or not host:
        raise AccessDenied(f"{shown!r} cannot be read: only https URLs are allowed", href=shown)
    try:
        found = lookup(host, port or 443)
    except (OSError, UnicodeError) as error:
        raise AccessDenied(f"{shown!r} cannot be read: host {host!r} has no address ({error})", href=shown) from None
    for address in found:
        if not is_public(address):
            raise AccessDenied(f"{shown!r} cannot be read: {host} has the private address {address}", href=shown)
    return url


@lru_cache(maxsize=1 << 16)
def _parsed(url: str) -> tuple[str, str, str, int | None]:
    """What may be shown of a URL, its scheme, host and port; `AccessDenied` where programs read it differently."""
    shown = re.sub(r"//[^/]*@", "//", re.split(r"[?#]", url)[0])  # without signatures and passwords
    if re.search(r"[\x00-\x20\x7f\\]", url):
        # parsers differ on these, so what was checked would not be what is read
        raise AccessDenied(f"{shown!r} cannot be read: it has spaces, control characters or backslashes", href=shown)
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError as error:
        raise AccessDenied(f"{shown!r} cannot be read: {error}", href=shown) from None
    if parts.username is not None:
        raise AccessDenied(f"{shown!r} cannot be read: a user name does not belong in an address", href=shown)
    return shown, parts.scheme, host, port


@lru_cache(maxsize=1 << 12)
def is_public(address: str) -> bool:
    """Whether an address belongs to the open internet."""
    return _is_public(ipaddress.ip_address(address.split("%")[0]))


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address belongs to the open internet; those that wrap an IPv4 address are as public as that is."""
    if not address.is_global or address.is_multicast:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        wrapped = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
        if address in _NAT64:
            wrapped = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return not wrapped or _is_public(wrapped)
    return True
