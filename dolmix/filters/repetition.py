"""Repetition: documents that repeat their own lines, n-grams, or one span over and over.

Paragraphs, lines and n-grams are Gopher's rules (Rae et al. 2021, arXiv:2112.11446, Table A1).
Peers read them differently; a preset names the one whose decisions it reproduces, and so what a
line and a word are, what is counted, and in which order rules judge. `times` is OLMoE's rule
(arXiv:2409.02060): a span of 1 to 13 tokens, 32 times in a row. Counting words in place of tokens
has to be asked for.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from dolmix.config import Frac
from dolmix.document import Columns, I64Array, TextBatch
from dolmix.filters.base import Filter, Rule, with_preset
from dolmix.text.splitters import Splitter, splitter_digest, words_of
from dolmix.tokenizer import Tokenizer, TokenizerConfig

if TYPE_CHECKING:
    from dolmix.text.paragraphs import SegmentRepeats

Preset = Literal["dolma-1.2", "olmoe-0924", "datatrove-0.10", "dclm"]

NGRAM_LIMITS: dict[str, Any] = {
    "max_top_2gram_char_frac": 0.20,
    "max_top_3gram_char_frac": 0.18,
    "max_top_4gram_char_frac": 0.16,
    "max_dup_5gram_char_frac": 0.15,
    "max_dup_6gram_char_frac": 0.14,
    "max_dup_7gram_char_frac": 0.13,
    "max_dup_8gram_char_frac": 0.12,
    "max_dup_9gram_char_frac": 0.11,
    "max_dup_10gram_char_frac": 0.10,
}
"""Thresholds of the paper, which all peers have."""
PRESETS: dict[str, dict[str, Any]] = {
    "dolma-1.2": {
        "words": "whitespace",
        "newlines": "runs",
        "max_dup_line_frac": 0.30,
        "max_dup_line_char_frac": 0.30,
        **NGRAM_LIMITS,
    },
    "olmoe-0924": {"words": "whitespace", "newlines": "runs", "drop_at_times": 32},
    "datatrove-0.10": {
        "words": "spacy-en",
        "drop_empty": True,
        "max_dup_para_frac": 0.30,
        "max_dup_para_char_frac": 0.20,
        "max_dup_line_frac": 0.30,
        "max_dup_line_char_frac": 0.20,
        **NGRAM_LIMITS,
    },
    "dclm": {
        "words": "unicode",
        "drop_empty": True,
        "max_dup_line_frac": 0.30,
        "max_dup_para_frac": 0.30,
        "max_dup_line_char_frac": 0.20,
        "max_dup_para_char_frac": 0.20,
        **NGRAM_LIMITS,
    },
}
"""Settings by preset: dolma's released `configs/dolma-v1_6`, OLMoE-1B-7B-0924's loader, datatrove's
GopherRepetitionFilter as it comes, and DCLM's `massive_web_repetition_filters`."""

NGRAMS = tuple(setting.removeprefix("max_") for setting in NGRAM_LIMITS)
LINES = ("dup_line_frac", "dup_line_char_frac")
PARAGRAPHS = ("dup_para_frac", "dup_para_char_frac")
EMPTY = ("text_chars",)
ORDER: dict[str, tuple[str, ...]] = {
    "dolma-1.2": (*LINES, *NGRAMS),
    "olmoe-0924": (*LINES, *NGRAMS),
    "datatrove-0.10": (*EMPTY, *PARAGRAPHS, *LINES, *NGRAMS),
    "dclm": (*EMPTY, LINES[0], PARAGRAPHS[0], LINES[1], PARAGRAPHS[1], *NGRAMS),
}
"""What each preset's definition measures, in the order of its rules."""
GROUPS = (EMPTY, PARAGRAPHS, LINES, NGRAMS)
"""Columns that are written together."""
PIECE_CHARS = 100_000
"""Texts are tokenized in pieces of this many characters, as dolma's tagger does it."""


class Repetition(Filter):
    """Drop documents that repeat themselves.

    A setting that is not given is the preset's; null switches a threshold's rule off. A threshold
    on what the preset does not measure is refused. The columns of paragraphs, of lines, of n-grams
    and `times` are each written where a rule of their group is on.
    """

    rule_settings = (
        *(f"max_{column}" for column in (*PARAGRAPHS, *LINES, *NGRAMS)),
        *("drop_empty", "drop_at_times"),
    )

    type: Literal["repetition"] = "repetition"
    preset: Preset = "dolma-1.2"
    """Whose definitions and thresholds: the Gopher taggers of dolma 1.2; 32 repeats in a row, as
    OLMoE drops them; GopherRepetitionFilter of datatrove 0.10; or the content filters of DCLM."""
    words: Splitter = "whitespace"
    """What a word is: the preset's splitter (`whitespace`, for datatrove-0.10 `spacy-en`, for dclm
    `unicode`) unless given."""
    newlines: Literal["runs", "each"] | None = None
    """For dolma-1.2, what separates two lines: a run of newlines (tagger gopher_v2, the default),
    or each one (gopher_v1)."""
    unit: Literal["tokens", "words"] = "tokens"
    """What `times` counts: tokens, as OLMoE does, or words, an approximation that is quicker and
    blind to repeats inside a word."""
    tokenizer: TokenizerConfig | None = None
    """Gives the tokens that `times` counts; required unless `unit` is words."""
    drop_empty: bool | None = None
    """Drop a text without characters; for dclm also one of whitespace alone."""
    max_dup_para_frac: Frac | None = None
    """Largest share of paragraphs that repeat."""
    max_dup_para_char_frac: Frac | None = None
    """Largest share of characters in such paragraphs."""
    max_dup_line_frac: Frac | None = None
    """Largest share of lines that repeat: for dolma-1.2 and dclm every occurrence of such a line
    counts, for datatrove-0.10 the first one does not; paragraphs likewise."""
    max_dup_line_char_frac: Frac | None = None
    """Largest number of characters in such lines, per character of the text."""
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
        if isinstance(raw, dict) and raw.get("newlines", "") is None:
            raw = {key: value for key, value in raw.items() if key != "newlines"}
        return with_preset(raw, PRESETS, "dolma-1.2")

    @model_validator(mode="after")
    def _some_rule_is_on(self) -> "Repetition":
        if not self.column_types():
            raise ValueError(
                f"every rule is off (preset {self.preset}): "
                "set a threshold, or leave the filter out"
            )
        return self

    @model_validator(mode="after")
    def _measures_what_it_limits(self) -> "Repetition":
        problems = [
            f"{name} is {value}, but preset {self.preset} measures no such thing; "
            f"{' and '.join(p for p in PRESETS if _allows(p, name))} do"
            for name, value in self
            if value not in (None, False) and not _allows(self.preset, name)
        ]
        if problems:
            raise ValueError(f"{'. '.join(problems)}. Leave it out, or change the preset")
        return self

    @model_validator(mode="after")
    def _unit_can_be_counted(self) -> "Repetition":
        if self.unit == "words" and self.tokenizer is not None:
            raise ValueError(
                f"unit is {self.unit}, but a tokenizer is given ({self.tokenizer.path}); "
                "drop one of the two"
            )
        if self._has_times and self.unit == "tokens" and self.tokenizer is None:
            raise ValueError(
                f"drop_at_times {self.drop_at_times} counts tokens, and there is no tokenizer: "
                "give tokenizer: {path: ...} as in the pipeline, or set unit: words"
            )
        return self

    @property
    def definition(self) -> str:
        """The peers whose values the columns equal."""
        peers = {
            "datatrove-0.10": "datatrove 0.10.1 GopherRepetitionFilter",
            "dclm": "DCLM content_filters.py (from its source)",
        }
        tagger = "gopher_v2" if self.newlines == "runs" else "gopher_v1"
        gopher = [peers.get(self.preset, f"dolma 1.2.1 {tagger}")] if self._gopher else []
        times = "OLMo find_periodic_sequences"
        if self.unit == "words":
            times += " (approximation: unit words)"
        return "; ".join([*gopher, *([times] if self._has_times else [])])

    @property
    def splitter(self) -> str:
        """The word splitter; `times` counts tokens unless `unit` is words."""
        if self.tokenizer is not None and self._has_times:
            return f"{self.words}; times: tokenizer" if self._gopher else "tokenizer"
        return self.words

    def digests(self) -> dict[str, str]:
        """Digests of the splitter's tables, and of the tokenizer in which `times` is counted.

        Raises FilterError if the splitter's package is not installed.
        """
        digests = {}
        if self._needs_words and (digest := splitter_digest(self.words)):
            digests["splitter"] = digest
        if self.tokenizer is not None and self._has_times:
            digests["tokenizer"] = _tokenizer(self.tokenizer).pin().digest
        return digests

    def column_types(self) -> dict[str, pa.DataType]:
        """Columns of every group with a rule that is on; never null."""
        types: dict[str, pa.DataType] = {
            name: pa.int64() if name in EMPTY else pa.float64() for name in self._gopher
        }
        return types | ({"times": pa.int64()} if self._has_times else {})

    def columns(self, texts: TextBatch) -> Columns:
        """Measure repeats; shares of nothing are 0.0, and `times` is 0 below 3.

        Raises FilterError if the splitter's package is not installed.
        """
        from dolmix.text.periodic import periodic_times

        measured = _measure(self, texts)
        if self._has_times and self.tokenizer is None:
            words = words_of(texts, self.words)
            measured["times"] = pa.array(periodic_times(words.hashes, words.ends))
        elif self._has_times and self.tokenizer is not None:
            measured["times"] = pa.array(_token_times(texts, _tokenizer(self.tokenizer)))
        return {name: measured[name] for name in self.column_types()}

    def rules(self) -> Iterator[Rule]:
        """In the order of the preset's peer, OLMoE's rule last."""
        for column in self._gopher:
            if column in EMPTY:
                yield Rule(column, below=1 if self.drop_empty else None, reason="empty")
            else:
                yield Rule(column, above=getattr(self, f"max_{column}"))
        if self._has_times:
            yield Rule("times", at_least=self.drop_at_times)

    @property
    def _has_times(self) -> bool:
        return self.drop_at_times is not None

    @property
    def _needs_words(self) -> bool:
        # dolma's lines are measured against the characters of words
        lines = self.measures(LINES) and self.preset in ("dolma-1.2", "olmoe-0924")
        return lines or self.measures(NGRAMS) or (self._has_times and self.unit == "words")

    @property
    def _gopher(self) -> tuple[str, ...]:
        """Columns of Gopher's rules that are written, in the order of their rules."""
        written = [name for group in GROUPS if self.measures(group) for name in group]
        return tuple(name for name in ORDER[self.preset] if name in written)

    def measures(self, group: Sequence[str]) -> bool:
        """Whether a rule on any of the columns of a group is on."""
        if group == EMPTY:
            return bool(self.drop_empty)
        return any(getattr(self, f"max_{column}") is not None for column in group)


def _allows(preset: str, setting: str) -> bool:
    """Whether a setting means anything under a preset."""
    if setting in ("newlines", "drop_empty"):
        return setting in PRESETS[preset]
    column = setting.removeprefix("max_")
    return column == setting or column in ORDER[preset]


def _measure(filter_: Repetition, texts: TextBatch) -> Columns:
    if filter_.preset == "datatrove-0.10":
        return _datatrove_columns(filter_, texts)
    if filter_.preset == "dclm":
        return _dclm_columns(filter_, texts)
    return _dolma_columns(filter_, texts)


def _dolma_columns(filter_: Repetition, texts: TextBatch) -> Columns:
    from dolmix.text import ngrams, paragraphs
    from dolmix.text.repeats import sum_parts

    columns: Columns = {}
    if filter_.measures(LINES) or filter_.measures(NGRAMS):
        words = words_of(texts, filter_.words)
    if filter_.measures(LINES):
        separators = paragraphs.RUNS if filter_.newlines == "runs" else paragraphs.EACH
        lines = paragraphs.segment_repeats(
            texts, separators=separators, strip=paragraphs.NOTHING, later=False
        )
        columns |= _shares(LINES, lines, sum_parts(words.chars, words.ends))
    if filter_.measures(NGRAMS):
        columns |= _named(NGRAMS, ngrams.dolma_shares(words))
    return columns


def _datatrove_columns(filter_: Repetition, texts: TextBatch) -> Columns:
    from dolmix.text import ngrams, ngrams_joined, paragraphs

    chars = paragraphs.text_chars(texts)
    columns: Columns = {"text_chars": pa.array(chars)}
    for group, separators, strip in (
        (PARAGRAPHS, paragraphs.BLANKS, paragraphs.TEXT),
        (LINES, paragraphs.RUNS, paragraphs.NOTHING),
    ):
        if filter_.measures(group):
            repeats = paragraphs.segment_repeats(
                texts, separators=separators, strip=strip, later=True
            )
            columns |= _shares(group, repeats, chars)
    if filter_.measures(NGRAMS):
        words = words_of(texts, filter_.words)
        found = [ngrams.datatrove_top_chars(words), ngrams_joined.joined_chars(texts, words)]
        columns |= _named(NGRAMS, np.concatenate(found) / np.maximum(chars, 1))
    return columns


def _dclm_columns(filter_: Repetition, texts: TextBatch) -> Columns:
    from dolmix.text import ngrams, paragraphs

    columns: Columns = {}
    for group, separators in ((LINES, paragraphs.RUNS), (PARAGRAPHS, paragraphs.BLANKS)):
        if not filter_.measures(group) and group != LINES:
            continue
        repeats = paragraphs.segment_repeats(
            texts, separators=separators, strip=paragraphs.SEGMENTS, later=False
        )
        columns |= _shares(group, repeats, repeats.chars)
        if group == LINES:
            columns["text_chars"] = pa.array(repeats.chars)
    if filter_.measures(NGRAMS):
        columns |= _named(NGRAMS, ngrams.dclm_shares(words_of(texts, filter_.words)))
    return columns


def _shares(names: Sequence[str], repeats: "SegmentRepeats", chars: I64Array) -> Columns:
    """Repeated lines or paragraphs over all of them, and their characters over `chars`."""
    counted = repeats.repeated / np.maximum(repeats.segments, 1)
    return _named(names, [counted, repeats.repeated_chars / np.maximum(chars, 1)])


def _named(names: Sequence[str], rows: Any) -> Columns:
    return {name: pa.array(row) for name, row in zip(names, rows, strict=True)}


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
    # decisions are never taken back, so that only the engine that is right by definition may judge
    return Tokenizer(config.model_copy(update={"engine": "tokenizers"}))
