"""Forms of operators: an input for each argument, made of its declaration, and the chain that they give."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import ipywidgets
import traitlets as t

import muses_lab as ml
from muses_lab.errors import ArgumentError, MusesError
from muses_lab.operators import registry
from muses_lab.operators.methods import Schema, description, schemas_of, single
from muses_lab.plain import Status

_STYLE = {"description_width": "11em"}
_WIDTH = "30em"
_NUMBERS = ("number", "integer")


class Form(ipywidgets.VBox):
    """A form for one of a chain's methods.

    >>> form = Form(ndvi.median("t").focal_mean)
    >>> form.on_change(lambda chain: m.add(chain.style(cmap="RdYlGn"), name="smooth"))
    >>> form

    The method is given as it stands on a chain, or by its name: `Form(chain, "focal_mean")`. Each argument has an
    input by its type, from the operator's declaration: numbers with their limits, choices, texts, switches; lists are
    written as in Python, `[0.1, 0.5]`. `given` are arguments that nobody is asked for, chains among them.

    `chain` is the result, None while an argument is missing or wrong: the form says which, and why. Nothing is computed
    by the form.
    """

    chain = t.Any(None, allow_none=True, help="The chain with the operator, as it is filled in.")

    def __init__(self, method: Any, name: str | None = None, /, **given: Any) -> None:
        self._chain, self._method = _method(method, name)
        self._given = given
        parameters = dict(inspect.signature(self._bound).parameters)
        for argument in given:
            if argument not in parameters:
                raise ArgumentError(
                    f"{self._method} has no argument {argument!r}; it has {', '.join(parameters) or 'none'}",
                    argument=argument,
                )
        schemas = schemas_of(self._method)
        self._several = next((p.name for p in parameters.values() if p.kind is p.VAR_POSITIONAL), None)
        self._inputs = {
            p.name: _Input(p.name, {"type": "array"} if p.name == self._several else schemas.get(p.name, {}), p.default)
            for p in parameters.values()
            if p.name not in given and p.kind is not p.VAR_KEYWORD
        }
        self._problem = ipywidgets.HTML()
        self._why = ""
        says = description(inspect.getdoc(self._bound) or "").split("\n\n")[0]
        head = ipywidgets.HTML(f"<b>{_escaped(self._method)}</b> {_escaped(says)}")
        super().__init__([head, *(one.widget for one in self._inputs.values()), self._problem])
        for one in self._inputs.values():
            one.widget.observe(self._fill, "value")
        self._fill()

    @property
    def _bound(self) -> Callable[..., Any]:
        return getattr(self._chain, self._method)

    @property
    def arguments(self) -> dict[str, Any]:
        """What is filled in, by argument; `ArgumentError` where a text is no value."""
        filled = {name: one.value for name, one in self._inputs.items() if not one.is_left_out}
        return {**self._given, **filled}

    def status(self) -> Status:
        """What is filled in, and why there is no chain yet if there is none; `print` gives JSON."""
        state = {"state": "ok", "why": None} if self.chain is not None else {"state": "failed", "why": self._why}
        return Status(kind="form", method=self._method, **state, chain=None if self.chain is None else self.chain.hash)

    def __repr__(self) -> str:
        return f"<Form of {self._method}: {self.chain if self.chain is not None else self._why}>"

    def on_change(self, use: Callable[[ml.Chain], Any]) -> None:
        """Calls a function with the chain, now and whenever the form gives another one."""
        self.observe(lambda change: change["new"] is not None and use(change["new"]), "chain")
        if self.chain is not None:
            use(self.chain)

    def _fill(self, _: Any = None) -> None:
        missing = [name for name, one in self._inputs.items() if one.is_left_out and one.is_required]
        try:
            made = None if missing else self._call(self.arguments)
            problem = f"{', '.join(missing)}: not filled in yet" if missing else ""
        except (MusesError, TypeError, ValueError) as error:
            made, problem = None, str(error)
        self._why = problem
        self._problem.value = f'<span role="alert" style="color:#c62828">{_escaped(problem)}</span>' if problem else ""
        if made is None or not made.identical(self.chain):
            self.chain = made

    def _call(self, arguments: dict[str, Any]) -> Any:
        several = arguments.pop(self._several, ()) if self._several else ()
        return self._bound(*several, **arguments)


class _Input:
    """The input of an argument."""

    def __init__(self, name: str, schema: Schema, default: Any) -> None:
        self.name = name
        self.is_required = default is inspect.Parameter.empty
        self._default = None if self.is_required else default
        self._schema, self._optional = single(schema)
        self.widget = self._made()

    @property
    def is_left_out(self) -> bool:
        """Whether nothing is filled in: the default holds, or there is none."""
        return isinstance(self.widget, ipywidgets.Text) and not self.widget.value.strip()

    @property
    def value(self) -> Any:
        value = self.widget.value
        if not isinstance(self.widget, ipywidgets.Text):
            return value
        if self._schema.get("type") == "string" and "enum" not in self._schema:
            return value.strip()
        return _read(self.name, value, several=self._schema.get("type") == "array")

    def _made(self) -> Any:
        shared = {"description": self.name, "style": _STYLE, "layout": ipywidgets.Layout(width=_WIDTH)}
        schema, default = self._schema, self._default
        kind, choices = schema.get("type"), schema.get("enum") or ([schema["const"]] if "const" in schema else None)
        if choices and not self._optional:
            return ipywidgets.Dropdown(options=choices, value=default if default in choices else choices[0], **shared)
        if kind == "boolean" and not self._optional:
            return ipywidgets.Checkbox(value=bool(default), indent=False, **shared)
        if kind in _NUMBERS and isinstance(default, int | float) and not self._optional:
            return _number(kind, schema, default, shared)
        hint = "left out" if not self.is_required else _expected(schema)
        text = "" if default is None else default if isinstance(default, str) else json.dumps(default)
        return ipywidgets.Text(value=text, placeholder=hint, continuous_update=False, **shared)


def _number(kind: str, schema: Schema, default: float, shared: dict[str, Any]) -> Any:
    """A field for a number, with the limits that are declared."""
    low, high = schema.get("minimum"), schema.get("maximum")
    whole = kind == "integer"
    if low is None or high is None:
        return (ipywidgets.IntText if whole else ipywidgets.FloatText)(value=default, **shared)
    field = ipywidgets.BoundedIntText if whole else ipywidgets.BoundedFloatText
    return field(value=default, min=low, max=high, **shared)


def _method(method: Any, name: str | None) -> tuple[Any, str]:
    """A chain, and the name of its method."""
    chain = getattr(method, "__self__", None) if name is None else method
    name = getattr(method, "__name__", "") if name is None else name
    if not isinstance(chain, ml.Chain):
        raise ArgumentError("a form is of a chain's method: Form(chain.focal_mean), or Form(chain, 'focal_mean')")
    if registry.of_method(name) is None:
        raise ArgumentError(f"{name!r} is no operator that chains have as a method; docs/operators.md lists them")
    return chain, name


def _expected(schema: Schema) -> str:
    return {"number": "a number", "integer": "a whole number", "array": "[…, …]", "string": "a text"}.get(
        str(schema.get("type")), "a value"
    )


def _read(name: str, text: str, several: bool) -> Any:
    """A value as JSON or Python writes it; several may stand without brackets, and texts without quotes."""
    for written in (text, f"[{text}]") if several else (text,):
        for read in (json.loads, ast.literal_eval):
            with suppress(ValueError, SyntaxError):
                value = read(written)
                return list(value) if isinstance(value, tuple) else value
    if several:
        return [part.strip() for part in text.split(",")]
    raise ArgumentError(f"{name}: {text!r} is no value; write 0.5, [1, 2] or true", argument=name)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
