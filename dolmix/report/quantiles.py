"""Exact quantiles by nearest rank, of values that may be more than fit into memory.

Values that fit are partitioned. Of more, the wanted ranks are found bit by bit: the values are read
four times, and each reading counts, by the next 16 bits, those whose bits so far are those of a
wanted one. That takes 6 MB, whatever their number, and gives the same values.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from dolmix.document import F64Array, I64Array, U64Array

PERCENTS = (0, 1, 5, 10, 25, 50, 75, 90, 95, 99, 100)
"""Quantiles that are given; 0 is the smallest value, 100 the largest."""
ROUND_BITS = 16
SIGN = np.uint64(1 << 63)

Values = F64Array | I64Array
Pieces = Callable[[], Iterable[Values]]


def ranks(count: int, percents: Sequence[int] = PERCENTS) -> list[int]:
    """Place of each quantile among `count` sorted values, from 0: the ceil(p/100 * count)-th."""
    return [max(-(-percent * count // 100) - 1, 0) for percent in percents]


def held_quantiles(values: Values, percents: Sequence[int] = PERCENTS) -> list[float]:
    """Quantiles of values that are in memory, (N,), no NaN among them; N is 1 or more."""
    places = ranks(values.size, percents)
    found: list[float] = np.partition(values, sorted(set(places)))[places].tolist()
    return found


def streamed_quantiles(
    pieces: Pieces, count: int, percents: Sequence[int] = PERCENTS
) -> list[float]:
    """Quantiles of `count` values, 1 or more, that are read piece by piece, four times.

    pieces  gives the values anew at each call, (n,) int64 or float64 each, all of one type, no NaN
    """
    wanted = [_Rank(rank) for rank in ranks(count, percents)]
    dtype: np.dtype[np.float64 | np.int64] = np.dtype(np.int64)
    for done in range(0, 64, ROUND_BITS):
        shift = np.uint64(64 - ROUND_BITS - done)
        counts: dict[int, I64Array] = {
            rank.bits: np.zeros(1 << ROUND_BITS, np.int64) for rank in wanted
        }
        for values in pieces():
            dtype = values.dtype
            keys = as_keys(values)
            for bits in counts:
                same = keys if not done else keys[keys >> (shift + ROUND_BITS) == bits]
                digits = (same >> shift & np.uint64(0xFFFF)).astype(np.int64)
                counts[bits] += np.bincount(digits, minlength=1 << ROUND_BITS)
        for rank in wanted:
            rank.narrow(counts[rank.bits])
    keys = np.array([rank.bits for rank in wanted], np.uint64)
    result: list[float] = from_keys(keys, dtype).tolist()
    return result


class _Rank:
    """A wanted value: its bits as far as they are known, its rank among the values with those."""

    def __init__(self, rank: int) -> None:
        self.bits, self.rank = 0, rank

    def narrow(self, counts: I64Array) -> None:
        """Add the next 16 bits, from how many values have which."""
        below = np.cumsum(counts)
        digit = int(np.searchsorted(below, self.rank, side="right"))
        self.rank -= int(below[digit - 1]) if digit else 0
        self.bits = self.bits << ROUND_BITS | digit


def as_keys(values: Values) -> U64Array:
    """(N,) uint64 in the order of the values; -0.0 counts as 0.0."""
    if values.dtype == np.int64:
        return values.view(np.uint64) ^ SIGN
    bits = (values + 0.0).view(np.uint64)
    return np.where(bits & SIGN, ~bits, bits | SIGN)


def from_keys(
    keys: U64Array, dtype: np.dtype[np.float64 | np.int64]
) -> NDArray[np.float64 | np.int64]:
    """Values of such keys."""
    if dtype == np.int64:
        return (keys ^ SIGN).view(np.int64)
    return np.where(keys & SIGN, keys ^ SIGN, ~keys).view(np.float64)
