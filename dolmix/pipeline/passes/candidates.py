"""The candidate pass: for one band of one dedup step, which documents share a key.

Documents are numbered over all parts of the run, survivors of the filters only, in the order of
sources, parts and records; the numbers never depend on who computed what when.
"""

import numpy as np

from dolmix.dedup import candidate_pairs
from dolmix.files import commit
from dolmix.pipeline.context import TaskContext, TaskResult
from dolmix.pipeline.passes.signatures import read_band


def find_candidates(context: TaskContext) -> TaskResult:
    """Write the star edges `(pairs, 2)` of one band."""
    task = context.task
    values, valid, documents = [], [], 0
    for source, part in context.all_parts():
        record = context.record("signatures", source, part)
        keys, comparable = read_band(context.run, record, task.step, task.band)
        values.append(keys)
        valid.append(comparable)
        documents += len(comparable)
        context.report(documents=documents)
    numbers = np.flatnonzero(np.concatenate(valid))
    pairs = candidate_pairs(np.concatenate(values)[numbers], numbers)
    path = context.run / "work" / "candidates" / f"{task.step}-{task.band:03d}-{task.key[:12]}.npy"
    with commit.new_file(path) as attempt, attempt.open("wb") as file:
        np.save(file, pairs)
    return TaskResult({"pairs": path}, {"pairs": len(pairs)})
