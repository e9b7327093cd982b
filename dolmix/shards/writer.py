"""Writing a store: documents in, one committed directory out.

Bytes depend on the documents and their order alone, not on how they were grouped into appends:
shards are cut between documents by token count, docs files hold exact row groups. Memory stays
bounded whatever the size of the store. Nothing is visible under the store's name before `commit`
renames it there.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dolmix.errors import StoreError
from dolmix.files.commit import canonical_json, file_digest, new_directory
from dolmix.shards.ids import IndexWriter, id_records, key_records
from dolmix.shards.layout import (
    END_DTYPE,
    FORMAT,
    ID_INDEX,
    MANIFEST,
    SHARDS,
    TEXT_HASH,
    TEXT_INDEX,
    IndexName,
    Manifest,
    ParentFile,
    ShardEntry,
    Totals,
    content_hash,
    length_quantiles,
    manifest_faults,
    shard_file,
    shard_name,
    store_name,
)
from dolmix.shards.provenance import provenance_table
from dolmix.shards.reader import check_sizes, open_store
from dolmix.shards.shard import ShardFiles

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

    import pyarrow as pa
    from numpy.typing import NDArray

    from dolmix.document import I64Array
    from dolmix.tokenizer import SpecialInText, TokenizerPin

SHARD_TOKENS = 1 << 28
"""Tokens in a shard unless said otherwise: 512 MiB of u16."""
MAX_UNK_FRAC = 0.01
"""Share of unknown tokens above which a commit is refused. Byte-level vocabularies have none;
one in a hundred means a tokenizer that does not know the language or the script."""

_log = logging.getLogger(__name__)


class _Abandoned(Exception):  # noqa: N818 - never leaves this module
    """A writer left without a commit: the attempt is removed."""


class StoreWriter:
    """Collects documents and commits them as one store; used as a context manager.

    Left without `commit`, by an exception or not, it leaves nothing. `parents` and every `path` are
    relative.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        source: str,
        version: int,
        tokenizer: TokenizerPin,
        special_in_text: SpecialInText,
        parents: Sequence[ParentFile],
        shard_tokens: int = SHARD_TOKENS,
        max_unk_frac: float = MAX_UNK_FRAC,
    ) -> None:
        self.path = Path(path)
        if self.path.name != store_name(source, version):
            raise StoreError(
                f"{self.path}: a store of source {source!r}, version {version}, is named"
                f" {store_name(source, version)!r}"
            )
        if shard_tokens < 1:
            raise StoreError(f"{self.path}: shard_tokens is {shard_tokens}; it must be at least 1")
        self._source, self._version = source, version
        self._tokenizer = tokenizer
        self._special_in_text = special_in_text
        self._parents = tuple(parents)
        self._shard_tokens = shard_tokens
        self._max_unk_frac = max_unk_frac
        self._directory: AbstractContextManager[Path] | None = None
        self._attempt = self.path
        self._open: ShardFiles | None = None
        self._shards: list[ShardEntry] = []
        self._indices: dict[IndexName, IndexWriter] = {}
        self._schema: pa.Schema | None = None
        self._tokens = self._documents = self._bytes = self._unk_tokens = 0

    def __enter__(self) -> Self:
        self._directory = new_directory(self.path)
        self._attempt = self._directory.__enter__()
        (self._attempt / SHARDS).mkdir()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        directory, self._directory = self._directory, None
        try:
            if self._open is not None:
                self._open.abandon()
        finally:
            if directory is not None:
                directory.__exit__(kind or _Abandoned, error or _Abandoned(), trace)

    def append(
        self, tokens: NDArray[Any], lengths: I64Array, documents: pa.Table, text_bytes: int
    ) -> None:
        """Add whole documents at the end of the store.

        tokens      (T,)  ids, each document ending in EOS
        lengths     (N,)  tokens of each document, EOS included; sum T
        documents   N rows: id, url, path, record, text_hash if known (uint64, see layout), then the
                    kept columns, the same in every append
        text_bytes  UTF-8 bytes of the N texts

        Raises StoreError, having added nothing, if an id is out of range, a document does not end
        in EOS, or the counts or columns do not agree.
        """
        if self._directory is None:
            raise StoreError(f"{self.path}: the writer is not open, or its store is committed")
        self._check(tokens, lengths, documents)
        rows = provenance_table(documents, lengths)
        if self._schema is None:
            self._schema = rows.schema
        elif not rows.schema.equals(self._schema, check_metadata=True):
            raise StoreError(
                f"{self.path}: columns changed between appends, from {_columns(self._schema)} to"
                f" {_columns(rows.schema)}; give every document the same columns and types"
            )
        self._write(tokens.astype(self._tokenizer.dtype, copy=False), np.cumsum(lengths), rows)
        self._documents += len(lengths)
        self._tokens += tokens.size
        self._bytes += text_bytes
        if self._tokenizer.unk_id is not None:
            self._unk_tokens += int(np.count_nonzero(tokens == self._tokenizer.unk_id))

    def commit(self) -> Manifest:
        """Make the store visible under its name, at once, and return its manifest.

        A store already there with the same content is left alone, and its manifest returned; so it
        is when another attempt commits first. Raises StoreError if other content is there, too many
        tokens are unknown, or the files are not what was appended.
        """
        if self._directory is None:
            raise StoreError(f"{self.path}: the writer is not open, or its store is committed")
        self._gate_unknown()
        self._close_shard()
        self._index(ID_INDEX)  # a store without documents has an empty one
        for name, index in self._indices.items():
            index.write(self._attempt / name)
        manifest = self._manifest()
        self._gate_counts(manifest)
        (self._attempt / MANIFEST).write_bytes(canonical_json(manifest.model_dump(mode="json")))
        directory, self._directory = self._directory, None
        try:
            directory.__exit__(None, None, None)
        except OSError:
            # The name was taken, before this attempt or by another one during the rename.
            if not self.path.exists():
                raise
            return self._settle(manifest)
        return manifest

    def _write(self, tokens: NDArray[Any], ends: I64Array, rows: pa.Table) -> None:
        """Spread documents over shards; one that is larger than a shard gets its own."""
        row = start = 0
        while row < ends.size:
            shard = self._open or self._open_shard()
            room = self._shard_tokens - shard.tokens
            stop = max(row, int(np.searchsorted(ends, start + room, side="right")))
            if stop == row and not shard.documents:
                stop = row + 1
            if stop == row:
                self._close_shard()
                continue
            part, first, end = rows.slice(row, stop - row), shard.documents, int(ends[stop - 1])
            shard.append(tokens[start:end], ends[row:stop] - start, part)
            self._add_to_indices(part, first)
            shard.settle()
            row, start = stop, end

    def _add_to_indices(self, rows: pa.Table, first: int) -> None:
        place = {"shard": len(self._shards), "first": first}
        self._index(ID_INDEX).add(id_records(rows.column("id").to_pylist(), **place))
        if TEXT_HASH in rows.column_names:
            keys = rows.column(TEXT_HASH).to_numpy()
            self._index(TEXT_INDEX).add(key_records(keys, **place))

    def _index(self, name: IndexName) -> IndexWriter:
        if name not in self._indices:
            self._indices[name] = IndexWriter(self._attempt / f".{name}")
        return self._indices[name]

    def _open_shard(self) -> ShardFiles:
        self._open = ShardFiles(self._attempt, shard_name(len(self._shards)))
        return self._open

    def _close_shard(self) -> None:
        if self._open is not None:
            self._shards.append(self._open.close())
            self._open = None

    def _manifest(self) -> Manifest:
        return Manifest(
            format=FORMAT,
            source=self._source,
            version=self._version,
            tokenizer=self._tokenizer,
            dtype="u16" if self._tokenizer.dtype.itemsize == 2 else "u32",  # noqa: PLR2004
            special_in_text=self._special_in_text,
            totals=Totals(
                tokens=self._tokens,
                documents=self._documents,
                bytes=self._bytes,
                unk_tokens=self._unk_tokens,
            ),
            length_quantiles=length_quantiles(self._lengths()),
            shards=tuple(self._shards),
            files={name: file_digest(self._attempt / name) for name in self._indices},
            parents=self._parents,
            content_hash=content_hash(self._shards),
        )

    def _lengths(self) -> Iterator[NDArray[Any]]:
        """Lengths of the documents of each shard, read back from it."""
        for shard in self._shards:
            ends = np.fromfile(shard_file(self._attempt, shard.name, "end"), END_DTYPE)
            yield np.diff(ends, prepend=END_DTYPE.type(0))

    def _settle(self, manifest: Manifest) -> Manifest:
        """Compare with the store that has the name already; keep it if its content is the same."""
        there = open_store(self.path).manifest
        if there.content_hash != manifest.content_hash:
            raise StoreError(
                f"{self.path} is committed with content {there.content_hash}; this attempt has"
                f" {manifest.content_hash}. A committed version never changes: raise `version` of"
                f" source {self._source!r} (now {self._version})."
            )
        ours, theirs = manifest.model_dump(), there.model_dump()
        if differing := [key for key in ours if ours[key] != theirs[key]]:
            _log.warning(
                "%s: same tokens as the committed store, other %s; the committed one is left alone."
                " Raise `version` of source %r to write the new ones.",
                self.path,
                ", ".join(differing),
                self._source,
            )
        return there

    def _check(self, tokens: NDArray[Any], lengths: I64Array, documents: pa.Table) -> None:
        pin, counted = self._tokenizer, int(lengths.sum())
        if tokens.size != counted or len(lengths) != documents.num_rows:
            raise StoreError(
                f"{self.path}: {tokens.size:,} tokens, lengths of {len(lengths):,} documents that"
                f" sum to {counted:,}, {documents.num_rows:,} provenance rows: they must agree"
            )
        if tokens.dtype.kind not in "ui":
            raise StoreError(f"{self.path}: tokens are {tokens.dtype}, not integers")
        if tokens.size and not 0 <= int(tokens.min()) <= int(tokens.max()) <= pin.largest_id:
            at = int(np.flatnonzero((tokens < 0) | (tokens > pin.largest_id))[0])
            raise StoreError(
                f"{self.path}: document {self._row(lengths, at):,} holds id {int(tokens[at]):,};"
                f" the tokenizer's ids are 0 to {pin.largest_id:,}"
            )
        if len(lengths) and int(lengths.min()) < 1:
            empty = self._documents + int(np.argmin(lengths))
            raise StoreError(f"{self.path}: document {empty:,} has no tokens, not even EOS")
        last = tokens[np.cumsum(lengths) - 1]
        if not np.all(last == pin.eos_id):
            wrong = int(np.flatnonzero(last != pin.eos_id)[0])
            raise StoreError(
                f"{self.path}: document {self._documents + wrong:,} ends in id"
                f" {int(last[wrong]):,}, not in EOS {pin.eos!r} ({pin.eos_id:,})"
            )

    def _row(self, lengths: I64Array, token: int) -> int:
        return self._documents + int(np.searchsorted(np.cumsum(lengths), token, side="right"))

    def _gate_counts(self, manifest: Manifest) -> None:
        """Refuse what an append that failed half-way, as on a full disk, left behind."""
        for fault in manifest_faults(manifest):
            raise StoreError(f"{self.path}: {fault}: an append failed. Write the store again.")
        check_sizes(self._attempt, manifest)

    def _gate_unknown(self) -> None:
        frac = self._unk_tokens / self._tokens if self._tokens else 0.0
        if frac > self._max_unk_frac:
            raise StoreError(
                f"{self.path}: {self._unk_tokens:,} of {self._tokens:,} tokens are unknown to the"
                f" tokenizer: {frac:.4f} > {self._max_unk_frac}. Use a tokenizer that covers these"
                " texts, or raise `max_unk_frac` of the pipeline."
            )


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)
