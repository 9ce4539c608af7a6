"""Dask reads the settings for a gateway's clusters as the embedded cluster has them."""

from __future__ import annotations

from dask import config

from muses_lab.compute import tuning


def test_the_variables_say_what_the_settings_say() -> None:
    read = config.collect_env(tuning.environment())
    for name, value in tuning.SETTINGS.items():
        assert config.get(name, config=read) == value


def test_workers_fetch_no_grids() -> None:
    assert tuning.environment()["PROJ_NETWORK"] == "OFF"
