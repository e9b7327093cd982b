"""The signature pass: what every dedup step compares documents by, filter survivors only.

Keys are those of the texts as the filters left them. They are written sorted, band by band, so that
a later task reads the keys of its own band and range alone.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np

from dolmix.dedup import MatchKeys
from dolmix.dedup.base import Signed
from dolmix.dedup.index import StepIndex, open_index
from dolmix.dedup.runs import WIDEST, write_run
from dolmix.dedup.signed import SignedPart, SignedParts
from dolmix.document import TextBatch
from dolmix.files import commit
from dolmix.pipeline.context import TaskContext, TaskResult
from dolmix.pipeline.plan import Plan
from dolmix.pipeline.records import RecordBook, TaskRecord


def sign_part(context: TaskContext) -> TaskResult:
    """Compute keys and sketches of one part's kept documents."""
    kept = context.kept_by_filters()
    signing = Signing(context)
    for batch in context.judged_batches():
        stop = batch.row + len(batch.original)
        rows = kept[batch.row : stop]
        if rows.any():
            signing.add(signing.sign(batch.take(rows)))
        context.report(documents=stop)
    return signing.write()


class Signing:
    """Keys and sketches of one part's kept documents, as its signature task writes them.

    context  that of the signature task, or another's `beside("signatures")`
    """

    def __init__(self, context: TaskContext) -> None:
        self._context = context
        self._steps = context.plan.pipeline.document_steps
        self._signed = [[step.sign(TextBatch.of([]))] for step in self._steps]
        self._documents = 0

    def sign(self, texts: TextBatch) -> list[Signed]:
        """Sign documents as the filters left them, for each step; any thread may."""
        return [step.sign(texts) for step in self._steps]

    def add(self, signed: list[Signed]) -> None:
        """Take what is signed of the next documents of the part."""
        self._documents += len(signed[0].sketches)
        for blocks, block in zip(self._signed, signed, strict=True):
            blocks.append(block)

    def write(self) -> TaskResult:
        """Write the task's files."""
        outputs: dict[str, Path] = {}
        comparable, wide = [], []
        for number, (step, blocks) in enumerate(zip(self._steps, self._signed, strict=True)):
            keys = _joined(blocks)
            comparable.append(_write_keys(self._context, number, keys, outputs))
            wide.append(keys.values.shape[2] >= WIDEST)
            if step.sketch_bytes:
                sketches = np.concatenate([block.sketches for block in blocks])
                _write_sketches(self._context, number, sketches.tobytes(), outputs)
        counts = {"documents": self._documents, "comparable": comparable, "wide": wide}
        return TaskResult(outputs, counts)


def signed_parts(plan: Plan, step: int) -> SignedParts:
    """Everything that a step compares, once the signature pass is done."""
    index = older_side(plan, step)
    old = [] if index is None else index.parts
    return SignedParts([*old, *_own_parts(plan, step)], len(old))


def older_side(plan: Plan, step: int) -> StepIndex | None:
    """Index that a step compares against, None for one that has none."""
    dedup = plan.pipeline.document_steps[step]
    if dedup.against is None:
        return None
    where = f"dedup.{step}.against"
    return open_index(dedup.against, dedup, where=where, check_files=False)  # the plan did


def _own_parts(plan: Plan, step: int) -> list[SignedPart]:
    run = plan.pipeline.output
    records = _records(run, tuple(task.key for task in plan.passes["signatures"]))
    return [
        SignedPart(
            documents=record.counts["documents"],
            comparable=record.counts["comparable"][step],
            wide=record.counts["wide"][step],
            keys=run / record.outputs[f"keys-{step}"],
            sketches=_sketches(run, record, step),
        )
        for record in records
    ]


@lru_cache(maxsize=1)
def _records(run: Path, keys: tuple[str, ...]) -> list[TaskRecord]:
    """Read the records of the signature pass, once a process, however many tasks it runs."""
    book = RecordBook(run)
    return [book.read("signatures", key) for key in keys]


def _sketches(run: Path, record: TaskRecord, step: int) -> Path | None:
    path = record.outputs.get(f"sketches-{step}")
    return None if path is None else run / path


def _joined(blocks: list[Signed]) -> MatchKeys:
    return MatchKeys(
        np.concatenate([block.keys.values for block in blocks]),
        np.concatenate([block.keys.valid for block in blocks]),
    )


def _write_keys(context: TaskContext, step: int, keys: MatchKeys, outputs: dict[str, Path]) -> int:
    path = _path(context, f"{step}.run")
    outputs[f"keys-{step}"] = path
    with commit.new_file(path) as attempt:
        return write_run(attempt, keys)


def _write_sketches(context: TaskContext, step: int, data: bytes, outputs: dict[str, Path]) -> None:
    path = _path(context, f"{step}.u8")
    outputs[f"sketches-{step}"] = path
    commit.write_bytes(path, data)


def _path(context: TaskContext, ending: str) -> Path:
    folder = context.run / "work" / "signatures" / context.task.source
    return folder / f"{context.stem}.{ending}"
