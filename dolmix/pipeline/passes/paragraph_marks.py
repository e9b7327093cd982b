"""The mark pass of paragraph dedup: what every document of one part loses, as an edit column.

Spans are of the original text, filters' edits included, so that the text that a store trains on
still follows from the input and one column alone.
"""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dolmix.dedup.paragraphs import REASONS, Paragraphs, Verdicts, range_starts
from dolmix.document import BoolArray, U8Array
from dolmix.files import commit
from dolmix.filters.base import EDIT
from dolmix.pipeline.context import TaskContext, TaskResult
from dolmix.pipeline.decisions import last_edit
from dolmix.pipeline.passes.paragraph_hashes import NO_KEY, paragraph_step, read_runs
from dolmix.text.edits import EDIT_TYPE, Edits, compose
from dolmix.text.units import Units

COLUMNS = {
    "units": pa.int64(),
    "duplicate_units": pa.int64(),
    "duplicate_bytes": pa.int64(),
    "duplicate_frac": pa.float64(),
    EDIT: EDIT_TYPE,
}
"""Bare columns by type, one row a document that this step judged."""


def mark_part(context: TaskContext) -> TaskResult:
    """Write the part's edits, counts and reasons."""
    step = paragraph_step(context)
    hashed = context.upstream("paragraph_hashes")
    seen = _seen(context, step)
    schema = _schema(step)
    name = f"{context.stem}.parquet"
    path = context.run / "decisions" / "paragraphs" / context.task.source / name
    tally = _Tally(step, context)
    units = pq.ParquetFile(context.run / hashed.outputs["units"])
    with units, commit.new_file(path) as attempt, pq.ParquetWriter(attempt, schema) as writer:
        start = 0
        for group, size in enumerate(hashed.counts["runs"]):
            rows = units.read_row_group(group)
            found, duplicate = _read_units(rows, seen[start : start + size])
            verdicts = step.verdicts(found, duplicate)
            start += size
            writer.write_table(tally.add(rows["record"], verdicts).cast(schema))
            context.report(documents=tally.documents)
    return TaskResult({"marks": path}, tally.counts())


def _seen(context: TaskContext, step: Paragraphs) -> BoolArray:
    """Tell for every key of the part's runs, in their order, whether an earlier run has it."""
    runs = read_runs(context.run, context.upstream("paragraph_hashes"))
    seen = np.zeros(sum(map(len, runs)), np.bool_)
    number = context.all_parts().index((context.task.source, context.task.part))
    starts = range_starts(step.tasks)
    cuts = [[*np.searchsorted(keys, starts).tolist(), len(keys)] for keys in runs]
    for task in context.plan.tasks("paragraph_groups"):
        record = context.book.read("paragraph_groups", task.key)
        offsets = np.load(context.run / record.outputs["offsets"], mmap_mode="r")
        with (context.run / record.outputs["seen"]).open("rb") as file:
            file.seek(int(offsets[number]))
            size = int(offsets[number + 1] - offsets[number])
            found: U8Array = np.frombuffer(file.read(size), np.uint8)
        at = place = 0
        for keys, cut in zip(runs, cuts, strict=True):
            low, high = cut[task.key_range : task.key_range + 2]
            seen[place + low : place + high] = found[at : at + high - low]
            at += high - low
            place += len(keys)
    return seen


def _read_units(rows: pa.Table, seen: BoolArray) -> tuple[Units, BoolArray]:
    """Units of a run, and which of them are duplicates."""
    starts, stops, places, repeats = (
        rows[name].combine_chunks() for name in ("starts", "stops", "places", "repeats")
    )
    counts = starts.value_lengths().to_numpy()
    where = places.flatten().to_numpy()
    units = Units(
        starts=starts.flatten().to_numpy(),
        stops=stops.flatten().to_numpy(),
        keys=np.zeros(len(where), np.uint64),
        long=where != NO_KEY,
        ends=np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
    )
    duplicate = repeats.flatten().to_numpy(zero_copy_only=False).copy()
    duplicate[units.long] |= seen[where[units.long]]
    return units, duplicate


def _schema(step: Paragraphs) -> pa.Schema:
    about = {"step": step.type, "version": str(step.version), "definition": step.definition}
    columns = [pa.field(f"{step.label}.{c}", t, metadata=about) for c, t in COLUMNS.items()]
    return pa.schema([("record", pa.int64()), *columns, ("reason", pa.string())])


class _Tally:
    """Turns verdicts into rows, and counts them."""

    def __init__(self, step: Paragraphs, context: TaskContext) -> None:
        self.documents = 0
        self._step = step
        self._edit_names = context.source.edit_names()
        columns = ["record", "num_bytes", *self._edit_names]
        self._decided = context.decisions(columns).combine_chunks()
        self._reasons = pa.array([f"{step.label}.{reason}" for reason in REASONS])
        self._dropped: Counter[str] = Counter()
        self._dropped_bytes: Counter[str] = Counter()
        self._edits = Counter(documents=0, removed_bytes=0)
        self._sums = Counter(units=0, duplicate_units=0, duplicate_bytes=0)

    def add(self, records: pa.ChunkedArray, verdicts: Verdicts) -> pa.Table:
        """Rows of some documents, in order."""
        at = pc.index_in(records.combine_chunks(), value_set=self._decided["record"])
        decided = self._decided.take(at)
        before = [decided[name].combine_chunks() for name in self._edit_names]
        first = last_edit(before) if before else Edits.none(len(decided))
        edits = compose(first, verdicts.edits)
        dropped = pa.array(verdicts.reason, mask=verdicts.reason < 0)
        self._count(decided["num_bytes"].to_numpy(), verdicts)
        label = self._step.label
        return pa.table(
            {
                "record": records,
                f"{label}.units": verdicts.units,
                f"{label}.duplicate_units": verdicts.duplicate_units,
                f"{label}.duplicate_bytes": verdicts.duplicate_bytes,
                f"{label}.duplicate_frac": verdicts.duplicate_frac,
                f"{label}.{EDIT}": edits.to_column(unchanged=~verdicts.edits.changed),
                "reason": self._reasons.take(dropped),
            }
        )

    def _count(self, num_bytes: Any, verdicts: Verdicts) -> None:
        self.documents += len(verdicts.units)
        for number, reason in enumerate(self._reasons.to_pylist()):
            rows = verdicts.reason == number
            if rows.any():
                self._dropped[reason] += int(rows.sum())
                self._dropped_bytes[reason] += int(num_bytes[rows].sum())
        kept = verdicts.reason < 0
        self._edits["documents"] += int((verdicts.edits.changed & kept).sum())
        self._edits["removed_bytes"] += int(verdicts.edits.removed_bytes[kept].sum())
        for name in self._sums:
            self._sums[name] += int(getattr(verdicts, name).sum())

    def counts(self) -> dict[str, Any]:
        """Give the counts of the part as its record holds them."""
        return {
            "documents": self.documents,
            "dropped": dict(self._dropped),
            "dropped_bytes": dict(self._dropped_bytes),
            "edits": dict(self._edits),
            "edit_counts": dict(self._sums),
        }
