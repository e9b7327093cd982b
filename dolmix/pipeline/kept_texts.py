"""Texts that the filters kept, set aside while they are there, so that they are not read again.

A file in `work/texts/` for a part, named after its filter task's key, holds the documents that the
filters kept, with their texts as the filters left them. Nothing depends on it: where it is absent
the part is read again, and a run that is done removes the folder.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from dolmix.document import I64Array, TextBatch
from dolmix.files import commit
from dolmix.pipeline.context import TaskContext
from dolmix.pipeline.scratch import TEXTS
from dolmix.pipeline.spec import Pipeline

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("record", pa.int64()),
        ("id", pa.string()),
        ("url", pa.string()),
        ("text", pa.large_string()),
    ]
)
"""`row` is the document's row in the decisions of its part.

Not compressed: for text that is read once and soon, lz4 takes six times as long and saves two
fifths of the space.
"""

Keep: TypeAlias = Callable[[I64Array, TextBatch], None]
"""Sets documents aside: their rows in the decisions, and the documents."""


def wanted(pipeline: Pipeline) -> bool:
    """Whether texts as the filters left them are all that the tokenize pass needs."""
    return not pipeline.keep_dropped and pipeline.paragraph_step is None


@contextmanager
def keeping_texts(context: TaskContext) -> Iterator[Keep]:
    """Give a filter task what sets its survivors aside."""
    with (
        commit.new_file(_path(context)) as attempt,
        pa.ipc.new_file(str(attempt), SCHEMA) as writer,
    ):

        def keep(rows: I64Array, texts: TextBatch) -> None:
            columns = [pa.array(rows), pa.array(texts.records)]
            columns += [texts.ids, texts.urls, texts.text]
            writer.write_batch(pa.record_batch(columns, schema=SCHEMA))

        yield keep


def kept_texts(context: TaskContext) -> Iterator[tuple[I64Array, TextBatch]] | None:
    """Rows in the decisions, and documents, batch by batch; None where nothing was set aside."""
    path = _path(context)
    return _read(path) if wanted(context.plan.pipeline) and path.exists() else None


def _path(context: TaskContext) -> Path:
    stem = context.beside("filter").stem
    return context.run / TEXTS / context.task.source / f"{stem}.arrow"


def _read(path: Path) -> Iterator[tuple[I64Array, TextBatch]]:
    with pa.ipc.open_file(str(path)) as file:
        for number in range(file.num_record_batches):
            batch = file.get_batch(number)
            rows, records = (np.asarray(batch[name].to_numpy()) for name in ("row", "record"))
            yield rows, TextBatch(batch["text"], batch["id"], batch["url"], records, {})
