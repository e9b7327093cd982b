"""Word shares: files that consist of one or two words, OLMoE's rules for its code.

The rules are those of OLMoE (arXiv:2409.02060), as the OLMo 2 report gives them (arXiv:2501.00656,
section 2.1.1).
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import pyarrow as pa

from dolmix.config import Frac
from dolmix.document import Columns, TextBatch
from dolmix.filters.base import Filter, Rule


class WordShare(Filter):
    """Drop documents in which one or two words are too large a share of all words."""

    rule_settings = ("max_top1_frac", "max_top2_frac")

    type: Literal["word_share"] = "word_share"
    preset: Literal["olmoe-0924"] = "olmoe-0924"
    """Whose rules and thresholds: those of OLMoE-1B-7B-0924's data."""
    max_top1_frac: Frac | None = 0.30
    """Largest share of the most frequent word, by occurrences."""
    max_top2_frac: Frac | None = 0.50
    """Largest share of the two most frequent words together."""

    @property
    def definition(self) -> str:
        """The paper's rule, with words and shares as said here, since it leaves them open."""
        return "OLMoE word shares, by count of whitespace words"

    @property
    def splitter(self) -> str:
        """Words are those of `str.split()`."""
        return "whitespace"

    def column_types(self) -> dict[str, pa.DataType]:
        """Two shares, never null."""
        return {"top1_frac": pa.float64(), "top2_frac": pa.float64()}

    def columns(self, texts: TextBatch) -> Columns:
        """Count words; shares of no words are 0.0."""
        from dolmix.text.repeats import top_counts
        from dolmix.text.splitters import words_of

        words = words_of(texts, "whitespace")
        first, second = top_counts(words.hashes, words.ends)
        total = np.maximum(np.diff(words.ends), 1)
        return {
            "top1_frac": pa.array(first / total),
            "top2_frac": pa.array((first + second) / total),
        }

    def rules(self) -> Iterator[Rule]:
        """Two rules, the single word first."""
        yield Rule("top1_frac", above=self.max_top1_frac)
        yield Rule("top2_frac", above=self.max_top2_frac)
