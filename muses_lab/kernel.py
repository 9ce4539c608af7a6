"""A kernel that imports MUSES Lab tells the Jupyter server that started it, which starts its cluster meanwhile.

It sends its process id as a datagram to a socket in the Jupyter runtime directory, which only the user can reach.
Nothing is waited for and nothing is answered: importing takes as long as before, with or without a server.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def socket_of(server: int | str) -> str:
    """Where the Jupyter server of that process id listens to its kernels."""
    from jupyter_core.paths import jupyter_runtime_dir

    return os.path.join(jupyter_runtime_dir(), f"muses-{server}.sock")


def tell_server() -> None:
    """Tells it, in a kernel that a Jupyter server started and whose chains are for the embedded cluster."""
    server = os.environ.get("JPY_PARENT_PID")
    running = sys.modules.get("ipykernel.kernelapp")  # what is no kernel does not import it for this
    if not server or running is None or not running.IPKernelApp.initialized():
        return
    if os.environ.get("MUSES_COMPUTE") not in (None, "", "embedded"):
        return
    import socket

    # No server, one without MUSES Lab or one that is busy, a system without such sockets (Windows: AttributeError):
    # maps start the cluster when they need it.
    with suppress(OSError, AttributeError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.setblocking(False)
        one.sendto(str(os.getpid()).encode(), socket_of(server))
