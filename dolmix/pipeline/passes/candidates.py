"""The candidate pass: for one band and key range of one dedup step, which documents share a key.

A task reads the keys of its own band and range from every part and holds a limited number of them,
so its memory does not depend on the corpus. Pairs are written as raw (P, 2) i64, the smaller number
first; those that are to be verified sorted by their larger number, that one first.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dolmix.dedup.edge_files import block_size, read_edges, sorted_edges, write_edges
from dolmix.dedup.external import Search, external_pairs
from dolmix.document import I64Array
from dolmix.files import commit
from dolmix.pipeline.context import TaskContext, TaskResult
from dolmix.pipeline.passes.signatures import signed_parts
from dolmix.pipeline.plan import key_ranges
from dolmix.pipeline.scratch import scratch_folder

STAR = 1
"""Members of a group that each other one is paired with: enough for clusters."""
COMPARED = 8
"""The same where pairs are verified: a false pair must not hide the true ones of its group."""


EDGE_MEMORY = 256 << 20
"""Bytes for sorting pairs, where they are verified."""


def find_candidates(context: TaskContext) -> TaskResult:
    """Write the candidate pairs of one band and key range."""
    task, pipeline = context.task, context.plan.pipeline
    step = pipeline.document_steps[task.step]
    signed = signed_parts(context.plan, task.step)
    search = Search(
        band=task.band,
        range_=task.key_range,
        ranges=key_ranges(pipeline, context.plan.parts),
        first=COMPARED if step.verifies else STAR,
        own=signed.own,
    )
    pairs = 0

    def counted() -> Iterator[I64Array]:
        nonlocal pairs
        for block in external_pairs(signed.runs(), search):
            pairs += len(block)
            context.report(pairs=pairs)
            yield block

    outputs = _write_both(context, counted()) if step.verifies else _write(context, counted())
    return TaskResult(outputs, {"pairs": pairs})


def read_pairs(path: Path, start: int = 0, count: int = -1) -> I64Array:
    """Read pairs that a task wrote, (P, 2) int64: `count` from `start`, all without a count."""
    size = count if count < 0 else 2 * count
    return np.fromfile(path, "<i8", size, offset=16 * start).astype(np.int64).reshape(-1, 2)


def _write(context: TaskContext, pairs: Iterator[I64Array]) -> dict[str, Path]:
    path = _path(context, "pairs")
    with commit.new_file(path) as attempt:
        write_edges(attempt, pairs)
    return {"pairs": path}


def _write_both(context: TaskContext, pairs: Iterator[I64Array]) -> dict[str, Path]:
    """Write pairs by their later document, that one first, and the documents that are in any."""
    outputs = {kind: _path(context, kind) for kind in ("pairs", "documents")}
    with (
        scratch_folder(outputs["pairs"].parent) as folder,
        commit.new_file(outputs["pairs"]) as by_pair,
        commit.new_file(outputs["documents"]) as by_document,
    ):
        turned = (block[:, ::-1] for block in pairs)
        write_edges(by_pair, sorted_edges(turned, memory=EDGE_MEMORY, folder=folder))
        blocks = read_edges(by_pair, block_size(EDGE_MEMORY) // 4)
        alone = (np.repeat(np.unique(block)[:, None], 2, axis=1) for block in blocks)
        write_edges(by_document, sorted_edges(alone, memory=EDGE_MEMORY, folder=folder))
    return outputs


def _path(context: TaskContext, kind: str) -> Path:
    task = context.task
    stem = f"{task.step}-{task.band:03d}-{task.key_range:04d}-{task.key[:12]}"
    return context.run / "work" / "candidates" / f"{stem}.{kind}.i64"
