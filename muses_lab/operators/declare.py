"""How an operator is declared: an ordinary function, its openEO or muses id, and its support.

The declaration is a contract. From the annotations come validation, the JSON schema, the widget form and the
documentation; from the support comes everything that makes lazy evaluation correct; from the cost come plans, admission
and the cutting of images into strips.

```python
@operator(
    "muses:focal_mean",
    support=Focal(lambda args, pixel: args["radius"]),
    cost=lambda args, pixel, rows, columns: Cost(rows * columns * args["radius"] * 1e-9, bytes=16 * rows * columns),
)
def focal_mean(data: Cube, radius: Annotated[int, Field(ge=1, le=64)] = 1) -> Cube: ...
```
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from muses_lab.document.graph import Node
from muses_lab.operators.contract import (
    PIXEL,
    CostOf,
    Dates,
    DimensionOf,
    GroupsOf,
    ImagesOf,
    LabelsOf,
    LengthOf,
    MethodOf,
    Narrowed,
    Needs,
    Rule,
    Shape,
    Support,
)
from muses_lab.operators.declared import Operator, Traits
from muses_lab.operators.registered import registry


def operator(
    id: str,
    *,
    version: str = "1",
    support: Support = PIXEL,
    shape: Shape | None = None,
    needs: Needs | None = None,
    strict: bool | Callable[[Mapping[str, Any]], bool] = True,
    rule: Rule | None = None,
    cost: CostOf | None = None,
    reduces: DimensionOf = None,
    dates: Callable[[Mapping[str, Any], Dates], Dates] | None = None,
    groups: GroupsOf | None = None,
    labels: LabelsOf | None = None,
    asks_dates_of: str | None = None,
    narrowed: Narrowed | None = None,
    masks: str | None = None,
    selects: bool = False,
    code: str | None = None,
    images: ImagesOf | None = None,
    expands: Callable[..., Node] | None = None,
    method: MethodOf = "",
    along: DimensionOf = None,
    length: LengthOf | None = None,
    private: bool = False,
    anywhere: bool = False,
    texts: bool = False,
    partly: str = "",
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declares a function as the operator `id` and leaves it an ordinary function.

    Parameters
    ----------
    version
        Recorded in documents; another one where the same arguments give other values.
    support
        What an output pixel depends on.
    shape
        (arguments, metas of its cubes) → meta of its result; by default the first cube's, without what it `reduces`.
    needs
        (arguments, metas of its cubes, bands wanted of it) → bands needed of each cube; by default the same ones, or
        all of them where it reduces `bands`. Who declares a shape declares the needs, too (`same_bands` are those of
        the default): TypeError.
    strict
        Whether the result is missing wherever its input is: dates without data may then be left out. May be told from
        the arguments.
    rule
        Gets all arguments and raises ValueError where they do not go together (`Refused` where openEO names that).
    cost
        What an image takes; without it a value takes two nanoseconds, and so does each process of a callback. Operators
        that look at more than a pixel (Focal, Region, Fit) must declare it: TypeError.
    reduces
        The dimension (`t` or `bands`) which it reduces, the argument that names it, or arguments → dimension or None.
    dates
        (arguments, dates) → the dates that it keeps.
    groups
        (arguments, dates of each cube by argument) → the dates of its result, each with the dates that it is made of:
        only those are read where some dates are wanted, and its function is given these groups as `groups`. None where
        it has the dates of its cubes after all. With `reduces="t"` it reduces each group by its callback: compiled code
        does that, and long groups are thinned.
    labels
        (arguments, groups in order) → what each date of its result is called in arrays: a period (`2018-03`).
    asks_dates_of
        The cube argument of which `groups` is told the dates, and nothing else is used.
    narrowed
        (arguments, metas of its cubes, bands wanted of it) → the arguments that say the same where its cubes have only
        the bands of `needs`: for arguments that name or count bands.
    masks
        The cube argument that removes values of the first cube where it is true.
    selects
        Whether it only chooses bands.
    code
        The instruction of compiled code for a process of values (`ADD`), or the reduction for one of series (`MEDIAN`).
    images
        How compiled code does a process of cubes, image by image.
    expands
        (arguments by name; values as parameters) → the process as a graph of other processes, for compiled code.
    method
        What chains have it as: a method of its id's name, with its arguments, its docstring and the examples (blocks of
        Python) in it. Another name; or a function (node of the chain, what is given to the method) → node, whose name,
        signature and docstring are the method's; None for no method.
    along
        The dimension of which each value depends on the whole series, told as in `reduces`, which is the default.
    length
        Of a process in callbacks that gives an array: (arguments, lengths of those that are arrays) → its length; that
        of the first array by default.
    private
        Whether it runs code that its arguments hold: chains with it run on their author's cluster alone, are not
        published, and are taken from documents only where the user trusts them.
    anywhere
        Whether a process of cubes may be a callback, too: its first cube is then the callback's parameter, values or a
        `Series`.
    texts
        Whether its values may be texts, in conditions on properties and labels.
    partly
        How much of openEO's process of its id it is, where that is not all: for the page of processes.
    """

    def declare(fn: Callable[..., Any]) -> Callable[..., Any]:
        traits = Traits(
            strict, rule, cost, reduces, dates, groups, labels, asks_dates_of, narrowed, masks, selects, code, images,
            expands, method, along, length, private, anywhere, texts, partly,
        )  # fmt: skip
        registry.add(Operator(fn, id, version, support, shape, needs, traits))
        return fn

    return declare
