"""Plain-Python twins of the repetition kernels: short, slow, and readable as definitions."""

import re
from collections import Counter
from collections.abc import Hashable, Sequence

from naive import duplicate_sums

TOP, DUPLICATE = (2, 3, 4), (5, 6, 7, 8, 9, 10)


def segments(text: str, separator: str, strip: str) -> list[str]:
    """Lines or paragraphs: cut at a pattern; strip nothing, the text, or each and drop empties."""
    parts = re.split(separator, text.strip() if strip == "text" else text)
    return [p.strip() for p in parts if p.strip()] if strip == "segments" else parts


def later_sums(items: Sequence[Hashable], weights: Sequence[int]) -> tuple[int, int]:
    """Second and later occurrences, and the sum of their weights."""
    later = [w for i, w in enumerate(weights) if items[i] in items[:i]]
    return len(later), sum(later)


def grams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """Every n-gram, in order."""
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def joined_chars(words: Sequence[str], n: int) -> int:
    """Characters of n-grams seen before, from left to right, jumping over each one found.

    Equal are n-grams whose words give the same text, put together.
    """
    seen: set[str] = set()
    chars = at = 0
    while at + n <= len(words):
        text = "".join(words[at : at + n])
        if text in seen:
            chars += len(text)
            at += n
        else:
            seen.add(text)
            at += 1
    return chars


def datatrove_columns(text: str, words: Sequence[str]) -> list[float]:
    """Every column of `datatrove-0.10`, in the order of its rules."""
    chars = len(text)
    found: list[float] = [chars]
    for separator, strip in ((r"\n{2,}", "text"), (r"\n+", "nothing")):
        parts = segments(text, separator, strip)
        repeated, weight = later_sums(parts, [len(part) for part in parts])
        found += [repeated / len(parts), weight / max(chars, 1)]
    found += [datatrove_top_chars(words, n) / max(chars, 1) for n in TOP]
    return found + [joined_chars(words, n) / max(chars, 1) for n in DUPLICATE]


def datatrove_top_chars(words: Sequence[str], n: int) -> int:
    """Characters of the first of the most common n-grams, with spaces, times its occurrences."""
    counts = Counter(" ".join(gram) for gram in grams(words, n))
    gram, times = counts.most_common(1)[0] if counts else ("", 0)
    return len(gram) * times


def dclm_columns(text: str, words: Sequence[str]) -> list[float]:
    """Every column of `dclm`, in the order of its rules: characters, lines, paragraphs, n-grams.

    A text of one line or paragraph repeats nothing; DCLM's own short cut for it changes nothing.
    """
    lines = segments(text, r"\n", "segments")
    paragraphs = segments(text, r"\n\n", "segments")
    fracs, shares = [], []
    for parts in (lines, paragraphs):
        repeated, weight = duplicate_sums(parts, [len(part) for part in parts])
        fracs.append(repeated / max(len(parts), 1))
        shares.append(weight / max(sum(map(len, parts)), 1))
    total = max(sum(map(len, words)), 1)
    ngrams = [dclm_chars(words, n) / total for n in (*TOP, *DUPLICATE)]
    return [sum(map(len, lines)), *fracs, *shares, *ngrams]


def dclm_chars(words: Sequence[str], n: int) -> int:
    """Characters of DCLM's most common n-gram (to 4), or in any repeated one (from 5)."""
    places = grams(words, n)
    counts = Counter(places)
    most = max(counts.values(), default=0)
    if most < 2:
        return 0
    if n in TOP:
        return max(len("".join(gram)) for gram in counts if counts[gram] == most) * most
    covered = {i + k for i, gram in enumerate(places) if counts[gram] > 1 for k in range(n)}
    return sum(len(words[i]) for i in covered)
