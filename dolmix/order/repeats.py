"""Which instances only repeat themselves: the mask on the loss that OLMo trained with.

An instance is flagged where a span of 1 to 13 tokens stands 32 or more times in a row among its
inputs (OLMo's loader filter `find_periodic_sequences`, with the limits of OLMoE-1B-7B-0924). A
trainer leaves flagged instances out of its loss; they keep their places, so that orders with and
without the mask stay comparable, batch by batch (order specification, section 5).
"""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

BoolArray: TypeAlias = NDArray[np.bool_]

MAX_PERIOD = 13
MIN_TIMES = 32


def repeats(rows: NDArray[Any], *, periods: int = MAX_PERIOD, times: int = MIN_TIMES) -> BoolArray:
    """Find the rows in which a span of at most `periods` tokens stands `times` times in a row.

    rows      (n, L) integers   the inputs of n instances
    returns   (n,) bool

    Whole spans count: 31.9 times are 31. A span of p tokens stands t times in a row where
    (t - 1) p neighbours in a row equal the token p places before them. Every such run covers one of
    the places (t - 1) p - 1, 2 (t - 1) p - 1, ..., so rows without any equal pair there are done.
    Periods above a third of a row are no repeats, as in OLMo.
    """
    found = np.zeros(len(rows), np.bool_)
    for p in range(1, min(periods, rows.shape[1] // 3) + 1):
        need = (times - 1) * p
        doubted = (rows[:, p:][:, need - 1 :: need] == rows[:, :-p][:, need - 1 :: need]).any(1)
        at = np.flatnonzero(doubted & ~found)
        if at.size:
            same = rows[at, p:] == rows[at, :-p]
            found[at] = _longest_run_reaches(same, need)
    return found


def _longest_run_reaches(same: BoolArray, need: int) -> BoolArray:
    """Find the rows of (n, m) bool that hold `need` True values in a row; m >= need."""
    counts = np.zeros((same.shape[0], same.shape[1] + 1), np.int32)
    np.cumsum(same, axis=1, out=counts[:, 1:])
    reached: BoolArray = (counts[:, need:] - counts[:, :-need] == need).any(axis=1)
    return reached
