"""Lines taken out of a document: those that it has already, and those of a list of boilerplate.

What pages repeat (menus, share buttons, cookie notices) is removed and the rest stays, as an edit.
Lines that repeat across documents are the dedup step `paragraphs`' affair.
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from dolmix.config import Frac
from dolmix.document import BoolArray, Columns, I64Array, TextBatch, U64Array
from dolmix.errors import FilterError
from dolmix.files.commit import file_digest
from dolmix.filters.base import EDIT, Filter, Rule, required_file

if TYPE_CHECKING:
    from dolmix.text.units import Units

ADVICE = "It is a text of one line of boilerplate a line, in UTF-8."


class Lines(Filter):
    """Take repeated and listed lines out; drop documents of which too little is left.

    Lines are compared without white space at their ends, each run of it inside as one space.
    """

    rewrites = True
    rule_settings = ("max_removed_frac",)

    type: Literal["lines"] = "lines"
    repeated: bool = True
    """Take out every line that is equal to an earlier one of its document."""
    min_repeated_bytes: Annotated[int, Field(ge=0)] = 20
    """Repeated lines shorter than this stay: a `}` or a `* * *` is no boilerplate."""
    listed: tuple[Path, ...] = ()
    """Files of lines to take out wherever they stand."""
    max_removed_frac: Frac | None = None
    """Drop a document that loses more than this share of its lines."""

    @model_validator(mode="after")
    def _takes_something_out(self) -> "Lines":
        if not self.repeated and not self.listed:
            raise ValueError("nothing to take out; set repeated: true, or give listed")
        return self

    @property
    def definition(self) -> str:
        """What lines are equal."""
        return "lines with white space collapsed, dolmix lines 1"

    def digests(self) -> dict[str, str]:
        """Digest of the lists. Raises FilterError for one that is missing."""
        if not self.listed:
            return {}
        return {"listed": " ".join(file_digest(path) for path in self._files())}

    def column_types(self) -> dict[str, pa.DataType]:
        """Give counts of lines, the share that goes, and the edit; only the edit can be null."""
        from dolmix.text.edits import EDIT_TYPE

        counts = dict.fromkeys(("lines_total", "lines_repeated", "lines_listed"), pa.int64())
        return {**counts, "removed_frac": pa.float64(), EDIT: EDIT_TYPE}

    def edit_counts(self) -> tuple[str, ...]:
        """Lines in all, and those that each rule that is on takes out."""
        on = {"lines_total": True, "lines_repeated": self.repeated, "lines_listed": self.listed}
        return tuple(name for name, used in on.items() if used)

    def columns(self, texts: TextBatch) -> Columns:
        """Cut texts into lines that are not blank, and mark those that go.

        A line that is both listed and repeated counts as listed.
        """
        from dolmix.text.units import cut_units

        units = _split(texts)
        listed = np.isin(units.keys, self._entries())
        repeated = _repeated(units) & ~listed if self.repeated else np.zeros_like(listed)
        repeated &= units.stops - units.starts >= self.min_repeated_bytes
        edits = cut_units(units.starts, units.stops, units.ends, listed | repeated)
        total = np.diff(units.ends)
        counts = [_per_document(mark, units) for mark in (repeated, listed)]
        return {
            "lines_total": pa.array(total),
            "lines_repeated": pa.array(counts[0]),
            "lines_listed": pa.array(counts[1]),
            "removed_frac": pa.array((counts[0] + counts[1]) / np.maximum(total, 1)),
            EDIT: edits.to_column(),
        }

    def rules(self) -> Iterator[Rule]:
        """One rule, off unless it is given a limit."""
        yield Rule("removed_frac", above=self.max_removed_frac)

    def _files(self) -> list[Path]:
        setting = f"{self.label}.listed"
        return [required_file(path, setting=setting, advice=ADVICE) for path in self.listed]

    def _entries(self) -> U64Array:
        return _read_entries(tuple(path.resolve() for path in self._files()))


@lru_cache(maxsize=8)
def _read_entries(paths: tuple[Path, ...]) -> U64Array:
    """Hash the lines of lists, once a process."""
    texts = []
    for path in paths:
        try:
            texts.append(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise FilterError(f"list {path} cannot be read: {error}. {ADVICE}") from None
    return _split(TextBatch.of(texts)).keys


def _split(texts: TextBatch) -> "Units":
    from dolmix.text.units import COLLAPSED, LINE, split_units

    return split_units(texts, unit=LINE, normalize=COLLAPSED, min_bytes=0, seed=0)


def _repeated(units: "Units") -> BoolArray:
    """(M,) bool: lines that are equal to an earlier one of their document."""
    documents = np.repeat(np.arange(len(units.ends) - 1), np.diff(units.ends))
    order = np.lexsort((units.keys, documents))  # stable: equal lines stay in reading order
    same = (np.diff(documents[order]) == 0) & (units.keys[order][1:] == units.keys[order][:-1])
    repeated = np.zeros(len(order), np.bool_)
    repeated[order[1:][same]] = True
    return repeated


def _per_document(marks: BoolArray, units: "Units") -> I64Array:
    before: I64Array = np.concatenate([[0], np.cumsum(marks, dtype=np.int64)])
    counts: I64Array = before[units.ends[1:]] - before[units.ends[:-1]]
    return counts
