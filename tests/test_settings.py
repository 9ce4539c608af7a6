"""Which files and addresses may be read."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from muses_lab import settings
from muses_lab.errors import AccessDenied, NotFound


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MUSES_LAB_HOME", str(tmp_path / "home"))
    return settings.home()


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    root = tmp_path / "catalogue"
    (root / "scenes").mkdir(parents=True)
    (root / "scenes" / "a.tif").write_bytes(b"pixels")
    (tmp_path / "secret.tif").write_bytes(b"secret")
    settings.register_catalog("mine", str(root))
    return root


def resolves_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Every host has these addresses: the test does not depend on a name server."""
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)


def test_a_relative_href_is_in_the_catalogue(catalogue: Path) -> None:
    assert settings.resolve_href("mine", "scenes/a.tif") == str(catalogue / "scenes" / "a.tif")
    assert settings.resolve_href("mine", str(catalogue / "scenes" / "a.tif")) == str(catalogue / "scenes" / "a.tif")


@pytest.mark.parametrize(
    "href",
    [
        "../secret.tif",
        "scenes/../../secret.tif",
        "../../../../../../etc/passwd",
        "/etc/passwd",
        "file:///etc/passwd",
        "file://localhost/etc/passwd",
        "/vsicurl/https://example.org/a.tif",
        "/vsizip//etc/a.zip",
        "s3://bucket/a.tif",
        "ftp://example.org/a.tif",
        "http://example.org/a.tif",
        "scenes/a\0.tif",
    ],
)
def test_an_href_out_of_the_catalogue_is_refused(catalogue: Path, href: str) -> None:
    with pytest.raises(AccessDenied):
        settings.resolve_href("mine", href)


def test_gdal_prefixes_are_only_names_in_the_folder(catalogue: Path) -> None:
    assert settings.resolve_href("mine", "GTIFF_DIR:1:/etc/passwd").startswith(str(catalogue))
    assert settings.resolve_href("mine", "file:/etc/passwd").startswith(str(catalogue))


def test_a_link_out_of_the_catalogue_is_refused(catalogue: Path) -> None:
    (catalogue / "link.tif").symlink_to(catalogue.parent / "secret.tif")
    with pytest.raises(AccessDenied, match="outside the folders"):
        settings.resolve_href("mine", "link.tif")


def test_a_folder_beside_of_a_longer_name_is_not_inside(catalogue: Path) -> None:
    other = catalogue.parent / "catalogue-of-others"
    other.mkdir()
    with pytest.raises(AccessDenied):
        settings.resolve_href("mine", str(other / "a.tif"))


def test_registered_folders_are_readable(catalogue: Path) -> None:
    secret = catalogue.parent / "secret.tif"
    settings.register_catalog("mine", str(catalogue), [str(catalogue.parent)])
    assert settings.resolve_href("mine", str(secret)) == str(secret)
    settings.register_catalog("mine", str(catalogue))
    assert settings.resolve_href("mine", str(secret)) == str(secret), "opening a catalogue again forgets no folder"


def test_another_root_forgets_the_folders_of_the_first(catalogue: Path, tmp_path: Path) -> None:
    settings.register_catalog("mine", str(catalogue), [str(catalogue.parent)])
    settings.register_catalog("mine", str(tmp_path / "elsewhere"))
    assert settings.registered_catalogs()["mine"]["roots"] == []


def test_the_registry_remembers_what_to_open(home: Path) -> None:
    settings.register_catalog("file", "/data", source="/data/items.parquet")
    settings.register_catalog("file", "/data")
    assert json.loads((home / "catalogs.json").read_text())["file"]["source"] == "/data/items.parquet"


def test_an_unknown_catalogue_says_how_to_register_it() -> None:
    with pytest.raises(NotFound, match="open_catalog"):
        settings.resolve_href("nowhere", "a.tif")


def test_hrefs_of_a_remote_catalogue_stay_on_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    resolves_to(monkeypatch, "93.184.215.14")
    settings.register_catalog("remote", "https://example.org/stac")
    assert settings.resolve_href("remote", "a.tif") == "https://example.org/stac/a.tif"
    assert settings.resolve_href("remote", "/etc/passwd").startswith("https://example.org/")
    with pytest.raises(AccessDenied):
        settings.resolve_href("remote", "file:///etc/passwd")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "::1", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1",
    ],
)  # fmt: skip
def test_private_addresses_are_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    resolves_to(monkeypatch, "93.184.215.14", address)
    with pytest.raises(AccessDenied, match="private address"):
        settings.check_url("https://innocent.example/a.tif")


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:220:1:248:1893:25c8:1946"])
def test_public_addresses_are_read(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    resolves_to(monkeypatch, address)
    assert settings.check_url("https://example.org/a.tif?x=1") == "https://example.org/a.tif?x=1"


def test_numeric_spellings_of_loopback_are_refused() -> None:
    for host in ("127.0.0.1", "127.1", "2130706433", "0x7f.1", "[::1]", "localhost"):
        with pytest.raises(AccessDenied):
            settings.check_url(f"https://{host}/a.tif")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org\\@127.0.0.1/a.tif",
        "https://user:secret@example.org/a.tif",
        "https://example.org:99999/a.tif",
        "https://example.org/a.tif\nhttps://127.0.0.1",
        "https://[::1/a.tif",
        "https:///a.tif",
        "https://" + "a" * 300 + ".org/a.tif",
    ],
)
def test_ambiguous_urls_are_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    if "aaa" not in url:
        resolves_to(monkeypatch, "93.184.215.14")
    with pytest.raises(AccessDenied):
        settings.check_url(url)


def test_allowed_hosts_may_be_private_and_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSES_ALLOWED_HOSTS", "127.0.0.1:8080, Data.Local")
    assert settings.check_url("http://127.0.0.1:8080/a.tif")
    resolves_to(monkeypatch, "10.0.0.1")
    assert settings.check_url("http://data.local/a.tif")
    for url in ("http://127.0.0.1:9090/a.tif", "http://127.0.0.1/a.tif", "ftp://data.local/a.tif"):
        with pytest.raises(AccessDenied):
            settings.check_url(url)
