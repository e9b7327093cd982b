r"""Expressions over text or URL: how often each matches, and a limit on that.

By default expressions are RE2's, run by Arrow over the text's bytes: time linear in the text
whatever the expression, at the price of look-around and back-references, and `\w`, `\d`, `\b` see
ASCII alone. `syntax: python` runs Python's `re`, document by document, as datatrove's RegexFilter
does.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Literal, Self

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, StringConstraints, model_validator

from dolmix.document import Columns, TextBatch
from dolmix.filters.base import Filter, OnMissing, Rule

MARK = "\x01"
"""Put behind every match to count them; those that a text has itself are subtracted."""

Code = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")]


class Regex(Filter):
    """Drop documents in which an expression matches too often, or too seldom."""

    rule_settings = ("min_matches", "max_matches", "on_missing")

    type: Literal["regex"] = "regex"
    patterns: Annotated[dict[Code, str], Field(min_length=1)]
    """Expressions by name; the name is column and reason."""
    of: Literal["text", "url"] = "text"
    """What they are matched against."""
    syntax: Literal["re2", "python"] = "re2"
    """Whose expressions they are."""
    min_matches: Annotated[int, Field(ge=0)] | None = None
    """Drop when an expression matches fewer times than this."""
    max_matches: Annotated[int, Field(ge=0)] | None = 0
    """Drop when an expression matches more times than this; 0 drops at the first match."""
    on_missing: OnMissing = "keep"
    """What to do with a document without a URL, under `of: url`."""

    @model_validator(mode="after")
    def _compiles(self) -> Self:
        for name, pattern in self.patterns.items():
            try:
                on_nothing = _count(pa.array([""], pa.string()), pattern, self.syntax)
            except (pa.ArrowInvalid, re.error) as error:
                raise ValueError(
                    f"patterns.{name}: {pattern!r} is no {self.syntax} expression: {error}"
                ) from None
            if on_nothing[0].as_py():
                raise ValueError(
                    f"patterns.{name}: {pattern!r} matches the empty text, and with it every "
                    f"document; anchor it or ask for a character"
                )
        return self

    def __hash__(self) -> int:
        """Hash the settings; a dict among them has none of its own."""
        return hash(self.model_dump_json())

    @property
    def definition(self) -> str:
        """Whose expressions."""
        return "RE2 by Arrow" if self.syntax == "re2" else "Python re"

    def column_types(self) -> dict[str, pa.DataType]:
        """One count an expression; null without a URL under `of: url`."""
        return {name: pa.int64() for name in self.patterns}

    def columns(self, texts: TextBatch) -> Columns:
        """Count the matches, which do not overlap."""
        given = texts.text if self.of == "text" else texts.urls
        return {name: _count(given, p, self.syntax) for name, p in self.patterns.items()}

    def rules(self) -> Iterator[Rule]:
        """Each expression in turn, its lower limit first."""
        low, high, missing = self.min_matches, self.max_matches, self.on_missing
        for name in self.patterns:
            if low is None or high is None:
                yield Rule(name, below=low, above=high, on_missing=missing)
            else:
                yield Rule(name, below=low, reason=f"{name}_low", on_missing=missing)
                yield Rule(name, above=high, reason=f"{name}_high", on_missing=missing)


def _count(given: pa.Array, pattern: str, syntax: str) -> pa.Array:
    """Count the matches in each text, null for none: (N,) int64."""
    if syntax == "re2":
        return _count_re2(given, pattern)
    compiled = re.compile(pattern)
    counts = (
        None if text is None else sum(1 for _ in compiled.finditer(text))
        for text in given.to_pylist()
    )
    return pa.array(counts, pa.int64())


def _count_re2(given: pa.Array, pattern: str) -> pa.Array:
    r"""Mark the end of every match and count the marks.

    Arrow's own count looks at what is left behind a match as at a text of its own, so that `^` and
    `\b` match there.
    """
    hit = pc.match_substring_regex(given, pattern)
    rows = given.filter(pc.fill_null(hit, False))  # noqa: FBT003 - Arrow's own signature
    marked = pc.replace_substring_regex(rows, f"({pattern})", rf"\1{MARK}")
    counts = pc.subtract(pc.count_substring(marked, MARK), pc.count_substring(rows, MARK))
    return pc.replace_with_mask(hit.cast(pa.int64()), hit, counts.cast(pa.int64()))
