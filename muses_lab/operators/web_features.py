"""Features of files on the web: openEO `load_url` of formats of vectors."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from muses_lab.document.openeo import FEATURES
from muses_lab.errors import MusesError
from muses_lab.operators.declare import operator
from muses_lab.operators.vectors import Features, Vectors, given
from muses_lab.raster import http

MOST_BYTES = 256 << 20
"""Of a file that is fetched while a document is read."""


@operator("muses:load_features", method=None)
def load_features(
    url: Annotated[str, Field(min_length=1, max_length=2000)],
    format: str,
    options: dict[str, Any] = {},  # noqa: B006 (openEO's default; it is never changed)
) -> Vectors:
    """The features of a file on the web (openEO `load_url`): GeoJSON, Parquet, GPKG, or a zipped ESRI Shapefile.

    ```python
    ml.vectors(polygon)
    ```

    They are read once, when the document is read: the chain holds what they are, and not the address. Only https, and
    no private address (`MUSES_ALLOWED_HOSTS` has others). `options` may name the `layer` of a GeoPackage.
    """
    if format.lower() not in FEATURES:
        raise ValueError(f"FormatUnsuitable: {format!r:.40} is no format of features; there are {', '.join(FEATURES)}")
    if others := sorted(set(options) - {"layer"}):
        raise ValueError(f"there is no option {others[0]!r} of {format}; there is 'layer'")
    try:
        body = http.client().whole(url, MOST_BYTES)
    except MusesError as error:
        raise ValueError(f"{error.message}") from None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"features{FEATURES[format.lower()]}"
        file.write_bytes(body)
        try:
            found = given(file, options.get("layer"))
        except ValueError as error:
            raise ValueError(f"FormatUnsuitable: it cannot be loaded as {format}: {error}") from None
    return Features(found.crs, found.ids, found.shapes, found.properties)
