"""Words that say how a text looks, put after its own for a classifier of words to read.

`shaped` is the preparation `spaced`, and for each window of `shape_ratios` a block of words, one
for each ratio: a private-use character for the ratio, a letter for the size of the window, a letter
for how many of the ratio's EDGES it has reached. A classifier that adds up its words so weighs
ratios and words together. Pairs of neighbouring words are pairs of ratios: a block names all of
them in order, then those with even numbers and those with odd ones, so that there are more pairs.
"""

from functools import lru_cache

import numpy as np

from dolmix.document import BoolArray, I64Array, TextBatch, U8Array
from dolmix.text.compiled import kernel
from dolmix.text.fasttext_kernel import Spans
from dolmix.text.shape_edges import EDGES
from dolmix.text.shape_ratios import FEATURES, WINDOW, Words, characters, measure_windows

SIZES = (12, 24, 48, 96)
"""Words at which a window counts as larger; its letter is a to e, where most are wide f to j."""
ORDER = (*range(FEATURES), *range(0, FEATURES, 2), *range(1, FEATURES, 2))
WORD_BYTES = 6
"""Bytes of a shape word, with a space before it."""
NO_EDGE = 1 << 62


def shape_words(text: str) -> str:
    """Give a text's shape words, a space before each. Lone surrogates count as question marks."""
    batch = TextBatch.of([text.encode("utf-8", "replace").decode()])
    nothing = Spans(np.zeros(0, np.uint8), np.zeros(1, np.int64), np.zeros(1, np.int64))
    spans = Spans(batch.utf8, batch.offsets[:-1], batch.offsets[1:])
    made = with_shape_words(spans, nothing, np.zeros(1, np.bool_))
    return made.utf8.tobytes().decode()


def with_shape_words(spans: Spans, prepared: Spans, left: BoolArray) -> Spans:
    """Put the shape words of N texts after what else the model is to read of them.

    spans     the texts as they are
    prepared  the same N, prepared
    left      (N,) bool: texts that get none
    """
    count, sizes = spans.starts.size, spans.stops - spans.starts
    longest, total = int(sizes.max(initial=0)) + 1, int(sizes.sum())
    words = Words(
        np.empty(longest, np.uint64), np.empty(longest, np.int64), np.empty(longest, np.int64)
    )
    room = 2 * total // WINDOW + count
    ratios, widths = np.empty((room, FEATURES), np.int64), np.empty(room, np.int64)
    windows = (ratios, widths, np.zeros(count + 1, np.int64))
    made = measure_windows(spans, characters(), words, windows)
    own = int((prepared.stops - prepared.starts).sum())
    utf8 = np.empty(own + made * len(ORDER) * WORD_BYTES, np.uint8)
    ends = np.zeros(count + 1, np.int64)
    size = write_shape_words(prepared, left, windows, edges(), (utf8, ends))
    return Spans(utf8[:size], ends[:-1], ends[1:])


@lru_cache(maxsize=1)
def edges() -> tuple[I64Array, I64Array, I64Array]:
    """(FEATURES, E) int64 edges filled up with NO_EDGE; sizes of windows; order of ratios."""
    most = max(map(len, EDGES))
    filled = np.full((FEATURES, most), NO_EDGE, np.int64)
    for n, some in enumerate(EDGES):
        filled[n, : len(some)] = some
    return filled, np.array(SIZES, np.int64), np.array(ORDER, np.int64)


@kernel
def write_shape_words(
    prepared: Spans,
    left: BoolArray,
    windows: tuple[I64Array, I64Array, I64Array],
    tables: tuple[I64Array, I64Array, I64Array],
    out: tuple[U8Array, I64Array],
) -> int:
    """Write N texts one after the other, each followed by its shape words; returns the bytes.

    left     (N,) bool                            texts that get none
    windows  (M, FEATURES), (M,), (N + 1,) int64  as `measure_windows` gives them
    tables   what `edges` gives
    out      (B,) uint8, (N + 1,) int64           out; the texts, and where each ends, from 0

    O(B). Twin: tests/naive_shapes.py.
    """
    ratios, widths, firsts = windows
    limits, sizes, order = tables
    utf8, ends = out
    place = 0
    for n in range(prepared.starts.size):
        own = prepared.stops[n] - prepared.starts[n]
        utf8[place : place + own] = prepared.utf8[prepared.starts[n] : prepared.stops[n]]
        place += own
        for w in range(firsts[n], firsts[n] if left[n] else firsts[n + 1]):
            letter = 0x61 if widths[w] > 0 else 0x66
            letter += np.searchsorted(sizes, abs(widths[w]), side="right")
            for feature in order:
                reached = np.searchsorted(limits[feature], ratios[w, feature], side="right")
                utf8[place], utf8[place + 1], utf8[place + 2] = 0x20, 0xEE, 0x80
                utf8[place + 3], utf8[place + 4] = 0x80 + feature, letter
                utf8[place + 5] = 0x61 + reached
                place += WORD_BYTES
        ends[n + 1] = place
    return int(place)
