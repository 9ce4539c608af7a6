"""Evaluation: the scenes that an expression stands for, and its values on windows, at places, in files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Self

import pandas as pd
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from muses_lab import compute, plain, series, settings, training
from muses_lab.api import spectral
from muses_lab.api.arguments import points
from muses_lab.api.estimate import estimate
from muses_lab.api.expression import Expression
from muses_lab.api.features import noted, read
from muses_lab.api.part import chosen, part
from muses_lab.api.tabled import export_table, is_table
from muses_lab.api.written import recorded
from muses_lab.cached import cached_property
from muses_lab.compute.wholes import prepare
from muses_lab.compute.windows import Pixels, request_window
from muses_lab.document import graph
from muses_lab.document.graph import Node
from muses_lab.engine import Published
from muses_lab.engine.cost import Plan
from muses_lab.engine.coverage import nowhere
from muses_lab.engine.mosaic import reasons
from muses_lab.engine.sealed import seal
from muses_lab.errors import ArgumentError, MusesError, NoScenes, TooLarge
from muses_lab.export import Job, export, materialize
from muses_lab.operators import references, registry
from muses_lab.operators.cubes import THINNING
from muses_lab.operators.methods import over
from muses_lab.operators.vectors import Features
from muses_lab.plain import Status, shown, users_line
from muses_lab.products import SkippedItems
from muses_lab.progress import Told
from muses_lab.publish import artefacts, documents, sharing
from muses_lab.publish.pinning import LOADS, WITHOUT_DATES, Found, Searches
from muses_lab.raster.window import checked
from muses_lab.scenes.lists import as_artefact
from muses_lab.scenes.source import source_of
from muses_lab.store import Store, default_store
from muses_lab.tables.points import PointSeries, point_series
from muses_lab.tables.zones import ZonalSeries, zonal_series
from muses_lab.zonal import tell_of_empty

_INSIDE = frozenset({"pixels", "published", "sealed", "with_artefacts_of"})
"""What other rooms use and users do not: left out where names are completed."""

_PROBLEMS = 5
"""So many items that were left out are told by a warning."""


@recorded
class Evaluable(Expression):
    """An expression that can be published and evaluated."""

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name not in _INSIDE]

    # ------------------------------------------------------------------------------- resolving, publishing

    @property
    def problems(self) -> tuple[str, ...]:
        """Items (or assets of them) that were left out of the chain's scenes, with the reason.

        Asks the catalogue, as `compute` does, where that has not been done.
        """
        return tuple(self.published.left_out)

    @cached_property
    def _published_chain(self) -> Self:
        return self._pinned(Searches.load)

    def resolve(self) -> Self:
        """The chain with every collection replaced by the list of scenes that it stands for now.

        ```python
        pinned = ndvi.resolve()         # asks the catalogue, whatever was found before
        pinned.problems                 # items that were left out, with the reason
        ```

        `compute` and all others search a query once for a collection object and the chains made of it, and again where
        a catalogue's files have changed; of a STAC API, `ml.collection(…)` made anew or `resolve` asks for what is new.
        """
        return self._pinned(Searches.anew)

    def _pinned(self, find: Callable[[Searches, Node], Found]) -> Self:
        made = self._made(self._node)

        def pinned(node: Node, arguments: dict[str, Any]) -> Node:
            if node.process not in LOADS:
                return registry.node(node.process, **arguments)
            found = find(self._searches.get(node.hash) or Searches(), node)
            digest = found.scenes.digest
            made._artefacts[digest], made._problems[digest] = as_artefact(found.scenes), found.problems
            bands = arguments.get("bands")
            if bands:
                bands = list(source_of(found.scenes).meta.select(tuple(bands)).bands or ())
            thinning = settings.counts("MUSES_THINNING", THINNING)
            loaded = registry.node("muses:load_items", digest=digest, bands=bands, thinning=thinning)
            if node.process in WITHOUT_DATES:
                loaded = over(loaded, "t", "first")
            cropped = _cropped(loaded, found.crop)
            made._artefacts.update((artefact.digest, artefact) for artefact in cropped.artefacts)
            return cropped

        made._root = graph.rebuild(self._node, pinned)
        return made

    @cached_property
    def published(self) -> Published:
        """What the engine evaluates: the document with pinned scenes, and with the models that it fits."""
        chain = self._published_chain
        used = references(chain._node)
        if used.keys() - chain._artefacts.keys():
            chain = chain.with_artefacts_of(default_store())
        pinned = Published(chain._node, {digest: chain._artefacts[digest] for digest in used}, problems=chain._problems)
        return training.with_models(pinned, default_store())

    def publish(self, store: Store | None = None) -> str:
        """Pins the scenes, checks the chain, keeps it in the store; returns the hash that names it.

        Publishing the same thing twice gives the same hash.
        """
        store = store or default_store()
        if not hasattr(store, "put_document"):
            raise ArgumentError(f"{shown(store)} is no store; without one, publish() keeps the chain in the user's own")
        return documents.keep(self.published, store)

    def sealed(self) -> bytes:
        """A private chain for a process that shows it and must not run its code, see `engine.sealed`.

        What it needs of whole areas (`region` and `fit` nodes) is evaluated now, on its author's cluster: only here is
        its code known.
        """
        documents.check_extents(self._node)
        return seal(prepare(compute.executor(), self.published))

    def share(
        self,
        user: sharing.Names = None,
        group: sharing.Names = None,
        *,
        title: str | None = None,
        days: float | None = None,
        view: Mapping[str, Any] | None = None,
    ) -> sharing.Link:
        """Lets other users of the hub open this, on servers and clusters of their own; returns the link.

        ```python
        link = ndvi.share(user="bob", days=30)
        link.revoke()
        ```

        `user` and `group` are names, or lists of them. Until it is revoked, or for so many `days`. `view` is where a
        map shall show it: `{"center": (lat, lon), "zoom": z}`. The link opens nothing for anybody else.
        """
        return sharing.share(self.published, None, title or self._title(), user, group, days, view)

    def with_artefacts_of(self, store: Store) -> Self:
        """The chain with what it lacks of its lists of scenes, models and vectors, as a store has it."""
        made = self._made(self._node)
        for digest, kind in references(self._node).items():
            if digest not in made._artefacts:
                made._artefacts[digest] = artefacts.stored(store, kind, digest)
                made._problems[digest] = artefacts.stored_problems(store, digest)
        return made

    def indices(self) -> pd.DataFrame:
        """The spectral indices that can be made of the chain's bands: rows of `ml.indices()`, with the bands they use.

        ```python
        s2.indices().uses["EVI"]        # {'N': 'B08', 'R': 'B04', 'B': 'B02'}
        s2.index("EVI")
        ```
        """
        return spectral.computable(self.published.prepared.output.meta)

    def _title(self) -> str:
        steps = [n.process.rpartition(":")[2] for n in graph.walk(self._node)]
        return " → ".join(steps[-4:])

    def status(self, ask: bool = False) -> Status:
        """What the chain is, and what is known of its scenes; `print` gives JSON.

        ```python
        print(ndvi.status())
        ndvi.status(ask=True)["state"]          # asks the catalogue, where that has not been done
        ```

        The state is `not resolved` as long as nobody has asked for its scenes, then `ok`, `partial` (items were left
        out, see `problems`), `empty` (no scene fits) or `failed`, and `why` says why. Nothing is computed by it.
        """
        told = Status(
            kind="chain", state="not resolved", why=None, hash=self.hash, written=str(self._written),
            private=self.is_private, pinned=self.is_pinned,
            parameters={name: one.value for name, one in self._named.items()}, problems=[],
        )  # fmt: skip
        if not ask and "published" not in self.__dict__:
            return told
        try:
            problems, _ = list(self.problems), self.published.prepared
        except NoScenes as nothing:
            return Status(told, state="empty", why=str(nothing))
        except MusesError as error:
            return Status(told, state="failed", why=str(error))
        return Status(told, state="partial" if problems else "ok", problems=problems)

    # ------------------------------------------------------------------------------------------- windows

    def _tell_problems(self) -> None:
        """Warns of items that were left out; Python shows a warning once for each line that leads to it."""
        if found := self.problems:
            told = f"choosing the scenes of the chain: {_first_of(found, ', see .problems')}"
            warnings.warn(told, SkippedItems, stacklevel=users_line())

    @staticmethod
    def _tell_unread(failed: Sequence[str]) -> None:
        """Warns of scenes (`id: reason`) that could not be read while the values were computed."""
        if failed:
            many = "1 scene" if len(failed) == 1 else f"{len(failed)} scenes"
            told = f"{many} could not be read and left out of the values: {_first_of(failed)}"
            warnings.warn(told, series.UnreadScenes, stacklevel=users_line())

    def plan(self, area: Any = None, *, format: Any = None, shown: GeoBox | None = None, **options: Any) -> Plan:
        """What the chain would cost on a window, or its export; nothing is read.

        ```python
        print(ndvi.plan(window))
        plan = ndvi.plan((1.3, 43.5, 1.5, 43.7), format="ndvi.tif", shown=m.view(), resolution=20)
        plan.seconds, plan.file_bytes, plan.difference
        ```

        `area` and `options` are those of `compute`. `format` is a file's name, its ending, or a format's name: then
        `.file_bytes` and `.writing` tell what size the file has as a rule, and how long it takes to write. `shown` is
        the window that a map shows: `.difference` says why the export has other values, or that it has the same.
        """
        self._tell_problems()
        chain, window, said = part(self, area, **options)
        return estimate(chain.published, window, format, shown, said)

    def pixels(self, window: GeoBox, priority: float = 0.0) -> Pixels:
        """Values on a window with the report of what was met (scenes used, scenes that failed)."""
        checked(window)
        documents.check_extents(self._node)
        series.check_known(self.published)
        check_size(self.published, window)
        ticket = request_window(compute.executor(), self.published, window, priority)
        try:
            return ticket.result(settings.number("MUSES_TASK_SECONDS"))
        finally:
            ticket.release()

    def compute(self, area: Any = None, **options: Any) -> xr.DataArray:
        """Values on a window: a georeferenced array, dims of (t, bands, y, x) that the chain has.

        ```python
        chain.compute(ml.Window.from_bounds((1.40, 43.55, 1.50, 43.65), crs="EPSG:32631", resolution=10))
        chain.compute((1.40, 43.55, 1.50, 43.65))                       # the chain's own pixels there
        chain.compute("fields.gpkg", bands=["B08"], dates="2018-06", resolution=20)
        ```

        `area` is a window, bounds (west, south, east, north) in degrees, or polygons as `ml.vectors` takes them;
        `"footprint"` is wherever there are scenes. Options, each a short way for what a chain or window can do:

        - `bands`, `dates`: as `.bands(…)` and `.dates(…)`, a text or a pair (start, end), half-open; a chain that has
          reduced its dates is made of the scenes of these;
        - `crs`, `resolution`: of the grid; by default the chain's own, where it has several that with most of the area;
        - `like`: another raster on whose grid it shall be, a path, an xarray object or a window;
        - `clip`: whether pixels outside of the polygons are missing, as by `.mask_polygon`; by default they are.

        float32 (float64 for sources that need it), NaN where missing. Dates that stand for periods or intervals have
        the coordinate `label` (`2018-03`). `attrs` hold the chain's hash, the number of
        scenes used and found, the scenes that could not be read with the reason, `problems` (items that were left out
        of the collection, see there), and whether a long series was thinned.
        """
        self._tell_problems()
        chain, window, _ = part(self, area, **options)
        if chain is not self:
            return chain.compute(window)
        found = self.pixels(window)
        if not found.report.scenes_found:
            warnings.warn(
                f"{nowhere(self.published.prepared, window)}: all values are missing", stacklevel=users_line()
            )
        coords = {name: xr.DataArray(c) for name, c in xr_coords(window).items()}
        dims = list(coords)[:2]
        array = found.array.rename(dict(zip(("y", "x"), dims, strict=True))).assign_coords(coords)
        if labels := series.labels_of(array, self.published):
            array = array.assign_coords(label=("t", labels))
        array.attrs = series.attributes(self.published, found.report)
        array.name = "values"
        self._tell_unread(array.attrs.get("scenes_failed", ()))
        return array

    def at(
        self, lon: Any = None, lat: Any = None, resolution: float | None = None, progress: Told = None
    ) -> xr.DataArray:
        """Values at places, of the native pixels (or those of the level of `resolution` metres) that hold them.

        ```python
        ndvi.at(lon=1.44, lat=43.60)
        ndvi.at(m.clicked)                                # where the map was clicked
        ndvi.at([1.44, 1.46], [43.60, 43.62])             # many at once, or [(1.44, 43.60), (1.46, 43.62)]
        ```

        Longitude comes first, in degrees. The dims are those of (t, bands) that the chain has, and `point` for many
        places; `lon` and `lat` are coordinates. NaN where missing. The scenes that lie there are named: where the
        chain has dates, each date's in `attrs["scenes"]` ("time id"), for many places in the coordinate `scene`; else
        in the list `attrs["scenes"]`. `progress` as of `over`, for many places.

        Raises
        ------
        ArgumentError
            What is given is no place in degrees, or no scene is there while there are some at the place with longitude
            and latitude exchanged. Where none are at either, `OutsideScenes` warns.
        """
        self._tell_problems()
        places, single = points(lon, lat)
        found = series.at(self.published, places, single, resolution, progress)
        self._tell_unread(found.attrs.get("scenes_failed", ()))
        return found

    def series(
        self, lon: Any = None, lat: Any = None, resolution: float | None = None, progress: Told = None
    ) -> PointSeries:
        """The values of every date from which the chain's values at places are made, with what is known of each date.

        ```python
        ndvi = s2.mask_clouds().ndvi().median("t")
        found = ndvi.series(m.clicked)                    # the values of s2.mask_clouds().ndvi()
        found.table                                       # pandas: date, value, scene, mask, sun, clouds, …
        found.value_of(s2.index("EVI"))                   # another expression there, without reading again
        found.plot(overlays=["whittaker", "trend"])
        found.to_csv("place.csv")
        ```

        A chain with dates gives its own values. One without gives those that its reducer over time reduces, with the
        bands that the chain uses, whatever is done to the result later; `.note` says so. Places are given as to `at`.
        What was read of a place is kept: other expressions there, and its neighbours, are evaluated without reading.
        `progress` as of `over`, for many places.

        Raises
        ------
        ArgumentError
            As for `at`, and where the values are made of several series, for example the difference of two medians:
            call `at` of each.
        """
        self._tell_problems()
        places, single = points(lon, lat)
        found = point_series(self.published, places, single, resolution, progress=progress)
        self._tell_unread(reasons(found.failed))
        return found

    def over(
        self, polygons: Any, stats: Any = ("mean", "median", "q10", "q90"), resolution: float | None = None,
        progress: Told = None,
    ) -> ZonalSeries:  # fmt: skip
        """Statistics over polygons of every date, each pixel weighted by the share of it that a polygon covers.

        ```python
        found = s2.mask_clouds().ndvi().over("parcels.gpkg", stats=["mean", "q10", "q90"])
        found.table                                       # a GeoDataFrame: a row for each polygon and date
        found.to_parquet("parcels.parquet")
        ```

        Parameters
        ----------
        polygons
            What `ml.vectors` gives or takes: a file (GeoPackage, GeoJSON, Shapefile, Parquet), a GeoDataFrame, GeoJSON.
            Lines and points have the pixels that they touch.
        stats
            Of `mean`, `median`, `std` (of all pixels, not of a sample), `min`, `max`, `sum`, `count` (of valid pixels,
            as shares of them), `share` (of the polygon that is valid), and quantiles such as `q10` and `q97.5`.
        resolution
            Metres; by default native pixels.
        progress
            Whether to tell how far it has come; by default where there are many polygons. Or a function that is called
            with how many polygons are done of how many, and ends the work by raising.

        Of the grid in which a polygon's middle lies, also where it reaches into another one. A polygon without data is
        missing, and `OutsideData` warns of it. A chain without dates gives a row for each polygon.

        Raises
        ------
        ArgumentError
            There is no such statistic, or a polygon crosses the antimeridian without being cut there.
        """
        self._tell_problems()
        features = polygons if isinstance(polygons, Features) else noted(read("over", polygons))
        found = zonal_series(self.published, features, stats, resolution, progress)
        tell_of_empty(features, found.found.empty)
        self._tell_unread(reasons(found.failed))
        return found

    def export(
        self, path: Any, area: Any = None, *, bands: Any = None, dates: Any = None, crs: Any = None,
        resolution: float | None = None, like: Any = None, clip: bool | None = None, **options: Any,
    ) -> Job:  # fmt: skip
        """Writes the chain on a window to a file, block by block; see `muses_lab.export.export`.

        ```python
        ndvi.export("ndvi.tif", window).wait()
        s2.export("june.zarr", (1.3, 43.5, 1.5, 43.7), bands=["B04", "B08"], dates="2018-06", resolution=20)
        ndvi.export("fields.tif", "fields.gpkg", like="mine.tif")
        ndvi.export("places.csv", [(1.44, 43.60), (1.46, 43.62)])
        ndvi.export("fields.parquet", "fields.gpkg", stats=["mean", "q90"])
        ```

        `area`, `bands`, `dates`, `crs`, `resolution`, `like` and `clip` are those of `compute`. A table (`.csv`,
        `.parquet`) has the values of each date at places, as `series` gives them, or statistics over polygons, as
        `over`, whose `stats` and `resolution` it takes.
        """
        plain.path("path", path, "ndvi.tif")
        self._tell_problems()
        if is_table(path):
            chain, _ = chosen(self, bands, dates)
            return export_table(chain, path, area, resolution=resolution, kind=_job_kind(), **options)
        chain, window, _ = part(
            self, area, bands=bands, dates=dates, crs=crs, resolution=resolution, like=like, clip=clip
        )
        asked = graph.to_bytes(chain._node).decode()
        return export(chain.published, path, window, asked=asked, kind=_job_kind(), **options)

    def materialize(self, window_or_aoi: Any = None, levels: Any = None, **options: Any) -> Job:
        """Computes the chain's blocks once and keeps them on disk; see `muses_lab.export.materialize`.

        ```python
        median = s2.mask_clouds().ndvi().median("t")
        median.materialize().wait()
        (median > 0.4).compute(window)              # reads no scene
        ```

        Whatever contains this chain then reads the kept blocks instead of scenes, with the same values and reports.
        """
        self._tell_problems()
        return materialize(self.published, window_or_aoi, levels, kind=_job_kind(), **options)


def _job_kind() -> type[Job]:
    """Jobs that open their result as a chain; by name, since their module is made of chains and so of this one."""
    kind: type[Job] = import_module("muses_lab.api.jobs").ChainJob
    return kind


def _cropped(loaded: Node, extent: Mapping[str, Any] | None) -> Node:
    """What is loaded inside of a box or GeoJSON."""
    if extent is None:
        return loaded
    if "type" in extent:
        return registry.node("mask_polygon", data=loaded, mask=dict(extent))
    return registry.node("filter_bbox", data=loaded, extent=dict(extent))


def check_size(published: Published, window: GeoBox) -> None:
    """Refuses an array above `MUSES_MAX_COMPUTE_BYTES`."""
    step = published.prepared.output
    layers = max(len(step.times), 1) * max(len(step.meta.bands or ()), 1)
    size = window.shape.y * window.shape.x * layers * 4
    limit = int(settings.number("MUSES_MAX_COMPUTE_BYTES"))
    if size > limit:
        raise TooLarge(
            f"the result would have {size / 1e9:.1f} GB ({layers} layers of {window.shape.y} × {window.shape.x}); the "
            f"limit is {limit / 1e9:.1f} GB: choose a smaller window or coarser resolution, or .export it"
        )


def _first_of(lines: Sequence[str], where: str = "") -> str:
    """The first of some lines, with how many more there are, and where."""
    more = f"; and {len(lines) - _PROBLEMS} more{where}" if len(lines) > _PROBLEMS else ""
    return "; ".join(lines[:_PROBLEMS]) + more
