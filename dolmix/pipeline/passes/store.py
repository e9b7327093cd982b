"""The store pass: the survivors of one source in their keyed order, committed as one version.

Documents are numbered by (part, record) after all drops; position i of the store holds document
pi(i) of the permutation (seed, "docs", source). Held-out documents make a store of their own,
numbered among themselves.

Memory does not grow with the source: rows are first spread over files by the range of positions
that they fall into, then each range is put in order by itself.
"""

import shutil
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dolmix.document import BoolArray
from dolmix.files import commit
from dolmix.permute import Permutation
from dolmix.pipeline.context import TaskContext, TaskResult, widened
from dolmix.pipeline.passes.holdout import held_out
from dolmix.pipeline.passes.tokenize import tokenize_part
from dolmix.pipeline.plan import Plan
from dolmix.pipeline.records import TaskRecord
from dolmix.pipeline.spec import valid_name
from dolmix.pipeline.threads import ahead
from dolmix.pipeline.token_files import TokenFiles
from dolmix.pipeline.trust import engine_fault
from dolmix.shards import ParentFile, StoreWriter
from dolmix.tokenizer import load_tokenizer

RANGE_DOCUMENTS = 1 << 15
"""Documents of one range of positions, whose rows are in memory together."""
WAITING_ROWS = 1 << 16
"""Rows that wait to be written to the files of their ranges."""
APPEND_TOKENS = 1 << 22
"""Tokens appended to the store at once; a larger document comes alone."""
PLACE = ("position", "part", "start", "num_bytes", "num_tokens")
"""Columns of waiting rows that a store has no use for."""


def commit_store(context: TaskContext) -> TaskResult:
    """Write and commit one source's store; the same version with the same content is left alone."""
    return _commit(context, context.task.source, held=False)


def commit_valid(context: TaskContext) -> TaskResult:
    """Write and commit the store of one source's held-out documents."""
    return _commit(context, valid_name(context.task.source), held=True)


def _commit(context: TaskContext, name: str, *, held: bool) -> TaskResult:
    pipeline = context.plan.pipeline
    final = context.run / "stores" / f"{name}@{context.source.version}"
    pin = load_tokenizer(pipeline.tokenizer).pin()
    writer = StoreWriter(
        final,
        source=name,
        version=context.source.version,
        tokenizer=pin,
        special_in_text=pipeline.tokenizer.special_in_text,
        parents=parents(context.plan, context.task.source),
        shard_tokens=pipeline.shard_tokens,
        max_unk_frac=pipeline.max_unk_frac,
    )
    documents = 0
    with (
        writer,
        _Rows(context, name, held=held) as rows,
        closing(TokenFiles(rows.token_files, pin.dtype, most=APPEND_TOKENS)) as files,
        closing(ahead(partial(_with_tokens, files), rows.in_slices())) as read,
    ):
        for tokens, of in read:
            lengths, sizes = of["num_tokens"].to_numpy(), of["num_bytes"].to_numpy()
            writer.append(tokens, lengths, of.drop_columns(list(PLACE)), int(sizes.sum()))
            documents += len(of)
            context.report(documents=documents)
        manifest = writer.commit()
    totals = manifest.totals
    counts = {"documents": totals.documents, "tokens": totals.tokens, "bytes": totals.bytes}
    return TaskResult({"store": final}, {**counts, "content_hash": manifest.content_hash})


def parents(plan: Plan, source: str) -> list[ParentFile]:
    """Identity of every input file of a source, in order, without times."""
    files = {part.path: part for part in plan.parts[source]}
    return [
        ParentFile(path=path, size=part.identity["size"], digest=part.identity["digest"])
        for path, part in files.items()
    ]


def _slices(rows: pa.Table) -> Iterator[pa.Table]:
    """Cut rows into runs of bounded tokens; a document larger than that is alone."""
    ends = np.cumsum(rows["num_tokens"].to_numpy())
    start = 0
    while start < len(ends):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + APPEND_TOKENS, side="right")))
        yield rows.slice(start, stop - start)
        start = stop


def _with_tokens(files: TokenFiles, rows: pa.Table) -> tuple[NDArray[Any], pa.Table]:
    """Read the tokens of documents, in the order of the rows."""
    place = (rows[name].to_numpy() for name in ("part", "start", "num_tokens"))
    return files.gather(*place), rows


class _Rows:
    """Rows of the documents of one store, put in store order range by range."""

    def __init__(self, context: TaskContext, name: str, *, held: bool) -> None:
        self._records = list(_trusted_records(context))
        self.token_files = [context.run / record.outputs["tokens"] for record in self._records]
        self._documents = [context.run / r.outputs["documents"] for r in self._records]
        self._wanted = partial(_wanted, context, held=held)
        count = sum(
            int(self._wanted(part, record.counts["documents"]).sum())
            for part, record in enumerate(self._records)
        )
        seed = context.plan.pipeline.seed
        self._order = Permutation((seed, "docs", name), count)
        self._ranges = -(-count // RANGE_DOCUMENTS)
        self._scratch = commit.attempt_path(context.run / "work" / "store" / name)
        self._waiting: list[pa.Table] = []
        self._num_waiting = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)

    def in_slices(self) -> Iterator[pa.Table]:
        """Yield all rows in store order, cut into runs of bounded tokens."""
        for ordered in self._in_order():
            yield from _slices(ordered)

    def _in_order(self) -> Iterator[pa.Table]:
        """Yield the rows of each range of positions."""
        for rows in self._placed():
            self._waiting.append(rows)
            self._num_waiting += len(rows)
            if self._num_waiting >= WAITING_ROWS and self._ranges > 1:
                self._spill()
        if self._ranges > 1:
            self._spill()
        for number in range(self._ranges):
            rows = self._read(number)
            yield rows.sort_by("position").combine_chunks()

    def _placed(self) -> Iterator[pa.Table]:
        """Yield the rows of the wanted documents in reading order, with their place."""
        number = 0
        for part, path in enumerate(self._documents):
            with pq.ParquetFile(path) as file:
                wanted = self._wanted(part, file.metadata.num_rows)
                row = token = 0
                for batch in file.iter_batches():
                    rows = widened(pa.Table.from_batches([batch]))
                    lengths = rows["num_tokens"].to_numpy()
                    starts = token + np.cumsum(lengths) - lengths
                    mask = wanted[row : row + len(rows)]
                    chosen = int(mask.sum())
                    numbers = np.arange(number, number + chosen, dtype=np.uint64)
                    place = {
                        "position": self._order.inverse(numbers).astype(np.int64),
                        "part": np.full(chosen, part),
                        "start": starts[mask],
                    }
                    rows = rows.filter(pa.array(mask))
                    for column, values in place.items():
                        rows = rows.append_column(column, pa.array(values, pa.int64()))
                    yield rows
                    number, row = number + chosen, row + len(mask)
                    token += int(lengths.sum())

    def _spill(self) -> None:
        """Append the waiting rows to the files of their ranges."""
        if not self._waiting:
            return
        self._scratch.mkdir(parents=True, exist_ok=True)
        rows = pa.concat_tables(self._waiting)
        self._waiting, self._num_waiting = [], 0
        ranges = rows["position"].to_numpy() // RANGE_DOCUMENTS
        rows = rows.take(pa.array(np.argsort(ranges, kind="stable")))
        edges = np.concatenate([[0], np.cumsum(np.bincount(ranges, minlength=self._ranges))])
        for number in np.flatnonzero(np.diff(edges)).tolist():
            part = rows.slice(edges[number], edges[number + 1] - edges[number])
            with self._file(number).open("ab") as file, pa.ipc.new_stream(file, part.schema) as out:
                out.write_table(part)

    def _read(self, number: int) -> pa.Table:
        if self._ranges == 1:
            rows, self._waiting = pa.concat_tables(self._waiting), []
            return rows
        tables = []
        with self._file(number).open("rb") as file:
            size = self._file(number).stat().st_size
            while file.tell() < size:
                tables.append(pa.ipc.open_stream(file).read_all())
        return pa.concat_tables(tables)

    def _file(self, number: int) -> Path:
        return self._scratch / f"{number:06d}.arrows"


def _wanted(context: TaskContext, part: int, count: int, *, held: bool) -> BoolArray:
    """(count,) bool: which survivors of a part the store is of."""
    mask = np.zeros(count, np.bool_)
    mask[held_out(context, part)] = True
    return mask if held else ~mask


def _trusted_records(context: TaskContext) -> Iterator[TaskRecord]:
    """Yield the tokenize records of the source's parts, in order.

    Parts that a faster engine encoded before it was found out are done again by the reference: a
    store's bytes never depend on an engine.
    """
    source = context.task.source
    found_out = engine_fault(context.run) is not None
    for part in range(len(context.plan.parts[source])):
        record = context.record("tokenize", source, part)
        if found_out and record.counts.get("fast_documents", 0):
            task = context.plan.task("tokenize", source, part)
            again = TaskContext(context.plan, task, context.report_path)
            counts = tokenize_part(again).counts
            record = TaskRecord("tokenize", task.name, task.key, record.outputs, counts)
            context.book.write(record)
        yield record
