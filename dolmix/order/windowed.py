"""A permutation that reads in runs, for object storage.

Chunks of consecutive values are permuted, then values within windows of chunks: whoever walks
through the order holds one window, read as whole chunks, instead of seeking for every value. A
bijection with its inverse, both in closed form; nothing is stored beyond the permutation of one
window. Normative: docs/order.md, section 3.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dolmix.mix import Window
from dolmix.permute import Context, Permutation, U64Array


class WindowedPermutation:
    """The bijection on [0, n) that belongs to a context, in chunks and windows.

    The context is that of the plain permutation; chunks and windows draw from contexts of their
    own, which no other purpose shares. Raises OrderError as Permutation does.
    """

    def __init__(self, context: Context, n: int, window: Window) -> None:
        self.n = n
        self._context = context
        self._chunk, self._chunks = window.chunk, window.chunks
        seed, *purpose = context
        count = -(-n // window.chunk)
        self._order = Permutation((seed, "chunks", *purpose), count)
        self._short = n % window.chunk
        # place of the chunk that is not full; beyond all chunks where every one is full
        self._cut = self._order.find(count - 1) if self._short else count

    def forward(self, x: U64Array) -> U64Array:
        """Map places to values: (m,) integers in [0, n) → (m,) uint64."""
        places = np.asarray(x, np.uint64)
        window = self._window_of(places)
        rank = self._within_windows(window, places, back=False)
        slot = self._slot_of(rank)
        inside = rank - self._start_of(slot)
        return self._order.forward(slot) * np.uint64(self._chunk) + inside

    def inverse(self, y: U64Array) -> U64Array:
        """Map values back to places: `inverse(forward(x)) == x`; (m,) uint64."""
        values = np.asarray(y, np.uint64)
        chunk, inside = np.divmod(values, np.uint64(self._chunk))
        slot = self._order.inverse(chunk)
        rank = self._start_of(slot) + inside
        return self._within_windows(slot // np.uint64(self._chunks), rank, back=True)

    def find(self, y: int) -> int:
        """Place of value y."""
        return int(self.inverse(np.array([y], np.uint64))[0])

    def _start_of(self, slot: U64Array) -> U64Array:
        """Values in the chunks before each place of a chunk."""
        missing = np.uint64(self._chunk - self._short)
        return slot * np.uint64(self._chunk) - (slot > np.uint64(self._cut)) * missing

    def _slot_of(self, rank: U64Array) -> U64Array:
        """Place of the chunk that holds the rank-th value, chunks laid end to end as permuted."""
        full = np.uint64(self._cut * self._chunk + self._short)
        missing = np.uint64(self._chunk - self._short)
        return (rank + (rank >= full) * missing) // np.uint64(self._chunk)

    def _window_of(self, rank: U64Array) -> U64Array:
        return self._slot_of(rank) // np.uint64(self._chunks)

    def _within_windows(self, window: U64Array, rank: U64Array, *, back: bool) -> U64Array:
        """Permute ranks inside their windows; one permutation call a window."""
        out = np.empty_like(rank)
        for number, rows in groups(window):
            start, order = self._window(number)
            inside = rank[rows] - start
            out[rows] = (order.inverse(inside) if back else order.forward(inside)) + start
        return out

    def _window(self, number: int) -> tuple[np.uint64, Permutation]:
        """First rank of a window, and the permutation inside it."""
        slots = np.array([number, number + 1], np.uint64) * np.uint64(self._chunks)
        start, stop = self._start_of(np.minimum(slots, np.uint64(self._order.n)))
        seed, *purpose = self._context
        context = (seed, "window", number, *purpose)
        return start, _window_permutation(context, int(stop - start))


def groups(keys: NDArray[Any]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield every distinct key with the rows that have it, in order: (n,) integers of any kind."""
    if not len(keys):
        return
    rows = np.argsort(keys, kind="stable")
    ordered = keys[rows]
    edges = [0, *(np.flatnonzero(ordered[1:] != ordered[:-1]) + 1).tolist(), len(rows)]
    for start, stop in pairwise(edges):
        yield int(ordered[start]), rows[start:stop]


@lru_cache(maxsize=64)
def _window_permutation(context: Context, n: int) -> Permutation:
    return Permutation(context, n)
