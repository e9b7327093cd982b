"""What training reads of texts: the hash of every unit, then ids, and how unknown units are spelt.

Twin: tests/naive_ngram.py.
"""

import numpy as np

from dolmix.document import I32Array, I64Array, TextBatch, U8Array, U64Array
from dolmix.text.compiled import kernel
from dolmix.text.ngram_model import BOUNDARY_ID, SPELLING_END, UNKNOWN_ID
from dolmix.text.ngram_model_tables import find_word
from dolmix.text.ngram_model_units import BOUNDARY, END, next_unit

SYMBOLS = SPELLING_END + 1
"""Bytes, and the end of a spelling."""


def unit_hashes(texts: TextBatch) -> U64Array:
    """(M,) uint64: the hash of every unit of the texts but boundaries, in order."""
    hashes = np.empty(int(texts.offsets[-1] - texts.offsets[0]), np.uint64)
    return hashes[: _hash_units(texts.utf8, texts.offsets, hashes)]


def unit_ids(texts: TextBatch, words: U64Array, spelt: I64Array) -> I32Array:
    """(M,) int32: ids of the units of the texts; after each text two boundaries.

    words  table of words
    spelt  (257, 257) int64: counts of the symbol after another in the spelling of unknown units;
           added to
    """
    most = int(texts.offsets[-1] - texts.offsets[0]) + 2 * len(texts)
    ids = np.empty(most, np.int32)
    return ids[: _encode(texts.utf8, texts.offsets, words, ids, spelt)]


@kernel
def _hash_units(utf8: U8Array, offsets: I64Array, hashes: U64Array) -> int:
    count = 0
    for n in range(offsets.size - 1):
        at, stop = offsets[n], offsets[n + 1]
        while True:
            unit, _, at = next_unit(utf8, at, stop)
            if unit == END:
                break
            if unit != BOUNDARY:
                hashes[count] = unit
                count += 1
    return count


@kernel
def _encode(
    utf8: U8Array, offsets: I64Array, words: U64Array, ids: I32Array, spelt: I64Array
) -> int:
    count = 0
    for n in range(offsets.size - 1):
        at, stop = offsets[n], offsets[n + 1]
        first = count
        while True:
            unit, start, at = next_unit(utf8, at, stop)
            if unit == END:
                break
            if unit == BOUNDARY:
                if count > first:
                    ids[count] = BOUNDARY_ID
                    count += 1
                continue
            ids[count] = find_word(words, unit)
            if ids[count] == UNKNOWN_ID:
                before = SPELLING_END
                for place in range(start, at):
                    byte = int(utf8[place])
                    if 65 <= byte <= 90:
                        byte += 32
                    spelt[before, byte] += 1
                    before = byte
                spelt[before, SPELLING_END] += 1
            count += 1
        ids[count : count + 2] = BOUNDARY_ID
        count += 2
    return count
