"""A machine with the cable pulled: nothing but the loopback, no name is resolved."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_NEW_NETWORK = 0x40000000
"""`CLONE_NEWNET` of Linux."""
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1
"""`SIOCGIFFLAGS`, `SIOCSIFFLAGS`, `IFF_UP`."""

STILL_THERE = """
import socket
found = [name for _, name in socket.if_nameindex() if name != "lo"]
for place in ("example.org", "192.0.2.1"):
    try:
        socket.create_connection((place, 443), 5)
        found.append(place)
    except OSError:
        pass
print("reached", found)
"""
"""A program that prints what a process has beyond the loopback: `reached []`."""


@contextmanager
def cut_off() -> Iterator[None]:
    """This thread, and all processes and threads that it starts meanwhile, have the loopback and nothing else.

    What `unshare -n` does for a command. Skips the test where that is not permitted.
    """
    if sys.platform != "linux":
        pytest.skip("only Linux gives a process a network of its own")
    system = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if system.unshare(_NEW_NETWORK):
            pytest.skip(f"a network of one's own is not permitted here (unshare: {os.strerror(ctypes.get_errno())})")
        try:
            _loopback_up()
            yield
        finally:
            if system.setns(before, _NEW_NETWORK):
                raise OSError(ctypes.get_errno(), "this thread does not get its network back")
    finally:
        os.close(before)


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        request = struct.pack("16sH14x", b"lo", 0)
        (flags,) = struct.unpack_from("H", fcntl.ioctl(one, _GET_FLAGS, request), 16)
        fcntl.ioctl(one, _SET_FLAGS, struct.pack("16sH14x", b"lo", flags | _UP))
