"""Sketches: one byte a lane, enough to estimate how alike two documents are.

A sketch keeps 8 bits of a mix of each lane (b-bit minwise hashing, Li and Koenig 2010): equal lanes
give equal bytes, unequal ones by a chance of 1/256. With m of H bytes equal, the estimate of the
Jaccard similarity is (m/H - 1/256) / (1 - 1/256), unbiased, its standard deviation
sqrt(p (1 - p) / H) / (1 - 1/256), p = s + (1 - s) / 256.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dolmix.document import F64Array, I64Array, U8Array, U32Array, U64Array

CHANCE = 1 / 256
BLOCK = 1 << 14
"""Pairs compared at once."""


def sketches(lanes: U32Array | U64Array) -> U8Array:
    """One byte a lane: (N, H) unsigned integers → (N, H) uint8."""
    spread = lanes.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    spread ^= spread >> np.uint64(32)
    spread *= np.uint64(0xBF58476D1CE4E5B9)
    return (spread >> np.uint64(56)).astype(np.uint8)


def estimate(left: U8Array, right: U8Array) -> F64Array:
    """Estimate the Jaccard similarity of N pairs of documents, (N, H) uint8 each, in [0, 1]."""
    equal = np.count_nonzero(left == right, axis=1) / max(left.shape[1], 1)
    found: F64Array = np.clip((equal - CHANCE) / (1 - CHANCE), 0.0, 1.0)
    return found


def read_rows(paths: Sequence[Path], starts: I64Array, documents: I64Array, width: int) -> U8Array:
    """Gather sketches from the files of parts.

    paths      one file a part: (documents of the part, width) uint8, raw
    starts     (parts + 1,) int64   number of the first document of each part
    documents  (N,) int64           in any order
    returns    (N, width) uint8
    """
    out = np.empty((len(documents), width), np.uint8)
    parts = np.searchsorted(starts, documents, side="right") - 1
    order = np.argsort(parts, kind="stable")
    cuts = np.flatnonzero(np.diff(parts[order])) + 1
    for rows in np.split(order, cuts):
        if len(rows):
            part = int(parts[rows[0]])
            size = int(starts[part + 1] - starts[part])
            mapped = np.memmap(paths[part], np.uint8, mode="r", shape=(size, width))
            out[rows] = mapped[documents[rows] - starts[part]]
    return out


def similarities(paths: Sequence[Path], starts: I64Array, pairs: I64Array, width: int) -> F64Array:
    """Estimate the similarity of each pair, (P, 2) int64 → (P,), in memory for `BLOCK` pairs."""
    out = np.empty(len(pairs), np.float64)
    for start in range(0, len(pairs), BLOCK):
        block = pairs[start : start + BLOCK]
        left, right = (read_rows(paths, starts, block[:, n], width) for n in (0, 1))
        out[start : start + BLOCK] = estimate(left, right)
    return out
