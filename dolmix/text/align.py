"""Finding the edit that turns one text into another, for texts rewritten by code of others.

Not every rewriting is an edit: what is new must consist of pieces of the old text, in order, with
newlines and spaces between them. Guarantee: a result, applied, gives the new text; None is returned
only where no edit does.
"""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from dolmix.text.edits import PUTS

Span: TypeAlias = tuple[int, int, int]
"""Start and stop in bytes of the old text, and what is put there: an index of PUTS."""
Piece: TypeAlias = tuple[int, int] | str
"""Characters [start, stop) of the old text that stay, or a character that is put in."""

GAPS = ("\n", " ")
"""What may be put in. An edit can put in any character of ASCII, but a text found again letter by
letter would say nothing about what was rewritten."""
WHOLE_LINES_TRIED = 8
"""Occurrences of a line that are looked at for one that is a whole line of the old text."""
SCANS = 32
"""How often the old text may be searched through for whole lines and longest pieces; texts that
need more, of one short piece after the other, are aligned character by character."""


def find_edit(old: str, new: str) -> list[Span] | None:
    """Spans of `old` that make it `new`; None if pieces of it and GAPS between them cannot.

    Whole lines are looked for first, then the longest pieces, so that spans mostly say what the
    rewriting did; where that fails, the first occurrence of each character. O(old + new) time.
    """
    for pieces in (_by_lines(_Search(old), new), _by_characters(old, new)):
        found = list(pieces)
        if _applied(old, found) == new:
            return _spans(old, found)
    return None


class _Search:
    """Searches one text, and stops finding anything when it has read too much of it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._left = SCANS * len(text) + SCANS

    @property
    def is_spent(self) -> bool:
        """Whether it has read too much already."""
        return self._left < 0

    def find(self, piece: str, place: int) -> int:
        """Where `piece` is first found from `place` on; -1 if nowhere."""
        if self.is_spent:
            return -1
        found = self.text.find(piece, place)
        self._left -= (found if found >= 0 else len(self.text)) - place + len(piece)
        return found

    def is_whole_line(self, start: int, stop: int) -> bool:
        """Whether there is only space around the characters [start, stop) in their line."""
        begin, end = self.text.rfind("\n", 0, start) + 1, self.text.find("\n", stop)
        end = end if end >= 0 else len(self.text)
        self._left -= end - begin
        return not (self.text[begin:start].strip() or self.text[stop:end].strip())


def _by_lines(search: _Search, new: str) -> Iterator[Piece]:
    """Yield pieces line by line; of a line that is not found, as much as is."""
    old, place = search.text, 0
    for number, line in enumerate(new.split("\n")):
        if number:
            yield (place, place + 1) if old.startswith("\n", place) else "\n"
            place += old.startswith("\n", place)
        start = _whole_line(search, line, place) if line else place
        if start >= 0:
            yield start, start + len(line)
            place = start + len(line)
            continue
        for piece in _longest_pieces(search, line, place):
            yield piece
            place = piece[1] if isinstance(piece, tuple) else place


def _whole_line(search: _Search, line: str, place: int) -> int:
    """Where `line`, space around it aside, is a line of the old text; -1 if it is nowhere."""
    start = search.find(line, place)
    for _ in range(WHOLE_LINES_TRIED):
        if start < 0 or search.is_whole_line(start, start + len(line)):
            return start
        start = search.find(line, start + 1)
    return -1


def _longest_pieces(search: _Search, line: str, place: int) -> Iterator[Piece]:
    """Yield the longest beginning of `line` that the old text has from `place` on, then the next.

    Ends early where there is none, and when the search is spent.
    """
    begin = 0
    while begin < len(line) and not search.is_spent:
        length, found = _longest_prefix(search, line[begin:], place)
        if length:
            yield found, found + length
            begin, place = begin + length, found + length
        elif line[begin] in GAPS:
            yield line[begin]
            begin += 1
        else:
            return


def _longest_prefix(search: _Search, line: str, place: int) -> tuple[int, int]:
    """Longest beginning of `line` in the old text from `place` on: its length, and where."""
    low, at, high = 0, place, len(line)
    while low < high:
        length = (low + high + 1) // 2
        found = search.find(line[:length], place)
        if found >= 0:
            low, at = length, found
        else:
            high = length - 1
    return low, at


def _by_characters(old: str, new: str) -> Iterator[Piece]:
    """Yield the first occurrence of each character: pieces for every rewriting that is an edit."""
    place = 0
    for character in new:
        if character in GAPS:
            if not old.startswith(character, place):
                yield character
                continue
            start = place
        else:
            start = old.find(character, place)
            if start < 0:
                return
        yield start, start + 1
        place = start + 1


def _applied(old: str, pieces: Iterable[Piece]) -> str:
    return "".join(p if isinstance(p, str) else old[p[0] : p[1]] for p in pieces)


def _spans(old: str, pieces: Iterable[Piece]) -> list[Span]:
    """Turn what stays into what goes, and characters into bytes."""
    spans: list[Span] = []
    place, put = 0, ""
    for piece in [*pieces, (len(old), len(old))]:
        start = place if isinstance(piece, str) else piece[0]
        if put or start > place:
            if isinstance(piece, tuple) or put:
                spans.append((place, start, PUTS.index(put)))
            place, put = start, ""
        if isinstance(piece, str):
            put = piece
        else:
            place = piece[1]
    return _in_bytes(old, spans)


def _in_bytes(text: str, spans: list[Span]) -> list[Span]:
    if text.isascii():
        return spans
    converted, place, size = [], 0, 0
    for start, stop, put in spans:
        before = size + len(text[place:start].encode())
        size = before + len(text[start:stop].encode())
        converted.append((before, size, put))
        place = stop
    return converted
