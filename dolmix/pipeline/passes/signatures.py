"""The signature pass: one key a document and band for every dedup step, filter survivors only.

Keys are those of the texts as the filters left them.

Keys of a step are written band by band, so that a later task reads its own band alone.
"""

from pathlib import Path

import numpy as np

from dolmix.document import BoolArray, TextBatch, U64Array
from dolmix.files import commit
from dolmix.pipeline.context import TaskContext, TaskResult
from dolmix.pipeline.records import TaskRecord


def sign_part(context: TaskContext) -> TaskResult:
    """Compute the keys of one part's kept documents."""
    steps = context.plan.pipeline.dedup
    kept = context.kept_by_filters()
    folder = context.run / "work" / "signatures" / context.task.source
    keys = [[step.match_keys(TextBatch.of([]))] for step in steps]
    for batch in context.judged_batches():
        stop = batch.row + len(batch.original)
        rows = kept[batch.row : stop]
        if rows.any():
            seen = batch.take(rows)
            for step, blocks in zip(steps, keys, strict=True):
                blocks.append(step.match_keys(seen))
        context.report(documents=stop)
    outputs = {}
    for number, (step, blocks) in enumerate(zip(steps, keys, strict=True)):
        values = np.concatenate([block.values for block in blocks])
        valid = np.concatenate([block.valid for block in blocks])
        for kind, array in (("keys", values.swapaxes(0, 1)), ("valid", valid)):
            path = folder / f"{context.stem}.{step.label}.{kind}.npy"
            with commit.new_file(path) as attempt, attempt.open("wb") as file:
                np.save(file, np.ascontiguousarray(array))
            outputs[f"{kind}-{number}"] = path
    return TaskResult(outputs, {"documents": int(kept.sum())})


def read_band(run: Path, record: TaskRecord, step: int, band: int) -> tuple[U64Array, BoolArray]:
    """Read back one band of one step: keys (documents, width), and which of them are valid."""
    keys = np.load(run / record.outputs[f"keys-{step}"], mmap_mode="r")
    # a copy, so that the file is closed: there may be more parts than a process may have open
    return np.array(keys[band]), np.load(run / record.outputs[f"valid-{step}"])
