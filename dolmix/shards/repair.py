"""What of a damaged store can be made again from the rest of it.

Every file that is put in place has the digest that the manifest says: a repair brings back the very
bytes that were committed, or leaves the store as it is. It can

- give misplaced files of the store their own names back (swapped or renamed shards);
- make `.end` files again, from the token counts of the docs file;
- make `id.idx` and `text.idx` again, from the docs files;
- write the manifest canonically, its sums and length quantiles from its shards.

Tokens and docs files cannot be made again from the store, nor can a manifest that is gone or cannot
be read: copy those files from a copy of the store, or write the store again from its inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dolmix.files import commit
from dolmix.files.commit import canonical_json, file_digest
from dolmix.shards.ids import IndexWriter, id_records, key_records
from dolmix.shards.layout import (
    END_DTYPE,
    ID_INDEX,
    MANIFEST,
    SHARDS,
    TEXT_HASH,
    IndexName,
    Manifest,
    ShardEntry,
    content_hash,
    length_quantiles,
    shard_file,
)
from dolmix.shards.reader import read_manifest
from dolmix.shards.verify import Finding, digests, relative, verify

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Repair:
    """One file that was put right: its path within the store, and how."""

    file: str
    action: str

    def __str__(self) -> str:
        return f"{self.file}: {self.action}"


def repair(path: str | Path) -> tuple[list[Repair], list[Finding]]:
    """Put right what can be; return what was done, and what the full check still finds.

    Reads every byte of the store. Raises StoreError if its manifest is gone or cannot be read.
    """
    root = Path(path)
    manifest = read_manifest(root)
    commit.sweep(root)
    done = list(_put_back(root, manifest))
    done += _rebuild_ends(root, manifest)
    done += _rebuild_indices(root, manifest)
    done += _rewrite_manifest(root, manifest)
    return done, verify(root, full=True)


def _put_back(root: Path, manifest: Manifest) -> Iterator[Repair]:
    """Rename files that hold what another should."""
    pinned = digests(manifest)
    folders = [root, root / SHARDS]
    files = [p for folder in folders if folder.is_dir() for p in folder.iterdir() if p.is_file()]
    found = {p.relative_to(root).as_posix(): file_digest(p) for p in sorted(files)}
    held = {digest: name for name, digest in found.items() if pinned.get(name) != digest}
    wrong = [name for name, digest in pinned.items() if found.get(name) != digest]
    moves = {name: held.pop(pinned[name]) for name in wrong if pinned[name] in held}
    for name, source in moves.items():  # all aside first: two may have each other's name
        (root / source).replace(_aside(root, name))
    for name, source in moves.items():
        _aside(root, name).replace(root / name)
        commit.sync((root / name).parent)
        yield Repair(name, f"was found as {source}, and has its name back")


def _aside(root: Path, name: str) -> Path:
    return (root / name).with_name(f".{Path(name).name}.aside")


def _rebuild_ends(root: Path, manifest: Manifest) -> Iterator[Repair]:
    """Write `.end` files anew from the token counts of the docs files."""
    for entry in manifest.shards:
        file = shard_file(root, entry.name, "end")
        if _is(file, entry.files["end"]):
            continue
        counts = _column(root, entry, "num_tokens")
        if counts is not None:
            attempt = commit.attempt_path(file)
            attempt.write_bytes(np.cumsum(counts).astype(END_DTYPE).tobytes())
            if _publish(attempt, file, entry.files["end"]):
                yield Repair(relative(entry, "end"), "made again from num_tokens of the docs file")


def _rebuild_indices(root: Path, manifest: Manifest) -> Iterator[Repair]:
    """Write the indices anew from the docs files."""
    for name, digest in manifest.files.items():
        file = root / name
        if _is(file, digest):
            continue
        attempt = commit.attempt_path(file)
        index = _index(root, manifest, name, attempt.with_suffix(".parts"))
        if index is None:
            continue
        index.write(attempt)
        if _publish(attempt, file, digest):
            yield Repair(name, "made again from the docs files")


def _index(root: Path, manifest: Manifest, name: IndexName, scratch: Path) -> IndexWriter | None:
    index = IndexWriter(scratch)
    for number, entry in enumerate(manifest.shards):
        values = _column(root, entry, "id" if name == ID_INDEX else TEXT_HASH)
        if values is None:
            return None
        if name == ID_INDEX:
            index.add(id_records(values.tolist(), shard=number, first=0))
        else:
            index.add(key_records(values, shard=number, first=0))
    return index


def _rewrite_manifest(root: Path, manifest: Manifest) -> Iterator[Repair]:
    """Write the manifest's own sums and form anew; digests of shards are what they are."""
    shards = manifest.shards
    sums = {f: sum(getattr(entry, f) for entry in shards) for f in ("tokens", "documents")}
    changes: dict[str, object] = {
        "totals": manifest.totals.model_copy(update=sums),
        "content_hash": content_hash(shards),
    }
    if all(_is(shard_file(root, e.name, "end"), e.files["end"]) for e in shards):
        changes["length_quantiles"] = length_quantiles(_lengths(root, manifest))
    right = manifest.model_copy(update=changes)
    data = canonical_json(right.model_dump(mode="json"))
    if data != (root / MANIFEST).read_bytes():
        commit.write_bytes(root / MANIFEST, data)
        told = [name for name in changes if getattr(right, name) != getattr(manifest, name)]
        yield Repair(MANIFEST, f"written anew: {', '.join(told) or 'its form'}")


def _lengths(root: Path, manifest: Manifest) -> Iterator[NDArray[Any]]:
    for entry in manifest.shards:
        ends = np.fromfile(shard_file(root, entry.name, "end"), END_DTYPE)
        yield np.diff(ends, prepend=END_DTYPE.type(0))


def _column(root: Path, entry: ShardEntry, name: str) -> NDArray[Any] | None:
    """Column of a docs file; None if the file has not its digest, or not the column."""
    import pyarrow.parquet as pq

    file = shard_file(root, entry.name, "docs")
    if not _is(file, entry.files["docs"]):
        return None
    with pq.ParquetFile(file) as parquet:
        if name not in parquet.schema_arrow.names:
            return None
        column: NDArray[Any] = parquet.read([name]).column(name).to_numpy()
    return column


def _is(file: Path, digest: str) -> bool:
    return file.is_file() and file_digest(file) == digest


def _publish(attempt: Path, file: Path, digest: str) -> bool:
    """Give a file made anew its name, if it has the digest asked for; remove it if not."""
    matches = _is(attempt, digest)
    if matches:
        commit.publish(attempt, file)
    attempt.unlink(missing_ok=True)
    return matches
