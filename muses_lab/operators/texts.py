"""Processes of texts, in conditions on the properties of scenes: catalogues answer them, cubes hold numbers."""

from __future__ import annotations

from typing import Any

from muses_lab.errors import DocumentError
from muses_lab.operators.contract import Scalar
from muses_lab.operators.declare import operator


def _of_scenes() -> Any:
    raise DocumentError("texts are compared by catalogues, in conditions on the properties of scenes")


@operator("text_begins", method=None, texts=True)
def text_begins(data: Scalar, pattern: str, case_sensitive: bool = True) -> Scalar:
    """Whether a text begins with another one; in conditions on the properties of scenes.

    ```python
    s2.filter("\\"s2:mgrs_tile\\" LIKE '31T%'")
    ```
    """
    return _of_scenes()


@operator("text_contains", method=None, texts=True)
def text_contains(data: Scalar, pattern: str, case_sensitive: bool = True) -> Scalar:
    """Whether a text contains another one; in conditions on the properties of scenes.

    ```python
    s2.filter("platform LIKE '%2a%'")
    ```
    """
    return _of_scenes()


@operator("text_ends", method=None, texts=True)
def text_ends(data: Scalar, pattern: str, case_sensitive: bool = True) -> Scalar:
    """Whether a text ends with another one; in conditions on the properties of scenes.

    ```python
    s2.filter("platform LIKE '%2b'")
    ```
    """
    return _of_scenes()
