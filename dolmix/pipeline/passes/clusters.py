"""The cluster pass: which documents are one, which of them stays, and what the others duplicate.

One task. Steps run in order: each drops only documents that the steps before it left, and keeps the
best of every cluster by its own `keep_by`. Clusters themselves are made of all documents that the
filters kept: two may hang together through one that an earlier step dropped.

Memory: 8 bytes a document for one step at a time (or `dedup_memory`, through files), and for the
documents that share a cluster their row: id, size, columns of `keep_by`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from dolmix.dedup.clusters import Members, cluster_members
from dolmix.dedup.signed import SignedParts
from dolmix.document import I64Array
from dolmix.files import commit
from dolmix.pipeline.context import TaskContext, TaskResult
from dolmix.pipeline.duplicates import Outcome, choose, write_results
from dolmix.pipeline.kept_rows import KeptRows
from dolmix.pipeline.passes.candidates import read_pairs
from dolmix.pipeline.passes.signatures import older_side, signed_parts
from dolmix.pipeline.scratch import scratch_folder

PAIRS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class _Found:
    """What one step found."""

    signed: SignedParts
    members: Members
    """Those of the older run's clusters and of the pairs found here, together."""
    pairs: int
    """Pairs found here, band by band."""

    @property
    def own(self) -> I64Array:
        """Numbers of the members that are this run's, counted from this run's first document."""
        numbers = self.members.documents - self.signed.own
        return numbers[numbers >= 0]


def choose_survivors(context: TaskContext) -> TaskResult:
    """Write, for every part, the documents that dedup drops and what each duplicates."""
    steps = context.plan.pipeline.document_steps
    found = [_find(context, number) for number in range(len(steps))]
    wanted = np.unique(np.concatenate([step.own for step in found]))
    rows = KeptRows.read(context, wanted)
    outcome = Outcome.nothing(rows)
    for number, step in enumerate(found):
        choose(context, number, (step.signed, step.members), outcome)
    together = _together(context, found)
    counts = {
        "documents": found[0].signed.num_documents - found[0].signed.own,
        "steps": {
            steps[number].label: {
                "comparable": sum(p.comparable for p in step.signed.parts[step.signed.num_old :]),
                "pairs": step.pairs,
                "clusters": step.members.num_clusters,
                "members": len(step.members.documents),
                "largest": int(np.bincount(step.members.labels, minlength=1).max()),
            }
            for number, step in enumerate(found)
        },
    }
    outputs, dropped = write_results(context, outcome, together)
    outputs |= _write_edges(context, found)
    return TaskResult(outputs, {**counts, **dropped})


def _find(context: TaskContext, step: int) -> _Found:
    """Find the clusters of one step."""
    signed = signed_parts(context.plan, step)
    pairs = 0

    def counted() -> Iterator[I64Array]:
        nonlocal pairs
        for block in _pairs(context, step):
            pairs += len(block)
            context.report(pairs=pairs)
            yield block

    old = older_side(context.plan, step)
    edges = () if old is None else (old.edges(),)
    members = _members(context, signed.num_documents, chain(edges, counted()))
    return _Found(signed, members, pairs)


def _members(context: TaskContext, num_documents: int, pairs: Iterator[I64Array]) -> Members:
    memory = context.plan.pipeline.dedup_memory
    with scratch_folder(context.run / "work" / "clusters") as folder:
        return cluster_members(num_documents, pairs, memory=memory, folder=folder)


def _pairs(context: TaskContext, step: int) -> Iterator[I64Array]:
    """Yield the pairs that one step found."""
    verified = context.plan.pipeline.document_steps[step].verifies
    for task in context.plan.tasks("verify" if verified else "candidates"):
        if verified or task.step == step:
            record = context.book.read(task.pass_name, task.key)
            kind = f"pairs-{step}" if verified else "pairs"
            path = context.run / record.outputs[kind]
            for start in range(0, path.stat().st_size // 16, PAIRS_AT_ONCE):
                yield read_pairs(path, start, PAIRS_AT_ONCE)


def _write_edges(context: TaskContext, found: list[_Found]) -> dict[str, Path]:
    """Write the clusters of each step as edges, for an index."""
    outputs = {}
    for number, step in enumerate(found):
        path = context.run / "work" / "clusters" / f"{number}-{context.task.key[:12]}.i64"
        data = np.ascontiguousarray(step.members.edges(), "<i8").tobytes()
        commit.write_bytes(path, data)
        outputs[f"edges-{number}"] = path
    return outputs


def _together(context: TaskContext, found: list[_Found]) -> Members:
    """Clusters of this run's documents over all steps together: the clusters of their clusters."""
    documents = found[0].signed.num_documents - found[0].signed.own

    def edges() -> Iterator[I64Array]:
        for step in found:
            own = step.members.documents >= step.signed.own
            numbers = step.members.documents[own] - step.signed.own
            # a cluster that begins in the older run begins here with its first document of this one
            _, first, place = np.unique(
                step.members.roots[own], return_index=True, return_inverse=True
            )
            yield np.column_stack((numbers[first][place], numbers))

    return _members(context, documents, edges())
