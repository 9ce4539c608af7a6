"""Controls: sliders, choices, dates, classes and palettes that change the parameters of chains and layers."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import traitlets as t

import muses_lab as ml
from muses_lab.api.parameters import Parameter, unknown
from muses_lab.errors import ArgumentError, MusesError
from muses_lab.plain import Status, shown
from muses_widgets import rows
from muses_widgets.modules import JS, joined
from muses_widgets.threads import TURN, Told

Item = ml.Chain | ml.Layer | ml.TimeLayer

_NODE = re.compile(r"^node '[^']*': ")
"""How the errors of documents begin; beside a control it is known which argument is meant."""


class Target(Protocol):
    """What shows a chain or a layer, and can show another one in its place."""

    @property
    def name(self) -> str: ...
    @property
    def item(self) -> Item: ...
    def check(self, item: Item) -> None:
        """Raises why it could not be shown."""

    def show(self, item: Item) -> None: ...


class Controls(Told):
    """Controls for the parameters of chains and layers.

    >>> green = ndvi.focal_mean(3) > ml.parameter("threshold", 0.4, minimum=0, maximum=1)
    >>> m.add(green, name="Green")
    >>> m.control_panel()                                        # of the layers on a map: a slider for the threshold
    >>> m.control_panel("threshold", "focal_mean.radius", "style.cmap")

    Each parameter has an input by its declaration: numbers a slider and a field, choices a list, switches, dates,
    lists of classes check boxes, palettes their colours. A control changes all of the layers that have a parameter of
    its name. Nothing is computed by it but what the map shows then, and of that only what depends on the parameter.

    Without a map, for what is done with the chains otherwise:

    >>> controls = Controls(green, "threshold")
    >>> controls.on_change(lambda chain: print(chain.compute(window).mean().item()))

    Parameters
    ----------
    items
        A chain, a layer, or several of them.
    names
        Of parameters, as `chain.parameters` lists them; the name of a process means all its arguments. Without names:
        those that were given a name by `ml.parameter`; where there are none, all but texts.
    """

    _esm = joined(JS / "controls.js")
    _css = "\n".join((JS / name).read_text("utf-8") for name in ("panel.css", "palettes.css", "controls.css"))

    # As `ControlsTraits` in js/types.d.ts.
    rows: t.List[dict[str, Any]] = t.List(t.Dict()).tag(sync=True)
    """What is drawn, see `rows.row`; `problem` says why a value was not taken."""
    bound: t.List[str] = t.List(t.Unicode()).tag(sync=True)
    """Names of the layers that are changed."""
    told: t.Dict[str, Any] = t.Dict().tag(sync=True)
    """{state: ok | working | failed, text}."""
    own_id = t.Unicode().tag(sync=True)

    def __init__(self, items: Item | Target | Iterable[Item | Target], /, *names: str) -> None:
        given = [items] if isinstance(items, Item) or not isinstance(items, Iterable) else list(items)
        bound = [_Bound(_Free(one) if isinstance(one, Item) else one) for one in given if _is_target(one)]
        if len(bound) < len(given) or not given:
            wrong = next((one for one in given if not _is_target(one)), items)
            raise ArgumentError(
                f"Controls({shown(wrong)}): controls are of a chain, a layer or a list of them; of those on a map, "
                "m.control_panel()"
            )
        chosen = _chosen(bound, names)
        self._bound = [one for one in bound if any(name in one.parameters for name in chosen)]
        self._queue = threading.Lock()  # of what waits
        self._waiting: dict[str, Any] = {}
        self._asked: list[str] = []
        self._working = False
        self._uses: list[Callable[..., Any]] = []
        super().__init__(
            rows=[rows.row(one) | self._differs(name) for name, one in chosen.items()],
            told={"state": "ok", "text": ""},
            bound=[one.target.name for one in self._bound if one.target.name],
        )  # fmt: skip
        self.own_id = self.model_id or ""
        self.on_msg(self._receive)

    # ---- in Python

    @property
    def items(self) -> tuple[Item, ...]:
        """The chains and layers as they are now."""
        return tuple(one.target.item for one in self._bound)

    @property
    def values(self) -> dict[str, Any]:
        """The values by the parameters' names."""
        now = self._parameters()
        return {row["name"]: now[row["name"]].value for row in self.rows}

    def set(self, values: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        """Gives parameters other values, as their controls do.

        >>> controls.set({"focal_mean.radius": 5}, threshold=0.5)
        """
        values = {**(values or {}), **named}
        for name in values:
            if name not in (known := [row["name"] for row in self.rows]):
                raise ArgumentError(f"no control {name!r}; there are {', '.join(known)}", argument=name)
        self._apply(values)

    def on_change(self, use: Callable[..., Any]) -> None:
        """Calls a function with the chains or layers, now and whenever a control has changed them."""
        self._uses.append(use)
        use(*self.items)

    def refresh(self) -> None:
        """Takes over what the layers are now, where others have replaced them."""
        with TURN:
            self._draw()

    def status(self) -> Status:
        """What it controls, and whether it did: the state is `ok`, `working` or `failed`; `print` gives JSON."""
        problems = {row["name"]: row["problem"] for row in self.rows if row.get("problem")}
        return Status(
            kind="controls", state=self.told["state"], why=self.told["text"] or None, values=self.values,
            layers=list(self.bound), problems=problems,
        )  # fmt: skip

    def __repr__(self) -> str:
        values = ", ".join(f"{name} = {shown(value)}" for name, value in self.values.items())
        why = f": {self.told['text']}" if self.told["text"] else ""
        return f"<Controls of {', '.join(self.bound) or 'chains'}: {values}; {self.told['state']}{why}>"

    # ---- inside

    def _parameters(self) -> dict[str, Parameter]:
        found: dict[str, Parameter] = {}
        for one in reversed(self._bound):
            found |= one.parameters
        return found

    def _apply(self, values: Mapping[str, Any]) -> None:
        """All or nothing: a layer that cannot be made leaves the others as they are."""
        with TURN:
            made = [(one, one.made_with(values)) for one in self._bound]
            for one, item in made:
                one.target.check(item)
            for one, item in made:
                one.take(item, values)
            self._draw(known=values)
            self.told = {"state": "ok", "text": ""}
        for use in self._uses:  # which may wait for what other widgets tell
            use(*self.items)

    def _draw(self, known: Iterable[str] = ()) -> None:
        """The rows as the layers are now; those that nobody has given another value keep their problem."""
        now, drawn = self._parameters(), []
        for old in self.rows:
            if old["name"] not in now:  # a layer was replaced by one without it
                continue
            new = rows.row(now[old["name"]], old) | self._differs(old["name"])
            kept = old.get("problem") if old["name"] not in known else None
            drawn.append({**new, "problem": kept} if kept else new)
        self.rows = drawn

    def _differs(self, name: str) -> dict[str, Any]:
        values = [one.parameters[name].value for one in self._bound if name in one.parameters]
        return {"differs": True} if any(value != values[0] for value in values) else {}

    def _receive(self, _: Any, message: dict[str, Any], __: Any) -> None:
        """In a thread, so that the next value may take the place of one that waits."""
        if message.get("do") != "set":
            return
        with self._queue:
            self._waiting |= message["values"]
            self._asked.append(message["asked"])
            if self._working:
                return
            self._working = True
        threading.Thread(target=self._work, name="controls", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._queue:
                values, self._waiting = self._waiting, {}
                asked, self._asked = self._asked, []
                if not asked:
                    self._working = False
                    return
            self.told = {"state": "working", "text": ""}
            try:
                now, by_name = self._parameters(), {row["name"]: row for row in self.rows}
                self._apply({n: rows.read(by_name[n], now[n], v) for n, v in values.items() if n in by_name})
            except Exception as error:  # no cell is there in which it could appear
                text = _NODE.sub("", str(error)) or type(error).__name__
                if not isinstance(error, MusesError):
                    text = f"{type(error).__name__}: {text}"
                self.rows = [{**row, "problem": text} if row["name"] in values else row for row in self.rows]
                self.told = {"state": "failed", "text": text}
            self.send({"kind": "done", "asked": asked})


class _Free:
    """A chain or a layer that is on no map."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.name = ""

    def check(self, item: Item) -> None:
        pass

    def show(self, item: Item) -> None:
        self.item = item


class _Bound:
    """A target, with the chain from which the values make others.

    The chain is made of the first one each time: two processes that have got the same value may have become one.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self._begin()

    def _begin(self) -> None:
        self._first = self._last = _chain(self.target.item)
        self._values: dict[str, Any] = {}
        self._known = dict(self._first.parameters)

    def _follow(self) -> None:
        """Somebody has shown another chain there."""
        if not _chain(self.target.item).identical(self._last):
            self._begin()

    @property
    def parameters(self) -> dict[str, Parameter]:
        """As they are now: those of the chain, and of the style that it has now."""
        self._follow()
        found = self._known | {name: self._known[name].but(value) for name, value in self._values.items()}
        if not isinstance(self.target.item, ml.Chain):
            found |= {n: one for n, one in self.target.item.parameters.items() if n.startswith("style.")}
        return found

    def made_with(self, values: Mapping[str, Any]) -> Item:
        self._follow()
        wanted = {**self._values, **{name: value for name, value in values.items() if name in self._known}}
        chain = self._first.with_parameters(wanted) if wanted else self._first
        item = self.target.item
        if isinstance(item, ml.Chain):
            return chain
        of_style = {name: value for name, value in values.items() if name.startswith("style.")}
        layer = ml.Layer(chain, item.look).with_parameters(of_style)
        return ml.TimeLayer(ml.OverTime(layer.chain), layer.look) if isinstance(item, ml.TimeLayer) else layer

    def take(self, item: Item, values: Mapping[str, Any]) -> None:
        """Shows what was made with the values."""
        changed = {name: value for name, value in values.items() if name in self._known}
        old, self._last = self.target.item, _chain(item)
        self._values |= changed
        if old.hash != item.hash:
            self.target.show(item)


def _chain(item: Item) -> Any:
    if isinstance(item, ml.TimeLayer):
        return item.over.cube
    return item.chain if isinstance(item, ml.Layer) else item


def _is_target(value: Any) -> bool:
    return isinstance(value, Item) or hasattr(value, "item")


def _chosen(bound: Sequence[_Bound], names: Sequence[str]) -> dict[str, Parameter]:
    """The parameters that get a control, in the order of the names."""
    of_each = [one.target.item.parameters for one in bound]
    known = {name: one for parameters in reversed(of_each) for name, one in parameters.items()}
    found: dict[str, Parameter] = {}
    for name in names:
        here = [parameters for parameters in of_each if parameters.means(name)]
        if not here:
            raise unknown(name, list(known))
        found |= here[0].chosen([name])
    if not names:
        found = {name: parameters[name] for parameters in of_each for name in parameters.named}
    if not found:
        of_chains = {name: one for name, one in known.items() if not name.startswith("style.")}
        found = {name: one for name, one in of_chains.items() if rows.row(one)["kind"] in rows.ADJUSTABLE}
    if not found:
        raise ArgumentError("there is nothing to control: the chain has no named parameter and no number or choice")
    return found
