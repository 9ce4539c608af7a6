"""The hub's service: what users put, share and are refused, over HTTP, with a real hub and a real PostgreSQL."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import hypothesis
import numpy as np
import psutil
import pytest
import rasterio
import requests
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

import muses_lab as ml
from muses_lab.api.shared import received
from muses_lab.errors import AccessDenied, MusesError, NotFound, StoreUnavailable, TooLarge
from muses_lab.raster.asset import Band
from muses_lab.store import AuditEntry, JobRecord, Share, Who, new_id
from muses_lab.store.ledger import ledger
from muses_lab.store.records import to_json
from muses_lab.store.remote import RemoteStore
from muses_lab.store.sql import SqlStore
from tests.helpers import PYTHON_PATH
from tests.helpers.examples import examples
from tests.helpers.filled_store import EVERYBODYS, digest, document, fill, seen
from tests.helpers.first_store import make_first
from tests.helpers.made_scenes import Made, chain_of, window, write_tif
from tests.helpers.odd_json import ODD, anything, damaged
from tests.helpers.store_hub import Hub

pytestmark = pytest.mark.slow
SMALL = {"MUSES_MAX_ARTEFACT": "3000000", "MUSES_HUB_USER_BYTES": "9000000", "MUSES_HUB_TOKEN_SECONDS": "1"}


@pytest.fixture(scope="module")
def database(postgres_cluster: Any) -> str:
    return postgres_cluster.database()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, database: str, isolated_home: Path) -> Iterator[Hub]:
    hub = Hub(tmp_path_factory.mktemp("hub"), database, **SMALL)
    try:
        yield hub
    finally:
        hub.stop()


@pytest.fixture
def alice(hub: Hub) -> RemoteStore:
    return hub.store("alice")


@pytest.fixture
def bob(hub: Hub) -> RemoteStore:
    return hub.store("bob")


def publish(store: RemoteStore, text: str | None = None) -> dict[str, str]:
    """Puts a document, a style and a list of scenes of one's own; their names."""
    name, body = document(text or new_id())
    style, items = f'{{"of": "{name}"}}', f"items of {name}".encode()
    store.put_document(name, body)
    store.put_style(digest(style), style)
    store.put_artefact(digest(items), "muses:items", items)
    return {"chain": name, "style": digest(style), "items": digest(items)}


def shared_with(names: dict[str, str], **grants: Any) -> Share:
    content = {"chain": names["chain"], "style": names["style"], "view": {"center": [43.6, 1.4], "zoom": 11}}
    return Share(new_id(), "NDVI <of> Toulouse", content, artefacts=(names["items"],), **grants)


def readable(store: RemoteStore, names: dict[str, str]) -> list[bool]:
    """Whether document, style and artefact can be read, asking anew."""
    store = RemoteStore(store.url, store._token)
    found = []
    for get, key in ((store.document, "chain"), (store.style, "style"), (store.artefact, "items")):
        try:
            found.append(bool(get(names[key])))
        except NotFound:
            found.append(False)
    return found


# ------------------------------------------------------------------------------------------------- the same interface


def test_it_is_the_same_store_as_in_the_database(hub: Hub, database: str) -> None:
    """What is put directly is seen over HTTP, by each user, exactly as the database shows it to them."""

    class OverHttp(SqlStore):
        def of(self, who: Who) -> Any:
            store: Any = hub.store(who.name) if who.name else SqlStore(database)
            store.who = who
            return store

    over_http = OverHttp(database)
    fill(over_http, large=2_000_000)
    direct, remote = seen(SqlStore(database)), seen(over_http)
    assert remote == direct
    assert (
        direct["bob"]["shares"]
        and direct["carol"]["artefacts"]
        and {k for k, v in direct["dan"].items() if v} == set(EVERYBODYS)
    )


def test_results_are_each_users_own(alice: RemoteStore, bob: RemoteStore) -> None:
    """Nobody can make another one's chain give something else."""
    node = digest(new_id())
    assert alice.put_result(node, "11" * 32) == "11" * 32
    assert bob.result(node) is None
    assert bob.put_result(node, "22" * 32) == "22" * 32
    assert alice.put_result(node, "33" * 32) == "11" * 32


def test_what_is_sent_is_checked(alice: RemoteStore) -> None:
    for name, text in ((digest("other"), "{}"), ("../../etc", "{}"), ("AB" * 32, "{}")):
        with pytest.raises(MusesError):
            alice.put_document(name, text)
    with pytest.raises(MusesError, match="SHA-256"):
        alice.put_artefact(digest("other"), "muses:items", b"body")
    with pytest.raises(MusesError, match="computed"):
        alice.note([AuditEntry("shared", digest("x"))])
    chain = publish(alice)["chain"]
    job = JobRecord(new_id(), "export", "a.tif", "/home/alice/a.tif", chain)
    for wrong in (replace(job, options={"x": "y" * 70_000}), replace(job, name="n" * 4000, error="e" * 4096)):
        if len(json.dumps(dict(wrong.options))) > 65_536:
            with pytest.raises(TooLarge, match="options"):
                alice.put_job(wrong)
        else:
            alice.put_job(wrong)


# ---------------------------------------------------------------------------------------------------------- refusals


def test_what_others_have_is_not_there(alice: RemoteStore, bob: RemoteStore) -> None:
    names = publish(alice)
    job = JobRecord(new_id(), "export", "a.tif", "/home/alice/a.tif", names["chain"])
    alice.put_job(job)
    share = alice.put_share(shared_with(names, users=("carol",)))
    assert readable(alice, names) == [True] * 3 and readable(bob, names) == [False] * 3
    assert not bob.has_artefact(names["items"])
    messages = []
    for id in (share.id, new_id()):
        with pytest.raises(NotFound) as caught:
            bob.share(id)
        messages.append(caught.value.message.replace(id, "…"))
        with pytest.raises(NotFound):
            bob.revoke(id)
    assert messages[0] == messages[1], "it is not told whether there is such a share"
    with pytest.raises(NotFound):
        bob.job(job.id)
    assert job.id not in [j.id for j in bob.jobs()] and share.id not in [s.id for s in bob.shared()]
    assert names["chain"] not in [name for name, _ in bob.documents()]
    with pytest.raises(NotFound, match="is not one of yours"):
        bob.put_share(shared_with(names, users=("dan",)))
    with pytest.raises(NotFound):  # with another one's name for a share nothing is changed
        bob.put_share(replace(shared_with(publish(bob), users=("bob",)), id=share.id))
    assert alice.share(share.id).users == ("carol",)


def test_a_job_is_its_owners(alice: RemoteStore, bob: RemoteStore) -> None:
    chain = publish(alice)["chain"]
    job = JobRecord(new_id(), "export", "a.tif", "/home/alice/a.tif", chain)
    alice.put_job(job)
    bob.put_job(replace(job, name="mine now", state="cancelled"))
    assert alice.job(job.id).name == "a.tif" and alice.job(job.id).state == "running"


ROUTES = [
    ("GET", "documents"), ("GET", f"documents/{'0' * 64}"), ("PUT", f"documents/{'0' * 64}"), ("GET", "jobs"),
    ("PUT", f"artefacts/{'0' * 64}"), ("GET", f"results/{'0' * 64}"), ("GET", "shares"), ("GET", "shared-with-me"),
    ("DELETE", "shares/12345678"), ("POST", "audit"), ("GET", "audit"),
]  # fmt: skip


def test_nobody_without_a_users_token(hub: Hub, alice: RemoteStore) -> None:
    without = hub.token("alice", "read:users:name!user")
    gone = hub.token("dan", keep=False)
    dan = {"Authorization": f"token {gone}"}
    assert requests.get(f"{hub.store_url}/api/documents", headers=dan, timeout=30).status_code == 200
    for entry in hub.api("GET", "users/dan/tokens")["api_tokens"]:
        hub.api("DELETE", f"users/dan/tokens/{entry['id']}")
    hub.wait(  # believed for MUSES_HUB_TOKEN_SECONDS
        lambda: requests.get(f"{hub.store_url}/api/documents", headers=dan, timeout=30).status_code == 403, "refusal"
    )
    hub._tokens.pop("dan", None)
    good = alice._token()
    attempts: list[dict[str, Any]] = [
        {}, {"headers": {"Authorization": "token "}}, {"headers": {"Authorization": "token wrong"}},
        {"headers": {"Authorization": f"Basic {good}"}}, {"headers": {"Authorization": f"token {without}"}},
        {"headers": dan}, {"headers": {"Authorization": f"token {hub._admin}"}}, {"params": {"token": good}},
        {"cookies": {"service-muses": good, "jupyterhub-hub-login": good}},
    ]  # fmt: skip
    for method, path in ROUTES:
        for attempt in attempts:
            answer = requests.request(
                method, f"{hub.store_url}/api/{path}", data=b"{}" if method in ("PUT", "POST") else None,
                allow_redirects=False, timeout=30, **attempt,
            )  # fmt: skip
            assert answer.status_code == 403 and answer.json()["code"] == "access-denied", (method, path, attempt)
    for path in ("", "api/", "api/secret", "nothing", "api/documents/x/y"):
        assert requests.get(f"{hub.store_url}/{path}", timeout=30).status_code == 404
    with pytest.raises(AccessDenied, match="does not know this token"):
        RemoteStore(hub.store_url, lambda: "wrong").documents()


def test_no_token_and_no_body_is_in_the_log(hub: Hub, alice: RemoteStore) -> None:
    secret = new_id()
    publish(alice, secret)
    requests.get(f"{hub.store_url}/api/documents", params={"token": alice._token()}, timeout=30)
    log = hub.log()
    assert secret not in log and alice._token() not in log and hub._told["environment"]["MUSES_HUB_DATABASE"] not in log


def test_answers_are_not_kept_or_framed(hub: Hub) -> None:
    for path in ("health", "api/documents", "nothing"):
        headers = requests.get(f"{hub.store_url}/{path}", timeout=30).headers
        assert headers["Cache-Control"] == "no-store" and headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


# ------------------------------------------------------------------------------------------------------------- limits


def test_bodies_and_users_have_limits(hub: Hub) -> None:
    dan = hub.store("dan")
    large = os.urandom(3_000_001)
    with pytest.raises(TooLarge, match="3000001 bytes are above the limit of 3000000"):
        dan.put_artefact(digest(large), "labels", large)
    for _ in range(3):
        body = os.urandom(2_900_000)
        dan.put_artefact(digest(body), "labels", body)
    with pytest.raises(TooLarge, match=r"dan has put 8\.7 MB"):
        dan.put_artefact(digest(large[:-1]), "labels", large[:-1])
    assert not dan.has_artefact(digest(large[:-1]))
    token = dan._token()

    def chunks() -> Iterator[bytes]:
        for _ in range(200):
            yield b"x" * 100_000

    try:  # without saying how long it is
        answer = requests.put(
            f"{hub.service}/services/muses/api/artefacts/{'0' * 64}?kind=x", data=chunks(), timeout=30,
            headers={"Authorization": f"token {token}"},
        )  # fmt: skip
        assert answer.status_code in (400, 413)
    except requests.ConnectionError:
        pass
    before = hub.service_process().memory_info().rss
    for _ in range(20):  # nobody's bodies are not even read
        try:
            requests.put(f"{hub.service}/services/muses/api/artefacts/{'0' * 64}", data=large * 5, timeout=30)
        except requests.ConnectionError:
            continue
    assert hub.service_process().memory_info().rss - before < 30e6
    for body in ("[" * 100_000, "\xff", "{", "NaN", "1", "[]", '{"kind": 5}', '{"id": "\\u0000"}'):
        for path in ("jobs/12345678", "shares/12345678", f"results/{'0' * 64}"):
            answer = requests.put(
                f"{hub.store_url}/api/{path}", data=body.encode("latin-1"), timeout=30,
                headers={"Authorization": f"token {token}"},
            )  # fmt: skip
            assert answer.status_code == 400, (path, body, answer.text)


@hypothesis.settings(max_examples=examples(25), suppress_health_check=list(HealthCheck))
@given(st.data())
def test_odd_json_and_names_are_refused_with_a_sentence(hub: Hub, bobs: dict[str, str], data: st.DataObject) -> None:
    job = to_json(JobRecord(new_id(), "export", "a.tif", "/home/bob/a.tif", bobs["chain"], {"window": [1, 2.5, "x"]}))
    share = to_json(shared_with(bobs, users=("carol",), expires=datetime(2040, 1, 1, tzinfo=UTC)))
    entry = {"action": "computed", "chain": bobs["chain"], "count": 1, "pixels": 5, "bytes": 0, "seconds": 0.5}
    method, path, valid = data.draw(st.sampled_from([
        ("PUT", f"jobs/{new_id()}", job), ("PUT", f"shares/{new_id()}", share), ("POST", "audit", [entry]),
        ("PUT", f"results/{digest(new_id())}", {"digest": bobs["items"]}),
    ]))  # fmt: skip
    headers = {"Authorization": f"token {hub.token('bob')}"}
    body = data.draw(damaged(valid) | anything(list(job) + list(share) + list(entry)))
    answer = requests.request(method, f"{hub.store_url}/api/{path}", data=body, headers=headers, timeout=60)
    assert answer.status_code in (200, 400, 404, 413), (path, body[:300], answer.status_code, answer.text)
    if answer.status_code != 200:
        assert answer.json()["message"]
    for listed in ("jobs", "shares", "audit?limit=1000"):  # what was let in can be given out
        assert requests.get(f"{hub.store_url}/api/{listed}", headers=headers, timeout=60).status_code == 200, body[:300]
    odd = data.draw(st.sampled_from([text.strip('"')[:2000] for text in ODD]) | st.text(min_size=1, max_size=20))
    kind = data.draw(st.sampled_from(["documents", "styles", "artefacts", "holdings", "results", "jobs", "shares"]))
    for path in (f"{kind}/{quote(odd, safe='')}", f"jobs?limit={quote(odd, safe='')}"):
        answer = requests.get(f"{hub.store_url}/api/{path}", headers=headers, timeout=60)
        assert answer.status_code in (200, 400, 404), (path[:300], answer.status_code, answer.text)


@pytest.fixture
def bobs(bob: RemoteStore) -> dict[str, str]:
    return publish(bob)


def test_one_user_does_not_hold_up_the_others(hub: Hub, bob: RemoteStore) -> None:
    headers = {"Authorization": f"token {hub.token('carol')}"}
    codes: list[int] = []

    def ask() -> None:
        with requests.Session() as session:
            for _ in range(10):
                codes.append(
                    session.get(f"{hub.service}/services/muses/api/audit", headers=headers, timeout=60).status_code
                )

    askers = [threading.Thread(target=ask) for _ in range(40)]
    for asker in askers:
        asker.start()
    bob.documents()
    answered = len(codes)
    for asker in askers:
        asker.join(60)
    assert set(codes) <= {200, 429} and len(codes) == 400
    assert answered < 400, "bob's turn came before all of carol's"


# ------------------------------------------------------------------------------------------------------------ sharing


def test_a_share_opens_what_it_is_about_until_it_is_revoked(alice: RemoteStore, bob: RemoteStore, hub: Hub) -> None:
    names, other = publish(alice), publish(alice)
    share = alice.put_share(shared_with(names, users=("bob",)))
    assert readable(bob, names) == [True] * 3 and readable(bob, other) == [False] * 3
    assert readable(hub.store("carol"), names) == [False] * 3
    found = bob.share(share.id)
    assert (found.owner, found.title, found.users) == ("alice", share.title, ()), "whom else is not told"
    assert found.content["view"]["zoom"] == 11 and share.id in [s.id for s in bob.shared()]
    for store, key in ((bob, "chain"),):
        store.put_document(names[key], bob.document(names[key]))  # as a map does that shows it
    alice.revoke(share.id)
    assert readable(bob, names) == [False] * 3 and share.id not in [s.id for s in bob.shared()]
    with pytest.raises(NotFound, match="no longer"):
        bob.share(share.id)
    assert alice.share(share.id).revoked is not None and readable(alice, names) == [True] * 3
    alice.revoke(share.id)


def test_a_group_is_the_hubs_group(alice: RemoteStore, hub: Hub) -> None:
    names = publish(alice)
    share = alice.put_share(shared_with(names, groups=("class",)))
    assert readable(hub.store("carol"), names) == [True] * 3 and readable(hub.store("bob"), names) == [False] * 3
    hub.api("POST", "groups/class/users", {"users": ["bob"]})
    bob = hub.store("bob")
    hub.wait(lambda: readable(bob, names) == [True] * 3, "the new member's part")
    hub.api("DELETE", "groups/class/users", {"users": ["bob"]})
    hub.wait(lambda: readable(bob, names) == [False] * 3, "the end of it")
    alice.revoke(share.id)


def test_it_may_expire(alice: RemoteStore, bob: RemoteStore, hub: Hub) -> None:
    names = publish(alice)
    soon = datetime.now(UTC) + timedelta(seconds=3)
    share = alice.put_share(shared_with(names, users=("bob",), expires=soon))
    assert readable(bob, names) == [True] * 3
    hub.wait(lambda: readable(bob, names) == [False] * 3, "its end")
    assert datetime.now(UTC) >= soon and not alice.share(share.id).active


def test_a_user_named_like_a_group_is_not_in_it(alice: RemoteStore, hub: Hub) -> None:
    names = publish(alice)
    alice.put_share(shared_with(names, users=("class",), groups=("bob",)))
    assert readable(hub.store("bob"), names) == [False] * 3 and readable(hub.store("carol"), names) == [False] * 3


# ----------------------------------------------------------------------------------------- the page, in a browser


def log_in(hub: Hub, user: str) -> requests.Session:
    """As a browser does: by the form, with cookies."""
    session = requests.Session()
    session.headers["Sec-Fetch-Mode"] = "navigate"
    session.headers["Sec-Fetch-Dest"] = "document"
    session.headers["Sec-Fetch-Site"] = "same-origin"
    form = session.get(f"{hub.url}hub/login", timeout=60)
    fields = {"username": user, "password": hub.password, "_xsrf": session.cookies.get("_xsrf", path="/hub/")}
    done = session.post(form.url, params={"_xsrf": fields["_xsrf"]}, data=fields, allow_redirects=False, timeout=60)
    assert done.status_code == 302, done.text
    return session


def test_its_page_is_for_those_it_was_granted_to(alice: RemoteStore, hub: Hub) -> None:
    share = alice.put_share(shared_with(publish(alice), users=("bob",)))
    page = f"{hub.store_url}/shared/{share.id}"
    anonymous = requests.get(page, timeout=60, headers={"Sec-Fetch-Mode": "navigate"})
    assert "/hub/login" in anonymous.url and "NDVI" not in anonymous.text
    found = log_in(hub, "bob").get(page, timeout=60)
    assert found.status_code == 200 and found.url == page, "no token, no code stays in the address"
    assert "NDVI &lt;of&gt; Toulouse" in found.text and "<of>" not in found.text and "alice" in found.text
    link = re.search(r'href="([^"]*user-redirect[^"]*)"', found.text)
    assert link is not None and link.group(1) == f"/hub/user-redirect/muses/shared/{share.id}"
    stranger = log_in(hub, "dan").get(page, timeout=60)
    assert stranger.status_code == 404 and "NDVI" not in stranger.text and "alice" not in stranger.text
    unknown = log_in(hub, "dan").get(f"{hub.store_url}/shared/{new_id()}", timeout=60)
    strip = re.compile(r"'[A-Za-z0-9_-]{20,}'|&#x27;.*?&#x27;")
    assert strip.sub("", unknown.text) == strip.sub("", stranger.text)
    owner = log_in(hub, "alice").get(page, timeout=60)
    assert owner.status_code == 200 and "You share this" in owner.text
    alice.revoke(share.id)
    assert log_in(hub, "bob").get(page, timeout=60).status_code == 404


def test_the_pages_cookie_opens_nothing_else(alice: RemoteStore, hub: Hub) -> None:
    share = alice.put_share(shared_with(publish(alice), users=("bob",)))
    session = log_in(hub, "bob")
    assert session.get(f"{hub.store_url}/shared/{share.id}", timeout=60).status_code == 200
    assert session.get(f"{hub.store_url}/api/documents", timeout=60, allow_redirects=False).status_code == 403
    assert session.delete(f"{hub.store_url}/api/shares/{share.id}", timeout=60).status_code == 403
    for cookie in session.cookies:
        if cookie.name == "service-muses":
            cookie.value = cookie.value[:-6] + "AAAAAA"  # type: ignore[operator]
    forged = session.get(f"{hub.store_url}/shared/{share.id}", timeout=60, allow_redirects=False)
    assert forged.status_code == 302 and "/hub/api/oauth2/authorize" in forged.headers["Location"]


# --------------------------------------------------------------------------------- in a kernel: layers, links, exports


@pytest.fixture
def as_user(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes this process one of a user's kernels."""
    monkeypatch.setenv("MUSES_COMPUTE", "threads")
    monkeypatch.setenv("MUSES_STORE_URL", hub.store_url)

    def become(user: str) -> None:
        ledger.send()
        monkeypatch.setenv("JUPYTERHUB_API_TOKEN", hub.token(user))
        monkeypatch.setattr("muses_lab.store._stores", {})
        monkeypatch.setattr("muses_lab.compute.windows._kept", weakref.WeakKeyDictionary())

    yield become
    ledger.send()


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory, isolated_home: Path) -> ml.Layer:
    made = Made(tmp_path_factory.mktemp("scenes"))
    values = np.arange(600 * 600, dtype=np.uint16).reshape(600, 600)
    scene = made.scene(
        "scene", "2018-06-10", {"B04": made.asset(write_tif(made.folder / "B04.tif", values))}, grid="M-1"
    )
    return chain_of(made.scenes([Band("B04", "red", nodata=0.0)], [scene])).max("t").max("bands").style(cmap="viridis")


def test_a_layer_is_shared_opened_computed_and_exported(
    hub: Hub, as_user: Any, layer: ml.Layer, tmp_path: Path
) -> None:
    box = window(600, 600)
    as_user("alice")
    link = layer.share(user="bob", title="Red", view={"center": (43.6, 1.4), "zoom": 12})
    assert link.url == f"/services/muses/shared/{link.id}" and "for bob" in repr(link)
    job = layer.chain.export(tmp_path / "a.tif", box, progress=False)
    job.wait(60)
    export = job.share(group="class", days=1)
    assert [shared.id for shared in ml.shares()][:2] == [export.id, link.id]
    mine = layer.chain.compute(box).values

    as_user("bob")
    (known,) = [r for r in ml.shared() if r.id == link.id]
    assert (known.title, known.owner, known.view["zoom"]) == ("Red", "alice", 12)  # type: ignore[index]
    opened = ml.shared(link.url)
    assert isinstance(opened, ml.Layer) and opened.chain.hash == layer.chain.published.chain_hash
    assert np.array_equal(opened.chain.compute(box).values, mine, equal_nan=True)
    assert opened.drawn == layer.drawn and opened.publish() == layer.publish()
    ledger.send()
    actions = {e.action: e for e in hub.store("bob").audit() if e.chain == opened.chain.hash}
    assert set(actions) == {"opened", "computed"}, "what was looked at is not published anew"
    assert actions["computed"].count == 4 and actions["computed"].pixels == 4 * 512**2
    with pytest.raises(NotFound):
        ml.shared(export.id)
    with pytest.raises(NotFound, match="not one of yours"):
        opened.share(user="dan")
    assert job.id not in [j.id for j in ml.jobs()]

    as_user("carol")
    found = received(export.id)
    copy = found.open().export(tmp_path / "carols.tif", found.window, progress=False)  # type: ignore[union-attr]
    copy.wait(60)
    with rasterio.open(tmp_path / "a.tif") as a, rasterio.open(tmp_path / "carols.tif") as b:
        assert np.array_equal(a.read(), b.read(), equal_nan=True)
        # Without a title a file's name is one.
        own = ("TIFFTAG_", "MUSES_OPTIONS")
        (of_a, of_b) = ({k: v for k, v in file.tags().items() if not k.startswith(own)} for file in (a, b))
        assert of_a == of_b and "MUSES_CRC32" in of_a
    assert "exported" in {e.action for e in hub.store("carol").audit() if e.chain == opened.chain.hash}

    as_user("alice")
    link.revoke()
    as_user("bob")
    with pytest.raises(NotFound, match="no longer"):
        ml.shared(link.id)
    assert link.id not in [r.id for r in ml.shared()]


def test_without_a_hub_there_is_nobody_to_share_with(layer: ml.Layer, fresh_home: Path) -> None:
    with pytest.raises(MusesError, match="needs a hub"):
        layer.share(user="bob")
    assert ml.shared() == []


def test_with_nobody_and_for_never_are_refused(as_user: Any, layer: ml.Layer) -> None:
    as_user("alice")
    with pytest.raises(MusesError, match="with whom"):
        layer.share()
    with pytest.raises(MusesError, match="days=0"):
        layer.share(user="bob", days=0)
    with pytest.raises(MusesError, match="without a name"):
        layer.share(user=["bob", ""])


def test_what_was_computed_is_sent_when_the_hub_is_back(
    hub: Hub, as_user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_user("alice")
    chain = digest(new_id())
    monkeypatch.setenv("MUSES_STORE_URL", "http://127.0.0.1:1/services/muses")
    ledger.computed(chain, 100, 0.5)
    ledger.send()
    monkeypatch.setenv("MUSES_STORE_URL", hub.store_url)
    ledger.computed(chain, 100, 0.5)
    ledger.send()
    ledger.send()
    (entry,) = [e for e in hub.store("alice").audit() if e.chain == chain]
    assert (entry.count, entry.pixels, entry.seconds) == (2, 200, 1.0)


# -------------------------------------------------------------------------------------------------------------- audit


def test_the_audit_log_says_who_did_what(alice: RemoteStore, bob: RemoteStore) -> None:
    names = publish(alice)
    alice.note([AuditEntry("computed", names["chain"], 3, 3 << 18, 0, 0.5)] * 2)
    job = JobRecord(new_id(), "export", "a.tif", "/home/alice/a.tif", names["chain"], pixels=100, bytes=2000)
    alice.put_job(job)
    for _ in range(2):
        alice.put_job(replace(job, state="done"))
    share = alice.put_share(shared_with(names, users=("bob",)))
    bob.share(share.id)
    alice.revoke(share.id)
    mine = {e.action: e for e in alice.audit() if e.chain == names["chain"]}
    assert set(mine) == {"published", "computed", "exported", "shared", "revoked"}
    assert (mine["computed"].count, mine["computed"].pixels, mine["computed"].seconds) == (6, 6 << 18, 1.0)
    assert (mine["exported"].count, mine["exported"].pixels, mine["exported"].bytes) == (1, 100, 2000)
    his = {e.action: e for e in bob.audit() if e.chain == names["chain"]}
    assert set(his) == {"opened"} and his["opened"].user == "bob"


# ------------------------------------------------------------------------------------------------------------- faults


def test_it_goes_on_after_the_database_was_away(hub: Hub, alice: RemoteStore, postgres_cluster: Any) -> None:
    names = publish(alice)
    pid = hub.service_process().pid
    for how in (signal.SIGQUIT, signal.SIGINT):
        postgres_cluster.stop(how)
        assert requests.get(f"{hub.store_url}/health", timeout=60).status_code == 503
        with ThreadPoolExecutor(1) as pool:
            found = pool.submit(readable, alice, names)
            with pytest.raises(TimeoutError):
                found.result(0.5)
            postgres_cluster.start()
            assert found.result(60) == [True] * 3, "asked while it is away, answered when it is back"
    assert hub.service_process().pid == pid


def test_who_cannot_wait_is_told(
    hub: Hub, alice: RemoteStore, postgres_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSES_STORE_SECONDS", "0.5")
    postgres_cluster.stop()
    try:
        with pytest.raises(StoreUnavailable, match="does not answer"):
            alice.documents()
    finally:
        postgres_cluster.start()
    with pytest.raises(StoreUnavailable, match="127.0.0.1:1"):
        RemoteStore("http://127.0.0.1:1/services/muses", alice._token).documents()


def test_it_is_started_again_when_it_was_killed(hub: Hub, alice: RemoteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSES_STORE_SECONDS", "90")
    names = publish(alice)
    before = hub.service_process()
    before.send_signal(signal.SIGKILL)
    assert readable(alice, names) == [True] * 3
    assert hub.service_process().pid != before.pid


# ------------------------------------------------------------------------------------- its process, without a hub


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """Starts the service as a hub does; gives its process and the address of its health."""
    processes = []

    def start(database: str) -> tuple[subprocess.Popen[str], str]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        environment = {
            "MUSES_HUB_DATABASE": database,
            "PYTHONPATH": PYTHON_PATH,
            "JUPYTERHUB_SERVICE_URL": f"http://127.0.0.1:{port}",
            "JUPYTERHUB_SERVICE_NAME": "muses",
            "JUPYTERHUB_SERVICE_PREFIX": "/services/muses/",
            "JUPYTERHUB_API_TOKEN": "none",
            "JUPYTERHUB_CLIENT_ID": "service-muses",
        }
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "muses_lab.hub"],
                env={**os.environ, **environment},
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=tmp_path,
            )  # fmt: skip
        )
        return processes[-1], f"http://127.0.0.1:{port}/services/muses/health"

    yield start
    for process in processes:
        process.kill()
        process.communicate(timeout=30)


def health(url: str) -> int | None:
    try:
        return requests.get(url, timeout=30).status_code
    except requests.ConnectionError:
        return None


def until(url: str, status: int) -> None:
    end = time.monotonic() + 60
    while health(url) != status:
        assert time.monotonic() < end, f"{url} does not answer {status}"
        time.sleep(0.05)


def test_it_starts_before_its_database_and_ends_when_told(start: Any, postgres_cluster: Any) -> None:
    url = postgres_cluster.database()
    postgres_cluster.stop()
    try:
        process, address = start(url)
        until(address, 503)
    finally:
        postgres_cluster.start()
    until(address, 200)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def test_it_does_not_touch_an_old_schema(start: Any, postgres: str) -> None:
    make_first(postgres)
    process, _ = start(postgres)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and "muses-lab store migrate" in out, out


def test_a_server_has_what_it_takes(hub: Hub, alice: RemoteStore) -> None:
    """A user's own server, as the hub starts it, reaches the store with nothing but its environment."""
    names = publish(alice)
    hub.api("POST", "users/alice/server")
    try:
        hub.wait(lambda: hub.api("GET", "users/alice")["servers"].get("", {}).get("ready", False), "alice's server")
        process = psutil.Process(hub.api("GET", "users/alice?include_stopped_servers")["servers"][""]["state"]["pid"])
        environment = process.environ()
        assert "MUSES_HUB_DATABASE" not in environment
        own = RemoteStore(environment["MUSES_STORE_URL"], lambda: environment["JUPYTERHUB_API_TOKEN"])
        assert readable(own, names) == [True] * 3
        headers = {"Authorization": f"token {hub.token('alice', 'access:servers!user=alice')}"}
        answer = requests.get(f"{hub.url}user/alice/muses/chains/{names['chain']}", headers=headers, timeout=60)
        assert answer.status_code == 200 and answer.json() == json.loads(alice.document(names["chain"]))
        bobs = publish(hub.store("bob"))
        answer = requests.get(f"{hub.url}user/alice/muses/chains/{bobs['chain']}", headers=headers, timeout=60)
        assert answer.status_code == 404
        share = hub.store("bob").put_share(shared_with(bobs, users=("alice",)))
        visitor = log_in(hub, "alice")
        for _ in range(2):  # the second time it is there, and opened as it is
            opened = visitor.get(f"{hub.url}hub/user-redirect/muses/shared/{share.id}", timeout=60)
            assert re.search(r"/user/alice/lab/tree/shared/NDVI-of-Toulouse-\w{8}\.ipynb$", opened.url), opened.url
        other = hub.store("bob").put_share(shared_with(bobs, users=("alice",)))
        picture = {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image", "Sec-Fetch-Site": "cross-site"}
        address = f"{hub.url}user/alice/muses/shared/{other.id}"
        asked = visitor.get(address, timeout=60, headers=picture, allow_redirects=False)
        where = asked.headers.get("Location", "")  # JupyterHub itself believes no cookie there, and asks for a login
        assert asked.status_code == 403 or "oauth2/authorize" in where, "it writes no notebook: there is one"
        listed = requests.get(f"{hub.url}user/alice/api/contents/shared", headers=headers, timeout=60).json()["content"]
        (found,) = [entry["path"] for entry in listed]
        body = requests.get(f"{hub.url}user/alice/api/contents/{found}", headers=headers, timeout=60).json()["content"]
        text, code = (cell["source"] for cell in body["cells"])
        assert text.startswith("`bob` shares `NDVI <of> Toulouse` with you")
        assert f'm.add(ml.shared({share.id!r}), name="NDVI <of> Toulouse")' in code and "zoom=11" in code
        hub.store("bob").revoke(share.id)
        assert visitor.get(f"{hub.url}user/alice/muses/shared/{share.id}", timeout=60).status_code == 404
        stranger = log_in(hub, "dan").get(f"{hub.url}user/alice/muses/shared/{share.id}", timeout=60)
        assert stranger.status_code == 403 and "NDVI" not in stranger.text
    finally:
        hub.api("DELETE", "users/alice/server")
