"""`id.idx` and `text.idx`: from a document's id, or its text, to its shard and its number there.

Sorted records of 16 bytes (u64 key, u32 shard, u32 document within the shard), the key being
blake2b-64 of the UTF-8 bytes, read as little-endian. Keys may collide and ids may repeat: a reader
checks each hit against the id. Of a text the store keeps the key alone.
"""

from __future__ import annotations

import shutil
from bisect import bisect_left, bisect_right
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from dolmix.document import U64Array

RECORD = np.dtype([("key", "<u8"), ("shard", "<u4"), ("document", "<u4")])
BUCKETS = 256
"""Files over which the records of a large index are spread: one a first byte of the key."""


def id_key(text: str) -> int:
    """Blake2b-64 of an id or a text, as an unsigned integer.

    Lone surrogates, which nothing stored has, are hashed as they are: they match nothing.
    """
    return int.from_bytes(_digest(text.encode(errors="surrogatepass")), "little")


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=8).digest()


def id_records(document_ids: Iterable[str], *, shard: int, first: int) -> NDArray[Any]:
    """Unsorted records of consecutive documents `first`, `first + 1`, ... of one shard."""
    digests = b"".join(_digest(document_id.encode()) for document_id in document_ids)
    return key_records(np.frombuffer(digests, "<u8"), shard=shard, first=first)


def key_records(keys: U64Array, *, shard: int, first: int) -> NDArray[Any]:
    """Unsorted records of consecutive documents of one shard, by their keys (N,)."""
    records = np.zeros(len(keys), RECORD)
    records["key"] = keys
    records["shard"] = shard
    records["document"] = np.arange(first, first + len(keys))
    return records


class IndexWriter:
    """Sorts any number of records within bounded memory: by key, then shard, then document.

    Records must be added in store order. Beyond `most` they are spread over 256 files in `scratch`
    by the first byte of their key; keys are hashes, so that each file holds 1/256 of them.
    """

    def __init__(self, scratch: Path, *, most: int = 1 << 19) -> None:
        self._scratch = scratch
        self._most = most
        self._waiting: list[NDArray[Any]] = []
        self._num_waiting = 0
        self._spilled = False

    def add(self, records: NDArray[Any]) -> None:
        """Take the records of the next documents."""
        self._waiting.append(records)
        self._num_waiting += len(records)
        if self._num_waiting > self._most:
            self._spill()

    def pieces(self) -> Iterator[NDArray[Any]]:
        """Yield all records in the order of the file, a piece of bounded size at a time."""
        if not self._spilled:
            yield _sorted(self._take())
            return
        self._spill()
        for bucket in range(BUCKETS):
            file = self._scratch / f"{bucket:02x}"
            if file.exists():
                yield _sorted(np.fromfile(file, RECORD))

    def write(self, file: Path) -> None:
        """Write the index and remove the scratch files."""
        with file.open("wb") as out:
            for piece in self.pieces():
                out.write(piece.data)
        self.discard()

    def discard(self) -> None:
        """Remove the scratch files."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _take(self) -> NDArray[Any]:
        records = np.concatenate([np.zeros(0, RECORD), *self._waiting])
        self._waiting, self._num_waiting = [], 0
        return records

    def _spill(self) -> None:
        self._scratch.mkdir(parents=True, exist_ok=True)
        records = self._take()
        bucket = (records["key"] >> np.uint64(56)).astype(np.uint8)
        records = records[np.argsort(bucket, kind="stable")]
        edges = np.concatenate([[0], np.cumsum(np.bincount(bucket, minlength=BUCKETS))])
        for number in np.flatnonzero(np.diff(edges)).tolist():
            with (self._scratch / f"{number:02x}").open("ab") as out:
                out.write(records[edges[number] : edges[number + 1]].data)
        self._spilled = True


def _sorted(records: NDArray[Any]) -> NDArray[Any]:
    """Sort by key; records of equal keys stay in the order in which they are: store order."""
    return records[np.argsort(records["key"], kind="stable")]


def matching(index: NDArray[Any], text: str) -> list[tuple[int, int]]:
    """Return (shard, document) of every record whose key is that of the text, in store order.

    O(log N) reads of the index, which stays on disk.
    """
    keys = index["key"]
    key = np.uint64(id_key(text))
    start, stop = bisect_left(keys, key), bisect_right(keys, key)
    return [(int(r["shard"]), int(r["document"])) for r in index[start:stop]]
