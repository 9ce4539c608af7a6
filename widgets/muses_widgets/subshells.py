"""What pages send to widgets, in a kernel with subshells."""

from __future__ import annotations

import sys
from typing import Any


def keep_from_ended_subshells() -> None:
    """No message of a page goes to a subshell that has ended.

    ipykernel 7.4 hands what a page sends to a widget to the subshell that the widget's last own message came from, not
    to the one that the page names. A thread speaks for whichever subshell was asked last, often the one by which
    JupyterLab fetches the widgets' state and which then ends; one that belonged to a closed tab has ended, too. What
    goes there is lost: clicks without an answer until the kernel restarts.
    """
    if "ipykernel.comm.comm" not in sys.modules:
        return  # no kernel
    from ipykernel.comm.comm import BaseComm

    chosen = getattr(BaseComm, "_reply_subshell_for", None)
    if chosen is None:
        return  # another version

    def checked(comm: Any, data: Any, named: str | None) -> str | None:
        found = chosen(comm, data, named)
        ended = found is not None and found not in comm.kernel.shell_channel_thread.manager.list_subshell()
        return named if ended else found

    BaseComm._reply_subshell_for = checked  # type: ignore[method-assign]
