"""What two bytes of a chunk already say about its affixes.

Each alternative is put beside the two bytes: it matches, it does not, or that depends on more.
Where the answer is the same whatever else the chunk holds, it goes into a table over byte pairs.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dolmix.document import U8Array
from dolmix.text.spacy_affixes import ASK, NOTHING
from dolmix.text.spacy_patterns import Alternative, Chars, Inexpressible

LETTERS: Chars = ((0x41, 0x5A), (0x61, 0x7A))


def compile_windows(
    prefixes: list[Alternative], suffixes: list[Alternative], infixes: list[Alternative]
) -> dict[str, NDArray[Any]]:
    """Find out what byte pairs say; `Rules` has the shapes."""
    suffix = _table(_suffix, [[s for s in suffixes if _holds(s.body[-1], b)] for b in range(0x80)])
    return {
        "prefixes": _table(
            _prefix, [[p for p in prefixes if _holds(p.body[0], b)] for b in range(0x80)]
        ),
        "suffixes": suffix.T.copy(),
        **_infix_masks(infixes),
        "closing": _closing(prefixes, suffix),
        "plain_letters": _plain_letters([*prefixes, *suffixes, *infixes]),
    }


def _table(
    answer: Callable[[list[Alternative], int], int], found: list[list[Alternative]]
) -> U8Array:
    """(256, 256) uint8: the answer for a byte and its neighbour, ASK for the bytes beyond ASCII."""
    table = np.full((256, 256), ASK, np.uint8)
    table[:0x80] = 0
    for byte, ones in enumerate(found):
        if ones:
            table[byte] = [answer(ones, neighbour) for neighbour in range(256)]
    return table


def _prefix(found: list[Alternative], after: int) -> int:
    """Length of the prefix where one of these starts, its first character being there."""
    for one in found:
        if one.before:
            continue
        if len(one.body) > 1:
            fits = _fits(one.body[1], after)
            sure = fits and len(one.body) == 2 and one.after is None and one.refused is None
        else:
            fits = one.after is None or _fits(one.after, after)
            if one.refused is not None and fits:
                refused = _fits(one.refused, after)
                fits = None if refused is None else not refused
            sure = fits
        if fits is False:
            continue
        return len(one.body) if sure and not one.repeats else ASK
    return 0


def _suffix(found: list[Alternative], before: int) -> int:
    """Length of the longest of these suffixes, their last character being there."""
    sure, unsure = 0, 0
    for one in found:
        wanted = (one.before + one.body)[:-1]
        fits = True if not wanted else _fits(wanted[-1], before)
        if fits is False:
            continue
        if fits and len(wanted) <= 1 and not one.repeats:
            sure = max(sure, len(one.body))
        else:
            unsure = max(unsure, ASK if one.repeats else len(one.body))
    return ASK if unsure > sure else sure


def _infix_masks(infixes: list[Alternative]) -> dict[str, NDArray[Any]]:
    """Give every byte a bit set: an infix may start where those of both bytes share a bit.

    Bit 0 is for infixes that may follow anything, each other bit for what others must follow.
    """
    wanted: list[Chars | None] = [None]
    for one in infixes:
        if one.before and one.before[-1] not in wanted:
            wanted.append(one.before[-1])
    if len(wanted) > 8:
        raise Inexpressible(f"infixes that follow {len(wanted)} different sets")
    before, first = np.full(256, 0xFF, np.uint8), np.full(256, 0xFF, np.uint8)
    before[NOTHING] = 1
    for byte in range(0x80):
        before[byte] = sum(1 << k for k, c in enumerate(wanted) if c is None or _holds(c, byte))
        follows = [one.before[-1] if one.before else None for one in infixes]
        starts = {c for one, c in zip(infixes, follows, strict=True) if _holds(one.body[0], byte)}
        first[byte] = sum(1 << k for k, c in enumerate(wanted) if c in starts)
    return {"infix_before": before, "infix_first": first}


def _closing(prefixes: list[Alternative], suffix: U8Array) -> U8Array:
    """Find the bytes that, after letters that end in lower or upper case, are a suffix alone."""
    closing = np.zeros((2, 256), np.uint8)
    for byte in (b for b in range(0x80) if not _holds(LETTERS, b)):
        opened = any(
            _meets(one.body[0], LETTERS) and any(_holds(chars, byte) for chars in one.body[1:])
            for one in prefixes
        )
        closing[0, byte] = not opened and bool((suffix[byte, 0x61:0x7B] == 1).all())
        closing[1, byte] = not opened and bool((suffix[byte, 0x41:0x5B] == 1).all())
    return closing


def _plain_letters(every: list[Alternative]) -> NDArray[Any]:
    """1 where words of ASCII letters have no affix at all, else 0."""
    some = any(all(_meets(c, LETTERS) for c in one.before + one.body) for one in every)
    return np.array(not some, np.int64)


def _fits(chars: Chars, byte: int) -> bool | None:
    """Whether the character that a byte starts is in a set; None where one byte does not say."""
    if byte == NOTHING:
        return False
    return _holds(chars, byte) if byte < 0x80 else None


def _holds(chars: Chars, point: int) -> bool:
    return any(low <= point <= high for low, high in chars)


def _meets(chars: Chars, others: Chars) -> bool:
    return any(low <= last and first <= high for low, high in chars for first, last in others)
