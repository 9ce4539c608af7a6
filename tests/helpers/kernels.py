"""Kernels that are asked without a page."""

from __future__ import annotations

from typing import Any

from jupyter_client import BlockingKernelClient


def printed(client: BlockingKernelClient, code: str) -> str:
    """What a cell prints."""
    said: list[str] = []

    def hear(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream":
            said.append(message["content"]["text"])

    answer = client.execute_interactive(code, timeout=120, output_hook=hear)
    assert answer["content"]["status"] == "ok", answer["content"]
    return "".join(said).strip()
