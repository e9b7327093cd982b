"""datatrove 0.10's MinHash stages 2 and 3, from its files to its files, byte for byte.

`join_bucket` stands in for a task of MinhashDedupBuckets, `resolve_pairs` for MinhashDedupCluster.
Stage 1 is `dolmix.dedup.datatrove_files.write_signatures`. Any of the three may be datatrove's own
in a run whose others are these.

datatrove keeps of each cluster the root of a union-find that joins by size, so that which document
stays depends on the order of the files; that order is kept here. dolmix's own steps do not choose
so: their survivor follows from `keep_by`.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dolmix.dedup.datatrove_files import (
    SENTINEL,
    Banded,
    Lanes,
    pairs_path,
    read_index,
    read_pairs,
    read_signatures,
    write_pairs,
    write_removals,
    write_values,
)
from dolmix.document import BoolArray, I64Array, U32Array, U64Array
from dolmix.errors import DataError, UsageError
from dolmix.text.compiled import kernel, leaf

SIGNATURES, INDEX = ".minhash.sig", ".minhash.index"


class Bucket(NamedTuple):
    """One task of stage 2.

    number       band
    rows         hashes a bucket
    hash_bits    64 or 32
    worker       which of the workers that share the bucket
    num_workers  how many they are
    """

    number: int
    rows: int = 8
    hash_bits: int = 64
    worker: int = 0
    num_workers: int = 1


def join_bucket(
    signatures: Path,
    output: Path,
    bucket: Bucket,
    *,
    index: Path | None = None,
    only_dedup_in_index: bool = True,
) -> int:
    """Write the pairs of one bucket; return how many they are.

    signatures           folder of stage 1
    output               folder for the `.dups` file
    index                folder of an older run's index
    only_dedup_in_index  with an index: no pairs among the new documents

    Raises DataError for a file that does not fit.
    """
    name = f"bucket_{bucket.number:03d}"
    paths = sorted((signatures / name).glob(f"*{SIGNATURES}"))
    older = sorted((index / name).glob(f"*{INDEX}")) if index else []
    files = [read_signatures(p, rows=bucket.rows, hash_bits=bucket.hash_bits) for p in paths]
    known = [read_index(p, rows=bucket.rows, hash_bits=bucket.hash_bits) for p in older]
    tasks = [_task(path) for path in paths]
    pairs = find_pairs(tasks, files, known, among_new=not (older and only_dedup_in_index))
    low, high = _hash_range(files, bucket)
    firsts = pairs.first_lanes
    inside = (firsts >= np.uint64(low)) & (firsts < np.uint64(high))
    write_pairs(pairs_path(output, bucket.number, bucket.worker), pairs.pairs[inside])
    return int(inside.sum())


class Found(NamedTuple):
    """Pairs of one bucket, and the first lane of each.

    pairs        (P, 4) uint32   task, document, task, document
    first_lanes  (P,) uint64
    """

    pairs: U32Array
    first_lanes: U64Array


def find_pairs(
    tasks: Sequence[int], files: Sequence[Banded], known: Sequence[Lanes], *, among_new: bool
) -> Found:
    """Pair neighbours with equal lanes, all files of a bucket merged in order.

    tasks      number of each file's task
    known      lanes of index files, which come before documents with the same ones
    among_new  whether two documents make a pair
    """
    if not files:
        return Found(np.zeros((0, 4), np.uint32), np.zeros(0, np.uint64))
    lanes = np.concatenate([*known, *(f.lanes for f in files)])
    num_known = sum(map(len, known))
    new = [len(f.documents) for f in files]
    place = np.repeat(np.arange(-1, len(files)), [num_known, *new])
    documents = np.concatenate([np.zeros(num_known, np.uint32), *(f.documents for f in files)])
    order = np.lexsort((documents, place, *lanes.T[::-1]))
    lanes, place, documents = lanes[order], place[order], documents[order]
    numbers = np.array([SENTINEL, *tasks], np.uint32)[place + 1]
    documents = np.where(place < 0, np.uint32(SENTINEL), documents)
    equal = (lanes[1:] == lanes[:-1]).all(axis=1) & (place[1:] >= 0)
    if not among_new:
        equal &= place[:-1] < 0
    ends = np.flatnonzero(equal) + 1
    pairs = (numbers[ends - 1], documents[ends - 1], numbers[ends], documents[ends])
    return Found(np.column_stack(pairs).astype(np.uint32), lanes[ends, 0].astype(np.uint64))


def _task(path: Path) -> int:
    stem = path.name.removesuffix(SIGNATURES)
    if not stem.isdecimal():
        raise DataError(f"{path}: a signature file's name begins with the number of its task")
    return int(stem)


def _hash_range(files: Sequence[Banded], bucket: Bucket) -> tuple[int, int]:
    """First lanes that a worker looks at, as datatrove cuts them: evenly in the first file."""
    low, high = 0, (1 << 61) - 1 if bucket.hash_bits == 64 else SENTINEL
    if bucket.num_workers == 1 or not files:
        return low, high
    firsts = files[0].lanes[:, 0]
    share = len(firsts) // bucket.num_workers
    if share == 0:
        raise UsageError(
            f"bucket {bucket.number}: {bucket.num_workers} workers, but the first file has only "
            f"{len(firsts)} signatures, by which datatrove shares them out; use fewer workers"
        )
    if bucket.worker > 0:
        low = int(firsts[share * bucket.worker])
    if bucket.worker + 1 < bucket.num_workers:
        high = int(firsts[share * (bucket.worker + 1)])
    return low, high


class Clusters(NamedTuple):
    """Documents of pairs, clustered as datatrove does it.

    tasks, documents  (D,) uint32   ascending; SENTINEL for an index
    removed           (D,) bool     whether another document of the cluster stays
    clusters          (D,) uint32   numbers of clusters, by their first document
    sizes             (D,) uint32   documents in the cluster
    """

    tasks: U32Array
    documents: U32Array
    removed: BoolArray
    clusters: U32Array
    sizes: U32Array


def cluster_pairs(blocks: Iterable[U32Array], *, ignore_index_matches: bool = False) -> Clusters:
    """Join pairs, (P, 4) each block, in the order given."""
    pairs = np.concatenate([np.zeros((0, 4), np.uint32), *blocks]).astype(np.uint64)
    ends = pairs[:, 0::2] << np.uint64(32) | pairs[:, 1::2]
    if ignore_index_matches:
        ends = ends[ends[:, 0] != np.uint64((1 << 64) - 1)]
    nodes, numbered = np.unique(ends, return_inverse=True)
    parents, sizes = np.arange(len(nodes)), np.ones(len(nodes), np.int64)
    fixed = len(nodes) - 1 if len(nodes) and nodes[-1] == np.uint64((1 << 64) - 1) else -1
    join_by_size(numbered.reshape(-1, 2).astype(np.int64), parents, sizes, fixed)
    _, first, inverse = np.unique(parents, return_index=True, return_inverse=True)
    ranks = np.argsort(np.argsort(first))
    return Clusters(
        (nodes >> np.uint64(32)).astype(np.uint32),
        (nodes & np.uint64(SENTINEL)).astype(np.uint32),
        parents != np.arange(len(nodes)),
        ranks[inverse].astype(np.uint32),
        sizes[parents].astype(np.uint32),
    )


def resolve_pairs(
    pairs: Path,
    output: Path,
    *,
    save_cluster_id: bool = False,
    save_cluster_size: bool = False,
    ignore_index_matches: bool = False,
) -> int:
    """Write what stage 3 writes from the `.dups` files of a folder; return how many are dropped.

    Raises DataError for a file that does not fit.
    """
    blocks = [read_pairs(path) for path in sorted(pairs.glob("*.dups"))]
    found = cluster_pairs(blocks, ignore_index_matches=ignore_index_matches)
    for task in np.unique(found.tasks).tolist():
        mine = found.tasks == task
        documents = found.documents[mine]
        if found.removed[mine].any():
            write_removals(output, task, documents[found.removed[mine]])
        if save_cluster_id:
            values = np.column_stack((documents, found.clusters[mine]))
            write_values(output, task, "clusters", values)
        if save_cluster_size:
            write_values(output, task, "sizes", np.column_stack((documents, found.sizes[mine])))
    return int(found.removed.sum())


@kernel
def join_by_size(pairs: I64Array, parents: I64Array, sizes: I64Array, fixed: int) -> None:
    """Union-find in datatrove's manner, in place: every parent is a root on return.

    pairs    (P, 2) int64   joined in this order
    parents  (D,) int64     every node its own on entry
    sizes    (D,) int64     ones on entry; right at the roots on return
    fixed    int            a node that is always a root; -1: none

    The smaller tree joins the larger, at equal sizes the second the first. O(P log D).
    Twin: tests/naive_dedup.py `datatrove_clusters`.
    """
    for n in range(pairs.shape[0]):
        left, right = _root(parents, pairs[n, 0]), _root(parents, pairs[n, 1])
        if left == right:
            continue
        if right == fixed or (left != fixed and sizes[left] < sizes[right]):
            left, right = right, left
        parents[right] = left
        sizes[left] += sizes[right]
    for node in range(parents.size):
        parents[node] = _root(parents, node)


@leaf
def _root(parents: I64Array, node: int) -> int:
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node
