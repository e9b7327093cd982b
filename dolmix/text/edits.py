"""Edits: spans of the original texts that are taken out or replaced, and texts after them."""

from dataclasses import dataclass

import pyarrow as pa

from dolmix.document import I64Array, TextBatch, U8Array

EDIT_TYPE = pa.list_(pa.struct([("start", pa.int64()), ("stop", pa.int64()), ("put", pa.uint8())]))
"""Arrow type of an edit column: the spans of one document; null = the text stays as it is."""

PUTS = ("", "\n", " ")
"""What can stand in place of a span, by code."""


@dataclass(frozen=True, eq=False)
class Edits:
    """What is taken out of N texts, or replaced: S spans in order, none overlapping another.

    starts  (S,) int64      first byte of each span, from the start of its document
    stops   (S,) int64      byte after it, likewise; equal to its start where something is put in
    puts    (S,) uint8      what stands there instead, an index of PUTS
    ends    (N + 1,) int64  document n has spans [ends[n], ends[n + 1])
    """

    starts: I64Array
    stops: I64Array
    puts: U8Array
    ends: I64Array

    def to_column(self) -> pa.ListArray:
        """Give the spans as an edit column, null for a document without any."""
        raise NotImplementedError


def read_edits(column: pa.ListArray) -> Edits:
    """Read an edit column back."""
    raise NotImplementedError


def edited(texts: TextBatch, edits: Edits) -> TextBatch:
    """Texts after their edits; everything else as it was."""
    raise NotImplementedError


def compose(first: Edits, then: Edits) -> Edits:
    """Both edits as one of the first texts: edited(edited(t, first), then) = edited(t, compose)."""
    raise NotImplementedError
