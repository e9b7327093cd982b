r"""Words and phrases in lower-cased text: which kinds of a list does a text mention.

A phrase is looked for in what Python's `text.lower()` gives: anywhere (`phrase in text.lower()`),
or as a whole, with an edge of the text or a separating character on both sides: a non-word
character, as in `re.search(rf"(?:\W|^){phrase}(?:\W|$)", text.lower())`, or white space, as in
`phrase in text.lower().split()`. Phrases themselves are taken as they are: one with a capital
letter is never found.

All phrases are looked for at once, by one automaton over characters (Aho and Corasick 1975), so the
time does not depend on their number.
"""

from collections.abc import Iterable
from functools import lru_cache
from sys import maxunicode
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dolmix.document import I64Array, TextBatch, U8Array, U16Array
from dolmix.errors import FilterError
from dolmix.text.characters import ALNUM, SPACE, decode, point_marks
from dolmix.text.compiled import kernel, leaf

I32Array: TypeAlias = NDArray[np.int32]
Edges: TypeAlias = Literal["nonword", "whitespace"]
"""What separates whole phrases: a character that is not `\\w`, or white space."""

CAPITAL_I_DOT, DOT_ABOVE = 0x130, 0x307
"""U+0130 is the one character whose lower case is two: `i` and U+0307."""
CAPITAL_SIGMA = "\u03a3"
"""The one character whose lower case depends on its neighbours."""
SMALL_SIGMAS = "\u03c3\u03c2"


LARGEST = 2**31 - 1
"""Most moves of an automaton."""


class Phrase(NamedTuple):
    """Something to look for."""

    text: str
    """In lower case; never empty."""
    kind: int
    """The bit that stands for a find, 1 to 128."""
    whole: bool = False
    """Whether an edge must stand on both sides."""


class PhraseTable(NamedTuple):
    """The automaton. S states, numbered so that those with a find come last; C character classes.

    symbols  (1114112,) uint16  by code point: 2 * class of its lower case, plus 1 for an edge
    moves    (S * 2C,) int32    next state, times 2C, by state and 2 * class + (edge before it)
    anywhere (S,) uint8         kinds found on entering the state
    whole    (S,) uint8         kinds found if an edge comes next
    first    int                the first state with a find, times 2C
    width    int                2C
    sigma    bool               whether any phrase has a small sigma, see `phrases_in`
    """

    symbols: U16Array
    moves: I32Array
    anywhere: U8Array
    whole: U8Array
    first: int
    width: int
    sigma: bool


def phrases_in(texts: TextBatch, table: PhraseTable) -> U8Array:
    """(N,) uint8: kinds of phrases that each text has, in lower case, as bits."""
    found = np.zeros(len(texts), np.uint8)
    mark_phrases(texts.utf8, texts.offsets, table, found)
    if table.sigma:
        # a capital sigma becomes one of two small ones by rules that only Python's lower() knows
        rows = np.flatnonzero(pc.match_substring(texts.text, CAPITAL_SIGMA))
        lowered = [text.as_py().lower() for text in texts.text.take(pa.array(rows))]
        again = TextBatch.of(lowered)
        sure = np.zeros(len(again), np.uint8)
        mark_phrases(again.utf8, again.offsets, table, sure)
        found[rows] = sure
    return found


@lru_cache(maxsize=16)
def phrase_table(phrases: tuple[Phrase, ...], edges: Edges = "nonword") -> PhraseTable:
    """Build the automaton of some phrases; the last ones asked for are kept.

    Raises FilterError for so many phrases of so many characters that its states have no numbers.
    """
    classes = {c: n + 1 for n, c in enumerate(sorted({c for p in phrases for c in p.text}))}
    width = 2 * (len(classes) + 1)
    symbols = _symbols(classes, edges)
    trie: list[dict[int, int]] = [{}]
    kinds = [[0, 0]]
    for phrase in phrases:
        for path in _paths(phrase, symbols):
            state = 0
            for step in path:
                if step not in trie[state]:
                    trie[state][step] = len(trie)
                    trie.append({})
                    kinds.append([0, 0])
                state = trie[state][step]
            kinds[state][phrase.whole] |= phrase.kind
    if len(trie) * width > LARGEST:
        raise FilterError(
            f"{len(phrases):,} phrases of {len(classes):,} different characters make a table of "
            f"{len(trie) * width:,} moves, more than {LARGEST:,}. Split the list over two filters."
        )
    moves = _close(trie, kinds, width)
    return _renumber(moves, kinds, symbols, sigma=any(s in classes for s in SMALL_SIGMAS))


@lru_cache(maxsize=1)
def lower_points() -> I32Array:
    """(1114112,) int32: lower case of each code point, the first of two for U+0130."""
    points = np.fromiter((ord(chr(c).lower()[0]) for c in range(maxunicode + 1)), np.int32)
    points.setflags(write=False)
    return points


def _symbols(classes: dict[str, int], edges: Edges) -> U16Array:
    lower, marks = lower_points(), point_marks()
    by_point = np.zeros(maxunicode + 1, np.uint16)
    if edges == "whitespace":
        by_point |= (marks & SPACE) != 0
    else:
        by_point |= (marks & ALNUM) == 0
        by_point[ord("_")] = 0
    for character, number in classes.items():
        by_point[ord(character)] |= np.uint16(2 * number)
    symbols: U16Array = by_point[lower]
    symbols.setflags(write=False)
    return symbols


def _paths(phrase: Phrase, symbols: U16Array) -> Iterable[list[int]]:
    """Spell a phrase in the automaton's steps; in two ways if it may follow anything."""
    own = [int(symbols[ord(c)]) for c in phrase.text]
    if any(chr(lower_points()[ord(c)]) != c for c in phrase.text):
        return  # no lower-cased text has it
    for before in (1,) if phrase.whole else (0, 1):
        edges = [before, *(symbol & 1 for symbol in own[:-1])]
        yield [(symbol & ~1) + edge for symbol, edge in zip(own, edges, strict=True)]


def _close(trie: list[dict[int, int]], kinds: list[list[int]], width: int) -> I32Array:
    """Give every state a move for every symbol; a state finds what its suffixes find."""
    moves = np.zeros((len(trie), width), np.int32)
    shorter = np.zeros(len(trie), np.int32)
    queue = [0]
    for state in queue:
        moves[state] = moves[shorter[state]] if state else 0
        for step, child in trie[state].items():
            shorter[child] = moves[state, step] if state else 0
            moves[state, step] = child
            queue.append(child)
        for which in range(2):
            kinds[state][which] |= kinds[shorter[state]][which]
    return moves


def _renumber(
    moves: I32Array, kinds: list[list[int]], symbols: U16Array, *, sigma: bool
) -> PhraseTable:
    """Put the states with a find last, so that one comparison tells them from the others."""
    width = moves.shape[1]
    both = np.array(kinds, np.uint8)
    silent = ~both.any(axis=1)
    order = np.argsort(~silent, kind="stable")
    numbers = np.empty(len(order), np.int32)
    numbers[order] = np.arange(len(order), dtype=np.int32) * width
    return PhraseTable(
        symbols=symbols,
        moves=numbers[moves[order]].ravel(),
        anywhere=both[order, 0].copy(),
        whole=both[order, 1].copy(),
        first=int(silent.sum()) * width,
        width=width,
        sigma=sigma,
    )


@kernel
def mark_phrases(utf8: U8Array, offsets: I64Array, table: PhraseTable, found: U8Array) -> None:
    """Fill in the kinds of phrases that each text has.

    utf8     (B,) uint8      bytes of all documents
    offsets  (N + 1,) int64  document n is utf8[offsets[n]:offsets[n + 1]]
    table    the automaton
    found    (N,) uint8      out

    O(B). Twin: tests/naive_c4.py `phrases_in`.
    """
    for n in range(offsets.size - 1):
        found[n] = find_phrases(utf8, offsets[n], offsets[n + 1], table)


@leaf
def find_phrases(utf8: U8Array, begin: int, stop: int, table: PhraseTable) -> int:
    """Kinds of phrases in the lower case of `utf8[begin:stop]`, as bits."""
    symbols, moves, anywhere, whole = table.symbols, table.moves, table.anywhere, table.whole
    first, width = table.first, table.width
    state, edge, found = np.int64(0), np.int64(1), np.int64(0)
    i, pending = begin, 0
    while i < stop or pending > 0:
        if pending > 0:
            point, pending = pending, 0
        elif utf8[i] < 0x80:
            point, i = int(utf8[i]), i + 1
        else:
            point, i = decode(utf8, i, stop)
            if point == CAPITAL_I_DOT:
                pending = DOT_ABOVE
        symbol = np.int64(symbols[point])
        if state >= first and symbol & 1:
            found |= whole[state // width]
        state = np.int64(moves[state + (symbol & ~1) + edge])
        edge = symbol & 1
        if state >= first:
            found |= anywhere[state // width]
    if state >= first:
        found |= whole[state // width]
    return int(found)
