"""Spans that repeat in a row: how often the most repeated span of 1 to 13 units follows itself.

The definition is OLMo's loader filter `find_periodic_sequences` (periods 1 to 13), in the form that
needs one pass a period: with L the longest run of consecutive i where x[i] == x[i - p], a span of p
units stands floor((L + p) / p) times in a row. Two times or fewer do not count, nor do periods
above a third of the document.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dolmix.document import I64Array
from dolmix.text.compiled import kernel

MAX_PERIOD = 13


@kernel
def periodic_times(units: NDArray[Any], ends: I64Array) -> I64Array:
    """Find how many times the most repeated span stands in a row.

    units    (U,) any integer  tokens, or hashes of words, of all documents
    ends     (N + 1,) int64    document n is units[ends[n]:ends[n + 1]]
    returns  (N,) int64        0, or at least 3

    O(13 U). Twin: tests/naive.py `periodic_times`.
    """
    times = np.zeros(ends.size - 1, np.int64)
    for n in range(ends.size - 1):
        begin, stop = ends[n], ends[n + 1]
        for period in range(1, min(MAX_PERIOD, (stop - begin) // 3) + 1):
            longest, run = 0, 0
            for i in range(begin + period, stop):
                if units[i] == units[i - period]:
                    run += 1
                    longest = max(longest, run)
                else:
                    run = 0
            found = (longest + period) // period
            if found > 2:
                times[n] = max(times[n], found)
    return times
