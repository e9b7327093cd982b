"""Gopher quality: does a document look like prose (Rae et al. 2021, arXiv:2112.11446, A1.1).

Peers read the paper's rules differently; a preset names the one whose decisions it reproduces.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from dolmix.config import Frac
from dolmix.document import Columns, TextBatch
from dolmix.filters.base import Filter, Rule, with_preset

PRESETS: dict[str, dict[str, Any]] = {
    "dolma-1.2": {
        "min_word_count": 50,
        "max_word_count": 100_000,
        "min_median_word_length": 3.0,
        "max_median_word_length": 10.0,
        "max_symbol_frac": 0.1,
        "min_alpha_word_frac": 0.8,
        "min_required_words": 2,
        "max_bullet_line_frac": 0.9,
        "max_ellipsis_line_frac": 0.3,
    }
}
"""Thresholds by preset: dolma-1.2 has those of dolma's released `configs/dolma-v1_6`."""

Count = Annotated[int, Field(ge=0)]
Length = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Gopher(Filter):
    """Drop documents whose words and lines are not those of prose.

    Definitions are those of dolma's Gopher taggers. A threshold that is not given is the preset's;
    null switches its rule off.
    """

    type: Literal["gopher"] = "gopher"
    preset: Literal["dolma-1.2"] = "dolma-1.2"
    """Whose definitions and thresholds: the Gopher taggers of dolma 1.2."""
    newlines: Literal["runs", "each"] = "runs"
    """What separates two lines: a run of newlines (tagger gopher_v2), or each one (gopher_v1)."""
    min_word_count: Count | None = None
    """Fewest words, split at whitespace."""
    max_word_count: Count | None = None
    """Most words."""
    min_median_word_length: Length | None = None
    """Smallest median word length, in characters."""
    max_median_word_length: Length | None = None
    """Largest median word length, in characters."""
    max_symbol_frac: Frac | None = None
    """Largest share of words that contain `#` or `…` (U+2026; three full stops do not count)."""
    min_alpha_word_frac: Frac | None = None
    """Smallest share of words that contain a letter."""
    min_required_words: Count | None = None
    """Fewest occurrences of the words the, be, to, of, and, that, have, with, in lower case."""
    max_bullet_line_frac: Frac | None = None
    """Largest share of lines whose first character is `*` or `-`."""
    max_ellipsis_line_frac: Frac | None = None
    """Largest share of lines whose last character is `…`."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, raw: Any) -> Any:
        return with_preset(raw, PRESETS, "dolma-1.2")

    @property
    def definition(self) -> str:
        """The dolma tagger whose values the columns equal."""
        return f"dolma 1.2.1 {'gopher_v2' if self.newlines == 'runs' else 'gopher_v1'}"

    @property
    def splitter(self) -> str:
        """Words are those of `str.split()`."""
        return "whitespace"

    def column_types(self) -> dict[str, pa.DataType]:
        """Seven columns, never null."""
        return {
            "word_count": pa.int64(),
            "median_word_length": pa.float64(),
            "symbol_frac": pa.float64(),
            "alpha_word_frac": pa.float64(),
            "required_words": pa.int64(),
            "bullet_line_frac": pa.float64(),
            "ellipsis_line_frac": pa.float64(),
        }

    def columns(self, texts: TextBatch) -> Columns:
        """Measure words and lines; shares of no words are 0.0."""
        from dolmix.text.lines import line_marks
        from dolmix.text.words import word_statistics

        words = word_statistics(texts)
        lines = line_marks(texts, merge=self.newlines == "runs")
        total = np.maximum(words.words, 1)
        return {
            "word_count": pa.array(words.words),
            "median_word_length": pa.array(words.median_chars),
            "symbol_frac": pa.array(words.symbol_words / total),
            "alpha_word_frac": pa.array(words.letter_words / total),
            "required_words": pa.array(words.required),
            "bullet_line_frac": pa.array(lines.bullets / lines.lines),
            "ellipsis_line_frac": pa.array(lines.ellipses / lines.lines),
        }

    def rules(self) -> Iterator[Rule]:
        """In the order of dolma's released configuration."""
        yield Rule("word_count", below=self.min_word_count, reason="word_count_low")
        yield Rule("word_count", above=self.max_word_count, reason="word_count_high")
        median = "median_word_length"
        yield Rule(median, below=self.min_median_word_length, reason=f"{median}_low")
        yield Rule(median, above=self.max_median_word_length, reason=f"{median}_high")
        yield Rule("symbol_frac", above=self.max_symbol_frac)
        yield Rule("alpha_word_frac", below=self.min_alpha_word_frac)
        yield Rule("required_words", below=self.min_required_words)
        yield Rule("bullet_line_frac", above=self.max_bullet_line_frac)
        yield Rule("ellipsis_line_frac", above=self.max_ellipsis_line_frac)
