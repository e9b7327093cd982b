"""Reads in runs: the windowed permutation and the orders that use it."""

import mix_stores
import naive_order as naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.mix import OrderSpec, Window
from dolmix.order import Order, first_differing_step
from dolmix.order.windowed import WindowedPermutation

CONTEXT = (1234, "source", "web", 0)
windows = st.builds(Window, chunk=st.integers(1, 40), chunks=st.integers(1, 12))


@given(st.integers(1, 700), windows)
@settings(deadline=None, max_examples=80)
def test_it_is_a_bijection_and_its_naive_twin(n: int, window: Window) -> None:
    """Closed form and whole table agree, all of [0, n) is hit once, the inverse leads back."""
    order = WindowedPermutation(CONTEXT, n, window)
    x = np.arange(n, dtype=np.uint64)
    y = order.forward(x)
    assert y.tolist() == naive.windowed(CONTEXT, n, window.chunk, window.chunks)
    assert sorted(y.tolist()) == list(range(n))
    assert np.array_equal(order.inverse(y), x)
    assert order.find(int(y[n // 2])) == n // 2


@given(st.integers(1, 1 << 45), st.integers(1, 5000), st.integers(1, 500), st.data())
@settings(deadline=None, max_examples=60)
def test_large_sizes_invert_without_a_table(
    n: int, chunk: int, chunks: int, data: st.DataObject
) -> None:
    """At any size the inverse of forward is the place asked, first, last and between."""
    order = WindowedPermutation(CONTEXT, n, Window(chunk=chunk, chunks=chunks))
    drawn = data.draw(st.lists(st.integers(0, n - 1), max_size=5))
    x = np.array([0, n - 1, n // 2, *drawn], np.uint64)
    y = order.forward(x)
    assert int(y.max()) < n
    assert np.array_equal(order.inverse(y), x)
    assert np.array_equal(order.forward(order.inverse(x)), x)


def test_a_window_reads_whole_chunks() -> None:
    """W * C consecutive places hold W chunks of C consecutive values: what a reader holds."""
    order = WindowedPermutation(CONTEXT, 100_000, Window(chunk=50, chunks=8))
    y = order.forward(np.arange(100_000, dtype=np.uint64))
    for start in range(0, 100_000, 400):
        chunks = np.unique(y[start : start + 400] // np.uint64(50))
        assert len(chunks) == 8
    first = y[:400].tolist()
    assert sorted(first) != first


def windowed_spec(window: Window | None) -> OrderSpec:
    """Return two sources in two stages, with or without windows."""
    quotas = {"code": 300, "web": 700}
    stages = [("main", "fresh", quotas), ("anneal", "reuse", {"code": 50, "web": 150})]
    spec = mix_stores.order_spec({"code": 90, "web": 800}, stages, block=32)
    return spec.model_copy(update={"window": window})


def test_an_order_with_windows_finds_what_it_draws() -> None:
    """Both directions agree over several epochs and a reuse stage; quotas are as without windows.

    Epochs are whole: within one, no instance comes twice.
    """
    order = Order(windowed_spec(Window(chunk=7, chunks=3)))
    places = order.places(0, order.num_instances)
    for k in range(0, order.num_instances, 7):
        source, instance = order.sources[int(places.source[k])], int(places.instance[k])
        assert k in [place.k for place in order.find(source, instance)]
    plain = Order(windowed_spec(None)).places(0, order.num_instances)
    assert np.array_equal(places.source, plain.source)
    assert np.array_equal(places.epoch, plain.epoch)
    assert not np.array_equal(places.instance, plain.instance)
    for epoch in range(3):
        rows = (places.source == 0) & (places.epoch == epoch) & (places.k < 1000)
        assert len(np.unique(places.instance[rows])) == 90


def test_a_window_is_recorded_in_the_lock_and_only_there() -> None:
    """It is hashed where it is set; an order without it has the hash that it always had."""
    with_, without = windowed_spec(Window(chunk=7, chunks=3)), windowed_spec(None)
    assert with_.model_dump(mode="json")["window"] == {"chunk": 7, "chunks": 3}
    assert "window" not in without.model_dump(mode="json")
    assert with_.hash != without.hash
    assert OrderSpec.model_validate(with_.model_dump(mode="json")) == with_


def test_a_window_is_another_order_from_the_first_step() -> None:
    """Locks that differ in their window alone are told apart where their batches differ."""
    wide, narrow = (windowed_spec(Window(chunk=7, chunks=n)) for n in (3, 20))
    assert first_differing_step(Order(wide), Order(windowed_spec(None))) == 1
    assert first_differing_step(Order(wide), Order(wide)) is None
    places = [Order(spec).places(0, wide.num_instances).instance for spec in (wide, narrow)]
    assert first_differing_step(Order(wide), Order(narrow)) == 1 + int(
        np.flatnonzero(places[0] != places[1])[0]
    )


@pytest.mark.parametrize("chunk", [1, 10_000])
def test_windows_of_one_value_or_of_all_are_permutations_too(chunk: int) -> None:
    """The limits: chunks of one instance, and one chunk that holds the whole source."""
    order = WindowedPermutation(CONTEXT, 1000, Window(chunk=chunk, chunks=1))
    assert sorted(order.forward(np.arange(1000, dtype=np.uint64)).tolist()) == list(range(1000))
