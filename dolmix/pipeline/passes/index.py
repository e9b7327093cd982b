"""The index pass: what later runs need to dedup against this one, as a directory that stands alone.

The index of a run that was itself compared against an index has that one's documents first, so
runs can go on from each other for ever, each against the last.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dolmix.dedup.index import FOLDER, INDEX_FORMAT, KEPT, MANIFEST, StepIndex, step_identity
from dolmix.dedup.signed import SignedPart
from dolmix.errors import DataError
from dolmix.files import commit
from dolmix.pipeline.context import TaskContext, TaskResult
from dolmix.pipeline.kept_rows import whole_parts
from dolmix.pipeline.passes.signatures import older_side, signed_parts


def make_index(context: TaskContext) -> TaskResult:
    """Write the index of the run, replacing that of another configuration, and killed attempts."""
    olds = _older(context)
    final = context.run / FOLDER
    for path in (final, *context.run.glob(f".{FOLDER}.*{commit.ATTEMPT_SUFFIX}")):
        shutil.rmtree(path, ignore_errors=True)
    with commit.new_directory(final) as attempt:
        for name in ("keys", "sketches", "clusters", "documents"):
            (attempt / name).mkdir()
        parts = _write_steps(context, attempt)
        sources = _write_documents(context, attempt, olds)
        for part, source in zip(parts, sources, strict=True):
            part["source"] = source
        commit.write_json(attempt / MANIFEST, _manifest(context, attempt, parts))
        # tells the record of this task whose index it is: another configuration's takes its place
        (attempt / f"{context.task.key[:12]}.key").touch()
    outputs = {"index": final / MANIFEST, "key": final / f"{context.task.key[:12]}.key"}
    return TaskResult(outputs, {"documents": sum(part["documents"] for part in parts)})


def _older(context: TaskContext) -> StepIndex | None:
    """Return the index that all steps are compared against, None if they are against nothing.

    Raises DataError where steps differ in it: no one index could hold what they know.
    """
    steps = context.plan.pipeline.document_steps
    olds = [older_side(context.plan, number) for number in range(len(steps))]
    found = {None if old is None else old.folder.resolve() for old in olds}
    fits = all(old is None or old.number == number for number, old in enumerate(olds))
    if len(found) > 1 or not fits:
        named = ", ".join(
            "nothing" if path is None else str(path) for path in sorted(found, key=str)
        )
        raise DataError(
            f"dedup_index: the dedup steps are compared against different indexes ({named}), or "
            f"against other steps of one, and one index cannot hold what they know. Give all steps "
            f"the same 'against', with the steps in its order, or turn dedup_index off."
        )
    return olds[0]


def _write_steps(context: TaskContext, folder: Path) -> list[dict[str, Any]]:
    """Link keys, sketches and clusters of all steps; return what the manifest says of parts."""
    record = context.book.read("clusters", context.plan.passes["clusters"][0].key)
    parts: list[dict[str, Any]] = []
    for number in range(len(context.plan.pipeline.document_steps)):
        signed = signed_parts(context.plan, number)
        parts = parts or [{"documents": p.documents, "steps": []} for p in signed.parts]
        for place, part in enumerate(signed.parts):
            _link_part(part, folder, f"{number}-{place:05d}")
            facts = {"comparable": part.comparable, "wide": part.wide}
            parts[place]["steps"].append(facts)
        edges = context.run / record.outputs[f"edges-{number}"]
        _link(edges, folder / "clusters" / f"{number}.i64")
    return parts


def _link_part(part: SignedPart, folder: Path, stem: str) -> None:
    _link(part.keys, folder / "keys" / f"{stem}.run")
    if part.sketches is not None:
        _link(part.sketches, folder / "sketches" / f"{stem}.u8")


def _link(source: Path, target: Path) -> None:
    """Share a finished file, which nobody writes to again; copy it where that is not possible."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _write_documents(context: TaskContext, folder: Path, old: StepIndex | None) -> list[str]:
    """Write names and `keep_by` columns of all documents; return the source of each part."""
    before = [] if old is None else old.manifest["parts"]
    for place in range(len(before)):
        name = f"{place:05d}.parquet"
        assert old is not None
        _link(old.folder / "documents" / name, folder / "documents" / name)
    sources = [part["source"] for part in before]
    reasons = [f"{step.label}.duplicate" for step in context.plan.pipeline.document_steps]
    key = context.plan.passes["clusters"][0].key
    for source, part, rows in whole_parts(context):
        path = context.book.output("clusters", key, f"{source}/{part:05d}")
        drops = pq.read_table(path, columns=["record", "reason"]).combine_chunks()
        steps = pc.index_in(drops["reason"], value_set=pa.array(reasons, pa.string()))
        place = pc.index_in(rows["record"], value_set=drops["record"])
        by = pc.fill_null(pc.take(steps, place), KEPT)
        table = rows.drop_columns(["part", "record"]).append_column("dropped_by", by)
        pq.write_table(table, folder / "documents" / f"{len(sources):05d}.parquet")
        sources.append(source)
        context.report(documents=len(rows))
    return sources


def _manifest(context: TaskContext, folder: Path, parts: list[dict[str, Any]]) -> dict[str, Any]:
    files = {
        str(path.relative_to(folder)): {
            "bytes": path.stat().st_size,
            "digest": commit.file_digest(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    steps = [
        {"label": step.label, "sketch_bytes": step.sketch_bytes, **step_identity(step)}
        for step in context.plan.pipeline.document_steps
    ]
    return {"format": INDEX_FORMAT, "steps": steps, "parts": parts, "files": files}
