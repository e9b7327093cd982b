"""Files of datatrove 0.10's MinHash stages, read and written.

All are arrays of little-endian records without a header:

    bucket_003/00017.minhash.sig    stage 1: the lanes of one band and the document's number within
                                    its task, for each document of task 17, in ascending order
    bucket_003/web.minhash.index    an index: lanes alone, each set of them once, in ascending order
    00003_00.dups                   stage 2: pairs of equal signatures of a band, as task and
                                    document twice; SENTINEL twice stands for a match in an index
    000017.remove                   stage 3: documents of task 17 to drop, in ascending order
    000017.clusters, 000017.sizes   stage 3: document, and its cluster's number or size

A file holds neither the number of hashes nor their bits, so a reader must be told. What does not
fit, and what is not in order, is refused: datatrove itself joins files by their order.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dolmix.dedup.minhash import MinHash, Signatures
from dolmix.document import U32Array, U64Array
from dolmix.errors import DataError, UsageError
from dolmix.files.commit import write_bytes

SENTINEL = (1 << 32) - 1
"""Task and document of a pair's first half when it was found in an index."""
Lanes = U32Array | U64Array


class Banded(NamedTuple):
    """Signatures of one band.

    lanes      (M, rows) uint32 or uint64
    documents  (M,) uint32   numbers within their task
    """

    lanes: Lanes
    documents: U32Array


def signature_path(folder: Path, bucket: int, task: int) -> Path:
    """Where stage 1 writes a task's signatures of one band."""
    return folder / f"bucket_{bucket:03d}" / f"{task:05d}.minhash.sig"


def pairs_path(folder: Path, bucket: int, worker: int = 0) -> Path:
    """Where stage 2 writes the pairs of one band, or a worker's share of them."""
    return folder / f"{bucket:05d}_{worker:02d}.dups"


def removal_path(folder: Path, task: int, suffix: str = "remove") -> Path:
    """Where stage 3 writes about a task's documents; suffix: remove, clusters or sizes."""
    return folder / f"{task:06d}.{suffix}"


def write_signatures(folder: Path, task: int, step: MinHash, batches: Iterable[Signatures]) -> int:
    """Write a task's signatures as datatrove's stage 1 does, one file a band.

    batches  the task's documents in order; those not valid are counted and left out

    Returns how many documents were written. The bytes are datatrove's for a step of
    `preset: datatrove-0.10, short: keep`; any other step's lanes can be written too, as hashes of
    32 bits, and datatrove's later stages read them.
    """
    parts = list(batches)
    valid = np.concatenate([np.zeros(0, np.bool_), *(part.valid for part in parts)])
    if len(valid) > SENTINEL:
        raise UsageError(
            f"task {task} has {len(valid):,} documents; datatrove's files number them in 32 bits: "
            "cut it into smaller tasks"
        )
    bands, rows = step.banding
    width = 8 if step.hash_bits == 64 else 4
    lanes = np.concatenate(
        [np.zeros((0, step.num_hashes), f"u{width}"), *(part.lanes[part.valid] for part in parts)]
    )
    documents = np.flatnonzero(valid).astype(np.uint32)
    for band in range(bands):
        banded = Banded(lanes[:, band * rows : (band + 1) * rows], documents)
        _write(signature_path(folder, band, task), _packed(sort_banded(banded)))
    return len(documents)


def read_signatures(path: Path, *, rows: int, hash_bits: int = 64) -> Banded:
    """Read a `.minhash.sig` file of `rows` hashes a bucket.

    Raises DataError if its size does not fit or its records are not in order.
    """
    records = _records(
        path,
        _record(rows, hash_bits, document=True),
        f"{rows} hashes of {hash_bits} bits and a document",
    )
    banded = Banded(records["lanes"], records["document"])
    _check_order(path, banded)
    return banded


def write_index(path: Path, lanes: Lanes) -> None:
    """Write a `.minhash.index` file of the given lanes, (M, rows), in any order."""
    ordered = sort_banded(Banded(lanes, np.zeros(len(lanes), np.uint32))).lanes
    fresh = np.r_[True, (ordered[1:] != ordered[:-1]).any(axis=1)][: len(ordered)]
    _write(path, ordered[fresh].astype(ordered.dtype.newbyteorder("<")))


def read_index(path: Path, *, rows: int, hash_bits: int = 64) -> Lanes:
    """Read a `.minhash.index` file, (M, rows).

    Raises DataError if its size does not fit or its records are not in order.
    """
    records = _records(
        path, _record(rows, hash_bits, document=False), f"{rows} hashes of {hash_bits} bits"
    )
    _check_order(path, Banded(records["lanes"], np.zeros(len(records), np.uint32)))
    lanes: Lanes = records["lanes"]
    return lanes


def write_pairs(path: Path, pairs: U32Array) -> None:
    """Write a `.dups` file of (P, 4): task, document, task, document."""
    _write(path, pairs.astype("<u4"))


def read_pairs(path: Path) -> U32Array:
    """Read a `.dups` file, (P, 4) uint32: task, document, task, document.

    Raises DataError if its size does not fit.
    """
    found = _records(path, np.dtype(("<u4", 4)), "four numbers of 32 bits")
    pairs: U32Array = found
    return pairs


def write_removals(folder: Path, task: int, documents: U32Array) -> None:
    """Write the `.remove` file of a task: documents to drop, in any order."""
    _write(removal_path(folder, task), np.unique(documents).astype("<u4"))


def read_removals(path: Path) -> U32Array:
    """Read a `.remove` file: documents to drop, ascending.

    Raises DataError if its size does not fit or it is not ascending.
    """
    documents: U32Array = _records(path, np.dtype("<u4"), "a number of 32 bits")
    _check_ascending(path, documents)
    return documents


def write_values(folder: Path, task: int, suffix: str, values: U32Array) -> None:
    """Write a `.clusters` or `.sizes` file, (M, 2): document, and its cluster's number or size."""
    _write(removal_path(folder, task, suffix), values.astype("<u4"))


def read_values(path: Path) -> U32Array:
    """Read a `.clusters` or `.sizes` file, (M, 2) uint32.

    Raises DataError if its size does not fit or its documents are not ascending.
    """
    found: U32Array = _records(path, np.dtype(("<u4", 2)), "two numbers of 32 bits")
    _check_ascending(path, found[:, 0])
    return found


def sort_banded(banded: Banded) -> Banded:
    """Sort by the lanes, then by the document."""
    order = np.lexsort((banded.documents, *banded.lanes.T[::-1]))
    return Banded(banded.lanes[order], banded.documents[order])


def _record(rows: int, hash_bits: int, *, document: bool) -> np.dtype[Any]:
    fields: list[Any] = [("lanes", f"<u{hash_bits // 8}", (rows,))]
    return np.dtype([*fields, ("document", "<u4")] if document else fields)


def _packed(banded: Banded) -> NDArray[Any]:
    lanes = banded.lanes
    packed = np.empty(len(lanes), _record(lanes.shape[1], 8 * lanes.itemsize, document=True))
    packed["lanes"], packed["document"] = banded
    return packed


def _write(path: Path, records: NDArray[Any]) -> None:
    write_bytes(path, records.tobytes())


def _records(path: Path, record: np.dtype[Any], what: str) -> Any:
    data = path.read_bytes()
    if len(data) % record.itemsize:
        raise DataError(
            f"{path}: {len(data):,} bytes are no multiple of {record.itemsize}, the size of a "
            f"record of {what}. The file was cut short, or other settings wrote it."
        )
    return np.frombuffer(data, record)


def _check_order(path: Path, banded: Banded) -> None:
    """Refuse records that are not sorted by their lanes."""
    lanes = banded.lanes
    differs = lanes[1:] != lanes[:-1]
    first = differs.argmax(axis=1)
    at = np.arange(len(first))
    wrong = differs.any(axis=1) & (lanes[1:][at, first] < lanes[:-1][at, first])
    if wrong.any():
        raise DataError(
            f"{path}: record {int(wrong.argmax()) + 2:,} of {len(lanes):,} is smaller than the one "
            f"before it. Read with another number of hashes ({lanes.shape[1]} now) or of bits "
            f"({8 * lanes.itemsize}), or write the file again."
        )


def _check_ascending(path: Path, documents: U32Array) -> None:
    wrong = documents[1:] <= documents[:-1]
    if wrong.any():
        at = int(wrong.argmax()) + 1
        raise DataError(
            f"{path}: record {at + 1:,} of {len(documents):,} names document {documents[at]:,} "
            f"after {documents[at - 1]:,}; documents ascend in such a file. Write it again."
        )
