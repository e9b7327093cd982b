"""Cutting documents into pieces and packing pieces into rows: plain arithmetic, no files.

A row holds L + 1 tokens: L inputs and one more that is only a label. A document of n tokens has
n - 1 labels, so it is cut into pieces of L labels, each piece beginning with the token that ended
the one before: no label is lost at a cut and none is counted twice. A document of one token has no
label and gives no piece.

`best_fit` is best-fit decreasing as in "Fewer Truncations Improve Language Modeling" (Ding et al.
2024, algorithm 1): pieces from longest to shortest, each into the row with the least room that
takes it. Twins: tests/naive_packs.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dolmix.document import I64Array, U64Array


class Cuts(NamedTuple):
    """Pieces in store order."""

    starts: U64Array
    """(P,) first token of each piece, counted from the start of the store."""
    lengths: I64Array
    """(P,) tokens of each piece, 2 to L + 1."""


def cut_documents(first: int, ends: U64Array, sequence_length: int) -> Cuts:
    """Cut consecutive documents into pieces of at most L labels.

    first            token at which the first of them begins
    ends    (D,)     their ends in tokens, rising, all above `first`
    """
    begins = np.concatenate([np.array([first], np.uint64), ends[:-1]])[: len(ends)]
    sizes = (ends - begins).astype(np.int64)
    counts = (sizes - 1 + sequence_length - 1) // sequence_length
    document = np.repeat(np.arange(len(ends)), counts)
    within = np.arange(document.size) - np.repeat(np.cumsum(counts) - counts, counts)
    offsets = within * sequence_length
    lengths = np.minimum(sizes[document] - offsets, sequence_length + 1)
    return Cuts(begins[document] + offsets.astype(np.uint64), lengths)


def best_fit(lengths: I64Array, capacity: int) -> I64Array:
    """Row of each piece, by best-fit decreasing.

    lengths  (P,) integers   1 to `capacity`
    returns  (P,) int64      rows numbered as they were opened

    From the longest piece to the shortest, equal ones by number, each goes into the row with the
    least room that takes it, among equal ones into the one opened first, else into a new row. All
    pieces of one length move together, and so do rows of equal room: a row of room r takes
    r // length of them in turn, since what is left of it is then the least room that fits.
    """
    rows = np.empty(len(lengths), np.int64)
    rooms = _Rooms(capacity)
    for length, pieces in _by_length(lengths):
        done = 0
        while done < len(pieces):
            room, open_rows = rooms.take(length, len(pieces) - done)
            each = room // length
            taken = min(len(pieces) - done, each * len(open_rows))
            rows[pieces[done : done + taken]] = np.repeat(open_rows, each)[:taken]
            whole, rest = divmod(taken, each)
            rooms.put(room - each * length, open_rows[:whole])
            if rest:
                rooms.put(room - rest * length, open_rows[whole : whole + 1])
            done += taken
    return rows


def numbered_by_first_piece(rows: I64Array) -> I64Array:
    """Renumber rows by the first piece that each holds; every row from 0 on holds one."""
    first = np.empty(int(rows.max()) + 1 if rows.size else 0, np.int64)
    # of repeated indices the last assignment stays, which is the smallest piece when reversed
    first[rows[::-1]] = np.arange(rows.size)[::-1]
    number = np.empty_like(first)
    number[np.argsort(first)] = np.arange(first.size)
    renumbered: I64Array = number[rows]
    return renumbered


class _Rooms:
    """Open rows by the room that they have left."""

    def __init__(self, capacity: int) -> None:
        self._rows: list[list[I64Array]] = [[] for _ in range(capacity + 1)]
        self._some = np.zeros(capacity + 1, np.bool_)
        self._capacity = capacity
        self._opened = 0

    def take(self, length: int, pieces: int) -> tuple[int, I64Array]:
        """Take out the rows that the next pieces go into: their room, and them as opened."""
        room = length + int(np.argmax(self._some[length:]))
        if not self._some[room]:
            count = -(-pieces // (self._capacity // length))
            self._opened += count
            return self._capacity, np.arange(self._opened - count, self._opened)
        found = self._rows[room]
        rows = found[0] if len(found) == 1 else np.sort(np.concatenate(found))
        needed = -(-pieces // (room // length))
        self._rows[room] = [rows[needed:]] if needed < len(rows) else []
        self._some[room] = needed < len(rows)
        return room, rows[:needed]

    def put(self, room: int, rows: I64Array) -> None:
        """Put rows back with the room that they have now; full ones are done."""
        if room and len(rows):
            self._rows[room].append(rows)
            self._some[room] = True


def _by_length(lengths: I64Array) -> Iterator[tuple[int, I64Array]]:
    """Pieces of each length that there is, longest first, by number."""
    order = np.argsort(lengths, kind="stable")
    ordered = lengths[order]
    edges = np.concatenate([np.flatnonzero(np.diff(ordered, prepend=-1)), [len(ordered)]])
    for n in range(len(edges) - 2, -1, -1):
        yield int(ordered[edges[n]]), order[edges[n] : edges[n + 1]]
