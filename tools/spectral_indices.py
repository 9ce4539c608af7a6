"""Makes `muses_lab/operators/spectral_indices.json` of the catalogue that the package spyndex carries.

    python tools/spectral_indices.py

The formulas are kept here and not asked of the package, because a document names an index and has to mean the same
formula wherever it is opened: the catalogue's version is that of the operator.
"""

from __future__ import annotations

import json
from importlib.metadata import distribution, version
from importlib.resources import files
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "muses_lab" / "operators" / "spectral_indices.json"


def main() -> None:
    data = files("spyndex") / "data"
    known = json.loads((data / "spectral-indices-dict.json").read_text("utf-8"))["SpectralIndices"]
    constants = json.loads((data / "constants.json").read_text("utf-8"))
    about = {
        "source": "Awesome Spectral Indices, David Montero Loaiza and contributors, as the package spyndex has it",
        "licence": distribution("spyndex").read_text("licenses/LICENSE"),
        "version": version("spyndex"),
    }
    indices = {
        name: [entry[key] for key in ("long_name", "application_domain", "formula", "platforms", "reference")]
        for name, entry in sorted(known.items())
    }
    meanings = {name: [entry["default"], entry["description"]] for name, entry in sorted(constants.items())}
    parts = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in about.items()]
    parts += [_table("constants", ["default", "meaning"], meanings)]
    parts += [_table("indices", ["title", "domain", "formula", "platforms", "reference"], indices)]
    TARGET.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def _table(name: str, columns: list[str], rows: dict[str, list[object]]) -> str:
    """An object with a line for each entry."""
    lines = [
        f"{json.dumps(key)}: {json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False)}"
        for key, row in rows.items()
    ]
    return f"{json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n}"


if __name__ == "__main__":
    main()
