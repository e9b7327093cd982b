"""The arrays of a fastText model that kernels read; `fasttext_model` fills them from a file."""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dolmix.document import I32Array, I64Array, U8Array
from dolmix.text.fasttext_tree import Tree
from dolmix.text.fasttext_words import Dictionary

F32Array: TypeAlias = NDArray[np.float32]

HIERARCHICAL, NEGATIVE, SOFTMAX, ONE_VS_ALL = 1, 2, 3, 4
LOSSES = {HIERARCHICAL: "hs", NEGATIVE: "ns", SOFTMAX: "softmax", ONE_VS_ALL: "ova"}
"""fastText's losses by its numbers."""

SHAPE_WORDS, SHAPE_LABELS, SHAPE_BUCKET, SHAPE_MIN, SHAPE_MAX = 0, 1, 2, 3, 4
SHAPE_NGRAMS, SHAPE_LOSS, SHAPE_END, SHAPE_PIECE = 5, 6, 7, 8
"""Places in `Tables.shape`: number of words, labels and buckets, shortest and longest subword,
longest word n-gram, loss, entry of `</s>` (-1 = none), values a piece of a quantised vector."""


class Tables(NamedTuple):
    """What the kernels need of a model with W words, L labels and D dimensions.

    shape      (9,) int64           see SHAPE_WORDS and the others
    words      Dictionary           its words, then its labels
    buckets    (B,) int32           1 + row (from W) of each bucket that was kept, 0 = pruned;
                                    (0,) = the model has all
    kept       (B / 8 + 1,) uint8   the same as bits, which fit into a near cache; 1 = kept
    rows       (R, D) float32       input vectors; (0, D) where `codes` has them instead
    codes      (R, S) uint8         quantised vectors: a centroid a piece; (0, S) if `rows` has them
    centroids  (256 * D,) float32   values of each piece's centroids, piece by piece
    norms      (R,) float32         what a quantised vector is multiplied by
    outputs    (D, L) float32       output vectors, transposed
    scales     (L,) float32         what each product with them is multiplied by
    tree       Tree                 nodes of a hierarchical softmax, none for other losses
    """

    shape: I64Array
    words: Dictionary
    buckets: I32Array
    kept: U8Array
    rows: F32Array
    codes: U8Array
    centroids: F32Array
    norms: F32Array
    outputs: F32Array
    scales: F32Array
    tree: Tree
