"""Batches: what is computed once is computed once for every selection too."""

import gc
import weakref
from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dolmix.document import I64Array, TextBatch


@dataclass(eq=False)
class Sizes:
    """Lengths of texts."""

    values: I64Array

    def take(self, rows: I64Array) -> "Sizes":
        """Lengths of some of them."""
        return Sizes(self.values[rows])


def sizes(batch: TextBatch, calls: list[int]) -> list[int]:
    """Ask for the lengths of a batch's texts; note how many were measured."""

    def make() -> Sizes:
        calls.append(len(batch))
        return Sizes(np.array([len(t) for t in batch.text.to_pylist()], np.int64))

    return batch.shared("sizes", make).values.tolist()


@given(st.lists(st.text(max_size=4), min_size=1, max_size=9), st.data())
def test_shared_work_is_done_once_and_follows_every_selection(
    texts: list[str], data: st.DataObject
) -> None:
    """Whoever asks first, selections of selections get their own rows, and nothing is redone."""
    batch, calls = TextBatch.of(texts), list[int]()
    for _ in range(3):
        if data.draw(st.booleans()):
            assert sizes(batch, calls) == [len(t) for t in batch.text.to_pylist()]
        rows = data.draw(st.lists(st.integers(0, len(batch) - 1), max_size=6)) if len(batch) else []
        batch = batch.take(np.array(rows, np.int64))
    assert sizes(batch, calls) == [len(t) for t in batch.text.to_pylist()]
    assert len(calls) == 1


def test_a_selection_keeps_no_text_of_its_batch() -> None:
    """The texts of a batch go with it, whatever was taken from it: only shared work stays."""
    batch = TextBatch.of(["one", "three"])
    calls: list[int] = []
    sizes(batch, calls)
    chosen = batch.take(np.array([1]))
    gone = weakref.ref(batch)
    del batch
    gc.collect()
    assert gone() is None
    assert (sizes(chosen, calls), calls, chosen.inherited) == ([5], [2], {})


def test_texts_are_read_only_wherever_they_come_from() -> None:
    """Kernels see one kind of text: of Python, of Arrow, of rows taken, of none at all."""
    batch = TextBatch.of(["one", "two"])
    for texts in (batch, batch.take(np.array([1])), TextBatch.of([])):
        assert not texts.utf8.flags.writeable
