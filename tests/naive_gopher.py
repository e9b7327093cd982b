"""Plain-Python twins of what Gopher's rules ask, by each peer's definition.

The words of a text are given: whose they are is the splitter's business.
"""

import re
from collections.abc import Sequence
from statistics import median

from datatrove.utils.text import PUNCTUATION_SET

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
Values = dict[str, float]


def has_letter(word: str) -> bool:
    """Whether a word contains a letter."""
    return any(char.isalpha() for char in word)


def is_plain(word: str) -> bool:
    """Whether a word contains anything but datatrove's punctuation."""
    return any(char not in PUNCTUATION_SET for char in word)


def word_marks(words: Sequence[str]) -> list[int]:
    """Rows of `WordMarks`, in order."""
    plain = [word for word in words if is_plain(word)]
    return [
        len(words),
        sum(map(len, words)),
        sum(map(has_letter, words)),
        len(plain),
        sum(map(len, plain)),
        sum(word in STOP_WORDS for word in words),
        sum(word.lower() in STOP_WORDS for word in words),
        len({*words} & {*STOP_WORDS}),
    ]


def symbol_words(words: Sequence[str]) -> int:
    """Words with `#` or `…`."""
    return sum("#" in word or "…" in word for word in words)


def median_chars(words: Sequence[str]) -> float:
    """Median word length."""
    return float(median(map(len, words))) if words else 0.0


def datatrove_marks(text: str) -> list[int]:
    """Rows of `TextMarks` as datatrove counts them."""
    lines = text.splitlines()
    return [
        text.count("#"),
        text.count("...") + text.count("…"),
        len(lines),
        sum(line.lstrip().startswith(("•", "-")) for line in lines),
        sum(line.rstrip().endswith(("...", "…")) for line in lines),
    ]


def dclm_marks(text: str) -> list[int]:
    """Rows of `TextMarks` as DCLM counts them."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return [
        text.count("#"),
        sum(map(text.count, ("...", ". . .", "…"))),
        len(lines),
        sum(line[0] in "●•*-" for line in lines),
        sum(line.endswith(("...", ". . .", "…")) for line in lines),
    ]


def page_words(text: str) -> int:
    """Tokens, cut as fastText does, that start alphanumerically."""
    return sum(word[:1].isalnum() for word in re.split("[ \n\r\t\v\f\0]", text))


def dolma(text: str, words: Sequence[str], *, merge: bool) -> Values:
    """Columns of the preset dolma-1.2."""
    lines = re.split(r"\n+", text) if merge else text.split("\n")
    return {
        "word_count": len(words),
        "median_word_length": median_chars(words),
        "symbol_frac": share(symbol_words(words), words),
        "alpha_word_frac": share(sum(map(has_letter, words)), words),
        "required_words": sum(word in STOP_WORDS for word in words),
        "bullet_line_frac": share(sum(line.startswith(("*", "-")) for line in lines), lines),
        "ellipsis_line_frac": share(sum(line.endswith("…") for line in lines), lines),
    }


def datatrove(text: str, words: Sequence[str]) -> Values:
    """Columns of the preset datatrove-0.10."""
    plain = [word for word in words if is_plain(word)]
    hashes, ellipses, lines, bullets, ends = datatrove_marks(text)
    return {
        "word_count": len(plain),
        "mean_word_length": share(sum(map(len, plain)), plain),
        "hash_frac": share(hashes, words),
        "ellipsis_frac": share(ellipses, words),
        "bullet_line_frac": bullets / max(lines, 1),
        "ellipsis_line_frac": ends / max(lines, 1),
        "alpha_word_frac": share(sum(map(has_letter, words)), words),
        "stop_words": len({*words} & {*STOP_WORDS}),
    }


def dclm(text: str, words: Sequence[str]) -> Values:
    """Columns of the preset dclm."""
    hashes, ellipses, lines, bullets, ends = dclm_marks(text)
    return {
        "word_count": page_words(text),
        "mean_word_length": share(sum(map(len, words)), words),
        "symbol_frac": share(hashes + ellipses, words),
        "bullet_line_frac": bullets / max(lines, 1),
        "ellipsis_line_frac": ends / max(lines, 1),
        "non_alpha_word_frac": share(len(words) - sum(map(has_letter, words)), words),
        "required_words": sum(word.lower() in STOP_WORDS for word in words),
    }


def share(part: int, whole: Sequence[str]) -> float:
    """Part of whole, 0 of nothing."""
    return part / len(whole) if whole else 0.0
