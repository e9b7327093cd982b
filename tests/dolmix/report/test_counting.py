"""Histograms of lengths, and the most frequent values in bounded memory."""

from collections import Counter
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.report.counting import Lengths, TopValues


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 2**40) | st.integers(0, 17), max_size=60), st.integers(1, 9))
def test_every_length_is_in_the_bin_that_holds_it(lengths: list[int], size: int) -> None:
    """Bins are [2^k, 2^(k + 1)) and [0, 1), without gaps, with the number and sum of lengths."""
    histogram = Lengths("bytes")
    for start in range(0, len(lengths), size):
        histogram.add(np.array(lengths[start : start + size], np.int64))
    bins = histogram.describe()
    for row in bins:
        inside = [n for n in lengths if row["from"] <= n < row["to"]]
        assert (row["documents"], row["bytes"]) == (len(inside), sum(inside))
    assert sum(row["documents"] for row in bins) == len(lengths)
    assert all(a["to"] == b["from"] for a, b in pairwise(bins))
    assert all(row["to"] == 2 * row["from"] or row["from"] == 0 for row in bins)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.sampled_from("abcdefgh")), st.integers(1, 10), st.integers(1, 5))
def test_counts_are_short_by_the_error_at_most(values: list[str], most: int, size: int) -> None:
    """Every value that occurs more than `error` times is there; without one counts are exact."""
    found = TopValues(1, most)
    for start in range(0, len(values), size):
        some = Counter(values[start : start + size])
        found.add(list(some), list(some.values()), [10 * n for n in some.values()])
    expected = Counter(values)
    named = dict(found.top(len(values)))
    for value, count in expected.items():
        low, sums = named.get(value, (0, 0))
        assert count - found.error <= low <= count
        assert sums <= 10 * count
    if len(expected) <= most:
        assert found.error == 0
        assert found.num_distinct == len(expected)
        assert all(sums == 10 * count for count, sums in named.values())


def test_the_most_frequent_come_first_and_equal_ones_by_text() -> None:
    """The order depends on counts and texts, not on who came first."""
    found = TopValues()
    found.add(["b", "c", "a"], [2, 5, 2])
    assert found.describe(2) == {
        "distinct": 3,
        "error": 0,
        "top": [{"value": "c", "count": 5}, {"value": "a", "count": 2}],
    }
