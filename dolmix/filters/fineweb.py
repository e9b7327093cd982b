"""FineWeb's own rules on lines (Penedo et al. 2024, arXiv:2406.17557).

datatrove has changed them since the data set was published; a preset names whose decisions it
reproduces.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from dolmix.config import Frac
from dolmix.document import Columns, F64Array, I64Array, TextBatch, U8Array
from dolmix.filters.base import Filter, Rule, with_preset

THRESHOLDS = {
    "min_line_punct_frac": 0.12,
    "max_short_line_frac": 0.67,
    "max_dup_line_char_frac": 0.01,
    "max_newlines_per_word": 0.3,
}
PRESETS: dict[str, dict[str, Any]] = {
    "datatrove-0.10": {**THRESHOLDS, "min_lines": 1},
    "2024-04": {**THRESHOLDS, "stop_chars": ".'\"!?"},
}
"""Thresholds by preset: the defaults of datatrove 0.10's FineWebQualityFilter, and of the one that
FineWeb was made with (datatrove up to 0.3)."""

Count = Annotated[int, Field(ge=0)]
Ratio = Annotated[float, Field(ge=0, allow_inf_nan=False)]
StopChars = Annotated[str, Field(min_length=1)]


class FineWeb(Filter):
    """Drop documents whose lines are those of a list, not of prose.

    A threshold that is not given is the preset's; null switches its rule off.
    """

    rule_settings = (*THRESHOLDS, "min_lines")

    type: Literal["fineweb"] = "fineweb"
    preset: Literal["datatrove-0.10", "2024-04"] = "datatrove-0.10"
    """Whose definitions and thresholds: those of datatrove 0.10, or of the published FineWeb, where
    blank lines count and three rules drop at their limit already."""
    words: Literal["spacy-en", "whitespace"] = "spacy-en"
    """What a word is to `max_newlines_per_word`."""
    min_lines: Count | None = None
    """Fewest lines that are not blank."""
    stop_chars: StopChars | None = None
    """Characters that a line should end in; null for the terminal punctuation of every script, as
    datatrove lists it."""
    min_line_punct_frac: Frac | None = None
    """Smallest share of lines that end in one of `stop_chars`."""
    line_punct_exclude_zero: bool = False
    """Keep documents without any such line."""
    short_line_chars: Count = 30
    """Characters of the longest line that is short."""
    max_short_line_frac: Frac | None = None
    """Largest share of short lines."""
    max_dup_line_char_frac: Frac | None = None
    """Largest share of characters in lines that equal an earlier one."""
    max_newlines_per_word: Ratio | None = None
    """Most newlines per word."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, raw: Any) -> Any:
        return with_preset(raw, PRESETS, "datatrove-0.10")

    @model_validator(mode="after")
    def _stop_chars_end_lines(self) -> "FineWeb":
        blank = [c for c in self.stop_chars or "" if c.isspace()]
        if blank:
            raise ValueError(f"stop_chars has white space, {blank[0]!r}; it is for punctuation")
        return self

    @property
    def definition(self) -> str:
        """The version of datatrove's filter whose decisions these are."""
        if self.preset == "2024-04":
            return "datatrove <= 0.3 FineWebQualityFilter, but for its words (NLTK's): unverified"
        return "datatrove 0.10 FineWebQualityFilter"

    @property
    def splitter(self) -> str:
        """The splitter of the words that newlines are counted against."""
        return self.words if self.max_newlines_per_word is not None else ""

    def digests(self) -> dict[str, str]:
        """Digest of spaCy's rules, where they make the words.

        Raises FilterError for `words: spacy-en` without spaCy.
        """
        from dolmix.text.splitters import splitter_digest

        if self.max_newlines_per_word is None or self.words != "spacy-en":
            return {}
        return {"splitter": splitter_digest(self.words)}

    def column_types(self) -> dict[str, pa.DataType]:
        """Four columns, and `newlines_per_word` where its rule is on."""
        shares = ["line_punct_frac", "short_line_frac", "dup_line_char_frac"]
        shares += ["newlines_per_word"] if self.max_newlines_per_word is not None else []
        return {"lines": pa.int64(), **dict.fromkeys(shares, pa.float64())}

    def columns(self, texts: TextBatch) -> Columns:
        """Measure lines; shares of nothing are 0.0.

        Only `line_punct_frac` can be null: where it is 0 and `line_punct_exclude_zero` is on.
        """
        from dolmix.text.fineweb_lines import fineweb_lines

        stops = stop_marks(self.stop_chars)
        counts = fineweb_lines(texts, stops=stops, short_chars=self.short_line_chars)
        blank_too = self.preset == "2024-04"
        lines = counts.lines if blank_too else counts.nonblank
        short = counts.short + counts.blank_short if blank_too else counts.short
        excluded = counts.ending == 0 if self.line_punct_exclude_zero else None
        columns: Columns = {
            "lines": pa.array(counts.nonblank),
            "line_punct_frac": pa.array(_share(counts.ending, lines), mask=excluded),
            "short_line_frac": pa.array(_share(short, lines)),
            "dup_line_char_frac": pa.array(_share(counts.repeated_chars, counts.chars)),
        }
        if self.max_newlines_per_word is not None:
            from dolmix.text.splitters import words_of

            words = np.diff(words_of(texts, self.words).ends)
            columns["newlines_per_word"] = pa.array(_share(counts.newlines, words))
        return columns

    def rules(self) -> Iterator[Rule]:
        """In datatrove's order; 2024-04 drops at the limit, but for newlines."""
        punct, short = self.min_line_punct_frac, self.max_short_line_frac
        repeated = self.max_dup_line_char_frac
        yield Rule("lines", below=self.min_lines)
        if self.preset == "2024-04":
            yield Rule("line_punct_frac", at_most=punct)
            yield Rule("short_line_frac", at_least=short)
            yield Rule("dup_line_char_frac", at_least=repeated)
        else:
            yield Rule("line_punct_frac", below=punct)
            yield Rule("short_line_frac", above=short)
            yield Rule("dup_line_char_frac", above=repeated)
        if self.max_newlines_per_word is not None:
            yield Rule("newlines_per_word", above=self.max_newlines_per_word)


@lru_cache(maxsize=4)
def stop_marks(characters: str | None) -> U8Array:
    """(1114112,) uint8: 1 for each of some characters, or for all terminal punctuation."""
    from dolmix.text.characters import TERMINAL, point_marks

    marks: U8Array = ((point_marks() & TERMINAL) != 0).astype(np.uint8)
    if characters is not None:
        marks[:] = 0
        marks[[ord(c) for c in characters]] = 1
    marks.setflags(write=False)
    return marks


def _share(part: I64Array, whole: I64Array) -> F64Array:
    shares: F64Array = part / np.maximum(whole, 1)
    return shares
