"""Reference systems from elsewhere: what is harmless is taken as PROJ takes it, the rest opens nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyproj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from muses_lab.crs import LIMIT, crs_name, known_crs, transformer
from muses_lab.errors import CrsError
from muses_lab.raster.window import from_json, to_json
from tests.helpers import REPOSITORY
from tests.helpers import crs_doors as doors
from tests.helpers.examples import examples
from tests.helpers.grid_files import silent_server, watched_pipe, write_grid

SERVER = "http://127.0.0.1:9"
few = settings(max_examples=examples(15), deadline=None)


def north(crs: pyproj.CRS) -> float:
    x, y = (1e5, 5.5e6) if crs.is_projected else (1.0, 45.0)
    return pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)[1]


@pytest.mark.parametrize("way", doors.used(""))
def test_proj_itself_opens_the_decoy(way: str, tmp_path: Path) -> None:
    """Else the tests below would prove nothing: two grids that differ move a place differently."""
    near, far = write_grid(tmp_path / "near.gsb", 0.0), write_grid(tmp_path / "far.gsb", 3600.0)
    moved = north(pyproj.CRS(doors.used(str(near))[way])) - north(pyproj.CRS(doors.used(str(far))[way]))
    assert abs(moved) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("label", doors.bad("", ""))
def test_texts_that_lead_elsewhere_are_refused_with_what_would_be_right(label: str, tmp_path: Path) -> None:
    text = doors.bad(str(write_grid(tmp_path / "decoy.gsb")), SERVER)[label]
    for ask in (known_crs, crs_name):
        with pytest.raises(CrsError, match="code|WKT|PROJJSON") as refused:
            ask(text)
        assert len(refused.value.message) < 400


@pytest.mark.parametrize("door", doors.DOORS)
def test_every_way_in_refuses_them(door: str, tmp_path: Path) -> None:
    texts = doors.bad(str(write_grid(tmp_path / "decoy.gsb")), SERVER)
    found = {label: doors.outcome(door, text) for label, text in texts.items()}
    assert {label: end for label, end in found.items() if not end.startswith("refused")} == {}


def test_the_pipe_knows_that_proj_opens_it(tmp_path: Path) -> None:
    code = "import pyproj, sys; pyproj.Transformer.from_crs(pyproj.CRS(sys.argv[1]), 4326).transform(45.0, 1.0)"
    with watched_pipe(tmp_path / "decoy.gsb") as opened:
        text = doors.used(str(tmp_path / "decoy.gsb"))["parameter file"]
        subprocess.run([sys.executable, "-c", code, text], capture_output=True, timeout=120)
        assert opened.is_set()


@pytest.mark.slow
def test_no_way_in_leads_to_a_file_or_a_server(tmp_path: Path) -> None:
    """A pipe knows who opens it, whatever library does; the processes of PROJ may fetch grids as far as PROJ knows."""
    with watched_pipe(tmp_path / "decoy.gsb") as opened, silent_server() as (url, asked):
        command = [sys.executable, "-W", "ignore", "-m", doors.__name__, str(tmp_path / "decoy.gsb"), url]
        environment = {**os.environ, "PROJ_NETWORK": "ON", "MUSES_LAB_HOME": str(tmp_path / "home")}
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
        assert not opened.is_set() and not asked
    assert done.returncode == 0, done.stderr[-2000:]
    outcomes = json.loads(done.stdout)
    assert len(outcomes) == len(doors.DOORS) * len(doors.bad("", ""))
    assert {way: found for way, found in outcomes.items() if not found.startswith("refused")} == {}


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace here")
def test_the_system_sees_no_call_for_the_decoy(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    decoy = write_grid(tmp_path / "decoy.gsb")
    prepared = [sys.executable, "-W", "ignore", "-m", doors.__name__, str(decoy), SERVER]
    command = ["strace", "-f", "-o", str(trace), "-e", "trace=open,openat,connect", *prepared]
    environment = {**os.environ, "PROJ_NETWORK": "ON", "MUSES_LAB_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
    if "ptrace" in done.stderr and done.returncode:
        pytest.skip("processes may not be traced here")
    assert done.returncode == 0, done.stderr[-2000:]
    calls = trace.read_text(errors="replace").splitlines()
    assert any("proj.db" in call for call in calls)
    called = [call for call in calls if re.search(rf'"{re.escape(str(decoy))}"|AF_INET|decoy\\.(gsb|tif)"', call)]
    assert called == []


HARMLESS = {
    "rotated pole": doors.DERIVED.replace(
        'METHOD["%s"]',
        'METHOD["PROJ ob_tran o_proj=longlat"],PARAMETER["o_lat_p",40,ANGLEUNIT["degree",0.0174532925199433]],'
        'PARAMETER["o_lon_p",0,ANGLEUNIT["degree",0.0174532925199433]]',
    ),
    "geostationary": pyproj.CRS("+proj=geos +h=35785831 +lon_0=0 +sweep=y").to_wkt(),
    "sinusoidal": pyproj.CRS("+proj=sinu +R=6371007.181").to_wkt(),
    "web Mercator": doors.SPHERE % "+nadgrids=@null",
    "web Mercator of ESRI": pyproj.CRS(3857).to_wkt("WKT1_ESRI"),
    "web Mercator of GDAL": pyproj.CRS(3857).to_wkt("WKT1_GDAL"),
    "a ratio": doors.SPHERE % "+to_meter=1/3.28",
    "a known grid": doors.BOUND % "ntf_r93.gsb",
    "seven parameters": pyproj.CRS("+proj=utm +zone=32 +ellps=bessel +towgs84=598.1,73.7,418.2,0,0,-2.4,6.7").to_wkt(),
    "height": pyproj.CRS("EPSG:32631+5773").to_wkt(),
    "height of ESRI": pyproj.CRS("EPSG:10162").to_wkt("WKT1_ESRI"),
    "a geoid": doors.GEOID % "GEOID12B",
    "a plan": 'LOCAL_CS["a field, 3 / 4",UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]',
    "Mars": pyproj.CRS("IAU_2015:49900").to_wkt(),
    "Mars in PROJJSON": pyproj.CRS("IAU_2015:49910").to_json(),
    "a name": pyproj.CRS(32631).to_wkt().replace("WGS 84 / UTM zone 31N", "Réseau ~ a=b/c + d, C:x (y)"),
    "spaces": "  " + pyproj.CRS(32631).to_wkt(pretty=True) + "\n",
    "PROJJSON": pyproj.CRS(2154).to_json(pretty=True),
}  # fmt: skip


@pytest.mark.parametrize("kind", HARMLESS)
def test_what_is_harmless_is_taken_as_proj_takes_it(kind: str) -> None:
    expected = pyproj.CRS(HARMLESS[kind].strip())
    assert known_crs(HARMLESS[kind]).equals(expected)
    assert known_crs(crs_name(HARMLESS[kind])).equals(expected, ignore_axis_order=True)


@pytest.mark.parametrize("authority", pyproj.database.get_authorities())
def test_what_proj_writes_of_its_own_systems_is_taken(authority: str) -> None:
    codes = sorted(pyproj.database.get_codes(authority, "CRS"))
    for code in codes[:: max(1, len(codes) // 12)]:
        system = known_crs(f"{authority}:{code}")
        for text in (system.to_wkt(), system.to_json()):
            assert known_crs(text).equals(system), code


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (32631, "EPSG:32631"), ("epsg:32631", "EPSG:32631"), (" EPSG:32631 ", "EPSG:32631"),
        ("urn:ogc:def:crs:EPSG::32631", "EPSG:32631"), ("urn:ogc:def:crs:OGC:1.3:CRS84", "OGC:CRS84"),
        ("ogc:crs84", "OGC:CRS84"), ("OGC:CRS84h", "OGC:CRS84h"), ("iau_2015:49900", "IAU_2015:49900"),
        ("EPSG:4326+3855", "EPSG:4326+3855"), ("ESRI:102100", "ESRI:102100"), (pyproj.CRS(32631), "EPSG:32631"),
        (pyproj.CRS(32631).to_wkt("WKT1_ESRI"), "EPSG:32631"), (pyproj.CRS(32631).to_json(), "EPSG:32631"),
        (pyproj.CRS("+proj=utm +zone=31 +datum=WGS84"), "EPSG:32631"), (HARMLESS["web Mercator"], "EPSG:3857"),
    ],
)  # fmt: skip
def test_systems_that_are_known_are_called_by_their_code(value: object, name: str) -> None:
    assert crs_name(value) == name  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["a known grid", "a ratio", "sinusoidal"])
def test_what_a_code_would_not_say_is_not_called_by_one(kind: str) -> None:
    """PROJ finds EPSG:3395 for a sphere that is scaled by its PROJ string alone."""
    assert crs_name(HARMLESS[kind]) == HARMLESS[kind]


def test_names_in_wkt_keep_their_case() -> None:
    text = HARMLESS["sinusoidal"].replace("unknown", "Modis / Aqua")
    assert doors.published(**{"proj:code": text}) == text


@pytest.mark.parametrize("value", [None, True, 1.5, "", b"EPSG:4326", ["EPSG", 4326], {"proj": "longlat"}])
def test_what_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(CrsError, match="EPSG:32631"):
        known_crs(value)  # type: ignore[arg-type]


def test_the_length_is_limited() -> None:
    with pytest.raises(CrsError, match=str(LIMIT)):
        known_crs(pyproj.CRS(32631).to_wkt() + " " * LIMIT)


@pytest.mark.parametrize("code", ["", None, "None", "EPSG:None", "epsg:none", "EPSG:0"])
@pytest.mark.parametrize("field", ["proj:wkt2", "proj:projjson", "proj:epsg"])
def test_a_code_that_is_none_leaves_the_word_to_the_other_fields(code: str | None, field: str) -> None:
    utm = pyproj.CRS(32631)
    said = {"proj:wkt2": utm.to_wkt(), "proj:projjson": utm.to_json_dict(), "proj:epsg": 32631}[field]
    assert doors.published(**{"proj:code": code, field: said}) == "EPSG:32631"


def test_there_is_no_way_to_another_planet() -> None:
    with pytest.raises(CrsError, match="no way from"):
        transformer("EPSG:4326", "IAU_2015:49900")


def test_a_window_whose_system_was_made_of_a_proj_string_comes_back_the_same() -> None:
    laea = "+proj=laea +lat_0=52 +lon_0=10 +x_0=4321000 +y_0=3210000 +ellps=GRS80"
    window = GeoBox.from_bbox((0, 0, 100, 100), laea, resolution=10)
    again = from_json(json.loads(json.dumps(to_json(window))))
    assert again.crs is not None and again.crs.proj.equals(pyproj.CRS(laea), ignore_axis_order=True)
    assert (again.shape, again.affine) == (window.shape, window.affine)


plain = st.from_regex(r"@?[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True).filter(lambda name: ".." not in name)
odd = st.lists(
    st.sampled_from(["/", "\\", "~", "..", "C:", "http://", "a", "etc", ".gsb", "@", "null", ",", " ", "=", "+", ";"]),
    min_size=1, max_size=8,
).map("".join)  # fmt: skip
SLOTS = {
    "extension": lambda name: doors.SPHERE % f"+nadgrids={name}",
    "parameter file": lambda name: doors.BOUND % name,
    "datum": lambda name: doors.DATUM % name,
    "heights": lambda name: doors.HEIGHT % name,
    "geoid": lambda name: doors.GEOID % f"PROJ {name}",
    "method": lambda name: doors.DERIVED % f"PROJ hgridshift grids={name}",
    "pipeline": lambda name: doors.DERIVED % f"PROJ-based operation method: +proj=vgridshift +grids={name}",
    "remark": lambda name: doors.REMARK % f"+nadgrids={name}",
    "PROJJSON": lambda name: pyproj.CRS(doors.BOUND % "SLOT").to_json().replace("SLOT", json.dumps(name)[1:-1]),
}


@few
@given(slot=st.sampled_from(sorted(SLOTS)), name=plain | odd)
def test_what_gets_through_names_grids_plainly_and_is_what_proj_makes_of_it(slot: str, name: str) -> None:
    text = SLOTS[slot](name)
    try:
        found = known_crs(text)
    except CrsError:
        assert not re.fullmatch(r"@?[A-Za-z0-9_][A-Za-z0-9_.-]*", name) or ".." in name
        return
    assert not re.search(r"[/\\~:]|\.\.", name)
    assert found.equals(pyproj.CRS(text))


def test_nothing_else_makes_a_system_of_a_text() -> None:
    makes = re.compile(
        r"pyproj\.CRS\(|\bfrom_user_input\(|(?<!shapely\.)\bfrom_(wkt|string|proj4)\(|Transformer\.from_crs\(|transform_geom\("
    )
    files = [*(REPOSITORY / "muses_lab").rglob("*.py"), *(REPOSITORY / "widgets" / "muses_widgets").rglob("*.py")]
    found = {str(file.relative_to(REPOSITORY)) for file in files if makes.search(file.read_text("utf-8"))}
    assert found == {"muses_lab/crs.py"}


@pytest.mark.thorough
@pytest.mark.slow
def test_the_service_and_the_workers_fetch_no_grids_and_a_kernel_keeps_its_setting() -> None:
    code = """if True:
        import logging
        from types import SimpleNamespace
        import pyproj.network, muses_lab.api.chain
        kernel = pyproj.network.is_network_enabled()
        import muses_lab.service
        loop = SimpleNamespace(call_later=lambda *_: None)
        app = SimpleNamespace(settings={"base_url": "/"}, add_handlers=lambda *_: None)
        try:
            muses_lab.service._load_jupyter_server_extension(
                SimpleNamespace(web_app=app, io_loop=loop, log=logging.getLogger())
            )
        except Exception as error:
            print(error)
        import os, threading
        found = []
        thread = threading.Thread(target=lambda: found.append(pyproj.network.is_network_enabled()))
        thread.start()
        thread.join()
        print(kernel, pyproj.network.is_network_enabled(), found, os.environ["PROJ_NETWORK"])
    """
    environment = {**os.environ, "PROJ_NETWORK": "ON"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120, env=environment
    )
    assert done.stdout.splitlines()[-1:] == ["True False [False] ON"], done.stderr[-1000:]
