"""The tree of fastText's hierarchical softmax, built as fastText builds it.

Huffman's algorithm over labels in order of falling count (`HierarchicalSoftmaxLoss::buildTree`).
Ties go to the inner node, and the tie-break is part of the model: another tree of the same depth
would read the output vectors wrongly.
"""

from typing import NamedTuple

import numpy as np

from dolmix.document import I32Array, I64Array
from dolmix.text.compiled import kernel

UNKNOWN = 10**15


class Tree(NamedTuple):
    """Nodes: labels 0 to L - 1, then inner nodes, the last of them the root; 2L - 1 in all.

    left     (2L - 1,) int32  child of a miss, -1 for a label
    right    (2L - 1,) int32  child of a hit, -1 for a label
    parents  (2L - 1,) int32  -1 for the root
    """

    left: I32Array
    right: I32Array
    parents: I32Array


def build_tree(counts: I64Array) -> Tree:
    """Build the tree of L labels.

    counts  (L,) int64  how often each label was seen in training, from the model's dictionary
    """
    nodes = 2 * counts.size - 1
    tree = Tree(*(np.full(nodes, -1, np.int32) for _ in range(3)))
    fill_tree(counts, tree)
    for values in tree:
        values.setflags(write=False)
    return tree


def no_tree() -> Tree:
    """Give the tree of a model without one."""
    tree = Tree(*(np.zeros(0, np.int32) for _ in range(3)))
    for values in tree:
        values.setflags(write=False)
    return tree


@kernel
def fill_tree(counts: I64Array, tree: Tree) -> None:
    """Join the two lightest nodes until one is left.

    counts  (L,) int64  how often each label was seen
    tree    Tree        out; of 2L - 1 nodes, all -1

    Labels count down from the rarest, inner nodes up from the first made; no heap is needed, since
    both run in order of their weight. O(L). Twin: tests/naive_fasttext.py `tree`.
    """
    labels = counts.size
    weights = np.full(2 * labels - 1, UNKNOWN, np.int64)
    weights[:labels] = counts
    leaf, inner = labels - 1, labels
    for made in range(labels, 2 * labels - 1):
        weights[made] = 0
        for side in range(2):
            # the weight of a node that is not made yet counts as very heavy
            heavy = weights[inner] if inner < made else UNKNOWN
            if leaf >= 0 and weights[leaf] < heavy:
                child = leaf
                leaf -= 1
            else:
                child = inner
                inner += 1
            weights[made] += weights[child]
            tree.parents[child] = made
            if side == 0:
                tree.left[made] = child
            else:
                tree.right[made] = child
