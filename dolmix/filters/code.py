"""Code rules: files that are no source code that a person wrote, or hardly any.

Line lengths and character shares are RedPajama's rules as dolma measures them; XML, comments and
the visible text of HTML are StarCoder's (arXiv:2305.06161), again as dolma measures them.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import orjson
import pyarrow as pa
from pydantic import Field, model_validator

from dolmix.config import Frac
from dolmix.document import Columns, TextBatch
from dolmix.filters.base import Filter, OnMissing, Rule, with_preset

REDPAJAMA_EXTENSIONS = (
    ".asm .bat .cmd .c .h .cs .cpp .hpp .c++ .h++ .cc .hh .C .H .cmake .css .dockerfile .f90 .f "
    ".f03 .f08 .f77 .f95 .for .fpp .go .hs .html .java .js .jl .lua .md .markdown .php .php3 .php4 "
    ".php5 .phps .phpt .pl .pm .pod .perl .ps1 .psd1 .psm1 .py .rb .rs .sql .scala .sh .bash "
    ".command .zsh .ts .tsx .tex .vb Dockerfile Makefile .xml .rst .m .smali"
)
"""Endings of file names that RedPajama v1 kept (`data_prep/github/github_run_filter.py`)."""
REDPAJAMA: dict[str, Any] = {
    "max_line_length": 1000,
    "max_avg_line_length": 100.0,
    "min_alnum_frac": 0.25,
    "min_alpha_per_token": 1.5,
}
PRESETS: dict[str, dict[str, Any]] = {
    "dolma-1.2": {
        **REDPAJAMA,
        "drop_xml": True,
        "max_comment_frac": 0.8,
        "min_comment_frac": 0.01,
        "min_html_text_frac": 0.2,
        "field": "metadata.ext",
        "field_holds": "extension",
        "on_missing": "keep",
    },
    "redpajama": {
        **REDPAJAMA,
        "extensions": tuple(REDPAJAMA_EXTENSIONS.split()),
        "field": "metadata.path",
        "field_holds": "path",
        "on_missing": "drop",
    },
}
"""Thresholds by preset: those with which OLMo's Stack was made (`pretrain_data/the_stack`, v2 and
v4), and RedPajama v1's."""
LANGUAGES = {
    "python": "py bzl gyp lmi pyde pyp pyt pyw tac wsgi xpy",
    "java": "java",
    "javascript": "js _js bones es6 jake jsb jscad jsfl jsm jss njs pac sjs ssjs xsjs xsjslib",
    "html": "html htm htmlhl xht xhtml",
}
"""Languages that are parsed, and their file extensions as GitHub's Linguist listed them in 2022."""
BY_EXTENSION = {ext: language for language, exts in LANGUAGES.items() for ext in exts.split()}
PARSED = ("python", "html")
"""Languages whose texts go through a parser that takes time and memory; the others are scanned."""
NO_COMMENTS = 0.5
"""Share of comments of a text in any other language: between the two thresholds."""
NO_HTML = 1.0
"""Share of visible text of a text in any other language."""

Measure: TypeAlias = Callable[[str], float | None]


class Code(Filter):
    """Drop files that are data, generated, minified, hardly commented, or markup around nothing.

    A threshold that is not given is the preset's; null switches its rule off. The columns of
    comments, of HTML, of words and of extensions are each written where their rule is on.
    """

    rule_settings = (
        *("max_line_length", "max_avg_line_length", "min_alnum_frac", "min_alpha_per_token"),
        *("drop_xml", "max_comment_frac", "min_comment_frac", "min_html_text_frac", "on_missing"),
    )

    type: Literal["code"] = "code"
    preset: Literal["dolma-1.2", "redpajama"] = "dolma-1.2"
    """Whose thresholds: those with which dolma's Stack was made, or RedPajama v1's."""
    max_line_length: Annotated[int, Field(ge=0)] | None = None
    """Most characters in a line."""
    max_avg_line_length: Annotated[float, Field(ge=0)] | None = None
    """Largest mean number of characters in a line."""
    min_alnum_frac: Frac | None = None
    """Smallest share of letters and digits among the characters."""
    min_alpha_per_token: Annotated[float, Field(ge=0)] | None = None
    """Fewest letters per token, a run of word characters or of symbols; needs the extra `code`."""
    drop_xml: bool = False
    """Whether `<?xml version=` within the first 100 characters drops a file."""
    max_comment_frac: Frac | None = None
    """Largest share of characters in comments, of Python, Java and JavaScript."""
    min_comment_frac: Frac | None = None
    """The share of characters in comments must exceed this, of the same languages."""
    min_html_text_frac: Frac | None = None
    """The share of visible characters must exceed this, of HTML; needs the extra `code`."""
    extensions: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Endings of file names to keep, by case, each with its dot; null keeps any."""
    field: str = "metadata.ext"
    """Dotted path of what tells a file's language."""
    field_holds: Literal["extension", "path", "language"] = "extension"
    """What is there: a file's extension (`py`), its path, or the language's name (`Python`)."""
    on_missing: OnMissing = "keep"
    """What to do without an extension, or with a file that was not parsed."""
    max_parse_bytes: Annotated[int, Field(gt=0)] | None = 1_000_000
    """Python and HTML files above this size are not parsed; null parses any."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, raw: Any) -> Any:
        return with_preset(raw, PRESETS, "dolma-1.2")

    @model_validator(mode="after")
    def _extensions_can_be_seen(self) -> "Code":
        if self.extensions is not None and self.field_holds == "language":
            raise ValueError(
                f"extensions needs a file's extension or path, but field {self.field} holds its "
                "language; name another field, or set extensions to null"
            )
        return self

    @model_validator(mode="after")
    def _some_rule_is_on(self) -> "Code":
        if not any(rule.active for rule in self.rules()):
            raise ValueError("every rule is off: set a threshold, or leave the filter out")
        return self

    @property
    def definition(self) -> str:
        """The dolma taggers whose values the columns equal."""
        return "dolma 1.2.1 code_redpajama_taggers_v1, code_starcoder_taggers_v2"

    def fields(self) -> tuple[str, ...]:
        """Path of the extension, path or language, where a rule asks for it."""
        asked = self._has_comments or self._has_html or self.extensions is not None
        return (self.field,) if asked else ()

    def digests(self) -> dict[str, str]:
        """Name what the columns depend on beside the text: Unicode and parsers in use.

        Raises FilterError without the packages that a rule needs.
        """
        python = f"python {sys.version_info.major}.{sys.version_info.minor}"
        digests = {}
        if self.min_alpha_per_token is not None:
            from dolmix.text.code_marks import word_digest

            digests["words"] = word_digest()
        if self._has_comments:
            digests["comments"] = python
        if self._has_html:
            from dolmix.text.code_html import html_parser

            digests["html"] = f"{html_parser()}, {python}"
        return digests

    def column_types(self) -> dict[str, pa.DataType]:
        """Four columns, never null, and those of the rules that are on."""
        types: dict[str, pa.DataType] = {
            "max_line_length": pa.int64(),
            "avg_line_length": pa.float64(),
            "alnum_frac": pa.float64(),
            "xml": pa.int64(),
        }
        groups = {
            "alpha_per_token": self.min_alpha_per_token is not None,
            "comment_frac": self._has_comments,
            "html_text_frac": self._has_html,
        }
        types |= {name: pa.float64() for name, on in groups.items() if on}
        return types if self.extensions is None else types | {"extension": pa.string()}

    def columns(self, texts: TextBatch) -> Columns:
        """Measure lines and characters; parse those that are in a language for which it counts.

        Raises FilterError without the packages that a rule needs.
        """
        from dolmix.text.code_marks import code_marks

        marks = code_marks(texts, words=self.min_alpha_per_token is not None)
        columns: Columns = {
            "max_line_length": pa.array(marks.longest),
            "avg_line_length": pa.array(marks.line_chars / np.maximum(marks.lines, 1)),
            "alnum_frac": pa.array(marks.alnums / np.maximum(marks.chars, 1)),
            "xml": pa.array(marks.xml),
        }
        if self.min_alpha_per_token is not None:
            columns["alpha_per_token"] = pa.array(marks.letters / marks.pieces)
        if self._has_comments:
            from dolmix.text.code_comments import COMMENT_FRACS

            columns["comment_frac"] = self._measured(texts, COMMENT_FRACS, NO_COMMENTS)
        if self._has_html:
            from dolmix.text.code_html import html_text_frac

            columns["html_text_frac"] = self._measured(texts, {"html": html_text_frac}, NO_HTML)
        if self.extensions is not None:
            columns["extension"] = self._by_field(texts, self._extension)
        return columns

    def rules(self) -> Iterator[Rule]:
        """RedPajama's rules, then StarCoder's, in the order of the published configurations."""
        if self.extensions is not None:
            yield Rule("extension", not_in=self.extensions, on_missing=self.on_missing)
        yield Rule("max_line_length", above=self.max_line_length)
        yield Rule("avg_line_length", above=self.max_avg_line_length)
        yield Rule("alnum_frac", below=self.min_alnum_frac)
        if self.min_alpha_per_token is not None:
            yield Rule("alpha_per_token", below=self.min_alpha_per_token)
        yield Rule("xml", at_least=1 if self.drop_xml else None)
        if self._has_comments:
            share = Rule("comment_frac", on_missing=self.on_missing)
            yield replace(share, above=self.max_comment_frac, reason="comment_frac_high")
            yield replace(share, at_most=self.min_comment_frac, reason="comment_frac_low")
        if self._has_html:
            limit = self.min_html_text_frac
            yield Rule("html_text_frac", at_most=limit, on_missing=self.on_missing)

    @property
    def _has_comments(self) -> bool:
        return self.max_comment_frac is not None or self.min_comment_frac is not None

    @property
    def _has_html(self) -> bool:
        return self.min_html_text_frac is not None

    def _measured(
        self, texts: TextBatch, measures: Mapping[str, "Measure"], other: float
    ) -> pa.Array:
        """Value of each document: what its language's measure gives, `other` where it has none."""
        values: list[float | None] = [other] * len(texts)
        sizes = texts.num_bytes
        for row, language in enumerate(self._by_field(texts, self._language).to_pylist()):
            if language in measures:
                parsed = language not in PARSED or self._may_be_parsed(int(sizes[row]))
                values[row] = measures[language](texts.text[row].as_py()) if parsed else None
        return pa.array(values, pa.float64())

    def _may_be_parsed(self, size: int) -> bool:
        return self.max_parse_bytes is None or size <= self.max_parse_bytes

    def _by_field(self, texts: TextBatch, read: Callable[[str], str | None]) -> pa.StringArray:
        """Read each document's field; distinct values are read once."""
        distinct = texts.fields[self.field].dictionary_encode()
        values = map(_from_json, distinct.dictionary.to_pylist())
        known = [read(value) if isinstance(value, str) else None for value in values]
        return pa.array(known, pa.string()).take(distinct.indices)

    def _language(self, value: str) -> str | None:
        """Language, if it is one that is parsed, of what the field holds."""
        if self.field_holds == "language":
            return value.lower() if value.lower() in LANGUAGES else None
        if self.field_holds == "path":
            ending = _ending(value)
            value = ending[1:] if ending.startswith(".") else ""
        return BY_EXTENSION.get(value)

    def _extension(self, value: str) -> str:
        """Longest of `extensions` with which a name ends, or whatever it ends with."""
        name = value if self.field_holds == "path" else f".{value}"
        listed = [ending for ending in self.extensions or () if name.endswith(ending)]
        return max(listed, key=len, default=_ending(name))


def _from_json(raw: str) -> Any:
    """Value of a JSON text; None where it is none."""
    try:
        return orjson.loads(raw)
    except ValueError:
        return None


def _ending(path: str) -> str:
    """Give a file name's end from its last dot on; the whole name without one."""
    name = path.rsplit("/", 1)[-1]
    return name[name.rfind(".") :] if "." in name else name
