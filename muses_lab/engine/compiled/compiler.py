"""Chains made into programs for `vm.run`: mask, expression and reducer over time in one pass over stored values.

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

from muses_lab.document.graph import Callback, Node, Parameter, walk
from muses_lab.engine.compiled import vm
from muses_lab.engine.graph import PreparedGraph, Step, Times
from muses_lab.engine.stages import Stage, is_boundary, stage
from muses_lab.operators import Meta, Operator, registry
from muses_lab.operators.callbacks import element_label, element_of, reduction_of
from muses_lab.operators.contract import Images
from muses_lab.raster.grid import Grid, Rect
from muses_lab.raster.values import physical_table

_STRICT = {*range(vm.ADD, vm.ROUND + 1), *range(vm.GT, vm.NEQ + 1), vm.CLIP, vm.NOT, vm.XOR,
           *range(vm.ABSOLUTE, vm.SGN + 1), *range(vm.EXP, vm.ARTANH + 1)}  # fmt: skip
"""Instructions whose result is missing where an argument is."""
_MAX_REGISTERS = 4096
_MISSING = np.float32(np.nan)


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
class Code:
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

    def networks(self, dates: int) -> vm.Networks:
        """What sorts as many dates for the reducers: see `vm.run`."""
        kinds = set(self.reducers[:, 0].tolist())
        ranked = not kinds.isdisjoint((vm.MEDIAN, vm.QUANTILE))
        return vm.networks(dates if ranked else 0, vm.QUANTILE in kinds)


_known: WeakKeyDictionary[PreparedGraph, dict[str, Code | None]] = WeakKeyDictionary()


def code_of(prepared: PreparedGraph, target: Step) -> Code | None:
    """The program of a step; None where none fits."""
    known = _known.setdefault(prepared, {})
    if target.node.hash not in known:
        try:
            known[target.node.hash] = _compile(prepared, target)
        except Unfit:
            known[target.node.hash] = None
    return known[target.node.hash]


def _compile(prepared: PreparedGraph, target: Step) -> Code:
    over_time = target.reduces_dates
    if (target.meta.time and not over_time) or (not over_time and target.operator.images is None):
        raise Unfit("dates in the result")
    # Geometry does not matter here: neighbourhoods are evaluations of their own, or do not fit.
    somewhere = Rect(0, 1, 0, 1)
    plan = stage(prepared, target, Grid("", "EPSG:4326", (0.0, 0.0), 1.0, somewhere), 0, somewhere)
    order = plan.order
    machine = _Machine(prepared)
    values: dict[str, dict[str | None, Value]] = {}
    below = [s for s in order if s is not target] if over_time else order
    axis = set(prepared[target.data].times) if over_time else set()
    every_date = False
    for step in below:
        if step.reads or is_boundary(step, target):
            if step.meta.time and not step.reads:
                raise Unfit("dates of a kept step")
            values[step.node.hash] = {band: Leaf(step, band) for band in step.meta.bands or (None,)}
            continue
        found = _images(machine, step, {name: values[child.hash] for name, child in step.cubes})
        if over_time and step.meta.time and not step.strict:
            every_date = True
        if step.meta.time and not axis <= set(step.times) and _sets_values(step):
            found = {band: machine.on_dates(value, frozenset(step.times)) for band, value in found.items()}
        values[step.node.hash] = found

    if over_time:
        child = prepared[target.data]
        rows, outputs = [], []
        layers: dict[str | None, int] = {}
        for sibling in _siblings(prepared, target):
            kind, p = reducer(sibling)
            for band in sibling.meta.bands or (None,):
                layer = layers.setdefault(band, len(layers))
                rows.append((kind, layer, p))
                outputs.append(Output(sibling, band))
        layered = [machine.register(values[child.node.hash][band]) for band in layers]
        dates = child.times
    else:
        rows = [(vm.FIRST, k, 0.0) for k in range(len(values[target.node.hash]))]
        outputs = [Output(target, band) for band in values[target.node.hash]]
        layered = [machine.register(value) for value in values[target.node.hash].values()]
        dates = ()
    code, registers, layers_at = machine.finished(layered)
    constants, constant_values = machine.numbers()
    return Code(
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
        order=tuple(s for s in order if s is not target and (s.reads or is_boundary(s, target))),
        guards=_guards(plan, values, over_time),
    )


def _sets_values(step: Step) -> bool:
    """Whether dates that a step does not have may have values after it."""
    return step.operator.dates is not None or not step.strict


def _siblings(prepared: PreparedGraph, target: Step) -> list[Step]:
    """The target and other reducers of the same values: they cost next to nothing beside it."""
    reducer(target)
    same = [target]
    if target.groups is not None:
        return same
    for step in prepared.steps.values():
        if step is not target and step.reduces_time and step.data.hash == target.data.hash:
            try:
                reducer(step)
            except Unfit:
                continue
            if set(step.meta.bands or (None,)) == set(target.meta.bands or (None,)):
                same.append(step)
    return same


def reducer(step: Step) -> tuple[int, float]:
    """Kind and probability of a reduction over time; `Unfit` where compiled code has none."""
    callback = next((a for a in step.arguments.values() if isinstance(a, Callback)), None)
    if callback is None:
        raise Unfit(step.operator.id)
    found = reduction_of(callback)
    if found is None:
        raise Unfit(callback.root.process)
    return getattr(vm, found[0]), found[1]


def _guards(plan: Stage, values: Mapping[str, Mapping[str | None, Value]], over_time: bool) -> tuple[Guard, ...]:
    """Masks of one band that spare reading steps: those of the stage that are tables."""
    if not over_time:
        return ()
    spared: dict[str, set[str]] = {}
    for read, selectors in plan.guards.items():
        for selector in selectors:
            spared.setdefault(selector.hash, set()).add(read)
    found = []
    for masked_by, loads in spared.items():
        mine = list(values.get(masked_by, {}).values())
        if len(mine) == 1 and isinstance(mine[0], Leaf) and mine[0].step.reads:
            found.append(Guard(mine[0], frozenset(loads)))
    return tuple(found)


# ------------------------------------------------------------------------------------------- the machine's code


@dataclass
class _Machine:
    """Instructions as they are found; registers are numbered anew at the end, so that few are needed."""

    prepared: PreparedGraph
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
        if not leaf.step.reads or leaf.band is None:
            return False
        return self._dtype(leaf).itemsize == 1

    def is_short(self, leaf: Leaf) -> bool:
        """Whether there is a table of all stored values: what takes long is looked up there."""
        if not leaf.step.reads or leaf.band is None:
            return False
        return self._dtype(leaf).kind in "iu" and self._dtype(leaf).itemsize <= 2

    def _dtype(self, leaf: Leaf) -> np.dtype:
        return np.dtype(self.prepared.source(leaf.step.node).band(str(leaf.band)).dtype)

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
                self._loaded[id(value)] = self._line(vm.LOAD, len(self.inputs) - 1)
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
            if operation == vm.MASK and any(number == c and np.isnan(v) for number, v in self.constants):
                self._masked[target] = (a, b, c)
        return self._made[key]

    def do(self, operation: int, *arguments: Value) -> Value:
        registers = [self.register(a) for a in arguments]
        if operation == vm.POWER and (registers[1], 2.0) in self.constants:  # the same, in a fiftieth of the time
            operation, registers = vm.MULTIPLY, [registers[0], registers[0]]
        mask = self._common_mask(operation, registers)
        if mask is None:
            return _Register(self._short(operation, *registers))
        # what is missing stays missing: the result is masked once, instead of each of its arguments
        removed, missing = mask
        bare = [self._masked[r][0] if r in self._masked else r for r in registers]
        return _Register(self._line(vm.MASK, self._short(operation, *bare), removed, missing))

    def _short(self, operation: int, *registers: int) -> int:
        """A line; one for a quotient that is missing where its divisor is 0."""
        if self._keeps(operation, registers):
            divisor, accept = registers[:2]
            quotient = next((line for line in reversed(self.lines) if line[1] == accept), None)
            if quotient is not None and quotient[0] == vm.DIVIDE and quotient[3] == divisor:
                return self._line(vm.RATIO, *quotient[2:4])
        return self._line(operation, *registers)

    def _keeps(self, operation: int, registers: Sequence[int]) -> bool:
        """Whether it is IF with nothing but missing values where the condition is not true."""
        return operation == vm.IF and any(n == registers[2] and np.isnan(v) for n, v in self.constants)

    def _common_mask(self, operation: int, registers: Sequence[int]) -> tuple[int, int] | None:
        """The mask that all arguments of an instruction have that are no numbers; None where it would matter.

        Wins 5 to 15 % of W1's evaluation: one mask for two bands.
        """
        if operation not in _STRICT and not self._keeps(operation, registers):
            return None
        numbers = {number for number, _ in self.constants}
        masks = {self._masked[r][1:] if r in self._masked else None for r in registers if r not in numbers}
        return next(iter(masks)) if len(masks) == 1 else None

    def on_dates(self, value: Value, dates: frozenset[np.datetime64]) -> Value:
        """The value on some dates, missing on the others."""
        if dates not in self.allowed:
            self.allowed.append(dates)
        return _Register(self._line(vm.DATES, self.register(value), self.allowed.index(dates)))

    def _drop_unused(self, results: Sequence[int]) -> None:
        wanted = set(results)
        for line in reversed(self.lines):
            if line[1] in wanted:
                wanted.update(_arguments(line))
        self.lines = [line for line in self.lines if line[1] in wanted]

    def finished(self, results: Sequence[int]) -> tuple[np.ndarray, int, np.ndarray]:
        """The code with registers used again once nobody needs what they hold, and where the results are."""
        self._drop_unused(results)
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
            if free:
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
        if any(not leaf.step.reads for leaf in self.inputs):
            return True
        out = np.empty((layers.size, 1, 1), np.float32)
        reducers = np.array([(vm.FIRST, k) for k in range(layers.size)], np.int32)
        no_planes = np.zeros((0, 10), np.int64), np.zeros((0, 2)), np.zeros(1, np.int32), np.zeros(1, np.float32)
        vm.run(
            code, *self.numbers(), registers, np.zeros((len(self.inputs), 2), np.int32), *no_planes,
            np.array([leaf.absent for leaf in self.inputs], np.float32), np.ones((len(self.allowed), 1), np.bool_),
            layers, reducers, np.zeros(layers.size), *vm.networks(0, False), 32, 0, 1, out,
        )  # fmt: skip
        return not bool(np.isnan(out).all())


def _arguments(line: tuple[int, ...]) -> tuple[int, ...]:
    """The registers that an instruction reads."""
    operation = line[0]
    if operation == vm.LOAD:
        return ()
    if operation == vm.DATES or operation >= vm.NOT:
        return line[2:3]
    return line[2:5] if operation < vm.ADD else line[2:4]


# ------------------------------------------------------------------------------------------------- processes


def _elementwise(machine: _Machine, process: str, arguments: Mapping[str, Any]) -> Value:
    """One process on values; `arguments` hold values where it takes scalars."""
    op = registry[process]
    given = {a.name: arguments.get(a.name, a.default) for a in op.arguments.values()}
    scalars = [a.name for a in op.arguments.values() if a.kind == "scalar"]
    values = [_MISSING if given[name] is None else given[name] for name in scalars]
    if not any(isinstance(v, Leaf | _Register) for v in values):
        return _number(op, given)
    leaves = {id(v): v for v in values if isinstance(v, Leaf)}
    if len(leaves) == 1 and not any(isinstance(v, _Register) for v in values):
        (leaf,) = leaves.values()
        costly = op.code is not None and getattr(vm, op.code) in vm.COSTLY and machine.is_short(leaf)
        if machine.is_byte(leaf) or costly or (op.code is None and op.expands is None):
            return _folded(leaf, op, given)
    if op.expands is not None:
        return _graph(machine, op.expands(given), dict(zip(scalars, values, strict=True)))
    if op.code is None:
        raise Unfit(process)
    options = {a.name for a in op.arguments.values() if a.kind == "value" and not a.required}
    if any(given[name] != op.arguments[name].default for name in options):
        raise Unfit(f"an option of {process}")
    operands = [_MISSING if v is None else v for name, v in given.items() if name not in options]
    return machine.do(getattr(vm, op.code), *(float(v) if isinstance(v, int | np.floating) else v for v in operands))


def _number(op: Operator, given: Mapping[str, Any]) -> Any:
    """What a process makes of constants alone."""
    found = op.fn(**given)
    if found is not None and not isinstance(found, str | int | float):
        raise Unfit("no number")
    return _MISSING if found is None else found


def _folded(leaf: Leaf, op: Operator, given: Mapping[str, Any]) -> Leaf:
    """A leaf through a process of it alone: it becomes part of the table of its stored values."""
    if not leaf.step.reads:
        raise Unfit(op.id)

    def function(v: Any) -> Any:
        return op.fn(**{n: v if isinstance(a, Leaf) else a for n, a in given.items()})

    folded = Leaf(leaf.step, leaf.band, (*leaf.functions, function))
    folded.of(np.array([0, 1, np.nan], np.float32))  # complains of what is not single precision
    return folded


def _graph(machine: _Machine, root: Node, parameters: Mapping[str, Any], meta: Meta | None = None) -> Value:
    """A graph of processes of values with its parameters bound; `data` to values by band, of a cube with this meta."""
    results: dict[str, Value] = {}

    def bound(argument: Any) -> Any:
        if isinstance(argument, Node):
            return results[argument.hash]
        if isinstance(argument, Parameter):
            return parameters[argument.name]
        return argument

    for node in walk(root):
        element = element_of(node)
        if element is not None:
            series, index, label = element
            of = bound(series)
            if not isinstance(of, dict) or meta is None:
                raise Unfit("an element of a list")
            results[node.hash] = of[element_label(meta, index, label)]
            continue
        if any(
            isinstance(a, list) and any(isinstance(i, Node | Parameter) for i in a) for a in node.arguments.values()
        ):
            raise Unfit("a list of values")
        arguments = {name: bound(a) for name, a in node.arguments.items()}
        if any(isinstance(a, dict) for a in arguments.values()):
            raise Unfit("a series as a whole")
        results[node.hash] = _elementwise(machine, node.process, arguments)
    return results[root.hash]


@dataclass(frozen=True)
class _Step:
    """What an operator's `images` may ask of the compiler; see `operators.contract.Compiling`."""

    machine: _Machine
    meta: Meta
    """Of its first cube."""

    def call(self, callback: Callback, **parameters: Any) -> Value:
        return _graph(self.machine, callback.root, parameters, self.meta)

    def mask(self, value: Value, selector: Value, replacement: float) -> Value:
        return self.machine.do(vm.MASK, value, selector, replacement)

    def refuse(self, reason: str) -> Unfit:
        return Unfit(reason)


def _images(machine: _Machine, step: Step, inputs: Mapping[str, Images]) -> dict[str | None, Value]:
    """A step's values, image by image."""
    if step.operator.images is None:
        raise Unfit(step.operator.id)
    compiling = _Step(machine, step.input_metas[step.operator.cubes[0]])
    return dict(step.operator.images(compiling, step.arguments, inputs, step.meta.bands))
