"""What a fastText model is given of a text, by whose pipeline: compiled, and as Python says it.

The same model gives different answers to differently prepared texts, so a preparation is a setting.
`PREPARATIONS` are the definitions. The kernel does the same to bytes; only texts with a capital
sigma, whose lower case depends on its neighbours, are left to Python.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dolmix.document import BoolArray, I32Array, I64Array, U8Array
from dolmix.text.characters import decode, skip_space, trim_space
from dolmix.text.classifier_text import TRAINING_TEXTS, WIDE
from dolmix.text.compiled import kernel, leaf
from dolmix.text.fasttext_kernel import Spans
from dolmix.text.phrases import lower_points
from dolmix.text.shape_words import with_shape_words

RUST_SPACES = frozenset("\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000") | {
    chr(point) for point in range(0x2000, 0x200B)
}
"""What Rust's `char::is_whitespace` says, and so the splitter that dolma uses."""
PREPARATIONS: dict[str, Callable[[str], str]] = {
    **TRAINING_TEXTS,
    "joined": lambda text: text.replace("\n", ""),
    "stripped": lambda text: text.strip().replace("\n", ""),
    "dolma17": lambda text: "".join(" " if c in RUST_SPACES else c for c in text),
}
"""By name: those that `dolmix classifier train` knows, newlines taken out, the same after stripping
(datatrove's FastTextClassifierFilter), and words cut at white space (dolma17-quality)."""

LINE_ENDS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
"""What `str.splitlines` cuts at."""
STRIPPING = ("dolma", "dclm", "spaced", "stripped")
LOWERING = ("dolma", "spaced")
GONE = -1
SPACED = 1 << 24
"""Added to a code point that gets a space on either side."""
SIGMA, CAPITAL_I_DOT, DOT_ABOVE = 0x3A3, 0x130, 0x307
GROWTH = 2
"""Times that a text can grow: a wide character of three bytes gets two spaces."""


class Preparation(NamedTuple):
    """A preparation for the kernel.

    points  (1114112,) int32  what becomes of each code point: another, GONE, or one with SPACED
    strip   bool              whether white space at the ends goes first
    lower   bool              whether U+0130 becomes two characters, and a sigma is Python's affair
    """

    points: I32Array
    strip: bool
    lower: bool


@lru_cache(maxsize=8)
def preparation(name: str) -> Preparation:
    """Make the tables of a preparation, once a process."""
    lower = name in LOWERING
    points = lower_points().copy() if lower else np.arange(0x110000, dtype=np.int32)
    spaces = {"dclm": LINE_ENDS, "dolma17": RUST_SPACES}.get(name, "\n")
    points[[ord(c) for c in spaces]] = GONE if name in ("joined", "stripped") else 0x20
    if name == "spaced":
        wide = [
            c for c in range(0x3000, 0x10000) if not 0xD800 <= c < 0xE000 and WIDE.match(chr(c))
        ]
        points[wide] += SPACED
    points.setflags(write=False)
    return Preparation(points, name in STRIPPING, lower)


def prepared(spans: Spans, name: str) -> tuple[Spans, BoolArray]:
    """Prepare texts for a model.

    spans  the N texts

    returns  the texts as the model is to read them, and (N,) bool: those left to Python, empty here
    """
    count = spans.starts.size
    left = np.zeros(count, np.bool_)
    if name == "datatrove":  # the model takes a newline for the white space that it is
        return spans, left
    if name == "shaped":
        plain, left = prepared(spans, "spaced")
        return with_shape_words(spans, plain, left), left
    room = GROWTH * int((spans.stops - spans.starts).sum())
    ends, out = np.zeros(count + 1, np.int64), np.empty(room, np.uint8)
    fill_prepared(spans, preparation(name), (out, ends), left)
    return Spans(out, ends[:-1], ends[1:]), left


@kernel
def fill_prepared(
    spans: Spans, how: Preparation, out: tuple[U8Array, I64Array], left: BoolArray
) -> None:
    """Write the prepared texts one after the other.

    out   (2B,) uint8, (N + 1,) int64  out; the texts, and where each ends, from 0
    left  (N,) bool                    out; whether a text is left to Python

    O(B). Twin: `PREPARATIONS`.
    """
    utf8, ends = out
    for n in range(spans.starts.size):
        start, stop = spans.starts[n], spans.stops[n]
        if how.strip:
            start = skip_space(spans.utf8, start, stop)
            stop = trim_space(spans.utf8, start, stop)
        ends[n + 1] = _write(spans.utf8, (start, stop), how, utf8, ends[n])
        if ends[n + 1] < 0:
            left[n] = True
            ends[n + 1] = ends[n]


@leaf
def _write(
    text: U8Array, bounds: tuple[int, int], how: Preparation, out: U8Array, place: int
) -> int:
    """Write one text; returns where it ends, or -1 if it has a capital sigma."""
    at, stop = bounds
    while at < stop:
        point = int(text[at])
        if point < 0x80:
            at += 1
            new = int(how.points[point])
            if new >= 0:
                out[place] = np.uint8(new)
                place += 1
            continue
        point, at = decode(text, at, stop)
        if how.lower and point == SIGMA:
            return -1
        new = int(how.points[point])
        if new >= SPACED:
            out[place] = 0x20
            place = _put(out, place + 1, new - SPACED)
            out[place] = 0x20
            place += 1
        elif new >= 0:
            place = _put(out, place, new)
        if how.lower and point == CAPITAL_I_DOT:
            place = _put(out, place, DOT_ABOVE)
    return place


@leaf
def _put(out: U8Array, place: int, point: int) -> int:
    """Write one character in UTF-8; returns the place after it."""
    if point < 0x80:
        out[place] = np.uint8(point)
        return place + 1
    more = 1
    if point >= 0x800:
        more = 2
    if point >= 0x10000:
        more = 3
    lead = (0xC0, 0xE0, 0xF0)[more - 1]
    out[place] = np.uint8(lead | point >> (6 * more))
    for n in range(more):
        out[place + 1 + n] = np.uint8(0x80 | (point >> (6 * (more - 1 - n))) & 0x3F)
    return place + 1 + more
