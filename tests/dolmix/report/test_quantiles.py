"""Exact quantiles: sorted or found bit by bit, they are the values at the same ranks."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.report.quantiles import (
    PERCENTS,
    Values,
    as_keys,
    from_keys,
    held_quantiles,
    streamed_quantiles,
)

INTEGERS = st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3), min_size=1)
FLOATS = st.lists(st.floats(allow_nan=False) | st.sampled_from([0.0, -0.0, 1.5]), min_size=1)
COLUMNS = INTEGERS.map(lambda v: np.array(v, np.int64)) | FLOATS.map(np.array)


def naive(values: Values) -> list[float]:
    """Values at the ranks ceil(p/100 * N), from 1, the first one for p = 0."""
    ordered = sorted(values.tolist())
    return [ordered[max(-(-p * len(ordered) // 100), 1) - 1] for p in PERCENTS]


@settings(deadline=None, max_examples=60)
@given(COLUMNS, st.integers(1, 7))
def test_streamed_and_held_quantiles_are_the_naive_ones(values: Values, size: int) -> None:
    """However the values are cut into pieces; the smallest and the largest are among them."""
    pieces = [values[i : i + size] for i in range(0, len(values), size)]
    assert held_quantiles(values) == naive(values)
    assert streamed_quantiles(lambda: iter(pieces), len(values)) == naive(values)
    assert held_quantiles(values)[0] == values.min()
    assert held_quantiles(values)[-1] == values.max()


@settings(deadline=None, max_examples=100)
@given(COLUMNS)
def test_keys_are_in_the_order_of_the_values(values: Values) -> None:
    """Unsigned keys sort as the numbers do, and lead back to them."""
    keys = as_keys(values)
    assert np.array_equal(np.sort(values), values[np.argsort(keys, kind="stable")])
    assert np.array_equal(from_keys(keys, values.dtype), values)
