"""Plain-Python twins of the compiled kernels: short, slow, and readable as definitions."""

import re
from collections import Counter
from collections.abc import Hashable, Sequence

START, SPREAD = 0xCBF29CE484222325, 0x9E3779B97F4A7C15


def span_hash(data: bytes) -> int:
    """Hash of a word or a line: eight bytes at a time, then the rest and, above it, its length."""
    code, whole = START, len(data) // 8 * 8
    for block in [data[i : i + 8] for i in range(0, whole, 8)] + [None]:
        rest = data[whole:].ljust(7, b"\0") + bytes([len(data) - whole])
        code = (code ^ int.from_bytes(rest if block is None else block, "little")) * SPREAD % 2**64
        code ^= code >> 32
    return code


def split_words(text: str) -> list[tuple[int, int]]:
    """(hash, characters) of each whitespace word."""
    return [(span_hash(word.encode()), len(word)) for word in text.split()]


def lines_of(text: str, *, merge: bool) -> list[str]:
    """Lines, cut at each newline or at each run of newlines."""
    return re.split(r"\n+", text) if merge else text.split("\n")


def line_marks(text: str, *, merge: bool) -> tuple[int, int, int]:
    """Lines, lines starting with a bullet, lines ending with an ellipsis."""
    lines = lines_of(text, merge=merge)
    return (
        len(lines),
        sum(line.startswith(("*", "-")) for line in lines),
        sum(line.endswith("…") for line in lines),
    )


def duplicate_sums(items: Sequence[Hashable], weights: Sequence[int]) -> tuple[int, int]:
    """Occurrences of elements that occur more than once, and the sum of their weights."""
    counts = Counter(items)
    repeated = [weight for item, weight in zip(items, weights, strict=True) if counts[item] > 1]
    return len(repeated), sum(repeated)


def top_counts(items: Sequence[Hashable]) -> tuple[int, int]:
    """Occurrences of the most and the second most frequent element."""
    ordered = sorted(Counter(items).values(), reverse=True)
    return (*ordered, 0, 0)[:2]


def ngram_shares(words: Sequence[str]) -> list[float]:
    """Character shares of the top 2- to 4-gram and of repeated 5- to 10-grams."""
    shares = []
    chars = sum(map(len, words))
    for n in range(2, 11):
        counts = Counter(zip(*(words[i:] for i in range(n)), strict=False))
        weight = {gram: sum(map(len, gram)) * count for gram, count in counts.items()}
        if not counts:
            shares.append(0.0)
        elif n <= 4:
            shares.append(weight[counts.most_common(1)[0][0]] / max(chars, 1))
        else:
            repeated = sum(weight[gram] for gram, count in counts.items() if count > 1)
            shares.append(repeated / max(sum(weight.values()), 1))
    return shares


def periodic_times(units: Sequence[int], *, max_period: int = 13) -> int:
    """How often the most repeated span of up to 13 units stands in a row; 0 below 3.

    Looks for the repeats themselves, span by span; the kernel counts runs of equal neighbours.
    """
    best = 0
    for period in range(1, min(max_period, len(units) // 3) + 1):
        for start in range(len(units) - period):
            span, times = units[start : start + period], 1
            while units[start + times * period : start + (times + 1) * period] == span:
                times += 1
            best = max(best, times)
    return best if best > 2 else 0


def cut_pieces(text: str, chars: int) -> list[str]:
    """Pieces of `chars` characters."""
    return [text[i : i + chars] for i in range(0, len(text), chars)]
