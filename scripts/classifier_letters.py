"""Texts whose letters have changed places, so that a model cannot know their words.

There are few texts of most languages to learn from: a model would learn their words by heart. With
other letters, the same ones all through a text, lengths, order, repetition and punctuation of the
words stay as they were, and a model has only these to learn from.
"""

import random

LATIN_END = 0x250
VOWELS = "aeiouy"


def rewrite(rng: random.Random, text: str) -> str:
    """Let letters change places: Latin vowels, other Latin letters, and letters of other alphabets.

    Vowels with accents stay vowels: they count among letters beyond ASCII, which are one group.
    """
    groups: dict[int, list[str]] = {}
    for letter in sorted({c.lower() for c in text if c.isalpha() and len(c.lower()) == 1}):
        groups.setdefault(_group(letter), []).append(letter)
    table: dict[str, str] = {}
    for letters in groups.values():
        table |= dict(zip(letters, rng.sample(letters, len(letters)), strict=True))
    pairs = ((a.upper(), b.upper()) for a, b in table.items())
    upper = {a: b for a, b in pairs if len(a) == len(b) == 1}
    return text.translate({ord(a): b for a, b in (upper | table).items()})


def _group(letter: str) -> int:
    if letter.isascii():
        return int(letter in VOWELS)
    return 2 if ord(letter) < LATIN_END else 3
