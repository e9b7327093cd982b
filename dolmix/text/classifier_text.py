"""What a text classifier reads of a text, by name: training and inference call the same functions.

`spaced` is the preparation of the models that ship with dolmix: Chinese and Japanese put no spaces
between words, so a classifier of words and word pairs sees each of their characters as a word.
`shaped` is that of `fluency`.
"""

import re
from collections.abc import Callable

WIDE = re.compile("([\u3000-\u9fff\uf900-\ufaff\uff00-\uffef])")
"""One character of CJK punctuation, kana, ideographs, or full-width forms."""


def lowered(text: str) -> str:
    """Lower-case on one line, no white space around: what dolma gives its fastText taggers."""
    return text.lower().replace("\n", " ").strip()


def spaced(text: str) -> str:
    """As `lowered`, and a space on either side of each wide character (`WIDE`)."""
    plain = lowered(text)
    return plain if plain.isascii() else WIDE.sub(r" \1 ", plain)


def shaped(text: str) -> str:
    """As `spaced`, then words that say how the text looks, in any language: see `shape_words`."""
    from dolmix.text.shape_words import shape_words

    return spaced(text) + shape_words(text)


TRAINING_TEXTS: dict[str, Callable[[str], str]] = {
    "datatrove": lambda text: text.replace("\n", " "),
    "dolma": lowered,
    "dclm": lambda text: " ".join(text.strip().splitlines()),
    "spaced": spaced,
    "shaped": shaped,
}
"""Preparations that a classifier can be trained with. `dclm` is that of DCLM's quality model."""
