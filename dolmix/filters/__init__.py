"""The filters: `AnyFilter` is any of them, chosen by `type`.

To add one: a module here, a place in this union, a row in `docs/filters.md`, a test.
"""

from typing import Annotated

from pydantic import Field

from dolmix.filters.base import Filter, Rule, judge
from dolmix.filters.c4 import C4
from dolmix.filters.char_repetition import CharRepetition
from dolmix.filters.classifier import Classifier
from dolmix.filters.code import Code
from dolmix.filters.datatrove import Datatrove
from dolmix.filters.decontaminate import Decontaminate
from dolmix.filters.field import RecordField
from dolmix.filters.fineweb import FineWeb
from dolmix.filters.gopher import Gopher
from dolmix.filters.language import Language
from dolmix.filters.lines import Lines
from dolmix.filters.perplexity import Perplexity
from dolmix.filters.pii import Pii
from dolmix.filters.regex import Regex
from dolmix.filters.repetition import Repetition
from dolmix.filters.rule import ColumnRule
from dolmix.filters.sampler import Sampler
from dolmix.filters.stars import Stars
from dolmix.filters.url import Url
from dolmix.filters.warc import WarcRecord
from dolmix.filters.word_share import WordShare
from dolmix.filters.words import ListedWords

AnyFilter = Annotated[
    Language
    | Gopher
    | Repetition
    | CharRepetition
    | C4
    | FineWeb
    | Code
    | Stars
    | WordShare
    | Classifier
    | Perplexity
    | Decontaminate
    | Pii
    | Lines
    | ListedWords
    | RecordField
    | Regex
    | Url
    | Sampler
    | WarcRecord
    | ColumnRule
    | Datatrove,
    Field(discriminator="type"),
]
"""A filter as a pipeline file writes it: `{type: gopher, ...}`."""

__all__ = [
    "C4",
    "AnyFilter",
    "CharRepetition",
    "Classifier",
    "Code",
    "ColumnRule",
    "Datatrove",
    "Decontaminate",
    "Filter",
    "FineWeb",
    "Gopher",
    "Language",
    "Lines",
    "ListedWords",
    "Perplexity",
    "Pii",
    "RecordField",
    "Regex",
    "Repetition",
    "Rule",
    "Sampler",
    "Stars",
    "Url",
    "WarcRecord",
    "WordShare",
    "judge",
]
