"""The catalogue of spectral indices (Awesome Spectral Indices), by name: each is expanded into processes of openEO.

The formulas are data, `spectral_indices.json`, and are read by a parser of their own: arithmetic of names and numbers,
nothing else. The catalogue's version is the operator's, so that a document means the same formula wherever it is
opened.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Annotated, Any, Literal

from pydantic import Field

from muses_lab.document.graph import Callback, Node, walk
from muses_lab.errors import ArgumentError, BandError
from muses_lab.operators.contract import Cost, Cube, Meta
from muses_lab.operators.costs import cost_of
from muses_lab.operators.given import band_name
from muses_lab.operators.indices import Value, applied, band, declare_formula, normalized_difference, ratio
from muses_lab.operators.methods import on_cube
from muses_lab.operators.registered import registry
from muses_lab.plain import number, shown

BANDS = {
    "A": "coastal", "B": "blue", "G1": "green05", "G": "green", "Y": "yellow", "R": "red", "RE1": "rededge1",
    "RE2": "rededge2", "RE3": "rededge3", "N": "nir", "N2": "nir08", "WV": "nir09", "S1": "swir16", "S2": "swir22",
    "T": "lwir", "T1": "lwir11", "T2": "lwir12", "VV": "VV", "VH": "VH", "HH": "HH", "HV": "HV",
}  # fmt: skip
"""The catalogue's letter → common name of a band."""

KERNELS = ("RBF", "linear", "poly")
Kernel = Literal["RBF", "linear", "poly"]
_KERNEL_CONSTANTS = {"RBF": ("sigma",), "linear": (), "poly": ("c", "p")}

NOTES = {
    "AWEInsh": "Feyisa 2014 has 4 (G - S1) - (0.25 N + 2.75 S2); here S2 is added",
    "BAIM": "Martín 2006 has 1 / ((0.05 - N)² + (0.2 - S2)²); here the second square is added to the quotient",
    "mSR705": "Sims & Gamon 2002 have (RE2 - A) / (RE1 - A)",
    "mND705": "Sims & Gamon 2002 have (RE2 - RE1) / (RE2 + RE1 - 2 A)",
    "SAVI": "L is 1 here; Huete 1988 and most users have L=0.5",
    "NDWI": "open water, McFeeters 1996; that of Gao 1996 (water in leaves) is NDMI",
    "NDTI": "turbidity; the tillage index of the same name is NDTillI",
    "RWI": "n is median(G^(1/e)) / median(G) of an area: a number to be given for it",
    "WCI1": "with epsilon=1e-10, which is 1 here",
    "WCI2": "with epsilon=1e-10, which is 1 here",
}
"""Where the catalogue differs from the paper, or a name means several things."""

WAVELENGTHS = (
    "central wavelengths in nm: of Sentinel-2A G 560, R 665, RE1 704, RE2 741, RE3 783, N 833, N2 865, S1 1614, "
    "S2 2202; of Landsat 8 G 560, R 655, N 865, S1 1610, S2 2200"
)

Number = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class Index:
    """An index of the catalogue."""

    name: str
    title: str
    domain: str
    formula: str
    platforms: tuple[str, ...]
    reference: str

    @cached_property
    def tree(self) -> ast.expr:
        return parse(self.formula)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of what the formula is made, each once, as they come."""
        found = [node for node in ast.walk(self.tree) if isinstance(node, ast.Name)]
        return tuple(dict.fromkeys(name.id for name in sorted(found, key=lambda name: name.col_offset)))

    @cached_property
    def canonical(self) -> str:
        """The same for formulas that differ in how they are written only, or in the order of a sum or product."""
        return _canonical(self.tree)

    @property
    def is_kernel(self) -> bool:
        return self.domain == "kernel"

    def constants(self, kernel: str = "RBF") -> dict[str, float | None]:
        """Those that it takes, with their defaults; None: it has none."""
        pairs = [name[1:] for name in self.names] if self.is_kernel else []
        names = [*self.names, *(letter for pair in pairs for letter in pair)]
        names += _KERNEL_CONSTANTS[kernel] if pairs else ()
        return {name: DEFAULTS[name] for name in dict.fromkeys(names) if name in DEFAULTS}

    def letters(self, kernel: str = "RBF", sigma: float | None = None) -> tuple[str, ...]:
        """The bands that it is made of."""
        pairs = [letter for name in self.names for letter in name[1:]] if self.is_kernel else []
        shared = ("N", "R") if pairs and kernel == "RBF" and sigma is None else ()
        return tuple(n for n in dict.fromkeys((*self.names, *pairs, *shared)) if n in BANDS)

    @cached_property
    def is_scale_free(self) -> bool:
        """Whether it is the same of reflectances, percents and stored integers."""
        letters = self.letters()
        fixed = {n: 1.3**k if v is None else v for k, (n, v) in enumerate(self.constants().items())}

        def at(scale: float) -> float:
            values = {letter: scale * 0.11 * 1.37**k for k, letter in enumerate(letters)} | fixed
            pairs = [name for name in self.names if name not in values]
            return _value(self.tree, values | {pair: _radial(values, pair) for pair in pairs})

        return abs(at(1.0) - at(10.0)) <= 1e-9 * abs(at(1.0))


def _radial(values: Mapping[str, float], pair: str) -> float:
    return math.exp(-2 * ((values[pair[1]] - values[pair[2]]) / (values["N"] + values["R"])) ** 2)


def parse(formula: str) -> ast.expr:
    """A formula of names, numbers, + - * / and powers.

    Raises
    ------
    ValueError
        Anything else is in it.
    """
    allowed = (
        ast.Expression, ast.BinOp, ast.UnaryOp, ast.Name, ast.Constant, ast.Load, ast.Add, ast.Sub, ast.Mult, ast.Div,
        ast.Pow, ast.USub,
    )  # fmt: skip
    try:
        tree = ast.parse(formula, mode="eval")
    except SyntaxError as error:
        raise ValueError(f"{formula!r} is no formula: {error.msg}") from None
    for node in ast.walk(tree):
        if not isinstance(node, allowed) or (isinstance(node, ast.Constant) and type(node.value) not in (int, float)):
            raise ValueError(f"{formula!r} is no formula of + - * / ** alone: there is a {type(node).__name__} in it")
    return tree.body


def _canonical(tree: ast.expr) -> str:
    if isinstance(tree, ast.Constant):
        return repr(float(tree.value))  # type: ignore[arg-type]
    if isinstance(tree, ast.BinOp):
        parts = [_canonical(tree.left), _canonical(tree.right)]
        if isinstance(tree.op, ast.Add | ast.Mult):
            parts.sort()
        return f"{type(tree.op).__name__}({', '.join(parts)})"
    return tree.id if isinstance(tree, ast.Name) else f"minus {_canonical(tree.operand)}"  # type: ignore[attr-defined]


def _value(tree: ast.expr, names: Mapping[str, Any]) -> Any:
    """What a formula is, of numbers or of the values of bands; quotients are missing where the divisor is 0."""
    if isinstance(tree, ast.Constant):
        return float(tree.value)  # type: ignore[arg-type]
    if isinstance(tree, ast.Name):
        return names[tree.id]
    if isinstance(tree, ast.UnaryOp):
        return -_value(tree.operand, names)
    assert isinstance(tree, ast.BinOp)
    x, y = _value(tree.left, names), _value(tree.right, names)
    match tree.op:
        case ast.Add():
            return x + y
        case ast.Sub():
            return x - y
        case ast.Mult():
            return x * y
        case ast.Pow():
            return x**y
    if (parts := _difference_and_sum(tree)) is not None:
        a, b = (_value(part, names) for part in parts)
        if isinstance(a, Value) and isinstance(b, Value):
            return normalized_difference(a, b)
    return ratio(x, y) if isinstance(y, Value) else x / y


def _difference_and_sum(quotient: ast.BinOp) -> tuple[ast.expr, ast.expr] | None:
    """a and b of (a - b) / (a + b)."""
    above, below = quotient.left, quotient.right
    if not (isinstance(above, ast.BinOp) and isinstance(above.op, ast.Sub)):
        return None
    if not (isinstance(below, ast.BinOp) and isinstance(below.op, ast.Add)):
        return None
    same = ast.dump(above.left) == ast.dump(below.left) and ast.dump(above.right) == ast.dump(below.right)
    return (above.left, above.right) if same else None


def _loaded() -> tuple[str, dict[str, float | None], dict[str, Index]]:
    data = json.loads((files("muses_lab.operators") / "spectral_indices.json").read_text("utf-8"))
    defaults = {name: about["default"] for name, about in data["constants"].items()}
    defaults["sigma"] = None  # half the sum of N and R at each pixel, as Camps-Valls et al. 2021 advise
    known = {
        name: Index(name, e["title"], e["domain"], e["formula"], tuple(e["platforms"]), e["reference"])
        for name, e in data["indices"].items()
    }
    return data["version"], defaults, known


VERSION, DEFAULTS, CATALOGUE = _loaded()
"""The catalogue's version; its constants, with None for those that have to be given; the indices by name."""


def index_of(name: Any) -> Index:
    """The index of a name; capitals matter only where two names differ in nothing else (BAI and BaI).

    Raises
    ------
    ValueError
        There is none, or there are two; it says which are close.
    """
    if not isinstance(name, str):
        raise ValueError(f"{shown(name)} is no name of an index; they are texts such as 'EVI'")
    if name in CATALOGUE:
        return CATALOGUE[name]
    same = [known for known in CATALOGUE if known.lower() == name.lower()]
    if len(same) == 1:
        return CATALOGUE[same[0]]
    lower = {known.lower(): known for known in CATALOGUE}
    close = same or [lower[n] for n in difflib.get_close_matches(name.lower(), lower, n=3)]
    hint = f"; did you mean {' or '.join(close)}?" if close else "; ml.indices() lists them"
    raise ValueError(f"there is no index {shown(name)} in the catalogue{hint}")


# ------------------------------------------------------------------------------------------------ the operator


def _checked(arguments: Mapping[str, Any]) -> None:
    index, kernel, given = index_of(arguments["name"]), arguments["kernel"], arguments["constants"] or {}
    if index.name != arguments["name"]:
        raise ValueError(f"the index is called {index.name!r}, not {arguments['name']!r}")
    if not index.is_kernel and kernel != "RBF":
        raise ValueError(f"{index.name} is made of no kernel; kernel={kernel!r} is for kNDVI and its like")
    takes = index.constants(kernel)
    if unknown := sorted(set(given) - set(takes)):
        listed = ", ".join(f"{n}={v:g}" if v is not None else n for n, v in takes.items()) or "none"
        raise ValueError(f"{index.name} has no constant {unknown[0]!r}; its constants: {listed}")
    lacking = [name for name, value in takes.items() if value is None and name not in given and name != "sigma"]
    if lacking:
        about = WAVELENGTHS if lacking[0].startswith("lambda") else "photosynthetically active radiation"
        raise ValueError(f"{index.name} needs {', '.join(f'{n}=' for n in lacking)} ({about})")
    letters = index.letters(kernel, given.get("sigma"))
    if unknown := sorted(set(arguments["bands"] or {}) - set(letters)):
        raise ValueError(f"{index.name} is made of {', '.join(letters)}, and of no band {unknown[0]!r}")
    if given.get("sigma") == 0:
        raise ValueError("sigma=0 is no width of a kernel")


def _definition(arguments: Mapping[str, Any]) -> Callback:
    given, bands = arguments["constants"] or {}, arguments["bands"] or {}
    return _defined(arguments["name"], tuple(sorted(given.items())), tuple(sorted(bands.items())), arguments["kernel"])


@lru_cache(maxsize=1024)
def _defined(
    name: str, constants: tuple[tuple[str, float], ...], bands: tuple[tuple[str, str], ...], kernel: str
) -> Callback:
    index, called = CATALOGUE[name], BANDS | dict(bands)
    values: dict[str, Any] = index.constants(kernel) | dict(constants)
    values |= {letter: band(called[letter]) for letter in index.letters(kernel, values.get("sigma"))}
    if index.is_kernel:
        values |= {pair: _kernel(kernel, pair, values) for pair in index.names if pair.startswith("k")}
    made = _value(index.tree, values).node
    assert isinstance(made, Node)
    return Callback(made)


def _kernel(kernel: str, pair: str, values: Mapping[str, Any]) -> Any:
    """k(a, b) of the pair `kab`, as spyndex defines them; the radial basis function of a and a is 1."""
    a, b = values[pair[1]], values[pair[2]]
    if kernel == "linear":
        return a * b
    if kernel == "poly":
        return (a * b + values["c"]) ** values["p"]
    if pair[1] == pair[2]:
        return 1.0
    sigma = values["sigma"] if values["sigma"] is not None else 0.5 * (values["N"] + values["R"])
    width = 2.0 * sigma**2
    square = -1.0 * (a - b) ** 2
    return (ratio(square, width) if isinstance(width, Value) else square / width).exp()


def _cost(arguments: Mapping[str, Any], pixel_size: float, rows: int, columns: int) -> Cost:
    nodes = walk(_definition(arguments).root)
    return Cost(sum(cost_of(registry[n.process], n.arguments, pixel_size, rows, columns).seconds for n in nodes))


def _index(
    data: Node,
    name: str,
    target_band: str | None = None,
    bands: Mapping[str, str] | None = None,
    kernel: Kernel = "RBF",
    **constants: float | None,
) -> Node:
    """A spectral index by its name in the catalogue of Awesome Spectral Indices: `ml.indices()` lists all 280.

    ```python
    s2.index("EVI")
    s2.index("SAVI", L=0.5)
    s2.index("NDVI", bands={"N": "B08"})
    s2.index("kNDVI", kernel="poly", c=1, p=2)
    s2.index("FAI", lambdaN=833, lambdaR=665, lambdaS1=1614)
    ```

    The formula's letters are bands by their common names (N `nir`, R `red`, B `blue`, S1 `swir16` …), unless `bands`
    names others. Its constants may be given; those without a default (wavelengths in nm, PAR) have to be.

    Of surface reflectance from 0 to 1, temperature (T) in kelvin, and radar backscatter (VV, VH, HH, HV) as linear
    power, not decibels. Products' scales and offsets make reflectances of what is stored; for indices that are not
    scale-free (EVI, SAVI, BAI and the like: `ml.indices().scale_free`) it matters. Formulas are the catalogue's, also
    where it differs from the paper: `ml.indices().note` says where.

    Missing where a band is, and where something is divided by 0. The result has no bands; with `target_band` it is
    added to the bands that are there.

    Kernel indices (kNDVI, kEVI, kRVI, kIPVI, kVARI) are of the kernels k(a, b) `RBF` exp(-(a - b)² / (2 sigma²)),
    `linear` a b, and `poly` (a b + c)^p. sigma is 0.5 (N + R) of each pixel unless a number is given; so kNDVI is
    tanh(NDVI²), as Camps-Valls et al. 2021 advise.

    Montero, D. et al. (2023), Scientific Data 10, 197, doi:10.1038/s41597-023-02096-0; each index has a reference of
    its own in the table.
    """
    try:
        index = index_of(name)
    except ValueError as error:
        raise ArgumentError(str(error), argument="name") from None
    if bands is not None and not isinstance(bands, Mapping):
        raise ArgumentError(f"bands={shown(bands)} takes the band of letters, as {{'N': 'B8A'}}", argument="bands")
    if target_band is not None:
        band_name(target_band)
    numbers = {n: number(n, value) for n, value in constants.items() if value is not None}
    given = {n: value for n, value in numbers.items() if value != DEFAULTS[n]}
    called = {letter: band_name(label) for letter, label in (bands or {}).items()}
    return on_cube(
        data, "muses:spectral_index", name=index.name, constants=given or None,
        bands={letter: label for letter, label in called.items() if label != BANDS.get(letter)} or None,
        kernel=kernel, target_band=target_band,
    )  # fmt: skip


def _with_constants(method: Callable[..., Node]) -> Callable[..., Node]:
    """The method with a parameter for every constant, so that notebooks complete them and say what they are."""
    own = inspect.signature(method)
    fixed = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=float | None)
        for name, default in DEFAULTS.items()
    ]
    method.__signature__ = own.replace(parameters=[*fixed, *more])  # type: ignore[attr-defined]
    method.__annotations__ |= {name: float | None for name in DEFAULTS}
    return method


def spectral_index(
    data: Cube,
    name: str,
    constants: Annotated[dict[str, Number], Field(max_length=16)] | None = None,
    bands: Annotated[dict[str, str], Field(max_length=16)] | None = None,
    kernel: Kernel = "RBF",
    target_band: str | None = None,
    meta: Meta | None = None,
) -> Cube:
    """A spectral index by its name in the catalogue of Awesome Spectral Indices, as processes of openEO.

    ```python
    s2.index("NBR2")
    ```

    `constants`: those of the formula by name, where they are not the catalogue's defaults. `bands`: letters of the
    formula → names of bands, where they are not the common names. The version is that of the catalogue.
    """
    arguments = {"name": name, "constants": constants, "bands": bands, "kernel": kernel}
    return applied(data, meta, _definition(arguments), target_band)


declare_formula(
    "muses:spectral_index", spectral_index, _definition, version=VERSION, rule=_checked, cost=_cost,
    method=_with_constants(_index),
)  # fmt: skip


def indices_of(meta: Meta) -> dict[str, dict[str, str]]:
    """The indices that data have the bands of: name → letter → band."""
    found = {}
    for letter, label in BANDS.items():
        try:
            found[letter] = meta.find(label)
        except BandError:
            continue
    needed = {index.name: index.letters() for index in CATALOGUE.values()}
    return {name: {n: found[n] for n in letters} for name, letters in needed.items() if found.keys() >= set(letters)}
