"""Gopher quality: does a document look like prose (Rae et al. 2021, arXiv:2112.11446, A1.1).

Peers read the paper's rules differently; a preset names the one whose decisions it reproduces, and
so what a word and a line are, what is measured, in which order, and against which limits.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from dolmix.config import Frac
from dolmix.document import Columns, F64Array, I64Array, TextBatch
from dolmix.filters.base import Filter, Rule, with_preset
from dolmix.text.splitters import Splitter, splitter_digest, words_of

Preset = Literal["dolma-1.2", "datatrove-0.10", "dclm"]
Measured: TypeAlias = dict[str, I64Array | F64Array]

LIMITS: dict[str, dict[str, float]] = {
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
    },
    "datatrove-0.10": {
        "min_word_count": 50,
        "max_word_count": 100_000,
        "min_mean_word_length": 3.0,
        "max_mean_word_length": 10.0,
        "max_hash_frac": 0.1,
        "max_ellipsis_frac": 0.1,
        "max_bullet_line_frac": 0.9,
        "max_ellipsis_line_frac": 0.3,
        "min_alpha_word_frac": 0.8,
        "min_stop_words": 2,
    },
    "dclm": {
        "min_word_count": 50,
        "max_word_count": 100_000,
        "min_mean_word_length": 3.0,
        "max_mean_word_length": 10.0,
        "max_symbol_frac": 0.1,
        "max_bullet_line_frac": 0.9,
        "max_ellipsis_line_frac": 0.3,
        "max_non_alpha_word_frac": 0.2,
        "min_required_words": 2,
    },
}
"""What each preset measures, in the order of its rules, and its thresholds: those of dolma's
released `configs/dolma-v1_6`, of datatrove's GopherQualityFilter as it comes, and of DCLM's
`dclm_baseline_refinedweb.yaml`."""

PRESETS: dict[str, dict[str, Any]] = {
    "dolma-1.2": {**LIMITS["dolma-1.2"], "words": "whitespace", "newlines": "runs"},
    "datatrove-0.10": {**LIMITS["datatrove-0.10"], "words": "spacy-en"},
    "dclm": {**LIMITS["dclm"], "words": "whitespace"},
}
"""Settings by preset."""

INTEGERS = ("word_count", "required_words", "stop_words")

Count = Annotated[int, Field(ge=0)]
Length = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Gopher(Filter):
    """Drop documents whose words and lines are not those of prose.

    A setting that is not given is the preset's; null switches a threshold's rule off. A threshold
    on what the preset does not measure is refused.
    """

    rule_settings = tuple(dict.fromkeys(name for limits in LIMITS.values() for name in limits))

    type: Literal["gopher"] = "gopher"
    preset: Preset = "dolma-1.2"
    """Whose definitions and thresholds: the Gopher taggers of dolma 1.2, GopherQualityFilter of
    datatrove 0.10, or the content filters of DCLM."""
    words: Splitter = "whitespace"
    """What a word is: the preset's splitter (`whitespace`, for datatrove-0.10 `spacy-en`) unless
    given."""
    newlines: Literal["runs", "each"] | None = None
    """For dolma-1.2, what separates two lines: a run of newlines (tagger gopher_v2, the default),
    or each one (gopher_v1)."""
    min_word_count: Count | None = None
    """Fewest words."""
    max_word_count: Count | None = None
    """Most words."""
    min_median_word_length: Length | None = None
    """Smallest median word length, in characters."""
    max_median_word_length: Length | None = None
    """Largest median word length, in characters."""
    min_mean_word_length: Length | None = None
    """Smallest mean word length, in characters."""
    max_mean_word_length: Length | None = None
    """Largest mean word length, in characters."""
    max_symbol_frac: Frac | None = None
    """dolma-1.2: largest share of words that contain `#` or `…` (U+2026; three full stops do not
    count). dclm: most occurrences of `#`, `...`, `. . .` and `…` per word."""
    max_hash_frac: Frac | None = None
    """Most occurrences of `#` per word."""
    max_ellipsis_frac: Frac | None = None
    """Most occurrences of `...` and `…` per word."""
    min_alpha_word_frac: Frac | None = None
    """Smallest share of words that contain a letter."""
    max_non_alpha_word_frac: Frac | None = None
    """Largest share of words that contain no letter."""
    min_required_words: Count | None = None
    """Fewest occurrences of the words the, be, to, of, and, that, have, with: in lower case for
    dolma-1.2, in any case for dclm."""
    min_stop_words: Count | None = None
    """Fewest of the same eight words, each counted once, in lower case."""
    max_bullet_line_frac: Frac | None = None
    """Largest share of lines that start with a bullet, which is one of those of the preset."""
    max_ellipsis_line_frac: Frac | None = None
    """Largest share of lines that end with an ellipsis."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and raw.get("newlines", "") is None:
            raw = {key: value for key, value in raw.items() if key != "newlines"}
        return with_preset(raw, PRESETS, "dolma-1.2")

    @model_validator(mode="after")
    def _measures_what_it_limits(self) -> "Gopher":
        settable = {name for limits in PRESETS.values() for name in limits}
        problems = [
            f"{name} is {value}, but preset {self.preset} measures no such thing; "
            f"{' and '.join(p for p in PRESETS if name in PRESETS[p])} does"
            for name, value in self
            if name in settable and name not in PRESETS[self.preset] and value is not None
        ]
        if problems:
            raise ValueError(f"{'. '.join(problems)}. Leave it out, or change the preset")
        return self

    @property
    def definition(self) -> str:
        """The peer whose values the columns equal."""
        if self.preset == "datatrove-0.10":
            return "datatrove 0.10.1 GopherQualityFilter"
        if self.preset == "dclm":
            return "DCLM content_filters.py (from its source)"
        return f"dolma 1.2.1 {'gopher_v2' if self.newlines == 'runs' else 'gopher_v1'}"

    @property
    def splitter(self) -> str:
        """The word splitter; DCLM's `word_count` has one of its own."""
        return f"{self.words}; word_count: fasttext" if self.preset == "dclm" else self.words

    def digests(self) -> dict[str, str]:
        """Digest of the tables of the word splitter, where it has any.

        Raises FilterError if the splitter's package is not installed.
        """
        digest = splitter_digest(self.words)
        return {"splitter": digest} if digest else {}

    def column_types(self) -> dict[str, pa.DataType]:
        """One column for each quantity that the preset measures, never null."""
        names = dict.fromkeys(setting.partition("_")[2] for setting in LIMITS[self.preset])
        return {name: pa.int64() if name in INTEGERS else pa.float64() for name in names}

    def columns(self, texts: TextBatch) -> Columns:
        """Measure words and lines; shares and means of nothing are 0.0.

        Raises FilterError if the splitter's package is not installed.
        """
        measured = MEASURES[self.preset](self, texts)
        return {name: pa.array(measured[name]) for name in self.column_types()}

    def rules(self) -> Iterator[Rule]:
        """In the order of the preset's peer."""
        limits = LIMITS[self.preset]
        for setting in limits:
            side, _, column = setting.partition("_")
            value = getattr(self, setting)
            two_sided = f"min_{column}" in limits and f"max_{column}" in limits
            if side == "min":
                yield Rule(column, below=value, reason=f"{column}_low" if two_sided else "")
            else:
                yield Rule(column, above=value, reason=f"{column}_high" if two_sided else "")


def _dolma(filter_: Gopher, texts: TextBatch) -> Measured:
    """Columns by the definitions of dolma's taggers."""
    from dolmix.text.gopher_words import median_chars, symbol_words, word_marks
    from dolmix.text.lines import line_marks

    split = words_of(texts, filter_.words)
    marks = word_marks(texts, split)
    lines = line_marks(texts, merge=filter_.newlines == "runs")
    return {
        "word_count": marks.words,
        "median_word_length": median_chars(split),
        "symbol_frac": _share(symbol_words(texts, split), marks.words),
        "alpha_word_frac": _share(marks.letter_words, marks.words),
        "required_words": marks.required,
        "bullet_line_frac": _share(lines.bullets, lines.lines),
        "ellipsis_line_frac": _share(lines.ellipses, lines.lines),
    }


def _datatrove(filter_: Gopher, texts: TextBatch) -> Measured:
    """Columns by the definitions of datatrove's GopherQualityFilter."""
    from dolmix.text.gopher_lines import datatrove_marks
    from dolmix.text.gopher_words import word_marks

    marks = word_marks(texts, words_of(texts, filter_.words))
    lines = datatrove_marks(texts)
    return {
        "word_count": marks.plain_words,
        "mean_word_length": _share(marks.plain_chars, marks.plain_words),
        "hash_frac": _share(lines.hashes, marks.words),
        "ellipsis_frac": _share(lines.ellipses, marks.words),
        "bullet_line_frac": _share(lines.bullets, lines.lines),
        "ellipsis_line_frac": _share(lines.ellipsis_lines, lines.lines),
        "alpha_word_frac": _share(marks.letter_words, marks.words),
        "stop_words": marks.distinct,
    }


def _dclm(filter_: Gopher, texts: TextBatch) -> Measured:
    """Columns by the definitions of DCLM's content filters."""
    from dolmix.text.gopher_lines import dclm_marks, page_words
    from dolmix.text.gopher_words import word_marks

    marks = word_marks(texts, words_of(texts, filter_.words))
    lines = dclm_marks(texts)
    return {
        "word_count": page_words(texts),
        "mean_word_length": _share(marks.chars, marks.words),
        "symbol_frac": _share(lines.hashes + lines.ellipses, marks.words),
        "bullet_line_frac": _share(lines.bullets, lines.lines),
        "ellipsis_line_frac": _share(lines.ellipsis_lines, lines.lines),
        "non_alpha_word_frac": _share(marks.words - marks.letter_words, marks.words),
        "required_words": marks.lowered,
    }


MEASURES: dict[str, Callable[[Gopher, TextBatch], Measured]] = {
    "dolma-1.2": _dolma,
    "datatrove-0.10": _datatrove,
    "dclm": _dclm,
}
"""How each preset measures."""


def _share(part: I64Array, whole: I64Array) -> F64Array:
    """Divide; nothing by nothing, or something by nothing, is 0.0."""
    return np.divide(part, whole, out=np.zeros(whole.size, np.float64), where=whole > 0)
