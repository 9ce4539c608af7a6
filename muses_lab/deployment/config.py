"""The settings of a hub on one machine: environment variables `MUSES_HUB_…`, checked before anything is started."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit

from muses_lab import settings
from muses_lab.variables import VARIABLES

Authentication = Literal["demo", "pam", "oauth"]
Separation = Literal["auto", "separate", "one"]

SECRETS = ("PASSWORD", "DATABASE", "OAUTH_CLIENT_SECRET")
"""What of `MUSES_HUB_…` only the hub itself (the database: only the store's service) may know."""

PASSWORD_LENGTH = 8
"""Characters that JupyterHub asks of the one password of a demonstration."""


class SettingsError(ValueError):
    """A setting that is missing or wrong, or two that do not go together."""


@dataclass(frozen=True)
class Limits:
    """What one user's cluster may have.

    >>> Limits(workers=2).of("alice", ["class-a"], {"groups": {"class-a": {"workers": 4}}}).workers
    4
    """

    workers: int = 2
    cores: int = 2
    """Threads of a worker."""
    memory: float = 2.0
    """GiB of a worker."""

    def of(self, user: str, groups: Iterable[str], exceptions: Mapping[str, Mapping[str, dict]]) -> Limits:
        """The limits of one user: a user's own before those of the groups, of which the largest count."""
        of_groups = [exceptions.get("groups", {}).get(group, {}) for group in groups]
        found: dict[str, float] = {}
        for field in fields(Limits):
            named = [entry[field.name] for entry in of_groups if field.name in entry]
            if named:
                found[field.name] = max(named)
        return replace(self, **{**found, **exceptions.get("users", {}).get(user, {})})


@dataclass(frozen=True)
class HubSettings:
    """All settings of the hub, from the environment; `SettingsError` says what is wrong with which."""

    environment: Mapping[str, str]

    def __post_init__(self) -> None:
        self._check_choices()
        self._check_who_may_come_in()
        self._check_encryption()
        self._check_published()

    @classmethod
    def from_environment(cls) -> HubSettings:
        return cls({k.removeprefix("MUSES_HUB_"): v for k, v in os.environ.items() if k.startswith("MUSES_HUB_") and v})

    # Addresses

    @property
    def url(self) -> str:
        """Where the hub is reached, and listens."""
        return self.environment.get("URL", "http://127.0.0.1:8000").rstrip("/")

    @property
    def public_url(self) -> str:
        """Where browsers reach it, if that differs (`MUSES_HUB_PUBLIC_URL`): a server in front of it."""
        return self.environment.get("PUBLIC_URL", self.url).rstrip("/")

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def is_loopback(self) -> bool:
        try:
            return self.host == "localhost" or ip_address(self.host).is_loopback
        except ValueError:
            return False

    def port(self, name: str) -> int:
        """Of the hub's inner parts, which listen on 127.0.0.1 only (`MUSES_HUB_<name>_PORT`)."""
        text = self.environment.get(f"{name}_PORT", str(VARIABLES[f"MUSES_HUB_{name}_PORT"].default))
        if not text.isdigit():
            raise SettingsError(f"MUSES_HUB_{name}_PORT={text!r} is not a port")
        return int(text)

    @property
    def certificate(self) -> str:
        return self.environment.get("TLS_CERT", "")

    @property
    def key(self) -> str:
        return self.environment.get("TLS_KEY", "")

    # Who

    @property
    def authentication(self) -> Authentication:
        return self.environment.get("AUTH", "demo")  # type: ignore[return-value]

    @property
    def password(self) -> str:
        return self.environment.get("PASSWORD", "")

    @property
    def users(self) -> set[str]:
        """Names of those who may log in; "*" is everybody whom the authenticator knows, "@name" a Unix group."""
        named = self.environment.get("USERS", "*" if self.authentication == "demo" else "")
        return {name.strip() for name in named.split(",") if name.strip()}

    @property
    def admins(self) -> set[str]:
        return {name.strip() for name in self.environment.get("ADMINS", "").split(",") if name.strip()}

    @property
    def trainers(self) -> str:
        """Names and `@group` of the hub: who publishes courses, and sees what participants do (`MUSES_HUB_TRAINERS`).

        Of a demonstration the user `trainer` is one: its one password proves no name, this one as little as others.
        """
        return self.environment.get("TRAINERS", "trainer,@trainers" if self.authentication == "demo" else "@trainers")

    @property
    def gateway(self) -> bool:
        """Whether each user gets a cluster by Dask Gateway; without it users' own servers compute."""
        return self.environment.get("GATEWAY", "1") != "0"

    @property
    def evaluator(self) -> bool:
        """Whether the maps of courses are computed once for the class (`MUSES_HUB_EVALUATOR`)."""
        return self.environment.get("EVALUATOR", "1") != "0"

    @cached_property
    def courses(self) -> Path:
        """Of the published courses: the service `muses` writes it, all users' processes read it."""
        return self.state / "courses"

    @property
    def separation(self) -> Separation:
        """Whether users' servers and clusters run as Unix accounts of their own."""
        return self.environment.get("ACCOUNTS", "auto")  # type: ignore[return-value]

    def oauth(self, name: str) -> str:
        value = self.environment.get(f"OAUTH_{name}", "")
        if not value:
            raise SettingsError(f"MUSES_HUB_AUTH=oauth needs MUSES_HUB_OAUTH_{name}; your identity provider tells it")
        return value

    # What

    @cached_property
    def state(self) -> Path:
        """The hub's own folder: database, secrets, users' homes, shared catalogues (`MUSES_HUB_STATE`).

        Outside the home of root where users have accounts of their own: they must be able to pass through it.
        """
        return Path(self.environment.get("STATE") or settings.home() / "hub").resolve()

    @cached_property
    def store(self) -> Path:
        """The folder of the service `muses`, with its SQLite store: under an account of its own nobody else's."""
        return self.state / "muses"

    @property
    def database(self) -> str:
        """Of documents, jobs, shares and the audit log; the service `muses` alone connects to it."""
        return self.environment.get("DATABASE") or f"sqlite:///{self.store / 'muses.sqlite'}"

    @cached_property
    def published(self) -> Path:
        """Of whose files every user gets copies (`MUSES_HUB_PUBLISHED`); by default in the state: `published.py`."""
        named = self.environment.get("PUBLISHED")
        return Path(named).resolve() if named else self.state / "published"

    @property
    def start(self) -> str:
        """The published notebook that users land on (`MUSES_HUB_START`); the first one when it is not named."""
        return self.environment.get("START", "")

    # What the sign-in page says

    @property
    def title(self) -> str:
        return self.environment.get("TITLE", "MUSES Lab")

    @property
    def contact(self) -> str:
        """Whom to ask: a text, a mail address or an https address."""
        return self.environment.get("CONTACT", "").strip()

    @property
    def contact_link(self) -> str:
        """What a click on the contact opens; nothing where it is a text."""
        if re.fullmatch(r"[\w.+-]+@[\w-]+(\.[\w-]+)+", self.contact, re.ASCII):
            return f"mailto:{self.contact}"
        return self.contact if re.fullmatch(r"https?://[^\s\"'<>]+", self.contact) else ""

    @property
    def identity_provider(self) -> str:
        """What the button to it is called (`MUSES_HUB_OAUTH_SERVICE`), by default its host."""
        return self.environment.get("OAUTH_SERVICE") or urlsplit(self.oauth("AUTHORIZE_URL")).hostname or "OAuth"

    @property
    def sign_in(self) -> str:
        """With what users sign in, as a sentence for them."""
        if self.authentication == "demo":
            return (
                "This is a demonstration: any name does, with the one password that was printed where it was started, "
                "or was set there as MUSES_HUB_PASSWORD."
            )
        if self.authentication == "pam":
            return f"Take the name and password of your account on {urlsplit(self.public_url).hostname}."
        return f"Your account is the one that you have at {self.identity_provider}."

    @cached_property
    def limits(self) -> Limits:
        found = {}
        for field in fields(Limits):
            text = self.environment.get(field.name.upper())
            if text is None:
                continue
            try:
                found[field.name] = type(field.default)(text)  # type: ignore[misc]
            except ValueError:
                raise SettingsError(f"MUSES_HUB_{field.name.upper()}={text!r} is not a number") from None
            if found[field.name] <= 0:
                raise SettingsError(f"MUSES_HUB_{field.name.upper()}={text!r} must be above 0")
        return Limits(**found)

    @cached_property
    def exceptions(self) -> dict[str, dict[str, dict]]:
        """Of `limits`: the JSON file `MUSES_HUB_LIMITS`, {"groups": {"class-a": {"workers": 4}}, "users": {…}}."""
        file = self.environment.get("LIMITS")
        if not file:
            return {}
        try:
            found = json.loads(Path(file).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise SettingsError(f"MUSES_HUB_LIMITS={file!r} cannot be read: {error}") from None
        known = {field.name for field in fields(Limits)}
        for kind, entries in found.items():
            if kind not in ("groups", "users"):
                raise SettingsError(f'{file} has {kind!r}; there are "groups" and "users"')
            for name, entry in entries.items():
                if set(entry) - known:
                    raise SettingsError(
                        f"{file} gives {name!r} {sorted(set(entry) - known)}; there are {sorted(known)}"
                    )
        return found

    def seconds(self, name: str) -> float:
        text = self.environment.get(name, str(VARIABLES[f"MUSES_HUB_{name}"].default))
        try:
            return float(text)
        except ValueError:
            raise SettingsError(f"MUSES_HUB_{name}={text!r} is not a number of seconds") from None

    def without_secrets(self) -> dict[str, str]:
        """The same for the gateway, which needs to know neither password nor database."""
        return {f"MUSES_HUB_{name}": value for name, value in self.environment.items() if name not in SECRETS}

    # Checks

    def _check_choices(self) -> None:
        for name, value, choices in (
            ("AUTH", self.authentication, get_args(Authentication)),
            ("ACCOUNTS", self.separation, get_args(Separation)),
        ):
            if value not in choices:
                raise SettingsError(f"MUSES_HUB_{name}={value!r} is unknown; there are {', '.join(choices)}")
        if urlsplit(self.url).scheme not in ("http", "https") or not self.host:
            raise SettingsError(f"MUSES_HUB_URL={self.url!r} is not an address such as http://127.0.0.1:8000")

    def _check_who_may_come_in(self) -> None:
        if not self.users:
            raise SettingsError(
                f"MUSES_HUB_AUTH={self.authentication} needs MUSES_HUB_USERS: names, @group of this machine, or * for "
                "everybody whom it knows (with a public identity provider: everybody in the world)"
            )
        if self.authentication == "demo" and self.admins:
            raise SettingsError(
                "MUSES_HUB_ADMINS needs MUSES_HUB_AUTH=pam or oauth: one password for all proves no name"
            )

        if self.authentication == "demo" and self.password and len(self.password) < PASSWORD_LENGTH:
            raise SettingsError(
                f"MUSES_HUB_PASSWORD has {len(self.password)} characters; it needs {PASSWORD_LENGTH} at least, or "
                "leave it out for a new one, which is shown at the start"
            )

    def _check_encryption(self) -> None:
        if bool(self.certificate) != bool(self.key):
            raise SettingsError("MUSES_HUB_TLS_CERT and MUSES_HUB_TLS_KEY belong together; one of them is missing")
        if self.is_loopback:
            return
        if self.authentication == "demo":
            raise SettingsError(
                f"MUSES_HUB_URL={self.url} is not on loopback: whoever has the demonstration's one password is in as "
                "anybody, so it is for this machine only; set MUSES_HUB_AUTH=pam or oauth"
            )
        if not self.certificate and self.environment.get("BEHIND_TLS") != "1":
            raise SettingsError(
                f"{self.url} would take passwords in the clear; set MUSES_HUB_TLS_CERT and MUSES_HUB_TLS_KEY, or "
                "MUSES_HUB_BEHIND_TLS=1 where a server in front of it encrypts"
            )

    def _check_published(self) -> None:
        if not self.published.is_dir() and "PUBLISHED" in self.environment:
            raise SettingsError(
                f"MUSES_HUB_PUBLISHED={self.environment['PUBLISHED']!r} is no folder; name the one of whose "
                "notebooks users get copies, or leave it out for the tutorials"
            )
        if self.start.startswith("/") or ".." in Path(self.start).parts:
            raise SettingsError(
                f"MUSES_HUB_START={self.start!r} is no published notebook; name it by its path below {self.published}, "
                "such as course/01-welcome.ipynb"
            )
