"""Instances of a store: fixed windows of L + 1 tokens, by number (docs/order.md, section 5).

`Instances` is the one interface that the order and the trainer see: pieces of documents, tokens
into a buffer, where documents begin, which labels count. `ConcatInstances` is the packing `concat`:
instance i is the tokens [i*L, i*L + L] of the documents in store order, L inputs, and one more that
is only a label and is also the first input of instance i + 1. The tail, shorter than that, is never
trained. The other packings read a pack (dolmix/shards/packs.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dolmix.errors import OrderError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dolmix.document import BoolArray, I64Array
    from dolmix.shards.reader import Store


class Piece(NamedTuple):
    """A run of one document's tokens within an instance."""

    document: int
    """Number of the document in its store."""
    start: int
    """First token of the run, counted from the start of the document."""
    length: int
    """Tokens in the run."""


class Spans(NamedTuple):
    """Runs of store tokens in the rows of some instances; (m,) int64 each, by row, then place."""

    rows: I64Array
    """Row of each run, counted from 0 within the instances asked for."""
    at: I64Array
    """Its place in the row."""
    starts: I64Array
    """Its first token in the store."""
    lengths: I64Array
    """Its tokens."""


class Instances(ABC):
    """Windows of L + 1 tokens over a store, by number.

    Documents and instances are inverse to each other: `d in documents(i)` exactly when `i in
    of_document(d)`.
    """

    def __init__(self, store: Store, sequence_length: int) -> None:
        if sequence_length < 1:
            raise OrderError(f"sequence_length is {sequence_length}; it must be at least 1")
        self.store = store
        self.sequence_length = sequence_length

    def __len__(self) -> int:
        return self.num_instances

    @property
    @abstractmethod
    def num_instances(self) -> int:
        """Instances that there are."""

    @abstractmethod
    def spans(self, numbers: I64Array) -> Spans:
        """Return the runs of store tokens in the rows of (n,) instances.

        Raises OrderError outside 0..N-1.
        """

    @abstractmethod
    def starts(self, numbers: I64Array) -> tuple[I64Array, I64Array]:
        """Return where documents begin in the rows of (n,) instances, padding counted as one.

        returns  (m,), (m,) int64: row, and place in it from 0 to L; every row begins with a place 0

        What boundaries of attention follow from. Raises OrderError outside 0..N-1.
        """

    @abstractmethod
    def labels(self, numbers: I64Array) -> BoolArray | None:
        """(n, L) bool, labels that count in the loss; None if all do.

        Label j of a row is its token j + 1. Raises OrderError outside 0..N-1.
        """

    @abstractmethod
    def documents(self, instance: int) -> list[Piece]:
        """Return the pieces of an instance in order. Raises OrderError outside 0..N-1."""

    @abstractmethod
    def of_document(self, document: int) -> Sequence[int]:
        """Return the instances that hold a token of the document, as input or as label.

        Raises StoreError if the store has no such one.
        """

    @property
    @abstractmethod
    def layout(self) -> dict[str, str | int]:
        """What, besides the store, fixes the instances: for naming what is derived from them."""

    def read(self, numbers: I64Array, out: NDArray[Any], rows: I64Array | None = None) -> None:
        """Fill rows with the tokens of instances; what a row has no token for is the EOS id.

        numbers  (n,)         instances
        out      (m, L + 1)   integers that hold the store's dtype, C-contiguous; kept by the caller
        rows     (n,)         row of `out` for each; by default 0 to n - 1

        Raises OrderError outside 0..N-1 or for another shape, StoreError if tokens cannot be read.
        """
        rows = np.arange(len(numbers)) if rows is None else rows
        flat = self._flat(out)
        spans = self.spans(numbers)
        if int(spans.lengths.sum()) != len(numbers) * (self.sequence_length + 1):
            out[rows] = self.store.manifest.tokenizer.eos_id
        begins = rows[spans.rows] * (self.sequence_length + 1) + spans.at
        self.store.read_spans(spans.starts, spans.lengths, flat, begins)

    def tokens(self, instance: int) -> NDArray[Any]:
        """(L + 1,) tokens in the store's dtype, read-only. Raises OrderError outside 0..N-1."""
        row = np.empty((1, self.sequence_length + 1), self.store.dtype)
        self.read(np.array([instance]), row)
        row.flags.writeable = False
        tokens: NDArray[Any] = row[0]
        return tokens

    def _flat(self, out: NDArray[Any]) -> NDArray[Any]:
        width = self.sequence_length + 1
        fits = out.ndim == 2 and out.shape[1] == width  # noqa: PLR2004 - rows and columns
        if not fits or not out.flags.c_contiguous or out.dtype.kind not in "ui":
            raise OrderError(
                f"instances are read into a C-contiguous integer buffer of rows of {width:,}; this"
                f" is {out.dtype} of shape {out.shape}"
            )
        return out.reshape(-1)

    def _check(self, numbers: I64Array) -> None:
        for worst in (numbers.min(), numbers.max()) if len(numbers) else ():
            self._check_one(int(worst))

    def _check_one(self, number: int) -> None:
        if not 0 <= number < self.num_instances:
            raise OrderError(
                f"there is no instance {number:,} in {self.store.location}:"
                f" {self.store.num_tokens:,} tokens give {self.num_instances:,} instances of"
                f" {self.sequence_length:,}, numbered from 0"
            )


class ConcatInstances(Instances):
    """Instances under `concat`; their pieces sum to L + 1 and every label counts."""

    def __init__(self, store: Store, sequence_length: int) -> None:
        super().__init__(store, sequence_length)
        self._count = count_instances(store.num_tokens, sequence_length)

    @property
    def num_instances(self) -> int:
        """Whole windows: max(0, (T - 1) // L)."""
        return self._count

    @property
    def layout(self) -> dict[str, str | int]:
        """Packing and length."""
        return {"packing": "concat", "sequence_length": self.sequence_length}

    def spans(self, numbers: I64Array) -> Spans:
        """Return one run a row."""
        self._check(numbers)
        lengths = np.full(len(numbers), self.sequence_length + 1)
        at = np.zeros(len(numbers), np.int64)
        return Spans(np.arange(len(numbers)), at, numbers * self.sequence_length, lengths)

    def starts(self, numbers: I64Array) -> tuple[I64Array, I64Array]:
        """Return the beginnings of rows and the ends of documents within them."""
        self._check(numbers)
        begins = numbers * self.sequence_length
        rows, ends = self.store.ends_between(begins, begins + self.sequence_length + 1)
        rows = np.concatenate([np.arange(len(numbers)), rows])
        at = np.concatenate([np.zeros(len(numbers), np.int64), ends - begins[rows[len(numbers) :]]])
        order = np.argsort(rows, kind="stable")
        return rows[order], at[order]

    def labels(self, numbers: I64Array) -> BoolArray | None:
        """Return None: all labels count."""
        self._check(numbers)
        return None

    def tokens(self, instance: int) -> NDArray[Any]:
        """(L + 1,) tokens in the store's dtype, read-only; a view where the file allows it."""
        self._check_one(instance)
        start = instance * self.sequence_length
        return self.store.tokens(start, start + self.sequence_length + 1)

    def of_document(self, document: int) -> range:
        """Return the instances that hold a token of the document, as input or as label.

        Empty if the document lies in the tail. Raises StoreError if the store has no such one.
        """
        start, stop = self.store.document_span(document)
        first = max(0, (start - 1) // self.sequence_length)
        last = min(self._count - 1, (stop - 1) // self.sequence_length)
        return range(first, max(first, last + 1))

    def documents(self, instance: int) -> list[Piece]:
        """Return the pieces of an instance in order; their lengths sum to L + 1."""
        self._check_one(instance)
        start = instance * self.sequence_length
        stop = start + self.sequence_length + 1
        pieces = []
        for document in self.store.documents_in(start, stop):
            begin, end = self.store.document_span(document)
            left, right = max(begin, start), min(end, stop)
            pieces.append(Piece(document, left - begin, right - left))
        return pieces


def count_instances(num_tokens: int, sequence_length: int) -> int:
    """Instances that a store of so many tokens gives under `concat`: max(0, (T - 1) // L)."""
    return max(0, (num_tokens - 1) // sequence_length)
