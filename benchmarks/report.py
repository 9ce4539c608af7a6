"""Samples to ratios: each of two views of one round, then the median of the rounds, with the least and the most."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks import compare
from benchmarks.remote import DELAY
from benchmarks.samples import Measured, Sample, Spread

BUDGET = 1 << 30
"""Bytes that a worker may keep unless told otherwise."""
TRIPS = 12
FIRST = 0.3
"""Seconds that the first view of a process may take more than the second."""
INDEX = 1.15
"""How many times as long an index of many operations may take as a normalised difference, per block read."""
AFTER_MEDIAN = ("W1", "W4", "W6", "W7")
"""Workloads with clear classes and a reduction over time, whose changes have targets."""
MEAN_MAY_DIFFER, VALID_MAY_DIFFER = 0.01, 0.01
"""Peers warp each date before they compute, which moves pixels by up to a half: nothing more may differ."""
PEER_TARGETS = {"titiler-openeo": 20, "rio-tiler": 15, "odc-stac": 4}
BEHIND_HTTP = {"titiler-openeo": 15, "rio-tiler": 10, "titiler": 10}
"""How many times as long a peer takes as a cold view through HTTP and the embedded cluster."""


@dataclass(frozen=True)
class Way:
    """Milliseconds that a way from the engine to the page may take, beside a share of L."""

    cold: float
    one_date: float
    known: float
    """Nothing is computed."""


WAYS = {"embedded": Way(60, 80, 60), "gateway": Way(150, 170, 120)}
STATUS = 50
"""Milliseconds that other requests to the server may take while a view is loaded."""
METHODS = ("GDAL", "imagecodecs", "async-tiff")
VARIANTS = ("again", "classes", "threshold", "moved", "moved again", "zoomed")


@dataclass(frozen=True)
class Row:
    """A target, and what was measured."""

    what: str
    measured: str
    target: str
    ok: bool


def make(
    samples: Sequence[Sample], zooms: Sequence[int], new: dict[tuple[str, int], int], opened: dict[str, dict[str, Any]]
) -> tuple[list[Row], str]:
    """The targets, and all of it as text."""
    found = Measured(samples, zooms)
    rows = list(_targets(found, new, opened))
    rows += _delivered_targets(found)
    parts = [
        _cold(found),
        _after(found),
        _delivered(found),
        _peers(found),
        _agreement(found),
        _more(found),
        _calls(found),
        _table("Before and now, each ratio of two views of a round", compare.HEADER, compare.lines(found)),
        _rows(rows),
    ]
    return rows, "\n\n".join(part for part in parts if part)


# ---------------------------------------------------------------------------------------------------------- targets


def _targets(found: Measured, new: dict[tuple[str, int], int], opened: dict[str, dict[str, Any]]) -> Iterable[Row]:
    for workload in ("W1", "W4"):
        if r := found.over_zooms("muses", "limit", workload):
            ok = r.middle <= 1.4 and r.high <= 1.7
            yield Row(f"{workload} cold / L", r.text(), "≤ 1.4, none above 1.7", ok)
    for workload, most in (("W2", 2), ("W3", 3)):
        if r := found.over_zooms("muses", "limit", workload, less=0.015):
            yield Row(f"({workload} cold - 15 ms) / L", r.text(), f"≤ {most}", r.middle <= most)
    for workload in found.workloads():
        for name, what in (("blocks", "file blocks"), ("pixels", "pixels")):
            cells = [found.share(workload, zoom, name) for zoom in found.zooms]
            if shares := [share for share in cells if share is not None]:
                text = ", ".join(f"{share:.2f}" for share in shares)
                yield Row(f"{workload} cold: {what} decoded / needed", text, "≤ 1.0", max(shares) < 1.005)
    yield from _first_views(found)
    for variant in ("classes", "threshold"):
        for workload in AFTER_MEDIAN:
            if r := found.over_zooms("muses", "limit", workload, variant):
                blocks = sum(found.counter("muses", workload, z, variant, "blocks") for z in found.zooms)
                ok = r.middle <= 0.4 and blocks == 0
                yield Row(f"{workload} {variant} / L", f"{r.text()}, {blocks} blocks read", "≤ 0.4, no block", ok)
    for workload in found.workloads():
        if not found.samples("muses", workload, found.zooms[0], "moved"):
            continue
        cells = [(found.counter("muses", workload, z, "moved", "blocks"), new[workload, z]) for z in found.zooms]
        again = sum(found.counter("muses", workload, z, "moved again", "blocks") for z in found.zooms)
        ok = all(read <= wanted for read, wanted in cells) and again == 0
        text = ", ".join(f"{read} of {wanted}" for read, wanted in cells)
        yield Row(f"{workload} moved by a column: blocks read", f"{text}; again {again}", "only new; again none", ok)
    for peer, least in PEER_TARGETS.items():
        if r := found.over_zooms(peer, "muses", "W1"):
            yield Row(f"W1 cold: {peer} / muses", r.text(1), f"≥ {least}", r.middle >= least)
    if views := [_same(theirs, ours) for *_, theirs, ours in _both(found)]:
        yield Row("views with the mean of the peers", f"{sum(views)} of {len(views)}", "all", all(views))
    yield from _special_targets(found, opened)


def _first_views(found: Measured) -> Iterable[Row]:
    """In processes that have only begun: compiled kernels are on disk, headers and blocks are not known."""
    for zoom in found.zooms:
        first, second = (found.samples("muses fresh", "W1", zoom, variant) for variant in ("first", "second"))
        if r := Spread.of([first[n].seconds - second[n].seconds for n in first if n in second]):
            yield Row("first view of a process: s more than the second", r.text(), f"≤ {FIRST}", r.middle <= FIRST)


def _special_targets(found: Measured, opened: dict[str, dict[str, Any]]) -> Iterable[Row]:
    if pairs := found.beside("muses W5", "muses", "W5"):
        r = _over([[_per_block(two) / _per_block(one) for two, one in rounds] for rounds in pairs])
        yield Row("W5 / W1, seconds per block read", r.text(), "≤ 1.3", r.middle <= 1.3)
    if pairs := found.of_one_round("muses", "W8", "W1"):
        r = _over([[_per_block(three) / _per_block(two) for three, two in rounds] for rounds in pairs])
        yield Row("W8 / W1, seconds per block read", r.text(), f"≤ {INDEX}", r.middle <= INDEX)
    if pairs := found.beside("muses many", "muses", "many"):
        r = _over([[1000 * (a.seconds - b.seconds) for a, b in rounds] for rounds in pairs])
        yield Row("10 000 items instead of 24: ms more", r.text(0), "≤ 20", r.middle <= 20)
    if pairs := found.beside("muses long", "muses", "long"):
        dates = opened["muses long"]["dates"] / opened["muses"]["dates"]
        r = _over([[a.seconds / b.seconds for a, b in rounds] for rounds in pairs])
        yield Row(f"{dates:g} × the dates: × seconds", r.text(), f"≤ {dates:g} (+ 15 %)", r.middle <= 1.15 * dates)
        r = _over([[a.counters["bytes"] / b.counters["bytes"] for a, b in rounds] for rounds in pairs])
        yield Row(f"{dates:g} × the dates: × bytes", r.text(), f"≤ {dates:g}", r.high <= dates * 1.001)
    for who in ("muses", "muses long"):
        for workload in found.workloads():
            peaks = [
                found.counter(who, workload, z, "cold", "peak_rss") for z in found.zooms if (who, workload) in found
            ]
            if peaks:
                most, idle = max(peaks) - opened[who]["rss"], opened[who]["rss"]
                text = f"{most / 2**20:.0f} MiB above {idle / 2**20:.0f}"
                label = f"{workload}, {opened[who]['dates']} dates: peak memory"
                yield Row(label, text, f"≤ {BUDGET / 2**20:.0f} MiB above", most <= BUDGET)
    if pairs := found.beside("muses remote", "limit", "remote"):
        r = _over([[(a.seconds - b.seconds) / DELAY for a, b in rounds] for rounds in pairs])
        each = ", ".join(f"{median((a.seconds - b.seconds) / DELAY for a, b in rounds):.1f}" for rounds in pairs)
        text = f"{r.text(1)}; by zoom {each}"
        yield Row("W1 cold, remote: (seconds - L) / 50 ms", text, f"≤ {TRIPS} round trips", r.middle <= TRIPS)


def _delivered_targets(found: Measured) -> Iterable[Row]:
    """Through HTTP and Dask, in a browser's six connections."""
    for name, way in WAYS.items():
        who = f"muses {name}"
        for workload in found.workloads():
            share, more = (2, way.one_date) if workload in ("W2", "W3") else (1.7, way.cold)
            if r := found.over_zooms(who, "limit", workload, less=more / 1000):
                yield Row(f"{name}: ({workload} cold - {more:g} ms) / L", r.text(), f"≤ {share:g}", r.middle <= share)
            if r := found.over_zooms(who, "limit", workload, "classes", less=way.cold / 1000):
                yield Row(f"{name}: ({workload} classes - {way.cold:g} ms) / L", r.text(), "≤ 0.5", r.middle <= 0.5)
        for variant in ("reloaded", "palette"):
            every = [found.milliseconds(who, w, z, variant) for w in found.workloads() for z in found.zooms]
            if cells := [cell for cell in every if cell]:
                r = _over(cells)
                yield Row(f"{name}: {variant}, ms", r.text(0), f"≤ {way.known:g}", r.middle <= way.known)
        waits = [
            wait
            for zoom in found.zooms
            for sample in found.samples(who, "W1", zoom, "beside others").values()
            for wait in sample.counters["status_seconds"]
        ]
        if waits:
            p95 = 1000 * sorted(waits)[int(0.95 * len(waits))]
            text = f"{p95:.0f} (most {1000 * max(waits):.0f}, {len(waits)} requests)"
            yield Row(f"{name}: /api/status beside a cold W1, p95 ms", text, f"≤ {STATUS}", p95 <= STATUS)
    for peer, least in BEHIND_HTTP.items():
        if r := found.over_zooms(peer, "muses embedded", "W1"):
            yield Row(f"W1 cold: {peer} / embedded", r.text(1), f"≥ {least}", r.middle >= least)


def _over(cells: Sequence[Sequence[float]]) -> Spread:
    """The spread, over zooms, of the medians over rounds."""
    each = [median(cell) for cell in cells]
    return Spread(median(each), min(each), max(each))


def _per_block(sample: Sample) -> float:
    return sample.seconds / max(sample.counters["blocks"], 1)


# ----------------------------------------------------------------------------------------------------------- tables


def _cold(found: Measured) -> str:
    lines = []
    for workload in found.workloads():
        for zoom in found.zooms:
            r = Spread.of(found.ratios("muses", "limit", workload, zoom))
            limits = list(found.samples("limit", workload, zoom).values())
            if r is None:
                continue
            lines.append([
                workload, f"z{zoom}", _ms(found.seconds("muses", workload, zoom)),
                _ms(found.seconds("limit", workload, zoom)), r.text(),
                f"{median(found.ratios('muses', 'limit', workload, zoom, of=lambda s: s.cpu)):.2f}",
                str(found.counter("muses", workload, zoom, "cold", "blocks")), str(limits[0].counters["blocks"]),
                *(f"{n / 1e6:.1f}" for n in (
                    found.counter("muses", workload, zoom, "cold", "pixels"), limits[0].counters["pixels"]
                )),
                *(_by(limits, "seconds", method) for method in METHODS),
                *(_by(limits, "seconds_with_headers", method) for method in METHODS),
            ])  # fmt: skip
    return _table(
        "Cold views, ms (L: the fastest of the three with headers known)",
        ["", "", "muses", "L", "muses / L", "of CPU", "blocks", "of L", "Mpixel", "of L",
         *METHODS, *(f"{m} + headers" for m in METHODS)],
        lines,
    )  # fmt: skip


def _after(found: Measured) -> str:
    lines = []
    for workload in found.workloads():
        for zoom in found.zooms:
            line = [workload, f"z{zoom}"]
            for variant in VARIANTS:
                if found.samples("muses", workload, zoom, variant):
                    ms = _ms(found.seconds("muses", workload, zoom, variant))
                    line.append(f"{ms} · {found.counter('muses', workload, zoom, variant, 'blocks')}")
                else:
                    line.append("")
            if any(line[2:]):
                lines.append(line)
    return _table("Then, each changing one thing of the known view: ms · blocks read", ["", "", *VARIANTS], lines)


def _delivered(found: Measured) -> str:
    lines = []
    for name in WAYS:
        who = f"muses {name}"
        for workload in found.workloads():
            for zoom in found.zooms:
                if not found.samples(who, workload, zoom):
                    continue
                later = ("reloaded", "palette", "classes")
                more = [found.milliseconds(who, workload, zoom, variant) for variant in later]
                r = Spread.of(found.ratios(who, "limit", workload, zoom))
                engine = Spread.of(found.ratios(who, "muses", workload, zoom))
                used = Spread.of(found.ratios(who, "muses", workload, zoom, of=lambda s: s.cpu))
                assert r and engine and used
                lines.append([
                    name, workload, f"z{zoom}", _ms(found.seconds(who, workload, zoom)), r.text(), engine.text(),
                    used.text(), *(f"{median(values):.0f}" if values else "" for values in more),
                    f"{found.counter(who, workload, zoom, 'cold', 'png_bytes') / 1000:.0f}",
                ])  # fmt: skip
    header = ["", "", "", "cold ms", "/ L", "/ muses", "of CPU", "reloaded", "palette", "classes", "kB"]
    return _table("Through HTTP and Dask, six connections", header, lines)


def _peers(found: Measured) -> str:
    lines = []
    for peer in found.peers():
        for workload in found.workloads():
            for zoom in found.zooms:
                if r := Spread.of(found.ratios(peer, "muses", workload, zoom)):
                    seconds = f"{found.seconds(peer, workload, zoom):.2f}"
                    lines.append([peer, workload, f"z{zoom}", seconds, r.text(1)])
    return _table("Peers, cold", ["", "", "", "s", "peer / muses"], lines)


def _agreement(found: Measured) -> str:
    lines = [
        [workload, f"z{zoom}", peer, f"{theirs.mean:.4f} {theirs.valid:.4f}", f"{ours.mean:.4f} {ours.valid:.4f}",
         "same" if _same(theirs, ours) else "DIFFERENT"]
        for peer, workload, zoom, theirs, ours in _both(found)
    ]  # fmt: skip
    title = "Do they compute the same? Mean of the valid, share of valid"
    return _table(title, ["", "", "", "theirs", "ours", ""], lines)


def _both(found: Measured) -> Iterable[tuple[str, str, int, Sample, Sample]]:
    """Views of a peer with ours, where both have something to show."""
    for peer in found.peers():
        for workload in found.workloads():
            for zoom in found.zooms:
                theirs = next(iter(found.samples(peer, workload, zoom).values()), None)
                ours = next(iter(found.samples("muses", workload, zoom).values()), None)
                if theirs is not None and ours is not None and theirs.mean is not None and ours.mean is not None:
                    yield peer, workload, zoom, theirs, ours


def _same(a: Sample, b: Sample) -> bool:
    assert a.mean is not None and b.mean is not None and a.valid is not None and b.valid is not None
    return abs(a.mean - b.mean) <= MEAN_MAY_DIFFER and abs(a.valid - b.valid) <= VALID_MAY_DIFFER


def _more(found: Measured) -> str:
    lines = []
    for who in ("muses", "muses W5", "muses many", "muses long", "muses remote"):
        for workload in ("W1", "W5"):
            for zoom in found.zooms:
                kept = list(found.samples(who, workload, zoom).values())
                if not kept:
                    continue
                most = {name: max(s.counters[name] for s in kept) for name in ("blocks", "bytes", "peak_rss")}
                lines.append([
                    who, workload, f"z{zoom}", _ms(median(s.seconds for s in kept)), str(most["blocks"]),
                    f"{most['bytes'] / 1e6:.0f}", f"{most['peak_rss'] / 2**20:.0f}",
                    _ms(median(s.counters["resolve_seconds"] for s in kept)),
                    _ms(median(s.counters["plan_seconds"] for s in kept)),
                    str(kept[0].counters.get("requests", "")),
                ])  # fmt: skip
    header = ["", "", "", "ms", "blocks", "MB decoded", "peak MiB", "resolving ms", "a plan ms", "requests"]
    return _table("Data sets", header, lines)


def _calls(found: Measured) -> str:
    lines = []
    for who, workload, zoom, variant in found.cells():
        if variant != "calls":
            continue
        rounds = [s.counters for s in found.samples(who, workload, zoom, variant).values() if "calls" in s.counters]
        if not rounds:
            continue  # a commit from before they were counted
        fewest = min(rounds, key=lambda counted: sum(times for times, _ in counted["calls"].values()))
        rooms = fewest["calls"]
        every = sorted(rooms.items(), key=lambda room: -room[1][0])
        total = [sum(counts) for counts in zip(*rooms.values(), strict=True)]
        told = (f"{room} {times} · {functions}" for room, (times, functions) in [("all", total), *every])
        lines.append([who, f"in {fewest.get('files', '?')} files", *told])
    width = max(map(len, lines), default=0)
    lines = [line + [""] * (width - len(line)) for line in lines]
    title = "Our functions for one W2 tile with known headers, by room: calls · functions (fewest of the rounds)"
    return _table(title, [""] * width, lines)


def _rows(rows: Sequence[Row]) -> str:
    lines = [[row.what, row.measured, row.target, "ok" if row.ok else "MISSED"] for row in rows]
    return _table("Targets: median (least–most) over the zooms", ["", "measured", "target", ""], lines)


def _by(limits: Sequence[Sample], kind: str, method: str) -> str:
    found = [s.counters[kind][method] for s in limits if method in s.counters[kind]]
    return _ms(median(found)) if found else ""


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f}" if seconds >= 0.01 else f"{1000 * seconds:.1f}"


def _table(title: str, header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    if not lines:
        return ""
    widths = [max(len(line[n]) for line in (header, *lines)) for n in range(len(header))]
    rows = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (header, *lines)
    ]
    return "\n".join([title, "", *rows])
