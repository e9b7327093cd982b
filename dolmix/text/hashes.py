"""A key for every text: blake2b-64 of its UTF-8 bytes, read as little-endian.

The same key stands beside each document of a store (`text_hash`), so that a text leads to its
documents.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dolmix.document import I64Array, TextBatch, U64Array

SHARED = "text_hashes"


@dataclass(frozen=True, slots=True)
class TextHashes:
    """Keys of the texts of a batch, one a document."""

    values: U64Array

    def take(self, rows: I64Array, /) -> TextHashes:
        """Keys of the documents at `rows`, in that order."""
        return TextHashes(self.values[rows])


def text_hashes(texts: TextBatch) -> U64Array:
    """(N,) uint64: blake2b-64 of each text; computed once a batch.

    hashlib takes slices of the Arrow buffer as they are: no text becomes a Python string.
    """
    return texts.shared(SHARED, lambda: TextHashes(_hash(texts))).values


def name_hashes(names: Iterable[str], start: blake2b) -> U64Array:
    """(N,) uint64: blake2b-64 of each name, keyed by what `start`, of 8 bytes, was given before."""
    digests = []
    for name in names:
        digest = start.copy()
        digest.update(name.encode())
        digests.append(digest.digest())
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


def _hash(texts: TextBatch) -> U64Array:
    utf8 = texts.utf8.data
    spans = pairwise(texts.offsets.tolist())
    digests = b"".join(blake2b(utf8[a:b], digest_size=8).digest() for a, b in spans)
    return np.frombuffer(digests, "<u8").astype(np.uint64)
