"""Long lists of short texts, as domains or URLs of a block list, told apart by 64-bit hashes.

A list of seven million domains is 56 MB of sorted numbers instead of a gigabyte of strings, and a
batch of questions is one search. A question that is not in a list of n entries is taken for one
that is with a probability of n / 2**64: 4e-13 for seven million.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from dolmix.document import BoolArray, I64Array, U8Array, U64Array
from dolmix.text.compiled import kernel, leaf
from dolmix.text.words import FNV_PRIME, FNV_START

NEWLINE, HASH_SIGN = 0x0A, 0x23


def hash_list(data: bytes) -> U64Array:
    """Hash the lines of a list: distinct, ascending, (L,) uint64.

    White space of ASCII at the ends of a line does not count; empty lines and those that begin with
    `#` are no entries.
    """
    utf8 = np.frombuffer(data, np.uint8)
    hashes = np.empty(data.count(b"\n") + 1, np.uint64)
    entries: U64Array = np.unique(hashes[: hash_lines(utf8, hashes)])
    return entries


def hash_texts(texts: Sequence[str]) -> U64Array:
    """Hash texts as `hash_list` does the lines that spell them, (N,) uint64."""
    column = pa.array(texts, pa.large_string())
    hashes = np.empty(len(texts), np.uint64)
    if len(texts):
        _, offsets, utf8 = column.buffers()
        hash_spans(
            np.frombuffer(utf8 if utf8 is not None else b"\0", np.uint8),
            np.frombuffer(offsets, np.int64)[: len(texts) + 1],
            hashes,
        )
    return hashes


def listed(hashes: U64Array, entries: U64Array) -> BoolArray:
    """(N,) bool: which hashes are among `entries`, (L,) uint64, ascending."""
    if not entries.size:
        return np.zeros(hashes.size, np.bool_)
    at = np.minimum(np.searchsorted(entries, hashes), entries.size - 1)
    found: BoolArray = entries[at] == hashes
    return found


@kernel
def hash_lines(utf8: U8Array, out: U64Array) -> int:
    """Hash the entries of a list into `out`, in order; returns how many.

    utf8  (B,) uint8      the list, lines ended by newlines
    out   (>= L,) uint64  out

    O(B). Twin: tests/naive_lists.py.
    """
    count, begin = 0, 0
    for i in range(utf8.size + 1):
        if i < utf8.size and utf8[i] != NEWLINE:
            continue
        start, stop = begin, i
        while start < stop and _is_blank(utf8[start]):
            start += 1
        while stop > start and _is_blank(utf8[stop - 1]):
            stop -= 1
        if stop > start and utf8[start] != HASH_SIGN:
            out[count] = hash_span(utf8, start, stop)
            count += 1
        begin = i + 1
    return count


@kernel
def hash_spans(utf8: U8Array, offsets: I64Array, out: U64Array) -> None:
    """Hash each text whole: text n is utf8[offsets[n]:offsets[n + 1]]; `out` is (N,) uint64."""
    for n in range(out.size):
        out[n] = hash_span(utf8, offsets[n], offsets[n + 1])


@leaf
def hash_span(utf8: U8Array, start: int, stop: int) -> np.uint64:
    """64-bit FNV-1a of some bytes."""
    code = FNV_START
    for i in range(start, stop):
        code = (code ^ np.uint64(utf8[i])) * FNV_PRIME
    return code


@leaf
def _is_blank(byte: int) -> bool:
    return byte == 0x20 or 0x09 <= byte <= 0x0D
