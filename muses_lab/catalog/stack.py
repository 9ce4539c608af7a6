"""Stacks: one file whose bands are dates × bands, and the small mapping that says which band is what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from muses_lab.errors import MusesError
from muses_lab.products import profiles
from muses_lab.times import format_time, parse_time


class StackError(MusesError):
    """The mapping of a stack is not complete or does not fit its file."""

    code = "stack-invalid"


def _date(value: Any) -> str:
    """20180429, "2018-04-29", a YAML date: all the same."""
    return format_time(parse_time(str(value).replace(" ", "T")))


def _band(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class StackBand(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    common_name: str | None = None
    categorical: bool = False
    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None


class Stack(BaseModel):
    """
    >>> stack = Stack.read({"dates": [20180429, 20180513], "bands": ["B4", {"name": "B8", "common_name": "nir"}],
    ...                     "scale": 1e-4, "nodata": -10000})
    >>> stack.index(date=1, band=0)
    3
    """

    model_config = ConfigDict(extra="forbid")

    dates: list[Annotated[str, BeforeValidator(_date)]] = Field(min_length=1)
    """In the order of the file."""
    bands: list[Annotated[StackBand, BeforeValidator(_band)]] = Field(min_length=1)
    """In the order of the file; a plain text is a name."""
    order: Literal["date-major", "band-major"] = "date-major"
    """date-major: all bands of the first date, then of the second; band-major: all dates of the first band first."""
    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None
    """Of all bands; the file's own where it is not given."""
    collection: str | None = None
    platform: str | None = None
    product: str | None = None
    """One of the known products, for what else is known of it (common names, masks)."""

    @classmethod
    def read(cls, source: str | Path | dict[str, Any]) -> Stack:
        name = "the mapping"
        document = source
        if not isinstance(source, dict):
            name = str(source)
            try:
                text = Path(source).read_text("utf-8")
                document = json.loads(text) if name.endswith(".json") else yaml.safe_load(text)
            except (OSError, ValueError, yaml.YAMLError) as error:
                raise StackError(f"{name} cannot be read as JSON or YAML: {error}") from None
        try:
            stack = cls.model_validate(document)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(p) for p in first["loc"]) or "it"
            raise StackError(f"{name} does not describe a stack: {place}: {first['msg']}") from None
        for what, values in (("dates", stack.dates), ("band names", [b.name for b in stack.bands])):
            if twice := {v for v in values if values.count(v) > 1}:
                raise StackError(f"{name} names {what} more than once: {', '.join(sorted(twice))}")
        if stack.product is not None and stack.product not in profiles():
            raise StackError(f"{name}: product {stack.product!r} is unknown; known are {', '.join(profiles())}")
        return stack

    def index(self, date: int, band: int) -> int:
        """1-based band of the file."""
        if self.order == "date-major":
            return date * len(self.bands) + band + 1
        return band * len(self.dates) + date + 1

    def check(self, count: int, path: Path) -> None:
        expected = len(self.dates) * len(self.bands)
        if count != expected:
            raise StackError(
                f"{path.name} has {count} bands, but the mapping describes {len(self.dates)} dates × "
                f"{len(self.bands)} bands = {expected}"
            )

    def collection_fields(self) -> dict[str, Any]:
        return {"muses:product": self.product} if self.product else {}
