"""The filters: `AnyFilter` is any of them, chosen by `type`.

To add one: a module here, a place in this union, a row in `docs/filters.md`, a test.
"""

from typing import Annotated

from pydantic import Field

from dolmix.filters.base import Filter, Rule, judge
from dolmix.filters.code import Stars, WordShare
from dolmix.filters.gopher import Gopher
from dolmix.filters.language import Language
from dolmix.filters.repetition import Repetition

AnyFilter = Annotated[
    Language | Gopher | Repetition | Stars | WordShare, Field(discriminator="type")
]
"""A filter as a pipeline file writes it: `{type: gopher, ...}`."""

__all__ = [
    "AnyFilter",
    "Filter",
    "Gopher",
    "Language",
    "Repetition",
    "Rule",
    "Stars",
    "WordShare",
    "judge",
]
