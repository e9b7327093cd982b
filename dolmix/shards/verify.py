"""Whether a store is what its manifest says.

The fast check reads sizes, footers and the manifest's own sums; the full one reads every byte:
digests, EOS and order of every document, ids in range, provenance against token counts, the id
index. Both report everything they find.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dolmix.errors import StoreError
from dolmix.files.commit import canonical_json, file_digest
from dolmix.shards.ids import RECORD, id_records, sorted_records
from dolmix.shards.layout import (
    END_DTYPE,
    ID_INDEX,
    KINDS,
    MANIFEST,
    ROW_GROUP,
    SHARDS,
    Kind,
    Manifest,
    ShardEntry,
    length_quantiles,
    manifest_faults,
    shard_file,
)
from dolmix.shards.provenance import REQUIRED, footer_faults, missing_values, row_groups
from dolmix.shards.reader import read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

BLOCK = 1 << 22
"""Tokens looked at together."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong: the file, relative to the store, and what was found there."""

    file: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.message}"


def verify(path: str | Path, full: bool = False) -> list[Finding]:
    """Check the store at `path`; an empty list means that nothing is wrong.

    The fast check finds missing, surplus, truncated and grown files and a manifest whose numbers
    disagree. With `full`, every byte counts: one flipped bit or two swapped shards are found and
    named. Never raises for a damaged store.
    """
    root = Path(path)
    try:
        manifest = read_manifest(root)
    except StoreError as error:
        return [Finding(MANIFEST, str(error))]
    findings = [*_manifest(root, manifest), *_files(root, manifest)]
    for entry in manifest.shards:
        findings += _docs_rows(root, entry)
    if full:
        whole = not any(finding.file.startswith(SHARDS) for finding in findings)
        findings += _digests(root, manifest)
        # Counting in missing or cut files would only repeat that they are.
        findings += _contents(root, manifest) if whole else []
    return findings


def _manifest(root: Path, manifest: Manifest) -> Iterator[Finding]:
    """Check the manifest against itself."""
    if (root / MANIFEST).read_bytes() != canonical_json(manifest.model_dump(mode="json")):
        yield Finding(MANIFEST, "is not canonical JSON of what it holds")
    for fault in manifest_faults(manifest):
        yield Finding(MANIFEST, fault)


def _files(root: Path, manifest: Manifest) -> Iterator[Finding]:
    """Find files that are missing, surplus, or of another size."""
    sizes = {ID_INDEX: manifest.totals.documents * RECORD.itemsize}
    for entry in manifest.shards:
        sizes[_relative(entry, "tok")] = entry.tokens * manifest.token_dtype.itemsize
        sizes[_relative(entry, "end")] = entry.documents * END_DTYPE.itemsize
    for name, expected in sizes.items():
        file = root / name
        if not file.is_file():
            yield Finding(name, "is missing")
        elif (found := file.stat().st_size) != expected:
            yield Finding(name, f"has {found:,} bytes, {expected:,} expected")
    known = {MANIFEST, *sizes, *(_relative(entry, "docs") for entry in manifest.shards)}
    found_files = (p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    for name in sorted(set(found_files) - known):
        yield Finding(name, "is not part of the store")


def _docs_rows(root: Path, entry: ShardEntry) -> Iterator[Finding]:
    """Check rows, columns and row groups of a docs file, from its footer."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = _relative(entry, "docs")
    if not (root / name).is_file():
        yield Finding(name, "is missing")
        return
    try:
        with pq.ParquetFile(root / name) as parquet:
            faults = list(footer_faults(parquet, entry.documents))
            largest = max(row_groups(parquet), default=0)
    except (OSError, ValueError, pa.ArrowException) as error:
        yield Finding(name, f"is not readable as Parquet: {error}")
        return
    for fault in faults:
        yield Finding(name, fault)
    if largest > ROW_GROUP:
        message = f"has a row group of {largest:,} rows, at most {ROW_GROUP:,} are allowed"
        yield Finding(name, message)


def _digests(root: Path, manifest: Manifest) -> Iterator[Finding]:
    """Digest every file that is there."""
    digests = {ID_INDEX: manifest.files["id.idx"]}
    for entry in manifest.shards:
        digests.update({_relative(entry, kind): entry.files[kind] for kind in KINDS})
    for name, expected in digests.items():
        if (root / name).is_file() and (found := file_digest(root / name)) != expected:
            yield Finding(name, f"digest is {found}, the manifest says {expected}")


def _contents(root: Path, manifest: Manifest) -> Iterator[Finding]:
    """Check tokens, document ends, provenance and ids against each other and the manifest."""
    unk_tokens = 0
    lengths: list[NDArray[Any]] = [np.zeros(0, np.int64)]
    records: list[NDArray[Any]] = []
    for number, entry in enumerate(manifest.shards):
        ends = np.fromfile(shard_file(root, entry.name, "end"), END_DTYPE).astype(np.int64)
        lengths.append(np.diff(ends, prepend=0))
        findings, unk = _tokens(root, manifest, entry, ends)
        yield from findings
        unk_tokens += unk
        ids, faults = _docs(root, entry, lengths[-1])
        records.append(id_records(ids, shard=number, first=0))
        for fault in faults:
            yield Finding(_relative(entry, "docs"), fault)
    if unk_tokens != manifest.totals.unk_tokens:
        stated = manifest.totals.unk_tokens
        yield Finding(MANIFEST, f"totals.unk_tokens is {stated:,}, found {unk_tokens:,}")
    if length_quantiles(np.concatenate(lengths)) != manifest.length_quantiles:
        yield Finding(MANIFEST, "length_quantiles differ from the document ends")
    index = root / ID_INDEX
    if index.is_file() and index.read_bytes() != sorted_records(records).tobytes():
        yield Finding(ID_INDEX, "differs from the ids of the docs files")


def _tokens(
    root: Path, manifest: Manifest, entry: ShardEntry, ends: NDArray[Any]
) -> tuple[list[Finding], int]:
    """Ids and document ends of one shard; also its number of unknown tokens."""
    pin, findings, unk = manifest.tokenizer, [], 0
    if ends.size == 0 or np.any(np.diff(ends, prepend=0) < 1) or int(ends[-1]) != entry.tokens:
        message = f"document ends do not rise from 1 to {entry.tokens:,}"
        return [Finding(_relative(entry, "end"), message)], 0
    tokens = np.memmap(shard_file(root, entry.name, "tok"), manifest.token_dtype, mode="r")
    wrong = np.flatnonzero(tokens[ends - 1] != pin.eos_id)
    if wrong.size:
        message = f"{wrong.size:,} documents do not end in EOS, first number {int(wrong[0]):,}"
        findings.append(Finding(_relative(entry, "tok"), message))
    largest = 0
    for start in range(0, tokens.size, BLOCK):
        block = tokens[start : start + BLOCK]
        largest = max(largest, int(block.max()))
        if pin.unk_id is not None:
            unk += int(np.count_nonzero(block == pin.unk_id))
    if largest > pin.largest_id:
        message = f"holds id {largest:,}, the tokenizer's largest is {pin.largest_id:,}"
        findings.append(Finding(_relative(entry, "tok"), message))
    return findings, unk


def _docs(root: Path, entry: ShardEntry, lengths: NDArray[Any]) -> tuple[list[str], list[str]]:
    """Ids of one docs file, those that there are, and what is wrong in it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = shard_file(root, entry.name, "docs")
    try:
        table = pq.read_table(file, columns=[*REQUIRED, "num_tokens"])
        ids = table.column("id").drop_null().to_pylist()
        counted = table.column("num_tokens").to_numpy()
    except (OSError, ValueError, pa.ArrowException) as error:
        return [], [f"rows cannot be read: {error}"]
    faults = list(missing_values({name: table.column(name) for name in REQUIRED}))
    if not np.array_equal(counted, lengths):
        faults.append("num_tokens differ from the document ends")
    return ids, faults


def _relative(entry: ShardEntry, kind: Kind) -> str:
    return shard_file(Path(), entry.name, kind).relative_to(".").as_posix()
