"""Loss masks from spans of a kept column, and the bit files under them."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import store_builder
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.errors import LockError, StoreError
from dolmix.shards import Store, open_store
from dolmix.shards.bits import Bits, bytes_of, write_bits
from dolmix.shards.masks import make_loss_mask, open_loss_mask

Span = tuple[str, int, int]
Spans = list[list[Span] | None]


def open_chats(folder: Path, lengths: list[int], spans: Spans, **settings: Any) -> Store:
    """Write documents of these lengths that keep (role, start, stop) spans, and open the store."""
    kind = pa.list_(pa.struct({"role": pa.string(), "start": pa.int64(), "stop": pa.int64()}))
    listed = [
        None
        if document is None
        else [{"role": role, "start": a, "stop": b} for role, a, b in document]
        for document in spans
    ]
    made = store_builder.documents(lengths)
    rows = made.rows.append_column("spans", pa.array(listed, kind))
    documents = store_builder.Documents(made.tokens, made.lengths, rows)
    store_builder.write(folder, documents, **settings)
    return open_store(folder / "web@1")


def counted(lengths: list[int], spans: Spans, roles: list[str] | None) -> list[bool]:
    """Tokens that count, one by one: the twin of the mask."""
    out = []
    for length, document in zip(lengths, spans, strict=True):
        for token in range(length):
            held = document is None or any(
                a <= token < b for role, a, b in document if roles is None or role in roles
            )
            out.append(held)
    return out


@st.composite
def chats(draw: st.DrawFn) -> tuple[list[int], Spans]:
    """Draw lengths, and for each document spans that may overlap, be empty, or be missing."""
    lengths = draw(st.lists(st.integers(1, 12), min_size=1, max_size=12))
    spans: Spans = []
    for length in lengths:
        ends = st.tuples(st.integers(0, length), st.integers(0, length)).map(sorted)
        span = st.tuples(st.sampled_from("uas"), ends).map(lambda s: (s[0], s[1][0], s[1][1]))
        spans.append(draw(st.none() | st.lists(span, max_size=3)))
    return lengths, spans


@settings(deadline=None, max_examples=30)
@given(
    chat=chats(),
    roles=st.sampled_from([None, ["a"], ["a", "s"]]),
    shard_tokens=st.integers(5, 60),
)
def test_a_mask_is_its_naive_twin(
    chat: tuple[list[int], Spans], roles: list[str] | None, shard_tokens: int
) -> None:
    """A token counts if a span of a wanted role holds it, or its document has no spans at all."""
    lengths, spans = chat
    expected = counted(lengths, spans, roles)
    with TemporaryDirectory() as folder:
        store = open_chats(Path(folder), lengths, spans, shard_tokens=shard_tokens)
        made = make_loss_mask(store, column="spans", roles=roles)
        assert made.trained_tokens == sum(expected)
        mask = open_loss_mask(store, column="spans", roles=roles, digest=made.digest)
        assert mask.at(np.arange(store.num_tokens)).tolist() == expected
        out = np.zeros(store.num_tokens, np.bool_)
        starts = np.array([a for a, _ in (store.document_span(n) for n in range(len(lengths)))])
        order = np.arange(len(lengths))[::-1]
        mask.read_spans(starts[order], np.array(lengths)[order], out, starts[order])
        assert out.tolist() == expected


def test_a_mask_follows_its_column_and_roles(tmp_path: Path) -> None:
    """Other roles give another mask beside the first; the same ones are found again."""
    store = open_chats(tmp_path, [4, 3], [[("a", 1, 3)], [("u", 0, 2), ("a", 2, 3)]])
    one = make_loss_mask(store, column="spans", roles=["a"])
    other = make_loss_mask(store, column="spans")
    assert one == make_loss_mask(store, column="spans", roles=["a", "a"])
    assert one.path != other.path
    assert (one.trained_tokens, other.trained_tokens) == (3, 5)
    with pytest.raises(LockError, match=rf"(?s){other.digest}.*{one.digest}"):
        open_loss_mask(store, column="spans", roles=["a"], digest=other.digest)
    with pytest.raises(StoreError, match=r"has no loss mask of 'spans'.*--loss spans"):
        open_loss_mask(store, column="spans", roles=["s"])


def test_spans_that_cannot_be_are_refused(tmp_path: Path) -> None:
    """Outside their document, of another type, in a column that is not kept: each is said."""
    store = open_chats(tmp_path, [4, 3], [[("a", 1, 5)], []])
    with pytest.raises(StoreError, match=r"span of 1 to 5 .* document of 4 tokens"):
        make_loss_mask(store, column="spans")
    with pytest.raises(StoreError, match="list of structs with start, stop; this one is float"):
        make_loss_mask(store, column="language.score")
    with pytest.raises(StoreError, match=r"keeps no column 'gone'; it keeps .*spans"):
        make_loss_mask(store, column="gone")
    derived = tmp_path / "web@1.derived"
    assert not derived.exists() or not list(derived.iterdir())


@settings(deadline=None, max_examples=60)
@given(blocks=st.lists(st.lists(st.booleans(), max_size=20), max_size=6), data=st.data())
def test_bits_come_back(blocks: list[list[bool]], data: st.DataObject) -> None:
    """However they were cut into blocks: each bit by number, and any run of them."""
    joined = [bit for block in blocks for bit in block]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "bits"
        size, ones = write_bits(file, (np.array(block, np.bool_) for block in blocks))
        assert (size, ones) == (len(joined), sum(joined))
        assert file.stat().st_size == bytes_of(size)
        bits = Bits(np.fromfile(file, np.uint8))
    numbers = np.arange(size)
    assert bits.at(numbers).tolist() == joined
    start = data.draw(st.integers(0, size))
    stop = data.draw(st.integers(start, size))
    out = np.zeros(stop - start + 2, np.bool_)
    bits.read_spans(np.array([start]), np.array([stop - start]), out, np.array([1]))
    assert out.tolist() == [False, *joined[start:stop], False]
