"""Shingle sets: the true Jaccard similarity of documents that MinHash only estimates.

A set holds the 64-bit hashes of a document's shingles, the very ones that `minhash` signs, sorted
and without repeats. Sets of the documents that are in any candidate pair are written to disk, part
by part, and compared pair by pair: by a merge of two sorted sets, in memory for a limited number.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from dolmix.dedup.words import letter_table, shingle_hashes, word_hashes
from dolmix.document import F64Array, I64Array, TextBatch, U8Array, U32Array, U64Array
from dolmix.text.compiled import kernel

SETS_AT_ONCE = 1 << 24
"""Hashes in memory at once, 8 bytes each, but for a pair that has more."""
PAIRS_AT_ONCE = 1 << 14
OPEN_PARTS = 64
"""Parts whose sets are mapped at once."""


def shingle_sets(texts: TextBatch, ngram: int) -> tuple[U64Array, I64Array]:
    """Make the sets of N documents: one after the other, and where each ends, (N,) int64."""
    values, ends = _sets(texts.utf8, texts.offsets, letter_table(), ngram)
    return values[: ends[-1]] if len(ends) else values[:0], ends


@kernel
def _sets(
    utf8: U8Array, offsets: I64Array, table: U32Array, ngram: int
) -> tuple[U64Array, I64Array]:
    """Hash, sort and thin out the shingles of each document; twin: tests/naive_dedup.py."""
    count = offsets.size - 1
    ends = np.empty(count, np.int64)
    longest = 0
    for n in range(count):
        longest = max(longest, offsets[n + 1] - offsets[n])
    buffer = np.empty(longest // 2 + 1, np.uint64)
    values = np.empty((offsets[count] - offsets[0]) // 2 + count, np.uint64)
    size = 0
    for n in range(count):
        words = word_hashes(utf8, offsets[n], offsets[n + 1], table, buffer)
        shingles = shingle_hashes(buffer, words, ngram)
        buffer[:shingles].sort()
        for at in range(shingles):
            if at == 0 or buffer[at] != buffer[at - 1]:
                values[size] = buffer[at]
                size += 1
        ends[n] = size
    return values, ends


@kernel
def shared_and_all(values: U64Array, spans: I64Array) -> I64Array:
    """Count what two sorted sets share and what they hold together.

    values   (S,) uint64
    spans    (P, 4) int64   start and stop of the one set, start and stop of the other
    returns  (P, 2) int64   size of the intersection, size of the union
    """
    out = np.empty((spans.shape[0], 2), np.int64)
    for pair in range(spans.shape[0]):
        left, left_stop = spans[pair, 0], spans[pair, 1]
        right, right_stop = spans[pair, 2], spans[pair, 3]
        total, shared = left_stop - left + right_stop - right, 0
        while left < left_stop and right < right_stop:
            a, b = values[left], values[right]
            shared += a == b
            left += a <= b
            right += b <= a
        out[pair, 0], out[pair, 1] = shared, total - shared
    return out


class ShingleFiles:
    """Sets of documents by number, from the files of all parts.

    starts  (parts + 1,) int64   number of the first document of each part
    files   `<stem>.documents.npy` (D,) int64 ascending, `<stem>.ends.npy` (D,) int64 and
            `<stem>.u64`, by stem, one a part
    """

    def __init__(self, starts: I64Array, stems: Sequence[Path]) -> None:
        self.starts, self.stems = starts, stems
        self._known = lru_cache(maxsize=OPEN_PARTS)(self._read_places)
        self._values = lru_cache(maxsize=OPEN_PARTS)(self._map_values)

    def jaccard(self, pairs: I64Array) -> F64Array:
        """Compute the similarity of each pair, (P, 2) int64 → (P,); 1 for two without words."""
        out = np.empty(len(pairs), np.float64)
        order = np.argsort(pairs.min(axis=1), kind="stable")  # part by part: few files open
        for start in range(0, len(pairs), PAIRS_AT_ONCE):
            rows = order[start : start + PAIRS_AT_ONCE]
            places = self._places(pairs[rows].reshape(-1))
            for low, high in _stretches((places[:, 2] - places[:, 1]).reshape(-1, 2).sum(axis=1)):
                counts = self._compare(places[2 * low : 2 * high])
                empty = counts[:, 1] == 0
                found = counts[:, 0] / np.where(empty, 1, counts[:, 1])
                out[rows[low:high]] = np.where(empty, 1.0, found)
        return out

    def _compare(self, places: I64Array) -> I64Array:
        """Load the sets of pairs, each once, and compare them; a pair is two rows of places."""
        unique, inverse = np.unique(places, axis=0, return_inverse=True)
        lengths = unique[:, 2] - unique[:, 1]
        stops = np.cumsum(lengths)
        values = np.empty(int(lengths.sum()), np.uint64)
        for (part, start, stop), end in zip(unique.tolist(), stops.tolist(), strict=True):
            if stop > start:
                values[end - (stop - start) : end] = self._values(part)[start:stop]
        spans = np.column_stack((stops - lengths, stops))[inverse.reshape(-1)].reshape(-1, 4)
        return shared_and_all(values, np.ascontiguousarray(spans))

    def _places(self, numbers: I64Array) -> I64Array:
        """(N, 3) int64: part, start and stop of each document's set."""
        parts = np.searchsorted(self.starts, numbers, side="right") - 1
        out = np.empty((len(numbers), 3), np.int64)
        out[:, 0] = parts
        for part in np.unique(parts):
            documents, ends = self._known(int(part))
            rows = np.flatnonzero(parts == part)
            at = np.searchsorted(documents, numbers[rows])
            bounds = np.r_[0, ends]
            out[rows, 1], out[rows, 2] = bounds[at], bounds[at + 1]
        return out

    def _read_places(self, part: int) -> tuple[I64Array, I64Array]:
        stem = self.stems[part]
        return np.load(f"{stem}.documents.npy"), np.load(f"{stem}.ends.npy")

    def _map_values(self, part: int) -> U64Array:
        path = Path(f"{self.stems[part]}.u64")
        mapped: U64Array = np.memmap(path, "<u8", mode="r")
        return mapped


def _stretches(sizes: I64Array) -> Iterator[tuple[int, int]]:
    """Cut pairs into stretches whose sets fit, or of one pair."""
    start = held = 0
    for place, size in enumerate(sizes.tolist()):
        if held and held + size > SETS_AT_ONCE:
            yield start, place
            start, held = place, 0
        held += size
    if len(sizes) > start:
        yield start, len(sizes)
