"""Packs: the documented algorithm, nothing lost, nothing doubled, the same bytes every time."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import naive_packs
import numpy as np
import pytest
import store_builder
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dolmix.errors import LockError, OrderError, StoreError
from dolmix.shards import Pack, Store, make_pack, open_instances, open_store
from dolmix.shards.derived import derive
from dolmix.shards.packing import best_fit
from dolmix.shards.packs import Packing

PACKINGS: tuple[Packing, ...] = ("bestfit", "pad")


def open_built(folder: Path, lengths: list[int], shard_tokens: int = 1 << 20) -> Store:
    """Write a store of documents of these lengths and open it."""
    store_builder.write(folder, store_builder.documents(lengths), shard_tokens=shard_tokens)
    return open_store(folder / "web@1")


@settings(deadline=None, max_examples=80)
@given(data=st.data(), capacity=st.integers(1, 40))
def test_best_fit_is_its_naive_twin(data: st.DataObject, capacity: int) -> None:
    """Moving pieces of one length together gives every piece the row that one by one gives it."""
    lengths = data.draw(st.lists(st.integers(1, capacity), max_size=60))
    rows = best_fit(np.array(lengths, np.int64), capacity)
    assert rows.tolist() == naive_packs.best_fit(lengths, capacity)


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=25),
    length=st.integers(1, 12),
    shard_tokens=st.integers(1, 60),
    packing=st.sampled_from(PACKINGS),
)
@example(lengths=[1, 1, 1], length=4, shard_tokens=9, packing="bestfit")
@example(lengths=[13, 5, 4], length=4, shard_tokens=9, packing="pad")
def test_a_pack_is_its_naive_twin_and_inverse_to_documents(
    lengths: list[int], length: int, shard_tokens: int, packing: Packing
) -> None:
    """Pieces, rows, padding and labels are the documented ones; documents find their instances."""
    documents = store_builder.documents(lengths)
    expected = naive_packs.packed(lengths, length, packing)
    with TemporaryDirectory() as folder:
        store = open_built(Path(folder), lengths, shard_tokens)
        pack = make_pack(store, sequence_length=length, packing=packing)
        instances = open_instances(store, length, packing, pack.digest)
        assert instances.num_instances == len(instances) == pack.num_instances == len(expected)
        numbers = np.arange(len(expected))[::-1].copy()
        rows = np.full((len(expected), length + 1), 7, np.uint32)
        instances.read(numbers, rows)
        labels = instances.labels(numbers)
        assert labels is not None
        held: dict[int, list[int]] = {n: [] for n in range(len(lengths))}
        for row, number in enumerate(numbers.tolist()):
            assert [tuple(piece) for piece in instances.documents(number)] == expected[number]
            tokens: list[int] = []
            trained: list[bool] = []
            for document, start, size in expected[number]:
                first = documents.spans[document][0] + start
                tokens += documents.tokens[first : first + size].tolist()
                trained += [False] + [True] * (size - 1)
                held[document].append(number)
            padding = length + 1 - len(tokens)
            assert padding >= 0
            assert rows[row].tolist() == tokens + [store_builder.EOS_ID] * padding
            assert labels[row].tolist() == (trained + [False] * padding)[1:]
        assert {n: sorted(instances.of_document(n)) for n in held} == {
            n: sorted(found) for n, found in held.items()
        }
        assert int(labels.sum()) == sum(n - 1 for n in lengths)


@pytest.mark.parametrize("packing", PACKINGS)
def test_starts_are_where_pieces_and_padding_begin(tmp_path: Path, packing: Packing) -> None:
    """Each row begins with 0, then the running sums of its pieces, padding as one more."""
    store = open_built(tmp_path, [3, 9, 2, 14, 1, 6, 5])
    make_pack(store, sequence_length=8, packing=packing)
    instances = open_instances(store, 8, packing)
    rows, at = instances.starts(np.arange(len(instances)))
    for number in range(len(instances)):
        sizes = [piece.length for piece in instances.documents(number)]
        begins = [0, *np.cumsum(sizes).tolist()]
        assert at[rows == number].tolist() == [begin for begin in begins if begin <= 8]


def test_the_same_store_gives_the_same_pack(tmp_path: Path) -> None:
    """Made twice it is found; made elsewhere, or again after it was deleted, it has its bytes."""
    lengths = [1 + (n * 37) % 90 for n in range(300)]
    packs = []
    for place, shard_tokens in (("a", 1 << 20), ("b", 1 << 20)):
        store = open_built(tmp_path / place, lengths, shard_tokens)
        packs.append(make_pack(store, sequence_length=64, packing="bestfit"))
        assert make_pack(store, sequence_length=64, packing="bestfit") == packs[-1]
    one, other = (store_builder.contents(Path(pack.path)) for pack in packs)
    assert one == other
    assert packs[0].digest == packs[1].digest
    shutil.rmtree(packs[0].path)
    with open_store(tmp_path / "a/web@1") as store:
        assert make_pack(store, sequence_length=64, packing="bestfit") == packs[0]
    assert store_builder.contents(Path(packs[0].path)) == one


def test_two_attempts_at_once_leave_one_pack(tmp_path: Path) -> None:
    """Who commits second finds the first one's, which has the same bytes; nothing else is left."""
    store = open_built(tmp_path, [4, 6, 9])
    asked: dict[str, str | int] = {"packing": "pad", "sequence_length": 8, "version": 1}
    first: list[Pack] = []

    def write(folder: Path) -> dict[str, int]:
        first.append(make_pack(store, sequence_length=8, packing="pad"))
        (folder / "start.u64").write_bytes(b"")
        return {"instances": 0}

    second = derive(store, "pack", asked, write)
    assert second.manifest.digest == first[0].digest
    assert [path.name for path in (tmp_path / "web@1.derived").iterdir()] == [second.name]


def test_bestfit_wastes_little(tmp_path: Path) -> None:
    """On documents of all lengths the padding is under one row in a hundred."""
    lengths = [2 + (n * 7919) % 600 for n in range(2000)]
    store = open_built(tmp_path, lengths)
    packed = make_pack(store, sequence_length=256, packing="bestfit").num_instances
    needed = sum(length for _, _, length in naive_packs.pieces(lengths, 256)) / 257
    assert needed <= packed < 1.01 * needed + 1


def test_another_pack_than_the_locked_one_is_refused(tmp_path: Path) -> None:
    """The error tells both digests; without a pack, how to make it."""
    store = open_built(tmp_path, [4, 6, 9])
    with pytest.raises(StoreError, match="has no pack `pad` for 8 tokens"):
        open_instances(store, 8, "pad")
    pack = make_pack(store, sequence_length=8, packing="pad")
    with pytest.raises(LockError, match=rf"(?s){'0' * 64}.*{pack.digest}"):
        open_instances(store, 8, "pad", "0" * 64)
    with pytest.raises(OrderError, match="there is no instance 3"):
        open_instances(store, 8, "pad", pack.digest).documents(3)


def test_a_pack_that_was_cut_is_refused(tmp_path: Path) -> None:
    """A file with too few entries, and a manifest that is none, name the directory."""
    store = open_built(tmp_path, [4, 6, 9])
    pack = make_pack(store, sequence_length=8, packing="bestfit")
    file = Path(pack.path) / "start.u64"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(StoreError, match=r"start\.u64 has 2 entries, its manifest says 3"):
        open_instances(store, 8, "bestfit").tokens(0)
    (Path(pack.path) / "derived.json").write_text("{}")
    with pytest.raises(StoreError, match="Delete the directory"):
        make_pack(store, sequence_length=8, packing="bestfit")


def test_concat_has_no_pack_and_lengths_start_at_1(tmp_path: Path) -> None:
    """Both are refused with what they are."""
    store = open_built(tmp_path, [4, 6, 9])
    with pytest.raises(OrderError, match="has no pack"):
        make_pack(store, sequence_length=8, packing="concat")
    with pytest.raises(OrderError, match="sequence_length is 0"):
        make_pack(store, sequence_length=0, packing="pad")
