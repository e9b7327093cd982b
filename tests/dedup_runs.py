"""Runs of the dedup passes in this process: no workers to start, so tests take milliseconds."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import builders
import pyarrow.parquet as pq

from dolmix.config import parse
from dolmix.files import commit
from dolmix.pipeline.plan import Plan, Task, make_plan
from dolmix.pipeline.records import RecordBook
from dolmix.pipeline.reports import failure_path
from dolmix.pipeline.spec import Pipeline
from dolmix.pipeline.worker import run_task


def varied(seed: int, change: int = 0, ending: str = "") -> str:
    """Prose of which one word is another for every `change`."""
    words = builders.prose(seed, 150).split()
    words[change % len(words)] = f"changed{change}"
    return " ".join(words) + ending


def source(folder: Path, name: str, records: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Write a source's records; return its configuration."""
    return {"inputs": [str(builders.write_jsonl(folder / "in" / f"{name}.jsonl", records))]}


def pipeline(folder: Path, tokenizer: Path, name: str, **settings: Any) -> Pipeline:
    """Pipeline of small parts whose run goes to `folder / name`."""
    raw = builders.pipeline(folder / name, tokenizer, **{"part_bytes": 8000, **settings})
    return parse(Pipeline, raw, origin="test")


def run(made: Pipeline, *, last: str = "clusters") -> Plan:
    """Run the passes up to `last`, task by task; raise with the message of a task that fails."""
    plan = make_plan(made)
    plan.pipeline.output.mkdir(parents=True, exist_ok=True)
    plan.write()
    for name, tasks in plan.passes.items():
        for task in tasks:
            if not RecordBook(plan.pipeline.output).has(name, task.key):
                run_one(plan, task)
        if name == last:
            break
    return plan


def run_one(plan: Plan, task: Task, *, threads: int = 1) -> None:
    """Run one task; raise if it fails."""
    with patch.object(commit, "sync", _trust):  # most of the time of so small a task
        run_task(plan, task, threads=threads)
    failure = failure_path(plan.pipeline.output, task)
    if failure.exists():
        raise AssertionError(json.loads(failure.read_bytes())["message"])


def _trust(path: Path) -> None:
    """Leave it to the operating system when data reaches the disk."""
    del path


def rows(plan: Plan, folder: str = "duplicates") -> list[dict[str, Any]]:
    """All rows of a folder of decisions, as the record of the clusters pass lists its files."""
    record = RecordBook(plan.pipeline.output).read("clusters", plan.passes["clusters"][0].key)
    paths = [
        plan.pipeline.output / p for p in record.outputs.values() if f"decisions/{folder}/" in p
    ]
    return [{**row, "file": p.parent.name} for p in paths for row in pq.read_table(p).to_pylist()]


def dropped(plan: Plan, folder: str = "duplicates") -> set[tuple[Any, ...]]:
    """Tell what each document is dropped for: source, id, reason, survivor, similarity."""
    names = ("file", "id", "reason", "duplicate_of_source", "duplicate_of_id", "jaccard")
    return {tuple(row[name] for name in names) for row in rows(plan, folder)}
