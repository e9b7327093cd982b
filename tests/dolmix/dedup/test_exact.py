"""Exact keys: equal for equal normalised texts, and for no others."""

import naive_dedup as naive
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.dedup import Exact
from dolmix.document import TextBatch

TEXTS = st.lists(
    st.text(st.sampled_from("ab \n\t\u00a0\u3000éÅ\u0301e\u212b한\u1100\u1161"), max_size=6)
)


@given(TEXTS)
@settings(max_examples=200, deadline=None)
def test_keys_are_equal_exactly_where_normalised_texts_are(texts: list[str]) -> None:
    """Two documents share a key if and only if their normalised texts are the same."""
    keys = [tuple(key) for key in Exact().keys(TextBatch.of(texts)).tolist()]
    plain = [naive.normalised(text) for text in texts]
    for n, key in enumerate(keys):
        assert [k == key for k in keys] == [p == plain[n] for p in plain]


def test_none_compares_bytes() -> None:
    """Under `normalize: none` white space and Unicode form count."""
    texts = TextBatch.of(["a b", "a  b", "é", "e\u0301", "a b"])
    keys = Exact(normalize="none").keys(texts)
    assert len(np.unique(keys, axis=0)) == 4
    assert keys[0].tolist() == keys[4].tolist()


def test_keys_do_not_depend_on_the_batch() -> None:
    """A document's key is the same alone, in a batch, and in a slice of a batch."""
    texts = [" one ", "two\n\ntwo", "", "\u0301three é"]
    whole = Exact().keys(TextBatch.of(texts))
    alone = np.concatenate([Exact().keys(TextBatch.of([text])) for text in texts])
    sliced = TextBatch.of(["before", *texts, "after"]).take(np.arange(1, 5))
    assert whole.tolist() == alone.tolist() == Exact().keys(sliced).tolist()


def test_keys_have_not_moved() -> None:
    """The key of a text is part of the format: blake2b-128 of the normalised UTF-8."""
    assert Exact().keys(TextBatch.of([" Hello \t world\n"])).tolist() == [
        [0x0F9E5D6C0B4A73FF, 0xE1C58C2D42C20039],
    ]


def test_no_documents_have_no_keys() -> None:
    """An empty batch gives arrays of the right shape."""
    keys = Exact().match_keys(TextBatch.of([]))
    assert keys.values.shape == (0, 1, 2)
    assert keys.valid.shape == (0,)
