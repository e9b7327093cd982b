"""Pairs of documents that share a chosen part of their word n-grams, made from real ones."""

import math
import random
from collections.abc import Sequence


def edited(text: str, jaccard: float, *, ngram: int, seed: int) -> str:
    """Replace words of a text, so that its n-grams have about this Jaccard similarity to its own.

    Each replaced word takes the n-grams with it that it stands in. With a share f of them gone, the
    similarity is (1 - f) / (1 + f), so f = (1 - s) / (1 + s).
    """
    words, draw = text.split(), random.Random(seed)
    gone = (1 - jaccard) / (1 + jaccard)
    count = round(math.log(1 - gone) / math.log(1 - ngram / len(words)))
    for at in draw.sample(range(len(words)), min(count, len(words))):
        words[at] = "".join(draw.choices("bcdfgjklmnpqrtvwxz", k=9))
    return " ".join(words)


def passages(texts: Sequence[str], words: int, count: int) -> list[str]:
    """Cut `count` passages of so many words from texts, one a text first, then a second one."""
    found: list[str] = []
    for start in range(0, 100 * words, words):
        for text in texts:
            cut = text.split(None, start + words)[start : start + words]
            if len(cut) == words and len(found) < count:
                found.append(" ".join(cut))
    assert len(found) == count
    return found
