"""The tokenize pass: the surviving documents of one part as tokens, with where each came from.

Tokens are those of the texts as the filters left them, and so is `num_bytes`, which a store counts
its bytes per token by. Dropped texts are written as they were read.

The result is an intermediate of the run (`work/tokens/`), in reading order; the store pass gives
documents their place.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dolmix.document import BoolArray, I64Array, TextBatch
from dolmix.files import commit
from dolmix.pipeline.context import JudgedBatch, TaskContext, TaskResult
from dolmix.pipeline.kept_texts import kept_texts
from dolmix.pipeline.records import RecordBook
from dolmix.pipeline.trust import distrust_engine, trusted_tokenizer
from dolmix.shards.layout import TEXT_HASH
from dolmix.sources import check_unchanged
from dolmix.text.hashes import text_hashes
from dolmix.tokenizer import Tokenizer

GROUP_ROWS = 1 << 14
"""Rows beside the tokens that are written at once, and so read at once by the store pass."""


def tokenize_part(context: TaskContext) -> TaskResult:
    """Encode the survivors of one part; write the dropped texts too where the pipeline asks.

    If a faster engine turns out to give other ids than the reference, the part is done again by the
    reference, and the run's other tasks are told.
    """
    tokenizer = trusted_tokenizer(context)
    result = _encode_part(context, tokenizer)
    if tokenizer.disagreement is not None:
        distrust_engine(context.run, context.task.name, tokenizer.disagreement)
        result = _encode_part(context, trusted_tokenizer(context))
    return result


def _encode_part(context: TaskContext, tokenizer: Tokenizer) -> TaskResult:
    pipeline = context.plan.pipeline
    before = tokenizer.fast_documents
    reasons = context.reasons(final=True)
    kept: BoolArray = np.asarray(pc.is_null(reasons).to_numpy(zero_copy_only=False), np.bool_)
    folder = context.run / "work" / "tokens" / context.task.source
    outputs = {
        "tokens": folder / f"{context.stem}.tok",
        "documents": folder / f"{context.stem}.parquet",
    }
    if pipeline.keep_dropped:
        outputs["excluded"] = (
            context.run / "excluded" / context.task.source / f"{context.stem}.parquet"
        )
    rows, clock = _Rows(context, reasons), context.clock
    num_tokens = 0
    with ExitStack() as stack:
        attempts = {k: stack.enter_context(commit.new_file(p)) for k, p in outputs.items()}
        tokens = stack.enter_context(attempts["tokens"].open("wb"))
        documents = stack.enter_context(_Documents(attempts["documents"], rows.schema))
        excluded = None
        if "excluded" in attempts:
            excluded = stack.enter_context(pq.ParquetWriter(attempts["excluded"], rows.excluded))
        for batch, survivors, numbers in clock.each("read", _survivors(context, kept)):
            with clock.step("encode"):
                ids, lengths = tokenizer.encode(survivors)
                tokens.write(ids.data)
            with clock.step("write rows"):
                documents.add(rows.documents(survivors, lengths, numbers))
            if excluded is not None and batch is not None:
                mask = kept[batch.row : batch.row + len(batch.original)]
                excluded.write_table(rows.dropped(batch.original, ~mask, batch.row))
            num_tokens += len(ids)
            context.report(documents=int(numbers[-1]) + 1 if len(numbers) else 0, tokens=num_tokens)
    fast = tokenizer.fast_documents - before
    counts = {"documents": int(kept.sum()), "tokens": num_tokens, "fast_documents": fast}
    return TaskResult(outputs, counts)


def _survivors(
    context: TaskContext, kept: BoolArray
) -> Iterator[tuple[JudgedBatch | None, TextBatch, I64Array]]:
    """Yield the documents that stay and their rows in the decisions, batch by batch.

    With what was read, where the part had to be read again.
    """
    aside = kept_texts(context)
    if aside is not None:
        check_unchanged(context.part)
        for rows, texts in aside:
            stays = kept[rows]
            yield None, texts.take(stays), rows[stays]
        return
    for batch in context.judged_batches(final=True):
        mask = kept[batch.row : batch.row + len(batch.original)]
        yield batch, batch.take(mask), batch.row + np.flatnonzero(mask)


class _Documents:
    """Writes rows in large groups: a batch may hold a few documents alone."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._file = pq.ParquetWriter(path, schema)
        self._waiting = [schema.empty_table()]
        self._num_waiting = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._file:
            if kind is None:
                self._write()

    def add(self, rows: pa.Table) -> None:
        """Take the rows of the next documents."""
        self._waiting.append(rows)
        self._num_waiting += len(rows)
        if self._num_waiting >= GROUP_ROWS:
            self._write()

    def _write(self) -> None:
        rows = pa.concat_tables(self._waiting)
        self._waiting, self._num_waiting = [rows.schema.empty_table()], 0
        if len(rows):
            self._file.write_table(rows)


class _Rows:
    """Builds the rows that go beside the tokens and beside the dropped texts."""

    def __init__(self, context: TaskContext, reasons: pa.Array) -> None:
        self.part = context.part
        self.reasons = reasons
        self.first_record = _first_record(context)
        known = context.source.column_names()
        self.kept_columns = [c for c in context.plan.pipeline.keep_columns if c in known]
        self.values = pa.table({})
        if self.kept_columns:
            self.values = context.decisions(self.kept_columns).replace_schema_metadata()
        place = [
            pa.field("id", pa.string()),
            pa.field("url", pa.string()),
            pa.field("path", pa.string()),
            pa.field("record", pa.int64()),
        ]
        numbers = [
            pa.field("num_bytes", pa.int64()),
            pa.field("num_tokens", pa.int64()),
            pa.field(TEXT_HASH, pa.uint64()),
        ]
        self.schema = pa.schema([*place, *numbers, *self.values.schema])
        self.excluded = pa.schema(
            [*place, pa.field("reason", pa.string()), pa.field("text", pa.large_string())]
        )

    def _place(self, batch: TextBatch) -> dict[str, Any]:
        return {
            "id": batch.ids,
            "url": batch.urls,
            "path": pa.array([self.part.path] * len(batch), pa.string()),
            "record": pa.array(batch.records + self.first_record),
        }

    def documents(self, batch: TextBatch, lengths: np.ndarray, rows: np.ndarray) -> pa.Table:
        """Rows of surviving documents, by their row numbers within the part."""
        values = self.values.take(pa.array(rows)) if self.kept_columns else self.values
        columns = self._place(batch) | {
            "num_bytes": pa.array(batch.num_bytes),
            "num_tokens": pa.array(lengths.astype(np.int64)),
            TEXT_HASH: pa.array(text_hashes(batch)),
            **{name: values[name] for name in self.kept_columns},
        }
        return pa.table(columns).cast(self.schema)

    def dropped(self, batch: TextBatch, rows: BoolArray, start: int) -> pa.Table:
        """Rows of dropped documents, with text and reason."""
        gone = batch.take(rows)
        reasons = self.reasons.take(pa.array(start + np.flatnonzero(rows)))
        return pa.table({**self._place(gone), "reason": reasons, "text": gone.text}, self.excluded)


def _first_record(context: TaskContext) -> int:
    """Record number, within its file, of the part's first record."""
    part = context.part
    if part.first_record is not None:
        return part.first_record
    parts = context.plan.parts[context.task.source]
    keys = tuple(
        context.plan.task("filter", context.task.source, number).key
        for number, other in enumerate(parts)
        if other.path == part.path
    )
    return _lines_before(context.run, keys)[context.upstream("filter").key]


@lru_cache(maxsize=1)
def _lines_before(run: Path, keys: tuple[str, ...]) -> dict[str, int]:
    """Lines of a file before each of its parts, by the parts' keys; read once a process."""
    book = RecordBook(run)
    lines = [book.read("filter", key).counts["lines"] for key in keys]
    return dict(zip(keys, accumulate(lines, initial=0), strict=False))
