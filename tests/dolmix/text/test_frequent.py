"""Frequent n-grams in a table of fixed size: the kernels and their plain twins."""

from collections import Counter

import naive_frequent
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.document import I64Array, U64Array
from dolmix.text.frequent import (
    ERROR,
    LIVE,
    TOTAL,
    add_items,
    add_ngrams,
    count_listed,
    index_items,
    read_table,
)

WORDS = st.integers(0, 9).map(lambda n: n * 0x1234567 % 2**64)
DOCUMENTS = st.lists(st.lists(WORDS, max_size=30), max_size=6)


class Table:
    """A table as the kernels take it."""

    def __init__(self, slots: int) -> None:
        self.table = np.zeros((slots, 2), np.uint64)
        self.room = np.zeros((slots // 4, 2), np.uint64)
        self.state = np.zeros(3, np.int64)

    def read(self) -> dict[int, int]:
        """Count of each item that is in it."""
        live = self.state[LIVE]
        items, counts = np.zeros(live, np.uint64), np.zeros(live, np.int64)
        read_table(self.table, items, counts)
        return dict(zip(items.tolist(), counts.tolist(), strict=True))


def as_arrays(documents: list[list[int]]) -> tuple[U64Array, I64Array]:
    """Words of all documents, and where each ends."""
    ends = np.cumsum([0, *map(len, documents)], dtype=np.int64)
    return np.array([word for words in documents for word in words], np.uint64), ends


@settings(deadline=None, max_examples=150)
@given(DOCUMENTS, st.integers(1, 4), st.sampled_from([4, 8, 32, 256]))
def test_ngrams_are_counted_as_by_the_twin(documents: list[list[int]], n: int, slots: int) -> None:
    """Items, counts, E and N are those of the definition, n-grams never crossing documents."""
    table, twin = Table(slots), naive_frequent.Table(slots // 2)
    hashes, ends = as_arrays(documents)
    add_ngrams(hashes, ends, n, table.table, table.room, table.state)
    for item in naive_frequent.ngrams(documents, n):
        twin.add(item)
    assert table.read() == dict(twin.counts)
    assert (table.state[ERROR], table.state[TOTAL]) == (twin.error, twin.total)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 5000)), max_size=80),
    st.sampled_from([4, 16]),
)
def test_items_with_counts_are_added_as_by_the_twin(
    pairs: list[tuple[int, int]], slots: int
) -> None:
    """So are items that occur several times at once, whatever the counts."""
    table, twin = Table(slots), naive_frequent.Table(slots // 2)
    items, counts = np.array(pairs, np.int64).reshape(-1, 2).T
    add_items(items.astype(np.uint64), counts.copy(), table.table, table.room, table.state)
    for item, count in pairs:
        twin.add(item, count)
    assert table.read() == dict(twin.counts)
    assert (table.state[ERROR], table.state[TOTAL]) == (twin.error, twin.total)


@settings(deadline=None, max_examples=150)
@given(DOCUMENTS, st.integers(1, 3), st.sampled_from([4, 8, 16]))
def test_no_count_is_short_by_more_than_the_bound(
    documents: list[list[int]], n: int, slots: int
) -> None:
    """An item that occurs c times has a count in [c - E, c], 0 where absent; E <= 4 N / S."""
    table = Table(slots)
    hashes, ends = as_arrays(documents)
    add_ngrams(hashes, ends, n, table.table, table.room, table.state)
    found, error = table.read(), int(table.state[ERROR])
    assert error * slots <= 4 * table.state[TOTAL]
    for item, count in Counter(naive_frequent.ngrams(documents, n)).items():
        assert count - error <= found.get(item, 0) <= count


@settings(deadline=None, max_examples=100)
@given(DOCUMENTS, st.integers(1, 3), st.data())
def test_listed_ngrams_are_counted_exactly(
    documents: list[list[int]], n: int, data: st.DataObject
) -> None:
    """Each has its number of occurrences and its first place, others none; nothing else counts."""
    hashes, ends = as_arrays(documents)
    there = naive_frequent.ngrams(documents, n)
    chosen = data.draw(st.lists(st.sampled_from([*there, 17, 18]), unique=True, max_size=12))
    slots = np.zeros((64, 2), np.uint64)
    index_items(np.array(chosen, np.uint64), slots)
    counts, firsts = np.zeros(len(chosen), np.int64), np.full(len(chosen), -1, np.int64)
    count_listed(hashes, ends, n, slots, counts, firsts)
    assert counts.tolist() == [there.count(item) for item in chosen]
    for item, first in zip(chosen, firsts.tolist(), strict=True):
        words = hashes[first : first + n].tolist()
        assert first == -1 if item not in there else naive_frequent.ngram_hash(words) == item
