"""How users come in: the machine's accounts (PAM), an identity provider (OAuth)."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests

from tests.helpers.hubs import HubUser, running_hub

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


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
    asked = {"TITLE": "Maps <b>for</b> all", "CONTACT": "Ms <Smith>", "OAUTH_SERVICE": "our university"}
    with running_hub(sample_catalog, USERS="carol,erin", ADMINS="erin", **asked, **provider.settings()) as hub:

        def login(name: str) -> requests.Session:
            provider.user = name
            session = requests.Session()
            session.get(f"{hub.url}/hub/oauth_login", timeout=60)
            return session

        page = requests.get(f"{hub.url}/hub/login", timeout=30).text
        for told in ("Maps &lt;b&gt;for&lt;/b&gt; all", "Ms &lt;Smith&gt;", "Sign in with our university"):
            assert told in page
        assert "that you have at our university" in page and "<b>for" not in page and "demonstration" not in page

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


@pytest.mark.thorough
def test_the_machines_accounts_log_in_with_their_passwords(sample_catalog: Path, account: tuple[str, str]) -> None:
    name, password = account
    with running_hub(sample_catalog, AUTH="pam", USERS=f"@{name}") as hub:

        def login(name: str, password: str) -> bool:
            try:
                return bool(HubUser(hub, name, password))
            except AssertionError:
                return False

        page = requests.get(f"{hub.url}/hub/login", timeout=30).text
        assert "the name and password of your account on 127.0.0.1" in page and "demonstration" not in page
        assert login(name, password)
        assert not login(name, password + "x")
        assert not login(name, "")
        assert not login("root", password)
        assert not login("nobody", password)
        user = HubUser(hub, name, password).start()
        assert user.ask("muses/health").json()["service"] == "muses-lab"
        assert password not in hub.messages()
