"""The hub's settings, accounts and users' servers, without a hub: `test_hub.py` has a real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from numba.core.caching import _CacheLocator

from muses_lab import settings
from muses_lab.compute import leases
from muses_lab.deployment import once, singleuser
from muses_lab.deployment.accounts import FIRST, Accounts, separated
from muses_lab.deployment.config import HubSettings, Limits, SettingsError

ONE_FOR_ALL = {"PASSWORD": "correct-horse-battery"}


def hub(tmp_path: Path, **environment: str) -> HubSettings:
    return HubSettings({**ONE_FOR_ALL, "STATE": str(tmp_path / "state"), **environment})


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"AUTH": "ldap"}, "MUSES_HUB_AUTH='ldap' is unknown; there are demo, pam, oauth"),
        ({"ACCOUNTS": "yes"}, "there are auto, separate, one"),
        ({"URL": "lab.example.org"}, "is not an address such as"),
        ({"URL": "http://0.0.0.0:8000"}, "not on loopback.*set MUSES_HUB_AUTH=pam or oauth"),
        ({"URL": "https://lab.example.org", "TLS_CERT": "c", "TLS_KEY": "k"}, "not on loopback"),
        ({"AUTH": "pam"}, "needs MUSES_HUB_USERS"),
        ({"AUTH": "oauth"}, "everybody in the world"),
        ({"AUTH": "pam", "USERS": "*", "URL": "http://lab.example.org"}, "passwords in the clear"),
        ({"AUTH": "pam", "USERS": "*", "URL": "https://lab.example.org"}, "passwords in the clear"),
        ({"TLS_CERT": "/etc/cert.pem"}, "belong together"),
        ({"ADMINS": "alice"}, "one password for all proves no name"),
    ],
)
def test_what_is_weaker_than_it_looks_is_refused(tmp_path, environment, told):
    with pytest.raises(SettingsError, match=told):
        hub(tmp_path, **environment)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"URL": "http://[::1]:8000"},
        {"AUTH": "pam", "USERS": "@students,alice", "ADMINS": "alice"},
        {"AUTH": "oauth", "USERS": "alice", "URL": "https://lab.example.org", "TLS_CERT": "c", "TLS_KEY": "k"},
        {"AUTH": "oauth", "USERS": "alice", "URL": "http://10.0.0.1:8000", "BEHIND_TLS": "1"},
    ],
)
def test_settings_that_hold(tmp_path, environment):
    assert hub(tmp_path, **environment).users


def test_values_that_are_wrong_are_named(tmp_path):
    with pytest.raises(SettingsError, match="MUSES_HUB_WORKERS='many' is not a number"):
        _ = hub(tmp_path, WORKERS="many").limits
    with pytest.raises(SettingsError, match="MUSES_HUB_MEMORY='0' must be above 0"):
        _ = hub(tmp_path, MEMORY="0").limits
    with pytest.raises(SettingsError, match="MUSES_HUB_GATEWAY_PORT='x' is not a port"):
        hub(tmp_path, GATEWAY_PORT="x").port("GATEWAY", 8787)
    with pytest.raises(SettingsError, match="needs MUSES_HUB_OAUTH_CLIENT_ID"):
        hub(tmp_path, AUTH="oauth", USERS="alice").oauth("CLIENT_ID")


def test_secrets_do_not_go_to_the_gateway(tmp_path):
    given = hub(tmp_path, DATABASE="postgresql://muses:secret@db/muses", OAUTH_CLIENT_SECRET="s", WORKERS="3")
    assert set(given.without_secrets()) == {"MUSES_HUB_STATE", "MUSES_HUB_WORKERS"}


def test_limits_of_a_user_come_before_those_of_groups_of_which_the_largest_counts(tmp_path):
    file = tmp_path / "limits.json"
    groups = {"class-a": {"workers": 4, "memory": 1.0}, "class-b": {"workers": 3, "memory": 4.0}}
    file.write_text(json.dumps({"groups": groups, "users": {"carol": {"workers": 1}}}))
    given = hub(tmp_path, LIMITS=str(file), CORES="8")
    of = lambda name, *groups: given.limits.of(name, groups, given.exceptions)  # noqa: E731
    assert of("alice") == Limits(2, 8, 2.0)
    assert of("bob", "class-a", "class-b") == Limits(4, 8, 4.0)
    assert of("carol", "class-a") == Limits(1, 8, 1.0)
    file.write_text(json.dumps({"groups": {"class-a": {"gpus": 1}}}))
    with pytest.raises(SettingsError, match=r"\['gpus'\]; there are \['cores', 'memory', 'workers'\]"):
        _ = hub(tmp_path, LIMITS=str(file)).exceptions


# Accounts


def test_one_account_for_all_when_it_is_not_possible_otherwise_and_says_why(tmp_path, monkeypatch):
    assert separated(hub(tmp_path, ACCOUNTS="one")) == (False, "MUSES_HUB_ACCOUNTS=one")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert separated(hub(tmp_path)) == (False, "the hub was not started as root")
    with pytest.raises(SettingsError, match="separate is not possible: the hub was not started as root"):
        separated(hub(tmp_path, ACCOUNTS="separate"))


def test_users_share_no_id_with_each_other_nor_with_the_machine(tmp_path, monkeypatch):
    owners: dict[str, int] = {}
    monkeypatch.setattr(os, "chown", lambda path, uid, gid: owners.update({str(path): uid}))
    (tmp_path / "state").mkdir()
    accounts = Accounts(hub(tmp_path), separate=True)
    alice, root = accounts.of("alice"), accounts.of("root")
    assert (alice.uid, root.uid) == (FIRST, FIRST + 1)  # a hub's "root" is nobody here
    assert Accounts(hub(tmp_path), separate=True).of("alice").uid == FIRST
    assert owners == {str(alice.home): FIRST, str(root.home): FIRST + 1}
    assert alice.process()["extra_groups"] == [] and alice.home.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["..", ".", "a/b", "../../etc"])
def test_a_users_folder_is_below_that_of_all_homes(tmp_path, name):
    with pytest.raises(ValueError, match="cannot be the name of a user's folder"):
        Accounts(hub(tmp_path), separate=False).of(name)


# Users' servers


def test_notebooks_are_given_once(tmp_path):
    source, target = tmp_path / "hub", tmp_path / "notebooks"
    source.mkdir()
    (source / "01.ipynb").write_text("first")
    assert singleuser.give_notebooks(source, target) == ["01.ipynb"]
    (target / "01.ipynb").write_text("mine")
    (source / "02.ipynb").write_text("second")
    assert singleuser.give_notebooks(source, target) == ["02.ipynb"]
    (target / "02.ipynb").unlink()
    assert singleuser.give_notebooks(source, target) == []
    assert [path.name for path in target.glob("*.ipynb")] == ["01.ipynb"]
    assert (target / "01.ipynb").read_text() == "mine"


def test_the_hubs_catalogues_are_registered_but_not_over_the_users_own(tmp_path, fresh_home):
    offered = tmp_path / "catalogs.json"
    offered.write_text(json.dumps({n: {"root": f"/hub/{n}", "roots": []} for n in ("sample", "mine")}))
    settings.register_catalog("mine", "/home/me")
    singleuser.give_catalogs(offered)
    singleuser.give_catalogs(tmp_path / "none.json")
    assert {n: e["root"] for n, e in settings.registered_catalogs().items()} == {
        "sample": "/hub/sample",
        "mine": "/home/me",
    }


def test_compiled_kernels_are_found_where_numba_looks(tmp_path):
    compiled = tmp_path / "code" / "engine" / "__pycache__" / "kernels.mean-1.py311.nbi"
    compiled.parent.mkdir(parents=True)
    compiled.write_bytes(b"index")
    for _ in range(2):
        singleuser.give_kernels(tmp_path / "code", tmp_path / "cache")
    folder = _CacheLocator.get_suitable_cache_subpath(str(tmp_path / "code" / "engine" / "kernels.py"))
    assert (tmp_path / "cache" / folder / compiled.name).read_bytes() == b"index"


# Services that a killed hub left


def test_a_former_service_is_ended_and_a_stranger_of_its_number_is_not(tmp_path):
    file = tmp_path / "gateway.json"
    command = [sys.executable, "-m", "muses_lab.deployment.once", str(file), "sleep", "100"]
    first = subprocess.Popen(command)
    try:
        _wait(lambda: file.exists() and json.loads(file.read_text())["pid"] == first.pid)
        second = subprocess.Popen(command)
        try:
            assert first.wait(30) == -9
            _wait(lambda: json.loads(file.read_text())["pid"] == second.pid)
            file.write_text(json.dumps({"pid": second.pid, "start": "another"}))
            assert not once.end_former(file)
            assert second.poll() is None
            file.write_text(json.dumps({"pid": second.pid, "start": leases.process_start(second.pid)}))
            assert once.end_former(file)
        finally:
            second.kill()
            second.wait()
    finally:
        first.kill()
        first.wait()
    assert not once.end_former(tmp_path / "none.json")


def _wait(condition) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
