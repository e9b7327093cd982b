"""What a store looks like on disk: names, the manifest, the content hash (`dolmix-store-1`).

A store is one directory, `<source>@<version>`, that is complete or absent. Everything a reader must
believe stands in `manifest.json`; nothing in it tells a time, a host or an absolute path, so equal
content gives equal bytes.
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import numpy as np
from pydantic import Field, field_validator

from dolmix.config import Name, Schema
from dolmix.tokenizer import SpecialInText, TokenizerPin

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

FORMAT = "dolmix-store-1"
MANIFEST = "manifest.json"
SHARDS = "shards"
ID_INDEX: Final = "id.idx"
TEXT_INDEX: Final = "text.idx"
IndexName = Literal["id.idx", "text.idx"]
Kind = Literal["tok", "end", "docs"]
KINDS: tuple[Kind, ...] = ("tok", "end", "docs")
SUFFIXES: dict[Kind, str] = {"tok": ".tok", "end": ".end", "docs": ".docs.parquet"}
END_DTYPE = np.dtype("<u8")
ROW_GROUP = 1_024
"""Most documents in a row group of a docs file; dolmix fills all but a shard's last."""
DOCUMENT_COLUMNS = ("id", "url", "path", "record", "num_tokens")
"""Columns that every docs file begins with; `text_hash`, if any, and kept columns follow."""
TEXT_HASH = "text_hash"
"""Column of docs files, uint64: blake2b-64 of the UTF-8 text as it was tokenized, read as
little-endian. A store has it for all its documents or, if its writer had no texts, for none."""
QUANTILES = (1, 5, 25, 50, 75, 95, 99)
"""Percentiles of document length in a manifest, besides smallest and largest."""

Count = Annotated[int, Field(ge=0)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""Blake2b-256, lower-case hex."""


class ParentFile(Schema):
    """Identity of one input file: its path relative to the inputs' root, its size, its digest."""

    path: str
    """Relative path or URI: an absolute one would make a store depend on where it was made."""
    size: Count
    """Bytes of the file as it lies, compressed or not."""
    digest: str
    """Digest that identified the file to its run (of its ends, or of the whole)."""

    @field_validator("path")
    @classmethod
    def _relative(cls, path: str) -> str:
        if is_absolute(path):
            raise ValueError(f"{path!r} is absolute; a store names its inputs by relative path")
        return path


class Totals(Schema):
    """Sums over the documents of a store."""

    tokens: Count
    """Tokens, one EOS a document included."""
    documents: Count
    """Documents."""
    bytes: Count
    """UTF-8 bytes of the texts that were tokenized."""
    unk_tokens: Count
    """Tokens that are the tokenizer's unknown token."""


class ShardEntry(Schema):
    """One shard: its name (`00000`), its counts, and the digests of its files by kind."""

    name: Annotated[str, Field(pattern=r"^[0-9]{5,}$")]
    """Stem of the shard's files."""
    tokens: Count
    """Tokens in it."""
    documents: Count
    """Documents in it."""
    files: Annotated[dict[Kind, Digest], Field(min_length=len(KINDS))]
    """Digest of each file: `tok` tokens, `end` document ends, `docs` provenance."""


class Manifest(Schema):
    """The commit of a store: written last, read first."""

    format: Literal["dolmix-store-1"]
    """Version of this layout."""
    source: Name
    """Name of the source."""
    version: Count
    """Version of the source; other content needs another version."""
    tokenizer: TokenizerPin
    """Which tokenizer made the ids."""
    dtype: Literal["u16", "u32"]
    """Type of a stored token, little-endian."""
    special_in_text: SpecialInText
    """What a literal special token in a text became."""
    totals: Totals
    """Sums over all documents."""
    length_quantiles: dict[str, int]
    """Document lengths in tokens, EOS included: min, p01 to p99, max; empty without documents."""
    shards: tuple[ShardEntry, ...]
    """Shards in store order."""
    files: Annotated[dict[IndexName, Digest], Field(min_length=1)]
    """Digests of the files beside the shards: `id.idx`, and `text.idx` where texts were hashed."""
    parents: tuple[ParentFile, ...]
    """The inputs."""
    content_hash: Digest
    """Hash of tokens and document ends, independent of any library's version."""

    @property
    def name(self) -> str:
        """`source@version`."""
        return store_name(self.source, self.version)

    @property
    def token_dtype(self) -> np.dtype[Any]:
        """Type of a stored token."""
        return np.dtype("<u2" if self.dtype == "u16" else "<u4")


def store_name(source: str, version: int) -> str:
    """Name a store's directory: `web@1`."""
    return f"{source}@{version}"


def shard_name(number: int) -> str:
    """Stem of a shard's files: `00000`."""
    return f"{number:05d}"


def shard_file(root: Path, name: str, kind: Kind) -> Path:
    """Path of one of a shard's files; `kind` is tok, end or docs."""
    return root / shard_path(name, kind)


def shard_path(name: str, kind: Kind) -> str:
    """Return the path of one of a shard's files within the store."""
    return f"{SHARDS}/{name}{SUFFIXES[kind]}"


def content_hash(shards: Iterable[ShardEntry]) -> str:
    """Blake2b-256 over the raw digests of `.tok` then `.end` of each shard, in order, as hex."""
    digest = blake2b(digest_size=32)
    for shard in shards:
        digest.update(bytes.fromhex(shard.files["tok"]))
        digest.update(bytes.fromhex(shard.files["end"]))
    return digest.hexdigest()


def manifest_faults(manifest: Manifest) -> Iterator[str]:
    """Check a manifest against itself: content hash, sums over shards, shard names, token type."""
    if (named := content_hash(manifest.shards)) != manifest.content_hash:
        yield f"content_hash is {manifest.content_hash}, its shards' digests give {named}"
    for field in ("tokens", "documents"):
        total = sum(getattr(entry, field) for entry in manifest.shards)
        stated = getattr(manifest.totals, field)
        if total != stated:
            yield f"totals.{field} is {stated:,}, its shards sum to {total:,}"
    for number, entry in enumerate(manifest.shards):
        if entry.name != shard_name(number):
            yield f"shard {number} is named {entry.name!r}, not {shard_name(number)!r}"
    if ID_INDEX not in manifest.files:
        yield f"files lacks {ID_INDEX}"
    if manifest.token_dtype != manifest.tokenizer.dtype:
        yield f"dtype is {manifest.dtype}, the largest id {manifest.tokenizer.largest_id:,}"


def length_quantiles(pieces: Iterable[NDArray[Any]]) -> dict[str, int]:
    """Quantiles by nearest rank: the ceil(p/100 * n)-th smallest length, a whole number.

    pieces  (N,) integers each, in tokens, in any order; without any length the result is empty

    Memory grows with the number of distinct lengths, not with that of documents.
    """
    values, counts = count_values(pieces)
    if values.size == 0:
        return {}
    below = np.cumsum(counts)
    size = int(below[-1])
    ranks = {f"p{p:02d}": -(-p * size // 100) - 1 for p in QUANTILES}
    named = {"min": 0, **ranks, "max": size - 1}
    return {n: int(values[np.searchsorted(below, r, side="right")]) for n, r in named.items()}


def count_values(pieces: Iterable[NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Distinct values of all pieces, ascending (V,) int64, and how often each occurs (V,) int64."""
    values, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for piece in pieces:
        found, times = np.unique(piece.astype(np.int64), return_counts=True)
        both, place = np.unique(np.concatenate([values, found]), return_inverse=True)
        summed = np.zeros(both.size, np.int64)
        np.add.at(summed, place, np.concatenate([counts, times]))
        values, counts = both, summed
    return values, counts


def is_absolute(path: str) -> bool:
    """Whether a path names a place on one machine: POSIX or Windows absolute, or a `file:` URI."""
    return (
        PurePosixPath(path).is_absolute()
        or PureWindowsPath(path).is_absolute()
        or path.startswith("file:")
    )
