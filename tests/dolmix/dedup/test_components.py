"""Clusters: the same in memory and through sorted files, whatever the memory."""

import tracemalloc
from pathlib import Path

import naive_clusters
import naive_dedup
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.dedup.clusters import Members, cluster_members
from dolmix.dedup.edge_files import FEWEST_EDGES, in_blocks, read_edges, sorted_edges, write_edges

PAIRS = st.lists(st.tuples(st.integers(0, 24), st.integers(0, 24)), max_size=60)
FILES, MEMORY = 1, 1 << 30


def found(folder: Path, count: int, pairs: np.ndarray, memory: int) -> Members:
    """Clusters of pairs that come in four blocks."""
    return cluster_members(count, np.array_split(pairs, 4), memory=memory, folder=folder)


@given(PAIRS)
def test_members_are_those_of_the_twin_in_memory_and_through_files(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[int, int]]
) -> None:
    """Union-find and label propagation agree with plain spreading of labels."""
    want = naive_clusters.members(naive_dedup.clusters(25, pairs))
    table = np.array(pairs, np.int64).reshape(-1, 2)
    for memory in (MEMORY, FILES):
        made = found(tmp_path_factory.mktemp("clusters"), 25, table, memory)
        assert dict(zip(made.documents.tolist(), made.roots.tolist(), strict=True)) == want
        assert (np.diff(made.documents) > 0).all()
        assert (made.documents[made.labels] == made.roots).all()
        assert made.num_clusters == len(set(want.values()))


@given(PAIRS)
def test_edges_make_the_same_clusters_again(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[int, int]]
) -> None:
    """The stars that an index keeps are the clusters."""
    folder = tmp_path_factory.mktemp("clusters")
    made = found(folder, 25, np.array(pairs, np.int64).reshape(-1, 2), MEMORY)
    again = found(folder, 25, made.edges(), MEMORY)
    assert again.documents.tolist() == made.documents.tolist()
    assert again.roots.tolist() == made.roots.tolist()


@pytest.mark.parametrize("shape", ["chain", "star", "random", "pairs"])
def test_many_documents_through_files(tmp_path: Path, shape: str) -> None:
    """Chains, stars and random graphs of 20,000 documents, with 20 kB of memory for the sorts."""
    count, draw = 20_000, np.random.default_rng(3)
    order = draw.permutation(count)
    pairs = {
        "chain": np.column_stack((order[1:], order[:-1])),
        "star": np.column_stack((np.full(count, 777), order)),
        "random": draw.integers(0, count, (count // 2, 2)),
        "pairs": order.reshape(-1, 2),
    }[shape]
    by_files, in_memory = (found(tmp_path, count, pairs, m) for m in (20_000, MEMORY))
    assert by_files.documents.tolist() == in_memory.documents.tolist()
    assert by_files.roots.tolist() == in_memory.roots.tolist()


def test_files_take_the_memory_that_they_are_given(tmp_path: Path) -> None:
    """For ten million documents, 8 MB are enough where union-find alone would take 80."""
    count, draw = 10_000_000, np.random.default_rng(4)
    pairs = draw.integers(0, count, (40_000, 2))
    found(tmp_path, count, pairs[:9], FILES)  # what is loaded at the first call
    tracemalloc.start()
    made = found(tmp_path, count, pairs, 1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
    assert made.num_clusters > 30_000


@given(PAIRS, st.integers(1, 9))
def test_blocks_hold_every_edge_once_in_order(pairs: list[tuple[int, int]], size: int) -> None:
    """Cutting and joining blocks changes none of their edges."""
    table = np.array(pairs, np.int64).reshape(-1, 2)
    blocks = list(in_blocks(np.array_split(table, 3), size))
    assert [tuple(e) for block in blocks for e in block.tolist()] == pairs
    assert all(len(block) == size for block in blocks[:-1])


@settings(max_examples=10)
@given(st.integers(0, 5 * FEWEST_EDGES), st.integers(1, 400))
def test_sorted_edges_are_all_different_edges_in_order(
    tmp_path_factory: pytest.TempPathFactory, count: int, values: int
) -> None:
    """However many runs it takes, the merge is what sorting a set in memory gives."""
    folder = tmp_path_factory.mktemp("edges")
    edges = np.random.default_rng(count).integers(0, values, (count, 2))
    merged = sorted_edges(np.array_split(edges, 7), memory=1, folder=folder)
    assert [tuple(e) for block in merged for e in block.tolist()] == sorted(
        {tuple(e) for e in edges.tolist()}
    )
    assert list(folder.iterdir()) == []


def test_edges_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Edges come back in order, however many at once."""
    edges = np.arange(20, dtype=np.int64).reshape(-1, 2)
    write_edges(tmp_path / "e", [edges[:3], edges[3:]])
    assert np.concatenate(list(read_edges(tmp_path / "e", 4))).tolist() == edges.tolist()


def test_documents_out_of_range_are_refused_in_both_modes(tmp_path: Path) -> None:
    """A pair that names no document is refused, in memory and through files."""
    for memory in (MEMORY, FILES):
        with pytest.raises(ValueError, match=r"document 25, but there are 25 documents"):
            found(tmp_path, 25, np.array([[3, 25]]), memory)
