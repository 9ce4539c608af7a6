"""Points of tables: what columns mean, and what is refused because nobody can know it."""

from __future__ import annotations

from pathlib import Path

import pyproj
import pytest

import muses_lab as ml
from muses_lab.errors import ArgumentError


def table(tmp_path: Path, text: str, name: str = "samples.csv", encoding: str = "utf-8") -> ml.Vectors:
    file = tmp_path / name
    file.write_text(text, encoding)
    return ml.vectors(str(file))


def places(found: ml.Vectors) -> list[tuple[float, float]]:
    return [(shape.x, shape.y) for shape in found.table().geometry]


@pytest.mark.parametrize(
    "head", ["lon,lat", "Longitude,Latitude", "LNG, LAT", "x,y", "long,lat"]
)  # fmt: skip
def test_columns_are_found_by_their_usual_names(tmp_path: Path, head: str) -> None:
    found = table(tmp_path, f"crop,{head},yield\nwheat,1.4,43.6,7.5\nmaize,1.5,43.7,\n")
    assert places(found) == [(1.4, 43.6), (1.5, 43.7)] and found.crs == "EPSG:4326"
    assert found.column("crop") == ("wheat", "maize") and found.column("yield") == (7.5, None)


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_other_separators(tmp_path: Path, separator: str) -> None:
    text = "crop,lon,lat\nwheat,1.4,43.6\nmaize,1.5,43.7\n".replace(",", separator)
    assert places(table(tmp_path, text, "samples.txt")) == [(1.4, 43.6), (1.5, 43.7)]


def test_decimal_commas_and_other_encodings(tmp_path: Path) -> None:
    text = "Kultur;lon;lat\nMöhre;1,4;43,6\nRübe;1,5;43,7\n"
    for encoding in ("utf-8", "utf-8-sig", "cp1252"):
        found = table(tmp_path, text, encoding=encoding)
        assert places(found) == [(1.4, 43.6), (1.5, 43.7)] and found.column("Kultur") == ("Möhre", "Rübe")


def test_metres_need_a_reference_system(tmp_path: Path) -> None:
    x, y = pyproj.Transformer.from_crs(4326, 32631, always_xy=True).transform(1.4, 43.6)
    rows = f"{x:.3f},{y:.3f},wheat\n"
    with pytest.raises(ArgumentError, match=r"are no degrees, and the table does not say .* crs=…"):
        table(tmp_path, f"x,y,crop\n{rows}")
    file = tmp_path / "samples.csv"
    assert ml.vectors(str(file), crs="EPSG:32631").crs == "EPSG:32631"
    said = table(tmp_path, f"x,y,crop,epsg\n{rows.strip()},32631\n")
    assert said.crs == "EPSG:32631" and said.reproject(4326).table().geometry[0].x == pytest.approx(1.4, abs=1e-6)
    with pytest.raises(ArgumentError, match="it is in EPSG:32631, not in EPSG:2154"):
        ml.vectors(str(file), crs="EPSG:2154")


def test_outlines_as_text(tmp_path: Path) -> None:
    found = table(tmp_path, 'wkt,crop\n"POLYGON ((1 43, 1.1 43, 1.1 43.1, 1 43))",wheat\n')
    assert found.table().geometry[0].geom_type == "Polygon" and found.columns == ("crop",)
    with pytest.raises(ArgumentError, match="'wkt' has no WKT in row 2"):
        table(tmp_path, "wkt,crop\nPOINT (1 43),wheat\nPOINT (1 43,maize\n")
    with pytest.raises(ArgumentError, match=r"'wkt' .* is not in degrees"):
        table(tmp_path, "wkt,crop\nPOINT (370000 4830000),wheat\n")


def test_rows_without_a_place_are_told_and_left_out(tmp_path: Path) -> None:
    with pytest.warns(match="1"):
        found = table(tmp_path, "lon,lat,crop\n1.4,43.6,wheat\n,,maize\n")
    assert found.column("crop") == ("wheat",)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("lon,lat\n", "has no rows"),
        ("name,height\na,1\n", "no two of its columns say where its rows lie: .* 'name', 'height'"),
        ("lon,lat\n1.4,43.6\n1.5,north\n", "'lat' has 'north' in row 2, which is no number"),
        ("lon,lat\n43.6,101.4\n", "the wrong way round"),
        ("lon,lat\n,\n", "none of its rows has numbers"),
        ("lon,lat,a,a\n1,2,3,4,5,6\n1,2\n1,2,3,4,5,6,7,8\n", "two of its columns are called 'a'"),
        ("lon,lat,crs\n1.4,43.6,nonsense\n", "says 'nonsense', which is no reference system"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_table_is_said(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ArgumentError, match=why):
        table(tmp_path, text)


def test_a_row_that_is_longer_than_the_header_is_no_shifted_one(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="row 1 has 3 values, and its header names 2 columns"):
        table(tmp_path, "lon,lat\n1.44,43.60,12.5\n1.45,43.61,12.6\n")
    found = table(tmp_path, "name,lon,lat\nA,1.44,43.60,\nB,1.45,43.61,\n")
    assert places(found) == [(1.44, 43.6), (1.45, 43.61)] and found.column("name") == ("A", "B")


def test_codes_and_names_stay_what_they_are(tmp_path: Path) -> None:
    found = table(tmp_path, "code,country,lon,lat,ok\n007,NA,1.4,43.6,true\n012,FR,1.5,43.7,false\n")
    assert found.column("code") == ("007", "012") and found.column("country") == ("NA", "FR")
    assert found.column("ok") == (True, False)
    with pytest.raises(ArgumentError, match="two of its columns are called 'lon'"):
        table(tmp_path, "lon,lat,lon\n1.4,43.6,1.5\n1.4,43.6,1.5\n")


def test_what_is_no_text_is_no_table(tmp_path: Path) -> None:
    file = tmp_path / "samples.csv"
    file.write_bytes(bytes(range(256)))
    with pytest.raises(ArgumentError, match="it is no text"):
        ml.vectors(str(file))
