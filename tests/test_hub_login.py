"""How users come in: the machine's accounts (PAM), an identity provider (OAuth), cookies that are forged or too old."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests
from tornado.web import create_signed_value, decode_signed_value

from .hubs import HubUser, RunningHub, running_hub

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("hub")]

DAY = 86400


def status(url: str, **cookies: str) -> int:
    """Of a page asked for with these cookies and no others; 302 leads to the login."""
    answer = requests.get(url, cookies=cookies, allow_redirects=False, timeout=30)
    if answer.status_code == 302:
        assert "/hub/" in answer.headers["Location"]
    return answer.status_code


# Cookies


@pytest.fixture(scope="module")
def hub(sample_catalog: Path) -> Iterator[RunningHub]:
    with running_hub(sample_catalog) as hub:
        yield hub


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


# An identity provider


class Provider(ThreadingHTTPServer):
    """The three pages of OAuth 2 with PKCE (RFC 6749, 7636): who comes is `user`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Pages)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.client, self.secret = "muses", secrets.token_hex(8)
        self.user = "carol"
        self.challenges: dict[str, tuple[str, str]] = {}
        """Code → (challenge, user), each good for once."""
        self.tokens: dict[str, str] = {}

    def settings(self) -> dict[str, str]:
        return {
            "AUTH": "oauth", "OAUTH_CLIENT_ID": self.client, "OAUTH_CLIENT_SECRET": self.secret,
            "OAUTH_AUTHORIZE_URL": f"{self.url}/authorize", "OAUTH_TOKEN_URL": f"{self.url}/token",
            "OAUTH_USERDATA_URL": f"{self.url}/userdata",
        }  # fmt: skip


class Pages(BaseHTTPRequestHandler):
    server: Provider

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if address.path == "/userdata":
            user = self.server.tokens.get(self.headers["Authorization"].removeprefix("Bearer "))
            return self._answer(200 if user else 401, {"preferred_username": user})
        asked = {name: values[0] for name, values in parse_qs(address.query).items()}
        assert asked["client_id"] == self.server.client and asked["code_challenge_method"] == "S256"
        code = secrets.token_hex(8)
        self.server.challenges[code] = asked["code_challenge"], self.server.user
        self.send_response(302)
        self.send_header("Location", f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}")
        self.end_headers()
        return None

    def do_POST(self) -> None:
        form = {k: v[0] for k, v in parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()).items()}
        basic = base64.b64encode(f"{self.server.client}:{self.server.secret}".encode()).decode()
        known = self.headers.get("Authorization") == f"Basic {basic}" or form.get("client_secret") == self.server.secret
        challenge, user = self.server.challenges.pop(form["code"], ("", ""))
        proof = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).decode().rstrip("=")
        if not known or not user or proof != challenge:
            return self._answer(401, {"error": "invalid_grant"})
        token = secrets.token_hex(8)
        self.server.tokens[token] = user
        return self._answer(200, {"access_token": token, "token_type": "Bearer"})

    def _answer(self, status: int, body: dict[str, str]) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as provider:
        thread = threading.Thread(target=provider.serve_forever)
        thread.start()
        yield provider
        provider.shutdown()
        thread.join()


def test_an_identity_provider_says_who_comes_in(sample_catalog: Path, provider: Provider) -> None:
    with running_hub(sample_catalog, USERS="carol,erin", ADMINS="erin", **provider.settings()) as hub:

        def login(name: str) -> requests.Session:
            provider.user = name
            session = requests.Session()
            session.get(f"{hub.url}/hub/oauth_login", timeout=60)
            return session

        carol, mallory, erin = login("carol"), login("mallory"), login("erin")
        home = f"{hub.url}/hub/home"
        assert carol.get(home, allow_redirects=False, timeout=30).status_code == 200
        assert mallory.get(home, allow_redirects=False, timeout=30).status_code == 302, "is not among the users"
        admin = f"{hub.url}/hub/admin"
        assert erin.get(admin, timeout=30).status_code == 200 and carol.get(admin, timeout=30).status_code == 403
        # What somebody else's browser was sent back with is of no use: the state is in its cookie.
        provider.user = "carol"
        lured = requests.Session()
        sent = requests.get(f"{hub.url}/hub/oauth_login", allow_redirects=False, timeout=30).headers["Location"]
        back = requests.get(sent, allow_redirects=False, timeout=30).headers["Location"]
        assert lured.get(back, timeout=30).status_code in (400, 403)
        assert lured.get(home, allow_redirects=False, timeout=30).status_code == 302
        # A password is none.
        tried = requests.post(f"{hub.url}/hub/login", data={"username": "carol", "password": "x"}, timeout=30)
        assert tried.status_code in (403, 405)
        log = hub.messages()
        assert provider.secret not in log and not any(token in log for token in provider.tokens)


# The machine's accounts


@pytest.fixture
def account() -> Iterator[tuple[str, str]]:
    """Name and password of an account on this machine. Only CI makes one: it has the machine to itself."""
    if os.geteuid() != 0 or not os.environ.get("CI") or not shutil.which("useradd"):
        pytest.skip("makes an account on this machine; only done as root and with CI set, as `.ci/run` does")
    name, password = f"muses{secrets.token_hex(4)}", secrets.token_hex(8)
    subprocess.run(["useradd", "--create-home", name], check=True)
    try:
        subprocess.run(["chpasswd"], input=f"{name}:{password}\n", text=True, check=True)
        yield name, password
    finally:
        subprocess.run(["userdel", "--remove", name], check=True, capture_output=True)


def test_the_machines_accounts_log_in_with_their_passwords(sample_catalog: Path, account: tuple[str, str]) -> None:
    name, password = account
    with running_hub(sample_catalog, AUTH="pam", USERS=f"@{name}") as hub:

        def login(name: str, password: str) -> bool:
            try:
                return bool(HubUser(hub, name, password))
            except AssertionError:
                return False

        assert login(name, password)
        assert not login(name, password + "x")
        assert not login(name, "")
        assert not login("root", password)
        assert not login("nobody", password)
        user = HubUser(hub, name, password).start()
        assert user.ask("muses/health").json()["service"] == "muses-lab"
        assert password not in hub.messages()
