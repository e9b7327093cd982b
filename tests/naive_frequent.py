"""Plain twins of the kernels of `dolmix.text.frequent`: dictionaries, the definition as it is."""

from collections import Counter
from collections.abc import Iterable, Sequence

MASK64 = (1 << 64) - 1
FNV_PRIME = 0x100000001B3
P2, P3 = 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9


def spread(code: int) -> int:
    """Last step of XXH64."""
    code = (code ^ code >> 33) * P2 & MASK64
    code = (code ^ code >> 29) * P3 & MASK64
    return code ^ code >> 32


def ngram_hash(words: Sequence[int]) -> int:
    """Hash of some words, by their hashes."""
    code = spread(words[0])
    for word in words[1:]:
        code = spread((code * FNV_PRIME + word) & MASK64)
    return code or 1


def ngrams(documents: Iterable[Sequence[int]], n: int) -> list[int]:
    """Hashes of all n-grams of some documents, in reading order."""
    return [ngram_hash(d[i : i + n]) for d in documents for i in range(len(d) - n + 1)]


class Table:
    """At most `most` items with counts; E is what was taken off, N what came in."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.counts: Counter[int] = Counter()
        self.error = self.total = 0

    def add(self, item: int, count: int = 1) -> None:
        """Count an item; where there are too many, take the median count off all."""
        self.counts[item] += count
        self.total += count
        if len(self.counts) > self.most:
            ordered = sorted(self.counts.values(), reverse=True)
            off = ordered[(len(ordered) + 1) // 2 - 1]  # what at least half of them reach
            self.counts = Counter({i: c - off for i, c in self.counts.items() if c > off})
            self.error += off
