"""Union-find in compiled code. The root of a tree is its smallest member."""

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
