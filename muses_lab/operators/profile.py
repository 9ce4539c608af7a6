"""The published profile: every supported process with its parameters and support, from the declarations alone."""

from __future__ import annotations

from typing import Any

from muses_lab.document.artefacts import kinds
from muses_lab.document.openeo_plainer import READ
from muses_lab.operators.contract import Fit, Focal, Pixel, Region, Tabular
from muses_lab.operators.declared import Operator
from muses_lab.operators.methods import description, examples
from muses_lab.operators.refused import REFUSED
from muses_lab.operators.registered import registry

_SUPPORT = {Pixel: "pixel", Focal: "focal", Region: "region", Fit: "fit", Tabular: "table"}


def profile() -> list[dict[str, Any]]:
    """openEO process descriptions (id, namespace, parameters with JSON schema), plus `muses:support` and version."""
    return [describe(op) for op in sorted(registry, key=lambda op: op.id)]


def describe(op: Operator) -> dict[str, Any]:
    """One process description."""
    namespace, _, plain = op.id.rpartition(":")
    parameters = []
    for argument in op.arguments.values():
        parameter: dict[str, Any] = {"name": argument.name, "schema": argument.schema()}
        if not argument.required:
            parameter |= {"optional": True, "default": argument.default}
        parameters.append(parameter)
    return {
        "id": plain,
        **({"namespace": namespace} if namespace else {}),
        "description": description(op.fn.__doc__ or ""),
        "parameters": parameters,
        "muses:version": op.version,
        "muses:support": support(op),
        **({"muses:partly": op.partly} if op.partly else {}),
    }


def support(op: Operator) -> str:
    """What an output pixel depends on: `pixel`, `focal`, `region`, `fit`; what it is where it makes no pixels."""
    if op.gives:
        return "fit" if op.fits else kinds[op.gives].noun.rpartition(" ")[2]
    if not op.is_cube_process:
        return "callback"
    return _SUPPORT.get(type(op.support), "structural")


def markdown() -> str:
    """The profile as a page of documentation."""
    lines = [
        "# Supported processes",
        "",
        "Documents of chains are openEO process graphs (processes 2.0). This release knows the following processes;",
        "those under `muses:` are our own. The column *in Python* shows how to write a process: `s2` is a collection,",
        "`ndvi` a chain with dates and without bands, `image` and `other` are chains without either, `water` is a",
        "condition. *Support* says what an output pixel depends on. Processes of support *callback* are of values and",
        "series inside `apply`, `reduce_dimension` and `merge_cubes`; those of *vectors* (and *forest*) make features",
        "(models) when a document is read; those of support *table* a table of features. *Partly* says how much of",
        "openEO's process there is. Processes that are no steps of chains, and those that are refused, are at the end.",
        "This page is made by `muses-lab operators`.",
        "",
        "| process | in Python | support | arguments | what it does |",
        "|---|---|---|---|---|",
    ]
    for op in sorted(registry, key=lambda op: (op.id.startswith("muses:"), op.id)):
        python = ", ".join(map(_code, examples(op.fn.__doc__ or "")))
        arguments = ", ".join(
            f"`{a.name}`" if a.required else f"`{a.name}`={a.default!r}" for a in op.arguments.values()
        )
        summary = " ".join(description(op.fn.__doc__ or "").split("\n\n")[0].split())
        partly = f" *Partly:* {op.partly}." if op.partly else ""
        lines.append(f"| `{op.id}` | {python} | {support(op)} | {arguments} | {summary.replace('|', '∣')}{partly} |")
    lines += ["", "## Read, and no steps", "", "| process of openEO | what becomes of it |", "|---|---|"]
    lines += [f"| `{process}` | {text} |" for process, text in sorted(READ.items())]
    lines += ["", "## Not supported", "", "| process of openEO | why, and what instead |", "|---|---|"]
    lines += [f"| `{process}` | {text} |" for process, text in sorted(REFUSED.items())]
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`"
