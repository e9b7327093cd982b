"""Repeated groups of characters, by the regular expression that defines them."""

import re

REPEATED = re.compile(r"(.+?)(\s?\1){3,}")
PARAGRAPH = re.compile(r"[^\n]*\n|[^\n]+$")


def matches(text: str) -> list[tuple[int, int, int]]:
    """Start, length and score of every repetition, from left to right."""
    found = REPEATED.finditer(text)
    return [(m.start(), len(m[0]), m[0].count(m[1])) for m in found]


def char_repeats(text: str, *, by_paragraph: bool = False) -> tuple[int, int, int, int]:
    """Largest score, largest length, sum of the lengths of all repetitions, characters."""
    pieces = PARAGRAPH.findall(text) if by_paragraph else [text]
    found = [match for piece in pieces for match in matches(piece)]
    scores, lengths = [m[2] for m in found], [m[1] for m in found]
    return max(scores, default=0), max(lengths, default=0), sum(lengths), len(text)


def units(text: str) -> list[int]:
    """Each character as the place of the first one equal to it."""
    return [text.index(character) for character in text]
