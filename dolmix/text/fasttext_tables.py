"""The arrays of a fastText model that kernels read; `fasttext_model` fills them from a file."""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dolmix.document import I64Array, U8Array, U32Array, U64Array
from dolmix.text.fasttext_tree import Tree
from dolmix.text.fasttext_words import Dictionary

F32Array: TypeAlias = NDArray[np.float32]

HIERARCHICAL, NEGATIVE, SOFTMAX, ONE_VS_ALL = 1, 2, 3, 4
LOSSES = {HIERARCHICAL: "hs", NEGATIVE: "ns", SOFTMAX: "softmax", ONE_VS_ALL: "ova"}
"""fastText's losses by its numbers."""

SHAPE_WORDS, SHAPE_LABELS, SHAPE_BUCKET, SHAPE_MIN, SHAPE_MAX = 0, 1, 2, 3, 4
SHAPE_NGRAMS, SHAPE_LOSS, SHAPE_END, SHAPE_PIECE, SHAPE_ODD = 5, 6, 7, 8, 9
"""Places in `Tables.shape`: number of words, labels and buckets, shortest and longest subword (the
longest is 0 where there are none), longest word n-gram, loss, row of `</s>` (-1 = none), values a
piece of a quantised vector, 1 if there is a label that does not start with `__label__`."""
FIRST_BUCKET, FIRST_WORD, NOWHERE = 0, 1, 2
"""Places in `Lookup.firsts`."""


class Lookup(NamedTuple):
    """Which bucket or word has which row: each has a *place*, and each place a row or none.

    firsts    (3,) uint32  place of the first bucket; of the first word; one that has no row
    division  (3,) uint64  number of buckets, and a factor and a shift to divide by it
    kept      (P,) uint64  a bit a place: whether it has a row; (0,) where a place is its row, but
                           for NOWHERE, which has none
    ranks     (P,) uint32  how many rows come before those of each 64 places
    """

    firsts: U32Array
    division: U64Array
    kept: U64Array
    ranks: U32Array


class Tables(NamedTuple):
    """What the kernels need of a model with W words, L labels and D dimensions.

    shape      (10,) int64          see SHAPE_WORDS and the others
    words      Dictionary           its words, then its labels
    lookup     Lookup               rows by bucket and word
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
    lookup: Lookup
    rows: F32Array
    codes: U8Array
    centroids: F32Array
    norms: F32Array
    outputs: F32Array
    scales: F32Array
    tree: Tree
