"""The signature pass: one key a document and band for every dedup step, filter survivors only.

Keys of a step are written band by band, so that a later task reads its own band alone.
"""

from pathlib import Path
from typing import IO

import numpy as np

from dolmix.dedup import Dedup, MatchKeys
from dolmix.document import TextBatch
from dolmix.files import commit
from dolmix.pipeline.context import TaskContext, TaskResult


def sign_part(context: TaskContext) -> TaskResult:
    """Compute the keys of one part's kept documents."""
    steps = context.plan.pipeline.dedup
    kept = context.kept_by_filters()
    folder = context.run / "work" / "signatures" / context.task.source
    keys: list[list[MatchKeys]] = [[] for _ in steps]
    row = 0
    for batch in context.open_part():
        rows = kept[row : row + len(batch)]
        row += len(batch)
        if rows.any():
            seen = batch if rows.all() else batch.take(rows)
            for step, blocks in zip(steps, keys, strict=True):
                blocks.append(step.match_keys(seen))
        context.report(documents=row)
    outputs = {}
    for number, (step, blocks) in enumerate(zip(steps, keys, strict=True)):
        path = folder / f"{context.stem}.{step.label}.keys"
        with commit.new_file(path) as attempt, attempt.open("wb") as file:
            _write(file, step, blocks)
        outputs[f"keys-{number}"] = path
    return TaskResult(outputs, {"documents": int(kept.sum())})


def _write(file: IO[bytes], step: Dedup, blocks: list[MatchKeys]) -> None:
    """Write `values` (bands, documents, width) and then `valid` (documents,) as two .npy arrays."""
    none = step.match_keys(TextBatch.of([]))
    values = np.concatenate([none.values, *(b.values for b in blocks)])
    np.save(file, np.ascontiguousarray(values.swapaxes(0, 1)))
    np.save(file, np.concatenate([none.valid, *(b.valid for b in blocks)]))


def read_band(path: Path, band: int) -> MatchKeys:
    """Read back one band: `values` (documents, 1, width), `valid` (documents,)."""
    with path.open("rb") as file:
        values = np.load(file)
        valid = np.load(file)
    return MatchKeys(values[band][:, None, :], valid)
