"""The documents of one source of a run, all of them or those that nothing dropped.

All documents are taken as they were read, kept ones as they train: after the edits of filters and
of paragraph dedup. Parts whose filter task is not done are left out.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dolmix.document import BoolArray, I64Array, TextBatch
from dolmix.filters.base import EDIT
from dolmix.pipeline.context import TaskContext
from dolmix.pipeline.decisions import last_edit
from dolmix.pipeline.plan import Plan, Task
from dolmix.pipeline.records import RecordBook, TaskRecord
from dolmix.report.texts import Unit
from dolmix.shards.reader import Store, open_store

DECIDING = ("clusters", "paragraph_marks")
"""Passes behind the filters that drop documents."""


class RunSource:
    """Reads what a run wrote down of one source, part by part."""

    def __init__(self, plan: Plan, name: str, *, kept: bool) -> None:
        """Look at the parts that are judged.

        kept  only the documents that nothing dropped; every pass that drops must be done for it
        """
        self.name = name
        self.plan = plan
        self.kept = kept
        self._book = RecordBook(plan.pipeline.output)
        tasks = plan.tasks("filter", name)
        self._tasks = [t for t in tasks if self._book.has("filter", t.key)]
        self.num_waiting = len(tasks) - len(self._tasks)
        """Parts that are not judged yet."""

    @cached_property
    def num_documents(self) -> int:
        """Documents that the filters judged."""
        records = (self._book.read("filter", task.key) for task in self._tasks)
        return sum(int(record.counts["documents"]) for record in records)

    @cached_property
    def is_decided(self) -> bool:
        """Whether every pass that drops documents is done."""
        tasks = [t for name in DECIDING for t in self.plan.passes.get(name, [])]
        return not self.num_waiting and all(self._book.has(t.pass_name, t.key) for t in tasks)

    def tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield these columns of the documents, part by part."""
        for task in self._tasks:
            context = self._context(task)
            table = context.decisions(list(columns))
            yield table.filter(pa.array(_stays(context))) if self.kept else table

    def sizes(self) -> Iterator[I64Array]:
        """Yield the bytes of the documents' texts, (n,) int64, part by part."""
        for task in self._tasks:
            context = self._context(task)
            table = context.decisions(["record", "num_bytes", *self._edit_names])
            sizes: I64Array = table["num_bytes"].to_numpy()
            if self.kept:
                sizes = (sizes - self._removed(context, table))[_stays(context)]
            yield sizes

    def judged(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield these columns, and `kept` (bool), null as long as that is not decided."""
        for task, table in zip(self._tasks, self.tables(columns), strict=True):
            kept = pa.nulls(len(table), pa.bool_())
            if self.kept:
                kept = pa.array(np.ones(len(table), np.bool_))
            elif self.is_decided:
                kept = pa.array(_stays(self._context(task)))
            yield table.append_column("kept", kept)

    def units(self) -> list[Unit]:
        """Give what reads the texts of each part."""
        return [self._unit(task) for task in self._tasks]

    def stores(self) -> list[Store]:
        """Open the stores that hold the kept documents; none before all are committed."""
        found = []
        for pass_name in ("store", "valid"):
            for task in self.plan.passes.get(pass_name, []):
                if task.source == self.name:
                    record = self._book.find(pass_name, task.key)
                    if record is None:
                        return []
                    found.append(open_store(self._book.run / record.outputs["store"]))
        return found

    def excluded(self) -> list[Path] | None:
        """Files of the dropped documents; None where they were not kept, or not all are there."""
        if not self.plan.pipeline.keep_dropped:
            return None
        tasks = self.plan.tasks("tokenize", self.name)
        records = [self._book.find("tokenize", task.key) for task in tasks]
        found = [self._book.run / r.outputs["excluded"] for r in records if r is not None]
        return found if len(found) == len(tasks) else None

    def cluster_files(self, prefix: str) -> list[Path]:
        """Files of the dedup pass about this source's parts.

        prefix  what of them: `` its drops, `reported/` those of steps that drop nothing,
                `clusters/` who shares a cluster
        """
        record = self.clusters()
        if record is None:
            return []
        kinds = [f"{prefix}{self.name}/{n:05d}" for n in range(len(self.plan.parts[self.name]))]
        return [self._book.run / record.outputs[k] for k in kinds if k in record.outputs]

    def clusters(self) -> TaskRecord | None:
        """Record of the dedup pass over all sources, if the run has it and it is done."""
        tasks = self.plan.passes.get("clusters", [])
        return self._book.find("clusters", tasks[0].key) if tasks else None

    @cached_property
    def _edit_names(self) -> list[str]:
        return self.plan.pipeline.sources[self.name].edit_names() if self.kept else []

    def _context(self, task: Task) -> TaskContext:
        about = Task("stats", task.name, "", self.name, task.part)
        return TaskContext(self.plan, about, Path())

    def _removed(self, context: TaskContext, table: pa.Table) -> I64Array:
        """(documents of the part,) int64: bytes by which all edits together shorten each text."""
        columns = [table[name].combine_chunks() for name in self._edit_names]
        step = self.plan.pipeline.paragraph_step
        if step is not None:
            path = context.run / context.upstream("paragraph_marks").outputs["marks"]
            marks = pq.read_table(path, columns=["record", f"{step.label}.{EDIT}"])
            records, edits = (marks[name].combine_chunks() for name in marks.column_names)
            place = pc.index_in(table["record"].combine_chunks(), value_set=records)
            columns.append(edits.take(place))
        if not columns:
            return np.zeros(len(table), np.int64)
        return last_edit(columns).removed_bytes

    def _unit(self, task: Task) -> Unit:
        return lambda: self._texts(task)

    def _texts(self, task: Task) -> Iterator[TextBatch]:
        context = self._context(task)
        if not self.kept:
            yield from (batch.original for batch in context.judged_batches())
            return
        stays = _stays(context)
        for batch in context.judged_batches(final=True):
            yield batch.take(stays[batch.row : batch.row + len(batch.original)])


def _stays(context: TaskContext) -> BoolArray:
    """(documents of the part,) bool: nothing dropped it."""
    reasons = context.reasons(final=True)
    return np.asarray(reasons.is_null().to_numpy(zero_copy_only=False), np.bool_)
