"""Rows of JSON lines on their way into a TextBatch, as Arrow buffers from the start."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolmix.document import I64Array, TextBatch, U8Array
from dolmix.files.records import FieldPaths, Row
from dolmix.text import json_lines as lines
from dolmix.text.json_lines import CRAMPED, LINE_BYTES, ROWS, Buffers, Keys
from dolmix.text.repeats import lent
from dolmix.text.wide import is_utf8

TEXT, IDS, URLS = range(3)
SPARE = 8
"""Bytes behind a text that are written to."""
LEAST_BYTES = 1 << 12


class JsonRows:
    """Rows of one part, batch by batch.

    paths    fields at the top of a record, and no further ones
    limits   documents and bytes of lines that close a batch
    name     id of the record of a line, where records have none
    """

    def __init__(
        self, paths: FieldPaths, limits: tuple[int, int], name: Callable[[int], str]
    ) -> None:
        self._keys = Keys(*(_utf8(p[0] if p else "") for p in (paths.text, paths.id, paths.url)))
        self._most_rows, self._most_bytes = limits
        self._name = name
        self._room = dict.fromkeys((TEXT, IDS, URLS), LEAST_BYTES)
        self._looked_at, self._known = np.zeros(0, np.uint8), False
        self._begin()

    @staticmethod
    def fits(paths: FieldPaths) -> bool:
        """Whether the wanted fields stand at the top of a record."""
        named = [p for p in (paths.text, paths.id, paths.url) if p is not None]
        return not paths.extra and all(len(p) == 1 for p in named) and len({*named}) == len(named)

    def __len__(self) -> int:
        return int(self._state[ROWS])

    @property
    def is_full(self) -> bool:
        """Whether the batch is closed."""
        return len(self) >= self._most_rows or self._state[LINE_BYTES] >= self._most_bytes

    def read(self, data: U8Array, at: int, number: int) -> tuple[int, int]:
        """Read usual lines from `at` on, up to an odd one or a full batch.

        data     whole lines; line `number` begins at `at`
        returns  where the first line begins that was not read, and its number
        """
        if data is not self._looked_at:
            self._looked_at, self._known = data, is_utf8(data)
        self._reserve(TEXT, data.size - at + SPARE)
        why = CRAMPED
        while why == CRAMPED:
            at, number, why = lines.read_lines(
                data, at, number, self._keys, self._to, self._state, self._most_bytes, self._known
            )
            if why == CRAMPED:
                self._reserve(IDS, self._room[IDS] + 1)
                self._reserve(URLS, self._room[URLS] + 1)
                self._reserve(TEXT, data.size - at + SPARE)
        return at, number

    def append(self, row: Row, id_: str, record: int, num_bytes: int) -> None:
        """Add a row that the general parser read; `num_bytes` are those of its line."""
        at = len(self)
        values = {TEXT: row.text, IDS: id_ if self._keys.id.size else "", URLS: row.url}
        for place, value in values.items():
            utf8 = (value or "").encode()
            self._reserve(place, len(utf8))
            begin = int(self._ends[place][at])
            self._buffers[place][begin : begin + len(utf8)] = np.frombuffer(utf8, np.uint8)
            self._ends[place][at + 1] = begin + len(utf8)
        self._to.has_url[at] = row.url is not None
        self._to.lines[at] = record
        self._state[ROWS] += 1
        self._state[LINE_BYTES] += num_bytes

    def take(self) -> TextBatch:
        """Build the batch and start the next one."""
        count, to = len(self), self._to
        numbers = to.lines[:count].copy()
        if self._keys.id.size:
            ids = self._strings(IDS, count)
        else:
            ids = pa.array([self._name(number) for number in numbers.tolist()], pa.string())
        missing = pa.array(to.has_url[:count] == 0)
        urls = pa.nulls(count, pa.string())
        if self._keys.url.size:
            urls = pc.if_else(missing, urls, self._strings(URLS, count))
        batch = TextBatch(self._strings(TEXT, count), ids, urls, numbers, {})
        self._begin()
        return batch

    def _begin(self) -> None:
        """Take other buffers: those of a batch are its own for as long as it lives."""
        self._buffers = {place: _lent(place, room) for place, room in self._room.items()}
        rows = self._most_rows
        self._ends: dict[int, I64Array] = {p: np.zeros(rows + 1, np.int64) for p in self._room}
        self._marks = np.zeros(rows, np.uint8), np.zeros(rows, np.int64)
        self._state = np.zeros(2, np.int64)
        self._look()

    def _look(self) -> None:
        """Put the arrays together for the kernel."""
        made, ends = self._buffers, self._ends
        values, stops = (made[TEXT], made[IDS], made[URLS]), (ends[TEXT], ends[IDS], ends[URLS])
        self._to = Buffers(*values, *stops, *self._marks)

    def _reserve(self, place: int, more: int) -> None:
        """See to room for so many bytes behind those that are used."""
        used = int(self._ends[place][len(self)])
        if used + more <= self._room[place]:
            return
        self._room[place] = max(2 * self._room[place], used + more)
        wider = _lent(place, self._room[place])
        wider[:used] = self._buffers[place][:used]
        self._buffers[place] = wider
        self._look()

    def _strings(self, place: int, count: int) -> pa.Array:
        kind, width = (pa.large_string(), np.int64) if place == TEXT else (pa.string(), np.int32)
        ends = pa.py_buffer(self._ends[place][: count + 1].astype(width))
        values = pa.py_buffer(self._buffers[place][: self._ends[place][count]])
        return pa.Array.from_buffers(kind, count, [None, ends, values])


def _lent(place: int, room: int) -> U8Array:
    """Memory that no batch holds any more: to touch fresh memory costs more than to fill it."""
    return lent(f"json rows {place}", room, np.uint8)


def _utf8(name: str) -> U8Array:
    return np.frombuffer(name.encode(), np.uint8)
