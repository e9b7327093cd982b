"""Edits: spans of texts that are taken out or replaced, and the texts after them.

An edit never holds text of its own: a span is kept or not, and what stands in its place is one of
`PUTS`. So a document's edit, however many filters made it, stays a list of spans of the *original*
text (`compose`), and the text that a store trains on follows from the input and that list alone
(`edited`). Guarantee: `edited(edited(texts, first), then)` has the same texts as
`edited(texts, compose(first, then))`, byte by byte.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dolmix.document import BoolArray, I64Array, TextBatch, U8Array
from dolmix.errors import FilterError
from dolmix.text.compiled import kernel

EDIT_TYPE = pa.list_(pa.struct([("start", pa.int64()), ("stop", pa.int64()), ("put", pa.uint8())]))
"""Arrow type of an edit column: the spans of one document; null = the text stays as it is."""

PUTS = ("", "\n", " ", *(chr(point) for point in range(0x21, 0x7F)))
"""What can stand in place of a span, by code: one character of ASCII at most, so that no later edit
cuts it in two. A longer text is put in character by character (`Edits.of`). Codes are kept in
Parquet: they may be added at the end, never changed."""

_NOTHING = 0
KEEP, TAKE_OUT = True, False
_CODES = {put: code for code, put in enumerate(PUTS) if put}
_PUT_BYTES = np.frombuffer(b"".join(put.encode() or b"\0" for put in PUTS), np.uint8)
"""(len(PUTS),) uint8: the byte of each code; that of code 0 is never used."""


@dataclass(frozen=True, eq=False)
class Edits:
    """What is taken out of N texts, or replaced: S spans in order, none overlapping another.

    starts  (S,) int64      first byte of each span, from the start of its document
    stops   (S,) int64      byte after it, likewise; equal to its start where something is put in
    puts    (S,) uint8      what stands there instead, an index of PUTS
    ends    (N + 1,) int64  document n has spans [ends[n], ends[n + 1])

    Spans may touch, and several may put something in at one place: they apply in their order.
    """

    starts: I64Array
    stops: I64Array
    puts: U8Array
    ends: I64Array

    def __len__(self) -> int:
        return len(self.ends) - 1

    @classmethod
    def none(cls, count: int) -> "Edits":
        """Edits that leave `count` texts as they are."""
        empty = np.zeros(0, np.int64)
        return cls(empty, empty, np.zeros(0, np.uint8), np.zeros(count + 1, np.int64))

    @classmethod
    def of(cls, rows: Sequence[Sequence[tuple[int, int, str]]]) -> "Edits":
        """Make edits from (start, stop, text to put in) of each document, bytes and in order.

        Raises ValueError for a text that is not of printable ASCII, spaces and newlines.
        """
        spans: list[tuple[int, int, int]] = []
        ends = [0]
        for row in rows:
            for start, stop, text in row:
                codes = [_CODES[character] for character in _of_puts(text)] or [_NOTHING]
                spans.append((start, stop, codes[0]))
                spans += [(stop, stop, code) for code in codes[1:]]
            ends.append(len(spans))
        starts, stops, puts = np.array(spans, np.int64).reshape(-1, 3).T
        return cls(starts.copy(), stops.copy(), puts.astype(np.uint8), np.array(ends, np.int64))

    @property
    def spans(self) -> I64Array:
        """(3, S) int64: starts, stops and puts in one array, as the kernels take them."""
        spans: I64Array = np.stack([self.starts, self.stops, self.puts]).astype(np.int64)
        return spans

    @property
    def changed(self) -> BoolArray:
        """(N,) bool: the documents that have a span."""
        return np.diff(self.ends) > 0

    @property
    def removed_bytes(self) -> I64Array:
        """(N,) int64: by how many bytes each text becomes shorter; negative where it grows."""
        lost = self.stops - self.starts - (self.puts != _NOTHING)
        before: I64Array = np.concatenate([[0], np.cumsum(lost)])
        return before[self.ends[1:]] - before[self.ends[:-1]]

    def take(self, rows: I64Array) -> "Edits":
        """Edits of the documents chosen by position, in that order."""
        if self.ends[-1] == 0:
            return Edits.none(len(rows))
        counts = np.diff(self.ends)[rows]
        ends = np.concatenate([[0], np.cumsum(counts)])
        at = np.repeat(self.ends[rows] - ends[:-1], counts) + np.arange(ends[-1])
        return Edits(self.starts[at], self.stops[at], self.puts[at], ends)

    def to_column(self, *, unchanged: BoolArray | None = None) -> pa.ListArray:
        """Give the spans as an edit column.

        unchanged  (N,) bool  documents to write as null; those without any span if not given
        """
        null = ~self.changed if unchanged is None else unchanged
        spans = [pa.array(self.starts), pa.array(self.stops), pa.array(self.puts)]
        values = pa.StructArray.from_arrays(spans, fields=list(EDIT_TYPE.value_type))
        offsets = pa.array(self.ends.astype(np.int32))
        return pa.ListArray.from_arrays(offsets, values, type=EDIT_TYPE, mask=pa.array(null))


def read_edits(column: pa.ListArray | pa.ChunkedArray) -> Edits:
    """Read an edit column back; null and an empty list alike are no spans."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    counts = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    spans = column.flatten()
    starts, stops, puts = (spans.field(name).to_numpy() for name in ("start", "stop", "put"))
    return Edits(starts, stops, puts, np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]))


def edited(texts: TextBatch, edits: Edits, *, only: BoolArray | None = None) -> TextBatch:
    """Texts after their edits; everything else as it was. Without any span, the batch itself.

    only  (N,) bool: the documents to give, all if not given

    Raises FilterError naming the document if its spans overlap, are out of order, leave its text,
    cut a character in two, or hold a code that PUTS does not.
    """
    if len(edits) != len(texts):
        raise ValueError(f"edits of {len(edits)} documents for a batch of {len(texts)}")
    if only is not None and not only.all():
        return edited(texts.take(only), edits.take(np.flatnonzero(only)))
    if edits.ends[-1] == 0:
        return texts
    offsets = np.zeros(len(texts) + 1, np.int64)
    spans = edits.spans
    wrong = measure_edited(texts.utf8, texts.offsets, spans, edits.ends, offsets)
    if wrong >= 0:
        raise FilterError(_misplaced(texts, edits, int(wrong)))
    utf8 = np.empty(int(offsets[-1]), np.uint8)
    copy_edited(texts.utf8, texts.offsets, spans, edits.ends, _PUT_BYTES, utf8)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(utf8)]
    return TextBatch(
        text=pa.LargeStringArray.from_buffers(len(texts), buffers[1], buffers[2]),
        ids=texts.ids,
        urls=texts.urls,
        records=texts.records,
        fields=texts.fields,
    )


def compose(first: Edits, then: Edits) -> Edits:
    """Both edits as one of the first texts: edited(edited(t, first), then) = edited(t, compose).

    What `then` takes out and `first` put in is gone: it is in neither text. Spans that touch are
    joined where one put at most stands in their place, so that a document's spans do not depend on
    the documents beside it.
    """
    if len(first) != len(then):
        raise ValueError(f"edits of {len(first)} documents, then of {len(then)}")
    if first.ends[-1] == 0 and then.ends[-1] == 0:
        return first
    spans = np.empty((3, first.starts.size + then.starts.size), np.int64)
    ends = np.zeros(len(first) + 1, np.int64)
    compose_spans(first.spans, first.ends, then.spans, then.ends, spans, ends)
    starts, stops, puts = spans[:, : ends[-1]]
    return Edits(starts.copy(), stops.copy(), puts.astype(np.uint8), ends)


def _of_puts(text: str) -> str:
    wrong = [character for character in text if character not in _CODES]
    if wrong:
        raise ValueError(
            f"{text!r} cannot be put into a text: {wrong[0]!r} is no printable character of ASCII, "
            f"space or newline"
        )
    return text


def _misplaced(texts: TextBatch, edits: Edits, row: int) -> str:
    first, last = edits.ends[row : row + 2]
    spans = zip(edits.starts[first:last], edits.stops[first:last], strict=True)
    shown = ", ".join(f"[{start}, {stop})" for start, stop in list(spans)[:4])
    more = ", ..." if last - first > 4 else ""
    return (
        f"document {texts.ids[row].as_py()!r} (record {texts.records[row]}): its edit does not fit "
        f"its {texts.num_bytes[row]:,} bytes: {last - first} spans, {shown}{more}. Spans must be "
        f"in order, must not overlap, must begin and end between characters, and must put in one "
        f"of the {len(PUTS)} things that an edit can."
    )


@kernel
def measure_edited(
    utf8: U8Array, offsets: I64Array, spans: I64Array, ends: I64Array, out: I64Array
) -> int:
    """Fill in where each text ends after its edits; returns the first document whose edit is wrong.

    utf8     (B,) uint8       bytes of all documents
    offsets  (N + 1,) int64   document n is utf8[offsets[n]:offsets[n + 1]]
    spans    (3, S) int64     start, stop and put of each span, as in `Edits`
    ends     (N + 1,) int64   document n has spans [ends[n], ends[n + 1])
    out      (N + 1,) int64   out; offsets of the edited texts, from 0

    returns  int              -1 if all is well

    O(N + S). Twin: tests/naive_edits.py `edited`.
    """
    out[0] = 0
    for n in range(offsets.size - 1):
        begin, length = offsets[n], offsets[n + 1] - offsets[n]
        size, place = length, 0
        for s in range(ends[n], ends[n + 1]):
            start, stop, put = spans[0, s], spans[1, s], spans[2, s]
            if start < place or stop < start or stop > length or put >= len(PUTS):
                return n
            if start < length and _inside_character(utf8[begin + start]):
                return n
            if stop < length and _inside_character(utf8[begin + stop]):
                return n
            size += (put != _NOTHING) - (stop - start)
            place = stop
        out[n + 1] = out[n] + size
    return -1


@kernel
def copy_edited(
    utf8: U8Array,
    offsets: I64Array,
    spans: I64Array,
    ends: I64Array,
    put_bytes: U8Array,
    out: U8Array,
) -> None:
    """Copy what the edits leave of every text, and put in what they put in.

    utf8, offsets, spans, ends  as in `measure_edited`, which found nothing wrong
    put_bytes  (len(PUTS),) uint8  the byte of each code but 0
    out        (B',) uint8         out; as many bytes as `measure_edited` counted

    O(B' + S); documents without spans are copied in one piece with their neighbours. Twin:
    tests/naive_edits.py `edited`.
    """
    at = 0
    place = offsets[0]
    for n in range(offsets.size - 1):
        for s in range(ends[n], ends[n + 1]):
            size = offsets[n] + spans[0, s] - place
            out[at : at + size] = utf8[place : place + size]
            at += size
            if spans[2, s] != _NOTHING:
                out[at] = put_bytes[spans[2, s]]
                at += 1
            place = offsets[n] + spans[1, s]
    size = offsets[-1] - place
    out[at : at + size] = utf8[place : place + size]


@kernel
def compose_spans(
    first: I64Array,
    first_ends: I64Array,
    then: I64Array,
    then_ends: I64Array,
    out: I64Array,
    ends: I64Array,
) -> None:
    """Write the spans of the first texts that do what both edits do, one after the other.

    first       (3, S) int64        start, stop and put of each span, in the first texts
    first_ends  (N + 1,) int64      spans of `first` before each document's end
    then        (3, S') int64       likewise, in the texts that `first` made
    then_ends   (N + 1,) int64      spans of `then` before each document's end
    out         (3, S + S') int64   out; in the first texts
    ends        (N + 1,) int64      out; spans of `out` before each document's end

    Both texts are walked together. `walk` holds the next span of `first`, the place in the first
    text, and the spans made. O(S + S'). Twin: tests/naive_edits.py, by the texts themselves.
    """
    walk = np.zeros(3, np.int64)
    for n in range(first_ends.size - 1):
        begin, last = walk[2], first_ends[n + 1]
        walk[0], walk[1] = first_ends[n], 0
        place = 0  # in the text between
        for b in range(then_ends[n], then_ends[n + 1]):
            start, stop = then[0, b], then[1, b]
            _walk(first, last, walk, start - place, KEEP, out, begin)
            _walk(first, last, walk, stop - start, TAKE_OUT, out, begin)
            walk[2] = _add(out, begin, walk[2], walk[1], walk[1], then[2, b])
            place = stop
        for a in range(walk[0], last):
            walk[2] = _add(out, begin, walk[2], first[0, a], first[1, a], first[2, a])
        ends[n + 1] = walk[2]


@kernel
def _walk(
    first: I64Array, last: int, walk: I64Array, count: int, keep: bool, out: I64Array, begin: int
) -> None:
    """Walk over `count` bytes of the text between, which the second edit keeps or takes out."""
    a, place, made = walk
    while count > 0:
        run = count if a == last else min(count, first[0, a] - place)
        if run > 0:
            if not keep:
                made = _add(out, begin, made, place, place + run, _NOTHING)
            place += run
            count -= run
        else:  # a span of the first edit: no bytes, or the one that it put in
            put = first[2, a]
            made = _add(out, begin, made, place, first[1, a], put if keep else _NOTHING)
            count -= put != _NOTHING
            place = first[1, a]
            a += 1
    walk[0], walk[1], walk[2] = a, place, made


@kernel
def _add(out: I64Array, begin: int, made: int, start: int, stop: int, put: int) -> int:
    """Add a span, or join it to one that it touches; returns the number of spans made."""
    if start == stop and put == _NOTHING:
        return made
    before = made - 1
    if made > begin and out[1, before] == start and _NOTHING in (put, out[2, before]):
        out[1, before] = stop
        out[2, before] = max(put, out[2, before])
        return made
    out[0, made], out[1, made], out[2, made] = start, stop, put
    return made + 1


@kernel
def _inside_character(byte: int) -> bool:
    return byte & 0xC0 == 0x80
