"""Chains made into programs for `kernels.run`: mask, expression and reducer over time in one pass over stored values.

A program covers a step and all pixel-wise steps below it, down to the reading steps and to those whose blocks are kept.
Whatever depends on one band alone and has no instruction, or is of one byte (classes, masks), becomes a table of its
stored values, made by the operators themselves. What does not fit (other processes, dates in the result, double
precision) is left to `evaluate`, which does the same with NumPy; both give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from muses_lab.engine import kernels
from muses_lab.engine.evaluate import demand, is_boundary
from muses_lab.engine.grid import Grid, Rect
from muses_lab.engine.program import LOAD, Program, Step, Times
from muses_lab.engine.read import physical_table
from muses_lab.graph import Callback, Node, Parameter, walk
from muses_lab.operators import registry
from muses_lab.operators.callbacks import element_label

_BINARY = {
    "add": kernels.ADD, "subtract": kernels.SUBTRACT, "multiply": kernels.MULTIPLY, "divide": kernels.DIVIDE,
    "normalized_difference": kernels.NORMALIZED_DIFFERENCE,
    "gt": kernels.GT, "gte": kernels.GTE, "lt": kernels.LT, "lte": kernels.LTE, "eq": kernels.EQ, "neq": kernels.NEQ,
    "and": kernels.AND, "or": kernels.OR, "xor": kernels.XOR,
}  # fmt: skip
_UNARY = {
    "not": kernels.NOT, "is_nodata": kernels.IS_NODATA, "absolute": kernels.ABSOLUTE, "sqrt": kernels.SQRT,
    "floor": kernels.FLOOR, "ceil": kernels.CEIL,
}  # fmt: skip
_REDUCERS = {
    "first": kernels.FIRST, "last": kernels.LAST, "mean": kernels.MEAN, "sum": kernels.SUM, "min": kernels.MIN,
    "max": kernels.MAX, "count": kernels.COUNT, "variance": kernels.VARIANCE, "sd": kernels.SD,
    "median": kernels.MEDIAN,
}  # fmt: skip
_STRICT = {*range(kernels.ADD, kernels.NORMALIZED_DIFFERENCE + 1), *range(kernels.GT, kernels.NEQ + 1), kernels.CLIP,
           kernels.NOT, kernels.XOR, kernels.ABSOLUTE, kernels.SQRT, kernels.FLOOR, kernels.CEIL}  # fmt: skip
"""Instructions whose result is missing where an argument is."""
_MAX_REGISTERS = 4096
_MISSING = np.float32("nan")


class Unfit(Exception):
    """A chain that no program fits."""


@dataclass(frozen=True, eq=False)
class Leaf:
    """Values of one band of a reading step, or of a step whose blocks are kept; through functions of each value."""

    step: Step
    band: str | None
    functions: tuple[Callable[[Any], Any], ...] = ()

    def of(self, values: np.ndarray) -> np.ndarray:
        """What the functions make of physical values.

        Raises
        ------
        Unfit
            Not single precision.
        """
        for function in self.functions:
            values = np.asarray(function(values))
        if values.dtype != np.float32:
            raise Unfit(f"{values.dtype} values")
        return values

    @cached_property
    def absent(self) -> np.float32:
        """What a pixel without a stored value becomes."""
        return self.of(np.array([np.nan], np.float32))[0]

    def table(self, dtype: str, nodata: float | None, scale: float, offset: float) -> np.ndarray:
        """What the functions make of every stored value there can be."""
        key = dtype, nodata, scale, offset
        if key not in self._tables:
            self._tables[key] = self.of(physical_table(*key))
        return self._tables[key]

    @cached_property
    def _tables(self) -> dict[tuple[str, float | None, float, float], np.ndarray]:
        return {}


@dataclass(frozen=True)
class _Register:
    number: int


Value = Leaf | _Register | float
"""During compilation: what an argument is."""


@dataclass(frozen=True)
class Output:
    """One image that a program gives."""

    step: Step
    band: str | None


@dataclass(frozen=True)
class Guard:
    """A mask that is known from one band alone: where it removes everything, some steps need not be read."""

    leaf: Leaf
    spared: frozenset[str]
    """Hashes of reading steps."""


@dataclass(frozen=True)
class Compiled:
    """A program: what it reads, what it does, what it gives."""

    inputs: tuple[Leaf, ...]
    code: np.ndarray
    constants: np.ndarray
    constant_values: np.ndarray
    registers: int
    layers: np.ndarray
    reducers: np.ndarray
    probabilities: np.ndarray
    outputs: tuple[Output, ...]
    over_time: bool
    dates: Times
    """Steps of `t` that are reduced; empty for a result from steps without dates."""
    every_date: bool
    """Whether dates without data count."""
    allowed: tuple[frozenset[np.datetime64], ...]
    order: tuple[Step, ...]
    """Reading steps and kept ones, masks before the data they mask."""
    guards: tuple[Guard, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps whose results it gives, the one asked for first."""
        return tuple({o.step.node.hash: o.step for o in self.outputs}.values())

    def networks(self, dates: int) -> kernels.Networks:
        """What sorts as many dates for the reducers: see `kernels.run`."""
        kinds = set(self.reducers[:, 0].tolist())
        ranked = not kinds.isdisjoint((kernels.MEDIAN, kernels.QUANTILE))
        return kernels.networks(dates if ranked else 0, kernels.QUANTILE in kinds)


_known: WeakKeyDictionary[Program, dict[str, Compiled | None]] = WeakKeyDictionary()


def compiled(program: Program, target: Step) -> Compiled | None:
    """The program of a step; None where none fits."""
    known = _known.setdefault(program, {})
    if target.node.hash not in known:
        try:
            known[target.node.hash] = _compile(program, target)
        except Unfit:
            known[target.node.hash] = None
    return known[target.node.hash]


def _compile(program: Program, target: Step) -> Compiled:
    over_time = reduces_time(target)
    if target.meta.time or (not over_time and not _expressible(target)):
        raise Unfit("dates in the result")
    # Geometry does not matter here: neighbourhoods are evaluations of their own, or do not fit.
    somewhere = Rect(0, 1, 0, 1)
    demands, order = demand(program, target, Grid("", "EPSG:4326", (0.0, 0.0), 1.0, somewhere), 0, somewhere)
    machine = _Machine(program)
    values: dict[str, dict[str | None, Value]] = {}
    below = [s for s in order if s is not target] if over_time else order
    axis = set(program[step_input(target)].times) if over_time else set()
    every_date = False
    for step in below:
        if step.node.process == LOAD or is_boundary(step, target):
            if step.meta.time and step.node.process != LOAD:
                raise Unfit("dates of a kept step")
            values[step.node.hash] = {band: Leaf(step, band) for band in step.meta.bands or (None,)}
            continue
        if not _expressible(step):
            raise Unfit(step.node.process)
        found = _apply(machine, step, values)
        if over_time and step.meta.time and not step.strict:
            every_date = True
        if step.meta.time and not axis <= set(step.times) and _sets_values(step):
            found = {band: machine.on_dates(value, frozenset(step.times)) for band, value in found.items()}
        values[step.node.hash] = found

    if over_time:
        child = program[step_input(target)]
        rows, outputs = [], []
        layers: dict[str | None, int] = {}
        for sibling in _siblings(program, target):
            kind, p = reducer(sibling)
            for band in sibling.meta.bands or (None,):
                layer = layers.setdefault(band, len(layers))
                rows.append((kind, layer, p))
                outputs.append(Output(sibling, band))
        layered = [machine.register(values[child.node.hash][band]) for band in layers]
        dates = child.times
    else:
        rows = [(kernels.FIRST, k, 0.0) for k in range(len(values[target.node.hash]))]
        outputs = [Output(target, band) for band in values[target.node.hash]]
        layered = [machine.register(value) for value in values[target.node.hash].values()]
        dates = ()
    code, registers, layers_at = machine.finished(layered)
    constants, constant_values = machine.numbers()
    return Compiled(
        inputs=tuple(machine.inputs),
        code=code,
        constants=constants,
        constant_values=constant_values,
        registers=registers,
        layers=layers_at,
        reducers=np.array([row[:2] for row in rows], np.int32),
        probabilities=np.array([row[2] for row in rows], np.float64),
        outputs=tuple(outputs),
        over_time=over_time,
        dates=dates,
        every_date=every_date and machine.makes_values(code, registers, layers_at),
        allowed=tuple(machine.allowed),
        order=tuple(s for s in order if s is not target and (s.node.process == LOAD or is_boundary(s, target))),
        guards=_guards(program, order, demands, values, over_time),
    )


def reduces_time(step: Step) -> bool:
    return step.node.process == "reduce_dimension" and step.arguments["dimension"] == "t"


def _sets_values(step: Step) -> bool:
    """Whether dates that a step does not have may have values after it."""
    return step.node.process == "filter_temporal" or not step.strict


def step_input(step: Step) -> Node:
    return step.arguments["data"]


def _expressible(step: Step) -> bool:
    process = step.node.process
    return process in _STEPS and not (process == "reduce_dimension" and step.arguments["dimension"] != "bands")


def _siblings(program: Program, target: Step) -> list[Step]:
    """The target and other reducers of the same values: they cost next to nothing beside it."""
    reducer(target)
    same = [target]
    for step in program.steps.values():
        if step is not target and reduces_time(step) and step_input(step).hash == step_input(target).hash:
            try:
                reducer(step)
            except Unfit:
                continue
            if set(step.meta.bands or (None,)) == set(target.meta.bands or (None,)):
                same.append(step)
    return same


def reducer(step: Step) -> tuple[int, float]:
    """Kind and probability of a reducer over time; `Unfit` for those with conditions, or of several processes."""
    root = step.arguments["reducer"].root
    arguments = dict(root.arguments)
    if root.process == "array_element" and isinstance(arguments.get("data"), Node):
        series, index = arguments["data"], arguments.get("index")
        probabilities = series.arguments.get("probabilities")
        if series.process != "quantiles" or index is None or not 0 <= index < len(probabilities or ()):
            raise Unfit("a series of its own")
        kind, p, arguments = kernels.QUANTILE, float(probabilities[index]), dict(series.arguments)
        del arguments["probabilities"]
    elif root.process in _REDUCERS:
        kind, p = _REDUCERS[root.process], 0.0
    else:
        raise Unfit(root.process)
    data = arguments.pop("data", None)
    if not isinstance(data, Parameter) or any(v is not None and v is not True for v in arguments.values()):
        raise Unfit("a reducer of something else")
    if root.process == "count" and arguments.get("condition"):
        raise Unfit("all dates counted")
    return kind, p


def _guards(
    program: Program, order: Sequence[Step], demands: Mapping[str, Any],
    values: Mapping[str, Mapping[str | None, Value]], over_time: bool,
) -> tuple[Guard, ...]:  # fmt: skip
    """Masks of one band that spare reading steps: found by `demand`, kept where they are tables."""
    if not over_time:
        return ()
    spared: dict[str, set[str]] = {}
    for step in order:
        if step.node.process == LOAD:
            for selector in demands[step.node.hash].guards:
                spared.setdefault(selector.hash, set()).add(step.node.hash)
    found = []
    for selector, loads in spared.items():
        mine = list(values.get(selector, {}).values())
        if len(mine) == 1 and isinstance(mine[0], Leaf) and mine[0].step.node.process == LOAD:
            found.append(Guard(mine[0], frozenset(loads)))
    return tuple(found)


# ------------------------------------------------------------------------------------------- the machine's code


@dataclass
class _Machine:
    """Instructions as they are found; registers are numbered anew at the end, so that few are needed."""

    program: Program
    inputs: list[Leaf] = field(default_factory=list)
    constants: list[tuple[int, float]] = field(default_factory=list)
    allowed: list[frozenset[np.datetime64]] = field(default_factory=list)
    lines: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    _loaded: dict[int, int] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)
    _made: dict[tuple[int, ...], int] = field(default_factory=dict)
    _masked: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    """What is missing where a mask is true: value, mask, the number for missing."""
    _count: int = 0

    def is_byte(self, leaf: Leaf) -> bool:
        """Whether a table of all stored values is short."""
        if leaf.step.node.process != LOAD or leaf.band is None:
            return False
        return np.dtype(self.program.source(leaf.step.node).band(leaf.band).dtype).itemsize == 1

    def _new(self) -> int:
        self._count += 1
        if self._count > _MAX_REGISTERS:
            raise Unfit("a very long expression")
        return self._count - 1

    def register(self, value: Value) -> int:
        if isinstance(value, _Register):
            return value.number
        if isinstance(value, Leaf):
            if id(value) not in self._loaded:
                self.inputs.append(value)
                self._loaded[id(value)] = self._line(kernels.LOAD, len(self.inputs) - 1)
            return self._loaded[id(value)]
        single = np.float32(value)  # a number takes the precision of the values
        key = single.tobytes().hex()
        if key not in self._numbers:
            self._numbers[key] = self._new()
            self.constants.append((self._numbers[key], float(single)))
        return self._numbers[key]

    def _line(self, operation: int, *arguments: int) -> int:
        key = (operation, *arguments)
        if key not in self._made:
            target = self._new()
            a, b, c = (*arguments, 0, 0, 0)[:3]
            self.lines.append((operation, target, a, b, c))
            self._made[key] = target
            if operation == kernels.MASK and any(number == c and np.isnan(v) for number, v in self.constants):
                self._masked[target] = (a, b, c)
        return self._made[key]

    def do(self, operation: int, *arguments: Value) -> Value:
        registers = [self.register(a) for a in arguments]
        mask = self._common_mask(operation, registers)
        if mask is None:
            return _Register(self._line(operation, *registers))
        # what is missing stays missing: the result is masked once, instead of each of its arguments
        removed, missing = mask
        bare = [self._masked[r][0] if r in self._masked else r for r in registers]
        return _Register(self._line(kernels.MASK, self._line(operation, *bare), removed, missing))

    def _common_mask(self, operation: int, registers: Sequence[int]) -> tuple[int, int] | None:
        """The mask that all arguments of an instruction have that are no numbers; None where it would matter."""
        if operation not in _STRICT:
            return None
        numbers = {number for number, _ in self.constants}
        masks = {self._masked[r][1:] if r in self._masked else None for r in registers if r not in numbers}
        return next(iter(masks)) if len(masks) == 1 else None

    def on_dates(self, value: Value, dates: frozenset[np.datetime64]) -> Value:
        """The value on some dates, missing on the others."""
        if dates not in self.allowed:
            self.allowed.append(dates)
        return _Register(self._line(kernels.DATES, self.register(value), self.allowed.index(dates)))

    def _drop_unused(self, results: Sequence[int]) -> None:
        wanted = set(results)
        for line in reversed(self.lines):
            if line[1] in wanted:
                wanted.update(_arguments(line))
        self.lines = [line for line in self.lines if line[1] in wanted]

    def _skip(self, results: Sequence[int]) -> None:
        """Where a mask removes everything that comes out, the mask goes first, and ends the date if it is all true."""
        missing = {number for number, value in self.constants if np.isnan(value)}
        for mask in dict.fromkeys(line[3] for line in self.lines if line[0] == kernels.MASK and line[4] in missing):
            gone: set[int] = set()
            for line in self.lines:
                if _goes(line, mask, gone, missing):
                    gone.add(line[1])
            if results and gone.issuperset(results):
                wanted = {mask}
                for line in reversed(self.lines):
                    if line[1] in wanted:
                        wanted.update(_arguments(line))
                first = [line for line in self.lines if line[1] in wanted]
                rest = [line for line in self.lines if line[1] not in wanted]
                self.lines = [*first, (kernels.SKIP, -1, mask, 0, 0), *rest]
                return

    def finished(self, results: Sequence[int]) -> tuple[np.ndarray, int, np.ndarray]:
        """The code with registers used again once nobody needs what they hold, and where the results are."""
        self._drop_unused(results)
        self._skip(results)
        held = {number for number, _ in self.constants}
        last: dict[int, int] = {number: len(self.lines) for number in (*results, *held)}
        for at, line in enumerate(self.lines):
            for argument in _arguments(line):
                last[argument] = max(last.get(argument, -1), at)
        place: dict[int, int] = {}
        free: list[int] = []
        used = 0
        for number, _ in self.constants:
            place[number], used = used, used + 1
        code = np.zeros((len(self.lines), 5), np.int32)
        for at, line in enumerate(self.lines):
            target = line[1]
            if target < 0:
                place[target] = 0  # nothing is written
            elif free:
                place[target] = free.pop()
            else:
                place[target], used = used, used + 1
            code[at] = (line[0], place[target], *line[2:])
            for k, argument in enumerate(_arguments(line)):
                code[at, 2 + k] = place[argument]
            # freed only now: an instruction never writes over what it reads
            free += [place[a] for a in {*_arguments(line)} if last[a] == at and a not in held]
        self.constants = [(place[number], value) for number, value in self.constants]
        return code, max(used, 1), np.array([place[number] for number in results], np.int32)

    def numbers(self) -> tuple[np.ndarray, np.ndarray]:
        """Registers that hold constants, and the constants."""
        places, values = zip(*self.constants, strict=True) if self.constants else ((), ())
        return np.array(places, np.int32), np.array(values, np.float32)

    def makes_values(self, code: np.ndarray, registers: int, layers: np.ndarray) -> bool:
        """Whether a date without data may have values all the same."""
        if any(leaf.step.node.process != LOAD for leaf in self.inputs):
            return True
        out = np.empty((layers.size, 1, 1), np.float32)
        reducers = np.array([(kernels.COUNT, k) for k in range(layers.size)], np.int32)
        no_planes = np.zeros((0, 10), np.int64), np.zeros((0, 2)), np.zeros(1, np.int32), np.zeros(1, np.float32)
        kernels.run(
            code, *self.numbers(), registers, np.zeros((len(self.inputs), 2), np.int32), *no_planes,
            np.array([leaf.absent for leaf in self.inputs], np.float32), np.ones((len(self.allowed), 1), np.bool_),
            layers, reducers, np.zeros(layers.size), *kernels.networks(0, False), 32, out,
        )  # fmt: skip
        return bool((out > 0).any())


def _arguments(line: tuple[int, ...]) -> tuple[int, ...]:
    """The registers that an instruction reads."""
    operation = line[0]
    if operation == kernels.LOAD:
        return ()
    if operation in (kernels.DATES, kernels.SKIP) or operation >= kernels.NOT:
        return line[2:3]
    return line[2:5] if operation < kernels.ADD else line[2:4]


def _goes(line: tuple[int, ...], mask: int, gone: set[int], missing: set[int]) -> bool:
    """Whether an instruction's result is missing wherever a mask is true, as those in `gone` are."""
    operation, _, a, b, c = line
    if operation == kernels.MASK:
        return c in missing and (b == mask or a in gone)
    if operation == kernels.IF:
        return (b in gone or b in missing) and (c in gone or c in missing)
    if operation in (kernels.LOAD, kernels.AND, kernels.OR, kernels.IS_NODATA):
        return False
    return any(argument in gone for argument in _arguments(line))


# ------------------------------------------------------------------------------------------------- processes


def _elementwise(machine: _Machine, process: str, arguments: Mapping[str, Any]) -> Value:
    """One process on values; `arguments` hold values where it takes scalars."""
    op = registry[process]
    given = {a.name: arguments.get(a.name, a.default) for a in op.arguments.values()}
    scalars = [a.name for a in op.arguments.values() if a.kind == "scalar"]
    values = [_MISSING if given[n] is None else given[n] for n in scalars]
    leaves = {id(v): v for v in values if isinstance(v, Leaf)}
    if not any(isinstance(v, Leaf | _Register) for v in values):
        raise Unfit("numbers alone")
    if len(leaves) == 1 and not any(isinstance(v, _Register) for v in values):
        leaf = next(iter(leaves.values()))
        if machine.is_byte(leaf) or not _has_instruction(process):
            if leaf.step.node.process != LOAD:
                raise Unfit(process)

            def function(v: Any) -> Any:
                return op.fn(**{n: v if isinstance(a, Leaf) else a for n, a in given.items()})

            folded = Leaf(leaf.step, leaf.band, (*leaf.functions, function))
            folded.of(np.array([0, 1, np.nan], np.float32))  # complains of what is not single precision
            return folded
    operands: list[Value] = [float(v) if isinstance(v, int | float | np.floating) else v for v in values]
    if process in _BINARY:
        return machine.do(_BINARY[process], *operands)
    if process in _UNARY:
        return machine.do(_UNARY[process], *operands)
    if process == "if":
        return machine.do(kernels.IF, *operands)
    x = operands[0]
    if process == "clip":
        return machine.do(kernels.CLIP, x, given["min"], given["max"])
    if process == "between":
        upper = kernels.LT if given["exclude_max"] else kernels.LTE
        above = machine.do(kernels.GTE, x, given["min"])
        return machine.do(kernels.AND, above, machine.do(upper, x, given["max"]))
    if process == "linear_scale_range":
        low, high = given["inputMin"], given["inputMax"]
        factor = (given["outputMax"] - given["outputMin"]) / (high - low)
        inside = machine.do(kernels.SUBTRACT, machine.do(kernels.CLIP, x, low, high), low)
        return machine.do(kernels.ADD, machine.do(kernels.MULTIPLY, inside, factor), given["outputMin"])
    raise Unfit(process)


def _has_instruction(process: str) -> bool:
    return process in _BINARY or process in _UNARY or process in ("if", "clip", "between", "linear_scale_range")


def _callback(machine: _Machine, callback: Callback, step: Step, **parameters: Any) -> Value:
    """A callback with its parameters bound to values; `data` is a series of bands."""
    results: dict[str, Value] = {}

    def bound(argument: Any) -> Any:
        if isinstance(argument, Node):
            return results[argument.hash]
        if isinstance(argument, Parameter):
            return parameters[argument.name]
        return argument

    for node in walk(callback.root):
        if node.process == "array_element":
            results[node.hash] = _element(node, step, bound(node.arguments["data"]))
            continue
        if any(
            isinstance(a, list) and any(isinstance(i, Node | Parameter) for i in a) for a in node.arguments.values()
        ):
            raise Unfit("a list of values")
        arguments = {name: bound(a) for name, a in node.arguments.items()}
        if any(isinstance(a, dict) for a in arguments.values()):
            raise Unfit("a series as a whole")
        results[node.hash] = _elementwise(machine, node.process, arguments)
    return results[callback.root.hash]


def _element(node: Node, step: Step, series: Any) -> Value:
    if not isinstance(series, dict):
        raise Unfit("an element of a list")
    meta = next(iter(step.input_metas.values()))
    return series[element_label(meta, node.arguments.get("index"), node.arguments.get("label"))]


Images = Mapping[str | None, Value]


def _apply(machine: _Machine, step: Step, values: Mapping[str, Images]) -> dict[str | None, Value]:
    inputs = {name: values[child.hash] for name, child in step.cubes}
    return _STEPS[step.node.process](machine, step, inputs)


def _filter_bands(machine: _Machine, step: Step, inputs: Mapping[str, Images]) -> dict[str | None, Value]:
    return {band: inputs["data"][band] for band in step.meta.bands or ()}


def _filter_temporal(machine: _Machine, step: Step, inputs: Mapping[str, Images]) -> dict[str | None, Value]:
    return dict(inputs["data"])


def _each(machine: _Machine, step: Step, inputs: Mapping[str, Images]) -> dict[str | None, Value]:
    process = step.arguments["process"]
    return {band: _callback(machine, process, step, x=value) for band, value in inputs["data"].items()}


def _reduce_bands(machine: _Machine, step: Step, inputs: Mapping[str, Images]) -> dict[str | None, Value]:
    return {None: _callback(machine, step.arguments["reducer"], step, data=dict(inputs["data"]))}


def _merge(machine: _Machine, step: Step, inputs: Mapping[str, Images]) -> dict[str | None, Value]:
    a, b = inputs["cube1"], inputs["cube2"]
    if None not in a and None not in b and not set(a) & set(b):
        return {**a, **b}
    resolver = step.arguments["overlap_resolver"]
    if resolver is None:
        raise Unfit("no resolver")
    bands = step.meta.bands or (None,)
    if any(band not in side and None not in side for side in (a, b) for band in bands):
        raise Unfit("bands that do not fit")
    return {
        band: _callback(machine, resolver, step, x=a.get(band, a.get(None)), y=b.get(band, b.get(None)))
        for band in bands
    }


def _mask(machine: _Machine, step: Step, inputs: Mapping[str, Images]) -> dict[str | None, Value]:
    data, mask, replacement = inputs["data"], inputs["mask"], step.arguments["replacement"]
    other = float("nan") if replacement is None else float(replacement)
    same = None if None in mask else mask  # one mask for all bands, or one for each
    return {b: machine.do(kernels.MASK, v, mask[None] if same is None else same[b], other) for b, v in data.items()}


def _add_dimension(machine: _Machine, step: Step, inputs: Mapping[str, Images]) -> dict[str | None, Value]:
    return {step.arguments["label"]: inputs["data"][None]}


def _ndvi(machine: _Machine, step: Step, inputs: Mapping[str, Images]) -> dict[str | None, Value]:
    meta, data, target = step.input_metas["data"], inputs["data"], step.arguments["target_band"]
    nir, red = (meta.find(step.arguments[name]) for name in ("nir", "red"))
    index = machine.do(kernels.NORMALIZED_DIFFERENCE, data[nir], data[red])
    return {**data, target: index} if target else {None: index}


_STEPS: dict[str, Callable[[_Machine, Step, Mapping[str, Images]], dict[str | None, Value]]] = {
    "filter_bands": _filter_bands, "filter_temporal": _filter_temporal, "apply": _each,
    "reduce_dimension": _reduce_bands, "merge_cubes": _merge, "mask": _mask, "add_dimension": _add_dimension,
    "ndvi": _ndvi,
}  # fmt: skip
