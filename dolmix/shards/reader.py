"""Reading a store: tokens and document boundaries by position, provenance by document.

Opening reads the manifest and checks the size of each token and end file against it; everything
else is mapped when first asked for. Tokens, boundaries and instances need numpy and pydantic alone;
provenance loads pyarrow.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import ValidationError

from dolmix.errors import StoreError
from dolmix.shards.ids import RECORD, matching
from dolmix.shards.layout import (
    DOCUMENT_COLUMNS,
    END_DTYPE,
    FORMAT,
    ID_INDEX,
    MANIFEST,
    Kind,
    Manifest,
    manifest_faults,
    shard_file,
)
from dolmix.shards.provenance import read_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from dolmix.document import I64Array, U64Array


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


def open_store(path: str | Path) -> Store:
    """Open a committed store for reading.

    Raises StoreError if there is no manifest, its format is another, its numbers disagree, or a
    token or end file has not the size that it says.
    """
    root = Path(path)
    manifest = read_manifest(root)
    for fault in manifest_faults(manifest):
        raise StoreError(f"{root / MANIFEST} is damaged: {fault}. Copy the store again.")
    check_sizes(root, manifest)
    return Store(root, manifest)


def check_sizes(root: Path, manifest: Manifest) -> None:
    """Compare the size of each token and end file with the manifest. Raises StoreError."""
    for entry in manifest.shards:
        sizes: dict[Kind, int] = {
            "tok": entry.tokens * manifest.token_dtype.itemsize,
            "end": entry.documents * END_DTYPE.itemsize,
        }
        for kind, expected in sizes.items():
            file = shard_file(root, entry.name, kind)
            found = file.stat().st_size if file.is_file() else None
            if found != expected:
                state = "is missing" if found is None else f"has {found:,} bytes"
                raise StoreError(
                    f"{file} {state}; the manifest says {expected:,} bytes. Copy the store again;"
                    f" all that is wrong: dolmix shards verify {root} --full"
                )


def read_manifest(root: Path) -> Manifest:
    """Read and validate the manifest of the store at `root`. Raises StoreError."""
    file = root / MANIFEST
    try:
        raw = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise StoreError(
            f"{root} is no store: it has no {MANIFEST}."
            f" List stores with: dolmix shards ls {root.parent}"
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


class Store:
    """A committed store, read-only.

    Documents and tokens are numbered from 0 in store order, across shards. Made by `open_store`.
    Pickles as its path.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self._token_starts = _starts(entry.tokens for entry in manifest.shards)
        self._document_starts = _starts(entry.documents for entry in manifest.shards)
        self._tokens: dict[int, NDArray[Any]] = {}
        self._ends: dict[int, U64Array] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[[Path], Store], tuple[Path]]:
        return open_store, (self.path,)

    def close(self) -> None:
        """Drop the maps. Arrays handed out stay valid; the store maps again when used again."""
        self._tokens.clear()
        self._ends.clear()

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
        ends = np.zeros(self.num_documents, np.uint64)
        for shard in range(len(self.manifest.shards)):
            start, stop = self._document_starts[shard : shard + 2]
            ends[start:stop] = self._shard_ends(shard) + np.uint64(self._token_starts[shard])
        return ends

    def tokens(self, start: int, stop: int) -> NDArray[Any]:
        """(stop - start,) tokens in the store's dtype.

        A read-only view within one shard, a copy across shards. Raises StoreError if the span is
        not within the store.
        """
        self._check_span(start, stop)
        if start == stop:
            return np.zeros(0, self.dtype)
        shard = self._shard_of(start, self._token_starts)
        at = int(self._token_starts[shard])
        if stop <= self._token_starts[shard + 1]:
            return self._shard_tokens(shard)[start - at : stop - at]
        pieces = []
        while start < stop:
            at, end = (int(n) for n in self._token_starts[shard : shard + 2])
            pieces.append(self._shard_tokens(shard)[start - at : min(stop, end) - at])
            start, shard = end, shard + 1
        return np.concatenate(pieces)

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

    def find_id(self, id: str) -> list[int]:  # noqa: A002 - the column's name
        """Return the documents with this id, in store order: several if the inputs repeat it.

        Raises StoreError if the index or the provenance of a document is damaged.
        """
        documents = [self._indexed(*place) for place in matching(self._id_index, id)]
        return [row.document for row in self.provenance(documents) if row.id == id]

    @cached_property
    def _id_index(self) -> NDArray[Any]:
        file = self.path / ID_INDEX
        expected = self.num_documents * RECORD.itemsize
        found = file.stat().st_size if file.is_file() else None
        if found != expected:
            state = "is missing" if found is None else f"has {found:,} bytes"
            raise StoreError(f"{file} {state}; the manifest says {expected:,}. Copy it again.")
        return _mapped(file, RECORD)

    def _indexed(self, shard: int, local: int) -> int:
        """Document that a record of the id index names; the index has no digest checked here."""
        shards = self.manifest.shards
        if shard >= len(shards) or local >= shards[shard].documents:
            raise StoreError(
                f"{self.path / ID_INDEX} names document {local:,} of shard {shard:,}, which the"
                " store does not have. Copy it again."
            )
        return int(self._document_starts[shard]) + local

    def _document_at(self, token: int) -> int:
        shard = self._shard_of(token, self._token_starts)
        local = np.uint64(token - int(self._token_starts[shard]))
        within = int(np.searchsorted(self._shard_ends(shard), local, side="right"))
        return int(self._document_starts[shard]) + within

    def _read_rows(self, shard: int, members: list[int]) -> dict[int, DocumentRow]:
        entry = self.manifest.shards[shard]
        file = shard_file(self.path, entry.name, "docs")
        numbers = np.array(members, np.int64) - self._document_starts[shard]
        listed = read_rows(file, entry.documents, numbers)
        return {d: _row(d, values) for d, values in zip(members, listed, strict=True)}

    def _shard_tokens(self, shard: int) -> NDArray[Any]:
        found = self._tokens.get(shard)
        if found is None:
            name = self.manifest.shards[shard].name
            found = _mapped(shard_file(self.path, name, "tok"), self.dtype)
            self._tokens[shard] = found
        return found

    def _shard_ends(self, shard: int) -> U64Array:
        found = self._ends.get(shard)
        if found is None:
            name = self.manifest.shards[shard].name
            found = _mapped(shard_file(self.path, name, "end"), END_DTYPE)
            self._ends[shard] = found
        return found

    @staticmethod
    def _shard_of(position: int, starts: I64Array) -> int:
        return int(np.searchsorted(starts, position, side="right")) - 1

    def _check_span(self, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= self.num_tokens:
            raise StoreError(
                f"tokens [{start:,}, {stop:,}) are not within {self.path}, which has"
                f" {self.num_tokens:,} tokens"
            )

    def _check_document(self, document: int) -> None:
        if not 0 <= document < self.num_documents:
            raise StoreError(
                f"there is no document {document:,} in {self.path}: it has {self.num_documents:,},"
                " numbered from 0"
            )


def _starts(counts: Any) -> I64Array:
    """(shards + 1,) int64: first number of each shard, and the total."""
    return np.cumsum([0, *counts], dtype=np.int64)


def _mapped(file: Path, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Map a whole file read-only, as a plain array: slicing a memmap costs several times that."""
    if file.stat().st_size == 0:
        return np.zeros(0, dtype)
    return np.asarray(np.memmap(file, dtype=dtype, mode="r"))


def _row(document: int, values: dict[str, Any]) -> DocumentRow:
    known = {name: values.pop(name) for name in DOCUMENT_COLUMNS}
    return DocumentRow(document=document, **known, columns=values)
