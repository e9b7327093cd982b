"""Reading: input files → parts → record batches for one task.

`plan_parts` cuts the inputs of a source into parts that follow from the inputs and `part_bytes`
alone, without reading texts; `read_part` yields one part's documents as `TextBatch`es. However a
file is cut, its parts together yield the same documents, each once. What cannot be read is never
dropped in silence: it stops the run with file, line and cause, or, under `on_bad_record: {policy:
skip}`, is reported with them.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import numpy as np
import pyarrow as pa
from pydantic import StringConstraints

from dolmix.config import Frac, Schema
from dolmix.document import TextBatch
from dolmix.errors import DataError
from dolmix.files import parquet
from dolmix.files.pages import Page, Warc
from dolmix.files.part_pages import BadPage, PartPages
from dolmix.files.parts import Part, Split, plan_parts
from dolmix.files.paths import identify
from dolmix.files.records import (
    BYTE_ORDER_MARK,
    RAW_BYTES,
    BadRecord,
    BadValueError,
    FieldPaths,
    Keys,
    Row,
    Rows,
    json_at,
    line_runs,
    parse_record,
)
from dolmix.files.streams import DamageError, read_blocks, read_verified

if TYPE_CHECKING:
    from dolmix.text.json_rows import JsonRows

__all__ = [
    "BadRecord",
    "BadRecords",
    "Fields",
    "Part",
    "PartReader",
    "Split",
    "Warc",
    "plan_parts",
    "read_part",
]

BATCH_DOCUMENTS = 1024
BATCH_BYTES = 8 << 20

FieldPath = Annotated[str, StringConstraints(pattern=r"^[^.]+(\.[^.]+)*$")]
"""A key of the record, or a dotted path to a nested one: `metadata.url`."""


class Fields(Schema):
    """Where a record keeps what every document has."""

    text: FieldPath = "text"
    """Path of the text; a record without it is a bad record."""
    id: FieldPath | None = "id"
    """Path of the id, text or an integer; null makes ids of file and record number, from 0:
    `a.jsonl.zst:1234`. Blank lines of JSONL are counted."""
    url: FieldPath | None = None
    """Path of the address a document came from; documents may lack it."""


class BadRecords(Schema):
    """What to do with records that cannot be read."""

    policy: Literal["fail", "skip"] = "fail"
    """`fail` stops at the first; `skip` sets each aside with its file, line and cause."""
    max_frac: Frac = 0.001
    """Under `skip`: the largest share of a source's records that may be bad; more fails the run."""


def read_part(
    part: Part,
    fields: Fields,
    extra: Sequence[str],
    bad: BadRecords,
    report: Callable[[BadRecord], None],
    *,
    warc: Warc = Warc(),  # noqa: B008 - frozen
    kept_pages: Path | None = None,
    batch_documents: int = BATCH_DOCUMENTS,
    batch_bytes: int = BATCH_BYTES,
) -> "PartReader":
    """Read one part: iterate over the result for its documents, then ask it for its counts.

    extra     dotted paths for `TextBatch.fields`, each value as JSON text, null where absent
    report    called with each bad record, in order, under `policy: skip`
    warc      how WARC and WET files are read
    kept_pages  file that holds what an earlier reading of this WARC part gave, or will; None keeps
              nothing
    batch_*   a batch is closed by the document that reaches either

    Iterating raises DataError for a file that cannot be opened, and under `policy: fail` for the
    first bad record.
    """
    if fields.id is None and part.first_record is None:
        raise ValueError(
            f"{part.path}: ids made of record numbers need whole files: plan with splittable=False"
        )
    limits = (batch_documents, batch_bytes)
    return PartReader(part, fields, extra, bad, report, limits, warc=warc, kept=kept_pages)


class PartReader:
    """Documents of one part, in order; iterate once. The counts are final when that has ended.

    num_records   records seen, bad ones included; blank lines are none, nor are WARC records of
                  types that are no documents
    num_lines     lines (JSONL, blank ones included), rows (Parquet) or records of any type (WARC),
                  as far as they are known
    warc_records  WARC records by type, bad ones not among them
    num_bad       bad records: each reported one, all rows that a damaged row group lost, and all
                  lines decoded from a damaged stream that cannot be trusted
    text_bytes    UTF-8 bytes of the documents' texts
    """

    def __init__(
        self,
        part: Part,
        fields: Fields,
        extra: Sequence[str],
        bad: BadRecords,
        report: Callable[[BadRecord], None],
        limits: tuple[int, int],
        *,
        warc: Warc = Warc(),  # noqa: B008 - frozen
        kept: Path | None = None,
    ) -> None:
        self.part = part
        self.warc_records: Counter[str] = Counter()
        self._warc, self._kept = warc, kept
        self.num_records = self.num_lines = self.num_bad = self.text_bytes = 0
        self._paths = FieldPaths(
            text=_keys(fields.text),
            id=None if fields.id is None else _keys(fields.id),
            url=None if fields.url is None else _keys(fields.url),
            extra={path: _keys(path) for path in extra},
        )
        self._bad_records = bad
        self._report = report
        self._batch_documents, self._batch_bytes = limits

    def __iter__(self) -> Iterator[TextBatch]:
        """Yield the documents as batches of at least one."""
        check_unchanged(self.part)
        read = {"jsonl": self._jsonl, "parquet": self._parquet, "warc": self._warc_file}
        for batch in read[self.part.kind]():
            self.text_bytes += int(batch.num_bytes.sum())
            yield batch
        if self.num_records == 0 and not self.warc_records and self.part.split is None:
            self._set_aside(0, "file holds no records", placed=False)

    # JSONL

    def _jsonl(self) -> Iterator[TextBatch]:
        rows = self._rows()
        try:
            for offset, run in self._runs():
                if isinstance(rows, Rows):
                    yield from self._run(rows, offset, run)
                else:
                    yield from self._usual_run(rows, offset, run)
        except DamageError as damage:
            self._lose_text(damage)
        except BadValueError as error:  # the last line, where it goes on after the part
            self._lose(1, str(error))
        if len(rows):
            yield rows.take()

    def _rows(self) -> "Rows | JsonRows":
        from dolmix.text.json_rows import JsonRows  # numba, which planning does without

        limits = (self._batch_documents, self._batch_bytes)
        if JsonRows.fits(self._paths):
            return JsonRows(self._paths, limits, self._made_id)
        return Rows(tuple(self._paths.extra), limits)

    def _usual_run(self, rows: "JsonRows", offset: int, run: bytes) -> Iterator[TextBatch]:
        """Read lines in compiled code, and those that are odd one by one."""
        data, at = np.frombuffer(run, np.uint8), 0
        while at <= len(run):
            before = len(rows)
            at, self.num_lines = rows.read(data, at, self.num_lines)
            self.num_records += len(rows) - before
            if not rows.is_full and at <= len(run):
                end = run.find(b"\n", at)
                end = len(run) if end < 0 else end
                self._line(rows, offset + at, run[at:end])
                at = end + 1
            if rows.is_full:
                yield rows.take()

    def _run(self, rows: Rows, offset: int, run: bytes) -> Iterator[TextBatch]:
        for line in run.split(b"\n"):
            self._line(rows, offset, line)
            offset += len(line) + 1
            if rows.is_full:
                yield rows.take()

    def _line(self, rows: "Rows | JsonRows", offset: int, line: bytes) -> None:
        """Count a line, and read it unless it is blank."""
        record = self.num_lines
        self.num_lines += 1
        if not line or line.isspace():
            return
        if record == 0 and self.part.first_record == 0:
            line = line.removeprefix(BYTE_ORDER_MARK)
        try:
            row = parse_record(line, self._paths)
        except BadValueError as error:
            self._set_aside(record, str(error), offset=offset, raw=line)
            return
        self.num_records += 1
        id_ = self._made_id(record) if row.id is None else row.id
        rows.append(row, id_, record, len(line))

    def _made_id(self, record: int) -> str:
        """Name a record by its place, for records without ids."""
        return f"{self.part.path}:{self._in_file(record)}"

    def _runs(self) -> Iterator[tuple[int, bytes]]:
        split = self.part.split
        if split is None:
            return line_runs(self._blocks(0, None))
        # The part that holds a newline owns the line after it. Reading a range of bytes from and to
        # one byte early therefore gives a line to the range in which it begins. Frames cannot be
        # read so: a line that begins a frame belongs to the part before.
        early = 1 if split.unit == "bytes" else 0
        start, stop = max(0, split.start - early), split.stop - early
        return line_runs(self._blocks(start, stop), self._tail(stop), skip_first=split.start > 0)

    def _blocks(self, start: int, stop: int | None) -> Iterator[bytes]:
        def read() -> Iterator[bytes]:
            return read_blocks(self.part.uri, self.part.compression, start=start, stop=stop)

        verify = self._bad_records.policy == "skip" and self.part.compression
        return read_verified(read) if verify else read()

    def _tail(self, start: int) -> Iterator[bytes]:
        """Yield text after the part, for the line it leaves open: all that damage there costs it.

        What else the damage costs counts in the part that begins there.
        """
        try:
            yield from read_blocks(self.part.uri, self.part.compression, start=start)
        except DamageError as damage:
            raise BadValueError(f"the line runs into damage: {damage.cause}") from None

    def _lose_text(self, damage: DamageError) -> None:
        lost, cause = damage.lost_lines, damage.cause
        if lost:
            least = "at least " if damage.more_lost else ""
            cause = f"{cause}; {least}{lost:,} record{'' if lost == 1 else 's'} lost"
        self._lose(lost, cause, offset=damage.trusted)

    # Parquet

    def _parquet(self) -> Iterator[TextBatch]:
        try:
            with parquet.open_parquet(self.part.uri) as file:
                yield from self._row_groups(file)
        except BadValueError as error:
            self._set_aside(self.num_lines, str(error), placed=False)

    def _row_groups(self, file: Any) -> Iterator[TextBatch]:
        split = self.part.split
        groups = (
            range(file.metadata.num_row_groups) if split is None else range(split.start, split.stop)
        )
        sizes = {g: file.metadata.row_group(g).num_rows for g in groups}
        with parquet.parquet_errors(self.part.uri):
            schema = file.schema_arrow
        try:
            columns = parquet.check_columns(schema, self._paths)
        except BadValueError as error:
            self._lose(sum(sizes.values()), str(error), placed=False)
            return
        for group, num_rows in sizes.items():
            stop = self.num_lines + num_rows
            try:
                yield from self._row_group(file, group, columns)
            except BadValueError as error:
                lost = max(0, stop - self.num_lines)
                self._lose(lost, f"row group {group}: {lost} rows cannot be read: {error}")
            else:
                if self.num_lines != stop:
                    cause = f"row group {group} holds other than the {num_rows} rows stated"
                    self._lose(max(0, stop - self.num_lines), cause)

    def _row_group(self, file: Any, group: int, columns: list[str]) -> Iterator[TextBatch]:
        with parquet.parquet_errors(self.part.uri):
            batches = file.iter_batches(
                batch_size=self._rows_per_batch(file.metadata.row_group(group)),
                row_groups=[group],
                columns=columns,
                use_threads=False,
            )
        while True:
            with parquet.parquet_errors(self.part.uri):
                batch = next(batches, None)
                found = None if batch is None else parquet.read_columns(batch, self._paths)
            if found is None:
                return
            yield from self._documents(found)

    def _rows_per_batch(self, group: Any) -> int:
        """Rows that hold about `batch_bytes`, by the size that the footer states.

        The group's, not the text column's: asking pyarrow for a column's metadata ends the process
        where that is corrupt (a C++ exception that nothing catches, pyarrow 26).
        """
        rows = self._batch_bytes * int(group.num_rows) // max(1, int(group.total_byte_size))
        return max(1, min(self._batch_documents, rows))

    def _documents(self, found: parquet.ColumnBatch) -> Iterator[TextBatch]:
        first, count = self.num_lines, len(found.text)
        self.num_lines += count
        self.num_records += count - len(found.causes)
        for row, cause in sorted(found.causes.items()):
            self._set_aside(first + row, cause)
        records = np.arange(first, first + count, dtype=np.int64)
        ids = found.ids
        if ids is None:
            ids = pa.array([self._made_id(r) for r in records.tolist()], pa.string())
        batch = TextBatch(found.text, ids, found.urls, records, found.extra)
        if found.causes:
            batch = batch.take(found.good)
        if len(batch):
            yield batch

    # WARC

    def _warc_file(self) -> Iterator[TextBatch]:
        split = self.part.split
        start, stop = (0, None) if split is None else (split.start, split.stop)
        rows = Rows(tuple(self._paths.extra), (self._batch_documents, self._batch_bytes))
        pages = PartPages(self._warc, kept=self._kept)
        items = pages.read(self.part.uri, self.part.compression, start=start, stop=stop)
        with closing(items):
            for number, item in items:
                self._read_page(rows, number, item)
                if rows.is_full:
                    yield rows.take()
        self.num_lines, self.warc_records = pages.num_records, pages.types
        if len(rows):
            yield rows.take()

    def _read_page(self, rows: Rows, number: int, item: Page | BadPage) -> None:
        if isinstance(item, BadPage):
            self._set_aside(number, item.cause, offset=item.offset, raw=item.raw)
            return
        self.num_records += 1
        id_ = item.id if self._paths.id is not None else self._made_id(number)
        about = {"warc": item.about}
        extra = tuple(json_at(about, keys) for keys in self._paths.extra.values())
        rows.append(Row(item.text, id_, item.url, extra), id_, number, len(item.text))

    # bad records

    def _lose(
        self, count: int, cause: str, *, offset: int | None = None, placed: bool = True
    ) -> None:
        """Set aside the next `count` records as one report; none at all still count as one."""
        self._set_aside(self.num_lines, cause, offset=offset, placed=placed)
        self.num_lines += count
        self.num_bad += max(0, count - 1)
        self.num_records += max(0, count - 1)

    def _in_file(self, record: int) -> int:
        """Turn a number within the part into one within the file, where the first is known."""
        return (self.part.first_record or 0) + record

    def _set_aside(
        self,
        record: int,
        cause: str,
        *,
        offset: int | None = None,
        raw: bytes = b"",
        placed: bool = True,
    ) -> None:
        """Count one bad record, then report it or stop; `placed` False: it is the file's fault."""
        self.num_records += 1
        self.num_bad += 1
        known = placed and self.part.first_record is not None
        bad = BadRecord(
            path=self.part.path,
            record=record,
            line=self._in_file(record) + 1 if known else None,
            offset=self._offset_in_file(offset),
            cause=cause,
            raw=raw[:RAW_BYTES],
        )
        if self._bad_records.policy == "fail":
            self._fail(bad, placed=placed)
        self._report(bad)

    def _offset_in_file(self, offset: int | None) -> int | None:
        split = self.part.split
        if offset is None or split is None or split.start == 0 or self.part.kind == "warc":
            return offset
        return split.start - 1 + offset if split.unit == "bytes" else None

    def _fail(self, bad: BadRecord, *, placed: bool) -> NoReturn:
        where = ""
        if self.part.kind == "warc":
            where = "" if bad.offset is None else f" WARC record at byte {bad.offset:,}:"
        elif placed:
            line = self._lines_before() + bad.record + 1 if bad.line is None else bad.line
            where = f" {'line' if self.part.kind == 'jsonl' else 'row'} {line}:"
        raise DataError(
            f"{self.part.uri}:{where} {bad.cause}. Mend it or leave the file out, or set "
            "on_bad_record: {policy: skip, max_frac: 0.001} to set bad records aside and go on."
        )

    def _lines_before(self) -> int:
        """Lines of the file before this part's first, counted by reading all of it up to there."""
        part, split = self.part, self.part.split
        if split is None or split.start == 0:
            return 0
        stop = split.start - 1 if split.unit == "bytes" else split.start
        blocks = read_blocks(part.uri, part.compression, stop=stop)
        try:
            return 1 + sum(block.count(b"\n") for block in blocks)
        except DamageError as damage:
            raise DataError(f"{part.uri}: {damage.cause}. Fetch or write the file again.") from None


def check_unchanged(part: Part) -> None:
    """Raise DataError for a file that is another than the one planned."""
    now = identify(part.uri)
    changed = [
        f"{key} was {was}, is {now.get(key, 'not known now')}"
        for key, was in part.identity.items()
        if now.get(key) != was
    ]
    if changed:
        raise DataError(
            f"{part.uri}: changed since the run was planned: {'; '.join(changed)}. Once nothing "
            "writes to it any more, run the same command again: it reads the file anew."
        )


def _keys(path: str) -> Keys:
    return tuple(path.split("."))
