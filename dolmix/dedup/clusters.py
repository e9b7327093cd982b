"""Clusters: documents that hang together through candidate pairs.

Union-find over document numbers, 8 bytes a document; pairs are streamed. A root is always the
smallest document of its tree, so the result depends on the set of pairs alone, never on their order
or on how they are cut into blocks.
"""

from collections.abc import Iterable

import numpy as np

from dolmix.document import I64Array


def clusters(num_documents: int, pairs: Iterable[I64Array]) -> I64Array:
    """Find the connected components of the candidate pairs.

    pairs    blocks of (P, 2) int64, document numbers in [0, num_documents), in any order
    returns  (num_documents,) int64: the smallest document of each document's cluster, which is its
             own number if it is alone

    Raises ValueError for a document number out of range.
    """
    from dolmix.dedup.union_find import find_all, union

    parents = np.arange(num_documents, dtype=np.int64)
    for block in pairs:
        if block.size == 0:
            continue
        low, high = int(block.min()), int(block.max())
        if low < 0 or high >= num_documents:
            wrong = low if low < 0 else high
            raise ValueError(
                f"pair names document {wrong:,}, but there are {num_documents:,} documents"
            )
        union(parents, block.astype(np.int64, copy=False))
    find_all(parents)
    return parents
