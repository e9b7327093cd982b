"""Candidate pairs from runs on disk: those of all keys in memory, for any pieces and ranges."""

import tracemalloc
from pathlib import Path
from typing import Any

import naive_clusters as naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolmix.dedup import MatchKeys
from dolmix.dedup.external import Search, external_pairs, group_pairs
from dolmix.dedup.grouping import ordered
from dolmix.dedup.runs import KeyRun, folded, write_run

KEY = st.sampled_from([0, 1, 2, 3, 1 << 20, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
DOCUMENT = st.tuples(KEY, KEY, KEY, st.booleans())
PARTS = st.lists(st.lists(DOCUMENT, max_size=12), min_size=1, max_size=4)
MILLION = 1_000_000


def write_parts(folder: Path, parts: list[list[tuple[int, ...]]], width: int) -> list[KeyRun]:
    """Write a run a part, of one band."""
    runs, start = [], 0
    for number, part in enumerate(parts):
        values = np.array([d[:width] for d in part], np.uint64).reshape(-1, 1, width)
        valid = np.array([d[3] for d in part], np.bool_)
        path = folder / f"{number}.run"
        runs.append(KeyRun(path, write_run(path, MatchKeys(values, valid)), width > 1, start))
        start += len(part)
    return runs


def found(runs: list[KeyRun], ranges: int, **settings: Any) -> list[tuple[int, ...]]:
    """All pairs of all ranges, sorted."""
    searches = [Search(0, number, ranges, **settings) for number in range(ranges)]
    blocks = [block.tolist() for search in searches for block in external_pairs(runs, search)]
    return sorted(tuple(pair) for block in blocks for pair in block)


@given(
    PARTS,
    st.integers(1, 3),
    st.sampled_from([1, 2, 3, 8]),
    st.sampled_from([2, 3, 7, 1000]),
    st.sampled_from([1, 2, 8]),
    st.integers(0, 20),
)
def test_pairs_are_those_of_the_twin(
    tmp_path_factory: pytest.TempPathFactory,
    parts: list[list[tuple[int, ...]]],
    width: int,
    ranges: int,
    piece: int,
    first: int,
    own: int,
) -> None:
    """For any parts, widths, ranges and memory, each pair comes once; crowded keys included.

    A group that has no document of this run is left out, unless its key is too crowded for memory.
    """
    runs = write_parts(tmp_path_factory.mktemp("runs"), parts, width)
    valid = [(d[:width], n) for n, d in enumerate(d for part in parts for d in part) if d[3]]
    keys, numbers = [k for k, _ in valid], [n for _, n in valid]
    pairs = found(runs, ranges, piece=piece, first=first)
    assert pairs == naive.pairs_of_groups(keys, numbers, first=first)
    with_old = found(runs, ranges, piece=1000, first=first, own=own)
    assert with_old == naive.pairs_of_groups(keys, numbers, first=first, own=own)


@given(st.lists(st.integers(0, (1 << 64) - 1) | KEY, max_size=400))
def test_ordered_is_sorted(values: list[int]) -> None:
    """The radix sort and the one that takes over from it give ascending words."""
    assert ordered(np.array(values, np.uint64)).tolist() == sorted(values)


@pytest.mark.parametrize("low_bits", [False, True], ids=["spread", "crowded"])
def test_ordered_takes_any_input(low_bits: bool) -> None:
    """Words that all share their upper bits, in falling order, are sorted too, and in no more time.

    Insertion alone would move 10^10 words.
    """
    words = np.arange(200_000, dtype=np.uint64)[::-1].copy()
    words = words if low_bits else words * np.uint64(0x9E3779B97F4A7C15)
    assert (np.diff(ordered(words.copy()).astype(object)[:1000]) > 0).all()
    assert (ordered(words.copy()) == np.sort(words)).all()


def test_wide_keys_are_folded_one_to_one() -> None:
    """Keys of eight words fold into two: equal ones to equal ones, and unequal ones apart."""
    keys = np.random.default_rng(1).integers(0, 3, (4000, 8), dtype=np.uint64)
    assert folded(keys).shape == (4000, 2)
    distinct = {tuple(row) for row in keys.tolist()}
    assert len({tuple(row) for row in folded(keys).tolist()}) == len(distinct)
    assert folded(keys[:, :2]) is not None
    assert (folded(keys[:, :2]) == keys[:, :2]).all()


def test_keys_of_equal_upper_bits_are_told_apart() -> None:
    """Keys that differ in their last bit alone make two groups."""
    keys = np.array([[8], [9], [8], [9], [8]], np.uint64)
    pairs = group_pairs(keys, np.arange(5), Search(0))
    assert sorted(map(tuple, pairs.tolist())) == [(0, 2), (0, 4), (1, 3)]


@pytest.mark.parametrize("piece", [1 << 22, 100_000], ids=["whole", "in blocks"])
def test_a_million_equal_documents_in_many_parts(tmp_path: Path, piece: int) -> None:
    """A crowded key gives a star of a million pairs less one, in fixed memory too."""
    size = MILLION // 10
    path = tmp_path / "equal.run"
    write_run(path, MatchKeys(np.full((size, 1, 1), 7, np.uint64), np.ones(size, np.bool_)))
    runs = [KeyRun(path, size, wide=False, start=part * size) for part in range(10)]
    blocks = list(external_pairs(runs, Search(0, piece=piece)))
    pairs = np.concatenate(blocks)
    assert max(map(len, blocks)) <= piece
    assert pairs.shape == (MILLION - 1, 2)
    assert not pairs[:, 0].any()
    assert (np.sort(pairs[:, 1]) == np.arange(1, MILLION)).all()


def test_a_million_different_documents_have_no_pairs(tmp_path: Path) -> None:
    """A million keys of their own make no pair, and cost no more than reading them."""
    keys = np.random.default_rng(2).permutation(MILLION).astype(np.uint64)
    keys *= np.uint64(0x9E3779B97F4A7C15)
    path = tmp_path / "different.run"
    write_run(path, MatchKeys(keys[:, None, None], np.ones(MILLION, np.bool_)))
    runs = [KeyRun(path, MILLION, wide=False)]
    assert found(runs, 3, piece=100_000) == []


def test_memory_is_that_of_a_piece_whatever_the_corpus(tmp_path: Path) -> None:
    """Ten parts or forty: the peak is some 60 bytes a key of one piece, and does not grow."""
    piece, size, peaks = 20_000, 50_000, []
    keys = np.random.default_rng(3).integers(0, 1 << 63, size, dtype=np.uint64)
    path = tmp_path / "part.run"
    write_run(path, MatchKeys(keys[:, None, None], np.ones(size, np.bool_)))
    for parts in (10, 40):
        runs = [KeyRun(path, size, wide=False, start=part * size) for part in range(parts)]
        next(external_pairs(runs, Search(0, piece=piece)))  # what is loaded at the first call
        tracemalloc.start()
        made = sum(len(block) for block in external_pairs(runs, Search(0, piece=piece)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert made == (parts - 1) * size
    assert max(peaks) < 80 * piece
