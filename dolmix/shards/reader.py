"""Reading a store: tokens and document boundaries by position, provenance by document.

Opening reads the manifest, once, and of a local store checks the size of each token and end file
against it; of a remote one a short read shows the same. Everything else is mapped or fetched when
first asked for. Tokens, boundaries and instances need numpy and pydantic alone; provenance loads
pyarrow.
"""

from __future__ import annotations

import json
import os
import stat
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from pydantic import ValidationError

from dolmix.errors import StoreError
from dolmix.shards.folders import LocalFolder, open_folder, parent_of
from dolmix.shards.ids import RECORD, matching
from dolmix.shards.layout import (
    DOCUMENT_COLUMNS,
    END_DTYPE,
    FORMAT,
    ID_INDEX,
    KINDS,
    MANIFEST,
    TEXT_HASH,
    TEXT_INDEX,
    Kind,
    Manifest,
    manifest_faults,
    shard_path,
)
from dolmix.shards.provenance import read_rows, rows_with_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from dolmix.document import I64Array, U64Array
    from dolmix.shards.folders import Folder


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """Where one document of a store came from."""

    document: int
    """Its number in the store, from 0."""
    id: str
    url: str | None
    path: str
    """Input file, relative."""
    record: int
    """Record number within that file."""
    num_tokens: int
    """Tokens, EOS included."""
    columns: dict[str, Any]
    """Kept columns."""
    text_hash: int | None = None
    """Blake2b-64 of the text as it was tokenized; None in a store made without texts."""


def open_store(path: str | Path) -> Store:
    """Open a committed store for reading: a directory, or a URI such as `s3://bucket/web@1`.

    Raises StoreError if there is no manifest, its format is another, its numbers disagree, or a
    token or end file of a local store has not the size that it says.
    """
    folder = open_folder(path)
    manifest = read_manifest(folder)
    for fault in manifest_faults(manifest):
        raise StoreError(f"{folder.location}/{MANIFEST} is damaged: {fault}. Copy the store again.")
    if isinstance(folder, LocalFolder):
        check_sizes(folder.root, manifest)
    return Store(folder, manifest)


def check_sizes(root: Path, manifest: Manifest) -> None:
    """Compare the size of each token and end file with the manifest. Raises StoreError."""
    for entry in manifest.shards:
        sizes: dict[Kind, int] = {
            "tok": entry.tokens * manifest.token_dtype.itemsize,
            "end": entry.documents * END_DTYPE.itemsize,
        }
        for kind, expected in sizes.items():
            file = f"{root}/{shard_path(entry.name, kind)}"
            found = _size(file)
            if found != expected:
                state = "is missing" if found is None else f"has {found:,} bytes"
                raise StoreError(
                    f"{file} {state}; the manifest says {expected:,} bytes. Copy the store again;"
                    f" all that is wrong: dolmix shards verify {root} --full"
                )


def read_manifest(root: Path | Folder) -> Manifest:
    """Read and validate the manifest of the store at `root`. Raises StoreError."""
    folder = LocalFolder(root) if isinstance(root, Path) else root
    file = f"{folder.location}/{MANIFEST}"
    try:
        raw = json.loads(folder.read(MANIFEST))
    except FileNotFoundError:
        raise StoreError(
            f"{folder.location} is no store: it has no {MANIFEST}."
            f" List stores with: dolmix shards ls {parent_of(folder.location)}"
        ) from None
    except (OSError, ValueError) as error:
        raise StoreError(f"{file} cannot be read: {error}. Copy the store again.") from None
    found = raw.get("format") if isinstance(raw, dict) else None
    if found != FORMAT:
        raise StoreError(f"{file} has format {found!r}; this version reads {FORMAT!r}.")
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        raise StoreError(
            f"{file} is damaged at {where}: {first['msg']} ({error.error_count()} in all)."
        ) from None


class _Spans(NamedTuple):
    """Runs of tokens, each within one shard; (n,) int64 each."""

    shards: I64Array
    starts: I64Array
    """First token of each, counted from the start of the store."""
    lengths: I64Array
    at: I64Array
    """Where each goes in the buffer."""


class Store:
    """A committed store, read-only.

    Documents and tokens are numbered from 0 in store order, across shards. Made by `open_store`.
    Pickles as its path.
    """

    def __init__(self, folder: Folder, manifest: Manifest) -> None:
        self.folder = folder
        self.location = folder.location
        """Path or URI of the store."""
        self.manifest = manifest
        self._token_starts = _starts(entry.tokens for entry in manifest.shards)
        self._token_edges: list[int] = self._token_starts.tolist()
        self._document_starts = _starts(entry.documents for entry in manifest.shards)
        self._tok, self._end, self._docs = (
            [shard_path(entry.name, kind) for entry in manifest.shards] for kind in KINDS
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[[str], Store], tuple[str]]:
        return open_store, (self.location,)

    def close(self) -> None:
        """Drop the maps. Arrays handed out stay valid; the store maps again when used again."""
        self.folder.close()

    @property
    def path(self) -> Path:
        """Directory of a local store. Raises StoreError for a remote one."""
        if isinstance(self.folder, LocalFolder):
            return self.folder.root
        raise StoreError(f"{self.location} is remote; copy the store to this machine first.")

    @property
    def name(self) -> str:
        """`source@version`."""
        return self.manifest.name

    @property
    def content_hash(self) -> str:
        """Hash of tokens and document ends, hex."""
        return self.manifest.content_hash

    @property
    def num_tokens(self) -> int:
        """Tokens in the store."""
        return self.manifest.totals.tokens

    @property
    def num_documents(self) -> int:
        """Documents in the store."""
        return self.manifest.totals.documents

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a stored token: `<u2` or `<u4`."""
        return self.manifest.token_dtype

    @cached_property
    def ends(self) -> U64Array:
        """(D,) uint64: end of each document in tokens, in store order; held in memory."""
        empty = np.zeros(0, np.uint64)
        return np.concatenate([empty, *(ends for _, ends in self.shard_ends())])

    def shard_ends(self) -> Iterator[tuple[int, U64Array]]:
        """Yield shard by shard the first token and the (D,) uint64 document ends, in the store."""
        for shard, first in enumerate(self._token_starts[:-1].tolist()):
            yield first, self._shard_ends(shard) + np.uint64(first)

    def tokens(self, start: int, stop: int) -> NDArray[Any]:
        """(stop - start,) tokens in the store's dtype, read-only.

        A view of the file within one shard of a local store, else a copy. Raises StoreError if the
        span is not within the store, or cannot be read.
        """
        self._check_span(start, stop)
        if start == stop:
            return np.zeros(0, self.dtype)
        shard = bisect_right(self._token_edges, start) - 1
        base, edge = self._token_edges[shard : shard + 2]
        if stop <= edge:
            return next(self._fetch([self._tok[shard]], [start - base], [stop - base]))
        spans = self._within_shards(np.array([start]), np.array([stop - start]), np.array([0]))
        joined = np.concatenate(list(self._read(spans)))
        joined.flags.writeable = False
        return joined

    def read_spans(
        self, starts: I64Array, lengths: I64Array, out: NDArray[Any], at: I64Array
    ) -> None:
        """Copy spans of tokens into one flat buffer.

        starts   (n,)          first token of each span
        lengths  (n,)          its tokens
        out      (m,) integers that hold the store's dtype
        at       (n,)          where each span begins in `out`

        Spans of a remote store are fetched together. Raises StoreError if a span is not within the
        store, or cannot be read.
        """
        some = lengths > 0
        starts, lengths, at = starts[some], lengths[some], at[some]
        if not starts.size:
            return
        stops = starts + lengths
        worst = int(np.argmin(starts)), int(np.argmax(stops))
        for n in worst:
            self._check_span(int(starts[n]), int(stops[n]))
        spans = self._within_shards(starts, lengths, at)
        places = zip(spans.at.tolist(), (spans.at + spans.lengths).tolist(), strict=True)
        for tokens, (begin, end) in zip(self._read(spans), places, strict=True):
            out[begin:end] = tokens

    def ends_between(self, starts: I64Array, stops: I64Array) -> tuple[I64Array, I64Array]:
        """Find the documents that end within spans: (row, end), by row, then by end.

        starts, stops  (n,)   spans in tokens
        returns        (m,), (m,) int64: number of the span, and an end, start < end < stop
        """
        low, high = self._ends_up_to(starts), self._ends_up_to(np.maximum(stops - 1, starts))
        counts = np.maximum(high - low, 0)
        rows = np.repeat(np.arange(len(starts)), counts)
        within = np.arange(rows.size) - np.repeat(np.cumsum(counts) - counts, counts)
        return rows, self._end_of(low[rows] + within)

    def document_span(self, document: int) -> tuple[int, int]:
        """Return [start, stop) of a document, in tokens. Raises StoreError outside the store."""
        self._check_document(document)
        shard = self._shard_of(document, self._document_starts)
        ends = self._shard_ends(shard)
        local = document - int(self._document_starts[shard])
        base = int(self._token_starts[shard])
        return base + (int(ends[local - 1]) if local else 0), base + int(ends[local])

    def documents_in(self, start: int, stop: int) -> range:
        """Documents with a token in [start, stop). Raises StoreError outside the store."""
        self._check_span(start, stop)
        if start == stop:
            return range(0)
        return range(self._document_at(start), self._document_at(stop - 1) + 1)

    def documents_at(self, tokens: I64Array) -> I64Array:
        """(n,) int64: the document that holds each of (n,) tokens, all within the store."""
        return self._ends_up_to(tokens)

    def document_spans(self, documents: I64Array) -> tuple[I64Array, I64Array]:
        """Return (n,), (n,) int64: start and end in tokens of documents, all within the store."""
        before = np.maximum(documents - 1, 0)
        return np.where(documents > 0, self._end_of(before), 0), self._end_of(documents)

    def provenance(self, documents: Sequence[int]) -> list[DocumentRow]:
        """Return one row for each document, in the order asked; reads only their row groups.

        Raises StoreError for a document outside the store, or if a docs file is damaged.
        """
        for document in documents:
            self._check_document(document)
        rows: dict[int, DocumentRow] = {}
        wanted: dict[int, list[int]] = {}
        for document in sorted(set(documents)):
            wanted.setdefault(self._shard_of(document, self._document_starts), []).append(document)
        for shard, members in wanted.items():
            rows.update(self._read_rows(shard, members))
        return [rows[document] for document in documents]

    def docs_file(self, shard: int) -> Any:
        """Return what `pyarrow.parquet.ParquetFile` opens for the docs file of a shard."""
        return self.folder.parquet(self._docs[shard])

    def find_id(self, id: str) -> list[int]:  # noqa: A002 - the column's name
        """Return the documents with this id, in store order: several if the inputs repeat it.

        Raises StoreError if the index or the provenance of a document is damaged.
        """
        documents = [self._indexed(*place) for place in matching(self._id_index, id)]
        return [row.document for row in self.provenance(documents) if row.id == id]

    def find_text(self, text: str) -> list[int]:
        """Return the documents whose text, as it was tokenized, is this one, in store order.

        Two texts are taken for the same if their 64-bit hashes are. Raises StoreError if the store
        was made without texts, or its index is missing or damaged.
        """
        if not self.num_documents:
            return []
        if TEXT_INDEX not in self.manifest.files:
            raise StoreError(
                f"{self.location} has no {TEXT_INDEX}: it was made without texts, or before texts"
                " were hashed. Look a document up by id, or write the store again from its inputs."
            )
        return [self._indexed(*place, TEXT_INDEX) for place in matching(self._text_index, text)]

    def find_url(self, url: str) -> list[int]:
        """Return the documents with this URL, in store order.

        Reads the URLs of all docs files: URLs have no index. Raises StoreError for a damaged file.
        """
        found: list[int] = []
        for shard, entry in enumerate(self.manifest.shards):
            rows = rows_with_url(self.docs_file(shard), entry.documents, url)
            found += (rows + int(self._document_starts[shard])).tolist()
        return found

    @cached_property
    def _id_index(self) -> Any:
        return self._index(ID_INDEX)

    @cached_property
    def _text_index(self) -> Any:
        return self._index(TEXT_INDEX)

    def _index(self, name: str) -> Any:
        try:
            return self.folder.sorted_items(name, RECORD, self.num_documents)
        except FileNotFoundError:
            fault = f"{self.location}/{name} is missing"
        except OSError as error:
            fault = str(error)
        raise StoreError(
            f"{fault}; the manifest says {self.num_documents * RECORD.itemsize:,} bytes. Make it"
            f" again with: dolmix shards repair {self.location}"
        )

    def _indexed(self, shard: int, local: int, index: str = ID_INDEX) -> int:
        """Document that a record of an index names; the index has no digest checked here."""
        shards = self.manifest.shards
        if shard >= len(shards) or local >= shards[shard].documents:
            raise StoreError(
                f"{self.location}/{index} names document {local:,} of shard {shard:,}, which the"
                f" store does not have. Make it again with: dolmix shards repair {self.location}"
            )
        return int(self._document_starts[shard]) + local

    def _document_at(self, token: int) -> int:
        return int(self._ends_up_to(np.array([token]))[0])

    def _ends_up_to(self, tokens: I64Array) -> I64Array:
        """Documents of the store that end at a token or before it, for each of (n,) tokens."""
        shards = np.searchsorted(self._token_starts, tokens, side="right") - 1
        shards = np.clip(shards, 0, max(len(self._end) - 1, 0))
        found = np.zeros(len(tokens), np.int64)
        for shard in np.unique(shards).tolist() if self._end else []:
            rows = np.flatnonzero(shards == shard)
            local = (tokens[rows] - self._token_starts[shard]).astype(np.uint64)
            below = np.searchsorted(self._shard_ends(shard), local, side="right")
            found[rows] = self._document_starts[shard] + below
        return found

    def _end_of(self, documents: I64Array) -> I64Array:
        """(n,) int64: end of each document in tokens."""
        shards = np.searchsorted(self._document_starts, documents, side="right") - 1
        ends = np.zeros(len(documents), np.int64)
        for shard in np.unique(shards).tolist():
            rows = np.flatnonzero(shards == shard)
            local = self._shard_ends(shard)[documents[rows] - self._document_starts[shard]]
            ends[rows] = local.astype(np.int64) + self._token_starts[shard]
        return ends

    def _read_rows(self, shard: int, members: list[int]) -> dict[int, DocumentRow]:
        numbers = np.array(members, np.int64) - self._document_starts[shard]
        documents = self.manifest.shards[shard].documents
        listed = read_rows(self.docs_file(shard), documents, numbers)
        return {d: _row(d, values) for d, values in zip(members, listed, strict=True)}

    def _within_shards(self, starts: I64Array, lengths: I64Array, at: I64Array) -> _Spans:
        """Cut spans where they cross from one shard into the next."""
        shards = np.searchsorted(self._token_starts, starts, side="right") - 1
        room = self._token_starts[shards + 1] - starts
        cut = [_Spans(shards, starts, np.minimum(lengths, room), at)]
        while (left := np.flatnonzero(lengths > room)).size:
            starts, at = starts[left] + room[left], at[left] + room[left]
            lengths, shards = lengths[left] - room[left], shards[left] + 1
            room = self._token_starts[shards + 1] - starts
            cut.append(_Spans(shards, starts, np.minimum(lengths, room), at))
        if len(cut) == 1:
            return cut[0]
        joined = _Spans(*(np.concatenate(column) for column in zip(*cut, strict=True)))
        order = np.argsort(joined.at, kind="stable")
        return _Spans(*(column[order] for column in joined))

    def _read(self, spans: _Spans) -> Iterator[NDArray[Any]]:
        """Yield the tokens of spans that each lie within one shard."""
        local = spans.starts - self._token_starts[spans.shards]
        files = [self._tok[shard] for shard in spans.shards.tolist()]
        return self._fetch(files, local.tolist(), (local + spans.lengths).tolist())

    def _fetch(
        self, files: list[str], starts: list[int], stops: list[int]
    ) -> Iterator[NDArray[Any]]:
        """Yield tokens [start, stop) of each token file in turn."""
        try:
            yield from self.folder.spans(files, starts, stops, self.dtype)
        except OSError as error:
            raise StoreError(f"{self.location} cannot be read: {error}") from error

    def _shard_ends(self, shard: int) -> U64Array:
        try:
            ends = self.folder.array(self._end[shard], END_DTYPE)
        except OSError as error:
            raise StoreError(f"{self.location} cannot be read: {error}") from error
        if len(ends) != self.manifest.shards[shard].documents:
            raise StoreError(
                f"{self.location}/{self._end[shard]} has {len(ends):,} ends, the manifest says"
                f" {self.manifest.shards[shard].documents:,}. Copy the store again."
            )
        return ends

    @staticmethod
    def _shard_of(position: int, starts: I64Array) -> int:
        return int(np.searchsorted(starts, position, side="right")) - 1

    def _check_span(self, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= self.num_tokens:
            raise StoreError(
                f"tokens [{start:,}, {stop:,}) are not within {self.location}, which"
                f" has {self.num_tokens:,} tokens"
            )

    def _check_document(self, document: int) -> None:
        if not 0 <= document < self.num_documents:
            raise StoreError(
                f"there is no document {document:,} in {self.location}: it has"
                f" {self.num_documents:,}, numbered from 0"
            )


def _starts(counts: Any) -> I64Array:
    """(shards + 1,) int64: first number of each shard, and the total."""
    return np.cumsum([0, *counts], dtype=np.int64)


def _size(file: str) -> int | None:
    """Bytes of a regular file, None where there is none."""
    try:
        found = os.stat(file)  # noqa: PTH116 - twenty thousand of these open a large store
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _row(document: int, values: dict[str, Any]) -> DocumentRow:
    known = {name: values.pop(name) for name in DOCUMENT_COLUMNS}
    text_hash = values.pop(TEXT_HASH, None)
    return DocumentRow(document=document, **known, columns=values, text_hash=text_hash)
