"""Locality-sensitive hashing: how many bands, and which documents share a key.

`candidate_pairs` looks at one band and may be given any subset of it that holds whole groups (say,
the keys of one range), so a band can be cut into tasks. What it returns depends on the set of rows
it is given, never on their order.
"""

from functools import cache
from importlib.metadata import version
from typing import NamedTuple

import numpy as np

from dolmix.document import I64Array, U64Array
from dolmix.text.kept_tables import kept_text, package_digest


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
    whose solver is called; its answers are kept on disk.
    """
    asked = {"threshold": repr(threshold), "num_hashes": str(num_hashes)}
    packages = ("datasketch", "scipy")
    solver = {name: f"{version(name)} {package_digest(name)}" for name in packages}
    bands, rows = kept_text(
        "banding", asked | solver, __file__, lambda: _solved(threshold, num_hashes)
    ).split()
    return Banding(int(bands), int(rows))


def _solved(threshold: float, num_hashes: int) -> str:
    from datasketch.lsh import _optimal_param  # private, pinned down by a test

    return " ".join(str(int(n)) for n in _optimal_param(threshold, num_hashes, 0.5, 0.5))


def candidate_pairs(keys: U64Array, documents: U64Array | I64Array) -> I64Array:
    """Pair documents that share a key of one band.

    keys       (M,) or (M, width) uint64   the keys of valid documents only
    documents  (M,) integers               document numbers, below 2^63
    returns    (P, 2) int64                (smallest document of the group, another one), ascending
                                           by the other

    A group of g documents gives g - 1 pairs, so P < M however skewed the groups are. O(M) time and
    memory. Raises ValueError if the
    lengths differ.
    """
    if len(keys) != len(documents):
        raise ValueError(
            f"{len(keys):,} keys for {len(documents):,} documents; there must be one each"
        )
    from dolmix.dedup.external import Search, group_pairs
    from dolmix.dedup.runs import spread_first

    rows = keys.reshape(len(keys), -1) if keys.size else np.empty((0, 1), np.uint64)
    numbers = documents.astype(np.int64)
    if (numbers[1:] < numbers[:-1]).any():
        order = np.argsort(numbers, kind="stable")
        rows, numbers = rows[order], numbers[order]
    pairs = group_pairs(spread_first(rows), numbers, Search(band=0))
    ascending: I64Array = pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))]
    return ascending
