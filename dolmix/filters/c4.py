"""C4: keep the lines of a page that read like sentences (Raffel et al. 2020, arXiv:1910.10683).

This filter rewrites texts: the column `edit` says which spans go. The peers read the paper
differently, in which lines they see, in what a line is dropped for and in what drops the whole
document; a preset names the one whose decisions it reproduces.
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from dolmix.document import Columns, I64Array, TextBatch, U8Array
from dolmix.errors import FilterError
from dolmix.files.commit import file_digest
from dolmix.filters.base import EDIT, Filter, Rule, required_file

if TYPE_CHECKING:
    from dolmix.text.c4_lines import CleanLines

PRESETS: dict[str, dict[str, Any]] = {
    "datatrove-0.10": {
        "max_word_length": 1000,
        "remove_citations": True,
        "terminal_punct": True,
        "min_words_per_line": 3,
        "lorem_ipsum": True,
        "javascript": "substring",
        "curly_bracket": True,
        "policy": True,
        "min_sentences": 5,
    },
    "dolma-1.2": {
        "terminal_punct": True,
        "min_words_per_line": 3,
        "lorem_ipsum": True,
        "javascript": "substring",
        "curly_bracket": True,
    },
}
"""Rules by preset: the defaults of datatrove's C4QualityFilter; those of dolma's tagger c4_v2 that
dolma's `configs/c4-replication/mixer.yaml` uses, but for naughty words, which need a list."""

BOTH = ("terminal_punct", "min_words_per_line", "lorem_ipsum", "javascript", "curly_bracket")
LINES: dict[str, tuple[str, ...]] = {
    "datatrove-0.10": (*BOTH, "max_word_length", "remove_citations", "policy", "min_sentences"),
    "dolma-1.2": BOTH,
}
"""Settings that judge lines, by the preset that measures them."""
TEXTS: dict[str, tuple[str, ...]] = {
    "datatrove-0.10": ("min_paragraph_chars", "naughty_words", "naughty_anywhere"),
    "dolma-1.2": ("naughty_words",),
}
"""Settings that judge the text as it comes, by the preset that measures them."""
DATATROVE_COLUMNS = (
    *("lines_total", "lines_too_long_word", "lines_no_terminal_punct", "lines_too_few_words"),
    *("lines_javascript", "lines_policy", "lines_kept", "lines_lorem_ipsum", "lines_curly_bracket"),
    "lorem_ipsum_first",
)
DOLMA_COLUMNS = (
    *("lines_total", "lines_no_terminal_punct", "lines_too_few_words", "lines_kept"),
    *("has_curly_bracket", "has_lorem_ipsum", "has_javascript"),
)
CURLY, LOREM, JAVASCRIPT, NAUGHTY = 1, 2, 4, 8
ADVICE = "It is a text file with one word or phrase a line, in lower case; dolmix ships none."

Count = Annotated[int, Field(ge=0)]


class C4(Filter):
    """Take out lines that are no sentences, and drop documents that are no prose.

    A rule that is not given is the preset's; null or false switches it off.
    """

    rewrites: ClassVar[bool] = True
    rule_settings = ("min_sentences", "min_paragraph_chars")

    type: Literal["c4"] = "c4"
    preset: Literal["datatrove-0.10", "dolma-1.2"] = "datatrove-0.10"
    """Whose rules: datatrove's C4QualityFilter, or dolma's tagger c4_v2 as dolma's C4 recipe uses
    it."""
    lines: bool = True
    """Whether to judge lines. Without, no text changes, and only `naughty_words` and
    `min_paragraph_chars` decide."""
    max_word_length: Count | None = None
    """Longest word, in characters, of a line that stays (datatrove)."""
    remove_citations: bool | None = None
    """Take `[12]`, `[edit]` and `[citation needed]` out of lines (datatrove)."""
    terminal_punct: bool | None = None
    """Take out lines without terminal punctuation at their end."""
    min_words_per_line: Count | None = None
    """Fewest words of a line that stays."""
    lorem_ipsum: bool | None = None
    """Drop documents that say "lorem ipsum"."""
    javascript: Literal["substring", "word"] | None = None
    """Take out lines (datatrove) or drop documents (dolma) that mention JavaScript: anywhere, or,
    with dolma alone, as a word of its own (tagger c4_v1)."""
    curly_bracket: bool | None = None
    """Drop documents with a `{`."""
    policy: bool | None = None
    """Take out lines with a phrase such as "privacy policy" (datatrove)."""
    min_sentences: Count | None = None
    """Fewest sentences in the lines that stay (datatrove)."""
    min_paragraph_chars: Count | None = None
    """Fewest characters of the third longest line (datatrove's C4ParagraphFilter: 200)."""
    naughty_words: Path | None = None
    """File of words and phrases, one a line, in lower case, any of which drops a document."""
    naughty_anywhere: bool = False
    """Look for them inside words too, as datatrove does for Japanese, Thai and Chinese."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or raw.get("lines") is False:
            return raw
        return {**PRESETS.get(str(raw.get("preset", "datatrove-0.10")), {}), **raw}

    @model_validator(mode="after")
    def _preset_measures_it(self) -> "C4":
        known = (*(LINES[self.preset] if self.lines else ()), *TEXTS[self.preset])
        for setting in (*LINES["datatrove-0.10"], *TEXTS["datatrove-0.10"]):
            value = getattr(self, setting)
            if setting not in known and value is not None and value is not False:
                raise ValueError(self._not_measured(setting, value))
        if self.javascript == "word" and self.preset != "dolma-1.2":
            raise ValueError(
                f"javascript: word is not what {self.preset} measures; preset dolma-1.2 has it. "
                "Set it to substring, or to null for none"
            )
        if self.naughty_anywhere and self.naughty_words is None:
            raise ValueError(f"naughty_anywhere is {self.naughty_anywhere}: give naughty_words too")
        if len(self.column_types()) == 0:
            raise ValueError(
                f"lines is {self.lines}, so every rule is off: set naughty_words or "
                "min_paragraph_chars, or leave the filter out"
            )
        return self

    @property
    def definition(self) -> str:
        """The peer's filters or tagger whose decisions these are."""
        if self.preset == "dolma-1.2":
            return f"dolma 1.2.1 {'c4_v1' if self.javascript == 'word' else 'c4_v2'}"
        names = [
            *(["C4QualityFilter"] if self.lines else []),
            *(["C4BadWordsFilter"] if self.naughty_words is not None else []),
            *(["C4ParagraphFilter"] if self.min_paragraph_chars is not None else []),
        ]
        return f"datatrove 0.10 {' + '.join(names)}"

    @property
    def splitter(self) -> str:
        """Words are those of `str.split()`, sentences those that spaCy's rules find."""
        if self.min_sentences is not None:
            return "whitespace; sentences: spacy-en"
        return "whitespace" if self.lines or self.preset == "dolma-1.2" else ""

    def digests(self) -> dict[str, str]:
        """Digests of the naughty words, and of spaCy's rules where sentences count.

        Raises FilterError if the list is missing, or spaCy is and sentences count.
        """
        from dolmix.text.splitters import splitter_digest

        digests = {}
        if self.naughty_words is not None:
            digests["naughty_words"] = file_digest(self._list_file())
        if self.min_sentences is not None:
            digests["sentences"] = splitter_digest("spacy-en")
        return digests

    def edit_counts(self) -> tuple[str, ...]:
        """Lines in all, those that stay, and those that each rule that is on takes out."""
        on = {
            "lines_total": self.lines,
            "lines_too_long_word": self.max_word_length is not None,
            "lines_no_terminal_punct": bool(self.terminal_punct),
            "lines_too_few_words": bool(self.min_words_per_line),
            "lines_javascript": self.javascript is not None,
            "lines_policy": bool(self.policy),
            "lines_kept": self.lines,
        }
        return tuple(name for name in self.column_types() if on.get(name, False))

    def column_types(self) -> dict[str, pa.DataType]:
        """Name counts and the edit; those of texts, and sentences, only where their rule is on."""
        from dolmix.text.edits import EDIT_TYPE

        names: list[str] = []
        if self.naughty_words is not None:
            names.append("has_naughty_word")
        if self.min_paragraph_chars is not None:
            names.append("third_paragraph_chars")
        if self.lines:
            names += DATATROVE_COLUMNS if self.preset == "datatrove-0.10" else DOLMA_COLUMNS
        if self.min_sentences is not None:
            names.append("sentences")
        types: dict[str, pa.DataType] = dict.fromkeys(names, pa.int64())
        return types | ({EDIT: EDIT_TYPE} if self.lines else {})

    def columns(self, texts: TextBatch) -> Columns:
        """Judge every line, and count; only an edit can be null, where the text stays as it is.

        Raises FilterError if the list of naughty words is missing or is no text, or spaCy is and
        sentences count.
        """
        if self.preset == "dolma-1.2":
            return self._dolma_columns(texts)
        columns: Columns = {}
        if self.naughty_words is not None:
            whole = not self.naughty_anywhere
            words = tuple((word, NAUGHTY, whole) for word in self._naughty())
            columns["has_naughty_word"] = _flag(_mentions(texts, words, "nonword"), NAUGHTY)
        if self.min_paragraph_chars is not None:
            from dolmix.text.c4_spans import third_longest_lines

            columns["third_paragraph_chars"] = pa.array(third_longest_lines(texts))
        return columns | (self._datatrove_columns(texts) if self.lines else {})

    def rules(self) -> Iterator[Rule]:
        """In the peers' order; rules on the text as it comes stand before those on its lines."""
        naughty = Rule("has_naughty_word", at_least=1, reason="naughty_word")
        if self.preset == "dolma-1.2":
            if self.lines:
                yield from self._dolma_rules()
            if self.naughty_words is not None:
                yield naughty
            return
        if self.naughty_words is not None:
            yield naughty
        paragraphs = self.min_paragraph_chars
        if paragraphs is not None:
            yield Rule("third_paragraph_chars", below=paragraphs, reason="paragraph_chars")
        if self.lines:
            yield from self._datatrove_rules()

    def _dolma_rules(self) -> Iterator[Rule]:
        yield Rule("has_curly_bracket", at_least=_one(self.curly_bracket), reason="curly_bracket")
        yield Rule("has_lorem_ipsum", at_least=_one(self.lorem_ipsum), reason="lorem_ipsum")
        yield Rule("has_javascript", at_least=_one(self.javascript), reason="javascript")

    def _datatrove_rules(self) -> Iterator[Rule]:
        # the line that comes first gives the reason; without the other rule, any line does
        lorem = "lorem_ipsum_first" if self.curly_bracket else "lines_lorem_ipsum"
        yield Rule(lorem, at_least=_one(self.lorem_ipsum), reason="lorem_ipsum")
        yield Rule("lines_curly_bracket", at_least=_one(self.curly_bracket), reason="curly_bracket")
        if self.min_sentences is not None:
            yield Rule("sentences", below=self.min_sentences)

    def _datatrove_columns(self, texts: TextBatch) -> Columns:
        from dolmix.text.c4_lines import LineRules, clean_lines

        rules = LineRules(
            max_word_chars=-1 if self.max_word_length is None else self.max_word_length,
            citations=bool(self.remove_citations),
            punctuation=bool(self.terminal_punct),
            min_words=self.min_words_per_line or 0,
            javascript=self.javascript is not None,
            policy=bool(self.policy),
        )
        lines = clean_lines(texts, rules)
        columns: Columns = {
            name: pa.array(row) for name, row in zip(DATATROVE_COLUMNS, lines.counts, strict=True)
        }
        if self.min_sentences is not None:
            columns["sentences"] = pa.array(_sentences(lines))
        return columns | {EDIT: lines.edits.to_column()}

    def _dolma_columns(self, texts: TextBatch) -> Columns:
        from dolmix.text.c4_spans import mark_c4_lines

        phrases: list[tuple[str, int, bool]] = []
        if self.lines:
            phrases += [("{", CURLY, False), ("lorem ipsum", LOREM, False)]
            phrases += [("javascript", JAVASCRIPT, self.javascript == "word")]
        if self.naughty_words is not None:
            phrases += [(word, NAUGHTY, " " not in word) for word in self._naughty() if _word(word)]
        found = _mentions(texts, tuple(phrases), "whitespace")
        columns = {"has_naughty_word": _flag(found, NAUGHTY)} if self.naughty_words else {}
        if not self.lines:
            return columns
        lines = mark_c4_lines(
            texts, punctuation=bool(self.terminal_punct), min_words=self.min_words_per_line or 0
        )
        values = [*map(pa.array, lines.counts)]
        values += [_flag(found, kind) for kind in (CURLY, LOREM, JAVASCRIPT)]
        columns |= dict(zip(DOLMA_COLUMNS, values, strict=True))
        return columns | {EDIT: lines.edits.to_column()}

    def _list_file(self) -> Path:
        assert self.naughty_words is not None
        setting = f"{self.label}.naughty_words"
        return required_file(self.naughty_words, setting=setting, advice=ADVICE)

    def _naughty(self) -> tuple[str, ...]:
        return _read_list(self._list_file().resolve())

    def _not_measured(self, setting: str, value: Any) -> str:
        if not self.lines and setting in LINES[self.preset]:
            return f"{setting} {value} judges lines, and lines is false; drop one of the two"
        return (
            f"{setting} {value} is not what {self.preset} measures; preset datatrove-0.10 has it. "
            f"Leave it out, or change the preset"
        )


def _one(setting: object) -> int | None:
    """Limit of a rule that fires at the first of something, if the rule is on."""
    return None if setting is None or setting is False else 1


def _word(text: str) -> bool:
    """Whether dolma can find a line of its list: white space but a blank is in no `split()`."""
    return " " in text or len(text.split()) == 1


def _sentences(lines: "CleanLines") -> I64Array:
    from dolmix.text.spacy_en import count_sentences

    sums = np.concatenate([[0], np.cumsum(count_sentences(lines.utf8, lines.offsets))])
    return np.diff(sums[lines.ends])


def _mentions(
    texts: TextBatch,
    phrases: tuple[tuple[str, int, bool], ...],
    edges: Literal["nonword", "whitespace"],
) -> U8Array:
    from dolmix.text.phrases import Phrase, phrase_table, phrases_in

    return phrases_in(texts, phrase_table(tuple(Phrase(*phrase) for phrase in phrases), edges))


def _flag(found: U8Array, kind: int) -> pa.Array:
    return pa.array(((found & kind) != 0).astype(np.int64))


@lru_cache(maxsize=4)
def _read_list(path: Path) -> tuple[str, ...]:
    """Words and phrases of a list, once each; blank lines and white space around them aside."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise FilterError(f"{path} is no UTF-8 text: {error}. {ADVICE}") from None
    words = tuple(dict.fromkeys(filter(None, (line.strip() for line in lines))))
    if not words:
        raise FilterError(f"{path} has no words. {ADVICE}")
    return words
