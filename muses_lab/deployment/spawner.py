"""A user's Jupyter server as a process of this machine, under the user's account."""

from __future__ import annotations

from typing import Any

from jupyterhub.spawner import LocalProcessSpawner

from muses_lab.deployment.accounts import Accounts


class AccountSpawner(LocalProcessSpawner):
    """LocalProcessSpawner whose accounts are `accounts`, set by `jupyterhub_config.py`."""

    accounts: Accounts

    def make_preexec_fn(self, name: str) -> None:
        """Nothing to run between fork and exec: `subprocess` itself changes the account, see `popen_kwargs`."""

    async def start(self) -> Any:
        self.popen_kwargs: dict[str, Any] = {**self.popen_kwargs, **self.accounts.of(self.user.name).process()}
        return await super().start()

    def user_env(self, env: dict[str, str]) -> dict[str, str]:
        return {**env, **self.accounts.of(self.user.name).environment(self.user.name)}

    async def move_certs(self, paths: dict[str, str]) -> dict[str, str]:
        return paths
