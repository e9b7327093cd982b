"""Code rules: stars of a file's repository, and files that consist of one or two words.

Both are OLMoE's for its code (arXiv:2409.02060), as the OLMo 2 report gives them (arXiv:2501.00656,
section 2.1.1).
"""

import csv
import gzip
import io
import math
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from dolmix.config import Frac
from dolmix.document import Columns, TextBatch
from dolmix.errors import FilterError
from dolmix.files.commit import file_digest
from dolmix.filters.base import Filter, OnMissing, Rule, required_file

LARGEST = 2**63 - 1
TABLE_ADVICE = "It is a CSV file, plain or .gz, with the columns repo and stars."


class Stars(Filter):
    """Drop code from repositories with few stars.

    A star count is a whole number, 0 or more: 7, "7" and 3.0 are; -1, "n/a", 2.5 and true are odd.
    It stands in a record's field, or, for records without it, in a table of repositories.
    """

    type: Literal["stars"] = "stars"
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
        stars = self._lookup(texts, self.field, self._from_field)
        if self.table is not None:
            counts = _read_table(str(self._table_file(self.table).resolve()))
            stars = pc.coalesce(
                stars,
                self._lookup(texts, self.repo_field, lambda raw: self._from_table(counts, raw)),
            )
        return {"stars": stars}

    def rules(self) -> Iterator[Rule]:
        """One rule."""
        yield Rule("stars", below=self.min_stars, on_missing=self.on_missing)

    def _lookup(self, texts: TextBatch, path: str, read: Callable[[str], int | None]) -> pa.Array:
        distinct = texts.fields[path].dictionary_encode()
        values = [read(raw) for raw in distinct.dictionary.to_pylist()]
        return pa.array(values, pa.int64()).take(distinct.indices)

    def _from_field(self, raw: str) -> int | None:
        value = _from_json(raw)
        return None if value is None else self._count(value, self.field)

    def _from_table(self, counts: Mapping[str, str | None], raw: str) -> int | None:
        repo = _from_json(raw)
        found = counts.get(repo.lower()) if isinstance(repo, str) else None
        return None if found is None else self._count(found, f"{self.table} for {repo}")

    def _count(self, value: Any, where: str) -> int | None:
        stars = star_count(value)
        if stars is None and self.on_odd == "fail":
            raise FilterError(
                f"{self.label}: {where} holds {value!r}, which is no star count (a whole number, "
                f"0 or more). Mend the input, or set {self.label}.on_odd to missing."
            )
        return stars

    def _table_file(self, table: Path) -> Path:
        return required_file(table, setting=f"{self.label}.table", advice=TABLE_ADVICE)


class WordShare(Filter):
    """Drop documents in which one or two words are too large a share of all words."""

    type: Literal["word_share"] = "word_share"
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
        from dolmix.text.words import split_words

        words = split_words(texts)
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


@lru_cache(maxsize=4)
def _read_table(path: str) -> dict[str, str | None]:
    """Map each repository of a table, in lower case, to its stars as written; once a process."""
    data = Path(path).read_bytes()
    try:
        text = (gzip.decompress(data) if path.endswith(".gz") else data).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise FilterError(f"table {path} cannot be read: {error}. {TABLE_ADVICE}") from None
    rows = csv.DictReader(io.StringIO(text))
    missing = {"repo", "stars"} - set(rows.fieldnames or ())
    if missing:
        raise FilterError(
            f"table {path} has no column {' and no '.join(sorted(missing))}; it has "
            f"{', '.join(rows.fieldnames or ()) or 'none'}. {TABLE_ADVICE}"
        )
    return {(row["repo"] or "").lower(): row["stars"] for row in rows}
