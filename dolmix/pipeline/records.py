"""Which tasks are done: one immutable record per task key, written last.

A record is the commit of its task. It names the task's outputs (relative to the run's folder) and
what was counted; a record whose outputs are gone counts as not written. Nothing else decides what a
rerun does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from dolmix.errors import StoreError
from dolmix.files import commit


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """What one finished task left behind."""

    pass_name: str
    name: str
    key: str
    outputs: Mapping[str, str] = field(default_factory=dict)
    """Kind of output → path relative to the run's folder."""
    counts: Mapping[str, Any] = field(default_factory=dict)
    """What was counted; whole numbers, or mappings of them."""
    seconds: float = 0.0
    """Wall time of the task; for people, never part of a key."""
    steps: Mapping[str, float] = field(default_factory=dict)
    """How much of it each step took that the task tells apart; threads add up, and may be more."""


class RecordBook:
    """The records of one run, on disk under `records/<pass>/<key>.json`."""

    def __init__(self, run: Path) -> None:
        self.run = run

    def path(self, pass_name: str, key: str) -> Path:
        """Where the record of a task is, or will be."""
        return self.run / "records" / pass_name / f"{key}.json"

    def find(self, pass_name: str, key: str) -> TaskRecord | None:
        """Return the record of a finished task, None if it is not done or its outputs are gone."""
        data = self._data(pass_name, key)
        if data is None:
            return None
        record = TaskRecord(
            pass_name=data["pass"],
            name=data["name"],
            key=data["key"],
            outputs=data["outputs"],
            counts=data["counts"],
            seconds=data["seconds"],
            steps=data.get("steps", {}),
        )
        return record if all(self._stands(record, kind) for kind in record.outputs) else None

    def output(self, pass_name: str, key: str, kind: str) -> Path:
        """Path of one output of a task that must be done; only that output is looked at.

        Raises StoreError as `read` does.
        """
        data = self._data(pass_name, key)
        if data is None or not (self.run / data["outputs"][kind]).exists():
            raise self._absent(pass_name, key)
        return self.run / str(data["outputs"][kind])

    def _stands(self, record: TaskRecord, kind: str) -> bool:
        """Whether an output is there; of a store, whether it holds what the task committed."""
        path = self.run / record.outputs[kind]
        if record.pass_name not in {"store", "valid"}:
            return path.exists()
        try:
            manifest = orjson.loads((path / "manifest.json").read_bytes())
        except FileNotFoundError:
            return False
        return bool(manifest["content_hash"] == record.counts["content_hash"])

    def _data(self, pass_name: str, key: str) -> dict[str, Any] | None:
        try:
            data: dict[str, Any] = orjson.loads(self.path(pass_name, key).read_bytes())
        except FileNotFoundError:
            return None
        return data

    def _absent(self, pass_name: str, key: str) -> StoreError:
        return StoreError(
            f"{self.path(pass_name, key)}: no record of this {pass_name} task, or its outputs "
            f"are gone. Run the pipeline again: it does what has no record."
        )

    def has(self, pass_name: str, key: str) -> bool:
        """Tell whether a task is done and its outputs are there."""
        return self.find(pass_name, key) is not None

    def keys(self, pass_name: str) -> set[str]:
        """Keys of all records of a pass, from one look at the folder; for progress alone."""
        folder = self.path(pass_name, "").parent
        return {p.stem for p in folder.glob("[!.]*.json")} if folder.is_dir() else set()

    def read(self, pass_name: str, key: str) -> TaskRecord:
        """Return the record of a task that must be done already.

        Raises StoreError if it is not: a task ran before the pass that feeds it.
        """
        record = self.find(pass_name, key)
        if record is None:
            raise self._absent(pass_name, key)
        return record

    def write(self, record: TaskRecord) -> None:
        """Commit a task."""
        commit.write_json(
            self.path(record.pass_name, record.key),
            {
                "pass": record.pass_name,
                "name": record.name,
                "key": record.key,
                "outputs": dict(record.outputs),
                "counts": dict(record.counts),
                "seconds": round(record.seconds, 3),
                **({"steps": _rounded(record.steps)} if record.steps else {}),
            },
            indent=1,
        )


def _rounded(steps: Mapping[str, float]) -> dict[str, float]:
    return {step: round(seconds, 3) for step, seconds in steps.items()}
