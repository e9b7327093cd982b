"""Places of the n-grams of two, three and four characters, all in one loop.

What `fasttext_ngrams` does size by size, for the sizes that models of languages have: nothing is
written but the places. Blocks of ASCII have a loop of their own.
"""

from typing import TypeAlias

import numpy as np

from dolmix.document import U32Array
from dolmix.text.compiled import leaf
from dolmix.text.fasttext_lookup import place_of_bucket
from dolmix.text.fasttext_stretch import END_BIT, LANES
from dolmix.text.fasttext_tables import NOWHERE, Lookup
from dolmix.text.fasttext_words import FNV_BASIS, FNV_PRIME

LEAST, MOST = 2, 4
LEAST_BUCKETS = 1 << 11
"""Quotients by fewer are too large for `quick_remainder`."""
BELOW_ONE = 1.0 - 2.0**-22
NOT_ASCII = np.uint32(0x80)
OTHER_MARK = np.uint32(ord("<") ^ ord(">"))
"""Makes one mark around words the other."""

About: TypeAlias = tuple[np.uint32, np.float32, np.uint32, np.uint32]


@leaf
def quick_factor(divisor: np.uint32) -> np.float32:
    """Give what `quick_remainder` multiplies by."""
    return np.float32(BELOW_ONE / np.float64(divisor))


@leaf
def quick_remainder(hashed: np.uint32, divisor: np.uint32, factor: np.float32) -> np.uint32:
    """Give the remainder of a division by LEAST_BUCKETS to 2^31 - 1, without dividing.

    Three roundings of 2^-24 each are less than BELOW_ONE takes off, so the quotient is never too
    large; being below 2^21, it is at most one too small.
    """
    quotient = np.uint32(np.float32(np.float32(hashed) * factor))
    left = np.uint32(hashed - np.uint32(quotient * divisor))
    # below twice the divisor; taking it off once too often gives a very large number
    return min(left, np.uint32(left - divisor))


@leaf
def _hash_byte(hashed: np.uint32, byte: np.uint32) -> np.uint32:
    """Go on with FNV-1a by the lowest byte of a character, signed."""
    return np.uint32(np.uint32(hashed ^ np.uint32(np.int32(np.int8(byte)))) * FNV_PRIME)


@leaf
def _hash_later(hashed: np.uint32, byte: np.uint32) -> np.uint32:
    """Go on by a later byte of a character, if it has one there."""
    new = _hash_byte(hashed, byte)
    return new if byte & NOT_ASCII else hashed


@leaf
def _hash_wide(hashed: np.uint32, char: np.uint32) -> np.uint32:
    """Go on by a character of up to four bytes."""
    hashed = _hash_later(_hash_byte(hashed, char), char >> np.uint32(8))
    return _hash_later(_hash_later(hashed, char >> np.uint32(16)), char >> np.uint32(24))


@leaf
def _begun(char: np.uint32) -> np.uint32:
    """Give the character that an n-gram begins with: between words, `<`."""
    return np.uint32(char ^ OTHER_MARK) if char & END_BIT else char


@leaf
def _place(hashed: np.uint32, ended: np.uint32, about: About) -> np.uint32:
    divisor, factor, base, nowhere = about
    place = np.uint32(base + quick_remainder(hashed, divisor, factor))
    return nowhere if ended else place


@leaf
def _fill_ascii(
    chars: U32Array, places: U32Array, bounds: tuple[int, int, int], about: About
) -> None:
    """Fill in the places of a block of ASCII."""
    step = np.uint64(bounds[2])
    for i in range(np.uint64(bounds[0]), np.uint64(bounds[1])):
        first, second = chars[i], chars[i + np.uint64(1)]
        third, fourth = chars[i + np.uint64(2)], chars[i + np.uint64(3)]
        hashed = _hash_byte(_hash_byte(FNV_BASIS, _begun(first)), second)
        ended = first & second & END_BIT
        places[i] = _place(hashed, ended, about)
        hashed, ended = _hash_byte(hashed, third), ended | second & END_BIT
        places[i + step] = _place(hashed, ended, about)
        hashed, ended = _hash_byte(hashed, fourth), ended | third & END_BIT
        places[i + np.uint64(2) * step] = _place(hashed, ended, about)


@leaf
def _fill_wide(
    chars: U32Array, places: U32Array, bounds: tuple[int, int, int], about: About
) -> None:
    """Fill in the places of a block of any characters."""
    step = np.uint64(bounds[2])
    for i in range(np.uint64(bounds[0]), np.uint64(bounds[1])):
        first, second = chars[i], chars[i + np.uint64(1)]
        third, fourth = chars[i + np.uint64(2)], chars[i + np.uint64(3)]
        hashed = _hash_wide(_hash_wide(FNV_BASIS, _begun(first)), second)
        ended = first & second & END_BIT
        places[i] = _place(hashed, ended, about)
        hashed, ended = _hash_wide(hashed, third), ended | second & END_BIT
        places[i + step] = _place(hashed, ended, about)
        hashed, ended = _hash_wide(hashed, fourth), ended | third & END_BIT
        places[i + np.uint64(2) * step] = _place(hashed, ended, about)


@leaf
def fill_three_places(
    chars: U32Array, places: U32Array, bounds: tuple[int, int], lookup: Lookup
) -> None:
    """Fill in the places of the n-grams of two to four characters.

    chars   (C,) uint32      the bytes of each character, the first one lowest; END between words
    places  (3 * T,) uint32  out, size by size, T apart
    bounds  at how many characters n-grams start, a multiple of LANES, and T
    """
    divisor, base = np.uint32(lookup.division[0]), place_of_bucket(np.uint32(0), lookup)
    about = (divisor, quick_factor(divisor), base, lookup.firsts[NOWHERE])
    for first in range(0, bounds[0], LANES):
        every = np.uint32(0)
        for i in range(np.uint64(first), np.uint64(first + LANES + MOST - 1)):
            every |= chars[i]
        block = (first, first + LANES, bounds[1])
        if every & NOT_ASCII:
            _fill_wide(chars, places, block, about)
        else:
            _fill_ascii(chars, places, block, about)
