"""Shape words in plain Python: what `dolmix.text.shape_words` does, slowly and one by one."""

import re
import unicodedata
from collections import Counter
from itertools import pairwise

STOPS = ".!?\u3002\uff01\uff1f\u061f\u06d4\u0964\u2026"
COMMAS = ",;\u060c\u3001\uff0c"
WIDE = re.compile("([\u3000-\u9fff\uf900-\ufaff\uff00-\uffef])")
NEVER = -1_000_000


def letter(c: str) -> bool:
    """Tell letters, and marks that sit on them."""
    return c.isalpha() or unicodedata.category(c)[0] == "M"


def inner(c: str) -> bool:
    """Tell what a word keeps at its ends."""
    return letter(c) or c.isdigit()


def core(word: str) -> str:
    """Give a word without signs at its ends, lower-cased character by character."""
    places = [n for n, c in enumerate(word) if inner(c)]
    kept = word[places[0] : places[-1] + 1] if places else ""
    return "".join(c.lower()[0] for c in kept)


def latin(c: str) -> bool:
    """Tell Latin letters, and accents that sit on them."""
    return ord(c) < 0x250 or 0x300 <= ord(c) < 0x370


def hard(c: str) -> bool:
    """Tell consonants of a to z; letters with accents count as vowels."""
    return letter(c) and c.isascii() and c.lower() not in "aeiouy"


def runs(word: str, size: int) -> bool:
    """Whether so many consonants follow each other."""
    return any(all(map(hard, word[n : n + size])) for n in range(len(word) - size + 1))


def oddities(word: str) -> list[bool]:
    """Tell the eight odd things, in order."""
    letters = [c for c in word if letter(c)]
    lows = [c.lower()[0] for c in word]
    vowel = any(c in "aeiouyAEIOUY" or (latin(c) and not c.isascii()) for c in word)
    size = len(core(word))
    thrice = zip(lows, lows[1:], lows[2:], word[1:], word[2:], strict=False)
    return [
        bool(letters) and any(c.isdigit() for c in word),
        any(c in "~|^_*\\=<>#" for c in word),
        any(a.islower() and b.isupper() for a, b in pairwise(word)),
        len({latin(c) for c in letters}) == 2,
        any(a == b == c and letter(d) and letter(e) for a, b, c, d, e in thrice),
        size > 3 and {latin(c) for c in letters} == {True} and not vowel
        and not any(c.isdigit() for c in word),
        runs(word, 4),
        size == 1,
    ]  # fmt: skip


def ends(word: str) -> bool:
    """Whether a word ends a sentence, a sign after the stop or none."""
    return word[-1] in STOPS or (len(word) > 1 and word[-2] in STOPS and not inner(word[-1]))


def begins(word: str) -> bool:
    """Whether a word's first letter or digit is a capital."""
    return next((c.isupper() for c in word if inner(c)), False)


def ratio(over: int, under: int) -> int:
    """Thousandths, rounded down."""
    return over * 1000 // under if under > 0 else NEVER


def ratios(words: list[str]) -> list[int]:
    """Give the thirty ratios of a window."""
    n, cores = len(words), [core(w) for w in words]
    sizes, stops = [len(c) for c in cores], [ends(w) for w in words]
    marked, short = [not inner(w[-1]) for w in words], [size <= 3 for size in sizes]
    capitals = [begins(w) for w in words]
    after = sum(a and b for a, b in zip(stops, capitals[1:], strict=False))
    at = [-1, *(i for i, stop in enumerate(stops) if stop)]
    gaps = [b - a for a, b in pairwise(at)]
    found = [
        ratio(sum(stops), n),
        ratio(sum(w[-1] in COMMAS for w in words), n),
        ratio(after, sum(stops[:-1])),
        ratio(sum(capitals[1:]) - after, n - 1 - sum(stops[:-1])),
        ratio(sum(marked), n),
        ratio(sum(a and b for a, b in pairwise(marked)) * n, sum(marked) ** 2),
        ratio(sum(gap <= 2 for gap in gaps), len(gaps)),
        ratio(len(gaps) * sum(gap * gap for gap in gaps), sum(gaps) ** 2)
        if len(gaps) > 2
        else NEVER,
        ratio(sum(a and b for a, b in zip(stops, short, strict=True)), sum(stops)),
        ratio(sum(a == b != "" for a, b in pairwise(cores)), n),
        ratio(sum(c != "" and c in cores[max(0, i - 6) : i] for i, c in enumerate(cores)), n),
    ]
    pairs = list(pairwise(cores))
    found.append(ratio(sum(p in pairs[max(0, i - 8) : i] for i, p in enumerate(pairs)), n))
    counts, pair_counts = Counter(cores), Counter(pairs)
    same = sum(c * (c - 1) for c in counts.values())
    same_pairs = sum(c * (c - 1) for c in pair_counts.values())
    total, squares = sum(sizes), sum(size * size for size in sizes)
    products = sum(a * b for a, b in pairwise(sizes))
    found += [
        ratio(max(counts.values()), n),
        ratio(len(counts), n),
        ratio(sum(c == 1 for c in counts.values()), n),
        ratio(n - 1 - len(pair_counts), n),
        ratio((same_pairs + 1) * n * n, same * same + n * n),
        ratio(n * products - total * total, n * squares - total * total),
        ratio(sum(short), n),
        ratio(sum(a and b for a, b in pairwise(short)) * n, sum(short) ** 2),
        ratio(total, n),
        ratio(n * squares, total * total),
    ]
    odd = [oddities(word) for word in words]
    return found + [ratio(sum(one[k] for one in odd), n) for k in range(8)]


def windows(text: str) -> list[list[str]]:
    """Give the words of a text in windows of about 128."""
    words = WIDE.sub(r" \1 ", text).split()
    count = max((len(words) + 64) // 128, min(len(words), 1))
    edges = [n * len(words) // count for n in range(count + 1)] if count else []
    return [words[a:b] for a, b in pairwise(edges)]


def shape_words(text: str, edges: tuple[tuple[int, ...], ...]) -> str:
    """Give the shape words of a text, a space before each."""
    made = []
    order = [*range(30), *range(0, 30, 2), *range(1, 30, 2)]
    for words in windows(text):
        wide = 2 * sum(WIDE.match(word) is not None for word in words) > len(words)
        size = sum(len(words) >= limit for limit in (12, 24, 48, 96))
        found = ratios(words)
        for k in order:
            reached = sum(found[k] >= edge for edge in edges[k])
            made.append(f" {chr(0xE000 + k)}{'abcdefghij'[size + 5 * wide]}{chr(97 + reached)}")
    return "".join(made)
