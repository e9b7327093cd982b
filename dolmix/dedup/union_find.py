"""Union-find in compiled code. The root of a tree is its smallest member."""

import numpy as np
from numba import njit

from dolmix.document import I64Array


@njit(cache=True, nogil=True)
def find(parents: I64Array, member: int) -> int:
    """Root of a member's tree; halves the path on the way."""
    while parents[member] != member:
        parents[member] = parents[parents[member]]
        member = parents[member]
    return member


@njit(cache=True, nogil=True)
def union(parents: I64Array, pairs: I64Array) -> None:
    """Join the trees of each pair, in place: (D,) parents, (P, 2) pairs.

    O(P log D) amortised: linking by smallest number instead of by size costs the logarithm and buys
    a stated root.
    """
    for n in range(pairs.shape[0]):
        left, right = find(parents, pairs[n, 0]), find(parents, pairs[n, 1])
        if left < right:
            parents[right] = left
        else:
            parents[left] = right


@njit(cache=True, nogil=True)
def find_all(parents: I64Array) -> None:
    """Point every document at its root, in place.

    One ascending sweep does it: a parent is never larger than its child.
    """
    for n in range(parents.size):
        parents[n] = parents[parents[n]]


@njit(cache=True, nogil=True)
def gather_members(parents: I64Array) -> tuple[I64Array, I64Array]:
    """List the documents that share a cluster, and the smallest of each one's cluster.

    parents  (D,) int64   as `find_all` leaves it; changed: roots of several become negative
    returns  (M,) int64 ascending, (M,) int64

    No memory but the result's: a root is marked by its own complement.
    """
    count = 0
    for n in range(parents.size):
        root = parents[n]
        if root >= 0 and root != n:
            count += 1
            if parents[root] >= 0:
                parents[root] = ~root
                count += 1
    members, roots = np.empty(count, np.int64), np.empty(count, np.int64)
    at = 0
    for n in range(parents.size):
        if parents[n] != n:
            members[at] = n
            roots[at] = ~parents[n] if parents[n] < 0 else parents[n]
            at += 1
    return members, roots
