"""The permutations under every order: published vectors, bijection, inverse, naive twin."""

import naive_order as naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.errors import OrderError
from dolmix.permute import MAX_DOMAIN, SORT_LIMIT, Permutation, round_keys

WEB = (1234, "source", "web", 0)
VECTORS = {
    10: [8, 6, 9, 3, 4, 5, 1, 0, 7, 2],
    65_537: [1860, 42068, 51184, 53750, 25567, 59432],
    10**9 + 7: [704643071, 912298163, 928127693, 415151571],
    10**12: [366542548242, 385916723720],
}
contexts = st.tuples(
    st.integers(0, 2**64),
    st.sampled_from(["source", "block", "docs"]),
    st.text("abz09-_", max_size=4),
)
boundaries = st.sampled_from([0, 1, 2, 3, 7, 256, 65_535, 65_536, 65_537, 65_538, 66_049, 66_050])


def test_keys_are_the_published_ones() -> None:
    """The first two keys of the context of docs/order.md, section 1."""
    assert round_keys(WEB)[:2] == [0x1371FA0E5EC4D988, 0xF0506D0D790EE50F]


@pytest.mark.parametrize("n", VECTORS)
def test_permutations_are_the_published_ones(n: int) -> None:
    """Forward from 0 gives the published vectors of docs/order.md, section 1."""
    expected = VECTORS[n]
    assert Permutation(WEB, n).forward(range(len(expected))).tolist() == expected


@given(contexts, st.one_of(boundaries, st.integers(1, 3000)))
@settings(deadline=None, max_examples=40)
def test_every_size_is_a_bijection_with_its_inverse(context: tuple[str | int, ...], n: int) -> None:
    """All of [0, n) is hit once, and the inverse leads back, for small and boundary sizes."""
    order = Permutation(context, n)
    there = order.forward(np.arange(n, dtype=np.uint64))
    assert np.array_equal(np.sort(there), np.arange(n))
    assert np.array_equal(order.inverse(there), np.arange(n))


@given(contexts, st.integers(SORT_LIMIT + 1, MAX_DOMAIN - 1), st.data())
@settings(deadline=None, max_examples=80)
def test_large_sizes_match_the_naive_twin_and_invert(
    context: tuple[str | int, ...], n: int, data: st.DataObject
) -> None:
    """One value at a time and vectorised agree at any size; forward and inverse undo each other."""
    x = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=8))
    order = Permutation(context, n)
    y = order.forward(x)
    assert y.tolist() == [naive.feistel(context, n, i) for i in x]
    assert order.inverse(y).tolist() == x
    assert order.forward(order.inverse(x)).tolist() == x


@given(contexts, st.integers(1, 400))
@settings(deadline=None, max_examples=40)
def test_small_sizes_match_the_naive_twin(context: tuple[str | int, ...], n: int) -> None:
    """The sorted permutation is the twin's whole table."""
    expected = naive.sorted_permutation(context, n)
    assert Permutation(context, n).forward(range(n)).tolist() == expected


def test_chunks_leave_no_seam() -> None:
    """Arrays larger than one working chunk give what the same values give one by one."""
    order = Permutation(WEB, 10**9 + 7)
    x = np.arange(5 * 10**8, 5 * 10**8 + 40_000, dtype=np.uint64)
    y = order.forward(x)
    for at in (0, 16_383, 16_384, 32_767, 32_768, 39_999):
        assert order.at(int(x[at])) == int(y[at])
        assert order.find(int(y[at])) == int(x[at])


def test_walking_covers_every_value_above_the_square() -> None:
    """A size whose a*b grid is larger than n walks, and is still a bijection; the input is kept."""
    n = 256 * 257 + 1
    x = np.arange(n, dtype=np.uint64)
    order = Permutation((5, "docs", "walk"), n)
    y = order.forward(x)
    assert np.array_equal(np.sort(y), np.arange(n))
    assert np.array_equal(x, np.arange(n))


def test_shapes_are_kept() -> None:
    """Any shape in, the same shape out; a single number gives a zero-dimensional array."""
    order = Permutation(WEB, 100)
    assert order.forward(np.zeros((3, 2), np.uint64)).shape == (3, 2)
    assert order.forward(7).shape == ()
    assert order.forward([]).shape == (0,)


@pytest.mark.parametrize("n", [-1, MAX_DOMAIN])
def test_sizes_beyond_the_definition_are_refused(n: int) -> None:
    """Fewer than 0 and 2**62 or more places are an error that names the limit."""
    with pytest.raises(OrderError, match=r"2\*\*62"):
        Permutation(WEB, n)


@pytest.mark.parametrize("x", [100, -1, [5, 100], np.array([-1])])
def test_places_outside_are_refused(x: object) -> None:
    """A place outside [0, n) is an error, never a wrapped number."""
    with pytest.raises(OrderError, match="outside"):
        Permutation(WEB, 100).forward(x)  # type: ignore[arg-type]


def test_contexts_give_permutations_of_their_own() -> None:
    """Seed, purpose, name and number each change the permutation."""
    variants = [
        WEB,
        (1235, "source", "web", 0),
        (1234, "docs", "web", 0),
        (1234, "source", "we", 0),
    ]
    variants.append((1234, "source", "web", 1))
    first = {tuple(Permutation(context, 1000).forward(range(8)).tolist()) for context in variants}
    assert len(first) == len(variants)
