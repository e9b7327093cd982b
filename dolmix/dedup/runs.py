"""Key runs: the keys of one part's documents on disk, sorted band by band.

A run holds, for each band, the keys of the comparable documents in ascending order with each one's
number within the part. So a task reads the keys of its own band and range alone, from any number of
parts, as contiguous slices; and what it needs memory for does not grow with the corpus.

File, little-endian: for each band `first` (n,) u64 ascending (the first word of each key, spread
one to one), `second` (n,) u64 where keys are wide, `document` (n,) u32; equal keys in the order of
documents. Keys of more than two words are folded into two, so that unequal ones meet with a
probability of 2^-128.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dolmix.dedup.base import MatchKeys
from dolmix.document import I64Array, U32Array, U64Array

WIDEST = 2
"""Words of a key that a run keeps."""


@dataclass(frozen=True, slots=True)
class KeyRun:
    """One part's keys on disk.

    comparable   documents that have keys, of those in the part
    wide         keys have two words, not one
    start        number of the part's first document
    """

    path: Path
    comparable: int
    wide: bool
    start: int = 0

    @property
    def band_bytes(self) -> int:
        """Bytes of one band."""
        return self.comparable * (20 if self.wide else 12)

    def first(self, band: int) -> U64Array:
        """Map the first words of a band's keys from disk, (comparable,) uint64, ascending."""
        if self.comparable == 0:
            return np.zeros(0, np.uint64)
        at = band * self.band_bytes
        return np.memmap(self.path, "<u8", mode="r", offset=at, shape=(self.comparable,))

    def read(self, band: int, start: int, stop: int) -> tuple[U64Array, I64Array]:
        """Read keys `start` to `stop` of a band, (n, width), and the numbers of their documents."""
        size, count = self.comparable, stop - start
        at = band * self.band_bytes
        keys = np.empty((count, 2 if self.wide else 1), np.uint64)
        with self.path.open("rb") as file:
            for word in range(keys.shape[1]):
                file.seek(at + 8 * (word * size + start))
                keys[:, word] = np.fromfile(file, "<u8", count)
            file.seek(at + 8 * size * keys.shape[1] + 4 * start)
            documents = np.fromfile(file, "<u4", count).astype(np.int64)
        return keys, documents + self.start


def write_run(path: Path, keys: MatchKeys) -> int:
    """Write the keys of one part; return how many documents have any.

    keys  (N, bands, width) of N < 2^32 documents
    """
    local = np.flatnonzero(keys.valid).astype("<u4")
    with path.open("wb") as file:
        for band in range(keys.values.shape[1]):
            values = spread_first(folded(keys.values[local, band]))
            order = np.lexsort(tuple(values.T[::-1])) if len(local) else np.zeros(0, np.int64)
            for word in values.T:
                file.write(np.ascontiguousarray(word[order], "<u8").tobytes())
            file.write(_local(local, order).tobytes())
    return len(local)


def _local(local: U32Array, order: I64Array) -> U32Array:
    return np.ascontiguousarray(local[order], "<u4")


def folded(values: U64Array) -> U64Array:
    """Fold keys of more than two words into two, (N, width) → (N, at most 2) uint64."""
    from dolmix.dedup.grouping import spread

    if values.shape[1] <= WIDEST:
        return values
    out = np.empty((len(values), WIDEST), np.uint64)
    for word in range(WIDEST):
        state = np.full(len(values), 0x9E3779B97F4A7C15 * (word + 1) & 0xFFFFFFFFFFFFFFFF, "u8")
        for column in values.T:
            state = spread(state + column + np.uint64(2 * word + 1))
        out[:, word] = state
    return out


def spread_first(values: U64Array) -> U64Array:
    """Spread the first words of keys, (N, width) uint64, so that any keys sort fast."""
    from dolmix.dedup.grouping import spread

    return np.column_stack((spread(np.ascontiguousarray(values[:, 0])), values[:, 1:]))
