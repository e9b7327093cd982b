"""`id.idx`: from a document's id to its shard and its number there.

Sorted records of 16 bytes (u64 key, u32 shard, u32 document within the shard), the key being
blake2b-64 of the id's UTF-8 bytes, read as little-endian. Keys may collide and ids may repeat: a
reader checks each hit against the id.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

RECORD = np.dtype([("key", "<u8"), ("shard", "<u4"), ("document", "<u4")])


def id_key(document_id: str) -> int:
    """Blake2b-64 of an id, as an unsigned integer.

    Lone surrogates, which no stored id has, are hashed as they are: such an id matches nothing.
    """
    text = document_id.encode(errors="surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")


def id_records(document_ids: Iterable[str], *, shard: int, first: int) -> NDArray[Any]:
    """Unsorted records of consecutive documents `first`, `first + 1`, ... of one shard."""
    keys = [id_key(document_id) for document_id in document_ids]
    records = np.zeros(len(keys), RECORD)
    records["key"] = keys
    records["shard"] = shard
    records["document"] = np.arange(first, first + len(keys))
    return records


def sorted_records(pieces: Iterable[NDArray[Any]]) -> NDArray[Any]:
    """All records in the order of the file: by key, then shard, then document."""
    records = np.concatenate([np.zeros(0, RECORD), *pieces])
    return records[np.lexsort((records["document"], records["shard"], records["key"]))]


def matching(index: NDArray[Any], document_id: str) -> list[tuple[int, int]]:
    """Return (shard, document) of every record whose key is that of the id, in store order.

    O(log N) reads of the index, which stays on disk.
    """
    keys = index["key"]
    key = np.uint64(id_key(document_id))
    start, stop = bisect_left(keys, key), bisect_right(keys, key)
    return [(int(r["shard"]), int(r["document"])) for r in index[start:stop]]
