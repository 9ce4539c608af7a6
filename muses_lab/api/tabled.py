"""Tables as exports: values at places, or statistics over polygons, of every date, as CSV or Parquet.

The file is what `.series(…)` and `.over(…)` give, in the background as every export is, and there when it is whole.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely

from muses_lab import plain
from muses_lab.api.arguments import points
from muses_lab.api.part import polygons_of
from muses_lab.document import graph
from muses_lab.document.artefacts import Artefact
from muses_lab.errors import ArgumentError, MusesError, TooLarge
from muses_lab.export import Job, provenance
from muses_lab.export.journal import Journal
from muses_lab.export.pieces import workplace
from muses_lab.operators.vectors import DEGREES, MOST, VECTORS, Features, of_geojson
from muses_lab.publish import artefacts
from muses_lab.publish.documents import keep_for_job
from muses_lab.store import JobRecord, Store, default_store, new_id
from muses_lab.tables.points import PointSeries
from muses_lab.tables.zones import ZonalSeries
from muses_lab.zonal.statistics import checked

SUFFIXES = (".csv", ".parquet")

MOST_WRITTEN = 50
"""Polygons that are written as code."""


def is_table(path: Any) -> bool:
    """Whether a file's name asks for a table."""
    return isinstance(path, str | os.PathLike) and Path(path).suffix.lower() in SUFFIXES


def export_table(
    chain: Any, path: Any, area: Any, *, stats: Any = ("mean", "median", "q10", "q90"),
    resolution: float | None = None, overwrite: bool = False, progress: bool = True, kind: type[Job] = Job,
) -> Job:  # fmt: skip
    """Writes values of each date at places, or statistics over polygons, as a table; returns a `Job` at once.

    ```python
    ndvi.export("places.csv", [(1.44, 43.60), (1.46, 43.62)])        # longitude, latitude
    ndvi.export("fields.parquet", "fields.gpkg", stats=["mean", "q90"])
    ```

    The same as `chain.series(places).to_csv(path)` and `chain.over(polygons, stats).to_parquet(path)`.
    """
    target = plain.path("path", path, "places.csv").absolute()
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} is there already; give overwrite=True to replace it")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"the folder {target.parent} does not exist")
    if area is None:
        raise ArgumentError(
            f"{target.name} is a table: of what? Give places, [(lon, lat), …], or polygons: a file, a GeoDataFrame or "
            "GeoJSON",
            argument="area",
        )
    polygons = polygons_of(area)
    places = None if polygons is not None else points(*area if _is_pair(area) else (area,))[0]
    asked = graph.to_bytes(chain._node).decode()
    made = Tabled(chain, list(checked(stats)), resolution, polygons, places, provenance.asked(asked, chain.published))
    return made.start(target, overwrite, progress, kind=kind)


class Tabled(NamedTuple):
    """What a table is of: a chain, at places or over polygons. All it takes to make it, now or again."""

    chain: Any
    stats: list[str]
    resolution: float | None
    polygons: Features | None
    places: list[tuple[float, float]] | None
    asked: str | None = None
    """The document of the chain before its scenes were pinned."""

    @classmethod
    def of_history(cls, chain: Any, options: dict[str, Any]) -> Tabled:
        """That of a file which says how it was made."""
        polygons = of_geojson(options["features"]) if "features" in options else None
        places = None if polygons is not None else [(x, y) for x, y in options["places"]]
        return cls(chain, options["stats"], options["resolution"], polygons, places, options.get("asked"))

    @classmethod
    def of_job(cls, chain: Any, record: JobRecord, store: Store) -> Tabled:
        """That of a job, of which the store holds places and polygons."""
        options = record.options
        features: Features = artefacts.stored(store, VECTORS.name, options["area"]).value
        is_of_places = options["of"] == "places"
        places = [(float(x), float(y)) for x, y in shapely.get_coordinates(features.shapes)] if is_of_places else None
        return cls(
            chain, options["stats"], options["resolution"], None if is_of_places else features, places,
            options.get("asked"),
        )  # fmt: skip

    def start(
        self, target: Path, overwrite: bool, progress: bool, *, id: str | None = None, kind: type[Job] = Job
    ) -> Job:
        """A job that writes it, new or (`id`) one that has ended without doing so."""
        options: dict[str, Any] = {"stats": self.stats, "resolution": self.resolution}
        if self.asked:
            options["asked"] = self.asked

        def work(job: Job) -> None:
            job.begin(1 if self.polygons is None else len(self.polygons))
            found = self._found(job)
            job.failed.update(found.failed)
            job.at("writing")
            with workplace(target, "table", job) as folder:
                made = folder / f"table{target.suffix}"
                found.to_csv(made) if target.suffix.lower() == ".csv" else found.to_parquet(made)
                job.check()
                if target.exists() and not overwrite:
                    raise FileExistsError(f"{target} was made by somebody else meanwhile; it is left as it is")
                beside = folder / "texts"
                said, packages = {**options, **self._area()}, ("pandas", "pyarrow")
                history = provenance.texts_of_chain(self.chain.published, said, packages, job.failed)
                beside.write_text(provenance.as_text(history) + "\n", "utf-8")
                os.replace(made, target)
                os.replace(beside, provenance.beside(target))

        store = default_store()
        kept = {"overwrite": overwrite, **options, **self._kept(store)}
        chain = keep_for_job(self.chain.published, store)
        record = JobRecord(id or new_id(), "table", target.name, str(target), chain, kept)
        return kind(target, work, Journal(record, store), progress)

    def to_python(self, target: str, overwrite: bool) -> str:
        """The line that starts it, of a chain called `chain`."""
        if self.polygons is not None and len(self.polygons) > MOST_WRITTEN:
            raise MusesError(
                f"{len(self.polygons)} polygons are too many to be written as Python; run_again() makes the table again"
            )
        area = self.places if self.polygons is None else json.loads(Artefact.of(VECTORS, self.polygons).body)
        given = [repr(target), repr(area)]
        given += [] if self.polygons is None else [f"stats={self.stats!r}"]
        given += [] if self.resolution is None else [f"resolution={self.resolution!r}"]
        given += ["overwrite=True"] if overwrite else []
        return f"job = chain.export({', '.join(given)})\n"

    def _found(self, job: Job) -> PointSeries | ZonalSeries:
        if self.polygons is None:
            found: PointSeries = self.chain.series(self.places, resolution=self.resolution)
            job.step()
            return found

        def told(done: int, total: int) -> None:
            job.check()
            job.done = done
            job.at("computing")

        over: ZonalSeries = self.chain.over(self.polygons, self.stats, self.resolution, told)
        return over

    def _area(self) -> dict[str, Any]:
        """Where the table is of, as its history keeps it."""
        if self.polygons is None:
            return {"places": [[float(part) for part in place] for place in self.places or ()]}
        return {"features": json.loads(Artefact.of(VECTORS, self.polygons).body)}

    def _kept(self, store: Store) -> dict[str, Any]:
        """The same as a job's record names it. Nothing where it is more than the store takes: then only the file's
        history makes it again."""
        features = self.polygons
        if features is None:
            if len(self.places or ()) > MOST:
                return {}
            shapes = np.array([shapely.Point(*place) for place in self.places or ()], object)
            features = Features(DEGREES, tuple(range(len(shapes))), shapes)
        area = Artefact.of(VECTORS, features)
        try:
            artefacts.keep(store, area)
        except TooLarge:
            return {}
        return {"area": area.digest, "of": "places" if self.polygons is None else "polygons"}


def _is_pair(area: Any) -> bool:
    """Whether it is a single longitude and latitude."""
    two = plain.plain(area)
    return isinstance(two, list | tuple) and len(two) == 2 and all(isinstance(one, int | float) for one in two)
