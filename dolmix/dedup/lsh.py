"""Locality-sensitive hashing: how many bands, and which documents share a key.

`candidate_pairs` looks at one band and may be given any subset of it that holds whole groups (say,
the keys of one range), so a band can be cut into tasks. What it returns depends on the set of rows
it is given, never on their order.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from dolmix.document import I64Array, U64Array


class Banding(NamedTuple):
    """Bands of a signature and lanes in each."""

    bands: int
    rows: int

    def probability(self, similarity: float) -> float:
        """Probability that documents of Jaccard similarity s share a band: 1-(1-s^rows)^bands."""
        return 1.0 - (1.0 - similarity**self.rows) ** self.bands


@cache
def optimal_banding(threshold: float, num_hashes: int) -> Banding:
    """Bands and rows whose collision curve errs least.

    The error is the area of false positives below the threshold plus that of false negatives above,
    weighed the same. The choice is that of datasketch's MinHashLSH (Zhu, datasketch),
    whose solver is called.
    """
    from datasketch.lsh import _optimal_param  # private, pinned down by a test

    return Banding(*(int(value) for value in _optimal_param(threshold, num_hashes, 0.5, 0.5)))


def candidate_pairs(keys: U64Array, documents: U64Array | I64Array) -> I64Array:
    """Pair documents that share a key of one band.

    keys       (M,) or (M, width) uint64   the keys of valid documents only
    documents  (M,) integers               document numbers, below 2^63
    returns    (P, 2) int64                (smallest document of the group, another one), ascending
                                           by the other

    A group of g documents gives g - 1 pairs, so P < M however skewed the groups are. O(M log M)
    time, O(M) memory. Raises ValueError if the lengths differ.
    """
    if len(keys) != len(documents):
        raise ValueError(
            f"{len(keys):,} keys for {len(documents):,} documents; there must be one each"
        )
    order = _grouping(keys)
    grouped = keys[order]
    equal = grouped[1:] == grouped[:-1]
    joins = np.r_[False, equal if keys.ndim == 1 else equal.all(axis=1)][: len(keys)]
    shared = joins | np.r_[joins[1:], False][: len(keys)]  # most keys are nobody else's
    if not shared.any():
        return np.empty((0, 2), np.int64)
    members, starts = documents[order[shared]].astype(np.int64), np.flatnonzero(~joins[shared])
    smallest = np.minimum.reduceat(members, starts)
    firsts = np.repeat(smallest, np.diff(np.r_[starts, len(members)]))
    pairs = np.column_stack((firsts, members))[firsts != members]
    ascending: I64Array = pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))]
    return ascending


def _grouping(keys: U64Array) -> I64Array:
    """Positions that bring equal keys together."""
    order: I64Array = np.argsort(keys) if keys.ndim == 1 else np.lexsort(tuple(keys.T))
    return order
