"""Counts in bounded memory: lengths by powers of two, the most frequent values of a text column."""

from collections.abc import Sequence
from statistics import median_low
from typing import Any

import numpy as np

from dolmix.document import I64Array

MOST_VALUES = 1 << 20
"""Values that `TopValues` tells apart."""


class Lengths:
    """Histogram of whole numbers by powers of two, with the sum in each bin."""

    def __init__(self, unit: str) -> None:
        """Start empty; `unit` names the sums."""
        self._unit = unit
        self._counts, self._sums = np.zeros(65, np.int64), np.zeros(65, np.int64)

    def add(self, lengths: I64Array) -> None:
        """Count lengths, (N,) 0 or more; below 2**53, for which the bin is exact."""
        bins = np.frexp(lengths.astype(np.float64))[1]
        self._counts += np.bincount(bins, minlength=65)
        np.add.at(self._sums, bins, lengths)

    def describe(self) -> list[dict[str, int]]:
        """Bins [from, to), from the first to the last that has a document; 0 has one of its own."""
        filled = np.flatnonzero(self._counts)
        if not filled.size:
            return []
        return [
            {
                "from": 1 << power - 1 if power else 0,
                "to": 1 << power,
                "documents": int(self._counts[power]),
                self._unit: int(self._sums[power]),
            }
            for power in range(int(filled[0]), int(filled[-1]) + 1)
        ]


class TopValues:
    """The most frequent texts, with sums beside the count of each.

    Up to `most` different ones are kept; beyond, the median count is taken off all of them and
    those with no more go (Misra & Gries 1982). Guarantee: a text that occurs more than `error`
    times is there, its count and sums at most short by what was left out, its count by `error`.
    """

    def __init__(self, num_sums: int = 0, most: int = MOST_VALUES) -> None:
        """Start empty, with so many sums beside the counts."""
        self.error = 0
        self._most = most
        self._nothing = (0,) * (num_sums + 1)
        self._found: dict[str, tuple[int, ...]] = {}

    def add(self, values: Sequence[str], *amounts: Sequence[int]) -> None:
        """Add texts, different ones: how often each occurs, then its sums."""
        found = self._found
        for value, *more in zip(values, *amounts, strict=True):
            before = found.get(value, self._nothing)
            found[value] = tuple(a + b for a, b in zip(before, more, strict=True))
        if len(found) > self._most:
            self._take_off()

    @property
    def num_distinct(self) -> int | None:
        """Different texts; None where not all could be told apart."""
        return None if self.error else len(self._found)

    def top(self, count: int) -> list[tuple[str, tuple[int, ...]]]:
        """Most frequent first, equal ones by text."""
        return sorted(self._found.items(), key=lambda item: (-item[1][0], item[0]))[:count]

    def describe(self, count: int) -> dict[str, Any]:
        """Give the most frequent as plain data."""
        return {
            "distinct": self.num_distinct,
            "error": self.error,
            "top": [{"value": value, "count": sums[0]} for value, sums in self.top(count)],
        }

    def _take_off(self) -> None:
        off = median_low(counts[0] for counts in self._found.values())
        left = {v: (c[0] - off, *c[1:]) for v, c in self._found.items() if c[0] > off}
        self._found, self.error = left, self.error + off
