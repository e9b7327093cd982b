"""Instances of a store under `concat` packing (docs/order.md, section 5).

Instance i is the tokens [i*L, i*L + L] of the documents in store order: L inputs, and one more that
is only a label and is also the first input of instance i + 1. The tail, shorter than that, is never
trained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from dolmix.errors import OrderError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dolmix.shards.reader import Store


class Piece(NamedTuple):
    """A run of one document's tokens within an instance."""

    document: int
    """Number of the document in its store."""
    start: int
    """First token of the run, counted from the start of the document."""
    length: int
    """Tokens in the run."""


class ConcatInstances:
    """Windows of L + 1 tokens over a store, by number.

    Documents and instances are inverse to each other: `d in documents(i)` exactly when `i in
    of_document(d)`.
    """

    def __init__(self, store: Store, sequence_length: int) -> None:
        if sequence_length < 1:
            raise OrderError(f"sequence_length is {sequence_length}; it must be at least 1")
        self.store = store
        self.sequence_length = sequence_length
        self._count = count_instances(store.num_tokens, sequence_length)

    def __len__(self) -> int:
        return self._count

    def tokens(self, instance: int) -> NDArray[Any]:
        """(L + 1,) tokens in the store's dtype, read-only. Raises OrderError outside 0..N-1."""
        self._check(instance)
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
        """Return the pieces of an instance in order; their lengths sum to L + 1.

        Raises OrderError outside 0..N-1.
        """
        self._check(instance)
        start = instance * self.sequence_length
        stop = start + self.sequence_length + 1
        pieces = []
        for document in self.store.documents_in(start, stop):
            begin, end = self.store.document_span(document)
            left, right = max(begin, start), min(end, stop)
            pieces.append(Piece(document, left - begin, right - left))
        return pieces

    def _check(self, instance: int) -> None:
        if not 0 <= instance < self._count:
            raise OrderError(
                f"there is no instance {instance:,} in {self.store.path}:"
                f" {self.store.num_tokens:,} tokens give {self._count:,} instances of"
                f" {self.sequence_length:,}, numbered from 0"
            )


def count_instances(num_tokens: int, sequence_length: int) -> int:
    """Instances that a store of so many tokens gives: max(0, (T - 1) // L)."""
    return max(0, (num_tokens - 1) // sequence_length)
