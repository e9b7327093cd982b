"""What scripts/train_default_models.py does to fluent text so that it is not.

Each fault takes words or characters of one kind of bad text: shuffled or dropped words, repeated
phrases, characters misread, word order of a machine, lists of keywords.
"""

# ruff: noqa: PLR2004 - rates and lengths are what they are
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence

WIDE = re.compile("[\u3040-\u30ff\u3400-\u9fff]")
MISREAD = {
    "e": "c", "c": "e", "l": "1", "i": "l", "o": "0", "m": "rn", "n": "ri", "h": "b", "s": "5",
    "a": "o", "t": "f", "g": "9", "u": "v", "d": "cl", "f": "t", "r": "i",
}  # fmt: skip
STOPS = ".!?\u3002\uff01\uff1f\u061f\u06d4\u0964\u2026"
SIGNS = "~|^_*\\=<>#"
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def shuffle_words(rng: random.Random, words: list[str]) -> list[str]:
    """Put all words in another order, or those of each run of 5 to 12, or of each sentence."""
    if rng.random() < 0.25:
        return _shuffle_sentences(rng, words)
    size = rng.choice((len(words), 5, 8, 12))
    parts = [words[n : n + size] for n in range(0, len(words), max(1, size))]
    for part in parts:
        rng.shuffle(part)
    return [word for part in parts for word in part]


def _shuffle_sentences(rng: random.Random, words: list[str]) -> list[str]:
    """Shuffle each sentence, whose first letter and last sign stay where they were."""
    made, start = [], 0
    for stop in [n + 1 for n, word in enumerate(words) if word[-1] in STOPS] + [len(words)]:
        part = words[start:stop]
        if len(part) > 2:
            end = part[-1][-1] if part[-1][-1] in STOPS else ""
            part[-1] = part[-1].removesuffix(end)
            part[0] = part[0].lower()
            rng.shuffle(part)
            part = [word for word in part if word] or [""]
            part[0], part[-1] = part[0].capitalize(), part[-1] + end
        made += part
        start = stop
    return made


def swap_neighbours(rng: random.Random, words: list[str]) -> list[str]:
    """Swap one word in three with the next, as word-by-word translation does."""
    made = list(words)
    for n in range(len(made) - 1):
        if rng.random() < 0.35:
            made[n], made[n + 1] = made[n + 1], made[n]
    return made


def reverse_groups(rng: random.Random, words: list[str]) -> list[str]:
    """Reverse groups of two to five words."""
    made, at = [], 0
    while at < len(words):
        size = rng.randint(2, 5)
        group = words[at : at + size]
        made += group[::-1] if rng.random() < 0.7 else group
        at += size
    return made


def drop_function_words(rng: random.Random, words: list[str]) -> list[str]:
    """Leave out most of the short and frequent words."""
    counts = Counter(word.lower() for word in words)
    common = {word for word, _ in counts.most_common(12) if len(word) < 5}
    return [w for w in words if not ((w.lower() in common or len(w) < 4) and rng.random() < 0.85)]


def repeat_phrases(rng: random.Random, words: list[str]) -> list[str]:
    """Say groups of one to six words two to five times."""
    made, at = [], 0
    while at < len(words):
        size = rng.randint(1, 6)
        made += words[at : at + size] * (rng.randint(2, 5) if rng.random() < 0.4 else 1)
        at += size
    return made


def keywords(rng: random.Random, words: list[str]) -> list[str]:
    """List long words, many of them again and again, with commas or without."""
    long = [word.strip(".,;:!?\"'()") for word in words if len(word) > 4] or list(words)
    few = rng.sample(long, min(len(long), rng.choice((6, 12, 40))))
    end = rng.choice((",", "", "", " |"))
    return [rng.choice(few) + end for _ in range(max(5, len(words) * 2 // 3))]


def misread(rng: random.Random, words: list[str]) -> list[str]:
    """Misread letters, cut and join words, as poor scans do."""
    rate, made = rng.choice((0.04, 0.08, 0.15)), []
    for word in words:
        letters = [MISREAD.get(c, c) if rng.random() < rate else c for c in word]
        if rng.random() < rate and len(letters) > 3:
            letters.insert(rng.randrange(1, len(letters)), " ")
        if rng.random() < rate / 2:
            letters.append(rng.choice(SIGNS))
        made.append("".join(letters) + ("\0" if rng.random() < rate / 2 else ""))
    return " ".join(made).replace("\0 ", "").replace("\0", "").split(" ")


def scramble_letters(rng: random.Random, words: list[str]) -> list[str]:
    """Swap, drop and double letters of one word in three."""
    made = []
    for word in words:
        if len(word) < 4 or rng.random() > 0.35:
            made.append(word)
            continue
        at = rng.randrange(len(word) - 1)
        head, pair, tail = word[:at], word[at : at + 2], word[at + 2 :]
        made.append(
            head + rng.choice((pair[::-1], pair[0], pair[0] + pair, rng.choice(LETTERS))) + tail
        )
    return made


FAULTS: dict[str, Callable[[random.Random, list[str]], list[str]]] = {
    "shuffled_words": shuffle_words,
    "swapped_neighbours": swap_neighbours,
    "reversed_groups": reverse_groups,
    "dropped_function_words": drop_function_words,
    "repeated_phrases": repeat_phrases,
    "keyword_soup": keywords,
    "ocr_noise": misread,
    "letter_noise": scramble_letters,
}


def spoil(rng: random.Random, text: str, fault: str) -> str:
    """Put one fault into a text, leaving its lines as long as they were, about."""
    wide = len(WIDE.findall(text)) * 3 > len(text)
    words = _pieces(rng, text) if wide else text.split()
    if len(words) < 4:
        return " ".join(reversed(words))
    return ("" if wide else " ").join(FAULTS[fault](rng, list(words)))


def _pieces(rng: random.Random, text: str) -> Sequence[str]:
    """Cut text without spaces in pieces of one to three characters, which stand for words."""
    made, at = [], 0
    while at < len(text):
        size = rng.choice((1, 2, 2, 3))
        made.append(text[at : at + size])
        at += size
    return made
