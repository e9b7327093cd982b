"""Stars of a file's repository: OLMoE's rule for its code (arXiv:2409.02060).

The number is the OLMo 2 report's (arXiv:2501.00656, section 2.1.1).
"""

import csv
import gzip
import io
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from dolmix.document import Columns, TextBatch
from dolmix.errors import FilterError
from dolmix.files.commit import file_digest
from dolmix.filters.base import Filter, OnMissing, Rule, document_at, required_file

LARGEST = 2**63 - 1
TABLE_ADVICE = "It is a CSV file, plain or .gz, with the columns repo and stars."


class Stars(Filter):
    """Drop code from repositories with few stars.

    A star count is a whole number, 0 or more: 7, "7" and 3.0 are; -1, "n/a", 2.5 and true are odd.
    It stands in a record's field, or, for records without it, in a table of repositories.
    """

    rule_settings = ("min_stars", "on_missing")

    type: Literal["stars"] = "stars"
    preset: Literal["olmoe-0924"] = "olmoe-0924"
    """Whose rule and threshold: those of OLMoE-1B-7B-0924's data."""
    min_stars: Annotated[int, Field(ge=0)] | None = 2
    """Fewest stars."""
    field: str = "metadata.stars"
    """Dotted path of the count in a record."""
    table: Path | None = None
    """CSV file (plain or .gz) with columns repo and stars, for records whose field is missing."""
    repo_field: str = "metadata.repo"
    """Dotted path of the repository's name, by which the table is joined; case does not matter."""
    on_missing: OnMissing = "drop"
    """What to do without a count."""
    on_odd: Literal["missing", "fail"] = "missing"
    """Whether an odd count is as good as none, or an error."""

    @property
    def definition(self) -> str:
        """The paper's rule; dolma reads a missing count as 0."""
        return "OLMoE stars"

    def fields(self) -> tuple[str, ...]:
        """Paths of the count and, with a table, of the repository."""
        return (self.field,) if self.table is None else (self.field, self.repo_field)

    def digests(self) -> dict[str, str]:
        """Digest of the table, where there is one."""
        return {} if self.table is None else {"table": file_digest(self._table_file(self.table))}

    def column_types(self) -> dict[str, pa.DataType]:
        """One column, null where there is no count."""
        return {"stars": pa.int64()}

    def columns(self, texts: TextBatch) -> Columns:
        """Read every distinct value once.

        Raises FilterError for a table that cannot be read, and under `on_odd: fail`.
        """
        stars = self._counts(texts, texts.fields[self.field], self._from_field)
        if self.table is not None:
            rows = _read_table(str(self._table_file(self.table).resolve()))
            repos = texts.fields[self.repo_field]
            asked = pc.if_else(stars.is_null(), repos, pa.scalar(None, repos.type))
            found = self._counts(texts, asked, lambda raw: self._from_table(rows, raw))
            stars = pc.coalesce(stars, found)
        return {"stars": stars}

    def rules(self) -> Iterator[Rule]:
        """One rule."""
        yield Rule("stars", below=self.min_stars, on_missing=self.on_missing)

    def _counts(
        self, texts: TextBatch, field: pa.StringArray, read: Callable[[str], "_Found"]
    ) -> pa.Array:
        """Star count of each document by what its field leads to; distinct texts are read once."""
        distinct = field.dictionary_encode()
        counts = []
        for raw in distinct.dictionary.to_pylist():
            found = read(raw)
            counts.append(star_count(found.value))
            if self.on_odd == "fail" and counts[-1] is None and found.value is not None:
                row = pc.index(field, pa.scalar(raw, field.type)).as_py()
                raise FilterError(f"{document_at(texts, row)}: {self._odd(found)}")
        return pa.array(counts, pa.int64()).take(distinct.indices)

    def _from_field(self, raw: str) -> "_Found":
        return _Found(_from_json(raw), self.field)

    def _from_table(self, rows: Mapping[str, "_Row"], raw: str) -> "_Found":
        repo = _from_json(raw)
        row = rows.get(repo.lower()) if isinstance(repo, str) else None
        return _Found(None if row is None else row.stars, f"{self.table} for {repo}")

    def _odd(self, found: "_Found") -> str:
        return (
            f"{found.where} holds {found.value!r}, which is no star count (a whole number, 0 or "
            f"more). Mend the input, or set {self.label}.on_odd to missing."
        )

    def _table_file(self, table: Path) -> Path:
        return required_file(table, setting=f"{self.label}.table", advice=TABLE_ADVICE)


def star_count(value: Any) -> int | None:
    """Read a star count from a JSON value: a whole number from 0 to 2**63 - 1, or None.

    Numbers may be written as text and with a fraction of zero: 7, "7", 3.0, "3.0".
    """
    if isinstance(value, str):
        value = _from_json(value)
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= LARGEST else None


def _from_json(raw: str) -> Any:
    """Value of a JSON text; the text itself where it is none, which no star count is."""
    try:
        return orjson.loads(raw)
    except ValueError:
        return raw


class _Found(NamedTuple):
    """A value that may be a star count, and where it stands; None is no value."""

    value: Any
    where: str


class _Row(NamedTuple):
    """A row of a table of repositories, as written."""

    repo: str
    stars: str
    line: int
    """Line of the file on which the row starts, from 1."""


@lru_cache(maxsize=4)
def _read_table(path: str) -> dict[str, _Row]:
    """Map each repository of a table, in lower case, to its row; once a process.

    Raises FilterError for a file that cannot be read, lacks a column, or gives one repository two
    counts.
    """
    table: dict[str, _Row] = {}
    for row in _rows(path, _text_of(path)):
        known = table.setdefault(row.repo.lower(), row)
        if star_count(known.stars) != star_count(row.stars):
            raise FilterError(
                f"table {path} gives {row.repo} two counts: {known.stars!r} on line {known.line} "
                f"and {row.stars!r} on line {row.line}. Take one of the two rows out."
            )
    return table


def _text_of(path: str) -> str:
    try:
        data = Path(path).read_bytes()
        return (gzip.decompress(data) if path.endswith(".gz") else data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise FilterError(f"table {path} cannot be read: {error}. {TABLE_ADVICE}") from None


def _rows(path: str, text: str) -> Iterator[_Row]:
    """Read CSV strictly: an unclosed quote would swallow the rest of the table without a word."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        names = next(reader, [])
        repo, stars = _places(path, names)
        line = reader.line_num + 1
        for cells in reader:
            if cells:
                padded = cells + [""] * (len(names) - len(cells))
                yield _Row(padded[repo], padded[stars], line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise FilterError(
            f"table {path} cannot be read: line {line}: {error}. {TABLE_ADVICE}"
        ) from None


def _places(path: str, names: list[str]) -> tuple[int, int]:
    """Positions of the two columns."""
    missing = [name for name in ("repo", "stars") if name not in names]
    if missing:
        raise FilterError(
            f"table {path} has no column {' and no '.join(missing)}; it has "
            f"{', '.join(names) or 'none'}. {TABLE_ADVICE}"
        )
    return names.index("repo"), names.index("stars")
