"""The doctor says what is missing and what gets it, on any machine, without falling over."""

from __future__ import annotations

import shutil
import socket
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import pytest

from muses_lab import doctor, settings
from muses_lab.doctor import Finding, examine


def finding(name: str) -> Finding:
    return next(found for found in examine() if found.name == name)


def test_this_environment_is_well() -> None:
    """Tests run on what `make install` made: if this fails, `muses-lab doctor` says what to do."""
    by_name = {found.name: found for found in examine()}
    assert set(by_name) == set(doctor.CHECKS)
    for name in ("Python", "packages", "Jupyter server extension", "widget state", "own folder", "loopback", "cluster"):
        assert by_name[name].ok, str(by_name[name])


def test_a_missing_thing_comes_with_its_cure() -> None:
    lines = str(Finding("catalogues", False, "none yet", "muses-lab sample")).splitlines()
    assert lines[0].split() == ["missing", "catalogues:", "none", "yet"]
    assert lines[1].strip() == "→ muses-lab sample"
    assert str(Finding("browser", False, "none", needed=False)).startswith("optional")


def test_a_wrong_version_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.0.1" if name == "numpy" else real(name))
    found = finding("packages")
    assert not found.ok
    assert "numpy is 0.0.1 instead of ==" in found.found
    assert "install" in found.cure


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name == "rasterio":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    assert "rasterio is not installed" in finding("packages").found


def test_an_installed_wheel_is_compared_with_its_own_requirements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "checkout", lambda: None)
    found = finding("packages")
    assert found.ok
    assert found.found.endswith("as required")
    assert "pip install" in doctor.install()


def test_the_server_extension_must_be_enabled(monkeypatch: pytest.MonkeyPatch) -> None:
    from jupyter_server.extension.config import ExtensionConfigManager

    monkeypatch.setattr(ExtensionConfigManager, "enabled", lambda *_: False)
    found = finding("Jupyter server extension")
    assert not found.ok
    assert "not enabled" in found.found


def test_widget_state_switched_off_by_the_user_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, plugin = doctor.SAVE_STATE.split(":")
    file = tmp_path / package / f"{plugin}.jupyterlab-settings"
    file.parent.mkdir(parents=True)
    file.write_text('{"saveState": false}')
    monkeypatch.setenv("JUPYTERLAB_SETTINGS_DIR", str(tmp_path))
    found = finding("widget state")
    assert not found.ok
    assert "your JupyterLab settings" in found.found


def test_a_home_that_cannot_be_made_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "a-file"
    blocked.write_text("")
    monkeypatch.setenv("MUSES_LAB_HOME", str(blocked / "home"))
    assert not finding("own folder").ok


def test_a_full_disk_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 10, 1e8))
    found = finding("disk")
    assert not found.ok
    assert found.found.startswith("0.1 GB free")
    assert "MUSES_LAB_HOME" in found.cure


def test_no_loopback_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("Cannot assign requested address")

    monkeypatch.setattr(socket, "create_server", refuse)
    found = finding("loopback")
    assert not found.ok
    assert "Cannot assign requested address" in found.found


def test_catalogues_are_there_or_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSES_LAB_HOME", str(tmp_path / "home"))
    assert finding("catalogues").found == "none yet"
    assert finding("catalogues").cure.startswith("muses-lab sample")
    (tmp_path / "here").mkdir()
    settings.register_catalog("here", str(tmp_path / "here"))
    settings.register_catalog("moved", str(tmp_path / "moved"))
    found = finding("catalogues")
    assert found.ok
    assert found.found == "here (folders that are gone: moved)"


def test_without_a_browser_everything_but_the_tests_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    found = finding("browser for tests")
    assert (found.ok, found.needed) == (False, False)
    assert "chromium" in found.cure
