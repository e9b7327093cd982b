"""The permutations under every order: published vectors, bijection, inverse, naive twin."""

import naive_order as naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.errors import OrderError
from dolmix.permute import (
    MAX_DOMAIN,
    SHORT,
    SORT_LIMIT,
    Permutation,
    _Feistel,
    _Sorted,
    forward_groups,
    round_keys,
)

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


def is_bijection(network: Permutation | _Feistel, n: int) -> bool:
    """Whether a network hits all of [0, n) once and its inverse leads back."""
    x = np.arange(n, dtype=np.uint64)
    y = network.forward(x)
    seen = np.zeros(n, np.bool_)
    seen[y] = True
    return bool(seen.all()) and np.array_equal(network.inverse(y), x)


def test_sorting_is_a_bijection_at_every_small_size() -> None:
    """PERM_SORT for every N up to 2,000."""
    assert all(is_bijection(Permutation(WEB, n), n) for n in range(1, 2001))


def test_the_network_is_a_bijection_at_every_small_size() -> None:
    """PERM_GF12, called where dolmix itself sorts, for every N up to 2,000."""
    keys = round_keys(WEB)
    assert all(is_bijection(_Feistel(keys, n), n) for n in range(1, 2001))


@pytest.mark.parametrize("power", range(1, 21))
def test_the_network_is_a_bijection_around_powers_of_two(power: int) -> None:
    """PERM_GF12 whole at 2**k - 1, 2**k and 2**k + 1 up to 2**20."""
    keys = round_keys((power, "docs", "powers"))
    assert all(is_bijection(_Feistel(keys, n), n) for n in ((1 << power) + d for d in (-1, 0, 1)))


@pytest.mark.parametrize("power", range(21, 62))
def test_the_network_inverts_around_large_powers_of_two(power: int) -> None:
    """PERM_GF12 at 2**k - 1, 2**k and 2**k + 1 beyond: inverse and forward undo each other."""
    for n in ((1 << power) + d for d in (-1, 0, 1)):
        order = Permutation((power, "docs", "powers"), n)
        drawn = [0, 1, n // 2, n - 2, n - 1, *(naive.finalise(i) % n for i in range(1, 1000))]
        x = np.array(drawn, np.uint64)
        y = order.forward(x)
        assert int(y.max()) < n
        assert np.array_equal(order.inverse(y), x)
        assert np.array_equal(order.forward(order.inverse(x)), x)


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


@given(
    st.lists(
        st.tuples(contexts, st.one_of(boundaries, st.integers(1, 10**12)), st.integers(0, 30)),
        max_size=6,
    )
)
@settings(deadline=None, max_examples=60)
def test_runs_of_several_permutations_are_what_each_gives(
    runs: list[tuple[tuple[str | int, ...], int, int]],
) -> None:
    """Many short runs mapped together, sorted or by network, equal each run mapped alone."""
    orders = [Permutation(context, n) for context, n, _ in runs]
    places = [
        np.array([naive.finalise(i) % n for i in range(count if n else 0)], np.uint64)
        for _, n, count in runs
    ]
    flat = np.concatenate([np.zeros(0, np.uint64), *places])
    got = forward_groups(orders, [len(x) for x in places], flat)
    alone = [order.forward(x) for order, x in zip(orders, places, strict=True)]
    assert got.tolist() == [int(value) for values in alone for value in values]


def test_long_runs_and_short_ones_mix() -> None:
    """Runs on both sides of the limit keep their places."""
    sizes = [10, SHORT + 1, 3, SHORT - 1]
    orders = [Permutation((n, "docs", "mixed"), 10**9 + n) for n in range(4)]
    x = np.concatenate([np.arange(size, dtype=np.uint64) for size in sizes])
    alone = [order.forward(range(size)) for order, size in zip(orders, sizes, strict=True)]
    assert np.array_equal(forward_groups(orders, sizes, x), np.concatenate(alone))


@given(contexts, st.one_of(st.integers(1, 3000), st.integers(SORT_LIMIT, 10**15)), st.data())
@settings(deadline=None, max_examples=80)
def test_one_value_at_a_time_is_what_arrays_give(
    context: tuple[str | int, ...], n: int, data: st.DataObject
) -> None:
    """`at` and `find`, which use plain integers, agree with `forward` and `inverse`."""
    order, x = Permutation(context, n), data.draw(st.integers(0, n - 1))
    assert order.find(x) == int(order.inverse(x))
    assert order.at(x) == int(order.forward(x))
    assert order.find(order.at(x)) == x


def test_equal_draws_sort_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sort is stable, and finding one place counts equal draws before it."""
    drawn = np.array([5, 1, 5, 1, 9, 5], np.uint64)
    order = _Sorted(1, 6)
    monkeypatch.setattr(order, "_draw", lambda: drawn)
    assert order.forward(np.arange(6, dtype=np.uint64)).tolist() == [1, 3, 0, 2, 5, 4]
    assert [order.find(y) for y in range(6)] == [2, 0, 3, 1, 5, 4]


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
