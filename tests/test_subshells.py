"""Widgets of a real kernel with subshells, as JupyterLab uses them: one for the widgets, one to fetch their state."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

from tests.helpers.kernels import printed

pytestmark = pytest.mark.slow

WIDGET = """
import threading, time
import ipywidgets
import muses_widgets
number, heard = ipywidgets.IntText(), []
number.observe(lambda change: heard.append(change["new"]), "value")
living = get_ipython().kernel.shell_channel_thread.manager.list_subshell
def tell():
    for there in (2, 1):
        while len(living()) != there:
            time.sleep(0.05)
    number.description = "by a thread"
threading.Thread(target=tell, daemon=True).start()
print(number.model_id)
"""
HEARD = """
end = time.monotonic() + 30
while len(heard) < 2 and time.monotonic() < end:
    time.sleep(0.05)
print(number.description, heard)
"""


class Kernel:
    def __init__(self, client: BlockingKernelClient) -> None:
        self.client = client

    def asked(self, kind: str, content: dict[str, Any]) -> dict[str, Any]:
        self.client.control_channel.send(self.client.session.msg(kind, content))
        return self.client.control_channel.get_msg(timeout=30)["content"]

    def send(self, subshell: str, kind: str, comm: str, **content: Any) -> None:
        message = self.client.session.msg(kind, {"comm_id": comm, "data": {}} | content)
        message["header"]["subshell_id"] = subshell
        self.client.shell_channel.send(message)


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    manager, client = start_new_kernel(kernel_name="python3")
    yield Kernel(client)
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_a_click_is_heard_though_the_widget_spoke_for_a_subshell_that_has_ended(kernel: Kernel) -> None:
    widget = printed(kernel.client, WIDGET)
    own, fetching = (kernel.asked("create_subshell_request", {})["subshell_id"] for _ in range(2))
    kernel.send(fetching, "comm_open", "fetching", target_name="jupyter.widget.control")
    kernel.send(fetching, "comm_msg", "fetching", data={"method": "request_states"})
    kernel.send(fetching, "comm_close", "fetching")
    time.sleep(1)  # it has heard all that
    assert kernel.asked("delete_subshell_request", {"subshell_id": fetching})["status"] == "ok"
    time.sleep(1)  # the thread has spoken
    for value in (1, 2):
        update = {"method": "update", "state": {"value": value}, "buffer_paths": []}
        kernel.send(own, "comm_msg", widget, data=update)
    assert printed(kernel.client, HEARD) == "by a thread [1, 2]"
