"""What may be read: files in a catalogue's folders, and servers of the internet that are reached by https."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from muses_lab.errors import AccessDenied, NotFound
from muses_lab.settings import catalog_entries

Lookup = Callable[[str, int], Iterable[str]]
"""(host, port) → its addresses; `OSError` where it has none."""


def addresses(host: str, port: int) -> Iterable[str]:
    """The addresses of a host as the name service knows them now."""
    return {str(info[4][0]) for info in socket.getaddrinfo(host, port, proto=socket.IPPROTO_TCP)}


def is_remote(catalog_id: str) -> bool:
    """Whether relative hrefs of a catalogue lead to a server."""
    entry = catalog_entries(lately=True).get(catalog_id)
    return entry is not None and "://" in entry["root"]


def resolve_href(catalog_id: str, href: str, lookup: Lookup = addresses) -> str:
    """The path or URL to open for `href` of a catalogue; raises `AccessDenied` outside the allowed places.

    Local files must lie in the catalogue's folder or in a folder registered with it (symbolic links followed first).
    URLs must be https (or http to a host in `MUSES_ALLOWED_HOSTS`) and must not lead to a private address.
    """
    try:
        return _resolved(catalog_entries(lately=True), catalog_id, href, lookup)
    except (AccessDenied, NotFound):  # unless it was registered a moment ago
        return _resolved(catalog_entries(), catalog_id, href, lookup)


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


def may_read(catalog_id: str, place: str) -> bool:
    """Whether a file that is really there (a path without links) lies in the folders of a catalogue."""
    entry = catalog_entries().get(catalog_id)
    if entry is None or "://" in entry["root"]:
        return False
    return any(Path(place).is_relative_to(Path(root).resolve()) for root in (entry["root"], *entry["roots"]))


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
    """Whether an address belongs to the open internet.

    By a list of our own: what Python's `is_global` says changes with its releases.
    """
    return _is_public(ipaddress.ip_address(address.split("%")[0]))


_NOT_PUBLIC = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24",  # protocols; its anycast addresses have no files to read
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",  # multicast; reserved, and broadcast
        "2001::/23",  # protocols: Teredo, benchmarks, ORCHID
        "2001:db8::/32", "3fff::/20",
    )
)  # fmt: skip
"""IANA's special-purpose registries (2025) of IPv4, and of IPv6 within `_UNICAST`: what is not globally reachable."""
_UNICAST = ipaddress.IPv6Network("2000::/3")
"""All that IANA has given to the open internet: loopback, unique local, link-local, multicast and SRv6 are outside."""
_WRAPPING = (
    (ipaddress.IPv6Network("::ffff:0:0/96"), 0),  # IPv4-mapped
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),  # NAT64; its local-use prefix 64:ff9b:1::/48 is never public
    (ipaddress.IPv6Network("2002::/16"), 80),  # 6to4
)
"""IPv6 addresses that lead to an IPv4 address, and how many bits stand behind that."""


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Addresses that wrap an IPv4 address are as public as that is."""
    if isinstance(address, ipaddress.IPv6Address):
        for network, behind in _WRAPPING:
            if address in network:
                return _is_public(ipaddress.IPv4Address(int(address) >> behind & 0xFFFFFFFF))
        if address not in _UNICAST:
            return False
    return not any(address in network for network in _NOT_PUBLIC)
