"""Pieces of many instances at once, as columns, and sets of whole numbers.

What `Instances.documents` lists for one instance, for thousands in one go: statistics and exports
walk through whole runs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dolmix.order.interleave import I64Array
from dolmix.shards import Instances


@dataclass(frozen=True, eq=False)
class Pieces:
    """Runs of documents in instances, each column (P,) int64; instances in the order asked."""

    row: I64Array
    """Which of the instances asked, from 0."""
    document: I64Array
    """Number of the document in its store."""
    start: I64Array
    """First token of the run within the row."""
    stop: I64Array
    """End of the run within the row."""
    document_start: I64Array
    """First token of the run within the document."""


def pieces_of(instances: Instances, numbers: I64Array) -> Pieces:
    """List the pieces of instances, given by number (n,) int64, in order."""
    rows, at, opens, lengths = instances.spans(numbers)
    store, closes = instances.store, opens + lengths
    first, last = store.documents_at(opens), store.documents_at(closes - 1)
    counts = last - first + 1
    span = np.repeat(np.arange(len(rows)), counts)
    document = np.arange(len(span)) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    starts, ends = store.document_spans(document)
    left, right = np.maximum(starts, opens[span]), np.minimum(ends, closes[span])
    shift = at[span] - opens[span]
    return Pieces(rows[span], document, left + shift, right + shift, left - starts)


class Marks:
    """A set of whole numbers in [0, size), one bit each."""

    def __init__(self, size: int) -> None:
        self._bits = np.zeros(-(-size // 8), np.uint8)

    def __len__(self) -> int:
        return int(np.bitwise_count(self._bits).sum(dtype=np.int64))

    def add(self, numbers: I64Array) -> None:
        """Add numbers (n,) int64, in any order, repeated or not."""
        np.bitwise_or.at(self._bits, numbers >> 3, (1 << (numbers & 7)).astype(np.uint8))

    def slices(self, most: int) -> Iterator[I64Array]:
        """Yield the numbers that are in it, ascending, at most `most` (a multiple of 8) at once."""
        for start in range(0, self._bits.size, most // 8):
            bits = np.unpackbits(self._bits[start : start + most // 8], bitorder="little")
            if bits.any():
                yield np.flatnonzero(bits) + start * 8
