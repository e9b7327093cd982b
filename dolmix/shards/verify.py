"""Whether a store is what its manifest says.

The fast check reads sizes, footers and the manifest's own sums; the full one reads every byte:
digests, EOS and order of every document, ids in range, provenance against token counts, the
indices. Both report everything they find, in the same order whatever the number of threads.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from dolmix.errors import StoreError
from dolmix.files.commit import canonical_json, file_digest
from dolmix.shards.ids import RECORD, IndexWriter, id_records, key_records
from dolmix.shards.layout import (
    END_DTYPE,
    ID_INDEX,
    KINDS,
    MANIFEST,
    ROW_GROUP,
    SHARDS,
    TEXT_HASH,
    TEXT_INDEX,
    IndexName,
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
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from numpy.typing import NDArray

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 64
"""Answers about files that may wait for the one before them."""
BLOCK = 1 << 18
"""Tokens looked at together: they stay in the processor's cache from one question to the next."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong: the file, relative to the store, and what was found there."""

    file: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.message}"


def verify(
    path: str | Path, full: bool = False, *, contents: bool = True, threads: int | None = None
) -> list[Finding]:
    """Check the store at `path`; an empty list means that nothing is wrong.

    full      the fast check finds missing, surplus, truncated and grown files and a manifest whose
              numbers disagree; with `full`, every byte counts: one flipped bit or two swapped
              shards are found and named
    contents  with `full`, look into the files too, for what a wrong writer would have digested:
              EOS, ids, order of ends, provenance, indices; without it, digests alone
    threads   files read at once; None takes one a processor

    Never raises for a damaged store.
    """
    root = Path(path)
    try:
        manifest = read_manifest(root)
    except StoreError as error:
        return [Finding(MANIFEST, str(error))]
    findings = [*_manifest(root, manifest), *_files(root, manifest)]
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        for faults in _ahead(pool, lambda entry: list(_docs_rows(root, entry)), manifest.shards):
            findings += faults
        if full:
            whole = not any(finding.file.startswith(SHARDS) for finding in findings)
            findings += _digests(root, manifest, pool)
            # Counting in missing or cut files would only repeat that they are.
            findings += _contents(root, manifest, pool) if whole and contents else []
    return findings


def digests(manifest: Manifest) -> dict[str, str]:
    """Every file that the manifest pins, relative to the store → its digest."""
    pinned: dict[str, str] = {str(name): digest for name, digest in manifest.files.items()}
    for entry in manifest.shards:
        pinned.update({relative(entry, kind): entry.files[kind] for kind in KINDS})
    return pinned


def relative(entry: ShardEntry, kind: Kind) -> str:
    """Path of one of a shard's files within the store, `/` separated."""
    return shard_file(Path(), entry.name, kind).relative_to(".").as_posix()


def _ahead(pool: ThreadPoolExecutor, answer: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield answers in the order of the items, a few of them ahead of who takes them."""
    waiting: deque[Future[R]] = deque()
    for item in items:
        waiting.append(pool.submit(answer, item))
        if len(waiting) > AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


# --- the fast check -------------------------------------------------------------------------------


def _manifest(root: Path, manifest: Manifest) -> Iterator[Finding]:
    """Check the manifest against itself."""
    if (root / MANIFEST).read_bytes() != canonical_json(manifest.model_dump(mode="json")):
        yield Finding(MANIFEST, "is not canonical JSON of what it holds")
    for fault in manifest_faults(manifest):
        yield Finding(MANIFEST, fault)


def _files(root: Path, manifest: Manifest) -> Iterator[Finding]:
    """Find files that are missing, surplus, or of another size."""
    sizes: dict[str, int] = {
        str(name): manifest.totals.documents * RECORD.itemsize for name in manifest.files
    }
    for entry in manifest.shards:
        sizes[relative(entry, "tok")] = entry.tokens * manifest.token_dtype.itemsize
        sizes[relative(entry, "end")] = entry.documents * END_DTYPE.itemsize
    for name, expected in sizes.items():
        file = root / name
        if not file.is_file():
            yield Finding(name, "is missing")
        elif (found := file.stat().st_size) != expected:
            yield Finding(name, f"has {found:,} bytes, {expected:,} expected")
    known = {MANIFEST, *sizes, *(relative(entry, "docs") for entry in manifest.shards)}
    found_files = (p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    for name in sorted(set(found_files) - known):
        yield Finding(name, "is not part of the store")


def _docs_rows(root: Path, entry: ShardEntry) -> Iterator[Finding]:
    """Check rows, columns and row groups of a docs file, from its footer."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = relative(entry, "docs")
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


# --- every byte -----------------------------------------------------------------------------------


def _digests(root: Path, manifest: Manifest, pool: ThreadPoolExecutor) -> Iterator[Finding]:
    """Digest every file that is there; say whose content a file holds if it is another's."""
    pinned = digests(manifest)
    owners = {digest: name for name, digest in pinned.items()}
    names = [name for name in pinned if (root / name).is_file()]
    found_digests = _ahead(pool, lambda name: file_digest(root / name), names)
    for name, found in zip(names, found_digests, strict=True):
        if found != pinned[name]:
            owner = f", which is that of {owners[found]}" if found in owners else ""
            message = f"digest is {found}{owner}; the manifest says {pinned[name]}"
            yield Finding(name, message)


@dataclass(frozen=True, slots=True)
class _Shard:
    """What the bytes of one shard show."""

    findings: list[Finding]
    unk_tokens: int
    lengths: NDArray[Any]
    ids: list[str]
    text_hashes: NDArray[Any] | None


def _contents(root: Path, manifest: Manifest, pool: ThreadPoolExecutor) -> Iterator[Finding]:
    """Check tokens, document ends, provenance and ids against each other and the manifest."""
    unk_tokens = 0
    lengths: list[NDArray[Any]] = []
    with TemporaryDirectory() as scratch:
        indices = {name: IndexWriter(Path(scratch) / name) for name in manifest.files}
        shards = _ahead(pool, lambda entry: _shard(root, manifest, entry), manifest.shards)
        for number, shard in enumerate(shards):
            yield from shard.findings
            unk_tokens += shard.unk_tokens
            lengths.append(shard.lengths)
            indices[ID_INDEX].add(id_records(shard.ids, shard=number, first=0))
            if TEXT_INDEX in indices and shard.text_hashes is not None:
                indices[TEXT_INDEX].add(key_records(shard.text_hashes, shard=number, first=0))
        for name, index in indices.items():
            yield from _index(root, name, index)
    if unk_tokens != manifest.totals.unk_tokens:
        stated = manifest.totals.unk_tokens
        yield Finding(MANIFEST, f"totals.unk_tokens is {stated:,}, found {unk_tokens:,}")
    if length_quantiles(lengths) != manifest.length_quantiles:
        yield Finding(MANIFEST, "length_quantiles differ from the document ends")


def _index(root: Path, name: IndexName, expected: IndexWriter) -> Iterator[Finding]:
    if not (root / name).is_file():
        return
    with (root / name).open("rb") as file:
        same = all(file.read(piece.nbytes) == piece.tobytes() for piece in expected.pieces())
        if not same or file.read(1):
            what = "ids" if name == ID_INDEX else "text hashes"
            yield Finding(name, f"differs from the {what} of the docs files")


def _shard(root: Path, manifest: Manifest, entry: ShardEntry) -> _Shard:
    ends = np.fromfile(shard_file(root, entry.name, "end"), END_DTYPE).astype(np.int64)
    lengths = np.diff(ends, prepend=0)
    findings, unk_tokens = _tokens(root, manifest, entry, ends)
    hashed = TEXT_INDEX in manifest.files
    ids, text_hashes, faults = _docs(root, entry, lengths, hashed=hashed)
    findings += [Finding(relative(entry, "docs"), fault) for fault in faults]
    return _Shard(findings, unk_tokens, lengths, ids, text_hashes)


def _tokens(
    root: Path, manifest: Manifest, entry: ShardEntry, ends: NDArray[Any]
) -> tuple[list[Finding], int]:
    """Ids and document ends of one shard; also its number of unknown tokens."""
    pin, findings, unk = manifest.tokenizer, [], 0
    if ends.size == 0 or np.any(np.diff(ends, prepend=0) < 1) or int(ends[-1]) != entry.tokens:
        message = f"document ends do not rise from 1 to {entry.tokens:,}"
        return [Finding(relative(entry, "end"), message)], 0
    tokens = np.asarray(
        np.memmap(shard_file(root, entry.name, "tok"), manifest.token_dtype, mode="r")
    )
    wrong = np.flatnonzero(tokens[ends - 1] != pin.eos_id)
    if wrong.size:
        message = f"{wrong.size:,} documents do not end in EOS, first number {int(wrong[0]):,}"
        findings.append(Finding(relative(entry, "tok"), message))
    largest = 0
    for start in range(0, tokens.size, BLOCK):
        block = tokens[start : start + BLOCK]
        largest = max(largest, int(block.max()))
        if pin.unk_id is not None:
            unk += int(np.count_nonzero(block == pin.unk_id))
    if largest > pin.largest_id:
        message = f"holds id {largest:,}, the tokenizer's largest is {pin.largest_id:,}"
        findings.append(Finding(relative(entry, "tok"), message))
    return findings, unk


def _docs(
    root: Path, entry: ShardEntry, lengths: NDArray[Any], *, hashed: bool
) -> tuple[list[str], NDArray[Any] | None, list[str]]:
    """Ids and text hashes of one docs file, those that there are, and what is wrong in it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = shard_file(root, entry.name, "docs")
    columns = [*REQUIRED, "num_tokens", *([TEXT_HASH] if hashed else [])]
    try:
        table = pq.read_table(file, columns=columns, use_threads=False, read_dictionary=["path"])
        ids = table.column("id").drop_null().to_pylist()
        counted = table.column("num_tokens").to_numpy()
        hashes = table.column(TEXT_HASH).to_numpy() if hashed else None
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        return [], None, [f"rows cannot be read: {error}"]
    faults = list(missing_values({name: table.column(name) for name in REQUIRED}))
    if not np.array_equal(counted, lengths):
        faults.append("num_tokens differ from the document ends")
    if hashes is not None and hashes.dtype != np.uint64:
        return ids, None, [*faults, f"column {TEXT_HASH!r} lacks values or is no uint64"]
    return ids, hashes, faults
