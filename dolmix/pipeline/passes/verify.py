"""Verification: the shingles pass and the verify pass, for dedup steps with `verify: true`.

The one writes the shingle sets of the documents that are in any candidate pair, and reads only
parts that hold such; the other compares the candidates and leaves those that are as alike as the
step's threshold says. What is left is exact: no pair below the threshold.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dolmix.dedup import MinHash
from dolmix.dedup.edge_files import sorted_edges
from dolmix.dedup.shingles import ShingleFiles, shingle_sets
from dolmix.document import I64Array
from dolmix.files import commit
from dolmix.pipeline.context import TaskContext, TaskResult
from dolmix.pipeline.passes.candidates import EDGE_MEMORY
from dolmix.pipeline.passes.signatures import signed_parts
from dolmix.pipeline.plan import Plan
from dolmix.pipeline.records import RecordBook
from dolmix.pipeline.scratch import scratch_folder


def verified_steps(plan: Plan) -> list[tuple[int, MinHash]]:
    """List the steps whose candidates are compared, with their numbers."""
    steps = enumerate(plan.pipeline.document_steps)
    return [(n, step) for n, step in steps if isinstance(step, MinHash) and step.verifies]


def write_shingles(context: TaskContext) -> TaskResult:
    """Write the sets of one part's documents that are in a candidate pair."""
    outputs: dict[str, Path] = {}
    documents = 0
    for number, step in verified_steps(context.plan):
        wanted = _wanted(context, number)
        documents += len(wanted)
        outputs |= _write_sets(context, (number, step), wanted)
    return TaskResult(outputs, {"documents": documents})


def verify_pairs(context: TaskContext) -> TaskResult:
    """Compare the candidate pairs whose later document is in the part; write those that hold."""
    outputs: dict[str, Path] = {}
    candidates = verified = 0
    for number, step in verified_steps(context.plan):
        files = shingle_files(context.plan, number)
        folder = context.run / "work" / "verified" / context.task.source
        path = folder / f"{context.stem}-{number}.i64"
        with (
            scratch_folder(folder) as scratch,
            commit.new_file(path) as attempt,
            attempt.open("wb") as file,
        ):
            blocks = _pairs_of_part(context, number)
            for block in sorted_edges(blocks, memory=EDGE_MEMORY, folder=scratch):
                held = block[files.jaccard(block) >= step.threshold]
                file.write(np.ascontiguousarray(held[:, ::-1], "<i8").tobytes())
                candidates += len(block)
                verified += len(held)
                context.report(pairs=candidates)
        outputs[f"pairs-{number}"] = path
    return TaskResult(outputs, {"pairs": candidates, "verified": verified})


def shingle_files(plan: Plan, step: int) -> ShingleFiles:
    """Open the sets of all parts, once the shingles pass is done."""
    book = RecordBook(plan.pipeline.output)
    stems = []
    for task in plan.passes["shingles"]:
        path = book.output("shingles", task.key, f"shingles-{step}")
        stems.append(path.with_suffix(""))
    return ShingleFiles(signed_parts(plan, step).starts, stems)


def _bounds(context: TaskContext, step: int) -> tuple[int, int]:
    """Numbers of the part's documents, [start, stop)."""
    starts = signed_parts(context.plan, step).starts
    place = context.all_parts().index((context.task.source, context.task.part))
    return int(starts[place]), int(starts[place + 1])


def _slices(context: TaskContext, step: int, kind: str) -> Iterator[I64Array]:
    """Yield what the candidate tasks wrote about the part's documents, (n, 2) each."""
    bounds = _bounds(context, step)
    for task in context.plan.tasks("candidates"):
        if task.step != step:
            continue
        path = context.book.output("candidates", task.key, kind)
        if path.stat().st_size:
            rows = np.memmap(path, "<i8", mode="r").reshape(-1, 2)
            start, stop = np.searchsorted(rows[:, 0], bounds)
            yield np.array(rows[start:stop], np.int64)


def _pairs_of_part(context: TaskContext, step: int) -> Iterator[I64Array]:
    yield from _slices(context, step, "pairs")


def _wanted(context: TaskContext, step: int) -> I64Array:
    """Numbers of the part's documents that are in any candidate pair, ascending."""
    found = [rows[:, 0] for rows in _slices(context, step, "documents")]
    return np.unique(np.concatenate([np.empty(0, np.int64), *found]))


def _write_sets(
    context: TaskContext, step: tuple[int, MinHash], wanted: I64Array
) -> dict[str, Path]:
    """Write the sets of the wanted documents; the part is read only if there are any."""
    number, minhash = step
    stem = context.run / "work" / "shingles" / context.task.source / f"{context.stem}-{number}"
    ends = [np.empty(0, np.int64)]
    size = 0
    values = stem.with_suffix(".u64")
    with commit.new_file(values) as attempt, attempt.open("wb") as file:
        for texts_values, texts_ends in _sets(context, minhash, wanted, _bounds(context, number)):
            file.write(np.ascontiguousarray(texts_values, "<u8").tobytes())
            ends.append(texts_ends + size)
            size += len(texts_values)
    for kind, array in (("documents", wanted), ("ends", np.concatenate(ends))):
        path = Path(f"{stem}.{kind}.npy")
        with commit.new_file(path) as attempt, attempt.open("wb") as file:
            np.save(file, array)
    made = {f"shingles-{number}": values}
    return made | {f"{kind}-{number}": Path(f"{stem}.{kind}.npy") for kind in ("documents", "ends")}


def _sets(
    context: TaskContext, step: MinHash, wanted: I64Array, bounds: tuple[int, int]
) -> Iterator[tuple[np.ndarray, I64Array]]:
    """Yield the sets of the wanted documents, batch by batch, with their ends in the batch."""
    if not len(wanted):
        return
    chosen = np.zeros(bounds[1] - bounds[0], np.bool_)
    chosen[wanted - bounds[0]] = True
    rows = context.kept_by_filters()
    rows[np.flatnonzero(rows)] = chosen
    for batch in context.judged_batches():
        mask = rows[batch.row : batch.row + len(batch.original)]
        if mask.any():
            yield shingle_sets(batch.take(mask), step.ngram)
        context.report(documents=batch.row + len(batch.original))
