"""A course with an exercise of each kind, of scenes of the small sample, and a participant's copy of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import yaml

import muses_lab as ml

AREA = [1.40, 43.58, 1.42, 43.595]

TOLD: dict[str, Any] = {
    "course": "first-steps",
    "title": "First steps",
    "objectives": ["Open a map of `NDVI`", "Mask clouds, and see why"],
    "hours": 1,
    "collections": ["sentinel-2-l2a"],
    "area": AREA,
    "chains": {"median": "chains/median.json"},
    "notebooks": [
        {
            "file": "01-map.ipynb",
            "title": "A first map",
            "minutes": 30,
            "exercises": [
                {
                    "id": "dates", "kind": "number", "title": "Dates", "question": "How many dates has `s2`?",
                    "expected": 8,
                    "near": [[9, "The header is no date."]], "hint": "Look at `s2.table()`.",
                    "hints": {"nothing": "Give the number itself."},
                },
                {"id": "share", "kind": "number", "question": "Which share is clear?", "expected": 0.43,
                 "tolerance": 0.01, "unit": "share", "hints": {"too_high": "Are shadows clouds?"}},
                {"id": "months", "kind": "number", "question": "Clear dates by month?", "expected": [1, 2, 3],
                 "hints": {"shape": "January to March."}},
                {
                    "id": "chain", "kind": "chain", "question": "Make the median NDVI without clouds.", "points": 2,
                    "needs": ["mask_clouds", "ndvi or index"], "without": ["focal_mean"],
                    "order": [["mask_clouds", "median"]], "expected": "chains/median.json",
                    "right": "Clouds are out of it.",
                    "hints": {
                        "mask_clouds": "Clouds are white.",
                        "mask_clouds before median": "Else clouds are in the median.",
                        "values": "Which reducer is asked?", "focal_mean": "Nothing is smoothed here.",
                    },
                },
                {"id": "map", "kind": "map", "question": "Show it.", "expected": "chains/median.json", "resolution": 20,
                 "tolerance": 0.02, "hints": {"too_low": "Are clouds still in it?", "more_nodata": "What was masked?"}},
            ],
        },
        {
            "file": "02-questions.ipynb",
            "title": "Questions",
            "exercises": [
                {
                    "id": "why-median", "kind": "choice", "question": "Why the median?", "hint": "Think of one cloud.",
                    "right": "Outliers do not count.",
                    "choices": [
                        {"text": "It is faster", "feedback": "It is slower."},
                        {"text": "One cloud does not move it", "right": True, "feedback": "So it is."},
                        {"text": "It is the mean"},
                    ],
                },
                {
                    "id": "which-bands", "kind": "choice", "question": "Of which bands is `NDVI` made?",
                    "choices": [
                        {"text": "red", "right": True}, {"text": "near infrared", "right": True},
                        {"text": "green", "feedback": "That is NDWI."},
                    ],
                },
            ],
        },
    ],
}  # fmt: skip


def course_folder(folder: Path, catalog: Path | str, cells: dict[str, list[str]] | None = None) -> Path:
    """A trainer's folder of the course, with the code of its notebooks' cells by file."""
    (folder / "chains").mkdir(parents=True)
    (folder / "course.yml").write_text(yaml.safe_dump({**TOLD, "catalog": str(catalog)}))
    for notebook in TOLD["notebooks"]:
        sources = (cells or {}).get(notebook["file"], ["import muses_lab as ml"])
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
        nbformat.write(book, folder / notebook["file"])
    s2 = ml.collection("sentinel-2-l2a", ml.open_catalog(catalog))
    document = s2.mask_clouds().ndvi().median("t").to_json()
    (folder / "chains" / "median.json").write_text(json.dumps(document))
    return folder
