"""Clusters: documents that hang together through candidate pairs.

Union-find over document numbers, 8 bytes a document; pairs are streamed. A root is always the
smallest document of its tree, so the result depends on the set of pairs alone, never on their order
or on how they are cut into blocks. Where 8 bytes a document are more than a set memory, the same
clusters come from sorted files (`dolmix.dedup.components`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dolmix.document import I64Array

BYTES_A_DOCUMENT = 8


@dataclass(frozen=True, eq=False)
class Members:
    """The documents that share a cluster with another.

    documents  (M,) int64   ascending
    roots      (M,) int64   the smallest document of each one's cluster, among `documents` itself
    """

    documents: I64Array
    roots: I64Array

    @property
    def num_clusters(self) -> int:
        """Clusters of more than one document."""
        return int(np.count_nonzero(self.documents == self.roots))

    @property
    def labels(self) -> I64Array:
        """(M,) int64: the place of each one's root in `documents`."""
        places: I64Array = np.searchsorted(self.documents, self.roots).astype(np.int64)
        return places

    def edges(self) -> I64Array:
        """Pairs (P, 2) that make these clusters again: each root with every other member."""
        others = self.documents != self.roots
        return np.column_stack((self.roots[others], self.documents[others]))


def clusters(num_documents: int, pairs: Iterable[I64Array]) -> I64Array:
    """Find the connected components of the candidate pairs.

    pairs    blocks of (P, 2) int64, document numbers in [0, num_documents), in any order
    returns  (num_documents,) int64: the smallest document of each document's cluster, which is its
             own number if it is alone

    Raises ValueError for a document number out of range.
    """
    from dolmix.dedup.union_find import find_all, union

    parents = np.arange(num_documents, dtype=np.int64)
    for block in _checked(num_documents, pairs):
        union(parents, block)
    find_all(parents)
    return parents


def cluster_members(
    num_documents: int, pairs: Iterable[I64Array], *, memory: int, folder: Path
) -> Members:
    """Find the documents that share a cluster, in memory or through files.

    memory  bytes; union-find takes 8 a document, and where that is more, sorted files in `folder`
            give the same result
    folder  for temporary files; must exist

    Raises ValueError for a document number out of range.
    """
    if num_documents * BYTES_A_DOCUMENT <= memory:
        from dolmix.dedup.union_find import gather_members

        return Members(*gather_members(clusters(num_documents, pairs)))
    from dolmix.dedup.components import connected

    return Members(*connected(_checked(num_documents, pairs), memory=memory, folder=folder))


def _checked(num_documents: int, pairs: Iterable[I64Array]) -> Iterator[I64Array]:
    """Yield the blocks that hold pairs, once no document number is out of range."""
    for block in pairs:
        if block.size == 0:
            continue
        low, high = int(block.min()), int(block.max())
        if low < 0 or high >= num_documents:
            wrong = low if low < 0 else high
            raise ValueError(
                f"pair names document {wrong:,}, but there are {num_documents:,} documents"
            )
        yield block.astype(np.int64, copy=False)
