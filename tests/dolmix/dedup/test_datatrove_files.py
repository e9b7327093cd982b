"""Files of datatrove's MinHash stages: written, read, refused, joined and clustered."""

import struct
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import naive_dedup as naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolmix.dedup import MinHash, Signatures
from dolmix.dedup import datatrove_files as files
from dolmix.dedup.datatrove_files import SENTINEL, Banded
from dolmix.dedup.datatrove_stages import (
    Bucket,
    cluster_pairs,
    find_pairs,
    join_bucket,
    resolve_pairs,
)
from dolmix.errors import DataError, DolmixError, UsageError

STEP = MinHash(bands=2, rows=2, num_hashes=4)
PAIRS = st.lists(st.tuples(*[st.integers(0, 3), st.integers(0, 4)] * 2), max_size=30)


def signatures(lanes: list[list[int]], valid: list[bool] | None = None) -> Signatures:
    """Signatures of given lanes."""
    flags = [True] * len(lanes) if valid is None else valid
    return Signatures(np.array(lanes, np.uint32), np.array(flags))


def test_signature_file_is_sorted_records(tmp_path: Path) -> None:
    """One file a band: lanes and the document's number over all batches, in order of the lanes."""
    batches = [signatures([[9, 1, 5, 5], [0, 0, 0, 0]], [True, False]), signatures([[3, 7, 5, 5]])]
    assert files.write_signatures(tmp_path, 4, STEP, batches) == 2
    first = tmp_path / "bucket_000" / "00004.minhash.sig"
    second = tmp_path / "bucket_001" / "00004.minhash.sig"
    assert first.read_bytes() == struct.pack("<3I3I", 3, 7, 2, 9, 1, 0)
    assert second.read_bytes() == struct.pack("<3I3I", 5, 5, 0, 5, 5, 2)
    banded = files.read_signatures(first, rows=2, hash_bits=32)
    assert banded.lanes.tolist() == [[3, 7], [9, 1]]
    assert banded.documents.tolist() == [2, 0]


def test_no_documents_give_empty_files(tmp_path: Path) -> None:
    """A task without documents writes files of no records, which read as such."""
    assert files.write_signatures(tmp_path, 0, STEP, []) == 0
    path = files.signature_path(tmp_path, 1, 0)
    assert path.read_bytes() == b""
    assert files.read_signatures(path, rows=2, hash_bits=32).lanes.shape == (0, 2)


@given(st.lists(st.tuples(*[st.integers(0, 2**64 - 1)] * 2), max_size=20))
def test_index_holds_each_signature_once(lanes: list[tuple[int, int]]) -> None:
    """Written in any order, with repeats; read back sorted and distinct."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bucket_000" / "web.minhash.index"
        files.write_index(path, np.array(lanes, np.uint64).reshape(-1, 2))
        found = files.read_index(path, rows=2)
    assert [tuple(row) for row in found.tolist()] == sorted(set(lanes))


def test_removals_pairs_and_values_round_trip(tmp_path: Path) -> None:
    """What is written under datatrove's names is read back; removals come back in order."""
    files.write_removals(tmp_path, 3, np.array([9, 2, 5, 2], np.uint32))
    path = tmp_path / "000003.remove"
    assert path.read_bytes() == struct.pack("<3I", 2, 5, 9)
    assert files.read_removals(path).tolist() == [2, 5, 9]
    pairs = np.array([[0, 1, 2, 3], [SENTINEL, SENTINEL, 0, 4]], np.uint32)
    files.write_pairs(tmp_path / "00000_00.dups", pairs)
    assert files.read_pairs(tmp_path / "00000_00.dups").tolist() == pairs.tolist()
    files.write_values(tmp_path, 3, "sizes", np.array([[2, 7], [5, 7]], np.uint32))
    assert files.read_values(tmp_path / "000003.sizes").tolist() == [[2, 7], [5, 7]]


@pytest.mark.parametrize(
    ("data", "read", "message"),
    [
        (b"x" * 67, lambda p: files.read_signatures(p, rows=8), "67 bytes are no multiple of 68"),
        (b"x" * 8, lambda p: files.read_index(p, rows=2), "8 bytes are no multiple of 16"),
        (b"x" * 15, files.read_pairs, "15 bytes are no multiple of 16"),
        (b"x" * 3, files.read_removals, "3 bytes are no multiple of 4"),
        (b"x" * 4, files.read_values, "4 bytes are no multiple of 8"),
        (
            struct.pack("<2QI2QI", 5, 1, 0, 4, 9, 1),
            lambda p: files.read_signatures(p, rows=2),
            r"record 2 of 2 is smaller .* \(2 now\)",
        ),
        (
            struct.pack("<4Q", 5, 2, 5, 1),
            lambda p: files.read_index(p, rows=2),
            "record 2 of 2 is smaller",
        ),
        (struct.pack("<2I", 7, 7), files.read_removals, "names document 7 after 7"),
        (struct.pack("<4I", 7, 0, 6, 0), files.read_values, "names document 6 after 7"),
    ],
)
def test_damaged_files_are_refused(
    tmp_path: Path, data: bytes, read: Callable[[Path], Any], message: str
) -> None:
    """The message names the file, what was found and what was expected."""
    path = tmp_path / "damaged"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), max_size=6),
        min_size=1,
        max_size=3,
    ),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), max_size=4),
    st.booleans(),
)
def test_pairs_are_neighbours_of_the_merged_files(
    parts: list[list[tuple[int, int]]], known: list[tuple[int, int]], among_new: bool
) -> None:
    """Equal neighbours of all records in order; an index stands before documents, unnamed."""
    banded = [
        files.sort_banded(
            Banded(np.array(lanes, np.uint64).reshape(-1, 2), np.arange(len(lanes), dtype="u4"))
        )
        for lanes in parts
    ]
    index = [np.array(sorted(set(known)), np.uint64).reshape(-1, 2)]
    found = find_pairs([10 * n for n in range(len(parts))], banded, index, among_new=among_new)
    rows = [(lanes, -1, 0) for lanes in set(known)]
    rows += [(lane, n, doc) for n, part in enumerate(parts) for doc, lane in enumerate(part)]
    rows.sort()
    expected = [
        [SENTINEL, SENTINEL, 10 * n, doc] if a < 0 else [10 * a, b, 10 * n, doc]
        for (one, a, b), (other, n, doc) in pairwise(rows)
        if one == other and n >= 0 and (a < 0 or among_new)
    ]
    assert found.pairs.tolist() == expected


@given(PAIRS, st.booleans())
def test_clusters_match_their_twin(pairs: list[tuple[int, int, int, int]], indexed: bool) -> None:
    """Who stays, cluster sizes and numbers are those of datatrove's union-find, in its order."""
    block = np.array(pairs, np.uint32).reshape(-1, 4)
    if indexed and len(block):
        block[:: max(1, len(block) // 3), :2] = SENTINEL
    nodes = [(a << 32 | b, c << 32 | d) for a, b, c, d in block.tolist()]
    root, sizes = naive.datatrove_clusters(nodes, fixed=(1 << 64) - 1)
    found = cluster_pairs([block[:5], block[5:]])
    names = [
        task << 32 | doc
        for task, doc in zip(found.tasks.tolist(), found.documents.tolist(), strict=True)
    ]
    assert names == sorted(root)
    assert found.removed.tolist() == [root[name] != name for name in names]
    assert found.sizes.tolist() == [sizes[root[name]] for name in names]
    numbers = list(dict.fromkeys(root[name] for name in names))
    assert found.clusters.tolist() == [numbers.index(root[name]) for name in names]


def test_stages_from_files_to_files(tmp_path: Path) -> None:
    """Signatures of two tasks end as one removal; workers of one bucket find the same pairs."""
    same = [1, 2, 3, 4]
    files.write_signatures(tmp_path / "sig", 0, STEP, [signatures([[8, 8, 8, 8], same])])
    files.write_signatures(tmp_path / "sig", 7, STEP, [signatures([same, [5, 6, 7, 8]])])
    for number in range(2):
        bucket = Bucket(number, rows=2, hash_bits=32)
        assert join_bucket(tmp_path / "sig", tmp_path / "one", bucket) == 1
        for worker in range(2):
            shared = bucket._replace(worker=worker, num_workers=2)
            join_bucket(tmp_path / "sig", tmp_path / "two", shared)
    whole = files.read_pairs(tmp_path / "one" / "00000_00.dups")
    parts = [files.read_pairs(tmp_path / "two" / f"00000_0{n}.dups") for n in range(2)]
    assert whole.tolist() == np.concatenate(parts).tolist() == [[0, 1, 7, 0]]
    assert resolve_pairs(tmp_path / "one", tmp_path / "out", save_cluster_size=True) == 1
    assert files.read_removals(tmp_path / "out" / "000007.remove").tolist() == [0]
    assert not (tmp_path / "out" / "000000.remove").exists()
    assert files.read_values(tmp_path / "out" / "000000.sizes").tolist() == [[1, 2]]


def test_what_cannot_be_joined_is_refused(tmp_path: Path) -> None:
    """A file of another name, and more workers than the first file has signatures."""
    files.write_signatures(tmp_path, 0, STEP, [signatures([[1, 2, 3, 4]])])
    bucket = Bucket(0, rows=2, hash_bits=32, worker=1, num_workers=3)
    with pytest.raises(UsageError, match="3 workers, but the first file has only 1 signatures"):
        join_bucket(tmp_path, tmp_path / "out", bucket)
    (tmp_path / "bucket_000" / "part-a.minhash.sig").write_bytes(b"")
    with pytest.raises(DolmixError, match=r"part-a\.minhash\.sig"):
        join_bucket(tmp_path, tmp_path / "out", bucket)


def test_empty_folders_give_empty_results(tmp_path: Path) -> None:
    """No signatures, no pairs: an empty file of pairs, nothing dropped."""
    assert join_bucket(tmp_path / "sig", tmp_path / "dups", Bucket(0)) == 0
    assert files.read_pairs(tmp_path / "dups" / "00000_00.dups").shape == (0, 4)
    assert resolve_pairs(tmp_path / "dups", tmp_path / "out") == 0
