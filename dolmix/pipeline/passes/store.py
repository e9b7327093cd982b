"""The store pass: the survivors of one source in their keyed order, committed as one version.

Documents are numbered by (part, record) after all drops; position i of the store holds document
pi(i) of the permutation (seed, "docs", source).
"""

from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dolmix.document import I64Array
from dolmix.permute import Permutation
from dolmix.pipeline.context import TaskContext, TaskResult, widened
from dolmix.pipeline.plan import Plan
from dolmix.shards import ParentFile, StoreWriter
from dolmix.tokenizer import Tokenizer

DOCUMENTS_AT_ONCE = 4096
OPEN_FILES = 32
"""Token files of parts that are mapped at once; a source may have any number of parts."""


def commit_store(context: TaskContext) -> TaskResult:
    """Write and commit one source's store; the same version with the same content is left alone."""
    pipeline, name = context.plan.pipeline, context.task.source
    survivors = _Survivors(context)
    final = context.run / "stores" / f"{name}@{context.source.version}"
    order = Permutation((pipeline.seed, "docs", name), survivors.count)
    writer = StoreWriter(
        final,
        source=name,
        version=context.source.version,
        tokenizer=Tokenizer(pipeline.tokenizer).pin(),
        special_in_text=pipeline.tokenizer.special_in_text,
        parents=parents(context.plan, name),
        shard_tokens=pipeline.shard_tokens,
        max_unk_frac=pipeline.max_unk_frac,
    )
    with writer:
        for start in range(0, survivors.count, DOCUMENTS_AT_ONCE):
            stop = min(start + DOCUMENTS_AT_ONCE, survivors.count)
            numbers = order.forward(np.arange(start, stop, dtype=np.uint64)).astype(np.int64)
            writer.append(*survivors.take(numbers))
            context.report(documents=stop)
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


class _Survivors:
    """All surviving documents of a source, addressed by number; token files are memory-mapped."""

    def __init__(self, context: TaskContext) -> None:
        self.dtype = Tokenizer(context.plan.pipeline.tokenizer).pin().dtype
        tables, self.paths = [], []
        for part in range(len(context.plan.parts[context.task.source])):
            record = context.record("tokenize", context.task.source, part)
            tables.append(widened(pq.read_table(context.run / record.outputs["documents"])))
            self.paths.append(context.run / record.outputs["tokens"])
        self.documents = pa.concat_tables(tables).combine_chunks()
        self.count = len(self.documents)
        self.part = np.repeat(np.arange(len(tables)), [len(t) for t in tables])
        lengths = [t["num_tokens"].to_numpy() for t in tables]
        self.lengths: I64Array = np.concatenate([np.zeros(0, np.int64), *lengths])
        self.starts: I64Array = np.concatenate(
            [np.zeros(0, np.int64), *[np.cumsum(n) - n for n in lengths]]
        )
        self.sizes = self.documents["num_bytes"].to_numpy()
        self._open = lru_cache(maxsize=OPEN_FILES)(self._map)

    def take(self, numbers: I64Array) -> tuple[NDArray[Any], I64Array, pa.Table, int]:
        """Tokens, lengths, rows and text bytes of documents, in the order asked for."""
        starts, lengths = self.starts[numbers], self.lengths[numbers]
        target = np.cumsum(lengths) - lengths
        tokens = np.empty(int(lengths.sum()), self.dtype)
        for at in np.argsort(self.part[numbers], kind="stable"):  # part by part: few files open
            start, length = starts[at], lengths[at]
            piece = self._open(int(self.part[numbers[at]]))[start : start + length]
            tokens[target[at] : target[at] + length] = piece
        rows = self.documents.take(pa.array(numbers)).drop_columns(["num_bytes", "num_tokens"])
        return tokens, lengths, rows, int(self.sizes[numbers].sum())

    def _map(self, part: int) -> NDArray[Any]:
        return np.memmap(self.paths[part], self.dtype, mode="r")
