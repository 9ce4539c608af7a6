"""The hub's settings, accounts and users' servers, without a hub: `test_hub.py` has a real one."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from numba.core.caching import _CacheLocator

from muses_lab import settings
from muses_lab.compute import leases
from muses_lab.deployment import once, run, singleuser
from muses_lab.deployment.accounts import FIRST, Accounts, separated
from muses_lab.deployment.config import HubSettings, Limits, SettingsError
from muses_lab.deployment.published import prepare
from muses_lab.deployment.service_account import hand_over
from muses_lab.deployment.store import file_of
from muses_lab.notebooks import TUTORIALS
from muses_lab.sample import generate
from tests.helpers import PYTHON_PATH, REPOSITORY

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
        ({"PASSWORD": "seven77"}, "MUSES_HUB_PASSWORD has 7 characters; it needs 8 at least, or leave it out"),
        ({"PUBLISHED": "/nowhere/course"}, "MUSES_HUB_PUBLISHED='/nowhere/course' is no folder"),
        ({"START": "../01.ipynb"}, "is no published notebook; name it by its path below"),
        ({"START": "/etc/passwd"}, "is no published notebook"),
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


def test_of_a_demonstration_one_name_is_a_trainer_elsewhere_a_group_of_the_hub(tmp_path):
    assert hub(tmp_path).trainers == "trainer,@trainers" and hub(tmp_path).gateway
    assert hub(tmp_path, AUTH="pam", USERS="alice").trainers == "@trainers"
    chosen = hub(tmp_path, TRAINERS="tom,@staff", GATEWAY="0")
    assert chosen.trainers == "tom,@staff" and not chosen.gateway
    assert chosen.courses == chosen.state / "courses"


def test_values_that_are_wrong_are_named(tmp_path):
    with pytest.raises(SettingsError, match="MUSES_HUB_WORKERS='many' is not a number"):
        _ = hub(tmp_path, WORKERS="many").limits
    with pytest.raises(SettingsError, match="MUSES_HUB_MEMORY='0' must be above 0"):
        _ = hub(tmp_path, MEMORY="0").limits
    with pytest.raises(SettingsError, match="MUSES_HUB_GATEWAY_PORT='x' is not a port"):
        hub(tmp_path, GATEWAY_PORT="x").port("GATEWAY")
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


# The service `muses` with its store


@pytest.fixture
def root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root changes owners and accounts")


def as_account(imports: str, code: str) -> subprocess.CompletedProcess[str]:
    """Runs Python as an account without rights, which need not be able to read what is imported."""
    lines = ["import os", "from pathlib import Path", imports, f"os.setgid({FIRST}); os.setuid({FIRST})", code]
    env = {**os.environ, "PYTHONPATH": PYTHON_PATH}
    return subprocess.run([sys.executable, "-c", "\n".join(lines)], env=env, capture_output=True, text=True)


def test_what_is_handed_over_is_the_accounts_and_links_lead_nowhere(tmp_path, root):
    mine, other = tmp_path / "mine", tmp_path / "other"
    (mine / "folder").mkdir(parents=True)
    (mine / "folder" / "file").write_text("x")
    other.mkdir()
    (mine / "link").symlink_to(other)
    (mine / "folder" / "link").symlink_to(other / "file")
    (other / "file").write_text("x")
    for _ in range(2):
        hand_over(mine, FIRST)
        assert {path.lstat().st_uid for path in (mine, *mine.rglob("*"))} == {FIRST}
        (mine / "restored").write_text("as root, like `muses-lab store restore`")
    assert {path.stat().st_uid for path in (other, other / "file")} == {0}
    assert mine.stat().st_mode & 0o777 == 0o700


def test_a_store_that_the_account_cannot_write_is_refused_with_the_cure(folder, root):
    place, file = folder / "elsewhere", folder / "elsewhere" / "muses.sqlite"

    def refused() -> str:
        return as_account("from muses_lab.deployment.store import check", f"check(Path({str(file)!r}), {FIRST})").stderr

    place.mkdir()
    assert f"under the account {FIRST}, which cannot write {place} (MUSES_HUB_DATABASE)" in refused()
    os.chown(place, FIRST, FIRST)
    assert refused() == ""
    file.touch(0o600)
    assert f"which cannot write {file} (MUSES_HUB_DATABASE)" in refused()
    os.chown(file, FIRST, FIRST)
    assert refused() == ""


def test_which_file_a_store_is():
    assert file_of("sqlite:////srv/muses/store.sqlite") == Path("/srv/muses/store.sqlite")
    assert file_of("postgresql+psycopg://muses:secret@/muses") is file_of("no address") is None


# What is published


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not below pytest's, which only its user can pass through."""
    with tempfile.TemporaryDirectory(prefix="muses-published-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def published(folder: Path, separate: bool = True, **environment: str) -> list[str]:
    """Prepares the published folder of a hub from a clone whose `notebooks/` has more than the release."""
    clone = folder / "clone"
    clone.mkdir(exist_ok=True)
    for name in (*TUTORIALS, "export-of-somebody.tif", "draft.ipynb"):
        if not (clone / name).exists():
            (clone / name).write_text(f"first {name}")
    return prepare(hub(folder, **environment), clone, separate)


def test_the_release_has_the_notebooks_that_are_tracked():
    listed = subprocess.run(["git", "ls-files", "notebooks"], cwd=REPOSITORY, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no git, or no clone, here")
    tracked = [name for name in listed.stdout.split() if not name.startswith("notebooks/courses/")]
    assert sorted(f"notebooks/{name}" for name in TUTORIALS) == tracked, "and courses, which are published as such"


def test_only_the_releases_tutorials_are_published_and_all_can_read_them(folder):
    before = os.umask(0o077)  # as systemd starts the hub
    try:
        (told,) = published(folder)
    finally:
        os.umask(before)
    there = folder / "state" / "published"
    assert f"the {len(TUTORIALS)} files in" in told and told.endswith("and land on 01-first-map.ipynb.")
    assert sorted(path.name for path in there.iterdir()) == list(TUTORIALS)
    assert [path.stat().st_mode & 0o777 for path in (there, there / TUTORIALS[0])] == [0o755, 0o644]


def test_a_later_release_renews_what_the_administrator_left_and_nothing_else(folder):
    published(folder)
    place, original = folder / "state" / "published" / TUTORIALS[0], folder / "clone" / TUTORIALS[0]
    original.write_text("second")
    published(folder)
    assert place.read_text() == "second"
    place.write_text("the administrator's")
    original.write_text("third")
    assert f"The release has another {TUTORIALS[0]}; yours stays" in published(folder)[1]
    assert place.read_text() == "the administrator's" and len(published(folder)) == 1  # told once
    place.unlink()
    original.write_text("fourth")
    published(folder)
    assert not place.exists()  # the administrator has taken it back


def test_a_folder_of_the_administrators_is_taken_as_it_is(folder):
    course = folder / "course"
    (course / "data").mkdir(parents=True)
    (course / "data" / "closed.csv").write_text("1")
    (course / "data" / "closed.csv").chmod(0o600)
    (course / "welcome.ipynb").write_text("{}")
    told = published(folder, PUBLISHED=str(course), START="later.ipynb")
    assert "the 1 file in" in told[0] and "land" not in told[0]
    assert told[1:] == [
        "MUSES_HUB_START=later.ipynb is not among them yet: users land on the launcher",
        "Not given: data/closed.csv: users cannot read it: chmod o+rX",
    ]
    assert sorted(path.name for path in course.rglob("*")) == ["closed.csv", "data", "welcome.ipynb"]
    assert "land on welcome.ipynb" in published(folder, PUBLISHED=str(course))[0]
    course.chmod(0o700)
    told = published(folder, PUBLISHED=str(course))
    assert "the 0 files in" in told[0]
    assert told[1:] == [f"Not given: {course}: users cannot read it: chmod o+rX"]
    assert len(published(folder, separate=False, PUBLISHED=str(course))) == 1  # all are one account: it can


@pytest.mark.parametrize("name", [".", "data", "data/points.csv"])
def test_a_published_folder_that_users_could_change_is_refused(folder, name):
    course = folder / "course"
    (course / "data").mkdir(parents=True)
    (course / "data" / "points.csv").write_text("1")
    (course / name).chmod(0o777)
    with pytest.raises(SettingsError, match=f"everybody can write to {course / name}"):
        published(folder, PUBLISHED=str(course))


@pytest.mark.parametrize(
    ("contact", "link"),
    [
        ("lab@example.org", "mailto:lab@example.org"),
        ("https://help.example.org/lab", "https://help.example.org/lab"),
        ("Ms Smith, room 12", ""),
        ("javascript:alert(1)", ""),
        ('https://x"onclick="alert(1)', ""),
        ("a@b.org?bcc=all@example.org", ""),
    ],
)
def test_a_contact_is_a_link_where_it_is_an_address(tmp_path, contact, link):
    assert hub(tmp_path, CONTACT=contact).contact_link == link


# Users' servers


def test_a_user_lands_on_the_newest_copy_of_the_first_notebook(tmp_path):
    course, home = tmp_path / "course", tmp_path / "home"
    (course / "a").mkdir(parents=True)
    for name in ("a/00-deep.ipynb", "data.csv", "01 größe.ipynb"):
        (course / name).write_text("first")
    assert singleuser.first_page(course, home) == "/lab"
    assert singleuser.give_published(course, home).startswith("new: 01 größe.ipynb")
    assert singleuser.first_page(course, home) == "/lab/tree/notebooks/01%20gr%C3%B6%C3%9Fe.ipynb"
    assert singleuser.first_page(course, home, "a/00-deep.ipynb") == "/lab/tree/notebooks/a/00-deep.ipynb"
    assert singleuser.first_page(course, home, "none.ipynb") == "/lab"
    (home / "notebooks" / "01 größe.ipynb").write_text("mine")
    (course / "01 größe.ipynb").write_text("corrected")
    singleuser.give_published(course, home)
    assert singleuser.first_page(course, home) == "/lab/tree/notebooks/01%20gr%C3%B6%C3%9Fe-new.ipynb"
    (home / "notebooks" / "01 größe-new.ipynb").unlink()
    assert singleuser.first_page(course, home).endswith("%9Fe.ipynb")


def test_a_home_that_is_closed_or_full_is_told_of_and_stops_nothing(tmp_path):
    course, home = tmp_path / "course", tmp_path / "home"
    course.mkdir()
    home.mkdir()
    (course / "01.ipynb").write_text("first")
    (home / "notebooks").write_text("a file of the user's")
    assert singleuser.give_published(course, home).startswith("not given: ")


def test_the_hub_uses_the_sample_that_is_there(tmp_path, fresh_home):
    made = generate(fresh_home / "sample", size=96, dates=1)
    state = tmp_path / "hub"
    state.mkdir()
    run._sample(SimpleNamespace(environment={}, state=state), [])
    scenes = list((state / "sample").rglob("*.tif"))
    assert scenes and all(file.samefile(made / file.relative_to(state / "sample")) for file in scenes)
    assert list(json.loads((state / "catalogs.json").read_text())) == ["muses-sample-v1-96-1-2018"]


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
    place = tmp_path / "code" / "engine" / "__pycache__"
    index, compiled = place / "kernels.mean-1.py311.nbi", place / "kernels.mean-1.py311.1.nbc"
    place.mkdir(parents=True)
    cache = tmp_path / "cache" / _CacheLocator.get_suitable_cache_subpath(str(tmp_path / "code" / "engine" / "x.py"))

    def given() -> list[bytes]:
        singleuser.give_kernels(tmp_path / "code", tmp_path / "cache")
        return [(cache / path.name).read_bytes() for path in (index, compiled)]

    index.write_bytes(b"index")
    compiled.write_bytes(b"mean")
    assert given() == [b"index", b"mean"]
    (cache / index.name).write_bytes(b"and the sum, which the user's own process compiled")
    assert given() == [b"and the sum, which the user's own process compiled", b"mean"]
    (cache / "kernels.mean-1.py311.2.nbc").write_bytes(b"what that one named")
    compiled.write_bytes(b"of another version")
    index.write_bytes(b"index of another version")
    os.utime(index, (time.time() + 1, time.time() + 1))
    assert given() == [b"index of another version", b"of another version"]
    assert {path.name for path in cache.iterdir()} == {index.name, compiled.name}


def test_kernels_that_another_account_compiles_for_itself_are_neither_given_nor_missed(folder, root):
    place, cache = folder / "code" / "engine" / "__pycache__", folder / "cache"
    place.mkdir(parents=True)
    cache.mkdir()
    os.chown(cache, FIRST, FIRST)
    for name in ("mean", "sum"):
        (place / f"{name}.nbi").write_bytes(b"index")

    def given() -> dict[str, bytes]:
        code = (
            f"give_kernels(Path({str(folder / 'code')!r}), Path({str(cache)!r})); "
            f"print({{path.name: path.read_bytes() for path in Path({str(cache)!r}).glob('*/*')}})"
        )
        told = as_account("from muses_lab.deployment.singleuser import give_kernels", code)
        assert told.returncode == 0, told
        return ast.literal_eval(told.stdout)

    (place / "sum.nbi").chmod(0o600)
    assert given() == {"mean.nbi": b"index"}
    (place / "mean.nbi").write_bytes(b"anew")  # by a process of root whose files are its own
    (place / "mean.nbi").chmod(0o600)
    assert given() == {"mean.nbi": b"index"}


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
