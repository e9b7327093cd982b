"""One part of a run as it was decided: rows of the filters, of dedup, what was held out, the store.

Files are read when they are first asked for and kept, so that many documents of a part cost little
more than one. Of passes that are not done nothing is known.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dolmix.document import I64Array, TextBatch
from dolmix.errors import DolmixError
from dolmix.filters.base import EDIT, Filter
from dolmix.pipeline.context import TaskContext
from dolmix.pipeline.edit_lines import Span
from dolmix.pipeline.explained import Explanation, Outcome
from dolmix.pipeline.limits import judging_filters
from dolmix.pipeline.passes.holdout import held_out
from dolmix.pipeline.plan import Plan, Task
from dolmix.pipeline.records import RecordBook, TaskRecord
from dolmix.pipeline.spec import valid_name
from dolmix.shards import Store, open_store

MOST_LIKE = 5_000
"""Ids that are compared with one that is not there."""


class PartView:
    """What a run decided about the documents of one part, by row of its decisions."""

    def __init__(self, plan: Plan, source: str, part: int) -> None:
        """Look at a part whose filter task is done."""
        self.plan = plan
        self.source = source
        self.part = part
        self.path = plan.parts[source][part].path
        self.filters: tuple[Filter, ...] = judging_filters(plan, source)
        task = Task("why", f"{source}/{part:05d}", "", source, part)
        self._context = TaskContext(plan, task, Path())
        self._book = RecordBook(plan.pipeline.output)

    @cached_property
    def _table(self) -> pa.Table:
        return self._context.decisions().combine_chunks()

    @property
    def num_documents(self) -> int:
        """Documents that the filters judged."""
        return len(self._table)

    def record(self, row: int) -> int:
        """Record number within the part."""
        return int(self._table["record"][row].as_py())

    def row_of(self, record: int) -> int | None:
        """Row of a record of the part; None if it holds no document."""
        records = self._table["record"].to_numpy()
        row = int(np.searchsorted(records, record))
        return row if row < len(records) and records[row] == record else None

    @cached_property
    def first_record(self) -> int:
        """Record number, within its file, of the part's first record."""
        part = self.plan.parts[self.source][self.part]
        if part.first_record is not None:
            return part.first_record
        before = [
            number
            for number, other in enumerate(self.plan.parts[self.source][: self.part])
            if other.path == part.path
        ]
        records = (self._context.record("filter", self.source, number) for number in before)
        return sum(int(record.counts["lines"]) for record in records)

    def column(self, name: str, row: int) -> pa.Array:
        """(1,) the value of one column."""
        return self._table[name].chunk(0).slice(row, 1)

    def values(self, row: int, names: Sequence[str]) -> dict[str, Any]:
        """Values of some columns."""
        return {name: self._table[name][row].as_py() for name in names}

    @property
    def column_names(self) -> list[str]:
        """Names of the columns of the decisions."""
        names: list[str] = self._table.column_names
        return names

    def url(self, row: int) -> str | None:
        """URL of a document where a later pass wrote it down: kept, or under `keep_dropped`."""
        task = self.plan.task("tokenize", self.source, self.part)
        record = self._book.find("tokenize", task.key)
        outputs = {} if record is None else record.outputs
        number = self.first_record + self.record(row)
        for kind in ("documents", "excluded"):
            if kind in outputs:
                table = pq.read_table(self._book.run / outputs[kind], columns=["record", "url"])
                found = table.filter(pc.equal(table["record"], number))["url"]
                if len(found):
                    return None if found[0].as_py() is None else str(found[0])
        return None

    # edits

    def edits(self, row: int, marks: dict[str, Any] | None) -> Iterator[tuple[str, list[Span]]]:
        """Yield name and spans of each edit that changed the document, the last being all of it."""
        names = [(f.label, f"{f.label}.{EDIT}") for f in self.filters if f.has_edit]
        found = [(label, self._table[name][row].as_py()) for label, name in names]
        step = self.plan.pipeline.paragraph_step
        if marks is not None and step is not None:
            found.append((step.label, marks[f"{step.label}.{EDIT}"]))
        for label, spans in found:
            if spans is not None:
                yield label, [(s["start"], s["stop"], s["put"]) for s in spans]

    def edit_counts(
        self, label: str, row: int, marks: dict[str, Any] | None
    ) -> dict[str, int | None]:
        """Count what one edit did, by bare name."""
        for filter_ in self.filters:
            if filter_.label == label:
                counts = self.values(row, [f"{label}.{c}" for c in filter_.edit_counts()])
                return {name.partition(".")[2]: count for name, count in counts.items()}
        names = [f"{label}.duplicate_units", f"{label}.duplicate_bytes"]
        return {name.partition(".")[2]: (marks or {}).get(name) for name in names}

    def text(self, row: int) -> tuple[str | None, str]:
        """Read the original text of a document; if that fails, None and why."""
        batch, note = self.read(row)
        return (None if batch is None else str(batch.text[0].as_py())), note

    def read(self, row: int) -> tuple[TextBatch | None, str]:
        """Read one document from the input, as a batch of one; if that fails, None and why."""
        try:
            for batch in self._context.judged_batches():
                if row < batch.row + len(batch.original):
                    return batch.original.take(np.array([row - batch.row])), ""
        except DolmixError as error:
            return None, f"its text cannot be read: {error}"
        return None, "its text cannot be read: the input has fewer documents"

    # dedup

    def duplicates(self, record: int, *, dropped: bool) -> list[dict[str, Any]]:
        """Rows of dedup about a record: of steps that drop, or of those that only report."""
        return (self._dropped if dropped else self._reported).get(record, [])

    @cached_property
    def _dropped(self) -> dict[int, list[dict[str, Any]]]:
        return self._drops("")

    @cached_property
    def _reported(self) -> dict[int, list[dict[str, Any]]]:
        return self._drops("reported/")

    def _drops(self, prefix: str) -> dict[int, list[dict[str, Any]]]:
        record = self._done("clusters")
        kind = f"{prefix}{self.source}/{self.part:05d}"
        if record is None or kind not in record.outputs:
            return {}
        found: dict[int, list[dict[str, Any]]] = {}
        for row in pq.read_table(self._book.run / record.outputs[kind]).to_pylist():
            found.setdefault(row["record"], []).append(row)
        return found

    def marks(self, record: int) -> dict[str, Any] | None:
        """Row of paragraph dedup about a record; None if it did not judge it."""
        return self._marks.get(record)

    @cached_property
    def _marks(self) -> dict[int, dict[str, Any]]:
        if "paragraph_marks" not in self.plan.passes:
            return {}
        task = self.plan.task("paragraph_marks", self.source, self.part)
        record = self._book.find("paragraph_marks", task.key)
        if record is None:
            return {}
        table = pq.read_table(self._book.run / record.outputs["marks"])
        return {row["record"]: row for row in table.to_pylist()}

    def _done(self, pass_name: str) -> TaskRecord | None:
        """Record of a pass of one task, if the plan has it and it is done."""
        tasks = self.plan.passes.get(pass_name, [])
        return self._book.find(pass_name, tasks[0].key) if tasks else None

    # the end

    def end(self, row: int, reason: str | None) -> tuple[Outcome, tuple[str, int] | None]:
        """Say where a document ended, and its store and number if it is in one."""
        if reason is not None:
            return "dropped", None
        held = self._held_rows
        if held is None:
            return "not decided yet", None
        is_held = bool(np.isin(row, held))
        name = valid_name(self.source) if is_held else self.source
        pass_name = "valid" if is_held else "store"
        number = self._number(pass_name, row)
        if number is None:
            return "not decided yet", None
        version = self.plan.pipeline.sources[self.source].version
        return ("held out" if is_held else "kept"), (f"stores/{name}@{version}", number)

    @cached_property
    def _held_rows(self) -> I64Array | None:
        """Rows of the documents that are held out; None while that is not decided."""
        try:
            reasons = self._context.reasons(final=True)
            survivors = np.flatnonzero(reasons.is_null().to_numpy(zero_copy_only=False))
            return np.asarray(survivors[held_out(self._context, self.part)], np.int64)
        except DolmixError:
            return None

    @cached_property
    def _stores(self) -> dict[str, Store | None]:
        """Store of each pass that commits one; None where it is not committed."""
        found: dict[str, Store | None] = {}
        for pass_name in ("store", "valid"):
            tasks = [t for t in self.plan.passes.get(pass_name, []) if t.source == self.source]
            record = self._book.find(pass_name, tasks[0].key) if tasks else None
            path = None if record is None else self._book.run / record.outputs["store"]
            found[pass_name] = None if path is None else open_store(path)
        return found

    def _number(self, pass_name: str, row: int) -> int | None:
        store = self._stores[pass_name]
        if store is None:
            return None
        record = self.first_record + self.record(row)
        rows = store.provenance(store.find_id(self.values(row, ["id"])["id"]))
        mine = (r.document for r in rows if (r.path, r.record) == (self.path, record))
        return next(mine, None)


class Places:
    """Looks documents up over all parts of a run that are judged."""

    def __init__(self, plan: Plan) -> None:
        """Note which parts are judged."""
        book = RecordBook(plan.pipeline.output)
        tasks = plan.passes["filter"]
        done = [t for t in tasks if book.has("filter", t.key)]
        self.num_waiting = len(tasks) - len(done)
        self._plan = plan
        self._book = book
        self._tasks = done

    def by_id(self, document: str) -> list[tuple[PartView, int]]:
        """Find the documents with an id: part and row."""
        found: list[tuple[PartView, int]] = []
        for task, ids in self._ids():
            rows = np.flatnonzero(pc.equal(ids, document).to_numpy(zero_copy_only=False))
            if len(rows):
                view = PartView(self._plan, task.source, task.part)
                found += [(view, int(row)) for row in rows]
        return found

    def by_record(self, document: str) -> list[tuple[PartView, int]]:
        """Find documents by `file:record`: the file's name or path, its record's number from 0."""
        return [
            (view, row)
            for view, record in self._records(document)
            if (row := view.row_of(record)) is not None
        ]

    def bad_record(self, document: str) -> Explanation | None:
        """Find a bad record by `file:record`."""
        for view, record in self._records(document):
            task = self._plan.task("filter", view.source, view.part)
            path = self._book.read("filter", task.key).outputs.get("bad_records")
            lines = (self._plan.pipeline.output / path).read_bytes() if path else b""
            for bad in map(orjson.loads, lines.splitlines()):
                if bad["record"] == record:
                    number = view.first_record + record
                    place = (view.source, document, view.path, number, 0)
                    return Explanation(*place, outcome="bad record", reason=bad["cause"])
        return None

    def like(self, document: str) -> list[str]:
        """Give a few ids that look like one that is not there."""
        start = document[: max(1, len(document) // 2)]
        near: list[str] = []
        for _, ids in self._ids():
            has = pc.or_(pc.starts_with(ids, start), pc.match_substring(ids, document))
            near += ids.filter(has).to_pylist()[: MOST_LIKE - len(near)]
            near += ids.slice(0, 20).to_pylist()
        return get_close_matches(document, dict.fromkeys(near), n=3, cutoff=0.6)

    def _ids(self) -> Iterator[tuple[Task, pa.Array]]:
        for task in self._tasks:
            path = self._book.output("filter", task.key, "decisions")
            yield task, pq.read_table(path, columns=["id"])["id"].combine_chunks()

    def _records(self, document: str) -> Iterator[tuple[PartView, int]]:
        """Yield the parts that hold a record of a file, and its number in each."""
        name, _, number = document.rpartition(":")
        if not name or not number.isdecimal():
            return
        for task in self._tasks:
            part = self._plan.parts[task.source][task.part]
            if name in {part.path, part.uri, part.path.rpartition("/")[2]}:
                view = PartView(self._plan, task.source, task.part)
                lines = self._book.read("filter", task.key).counts["lines"]
                with suppress(DolmixError):  # parts before it that are not judged yet
                    if 0 <= (record := int(number) - view.first_record) < lines:
                        yield view, record
