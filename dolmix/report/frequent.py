"""Which n-grams of words are frequent, in memory that does not grow with the text.

A first reading of the texts finds candidates and how far their counts may be short (`Summary`), a
second one counts those exactly that may be among the most frequent (`Listed`). Guarantee: `Top`
holds exact counts; every n-gram that occurs more than `Top.elsewhere` times, and more often than
the last one listed, is listed. Summaries are made unit by unit and merged in the units' order, so
that the result depends on the texts and their cut into units alone.

An n-gram is known by the 64-bit hash of its words: among m different ones, two share a hash with a
probability of about m**2 / 2**65.
"""

from collections.abc import Container
from dataclasses import dataclass

import numpy as np

from dolmix.document import I64Array, U8Array, U64Array
from dolmix.text.frequent import (
    ERROR,
    LIVE,
    TOTAL,
    add_items,
    add_ngrams,
    count_listed,
    index_items,
    read_table,
)
from dolmix.text.words import Words

SLOTS = 1 << 19
"""Slots of a table, at most, of 16 bytes; it holds half as many n-grams."""
FIRST_SLOTS = 1 << 12
"""Slots of a table while it is small."""
MOST_LISTED = 1 << 16
"""N-grams of one length that are counted exactly, at most."""


@dataclass(frozen=True, eq=False)
class Summary:
    """Candidates of one length of n-gram.

    items   (M,) uint64  hashes, those of the largest counts first, equal counts by hash
    counts  (M,) int64   at most `error` less than how often each occurs
    error   an n-gram that is no candidate occurs at most so often
    total   occurrences of all n-grams
    """

    items: U64Array
    counts: I64Array
    error: int
    total: int


class Table:
    """Counts n-grams of one length in memory that is bounded, and small for few of them."""

    def __init__(self, slots: int = SLOTS) -> None:
        """Make an empty table of `slots` slots at most, a power of two and 4 at least."""
        self._most = slots
        self._error = self._total = 0
        self._resize(min(FIRST_SLOTS, slots))

    def add(self, words: Words, n: int) -> None:
        """Count the n-grams of a batch."""
        self._make_room(int(words.ends[-1]))
        add_ngrams(words.hashes, words.ends, n, self._table, self._room, self._state)

    def merge(self, other: Summary) -> None:
        """Add what another table counted."""
        self._make_room(len(other.items))
        add_items(other.items, other.counts, self._table, self._room, self._state)
        self._error += other.error
        self._total += other.total - int(other.counts.sum())

    def _make_room(self, more: int) -> None:
        """Take a larger table, as far as it may grow, where so many more items may not fit."""
        wanted = 1 << (2 * (int(self._state[LIVE]) + more)).bit_length()
        slots = min(wanted, self._most)
        if slots > len(self._table):
            items, counts = self._items()
            self._error += int(self._state[ERROR])
            self._total += int(self._state[TOTAL]) - int(counts.sum())
            self._resize(slots)
            add_items(items, counts, self._table, self._room, self._state)

    def _resize(self, slots: int) -> None:
        self._table = np.zeros((slots, 2), np.uint64)
        self._room = np.empty((slots // 4, 2), np.uint64)
        self._state = np.zeros(3, np.int64)

    def _items(self) -> tuple[U64Array, I64Array]:
        live = int(self._state[LIVE])
        items, counts = np.empty(live, np.uint64), np.empty(live, np.int64)
        read_table(self._table, items, counts)
        return items, counts

    def summary(self) -> Summary:
        """Read out what is in the table."""
        items, counts = self._items()
        order = np.lexsort((items, -counts))
        error = self._error + int(self._state[ERROR])
        total = self._total + int(self._state[TOTAL])
        return Summary(items[order], counts[order], error, total)


@dataclass(frozen=True, slots=True)
class Top:
    """The most frequent n-grams of one length."""

    n: int
    total: int
    """Occurrences of all n-grams."""
    elsewhere: int
    """An n-gram that was not counted exactly occurs at most so often; 0 where all were counted."""
    distinct: int | None
    """Different n-grams; None where not all could be told apart."""
    ngrams: tuple[tuple[str, int], ...]
    """N-gram, its words separated by a space, and how often it occurs; most frequent first."""


class Listed:
    """Candidates that may be among the `top` most frequent n-grams, to be counted and named."""

    def __init__(self, n: int, summary: Summary, top: int) -> None:
        """Choose the candidates.

        Where nothing was taken off any count, the counts stand, and the `top` first are chosen.
        """
        self.n, self.top = n, top
        self.exact = summary.error == 0
        counts = summary.counts
        chosen = self._chosen(counts, summary.error)
        self.items = summary.items[:chosen]
        self.counts = counts[:chosen].copy() if self.exact else np.zeros(chosen, np.int64)
        self.texts: list[str | None] = [None] * chosen
        self._elsewhere = 0 if self.exact else self._bound(counts, summary.error, chosen)
        self._total, self._distinct = summary.total, len(counts) if self.exact else None
        self._index = np.zeros((1 << max(2 * chosen, 2).bit_length(), 2), np.uint64)
        index_items(self.items, self._index)

    def _chosen(self, counts: I64Array, error: int) -> int:
        """Tell how many candidates, the first ones, may be among the most frequent."""
        if self.exact or len(counts) <= self.top or not self.top:
            return min(self.top, len(counts))
        may_be = np.count_nonzero(counts + error >= counts[self.top - 1])
        return min(int(may_be), max(self.top, MOST_LISTED))

    @staticmethod
    def _bound(counts: I64Array, error: int, chosen: int) -> int:
        """How often an n-gram occurs at most that is not chosen."""
        return error + (int(counts[chosen]) if chosen < len(counts) else 0)

    def done(self, names: Container[int] = ()) -> bool:
        """Whether counts stand and all words are known, those of `names` among them."""
        known = enumerate(self.texts)
        return self.exact and all(text is not None or i in names for i, text in known)

    def read(
        self, words: Words, texts: "Spans", known: Container[int] = ()
    ) -> tuple[I64Array, dict[int, str]]:
        """Count the candidates in a batch, and read the words of those that have no name yet.

        known    candidates whose words need not be read
        returns  (M,) int64 occurrences; candidate → its words. Nothing is added: see `add`.
        """
        counts, firsts = np.zeros(len(self.items), np.int64), np.full(len(self.items), -1, np.int64)
        count_listed(words.hashes, words.ends, self.n, self._index, counts, firsts)
        found = np.flatnonzero(firsts >= 0).tolist()
        unnamed = [i for i in found if self.texts[i] is None and i not in known]
        return counts, {i: texts.words(int(firsts[i]), self.n) for i in unnamed}

    def add(self, counts: I64Array, names: dict[int, str]) -> None:
        """Add what was read of some batches."""
        if not self.exact:
            self.counts += counts
        for which, text in names.items():
            self.texts[which] = text

    def result(self) -> Top:
        """Give the most frequent ones, once all texts were read."""
        order = np.lexsort((self.items, -self.counts))[: self.top]
        rows = [(self.texts[i] or "", int(self.counts[i])) for i in order.tolist()]
        rows.sort(key=lambda row: (-row[1], row[0]))
        return Top(self.n, self._total, self._elsewhere, self._distinct, tuple(rows))


@dataclass(frozen=True, eq=False)
class Spans:
    """Where the words of a batch stand in its bytes."""

    utf8: U8Array
    offsets: I64Array
    found: Words

    def words(self, first: int, n: int) -> str:
        """Give `n` words of one document from word `first` of the batch on, a space between two."""
        document = int(np.searchsorted(self.found.ends, first, side="right")) - 1
        base = int(self.offsets[document])
        spans = zip(
            self.found.starts[first : first + n].tolist(),
            self.found.stops[first : first + n].tolist(),
            strict=True,
        )
        return " ".join(self.utf8[base + a : base + b].tobytes().decode() for a, b in spans)
