"""Concat packing: windows over all tokens, and which documents each one holds."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import store_builder
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dolmix.errors import OrderError, StoreError
from dolmix.shards import ConcatInstances, count_instances, open_store


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=20),
    length=st.integers(1, 15),
    shard_tokens=st.integers(1, 40),
)
@example(lengths=[1], length=1, shard_tokens=9)
@example(lengths=[5, 5], length=5, shard_tokens=9)
def test_instances_and_documents_are_inverse(
    lengths: list[int], length: int, shard_tokens: int
) -> None:
    """Windows are [i*L, i*L + L]; a document lists an instance iff the instance lists it."""
    documents = store_builder.documents(lengths)
    with TemporaryDirectory() as folder:
        store_builder.write(Path(folder), documents, shard_tokens=shard_tokens)
        instances = ConcatInstances(open_store(Path(folder) / "web@1"), length)
        total = sum(lengths)
        assert len(instances) == max(0, (total - 1) // length)
        assert total - 1 - len(instances) * length < length
        held: dict[int, list[int]] = {n: [] for n in range(len(lengths))}
        for number in range(len(instances)):
            window = instances.tokens(number).tolist()
            assert window == documents.tokens[number * length :][: length + 1].tolist()
            pieces = instances.documents(number)
            at = [documents.spans[p.document][0] + p.start for p in pieces]
            joined = [t for a, p in zip(at, pieces, strict=True) for t in range(a, a + p.length)]
            assert joined == list(range(number * length, number * length + length + 1))
            for piece in pieces:
                start, stop = documents.spans[piece.document]
                assert 0 <= piece.start < piece.start + piece.length <= stop - start
                held[piece.document].append(number)
        assert {n: list(instances.of_document(n)) for n in held} == held


def test_an_empty_store_has_no_instances(tmp_path: Path) -> None:
    """No tokens give no instances; `mix resolve` refuses a source of such a store."""
    with store_builder.open_writer(tmp_path) as writer:
        writer.commit()
    instances = ConcatInstances(open_store(tmp_path / "web@1"), 4)
    assert len(instances) == 0
    with pytest.raises(OrderError, match="0 tokens give 0 instances"):
        instances.tokens(0)


def test_a_document_in_the_tail_has_no_instance(tmp_path: Path) -> None:
    """Tokens beyond the last whole window are never trained, and it shows as an empty range."""
    store_builder.write(tmp_path, store_builder.documents([8, 1, 2, 3]))
    instances = ConcatInstances(open_store(tmp_path / "web@1"), 8)
    assert len(instances) == 1
    found = [list(instances.of_document(n)) for n in range(4)]
    assert found == [[0], [0], [], []]
    with pytest.raises(StoreError, match="no document 4"):
        instances.of_document(4)


def test_an_instance_outside_is_refused(tmp_path: Path) -> None:
    """The error tells tokens, instances and their length; a window of no tokens makes no sense."""
    store_builder.write(tmp_path, store_builder.documents([17]))
    store = open_store(tmp_path / "web@1")
    instances = ConcatInstances(store, 8)
    for number in (-1, 2):
        with pytest.raises(OrderError, match=f"no instance {number} .*17 tokens give 2 instances"):
            instances.documents(number)
    with pytest.raises(OrderError, match="sequence_length is 0"):
        ConcatInstances(store, 0)


@pytest.mark.parametrize(("tokens", "expected"), [(0, 0), (1, 0), (4, 0), (5, 1), (8, 1), (9, 2)])
def test_count_instances(tokens: int, expected: int) -> None:
    """max(0, (T - 1) // L): an instance needs L inputs and one label."""
    assert count_instances(tokens, 4) == expected
