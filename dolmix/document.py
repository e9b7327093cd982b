"""The columns that every filter, dedup step and tokenizer speaks.

A `TextBatch` is a run of documents of one part, in reading order, as Arrow columns. Kernels read
`utf8` and `offsets` directly; nothing on the hot path turns a text into a Python string.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, Self, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

U8Array: TypeAlias = NDArray[np.uint8]
U16Array: TypeAlias = NDArray[np.uint16]
U32Array: TypeAlias = NDArray[np.uint32]
U64Array: TypeAlias = NDArray[np.uint64]
I32Array: TypeAlias = NDArray[np.int32]
I64Array: TypeAlias = NDArray[np.int64]
F64Array: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]

Columns: TypeAlias = dict[str, pa.Array]
"""Column name (without the filter's name) → one value a document; null = missing."""


class Rows(Protocol):
    """Something with one entry a document, of which documents can be chosen."""

    def take(self, rows: I64Array, /) -> Self:
        """Entries of the documents at `rows`, in that order."""


R = TypeVar("R", bound=Rows)


@dataclass(frozen=True, eq=False)
class TextBatch:
    """Documents as columns, all of one length N.

    text     large_string (N,)   the texts; never null
    ids      string (N,)         document ids; never null
    urls     string (N,)         null where a document has none
    records  (N,) int64          record number within the part, from 0, bad records counted
    fields   path → string (N,)  further fields that filters asked for, each value as JSON text
                                 (`7`, `"7"`, `3.0`); null where the record has none or JSON null
    made       what `shared` has computed
    inherited  what it had computed for a batch that these documents were taken from, and their rows
               there; without the texts of that batch
    """

    text: pa.LargeStringArray
    ids: pa.StringArray
    urls: pa.StringArray
    records: I64Array
    fields: Mapping[str, pa.StringArray]
    made: dict[str, Any] = field(default_factory=dict, repr=False)
    inherited: dict[str, tuple[Any, I64Array]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.text)

    @cached_property
    def offsets(self) -> I64Array:
        """(N + 1,) int64: document n is `utf8[offsets[n]:offsets[n + 1]]`."""
        buffer = self.text.buffers()[1]
        start = self.text.offset
        if len(self) == 0 or buffer is None:
            return np.zeros(len(self) + 1, np.int64)
        return np.frombuffer(buffer, np.int64)[start : start + len(self) + 1]

    @cached_property
    def utf8(self) -> U8Array:
        """All bytes that `offsets` points into; uint8, read-only, a view of the Arrow buffer."""
        buffer = self.text.buffers()[2] if len(self) else None
        utf8 = np.zeros(0, np.uint8) if buffer is None else np.frombuffer(buffer, np.uint8)
        utf8.setflags(write=False)  # whatever Arrow says: kernels are compiled once for all texts
        return utf8

    @property
    def num_bytes(self) -> I64Array:
        """(N,) int64: UTF-8 length of each text."""
        return np.diff(self.offsets)

    def shared(self, name: str, make: Callable[[], R]) -> R:
        """Something computed from the texts, once for this batch and for what is taken from it.

        name  says what, with everything that it depends on: `words/whitespace`
        make  computes it; called unless this batch has it, or one that it was taken from had it
              by then
        """
        if name not in self.made:
            found = self.inherited.pop(name, None)
            self.made[name] = make() if found is None else found[0].take(found[1])
        known: R = self.made[name]
        return known

    def take(self, rows: I64Array | BoolArray) -> "TextBatch":
        """Select documents by position or by mask, in that order."""
        index: I64Array = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows.astype(np.int64)
        at = pa.array(index)
        return TextBatch(
            text=self.text.take(at),
            ids=self.ids.take(at),
            urls=self.urls.take(at),
            records=self.records[index],
            fields={path: values.take(at) for path, values in self.fields.items()},
            inherited={
                **{name: (value, rows[index]) for name, (value, rows) in self.inherited.items()},
                **{name: (value, index) for name, value in self.made.items()},
            },
        )

    @classmethod
    def of(
        cls,
        texts: list[str],
        *,
        ids: list[str] | None = None,
        fields: Mapping[str, list[str | None]] | None = None,
    ) -> "TextBatch":
        """Build a batch from Python strings: for tests and small tools, never for a corpus."""
        count = len(texts)
        return cls(
            text=pa.array(texts, pa.large_string()),
            ids=pa.array(ids or [str(n) for n in range(count)], pa.string()),
            urls=pa.nulls(count, pa.string()),
            records=np.arange(count, dtype=np.int64),
            fields={p: pa.array(v, pa.string()) for p, v in (fields or {}).items()},
        )
