"""Clusters through sorted files, where union-find would not fit in memory.

Labels are propagated by alternating two steps over the edges (large-star and small-star, Kiveris et
al. 2014, "Connected components in MapReduce and beyond"): every document hands the smallest of its
neighbours to the others. Each step is one sort on disk and one sweep. At the end every edge leads
from a document to the smallest one of its cluster: the very clusters of union-find. The number of
rounds grows with the logarithm of the longest chain.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from dolmix.dedup.edge_files import block_size, read_edges, sorted_edges, write_edges
from dolmix.document import BoolArray, I64Array


def connected(pairs: Iterable[I64Array], *, memory: int, folder: Path) -> tuple[I64Array, I64Array]:
    """Find the documents that share a cluster.

    pairs    blocks of (P, 2) int64, in any order and direction, with repeats
    memory   bytes, about; what is returned comes on top
    folder   for temporary files; must exist
    returns  (M,) int64 documents, ascending; (M,) int64 the smallest document of each one's cluster
    """
    size = block_size(memory)
    now, new = folder / "edges", folder / "edges.new"
    write_edges(now, (_downward(block) for block in pairs))
    changed = True
    while changed:
        stars = _Stars(memory // 2, folder)
        write_edges(new, stars.small(stars.large(read_edges(now, size // 4))))
        new.replace(now)
        changed = stars.changed
    edges = sorted_edges(read_edges(now, size // 4), memory=memory, folder=folder)
    return _members(list(edges))


class _Stars:
    """One round; `changed` says afterwards whether it moved anything."""

    def __init__(self, memory: int, folder: Path) -> None:
        self.memory = memory
        self.folders = {name: folder / name for name in ("large", "small")}
        for path in self.folders.values():
            path.mkdir(exist_ok=True)
        self.changed = False

    def large(self, edges: Iterable[I64Array]) -> Iterator[I64Array]:
        """Lead each document's larger neighbours to the smallest of its neighbours and itself."""
        both = (np.concatenate([block, block[:, ::-1]]) for block in edges)
        for block, smallest in self._groups("large", both):
            document, other = block.T
            lowest = np.minimum(document, smallest)
            above = other > document
            self.changed |= bool((lowest != document)[above].any())
            yield np.column_stack((other, lowest))[above]

    def small(self, edges: Iterable[I64Array]) -> Iterator[I64Array]:
        """Lead each document and its smaller neighbours to the smallest of them."""
        for block, smallest in self._groups("small", edges):
            document, other = block.T
            apart = other != smallest
            self.changed |= bool(apart.any())
            yield np.column_stack((other, smallest))[apart]
            first = ~apart
            yield np.column_stack((document, smallest))[first]

    def _groups(self, name: str, edges: Iterable[I64Array]) -> Iterator[tuple[I64Array, I64Array]]:
        """Yield edges sorted, with the smallest neighbour of each one's document."""
        last, smallest = -1, -1
        folder = self.folders[name]
        for block in sorted_edges(edges, memory=self.memory, folder=folder):
            begins = _begins(block[:, 0], last)
            firsts = np.where(begins, block[:, 1], smallest)
            places = np.maximum.accumulate(np.where(begins, np.arange(len(block)), 0))
            lowest = firsts[places]
            last, smallest = int(block[-1, 0]), int(lowest[-1])
            yield block, lowest


def _begins(documents: I64Array, last: int) -> BoolArray:
    """(P,) bool: the edge is the first of its document; `last` had the edge before."""
    begins: BoolArray = np.r_[documents[:1] != last, documents[1:] != documents[:-1]]
    return begins


def _downward(pairs: I64Array) -> I64Array:
    """Turn each pair to lead from the larger document to the smaller; drop those with itself."""
    turned = np.column_stack((pairs.max(axis=1), pairs.min(axis=1)))
    downward: I64Array = turned[turned[:, 0] != turned[:, 1]]
    return downward


def _members(edges: list[I64Array]) -> tuple[I64Array, I64Array]:
    """Members and roots of stars, whose edges lead to their roots and ascend."""
    if not edges:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    leaves, centers = np.concatenate(edges).T
    roots = np.unique(centers)
    documents, labels = np.concatenate([leaves, roots]), np.concatenate([centers, roots])
    order = np.argsort(documents, kind="stable")
    return documents[order], labels[order]
