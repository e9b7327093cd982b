"""Statistics that a permutation of a corpus must pass to be as good as a shuffle.

Each takes `forward`, a map of uint64 places to values, and returns one number whose ideal is known;
`BANDS` says which values pass.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

U64Array = NDArray[np.uint64]
Forward = Callable[[U64Array], U64Array]

BATCH = 1024
PARTS = 16
SAMPLE = 1 << 20
"""Consecutive places looked at: 1,024 batches."""
BANDS = {
    "batch composition": (0.9, 1.1),
    "differences": (0.0, 1.2),
    "parity flips": (0.49, 0.51),
    "pairs mod 16": (0.0, 1.2),
    "permutations of 5": (0.0, 1.4),
}


def measured(forward: Forward, n: int) -> dict[str, float]:
    """Every statistic of one permutation of [0, n), from its first places."""
    values = forward(np.arange(min(SAMPLE, n // BATCH * BATCH), dtype=np.uint64))
    return {
        "batch composition": batch_composition(values, n),
        "differences": differences(values, n),
        "parity flips": parity_flips(values),
        "pairs mod 16": pairs(values),
    }


def batch_composition(values: U64Array, n: int) -> float:
    """Variance, over batches, of how many come from each sixteenth of the corpus; ideal 1.

    The ideal is that of drawing without replacement.
    """
    part = values * np.uint64(PARTS) // np.uint64(n)
    batch = np.arange(values.size, dtype=np.uint64) // np.uint64(BATCH)
    counts = np.bincount(batch * np.uint64(PARTS) + part, minlength=values.size // BATCH * PARTS)
    share = 1 / PARTS
    ideal = BATCH * share * (1 - share) * (n - BATCH) / (n - 1)
    return float(((counts - BATCH * share) ** 2).mean() / ideal)


def differences(values: U64Array, n: int) -> float:
    """chi2 / df of successive differences modulo n in 256 bins; ideal 1."""
    step = (values[1::2] + np.uint64(n) - values[::2]) % np.uint64(n)
    return _chi2(np.bincount(step * np.uint64(256) // np.uint64(n), minlength=256))


def parity_flips(values: U64Array) -> float:
    """Share of neighbours of different parity; ideal 0.5."""
    return float(((values[1:] ^ values[:-1]) & np.uint64(1)).mean())


def pairs(values: U64Array) -> float:
    """chi2 / df of neighbours modulo 16 in 256 cells; ideal 1."""
    low = values % np.uint64(16)
    return _chi2(np.bincount(low[::2] * np.uint64(16) + low[1::2], minlength=256))


def permutations_of_five(order_of: Callable[[int], list[int]], keys: int = 30_000) -> float:
    """chi2 / df of which of the 120 permutations of 5 places each key gives; ideal 1."""
    seen: dict[tuple[int, ...], int] = {}
    for key in range(keys):
        order = tuple(order_of(key))
        seen[order] = seen.get(order, 0) + 1
    return _chi2(np.array([*seen.values(), *[0] * (120 - len(seen))]))


def failed(found: dict[str, float]) -> list[str]:
    """Names of the statistics outside their bands."""
    bands = {name: BANDS[name] for name in found}
    return [name for name, (low, high) in bands.items() if not low <= found[name] <= high]


def _chi2(counts: NDArray[np.int64]) -> float:
    expected = counts.sum() / counts.size
    return float(((counts - expected) ** 2 / expected).sum() / (counts.size - 1))
