"""Repetition: documents that repeat their own lines, n-grams, or one span over and over.

Lines and n-grams are Gopher's rules (Rae et al. 2021, arXiv:2112.11446, Table A1) by the
definitions of dolma's taggers; `times` is OLMoE's rule (arXiv:2409.02060): a span of 1 to 13
tokens, 32 times in a row. Counting words in place of tokens has to be asked for.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from dolmix.config import Frac
from dolmix.document import Columns, I64Array, TextBatch
from dolmix.filters.base import Filter, Rule, with_preset
from dolmix.tokenizer import Tokenizer, TokenizerConfig

if TYPE_CHECKING:
    from dolmix.text.words import Words

PRESETS: dict[str, dict[str, Any]] = {
    "dolma-1.2": {
        "max_dup_line_frac": 0.30,
        "max_dup_line_char_frac": 0.30,
        "max_top_2gram_char_frac": 0.20,
        "max_top_3gram_char_frac": 0.18,
        "max_top_4gram_char_frac": 0.16,
        "max_dup_5gram_char_frac": 0.15,
        "max_dup_6gram_char_frac": 0.14,
        "max_dup_7gram_char_frac": 0.13,
        "max_dup_8gram_char_frac": 0.12,
        "max_dup_9gram_char_frac": 0.11,
        "max_dup_10gram_char_frac": 0.10,
    },
    "olmoe-0924": {"drop_at_times": 32},
}
"""Thresholds by preset: dolma's released `configs/dolma-v1_6`, and OLMoE-1B-7B-0924's loader."""

NGRAMS = (
    *(f"top_{n}gram_char_frac" for n in (2, 3, 4)),
    *(f"dup_{n}gram_char_frac" for n in (5, 6, 7, 8, 9, 10)),
)
LINES = ("dup_line_frac", "dup_line_char_frac")
PIECE_CHARS = 100_000
"""Texts are tokenized in pieces of this many characters, as dolma's tagger does it."""


class Repetition(Filter):
    """Drop documents that repeat themselves.

    A threshold that is not given is the preset's; null switches its rule off. The columns of lines,
    of n-grams and `times` are each written where a rule of their group is on.
    """

    type: Literal["repetition"] = "repetition"
    preset: Literal["dolma-1.2", "olmoe-0924"] = "dolma-1.2"
    """Which rules are on: lines and n-grams (dolma-1.2), or 32 repeats in a row (olmoe-0924)."""
    newlines: Literal["runs", "each"] = "runs"
    """What separates two lines: a run of newlines (tagger gopher_v2), or each one (gopher_v1)."""
    unit: Literal["tokens", "words"] = "tokens"
    """What `times` counts: tokens, as OLMoE does, or words split at whitespace, an approximation
    that is quicker and blind to repeats inside a word."""
    tokenizer: TokenizerConfig | None = None
    """Gives the tokens that `times` counts; required unless `unit` is words."""
    max_dup_line_frac: Frac | None = None
    """Largest share of lines that occur more than once, every occurrence counted."""
    max_dup_line_char_frac: Frac | None = None
    """Largest number of characters in such lines, per character that is not whitespace."""
    max_top_2gram_char_frac: Frac | None = None
    """Largest share of characters in the most common run of 2 words."""
    max_top_3gram_char_frac: Frac | None = None
    """Largest share of characters in the most common run of 3 words."""
    max_top_4gram_char_frac: Frac | None = None
    """Largest share of characters in the most common run of 4 words."""
    max_dup_5gram_char_frac: Frac | None = None
    """Largest share of characters in runs of 5 words that occur more than once."""
    max_dup_6gram_char_frac: Frac | None = None
    """Largest share of characters in runs of 6 words that occur more than once."""
    max_dup_7gram_char_frac: Frac | None = None
    """Largest share of characters in runs of 7 words that occur more than once."""
    max_dup_8gram_char_frac: Frac | None = None
    """Largest share of characters in runs of 8 words that occur more than once."""
    max_dup_9gram_char_frac: Frac | None = None
    """Largest share of characters in runs of 9 words that occur more than once."""
    max_dup_10gram_char_frac: Frac | None = None
    """Largest share of characters in runs of 10 words that occur more than once."""
    drop_at_times: Annotated[int, Field(ge=3)] | None = None
    """Drop when a span of 1 to 13 tokens stands this many times in a row, or more."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, raw: Any) -> Any:
        return with_preset(raw, PRESETS, "dolma-1.2")

    @model_validator(mode="after")
    def _some_rule_is_on(self) -> "Repetition":
        if not self.column_types():
            raise ValueError("every rule is off: set a threshold, or leave the filter out")
        return self

    @model_validator(mode="after")
    def _unit_can_be_counted(self) -> "Repetition":
        if self.unit == "words" and self.tokenizer is not None:
            raise ValueError("unit is words, but a tokenizer is given; drop one of the two")
        if self._has_times and self.unit == "tokens" and self.tokenizer is None:
            raise ValueError(
                f"drop_at_times {self.drop_at_times} counts tokens, and there is no tokenizer: "
                "give tokenizer: {path: ...} as in the pipeline, or set unit: words"
            )
        return self

    @property
    def definition(self) -> str:
        """The peers whose values the columns equal."""
        tagger = "gopher_v2" if self.newlines == "runs" else "gopher_v1"
        gopher = [f"dolma 1.2.1 {tagger}"] if self._has(LINES) or self._has(NGRAMS) else []
        times = "OLMo find_periodic_sequences"
        if self.unit == "words":
            times += " (approximation: unit words)"
        return "; ".join([*gopher, *([times] if self._has_times else [])])

    @property
    def splitter(self) -> str:
        """Words are those of `str.split()`; `times` counts tokens unless `unit` is words."""
        if self.tokenizer is not None and self._has_times:
            words = self._has(LINES) or self._has(NGRAMS)
            return "whitespace; times: tokenizer" if words else "tokenizer"
        return "whitespace"

    def digests(self) -> dict[str, str]:
        """Digest of the tokenizer in which `times` is counted."""
        if self.tokenizer is None or not self._has_times:
            return {}
        return {"tokenizer": _tokenizer(self.tokenizer).pin().digest}

    def column_types(self) -> dict[str, pa.DataType]:
        """Columns of every group with a rule that is on; never null."""
        names = [*(LINES if self._has(LINES) else ()), *(NGRAMS if self._has(NGRAMS) else ())]
        types: dict[str, pa.DataType] = dict.fromkeys(names, pa.float64())
        return types | ({"times": pa.int64()} if self._has_times else {})

    def columns(self, texts: TextBatch) -> Columns:
        """Measure repeats; shares of nothing are 0.0, and `times` is 0 below 3."""
        from dolmix.text.periodic import periodic_times
        from dolmix.text.repeats import ngram_shares
        from dolmix.text.words import split_words

        words = split_words(texts)
        columns: Columns = {}
        if self._has(LINES):
            columns |= _line_columns(texts, words, merge=self.newlines == "runs")
        if self._has(NGRAMS):
            shares = ngram_shares(words.hashes, words.chars, words.ends)
            columns |= {name: pa.array(row) for name, row in zip(NGRAMS, shares, strict=True)}
        if self._has_times and self.tokenizer is None:
            columns["times"] = pa.array(periodic_times(words.hashes, words.ends))
        elif self._has_times and self.tokenizer is not None:
            columns["times"] = pa.array(_token_times(texts, _tokenizer(self.tokenizer)))
        return columns

    def rules(self) -> Iterator[Rule]:
        """In the order of dolma's released configuration, OLMoE's rule last."""
        types = self.column_types()
        for column in (*LINES, *NGRAMS):
            if column in types:
                yield Rule(column, above=getattr(self, f"max_{column}"))
        if self._has_times:
            yield Rule("times", at_least=self.drop_at_times)

    @property
    def _has_times(self) -> bool:
        return self.drop_at_times is not None

    def _has(self, group: tuple[str, ...]) -> bool:
        return any(getattr(self, f"max_{column}") is not None for column in group)


def _line_columns(texts: TextBatch, words: "Words", *, merge: bool) -> Columns:
    from dolmix.text.lines import split_lines
    from dolmix.text.repeats import duplicate_sums

    lines = split_lines(texts, merge=merge)
    repeated, chars = duplicate_sums(lines.hashes, lines.chars, lines.ends)
    sums = np.concatenate([[0], np.cumsum(words.chars)])
    text_chars = np.diff(sums[words.ends])
    return {
        "dup_line_frac": pa.array(repeated / np.diff(lines.ends)),
        "dup_line_char_frac": pa.array(chars / np.maximum(text_chars, 1)),
    }


def _token_times(texts: TextBatch, tokenizer: Tokenizer) -> I64Array:
    """Find the largest `times` of a document's pieces; no piece's EOS is looked at."""
    from dolmix.text.characters import cut_pieces
    from dolmix.text.periodic import periodic_times

    pieces, owners = cut_pieces(texts, PIECE_CHARS)
    tokens, lengths = tokenizer.encode(pieces)
    is_text = np.ones(len(tokens), np.bool_)
    is_text[np.cumsum(lengths) - 1] = False
    times = np.zeros(len(texts), np.int64)
    ends = np.concatenate([[0], np.cumsum(lengths - 1)])
    np.maximum.at(times, owners, periodic_times(tokens[is_text], ends))
    return times


@lru_cache(maxsize=4)
def _tokenizer(config: TokenizerConfig) -> Tokenizer:
    return Tokenizer(config)
