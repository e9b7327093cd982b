"""What a running task sees: the plan, its own task, the run's folder, earlier records."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolmix.document import BoolArray, TextBatch
from dolmix.errors import DataError
from dolmix.files import commit
from dolmix.files.parquet import read_table
from dolmix.filters.base import EDIT, Filter
from dolmix.pipeline.clock import Clock
from dolmix.pipeline.decisions import last_edit
from dolmix.pipeline.limits import judging_filters
from dolmix.pipeline.plan import Plan, Task, digest_of
from dolmix.pipeline.records import RecordBook, TaskRecord
from dolmix.pipeline.spec import Source
from dolmix.sources import BadRecord, Part, PartReader, Warc, read_part
from dolmix.text.edits import Edits, edited

REPORT_EVERY_S = 0.5


def _ignore(record: BadRecord) -> None:
    """Pass over a bad record that the filter pass has set aside already."""


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What a task made: output files by kind (absolute paths below the run) and counts."""

    outputs: Mapping[str, Path] = field(default_factory=dict)
    counts: Mapping[str, Any] = field(default_factory=dict)
    also: Mapping[str, "TaskResult"] = field(default_factory=dict)
    """Results of tasks of later passes over the same part, by pass, that were made on the way."""


@dataclass(frozen=True, slots=True)
class JudgedBatch:
    """Documents that the filter pass judged, read again."""

    row: int
    """Row of the first document in the decisions."""
    original: TextBatch
    """The documents as they were read."""
    edits: Edits
    """What all filters together changed, and paragraph dedup too where that was asked for, as spans
    of the original."""

    def take(self, rows: BoolArray) -> TextBatch:
        """Choose documents by mask, with their texts as the filters left them."""
        return edited(self.original, self.edits, only=rows)


@dataclass
class TaskContext:
    """One task in its run."""

    plan: Plan
    task: Task
    report_path: Path
    clock: Clock = field(default_factory=Clock)
    threads: int = 1
    """Threads that the task may keep busy."""
    _reported: float = 0.0

    @cached_property
    def run(self) -> Path:
        """The run's folder."""
        return self.plan.pipeline.output

    @cached_property
    def book(self) -> RecordBook:
        """Records of the run."""
        return RecordBook(self.run)

    @property
    def source(self) -> Source:
        """Configuration of the task's source."""
        return self.plan.pipeline.sources[self.task.source]

    @cached_property
    def filters(self) -> tuple[Filter, ...]:
        """Filters of the task's source as they judge, with the limits that the run found."""
        return judging_filters(self.plan, self.task.source)

    @property
    def part(self) -> Part:
        """The task's part."""
        return self.plan.parts[self.task.source][self.task.part]

    @property
    def stem(self) -> str:
        """File name stem of the task's outputs: part number and the start of its key."""
        return f"{self.task.part:05d}-{self.task.key[:12]}"

    def upstream(self, pass_name: str) -> TaskRecord:
        """Record of the task of another pass over the same part."""
        return self.record(pass_name, self.task.source, self.task.part)

    def record(self, pass_name: str, source: str, part: int) -> TaskRecord:
        """Record of one part's task in an earlier pass."""
        return self.book.read(pass_name, self.plan.task(pass_name, source, part).key)

    def beside(self, pass_name: str) -> "TaskContext":
        """Context of another pass's task over the same part."""
        task = self.plan.task(pass_name, self.task.source, self.task.part)
        return TaskContext(self.plan, task, self.report_path, self.clock)

    def all_parts(self) -> list[tuple[str, int]]:
        """Every part of the run as (source, number), in the order that numbers documents."""
        return [(s, n) for s, parts in self.plan.parts.items() for n in range(len(parts))]

    def open_part(self, report: Callable[[BadRecord], None] = _ignore) -> PartReader:
        """Open the task's part for reading, with the record fields that its filters ask for."""
        extra = sorted({path for f in self.source.filters for path in f.fields()})
        bad = self.plan.pipeline.on_bad_record
        if self.part.kind != "warc":
            return read_part(self.part, self.source.fields, extra, bad, report)
        kept = self.run / "work" / "pages" / f"{self._pages_digest}.parquet"
        warc = self.source.warc or Warc()
        return read_part(
            self.part, self.source.fields, extra, bad, report, warc=warc, kept_pages=kept
        )

    @cached_property
    def _pages_digest(self) -> str:
        """Digest of what decides the pages of the task's WARC part, whatever filters do."""
        where = {key: value for key, value in self.part.to_json().items() if key != "uri"}
        return digest_of({"reading": self.source.reading(), "part": where})

    def decisions(self, columns: list[str] | None = None) -> pa.Table:
        """Decisions of the filter pass on the task's part; one row a document, in reading order."""
        path = self.run / self.upstream("filter").outputs["decisions"]
        return read_table(path, columns)

    def judged_batches(self, *, final: bool = False) -> Iterator["JudgedBatch"]:
        """Read the part again, batch by batch, with the edits that the filters made.

        final  with those of paragraph dedup too; its passes must be done

        Raises DataError if the documents are not those that the filter pass judged.
        """
        names = self.source.edit_names()
        decided = self.decisions(["record", *names]).combine_chunks()
        if final and self.plan.pipeline.paragraph_step is not None:
            column = f"{self.plan.pipeline.paragraph_step.label}.{EDIT}"
            decided = decided.append_column(column, self._marks(decided["record"], column))
            names = [*names, column]
        records = decided["record"].to_numpy()
        row = 0
        for batch in self.open_part():
            rows = decided.slice(row, len(batch))
            if not np.array_equal(batch.records, records[row : row + len(batch)]):
                raise self._other_documents()
            columns = [rows[name].combine_chunks() for name in names]
            edits = last_edit(columns) if columns else Edits.none(len(batch))
            yield JudgedBatch(row, batch, edits)
            row += len(batch)
        if row != len(records):
            raise self._other_documents()

    def reasons(self, *, final: bool = False) -> pa.Array:
        """Reason per document of the part after filters and dedup of documents; null = it stays.

        final  after paragraph dedup too; its passes must be done
        """
        decided = self.decisions(["record", "reason"])
        reasons = decided["reason"].combine_chunks()
        if self.plan.pipeline.document_steps:
            key = self.plan.passes["clusters"][0].key
            path = self.book.output("clusters", key, f"{self.task.source}/{self.task.part:05d}")
            drops = read_table(path, ["record", "reason"]).combine_chunks()
            place = pc.index_in(decided["record"], value_set=drops["record"].combine_chunks())
            reasons = pc.coalesce(reasons, drops["reason"].take(place).combine_chunks())
        if final and self.plan.pipeline.paragraph_step is not None:
            reasons = pc.coalesce(reasons, self._marks(decided["record"], "reason"))
        return reasons

    def _marks(self, records: pa.ChunkedArray, column: str) -> pa.Array:
        """Column of the mark pass, a row a record; null where that pass had no such document."""
        path = self.run / self.upstream("paragraph_marks").outputs["marks"]
        marks = read_table(path, ["record", column]).combine_chunks()
        place = pc.index_in(records, value_set=marks["record"].combine_chunks())
        return marks[column].combine_chunks().take(place.combine_chunks())

    def _other_documents(self) -> DataError:
        return DataError(
            f"{self.part.path}: holds other documents than when the filters judged it. Leave "
            f"inputs alone during a run, and run again."
        )

    def kept_by_filters(self) -> BoolArray:
        """(documents of the part,) bool: no filter dropped it."""
        reasons = self.decisions(["reason"])["reason"].combine_chunks()
        return np.asarray(reasons.is_null().to_numpy(zero_copy_only=False), np.bool_)

    def report(self, **facts: int | str) -> None:
        """Tell the parent how far the task is; cheap, at most twice a second."""
        now = time.monotonic()
        if now - self._reported >= REPORT_EVERY_S:
            self._reported = now
            about = {"task": self.task.name, "pid": os.getpid()}
            commit.write_note(self.report_path, {**facts, **about})


def widened(table: pa.Table) -> pa.Table:
    """Give text columns 64-bit offsets, so that many documents fit one array; drop metadata."""
    fields = [
        pa.field(f.name, pa.large_string() if pa.types.is_string(f.type) else f.type)
        for f in table.schema
    ]
    return table.cast(pa.schema(fields))
