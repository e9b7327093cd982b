"""Exact dedup: documents whose normalised texts are the same.

The key is 128 bits of blake2b, so that nobody can make a document vanish by building a collision,
and a chance collision among 10^12 documents has a probability below 10^-14. Guarantee: equal
normalised texts have equal keys on every machine with the same Unicode tables (`digests`).
"""

import unicodedata
from hashlib import blake2b
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

from dolmix.dedup.base import Dedup, MatchKeys
from dolmix.document import TextBatch, U64Array

if TYPE_CHECKING:
    from collections.abc import Callable

Normalize = Literal["none", "nfc_whitespace"]


class Exact(Dedup):
    """Drop all but one of the documents whose normalised texts are equal."""

    definition = "dolmix-exact-1"
    same_text = True

    type: Literal["exact"] = "exact"
    normalize: Normalize = "nfc_whitespace"
    """What does not count as a difference. `nfc_whitespace`: Unicode NFC, each run of white space
    (`str.isspace`) as one space, none at the ends. `none`: every byte counts."""

    @property
    def num_bands(self) -> int:
        """One key a document."""
        return 1

    def digests(self) -> dict[str, str]:
        """NFC depends on the Unicode version of this Python."""
        return {} if self.normalize == "none" else {"unicode": unicodedata.unidata_version}

    def keys(self, texts: TextBatch) -> U64Array:
        """(N, 2) uint64: blake2b-128 of each normalised text. All empty texts have the same key."""
        encode: Callable[[memoryview], bytes] = bytes
        utf8, offsets = texts.utf8, texts.offsets
        if self.normalize == "nfc_whitespace":
            from dolmix.dedup.whitespace import collapse

            (utf8, offsets), encode = collapse(utf8, offsets), _nfc
        data = utf8.data
        digests = b"".join(
            blake2b(encode(data[start:stop]), digest_size=16).digest()
            for start, stop in pairwise(offsets.tolist())
        )
        return np.frombuffer(digests, "<u8").astype(np.uint64).reshape(-1, 2)

    def match_keys(self, texts: TextBatch) -> MatchKeys:
        """One key of width 2 a document; every document is valid."""
        keys = self.keys(texts)
        return MatchKeys(keys[:, None, :], np.ones(len(keys), np.bool_))


def _nfc(view: memoryview) -> bytes:
    data = bytes(view)
    if data.isascii():
        return data
    text = data.decode()
    # Nearly all text is in NFC already, and telling so is cheaper than normalising.
    if unicodedata.is_normalized("NFC", text):
        return data
    return unicodedata.normalize("NFC", text).encode()
