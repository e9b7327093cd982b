"""The index of a finished run: what later runs need to dedup new data against its documents.

A directory that stands alone: key runs, sketches, clusters and names of every document that the
filters of the run kept, whatever dedup did with it afterwards. Comparing against it gives what
dedup of both runs' documents together would give, with the older ones protected. It is versioned
and holds the settings that its keys depend on; a step with other settings is refused field by
field.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from dolmix.dedup.base import Dedup
from dolmix.dedup.signed import SignedPart
from dolmix.document import I64Array
from dolmix.errors import UsageError
from dolmix.files.commit import file_digest

INDEX_FORMAT = "dolmix-dedup-index-1"
FOLDER = "dedup-index"
"""Name of the index within a run's folder."""
MANIFEST = "manifest.json"
KEPT = -1
"""`dropped_by` of a document that dedup kept."""


def step_identity(step: Dedup) -> dict[str, Any]:
    """Name everything that a step's keys depend on, as plain data."""
    return {
        "settings": {key: _plain(value) for key, value in step.key_settings().items()},
        "version": step.version,
        "definition": step.definition,
        "digests": step.digests(),
    }


def _plain(value: Any) -> Any:
    return repr(value) if isinstance(value, float) else value


@dataclass(frozen=True)
class StepIndex:
    """One step of an index on disk."""

    folder: Path
    manifest: dict[str, Any]
    number: int
    """Place of the step among those of the older run."""

    @cached_property
    def parts(self) -> list[SignedPart]:
        """Signed parts, in order."""
        found = []
        for place, part in enumerate(self.manifest["parts"]):
            step = part["steps"][self.number]
            stem = f"{self.number}-{place:05d}"
            path = self.folder / "sketches" / f"{stem}.u8"
            has_sketches = self.manifest["steps"][self.number]["sketch_bytes"] > 0
            found.append(
                SignedPart(
                    documents=part["documents"],
                    comparable=step["comparable"],
                    wide=step["wide"],
                    keys=self.folder / "keys" / f"{stem}.run",
                    sketches=path if has_sketches else None,
                )
            )
        return found

    def edges(self) -> I64Array:
        """Clusters of the older run, (P, 2) int64: the first document of each with every other."""
        path = self.folder / "clusters" / f"{self.number}.i64"
        return np.fromfile(path, "<i8").astype(np.int64).reshape(-1, 2)

    def rows(self, numbers: I64Array, columns: list[str]) -> pa.Table:
        """Rows of documents by number, ascending: `source`, `id` and what `columns` names.

        `alive` says whether the document had not been dropped before this step. A column that the
        older run did not write is null.
        """
        counts = [part["documents"] for part in self.manifest["parts"]]
        starts = np.cumsum([0, *counts])
        cuts = np.searchsorted(numbers, starts)
        tables = []
        for place in range(len(counts)):
            here = numbers[cuts[place] : cuts[place + 1]] - starts[place]
            if len(here):
                tables.append(self._part_rows(place, here, columns))
        return pa.concat_tables(tables, promote_options="permissive") if tables else pa.table({})

    def _part_rows(self, place: int, rows: I64Array, columns: list[str]) -> pa.Table:
        path = self.folder / "documents" / f"{place:05d}.parquet"
        known = set(pq.read_schema(path).names)
        names = list(dict.fromkeys(["source", "id", *(c for c in columns if c in known)]))
        table = pq.read_table(path, columns=[*names, "dropped_by"]).take(pa.array(rows))
        dropped_by = table["dropped_by"].to_numpy()
        alive = (dropped_by == KEPT) | (dropped_by >= self.number)
        return table.select(names).append_column("alive", pa.array(alive))


def open_index(path: Path, step: Dedup, *, where: str, check_files: bool = True) -> StepIndex:
    """Open the step of an index that a step compares against.

    path         a run's folder, or an index itself
    where        place in the configuration, for messages: `dedup.1.against`
    check_files  look at the size of every file

    Raises UsageError where there is no index, one of another format, one without such a step, or
    one whose step has other settings: each is named with both values.
    """
    folder, manifest = _read_manifest(path, where)
    steps = manifest["steps"]
    numbers = [n for n, s in enumerate(steps) if s["label"] == step.label]
    numbers = numbers or [n for n, s in enumerate(steps) if s["settings"]["type"] == step.type]
    if len(numbers) != 1:
        held = ", ".join(s["label"] for s in steps)
        raise UsageError(
            f"{where}: {folder} holds no step {step.label!r}, only: {held}. Give the step the name "
            f"that it had in the older run."
        )
    different = _differences(steps[numbers[0]], step)
    if different:
        listed = "; ".join(different)
        raise UsageError(
            f"{where}: keys of {folder} were made with other settings: {listed}. Use the older "
            f"run's settings, or run it again with these."
        )
    found = StepIndex(folder, manifest, numbers[0])
    if check_files:
        _check_files(found, where)
    return found


def index_digest(index: StepIndex) -> str:
    """Digest that changes with anything in an index: that of its manifest, which has all others."""
    return file_digest(index.folder / MANIFEST)


def _read_manifest(path: Path, where: str) -> tuple[Path, dict[str, Any]]:
    folder = path if (path / MANIFEST).exists() else path / FOLDER
    try:
        manifest: dict[str, Any] = orjson.loads((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"{where}: no dedup index in {path}. Run that pipeline again with `dedup_index: true`: "
            f"only the index is made, the rest stays."
        ) from None
    except ValueError as error:
        raise UsageError(f"{where}: {folder / MANIFEST} is no manifest ({error})") from None
    if manifest.get("format") != INDEX_FORMAT:
        raise UsageError(
            f"{where}: format of {folder} is {manifest.get('format')!r}, this version of dolmix "
            f"reads {INDEX_FORMAT!r}. Run that pipeline again with this version."
        )
    return folder, manifest


def _differences(held: dict[str, Any], step: Dedup) -> list[str]:
    """Name the settings in which an index and a step differ."""
    here = step_identity(step)
    found = []
    for name in sorted({*held["settings"], *here["settings"]}):
        old, new = held["settings"].get(name), here["settings"].get(name)
        if old != new:
            found.append(f"{name} is {old!r} there, {new!r} here")
    return found + [
        f"{name} is {held[name]!r} there, {here[name]!r} here"
        for name in ("definition", "version", "digests")
        if held[name] != here[name]
    ]


def _check_files(index: StepIndex, where: str) -> None:
    """Refuse an index whose files are not those that its manifest names."""
    for name, about in index.manifest["files"].items():
        path = index.folder / name
        size = path.stat().st_size if path.exists() else None
        if size != about["bytes"]:
            is_there = "is gone" if size is None else f"has {size:,} bytes"
            raise UsageError(
                f"{where}: {path} {is_there}, the manifest says {about['bytes']:,}. Make the index "
                f"again."
            )
