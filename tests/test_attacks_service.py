"""The service under attack: a real Jupyter server, asked as no browser of its user would."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import io
import json
import os
import random
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import aiohttp
import hypothesis
import psutil
import pytest
import requests
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from PIL import Image

import muses_lab as ml
from muses_lab import compute
from muses_lab.compute import embedded
from muses_lab.service.failures import TooManyRequests
from muses_lab.service.handler import HEADERS
from muses_lab.service.routes import ROUTES
from muses_lab.service.throttle import Throttle
from muses_lab.store import Share, default_store, new_id
from muses_lab.style import Style
from tests.helpers.examples import always, examples
from tests.helpers.hostile_documents import documents
from tests.helpers.odd_json import ODD, anything, damaged
from tests.helpers.service import ABSENT, Server, route, running_server
from tests.helpers.waiting import within

pytestmark = pytest.mark.slow  # they share a Jupyter server

TILE = "base/3/4/2.png"


@pytest.fixture
def browser(server: Server) -> requests.Session:
    """A browser in which the user has logged in: it has cookies, and no token."""
    session = requests.Session()
    session.trust_env = False
    assert session.get(f"{server.url}api/status?token={server.token}", timeout=30).ok
    session.get(f"{server.url}login", timeout=30)  # sets the _xsrf cookie
    return session


# ------------------------------------------------------------------------------------------------------ headers


@pytest.mark.parametrize("pattern", [pattern for pattern, _ in ROUTES])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_every_answer_has_the_security_headers(server: Server, pattern: str, method: str) -> None:
    url = server.muses(route(pattern))
    for response in (server.session.request(method, url, timeout=60), requests.request(method, url, timeout=60)):
        for name, value in HEADERS.items():
            if name == "Cache-Control" and response.status_code == 200:
                assert "private" in response.headers[name] or response.headers[name] == value
            else:
                assert response.headers[name] == value, (name, response.status_code)
        assert "Server" not in response.headers
        assert "Access-Control-Allow-Origin" not in response.headers or response.request.headers.get("Authorization")


# --------------------------------------------------------------------------------------------- cross-site requests


def test_pages_of_other_sites_get_nothing_by_the_users_cookie(server: Server, browser: requests.Session) -> None:
    tile = server.muses(TILE)
    assert browser.get(tile, headers={"Sec-Fetch-Site": "same-origin"}, timeout=30).ok  # as JupyterLab's <img>
    assert browser.get(tile, headers={"Sec-Fetch-Site": "none"}, timeout=30).ok  # typed into the address bar
    for site in ("cross-site", "same-site"):  # a sibling on a hub with a domain for each user is another user
        for path in (TILE, "health", f"tiles/{ABSENT}/{ABSENT}/3/4/2.png"):
            response = browser.get(server.muses(path), headers={"Sec-Fetch-Site": site}, timeout=30)
            assert (response.status_code, response.headers["X-Muses-Error"]) == (403, "forbidden")


def test_a_post_needs_the_xsrf_token_and_the_servers_own_origin(server: Server, browser: requests.Session) -> None:
    style = Style(vmax=random.random()).to_json()
    xsrf = {"X-XSRFToken": browser.cookies["_xsrf"]}

    def post(path: str, **headers: str) -> int:
        return browser.post(server.muses(path), json=style, headers=headers, timeout=30).status_code

    assert post("styles", **xsrf) == 201
    refused: list[dict[str, str]] = [
        {}, {"X-XSRFToken": "forged"}, {**xsrf, "Origin": "https://evil.example"}, {**xsrf, "Origin": "null"},
        {**xsrf, "Sec-Fetch-Site": "cross-site"}, {**xsrf, "Host": "evil.example"},
        {**xsrf, "Origin": server.url.replace("127.0.0.1", "127.0.0.2")[: -len("/user/ada/")]},
    ]  # fmt: skip
    for headers in refused:
        for path in ("styles", "chains"):
            assert post(path, **headers) in (403, 404), (path, headers)
    form = browser.post(server.muses("styles"), data={"_xsrf": "forged", "cmap": "viridis"}, timeout=30)
    assert form.status_code == 403


def test_a_name_that_leads_here_is_not_this_server(server: Server) -> None:
    """DNS rebinding: a page of evil.example whose name has become 127.0.0.1."""
    response = server.get(TILE, headers={"Host": "evil.example"})
    assert response.status_code == 403


# ----------------------------------------------------------------------------------------------- links of shares

CLICKED = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-User": "?1"}
ALONE = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}  # a script or a redirect without a user


@pytest.fixture
def link(server: Server) -> Iterator[tuple[str, Path]]:
    """A share's address, and the folder in which it is kept once it is opened."""
    store, text = default_store(), json.dumps({"nonce": secrets.token_hex(8)})
    chain = hashlib.sha256(text.encode()).hexdigest()
    store.put_document(chain, text)
    share = store.put_share(Share(new_id(), "NDVI", {"chain": chain}, users=("bob",)))
    folder = server.log.parent / "shared"
    shutil.rmtree(folder, ignore_errors=True)
    yield server.muses(f"shared/{share.id}"), folder
    shutil.rmtree(folder, ignore_errors=True)


def refused_links(own: str) -> list[tuple[str, dict[str, str]]]:
    """How pages ask without their user: method, headers."""
    found = [("GET", {"Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest, "Sec-Fetch-Site": site})
             for mode, dest in (("no-cors", "image"), ("no-cors", "empty"), ("no-cors", "script"), ("cors", "empty"),
                                ("navigate", "iframe"), ("navigate", "embed"), ("navigate", "object"))
             for site in ("cross-site", "same-site", "same-origin")]  # fmt: skip
    found += [("GET", {**ALONE, "Sec-Fetch-Site": site}) for site in ("cross-site", "same-site")]
    found += [
        ("GET", {}),
        ("GET", {"Referer": "https://evil.example/"}),
        ("GET", {"Referer": own.replace("127.0.0.1", "127.0.0.2")}),
    ]
    found += [(method, {**CLICKED, "Sec-Fetch-Site": "cross-site"}) for method in ("HEAD", "POST", "PUT", "DELETE")]
    return found


def test_a_link_writes_nothing_unless_a_user_follows_it(
    server: Server, browser: requests.Session, link: tuple[str, Path]
) -> None:
    url, folder = link
    for method, headers in refused_links(server.url.rstrip("/")):
        answer = browser.request(method, url, headers=headers, timeout=30, allow_redirects=False)
        assert answer.status_code in (403, 405), (method, headers, answer.status_code)
        assert not folder.exists(), (method, headers)
    assert "Open it" in browser.get(url, timeout=30).text, "one click, and it is followed"


@pytest.mark.parametrize(
    "headers",
    [
        {**CLICKED, "Sec-Fetch-Site": "none"}, {**CLICKED, "Sec-Fetch-Site": "cross-site"},
        {**ALONE, "Sec-Fetch-Site": "same-origin"}, {"Referer": "own"},
    ],
)  # fmt: skip
def test_a_link_that_is_followed_opens_the_notebook(
    server: Server, browser: requests.Session, link: tuple[str, Path], headers: dict[str, str]
) -> None:
    url, folder = link
    if "Referer" in headers:  # as by http to another machine, where browsers tell no more
        headers = {"Referer": server.muses("shared/x")}
    for _ in range(2):
        answer = browser.get(url, headers=headers, timeout=30, allow_redirects=False)
        assert answer.status_code == 302 and "/lab/tree/shared/NDVI-" in answer.headers["Location"], answer.text
    assert len(list(folder.glob("*.ipynb"))) == 1


def test_pages_have_the_security_headers_whatever_they_answer(
    server: Server, browser: requests.Session, link: tuple[str, Path]
) -> None:
    url, _ = link
    answers = [
        browser.get(url, timeout=30), browser.get(url, headers=CLICKED | {"Sec-Fetch-Site": "none"}, timeout=30,
                                                  allow_redirects=False),
        browser.post(url, timeout=30), requests.get(url, timeout=30, allow_redirects=False),
        requests.post(url, timeout=30), server.session.get(server.muses(f"shared/{new_id()}"), timeout=30),
    ]  # fmt: skip
    assert [answer.status_code for answer in answers] == [403, 302, 403, 302, 403, 404]
    for answer in answers:
        for name, value in HEADERS.items():
            if name != "Content-Security-Policy":
                assert answer.headers[name] == value, (answer.status_code, name)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "script" not in policy
        assert "Server" not in answer.headers


# ------------------------------------------------------------------------------------------------------- cookies


def test_forged_changed_and_expired_cookies_are_nobody(server: Server, browser: requests.Session) -> None:
    (name,) = [cookie.name for cookie in browser.cookies if cookie.name.startswith("username-")]
    value = browser.cookies[name]
    parts = value.strip('"').split("|")
    old = parts.copy()
    when = next(i for i, part in enumerate(parts) if re.fullmatch(r"\d+:\d{10}", part))
    old[when] = f"10:{int(time.time()) - 90 * 24 * 3600}"
    flipped = value[:-2] + ("0" if value[-2] != "0" else "1") + value[-1]
    forged = ["", "x", "ada", flipped, "|".join(old), value[: len(value) // 2], "2|1:0|" + "|".join(parts[2:-1]) + "|"]
    for cookie in forged:
        response = requests.get(server.muses(TILE), headers={"Cookie": f"{name}={cookie}"}, timeout=30)
        assert response.status_code == 403, cookie
    assert requests.get(server.muses(TILE), headers={"Cookie": f"{name}={value}"}, timeout=30).ok


def test_a_cookie_of_another_server_is_nobody(server: Server, browser: requests.Session, tmp_path: Path) -> None:
    """Another user's login, on a server with a key of its own."""
    with running_server(tmp_path, MUSES_COMPUTE="threads", JUPYTER_DATA_DIR=str(tmp_path / "data")) as other:
        cookies = "; ".join(
            f"{c.name.replace(str(urlsplit(server.url).port), str(urlsplit(other.url).port))}={c.value}"
            for c in browser.cookies
        )
        assert "username-" in cookies
        assert other.get(TILE).ok
        assert requests.get(other.muses(TILE), headers={"Cookie": cookies}, timeout=30).status_code == 403


def test_hashes_are_found_by_those_who_log_in_only(server: Server) -> None:
    """A plain Jupyter server has one user: who is logged in may see what is in the store, nobody else anything."""
    style = Style(vmax=secrets.randbelow(10**6) + 2)
    default_store().put_style(style.hash, style.to_text())
    path = server.muses(f"styles/{style.hash}")
    assert server.session.get(path, timeout=30).ok
    there = requests.get(path, timeout=30)
    missing = requests.get(server.muses(f"styles/{ABSENT}"), timeout=30)
    assert (there.status_code, there.content) == (missing.status_code, missing.content)
    assert there.status_code == 403


# ------------------------------------------------------------------------------------------------------- uploads


def raw(server: Server, head: str, body: Iterator[bytes] | None = None) -> bytes:
    """What a server answers to bytes that no library would send."""
    parts = urlsplit(server.url)
    assert parts.hostname and parts.port
    with socket.create_connection((parts.hostname, parts.port), 30) as connection:
        text = f"{head}\r\nHost: {parts.netloc}\r\nAuthorization: token {server.token}\r\n\r\n"
        connection.sendall(text.encode())
        try:
            for part in body or ():
                connection.sendall(part)
        except OSError:  # it has heard enough
            pass
        connection.settimeout(30)
        try:
            return connection.recv(65536)
        except ConnectionError:
            return b""


def process_of(server: Server) -> psutil.Process:
    port = urlsplit(server.url).port
    for info in Path(os.environ["JUPYTER_RUNTIME_DIR"]).glob("jpserver-*.json"):
        found = json.loads(info.read_text())
        if found["port"] == port and psutil.pid_exists(found["pid"]):
            return psutil.Process(found["pid"])
    raise AssertionError(f"no server at {port}")


@pytest.mark.parametrize("path", ["styles", "chains", "health", TILE])
@pytest.mark.parametrize("chunked", [False, True])
def test_large_bodies_are_not_kept_in_memory(server: Server, path: str, chunked: bool) -> None:
    process, size, part = process_of(server), 300 << 20, b"x" * (1 << 20)
    assert server.get(TILE).ok
    assert within(120, lambda: process.cpu_percent(0.5) < 10), "what a server loads as it starts is loaded before"
    most = before = process.memory_info().rss

    def body() -> Iterator[bytes]:
        nonlocal most
        for number in range(size >> 20):
            yield b"%x\r\n%s\r\n" % (len(part), part) if chunked else part
            if number % 10 == 0:
                most = max(most, process.memory_info().rss)
        if chunked:
            yield b"0\r\n\r\n"

    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    answered = raw(server, f"POST /user/ada/muses/{path} HTTP/1.1\r\n{length}", body())
    assert answered[:12] in (b"HTTP/1.1 413", b"HTTP/1.1 405", b""), answered[:200]
    assert most - before < size // 3
    assert server.get("health").ok


@pytest.mark.parametrize(
    "head",
    [
        "GET /user/ada/muses/../../../../etc/passwd HTTP/1.1",
        "GET /user/ada/muses/tiles/..%2f..%2f/x/0/0/0.png HTTP/1.1",
        "GET /user/ada/muses/styles/%00 HTTP/1.1",
        "GET /user/ada/muses/values/" + "0" * 64 + "?lon=%ff&lat=1&z=1 HTTP/1.1",
        "GET /user/ada/muses/base/3/4/" + "9" * 5_000 + ".png HTTP/1.1",
        "GET /user/ada/muses/" + "a/" * 20_000 + " HTTP/1.1",
        "POST /user/ada/muses/styles HTTP/1.1\r\nContent-Length: -5",
        "POST /user/ada/muses/styles HTTP/1.1\r\nContent-Length: 1e3",
        "GET /user/ada/muses/health HTTP/1.1\r\nSec-Fetch-Site: " + "x" * 60_000,
    ],
)
def test_odd_requests_get_an_answer_below_500_or_none(server: Server, head: str) -> None:
    answered = raw(server, head)
    assert answered == b"" or re.match(rb"HTTP/1.1 [234]\d\d ", answered), answered[:200]
    assert server.get("health").ok


# ----------------------------------------------------------------------------------------------- many documents


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("number", always([150, 100_000], [150]))
def test_random_documents_over_http(tmp_path: Path, sample_catalog: Path, number: int) -> None:
    ml.register_catalog(sample_catalog)
    with running_server(
        tmp_path, MUSES_COMPUTE="threads", MUSES_REQUESTS_BURST="1e9", MUSES_MAX_DOCUMENT="100000"
    ) as one:
        process, found = process_of(one), Counter[int]()
        for count, document in enumerate(documents(number, seed=3)):
            body = document if isinstance(document, bytes) else json.dumps(document).encode()
            found[one.post("styles" if count % 10 == 0 else "chains", data=body).status_code] += 1
            if count == 100:
                before = process.memory_info().rss
        assert set(found) <= {201, 400, 403, 404, 413} and found[400] > number // 2, found
        assert process.memory_info().rss - before < 200 << 20
        assert one.get("health").ok
        assert "Traceback" not in one.log.read_text()


# ------------------------------------------------------------------------------------------------------ odd JSON

VIEW = {"id": "a", "z": 10, "center": [1.4, 43.6], "bounds": [1, 43, 2, 44], "layers": [f"{ABSENT}/{ABSENT}"]}
STYLE = {"cmap": "viridis", "vmin": 0, "vmax": 1, "label": "x", "unit": "m", "bands": ["red"], "opacity": 0.5,
         "classes": [[1, "water", "blue"]]}  # fmt: skip
GRAPH = {"process_graph": {
    "load": {"process_id": "load_collection", "arguments": {
        "id": "sentinel-2-l2a", "spatial_extent": {"west": 1, "south": 43, "east": 2, "north": 44, "crs": 4326},
        "temporal_extent": ["2018-01-01", "2019-01-01"], "bands": ["red"], "limit": 5, "sortby": ["id"]}},
    "focal": {"process_id": "focal_median", "arguments": {"data": {"from_node": "load"}, "radius": 3}},
    "fixed": {"process_id": "muses:at_resolution", "arguments": {"data": {"from_node": "focal"}, "resolution": 20}},
    "plus": {"process_id": "add", "arguments": {"x": {"from_node": "fixed"}, "y": 1.5}, "result": True}}}  # fmt: skip
WORDS = [
    "id",
    "z",
    "center",
    "bounds",
    "layers",
    "cmap",
    "vmin",
    "vmax",
    "classes",
    "bands",
    "stretch",
    "process_graph",
    "process",
    "process_id",
    "arguments",
    "result",
    "from_node",
    "x",
    "y",
    "data",
    "do",
    "options",
    "workers",
]
DOCUMENTED = {200, 201, 202, 204, 400, 403, 404, 405, 413}


@hypothesis.settings(max_examples=examples(30), suppress_health_check=list(HealthCheck))
@given(st.data())
def test_odd_json_is_refused_with_a_sentence_wherever_it_is_posted(
    server: Server, sample_catalog: Path, data: st.DataObject
) -> None:
    ml.register_catalog(sample_catalog)
    route, valid = data.draw(
        st.sampled_from(
            [("view", VIEW), ("styles", STYLE), ("chains", GRAPH), ("cluster", {"do": "x", "options": {"workers": 1}})]
        )
    )
    body = data.draw(damaged(valid) | anything(WORDS))
    if route == "cluster" and b'"start"' in body:
        return
    answer = server.post(route, data=body)
    assert answer.status_code in DOCUMENTED, (route, body[:300], answer.status_code, answer.text)
    if answer.status_code >= 400:
        assert answer.json()["message"], (route, body[:300])


def test_a_number_of_hundreds_of_digits_is_no_zoom(server: Server) -> None:
    for number in ("9" * 401, "1e400", "-1e400", "NaN", "9" * 5000):
        body = json.dumps(VIEW).replace('"z": 10', f'"z": {number}').encode()
        answer = server.post("view", data=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "bad-request"), answer.text
        for bounds in (f"[{number}, 43, 2, 44]", "[1e308, 43, 1e308, 44]"):
            body = json.dumps(VIEW).replace("[1, 43, 2, 44]", bounds).encode()
            assert server.post("view", data=body).status_code == 400


@hypothesis.settings(max_examples=examples(20), suppress_health_check=list(HealthCheck))
@given(st.data())
def test_odd_arguments_are_refused_with_a_sentence(server: Server, data: st.DataObject) -> None:
    odd = st.sampled_from([text.strip('"')[:3000] for text in ODD]) | st.text(max_size=30)
    parts = [quote(data.draw(odd), safe="") for _ in range(3)]
    path = data.draw(st.sampled_from([
        f"values/{ABSENT}?lon={parts[0]}&lat={parts[1]}&z={parts[2]}", f"values/{parts[0]}?lon=1&lat=43&z=3",
        f"status/{ABSENT}?z={parts[0]}", f"status?chains={parts[0]},{parts[1]}&z={parts[2]}",
        f"base/{parts[0]}/{parts[1]}/{parts[2]}.png", f"tiles/{ABSENT}/{ABSENT}/{parts[0]}/{parts[1]}/{parts[2]}.png",
        f"tiles/{parts[0]}/{parts[1]}/3/4/2.png", f"chains/{parts[0]}", f"styles/{parts[0]}", f"legend/{parts[0]}",
        f"shared/{parts[0]}", f"exports/{parts[0]}", f"values/{ABSENT}?lon=1&lat=43&z=3&style={parts[0]}",
    ]))  # fmt: skip
    answer = server.get(path)
    assert answer.status_code in DOCUMENTED - {201, 202}, (path[:300], answer.status_code, answer.text[:300])


# --------------------------------------------------------------------------------------------- a thousand a second


def test_a_bucket_gives_each_user_a_burst_and_then_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSES_REQUESTS_PER_SECOND", "10")
    monkeypatch.setenv("MUSES_REQUESTS_BURST", "20")
    monkeypatch.setenv("MUSES_REQUESTS_AT_ONCE", "25")
    clock = [0.0]
    throttle = Throttle(lambda: clock[0])

    def let_in(user: str, number: int) -> int:
        done = 0
        for _ in range(number):
            try:
                throttle.enter(user)
                throttle.leave(user)
                done += 1
            except TooManyRequests as refused:
                assert refused.details["retry_after"] >= 1 and refused.http_status == 429
        return done

    assert let_in("ada", 50) == 20
    assert let_in("bob", 5) == 5, "one user's haste is not another's"
    clock[0] = 1.0
    assert let_in("ada", 50) == 10
    clock[0] = 1000.0
    assert let_in("ada", 50) == 20, "a pause gives a burst, not more"
    clock[0] = 2000.0
    for _ in range(20):
        throttle.enter("slow")
    clock[0] = 2001.0
    for _ in range(5):
        throttle.enter("slow")
    with pytest.raises(TooManyRequests, match="25 requests at once"):
        throttle.enter("slow")
    throttle.leave("slow")
    throttle.enter("slow")
    for number in range(5000):
        throttle.enter(f"user-{number}")
    assert len(throttle._accounts) <= 1024


@pytest.mark.thorough
def test_a_thousand_tiles_a_second_are_refused_and_the_server_stays_responsive(tmp_path: Path) -> None:
    total = 600
    limits = {"MUSES_REQUESTS_PER_SECOND": "20", "MUSES_REQUESTS_BURST": "100"}  # that any machine can exceed
    with running_server(tmp_path, MUSES_COMPUTE="threads", **limits) as one:
        found, others, sample = asyncio.run(_storm(one, total))
        time.sleep(1.1)
        assert one.get(TILE).ok, "a second later all is well again"
        log = one.log.read_text()
    assert set(found) == {200, 429} and sum(found.values()) == total, found
    assert found[429] > total // 10
    assert others and set(others) == {200}, "whoever else asks the Jupyter server is answered meanwhile"
    headers, body = sample
    assert int(headers["Retry-After"]) >= 1 and headers["X-Muses-Error"] == "too-many-requests"
    assert headers["Cache-Control"] == "no-store" and "again" in headers["X-Muses-Message"]
    assert Image.open(io.BytesIO(body)).size == (256, 256), "a map shows a tile that says why"
    assert "Traceback" not in log


async def _storm(one: Server, total: int) -> tuple[Counter[int], list[int], tuple]:
    """Tiles as fast as they go, by 64 connections, and the server's status now and then."""
    found: Counter[int] = Counter()
    others: list[int] = []
    sample: tuple = ()
    left = iter(range(total))
    headers = {"Authorization": f"token {one.token}"}
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=100)) as session:

        async def ask() -> None:
            nonlocal sample
            for number in left:
                async with session.get(one.muses(f"base/6/{number % 8}/{number // 8 % 8}.png")) as response:
                    body = await response.read()
                    found[response.status] += 1
                    if response.status == 429 and not sample:
                        sample = dict(response.headers), body

        async def look() -> None:
            while sum(found.values()) < total:
                async with session.get(f"{one.url}api/status") as response:
                    others.append(response.status)
                await asyncio.sleep(0.05)

        await asyncio.gather(look(), *(ask() for _ in range(64)))
    return found, others, sample


def test_api_routes_tell_in_json_when_to_come_back(tmp_path: Path) -> None:
    with running_server(
        tmp_path, MUSES_COMPUTE="threads", MUSES_REQUESTS_BURST="3", MUSES_REQUESTS_PER_SECOND="0.01"
    ) as one:
        answers = [one.get("health") for _ in range(5)]
        assert [a.status_code for a in answers] == [200, 200, 200, 429, 429]
        body = answers[-1].json()
        assert body["code"] == "too-many-requests"
        assert body["details"]["retry_after"] == int(answers[-1].headers["Retry-After"]) > 1
        page = one.get("shared/12345678")
        assert page.status_code == 429 and int(page.headers["Retry-After"]) > 1 and "try again" in page.text
        assert one.session.get(f"{one.url}api/status", timeout=30).ok, "the rest of the server is not concerned"


# ------------------------------------------------------------------------------------------------------- secrets


SECRETS = {
    "JUPYTER_TOKEN": "s3cret-jupyter", "JPY_API_TOKEN": "s3cret-lab", "JUPYTERHUB_API_TOKEN": "s3cret-hub",
    "AWS_SECRET_ACCESS_KEY": "s3cret-aws", "AWS_ACCESS_KEY_ID": "s3cret-id", "GITHUB_TOKEN": "s3cret-git",
    "PGPASSWORD": "s3cret-pg", "MY_DATABASE": "postgresql://ada:s3cret-db@db/x", "copernicus_password": "s3cret-cop",
    "MUSES_STORE_URL": "", "DASK_GATEWAY__AUTH__PASSWORD": "s3cret-gw", "CONFIGPROXY_AUTH_TOKEN": "s3cret-proxy",
}  # fmt: skip


def test_workers_are_not_told_the_keys_of_who_starts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isolated_home: Path
) -> None:
    """On real processes: the cluster and its workers as the system shows them."""
    compute.shutdown()
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("MUSES_WORKERS", "1")
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MUSES_STORE_URL", f"sqlite:///{tmp_path}/s3cret-store.sqlite")
    monkeypatch.setenv("NEEDED_TOKEN", "wanted")
    monkeypatch.setenv("https_proxy", "http://ada:kept@proxy.example:3128")
    monkeypatch.setenv("MUSES_WORKER_ENVIRONMENT", "NEEDED_TOKEN")
    info = embedded.ensure()
    try:
        cluster = psutil.Process(info.pid)
        end = time.monotonic() + 60
        while not (family := cluster.children(recursive=True)) and time.monotonic() < end:
            time.sleep(0.05)
        assert family
        for process in (cluster, *family):
            environment = Path(f"/proc/{process.pid}/environ").read_bytes().decode()
            assert "s3cret" not in environment, re.findall(r"[^\0]*s3cret[^\0]*", environment)
            assert "s3cret" not in " ".join(process.cmdline())
            if "PATH=" in environment:  # not the resource tracker's
                assert "NEEDED_TOKEN=wanted" in environment and "kept@proxy" in environment
        for file in tmp_path.rglob("*"):
            if file.is_file() and not file.name.startswith("s3cret-store"):
                assert b"s3cret" not in file.read_bytes(), file
    finally:
        embedded.stop()


def test_nothing_secret_is_in_the_log(tmp_path: Path, sample_catalog: Path) -> None:
    ml.register_catalog(sample_catalog)
    with running_server(tmp_path, MUSES_COMPUTE="threads") as one:
        one.get("health")
        one.session.get(one.muses("health") + f"?token={one.token}", timeout=30)
        requests.get(one.muses("health") + f"?token={one.token}", timeout=30)
        requests.get(one.muses("health") + "?token=wrong-s3cret", timeout=30)
        signed = "https://blob.example/a.tif?sig=s3cret-signature"
        for collection in (signed, "https://ada:s3cret-password@blob.example/c:x"):
            load = {"process_id": "load_collection", "arguments": {"id": collection}, "result": True}
            answer = one.post("chains", json={"process_graph": {"l": load}})
            assert answer.status_code < 500 and "s3cret" not in answer.text, answer.text
        log = one.log.read_text()
    assert one.token not in log
    assert "s3cret-signature" not in log and "s3cret-password" not in log
    assert "MUSES Lab serves" in log


def test_documents_layers_and_notebooks_hold_no_token_and_no_host(server: Server, sample_catalog: Path) -> None:
    layer = ml.collection("sentinel-2-l2a", catalog=str(sample_catalog)).ndvi().median("t").style(cmap="RdYlGn")
    chain_hash, style_hash = layer.publish()
    texts = [default_store().document(chain_hash), default_store().style(style_hash), repr(layer), repr(layer.chain)]
    texts += [path.read_text() for path in (Path(__file__).parent.parent / "notebooks").glob("*.ipynb")]
    for text in texts:
        assert server.token not in text and "token=" not in text
        assert not re.search(r"https?://(127\.0\.0\.1|localhost|[^/\s\"]*@)", text)
        assert str(sample_catalog) not in text


def test_a_server_says_nothing_to_who_does_not_speak_http(server: Server) -> None:
    parts = urlsplit(server.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    connection.request("TRACE", "/user/ada/muses/health")
    assert connection.getresponse().status == 405
    connection.close()


def test_the_environment_of_a_process_can_be_read_here() -> None:
    """So that the test above sees what it looks for."""
    with subprocess.Popen(["sleep", "60"], env={**os.environ, "GITHUB_TOKEN": "s3cret"}) as process:
        try:
            end = time.monotonic() + 10
            while not (told := Path(f"/proc/{process.pid}/environ").read_bytes()):  # not yet itself
                assert time.monotonic() < end
            assert b"s3cret" in told
        finally:
            process.kill()
