"""Which files and addresses may be read; the variables that change things."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from muses_lab import settings, variables
from muses_lab.deployment.config import Limits
from muses_lab.errors import AccessDenied, NotFound
from muses_lab.operators.cubes import THINNING
from muses_lab.plain import slug
from muses_lab.raster import access, http
from muses_lab.variables import VARIABLES


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
    assert access.resolve_href("mine", "scenes/a.tif") == str(catalogue / "scenes" / "a.tif")
    assert access.resolve_href("mine", str(catalogue / "scenes" / "a.tif")) == str(catalogue / "scenes" / "a.tif")


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
        access.resolve_href("mine", href)


def test_gdal_prefixes_are_only_names_in_the_folder(catalogue: Path) -> None:
    assert access.resolve_href("mine", "GTIFF_DIR:1:/etc/passwd").startswith(str(catalogue))
    assert access.resolve_href("mine", "file:/etc/passwd").startswith(str(catalogue))


def test_a_link_out_of_the_catalogue_is_refused(catalogue: Path) -> None:
    (catalogue / "link.tif").symlink_to(catalogue.parent / "secret.tif")
    with pytest.raises(AccessDenied, match="outside the folders"):
        access.resolve_href("mine", "link.tif")


def test_a_folder_beside_of_a_longer_name_is_not_inside(catalogue: Path) -> None:
    other = catalogue.parent / "catalogue-of-others"
    other.mkdir()
    with pytest.raises(AccessDenied):
        access.resolve_href("mine", str(other / "a.tif"))


def test_registered_folders_are_readable(catalogue: Path) -> None:
    secret = catalogue.parent / "secret.tif"
    settings.register_catalog("mine", str(catalogue), [str(catalogue.parent)])
    assert access.resolve_href("mine", str(secret)) == str(secret)
    settings.register_catalog("mine", str(catalogue))
    assert access.resolve_href("mine", str(secret)) == str(secret), "opening a catalogue again forgets no folder"


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
        access.resolve_href("nowhere", "a.tif")


def test_hrefs_of_a_remote_catalogue_stay_on_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    resolves_to(monkeypatch, "93.184.215.14")
    settings.register_catalog("remote", "https://example.org/stac")
    assert access.resolve_href("remote", "a.tif") == "https://example.org/stac/a.tif"
    assert access.resolve_href("remote", "/etc/passwd").startswith("https://example.org/")
    with pytest.raises(AccessDenied):
        access.resolve_href("remote", "file:///etc/passwd")


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
        access.check_url("https://innocent.example/a.tif")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("0.1.2.3", False), ("9.9.9.9", True), ("11.0.0.1", True), ("100.63.255.255", True), ("100.127.255.255", False),
        ("100.128.0.1", True), ("169.253.1.1", True), ("172.15.0.1", True), ("172.31.255.255", False),
        ("172.32.0.1", True), ("192.0.0.1", False), ("192.0.0.9", False), ("192.0.0.170", False),
        ("192.0.0.192", False), ("192.0.1.1", True), ("192.0.2.1", False), ("192.88.99.1", False),
        ("198.17.255.255", True), ("198.18.0.1", False), ("198.19.255.255", False), ("198.51.100.7", False),
        ("203.0.113.9", False), ("223.255.255.1", True), ("224.0.0.251", False), ("239.1.1.1", False),
        ("240.0.0.1", False), ("255.255.255.255", False),
        ("::", False), ("::1", False), ("::127.0.0.1", False), ("::8.8.8.8", False), ("::ffff:8.8.8.8", True),
        ("::ffff:10.0.0.1", False), ("::ffff:0:8.8.8.8", False), ("64:ff9b::8.8.8.8", True),
        ("64:ff9b::10.0.0.1", False), ("64:ff9b::192.0.0.192", False), ("64:ff9b:1::8.8.8.8", False),
        ("100::1", False), ("100:0:0:1::1", False), ("2001::1", False), ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False),
        ("2001:2::1", False), ("2001:20::1", False), ("2001:200::1", True), ("2001:db8::1", False),
        ("2002:808:808::1", True), ("2002:a00:1::1", False), ("2002:c000:c0::1", False), ("2a00:1450:4007::1", True),
        ("3fff::1", False), ("3fff:1000::1", True), ("4000::1", False), ("5f00::1", False), ("fc00::1", False),
        ("fe80::1%eth0", False), ("fec0::1", False), ("ff02::1", False), ("ff0e::1", False),
    ],
)  # fmt: skip
def test_which_addresses_belong_to_the_open_internet(address: str, public: bool) -> None:
    """By IANA's registries, whatever release of Python asks."""
    assert access.is_public(address) is public


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:220:1:248:1893:25c8:1946"])
def test_public_addresses_are_read(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    resolves_to(monkeypatch, address)
    assert access.check_url("https://example.org/a.tif?x=1") == "https://example.org/a.tif?x=1"


def test_numeric_spellings_of_loopback_are_refused() -> None:
    for host in ("127.0.0.1", "127.1", "2130706433", "0x7f.1", "[::1]", "localhost"):
        with pytest.raises(AccessDenied):
            access.check_url(f"https://{host}/a.tif")


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
        access.check_url(url)


def test_allowed_hosts_may_be_private_and_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSES_ALLOWED_HOSTS", "127.0.0.1:8080, Data.Local")
    assert access.check_url("http://127.0.0.1:8080/a.tif")
    resolves_to(monkeypatch, "10.0.0.1")
    assert access.check_url("http://data.local/a.tif")
    for url in ("http://127.0.0.1:9090/a.tif", "http://127.0.0.1/a.tif", "ftp://data.local/a.tif"):
        with pytest.raises(AccessDenied):
            access.check_url(url)


# Every variable is declared once, in `muses_lab/variables.py`


def reads(path: Path) -> Iterator[tuple[str, object]]:
    """Names of the variables that a file reads, with the constant that it takes where one is not set (None: no such).

    By `number(NAME, …)`, `environ.get(NAME, …)`, `environ[NAME]`; of a hub also by `hub.port(…)` and its like.
    """
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            name, default, of = node.slice.value, None, ast.unparse(node.value)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name, of = node.args[0].value, ast.unparse(node.func)
            default = constant(node.args[1]) if len(node.args) > 1 else None
        else:
            continue
        if isinstance(name, str) and re.fullmatch("MUSES_[A-Z_]*[A-Z]", name):
            yield name, default
        elif of in ("hub.environment.get", "self.environment.get", "self.environment"):
            yield f"MUSES_HUB_{name}", default or None
        elif of in ("hub.port", "hub.seconds", "hub.oauth", "self.oauth"):
            head, tail = ("OAUTH_", "") if of.endswith("oauth") else ("", "_PORT" if of.endswith("port") else "")
            yield f"MUSES_HUB_{head}{name}{tail}", default


def constant(node: ast.expr) -> object:
    """Its value, where it is a number or text, or arithmetic of numbers such as `4 << 30`."""
    if all(isinstance(part, ast.Constant | ast.BinOp | ast.operator | ast.Load) for part in ast.walk(node)):
        return eval(ast.unparse(node), {"__builtins__": {}})
    return None


REPOSITORY = Path(__file__).resolve().parent.parent
SOURCES = [
    *(set((REPOSITORY / "muses_lab").rglob("*.py")) - {REPOSITORY / "muses_lab" / "variables.py"}),
    *(REPOSITORY / "widgets").rglob("*.py"),
    *(REPOSITORY / "deploy").rglob("*.py"),
    REPOSITORY / "jupyterhub_config.py",
]
SPEAKS = re.compile("MUSES_|environment|hub[.]|self[.]oauth")
"""What a file has that reads a variable; parsing all others costs every worker that collects the tests a second."""
READ = [
    (name, default, path) for path in SOURCES if SPEAKS.search(path.read_text("utf-8")) for name, default in reads(path)
]


def test_every_variable_that_is_read_is_declared() -> None:
    assert len({name for name, *_ in READ}) > 60
    undeclared = {name: path.name for name, _, path in READ if name not in VARIABLES}
    assert not undeclared, "declare them in muses_lab/variables.py"


def test_a_default_in_the_code_is_the_declared_one() -> None:
    wrong = [
        f"{path.name}: {name} has {default!r}, declared is {declared!r}"
        for name, default, path in READ
        if default is not None and (declared := VARIABLES[name].default) not in (None, default)
    ]
    assert not wrong
    limits = {f"MUSES_HUB_{field.name.upper()}": field.default for field in dataclasses.fields(Limits)}
    assert limits == {name: VARIABLES[name].default for name in limits}
    assert ",".join(map(str, THINNING)) == VARIABLES["MUSES_THINNING"].default


def test_every_declared_variable_is_read() -> None:
    of_limits = {f"MUSES_HUB_{field.name.upper()}" for field in dataclasses.fields(Limits)}
    assert VARIABLES.keys() - {name for name, *_ in READ} - of_limits == set()


def test_every_variable_says_what_it_means_and_what_holds_without_it() -> None:
    for variable in VARIABLES.values():
        assert variable.group in variables.GROUPS and variable.help.endswith("."), variable.name
        assert variable.default is not None or variable.otherwise, variable.name
        assert "|" not in variable.help + variable.otherwise, "it is a cell of a table"


def test_the_page_of_settings_is_the_declarations() -> None:
    page = (REPOSITORY / "docs" / "settings.md").read_text("utf-8")
    assert page == variables.markdown(), "run: muses-lab settings > docs/settings.md"


def test_pages_name_no_variable_that_is_not_there() -> None:
    tags = {"MUSES_CHAIN", "MUSES_DOCUMENT", "MUSES_SCENES", "MUSES_WINDOW"}  # of exported files
    tests = {"MUSES_TEST_DATA", "MUSES_TEST_SCREENSHOTS"}
    for path in [
        REPOSITORY / "README.md",
        *(REPOSITORY / "docs").rglob("*.md"),
        *(REPOSITORY / "deploy").rglob("*.md"),
    ]:
        named = set(re.findall(r"\bMUSES_[A-Z_]*[A-Z]\b", path.read_text("utf-8")))
        known = {name for name in named if any(v == name or v.startswith(f"{name}_") for v in VARIABLES)}
        assert named - known - tags - tests == set(), path.name


def test_a_number_that_nobody_declared_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.number("MUSES_TASK_SECONDS") == 900
    monkeypatch.setenv("MUSES_TASK_SECONDS", "5")
    assert settings.number("MUSES_TASK_SECONDS") == 5
    assert settings.number("MUSES_WORKERS", 3) == 3
    with pytest.raises(TypeError, match="MUSES_WORKERS"):
        settings.number("MUSES_WORKERS")
    with pytest.raises(KeyError):
        settings.number("MUSES_NOWHERE")


def test_lists_of_catalogues_are_cut_with_a_word() -> None:
    assert settings.catalogs_there_are(["b", "a"]) == "there are: a, b"
    assert settings.catalogs_there_are(map(str, range(10, 20))).endswith(
        "16, 17 and 2 more, see `muses-lab catalog list`"
    )
    assert "`muses-lab sample` makes one" in settings.catalogs_there_are([])


@pytest.mark.parametrize(
    ("text", "ascii", "expected"),
    [("NDVI, été / 2018", True, "NDVI-t-2018"), ("NDVI, été / 2018", False, "NDVI-été-2018"), ("../?", True, "layer"),
     ("a" * 39 + "-b", True, "a" * 39)],
)  # fmt: skip
def test_names_of_files_are_made_in_one_way(text: str, ascii: bool, expected: str) -> None:
    assert slug(text, "layer", ascii=ascii) == expected


def test_that_a_host_has_no_address_is_remembered_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network a question may take seconds, and there is one for every file."""
    asked: list[str] = []

    def nowhere(host: str, port: int) -> set[str]:
        asked.append(host)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(access, "addresses", nowhere)
    monkeypatch.setattr(http, "_no_addresses", {})
    for _ in range(3):
        with pytest.raises(socket.gaierror, match="not known"):
            http.addresses("nowhere.example", 443)
    assert asked == ["nowhere.example"]
    http._no_addresses.clear()
    with pytest.raises(socket.gaierror, match="not known"):
        http.addresses("nowhere.example", 443)
    assert len(asked) == 2
