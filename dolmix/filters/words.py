"""Word lists of your own over texts: how often their words stand there, and in which lines.

For toxicity and adult content without a model: limits on how many listed words a document may have,
as a count or as a share, and lines with any taken out. dolmix ships no list.
"""

from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
import orjson
import pyarrow as pa
from pydantic import Field, model_validator

from dolmix.config import Frac
from dolmix.document import BoolArray, Columns, TextBatch, U64Array
from dolmix.errors import FilterError
from dolmix.files.commit import file_digest
from dolmix.filters.base import EDIT, Filter, OnMissing, Rule, required_file
from dolmix.text.url_lists import ListFile

if TYPE_CHECKING:
    from dolmix.text.listed_words import EntryTable, Found

ADVICE = "It is a UTF-8 text of one word or phrase a line, plain or .gz; dolmix ships none."
ANY = "any"
"""Name of lists that count in every language."""
MOST_NAMES = 63


class ListedWords(Filter):
    """Drop documents with too many listed words, or take out the lines that have any."""

    rewrites = True
    rule_settings = ("max_matches", "max_distinct", "max_frac", "max_line_frac", "on_missing")

    type: Literal["words"] = "words"
    lists: Annotated[tuple[Path, ...], Field(min_length=1)]
    """Files of words and phrases, one a line. A list's name is its file's up to the first dot: `en`
    of `lists/en.txt`; files of one name are one list."""
    language_field: str | None = None
    """Dotted path of a document's language (`metadata.lang`); then only the list of that name
    counts, and one named `any`. null: every list counts in every document."""
    cut_lines: bool = False
    """Take out every line with a listed word."""
    max_matches: Annotated[int, Field(ge=0)] | None = None
    """Drop a document with more listed words and phrases than this; 0 allows none."""
    max_distinct: Annotated[int, Field(ge=0)] | None = None
    """Drop a document with more different ones than this."""
    max_frac: Frac | None = None
    """Drop a document of whose words more than this share are listed."""
    max_line_frac: Frac | None = None
    """Drop a document of whose lines more than this share have a listed word."""
    on_missing: OnMissing = "keep"
    """What to do with a document without a language, or in one that has no list."""

    @model_validator(mode="after")
    def _decides_something(self) -> Self:
        if not self.cut_lines and not any(rule.active for rule in self.rules()):
            raise ValueError(
                f"cut_lines is {self.cut_lines} and no limit is given, so nothing follows from a "
                f"listed word: set max_matches, max_distinct, max_frac or max_line_frac"
            )
        if len(self.names) > MOST_NAMES:
            raise ValueError(f"{len(self.names)} lists; {MOST_NAMES} are told apart. Join some")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the lists, in the order of `lists`."""
        return tuple(dict.fromkeys(map(_name_of, self.lists)))

    @property
    def definition(self) -> str:
        """The definition of dolmix."""
        return "dolmix-listed-words-1"

    @property
    def splitter(self) -> str:
        """Words are those of lists, see docs/filters.md."""
        return "dolmix-listed-words-1"

    def fields(self) -> tuple[str, ...]:
        """Path of the language, where it counts."""
        return () if self.language_field is None else (self.language_field,)

    def digests(self) -> dict[str, str]:
        """Digest of the lists with their names, and of what letters depend on.

        Raises FilterError for one that is missing.
        """
        import unicodedata

        digest = blake2b(digest_size=32)
        for path in self._files():
            digest.update(f"{_name_of(path)}\0{file_digest(path)}\n".encode())
        return {"lists": digest.hexdigest(), "unicode": unicodedata.unidata_version}

    def remarks(self) -> list[str]:
        """Say how many entries have no letter or digit, and so are never found."""
        entries = [text for text, _ in _read_lists(self._key())]
        lost = [text for text in entries if not any(map(str.isalnum, text))]
        if not lost:
            return []
        told = f"{len(lost):,} of {len(entries):,} entries have no letter or digit"
        return [f"{told} and are not looked for, {lost[0]!r} the first"]

    def column_types(self) -> dict[str, pa.DataType]:
        """Give counts, shares and the first match's list; all null in a language without one.

        `list` is null without a match too; the edit is there under `cut_lines`.
        """
        from dolmix.text.edits import EDIT_TYPE

        counts = ("word_count", "matches", "distinct", "lines_total", "lines_listed")
        types: dict[str, pa.DataType] = dict.fromkeys(counts, pa.int64())
        types |= {"frac": pa.float64(), "line_frac": pa.float64(), "list": pa.string()}
        return types | ({EDIT: EDIT_TYPE} if self.cut_lines else {})

    def edit_counts(self) -> tuple[str, ...]:
        """Lines in all, and those that go."""
        return ("lines_total", "lines_listed") if self.cut_lines else ()

    def columns(self, texts: TextBatch) -> Columns:
        """Look for all entries at once. Raises FilterError for a list that cannot be read."""
        from dolmix.text.listed_words import find_listed

        asked = self._asked(texts)
        found = find_listed(texts, _table(self._key()), asked)
        missing = asked == 0
        columns = {
            name: pa.array(values, self.column_types()[name], mask=missing)
            for name, values in _measures(found).items()
        }
        columns["list"] = self._names_of(found)
        if self.cut_lines:
            columns[EDIT] = _cut(found)
        return columns

    def rules(self) -> Iterator[Rule]:
        """Four rules, each off unless it is given a limit."""
        for name in ("matches", "distinct", "frac", "line_frac"):
            limit = getattr(self, f"max_{name}")
            yield Rule(name, above=limit, on_missing=self.on_missing)

    def _files(self) -> list[Path]:
        setting = f"{self.label}.lists"
        return [required_file(path, setting=setting, advice=ADVICE) for path in self.lists]

    def _key(self) -> tuple[tuple[str, Path], ...]:
        return tuple((_name_of(path), path.resolve()) for path in self._files())

    def _asked(self, texts: TextBatch) -> U64Array:
        """(N,) uint64: lists that count in each document, as bits."""
        bits = {name: 1 << number for number, name in enumerate(self.names)}
        if self.language_field is None:
            return np.full(len(texts), (1 << len(bits)) - 1, np.uint64)
        distinct = texts.fields[self.language_field].dictionary_encode()
        for_any = bits.get(ANY, 0)
        known = [_bits_of(raw, bits) | for_any for raw in distinct.dictionary.to_pylist()]
        by_row = distinct.indices.fill_null(len(known)).to_numpy(zero_copy_only=False)
        asked: U64Array = np.array([*known, for_any], np.uint64)[by_row]
        return asked

    def _names_of(self, found: "Found") -> pa.StringArray:
        """Name the first list that has each document's first match."""
        from dolmix.text.listed_words import FIRST_LISTS

        first = found.counts[:, FIRST_LISTS]
        lowest = np.log2(np.maximum(first & -first, 1)).astype(np.int64)
        return pa.array(self.names, pa.string()).take(pa.array(lowest, mask=first == 0))


def _name_of(path: Path) -> str:
    return path.name.partition(".")[0]


def _bits_of(raw: str, bits: dict[str, int]) -> int:
    """Bits of the list of a language, a JSON text: `en`, or `en-GB` where there is no such list."""
    try:
        language = orjson.loads(raw)
    except ValueError:
        return 0
    if not isinstance(language, str):
        return 0
    whole = bits.get(language, 0)
    return whole or bits.get(language.replace("_", "-").partition("-")[0].lower(), 0)


def _measures(found: "Found") -> dict[str, Any]:
    from dolmix.text.listed_words import DISTINCT, MATCHED_WORDS, MATCHES, WORDS

    words, matches, distinct, matched = (
        found.counts[:, place] for place in (WORDS, MATCHES, DISTINCT, MATCHED_WORDS)
    )
    lines = np.diff(found.ends)
    before = np.concatenate([[0], np.cumsum(found.hits > 0)])
    listed = before[found.ends[1:]] - before[found.ends[:-1]]
    return {
        "word_count": words,
        "matches": matches,
        "distinct": distinct,
        "lines_total": lines,
        "lines_listed": listed,
        "frac": matched / np.maximum(words, 1),
        "line_frac": listed / np.maximum(lines, 1),
    }


def _cut(found: "Found") -> pa.Array:
    from dolmix.text.units import cut_units

    out: BoolArray = found.hits > 0
    return cut_units(found.starts, found.stops, found.ends, out).to_column()


@lru_cache(maxsize=4)
def _table(lists: tuple[tuple[str, Path], ...]) -> "EntryTable":
    from dolmix.text.listed_words import entry_table

    return entry_table(_read_lists(lists))


@lru_cache(maxsize=4)
def _read_lists(lists: tuple[tuple[str, Path], ...]) -> tuple[tuple[str, int], ...]:
    """Entries of lists with their list as a bit; blank lines and comments are none."""
    bits = {name: 1 << n for n, name in enumerate(dict.fromkeys(name for name, _ in lists))}
    entries = []
    for name, path in lists:
        try:
            text = ListFile(name, path).read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise FilterError(f"list {path} is no UTF-8 text: {error}. {ADVICE}") from None
        lines = [line.strip() for line in text.split("\n")]
        found = [(line, bits[name]) for line in lines if line and not line.startswith("#")]
        if not found:
            raise FilterError(f"list {path} has no words. {ADVICE}")
        entries += found
    return tuple(entries)
