"""A real JupyterHub with two users, over HTTP: clusters of their own, within limits, and nothing of the other's;
cookies that are forged, too old or carried over open nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import psutil
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from tornado.web import create_signed_value, decode_signed_value

from muses_lab.catalog import Query
from muses_lab.catalog.local import FolderCatalog
from muses_lab.notebooks import TUTORIALS
from muses_lab.store.remote import RemoteStore
from tests.helpers import PYTHON_PATH, REPOSITORY
from tests.helpers.hubs import HubUser, RunningHub, alive, python_for_all, running_hub, until
from tests.helpers.made_course import course_archive

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DAY = 86400
TILE = "muses/tiles/{}/{}/12/2063/1495.png"


@pytest.fixture(scope="module")
def hub(sample_catalog: Path) -> Iterator[RunningHub]:
    """Users under accounts of their own where that is possible here."""
    folder = Path(tempfile.mkdtemp(prefix="muses-hub-python-"))
    folder.chmod(0o755)
    try:
        python = python_for_all(folder / "venv")
        with running_hub(sample_catalog, python or sys.executable) as hub:
            yield hub
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def documents(sample_catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A chain over the sample and a style, as documents."""
    import muses_lab as ml

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUSES_LAB_HOME", str(tmp_path_factory.mktemp("documents")))
        ml.register_catalog(sample_catalog)
        chain = ml.collection("sentinel-2-l2a").mask_clouds().ndvi().median("t")
        return chain.to_json(), chain.style(cmap="RdYlGn", vmin=0, vmax=1).look.to_json()


def need_accounts(hub: RunningHub) -> None:
    if "under an account of their own" not in hub.log.read_text():
        pytest.skip("not root, or no interpreter here that other accounts can run: users are the hub's account")


@pytest.fixture(scope="module")
def shown(alice, bob, documents) -> dict[str, str]:
    """Both have seen a tile; the address of it, by user."""
    paths = {}
    for user in (alice, bob):
        paths[user.name] = TILE.format(*user.publish(*documents))
        tile = user.ask(paths[user.name])
        assert tile.status_code == 200 and tile.content.startswith(b"\x89PNG"), (tile.status_code, tile.headers)
    return paths


def test_each_user_computes_on_a_cluster_of_their_own(hub, shown, alice, bob):
    for user in (alice, bob):
        look = user.cluster()
        assert look["kind"] == "gateway" and look["state"] in ("idle", "busy") and look["workers"] >= 1
        assert len(hub.those("dask scheduler", user=user.name)) == 1
        assert hub.those("dask worker", user=user.name)
    assert len(hub.those("dask scheduler")) == 2


def test_notebooks_catalogues_and_the_service_are_there_for_a_new_user(hub, alice):
    given = {entry["name"] for entry in alice.ask("api/contents/notebooks").json()["content"]}
    assert given - {"course"} == set(TUTORIALS)  # the course is published by another test
    first = alice.ask("", allow_redirects=False)
    assert first.headers["Location"].startswith("/user/alice/lab/tree/notebooks/01-first-map.ipynb"), first.headers
    assert alice.ask("muses/health").json()["service"] == "muses-lab"


def test_a_users_terminal_finds_the_commands_of_the_hubs_environment(hub, alice):
    first = f"first {Path(hub.python).parent}:"
    assert first in alice.in_terminal('echo "first $PATH"', first)


def test_the_link_of_the_documentation_leads_to_the_app_on_ones_own_server(hub, alice):
    documented = (REPOSITORY / "docs" / "how-to" / "app-without-code.md").read_text()
    path = re.search(r"https://lab\.example\.org/hub/user-redirect/(\S+)", documented)[1]
    link = f"{hub.url}/hub/user-redirect/{path}"
    before = {kernel["id"] for kernel in alice.ask("api/kernels").json()}
    with alice.session.get(link, timeout=250, stream=True) as page:
        assert page.status_code == 200 and page.url == f"{hub.url}/user/alice/{path}"
        head = b""
        for some in page.iter_content(1024):  # Voilà sends it before it runs the cells
            head += some
            if b"</head>" in head:
                break
    assert b"voila" in head.lower() and b"/user/alice/" in head, head
    for kernel in alice.ask("api/kernels").json():
        if kernel["id"] not in before:
            alice.ask(f"api/kernels/{kernel['id']}", "DELETE")

    dora = HubUser(hub, "dora")  # whose server does not run
    answer = dora.session.get(link, allow_redirects=False, timeout=30)
    to = urlsplit(answer.headers["Location"])
    assert (to.path, parse_qs(to.query)["next"]) == ("/hub/spawn/dora", [f"/user/dora/{path}"])
    stranger = requests.get(link, timeout=30)
    assert urlsplit(stranger.url).path == "/hub/login" and path in unquote(stranger.url)


def test_what_is_published_reaches_users_who_cannot_change_it(hub, alice):
    published = hub.state / "published"
    (published / "course").mkdir()
    (published / "course" / "points.csv").write_text("lon,lat")
    (published / "course").chmod(0o755)
    (published / "course" / "points.csv").chmod(0o644)
    until(lambda: alice.ask("api/contents/notebooks/course/points.csv").ok, 60, hub.messages)
    need_accounts(hub)
    code = f"""
import os
copy = os.path.expanduser("~/notebooks/course/points.csv")
print(os.access(copy, os.W_OK), os.stat(copy).st_uid == os.getuid(), end=" ")
for what in (lambda: open("{published}/course/points.csv", "w"), lambda: open("{published}/mine.ipynb", "w"),
             lambda: os.rename("{published}/course", "{published}/mine"), lambda: os.chmod("{published}", 0o777)):
    try:
        what()
        print("done", end=" ")
    except PermissionError:
        print("refused", end=" ")
"""
    assert alice.kernel().run(code).split() == ["True", "True", *["refused"] * 4]


def test_processes_run_under_the_users_accounts_and_files_are_private(hub, shown):
    need_accounts(hub)
    uids = {}
    for name in ("alice", "bob"):
        mine = hub.those("", user=name)
        uids[name] = {process.uids().real for process in mine}
        assert len(mine) >= 3 and len(uids[name]) == 1 and min(uids[name]) >= 200_000, mine
        home = hub.state / "home" / name
        assert (home.stat().st_mode & 0o777, home.stat().st_uid) == (0o700, *uids[name])
    assert uids["alice"] != uids["bob"]
    secrets = ["cookie_secret", "jupyterhub.sqlite", "gateway.sqlite", "gateway.key", "hub.log"]
    assert {name: (hub.state / name).stat().st_mode & 0o077 for name in secrets} == dict.fromkeys(secrets, 0)


def test_the_store_has_an_account_and_a_folder_of_its_own(hub, shown, alice, documents):
    need_accounts(hub)
    (service,) = hub.those("-m muses_lab.hub")
    uid = service.uids().real
    status = Path(f"/proc/{service.pid}/status").read_text()
    assert uid >= 200_000 and {*service.uids(), *service.gids()} == {uid}
    assert re.search(r"^Groups:[ \t]*$", status, re.MULTILINE), "in no group"
    others = {process.uids().real for process in hub.processes() if process.pid != service.pid}
    assert uid not in others, "no user's, and not that of the evaluator"
    store, courses = hub.state / "muses", hub.state / "courses"
    assert (store / "muses.sqlite").is_file() and not list(hub.state.glob("muses.sqlite*"))
    for path in (store, *store.rglob("*")):
        assert (path.stat().st_uid, path.stat().st_mode & 0o077) == (uid, 0), path
    assert (courses.stat().st_uid, courses.stat().st_mode & 0o777) == (uid, 0o755)
    code = f"""
import os
for what in (lambda: os.listdir({str(store)!r}), lambda: open({str(store / "muses.sqlite")!r}),
             lambda: open({str(courses / "planted")!r}, "w"), lambda: os.kill({service.pid}, 0)):
    try:
        print("done", what(), end=" ")
    except PermissionError:
        print("refused", end=" ")
print(os.listdir({str(courses)!r}) is not None)
"""
    assert alice.kernel().run(code).split() == [*["refused"] * 4, "True"]
    hub.kill("-m muses_lab.hub")
    assert hub.one("-m muses_lab.hub").uids().real == uid
    hub.up()
    assert alice.publish(*documents)[0] == shown["alice"].split("/")[2]


def test_secrets_stay_with_those_who_need_them(hub, shown):
    for process in hub.processes():
        line, env = " ".join(process.cmdline()), process.environ()
        if "USER" in env and env["USER"] in ("alice", "bob"):
            assert not {"MUSES_HUB_PASSWORD", "MUSES_HUB_DATABASE", "CONFIGPROXY_AUTH_TOKEN"} & set(env), line
        if "dask" in line and ("scheduler" in line or "worker" in line):
            assert "JUPYTERHUB_API_TOKEN" not in env and "MUSES_STORE_URL" not in env, line
        if "dask_gateway_server" in line:
            assert not {"MUSES_HUB_PASSWORD", "MUSES_HUB_DATABASE"} & set(env)


def test_everything_listens_on_loopback_only(hub, shown):
    found = [
        (connection.laddr.ip, " ".join(process.cmdline())[:80])
        for process in hub.processes()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(found) > 10
    assert [entry for entry in found if entry[0] not in ("127.0.0.1", "::1")] == []


def test_the_others_server_is_closed(hub, shown, alice, bob):
    """Tiles, chains, jobs, files, the cluster: all behind alice's server, which lets bob in nowhere."""
    chain = shown["alice"].split("/")[2]
    for path in (
        shown["alice"], f"muses/chains/{chain}", "muses/chains", f"muses/values/{chain}?lon=1.4&lat=43.6&z=12",
        "muses/cluster", "muses/jobs", "api/contents/notebooks", "files/notebooks/01-first-map.ipynb",
        "api/kernels", "lab",
    ):  # fmt: skip
        answer = bob.ask(path, of="alice", allow_redirects=True)
        assert answer.status_code in (403, 404), (path, answer.status_code, answer.url)
    for body in ({"do": "stop"}, {"do": "start"}):
        assert bob.ask("muses/cluster", "POST", of="alice", json=body).status_code in (403, 404)
    assert alice.cluster()["workers"] >= 1


def test_without_a_login_nothing_is_told(hub, shown):
    anonymous = requests.Session()
    for path in (shown["alice"], "muses/cluster", "api/contents"):
        answer = anonymous.get(f"{hub.url}/user/alice/{path}", allow_redirects=False, timeout=30)
        assert answer.status_code in (302, 403), (path, answer.status_code)
        assert "/hub/" in answer.headers.get("Location", "/hub/")
    for path in ("clusters/", "options"):
        assert anonymous.get(f"{hub.url}/services/dask-gateway/api/v1/{path}", timeout=30).status_code == 401
    forged = {"Authorization": "jupyterhub " + "0" * 32}
    url = f"{hub.url}/services/dask-gateway/api/v1/clusters/"
    assert anonymous.get(url, headers=forged, timeout=30).status_code == 401


# Cookies


def status(url: str, **cookies: str) -> int:
    """Of a page asked for with these cookies and no others; 302 leads to the login."""
    answer = requests.get(url, cookies=cookies, allow_redirects=False, timeout=30)
    if answer.status_code == 302:
        assert "/hub/" in answer.headers["Location"]
    return answer.status_code


def cookie(user: HubUser, name: str) -> str:
    (value,) = {found.value for found in user.session.cookies if found.name == name}
    assert value
    return value


def test_a_servers_cookie_cannot_be_forged_or_carried_over(hub: RunningHub, alice: HubUser, bob: HubUser) -> None:
    name, page = "jupyterhub-user-alice", f"{hub.url}/user/alice/muses/cluster"
    session = {"jupyterhub-session-id": cookie(alice, "jupyterhub-session-id")}
    hers, his = cookie(alice, name), cookie(bob, "jupyterhub-user-bob")
    assert status(page, **session, **{name: hers}) == 200
    version, key, stamp, field, value, signature = hers.strip('"').split("|")
    forged = {
        "nothing": "",
        "another's": his,
        "a changed signature": "|".join((version, key, stamp, field, value, signature[::-1])),
        "another value": "|".join((version, key, stamp, field, his.strip('"').split("|")[4], signature)),
        "no signature": "|".join((version, key, stamp, field, value, "")),
        "a later date": "|".join((version, key, f"10:{int(time.time()) + DAY}", field, value, signature)),
        "a secret of the attacker": create_signed_value("0" * 32, name, b"0" * 32).decode(),
    }
    assert {what: status(page, **session, **{name: text}) for what, text in forged.items()} == dict.fromkeys(
        forged, 403
    )


def test_the_hubs_cookie_expires_and_cannot_be_forged(hub: RunningHub, alice: HubUser) -> None:
    name, page = "jupyterhub-hub-login", f"{hub.url}/hub/home"
    secret = bytes.fromhex((hub.state / "cookie_secret").read_text().strip())
    value = decode_signed_value(secret, name, cookie(alice, name).strip('"'), max_age_days=1)
    assert value

    def made(secret: bytes, days: float, text: bytes = value) -> str:
        return create_signed_value(secret, name, text, clock=lambda: time.time() - days * DAY).decode()

    assert status(page, **{name: made(secret, 13)}) == 200
    for refused in (made(secret, 15), made(secret[::-1], 0), made(secret, 0, value[::-1])):
        assert status(page, **{name: refused}) == 302


def test_who_has_logged_out_is_out(hub: RunningHub, alice: HubUser) -> None:
    carol = HubUser(hub, "carol")
    page = f"{hub.url}/hub/home"
    assert carol.session.get(page, allow_redirects=False, timeout=30).status_code == 200
    token = carol.token()
    carol.session.get(f"{hub.url}/hub/logout", timeout=30)
    assert carol.session.get(page, allow_redirects=False, timeout=30).status_code == 302
    assert carol.session.get(f"{hub.url}/user/carol/lab", allow_redirects=True, timeout=30).url.count("/hub/login")
    hers = requests.get(f"{hub.url}/hub/api/users/alice", headers={"Authorization": f"token {token}"}, timeout=30)
    assert hers.status_code == 404


# Clusters


def test_the_others_cluster_is_closed_and_dashboards_are_off(hub, shown, alice, bob):
    gateway = f"{hub.url}/services/dask-gateway"
    mine = {"Authorization": f"jupyterhub {bob.token()}"}
    hers = {"Authorization": f"jupyterhub {alice.token()}"}
    (name,) = requests.get(f"{gateway}/api/v1/clusters/", headers=hers, timeout=30).json()
    assert name not in requests.get(f"{gateway}/api/v1/clusters/", headers=mine, timeout=30).json()
    assert requests.get(f"{gateway}/api/v1/clusters/{name}", headers=mine, timeout=30).status_code == 403
    assert requests.delete(f"{gateway}/api/v1/clusters/{name}", headers=mine, timeout=30).status_code == 403
    scale = requests.post(f"{gateway}/api/v1/clusters/{name}/scale", headers=mine, json={"count": 0}, timeout=30)
    assert scale.status_code == 403
    for path in ("", "/", "/status", "/info/main/workers.html", "/metrics", "/json/counts.json"):
        for headers in ({}, mine, hers):
            answer = requests.get(f"{gateway}/clusters/{name}{path}", headers=headers, timeout=30)
            assert answer.status_code == 404, (path, answer.status_code)
    for process in hub.those("dask", user="alice"):
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN and "python -m dask" in " ".join(process.cmdline()):
                with pytest.raises((requests.RequestException, AssertionError)):
                    page = requests.get(f"http://127.0.0.1:{connection.laddr.port}/status", timeout=5)
                    assert page.status_code == 200


def test_prometheus_gets_numbers_of_clusters_and_workers_and_only_from_here(hub, shown):
    text = requests.get(f"http://127.0.0.1:{hub.ports['GATEWAY_API']}/api/metrics", timeout=30).text
    found = {
        (one.name, one.labels.get("state")): one.value
        for family in text_string_to_metric_families(text) for one in family.samples
    }  # fmt: skip
    assert found["muses_gateway_users", None] == found["muses_gateway_clusters", "running"] == 2
    assert found["muses_gateway_workers", "running"] >= 2
    assert found["muses_gateway_workers_resident_bytes", None] > 2 * 50e6
    assert not any(name in text for name in ("alice", "bob"))
    assert requests.get(f"{hub.url}/services/dask-gateway/api/metrics", timeout=30).status_code == 404


def test_the_hub_limits_clusters(hub, shown, alice):
    gateway = f"{hub.url}/services/dask-gateway/api/v1/clusters/"
    token = {"Authorization": f"jupyterhub {alice.token()}"}
    second = requests.post(gateway, headers=token, json={"cluster_options": {}}, timeout=30)
    assert second.status_code == 422 and "has a cluster already" in second.text
    (name,) = requests.get(gateway, headers=token, timeout=30).json()
    scaled = requests.post(f"{gateway}{name}/scale", headers=token, json={"count": 50}, timeout=30).json()
    assert "Scaling to 2 instead" in scaled["msg"]
    requests.post(f"{gateway}{name}/adapt", headers=token, json={"minimum": 1, "maximum": 2}, timeout=30)
    offered = alice.cluster()["offered"]
    assert (offered["workers"]["max"], offered["cores"]["max"], offered["memory"]["max"]) == (2, 1, 2)


def pin_all(hub: RunningHub, catalog: Path) -> None:
    """A course is published that pins all scenes of the hub's catalogue, where they are."""
    found = FolderCatalog(hub.folder / catalog.name)
    items = found.search(Query("sentinel-2-l2a"))
    for item in items:
        for asset in item["assets"].values():
            asset["href"] = str(Path(found.root, asset["href"]))
    folder = hub.state / "courses" / "first-steps" / "v1"
    folder.mkdir(parents=True)
    (folder / "scenes.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}, default=str))
    for path in (folder.parents[1], folder.parent, folder):
        path.chmod(0o755)


def test_the_maps_of_a_course_are_computed_once_for_the_class(
    hub, shown, documents, alice, bob, sample_catalog, monkeypatch
):
    import muses_lab as ml

    def metric(name: str) -> float:
        text = requests.get(f"http://127.0.0.1:{hub.ports['COURSE']}/services/course/metrics", timeout=30).text
        return float(re.search(rf"^muses_course_{name} (\S+)$", text, re.MULTILINE)[1])

    def classes(user: HubUser, chain: str) -> dict[str, Any]:
        return user.ask(f"muses/status/{chain}").json()["progress"]["class"]

    pin_all(hub, sample_catalog)
    monkeypatch.setenv("MUSES_LAB_HOME", str(hub.folder / "documents"))
    ml.register_catalog(sample_catalog)
    image = ml.collection("sentinel-2-l2a").mask_clouds().ndvi()
    until(lambda: metric("courses") == 1, 60, hub.messages)

    def elsewhere() -> list[int]:
        """Blocks that the users' own clusters have computed."""
        return [u.ask("muses/status?chains=").json()["queue"]["class"]["elsewhere"] for u in (alice, bob)]

    before = elsewhere()
    tiles, evaluated = {}, []
    for user in (alice, bob, alice):
        chain, style = user.publish(image.max("t").to_json(), documents[1])
        tile = user.ask(TILE.format(chain, style))
        assert tile.status_code == 200, tile.text
        tiles[user.name] = tile.content
        evaluated.append(metric("blocks_evaluated_total"))
        assert classes(user, chain)["state"] == "ready", classes(user, chain)
        assert user.ask(f"muses/status/{chain}").json()["queue"]["backend"] == "class"
    assert tiles["alice"] == tiles["bob"] and evaluated[0] > 0 and len(set(evaluated)) == 1, evaluated
    assert metric("blocks_served_total") == 2 * evaluated[0] and metric("people") == 2
    assert elsewhere() == before

    (process,) = hub.those("-m muses_lab.evaluator")
    assert not {"MUSES_HUB_PASSWORD", "MUSES_HUB_DATABASE", "CONFIGPROXY_AUTH_TOKEN"} & set(process.environ())
    workers = [child for nanny in hub.those("dask worker") for child in nanny.children(recursive=True)]
    assert max(worker.nice() for worker in workers) == min(process.nice() + 10, 19), "workers give way"
    stranger = [requests.get(f"{hub.url}/services/course/{path}", timeout=30) for path in ("api/status", "metrics")]
    assert [answer.status_code for answer in stranger] == [403, 404]
    token = {"Authorization": f"token {alice.token()}"}
    assert requests.get(f"{hub.url}/services/course/api/status", headers=token, timeout=30).json()["courses"] == [
        "first-steps"
    ]

    hub.kill("-m muses_lab.evaluator")
    chain, style = bob.publish(image.min("t").to_json(), documents[1])
    assert bob.ask(TILE.format(chain, style)).status_code == 200, "the own cluster, or the evaluator again"
    until(lambda: hub.those("-m muses_lab.evaluator"), 60, hub.messages)
    hub.up()
    views = iter(range(1000))

    def used_again() -> bool:
        chain, style = bob.publish((image.max("t") + next(views)).to_json(), documents[1])
        assert bob.ask(TILE.format(chain, style)).status_code == 200
        return classes(bob, chain)["state"] == "ready" and metric("blocks_served_total") > 0

    until(used_again, 60, hub.messages)
    need_accounts(hub)
    (process,) = hub.those("-m muses_lab.evaluator")
    home = hub.state / "course"
    assert process.uids().real >= 200_000 and (home.stat().st_uid, home.stat().st_mode & 0o777) == (
        process.uids().real, 0o700,
    )  # fmt: skip
    assert process.uids().real not in {one.uids().real for one in hub.those("", user="alice")}


@pytest.mark.thorough
def test_a_stopped_cluster_comes_back_when_it_is_needed_in_the_size_that_was_chosen(hub, shown, alice, documents):
    before = hub.one("dask scheduler", user="alice")
    stopped = alice.ask("muses/cluster", "POST", json={"do": "stop"})
    assert stopped.json()["state"] == "off", stopped.text
    until(lambda: not alive(before), 15, "the scheduler runs on")
    too_large = {"do": "start", "options": {"workers": 3}}
    assert alice.ask("muses/cluster", "POST", json=too_large).status_code == 202
    until(lambda: "must be <= 2" in alice.cluster()["reason"], 30, lambda: str(alice.cluster()))
    chosen = {"do": "start", "options": {"workers": 1, "memory": 1.5}}
    assert alice.ask("muses/cluster", "POST", json=chosen).status_code == 202
    look = until(lambda: (found := alice.cluster())["workers"] and found, 60, hub.messages)
    assert look["options"] == {"workers": 1, "cores": 1, "memory": 1.5} and look["limit"] == 1.5 * 2**30
    other = TILE.replace("2063", "2064")
    assert alice.ask(other.format(*shown["alice"].split("/")[2:4])).status_code == 200


@pytest.mark.thorough
def test_the_trainer_stops_and_starts_the_clusters_of_the_class(hub, shown, alice, bob, tmp_path):
    """On the page of the class, for those who have the course open; what is published is the service's account's."""
    course, everybody = "clusters", (alice, bob)
    trainer = HubUser(hub, "trainer")
    token = trainer.token()
    store = RemoteStore(f"{hub.url}/services/muses", lambda: token)
    store.publish_course(course, course_archive(tmp_path / "made", course=course))
    for user in everybody:
        joined = user.follow(f"/hub/user-redirect/muses/courses/{course}")
        assert joined.url.endswith(f"/user/{user.name}/lab/tree/courses/{course}/01-map.ipynb"), joined.text
        user.open(f"courses/{course}/01-map.ipynb")
        assert user.ask("muses/cluster", "POST", json={"do": "start"}).status_code == 202
    page = f"/services/muses/courses/{course}/class"
    trainer.follow(page)

    def act(**wish: str) -> None:
        xsrf = {"X-XSRFToken": trainer.session.cookies.get("_xsrf", path="/services/muses/") or ""}
        answer = trainer.session.post(f"{hub.url}{page}/act", json=wish, headers=xsrf, timeout=60)
        assert answer.status_code == 200, answer.text

    def clusters() -> dict[str, str]:
        """What the page shows."""
        found = trainer.follow(f"{page}/state").json()["participants"]
        return {one["user"]: one.get("cluster", "") for one in found}

    def all_idle() -> bool:
        return clusters() == {"alice": "idle", "bob": "idle"}

    until(all_idle, 90, lambda: f"{clusters()}\n{hub.messages()}")
    before = [process for user in everybody for process in hub.those("dask", user=user.name)]
    assert len([one for one in before if "scheduler" in one.cmdline()]) == 2
    act(do="stop")
    until(lambda: clusters() == {"alice": "off", "bob": "off"}, 60, lambda: f"{clusters()}\n{hub.messages()}")
    until(lambda: not any(alive(process) for process in before), 40, hub.messages)
    act(do="start")
    until(all_idle, 90, lambda: f"{clusters()}\n{hub.messages()}")
    for user in everybody:
        assert user.cluster()["workers"] >= 1 and len(hub.those("dask scheduler", user=user.name)) == 1
    for user in everybody:
        for kernel in user.ask("api/kernels").json():
            user.ask(f"api/kernels/{kernel['id']}", "DELETE")
    published = hub.state / "courses" / course
    owners = {path.stat().st_uid for path in (published, *published.rglob("*"))}
    assert owners == {hub.one("-m muses_lab.hub").uids().real}
    store.remove_course(course, answers=True)
    assert not published.exists()


def test_a_cluster_ends_with_its_users_server(hub, shown, bob):
    mine = hub.those("dask", user="bob")
    assert len(mine) >= 2
    assert bob.hub_api("users/bob/server", "DELETE").status_code in (202, 204)
    until(lambda: not any(alive(process) for process in mine), 40, hub.messages)
    assert hub.those("dask scheduler", user="alice")


def test_a_second_hub_of_the_same_state_is_refused(hub):
    env = {**os.environ, "MUSES_HUB_STATE": str(hub.state), "MUSES_HUB_URL": hub.url, "PYTHONPATH": PYTHON_PATH}
    command = [sys.executable, "-m", "muses_lab.deployment.run"]
    second = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert second.returncode == 1 and "a hub is running already" in second.stderr
