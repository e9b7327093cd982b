"""What only the texts tell: characters, words and lines, and the most frequent n-grams of words.

Texts come in units (a part of a run, a run of tokens of a store) that are read by threads and whose
results are put together in the units' order: the same for any number of threads. Texts are read
twice; where no count had to be estimated, the second reading ends as soon as every n-gram that is
listed was seen, which is early.

Memory: for each thread a batch of texts and its words (40 MB), and 10 MB for each length of n-gram;
10 MB more for each length.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from dolmix.document import TextBatch
from dolmix.report.frequent import Listed, Spans, Summary, Table, Top
from dolmix.report.progress import Progress
from dolmix.text.words import split_words

T = TypeVar("T")
R = TypeVar("R")
Unit = Callable[[], Iterable[TextBatch]]
"""Reads the texts of one unit anew at each call."""
NEWLINE = 0x0A
HEAD_BITS, CONTINUATION = 0xC0, 0x80
"""Bits that tell a byte within a character of UTF-8, and their value there."""


@dataclass
class Measured:
    """What the texts of some units hold."""

    documents: int = 0
    num_bytes: int = 0
    characters: int = 0
    words: int = 0
    """Runs of characters that are no white space, as `str.split()` gives them."""
    lines: int = 0
    """Lines that newlines end, and a last one without."""
    ngrams: list[Top] = field(default_factory=list)


@dataclass
class _UnitCounts:
    measured: Measured
    summaries: list[Summary]


def measure_texts(
    units: Sequence[Unit], most_words: int, top: int, *, workers: int, progress: Progress
) -> Measured:
    """Count what texts hold, and the `top` most frequent n-grams of 1 to `most_words` words."""
    lengths = range(1, most_words + 1)
    tables = [Table() for _ in lengths]
    total = Measured()

    def count(unit: Unit) -> _UnitCounts:
        return _count_unit(unit, most_words, progress)

    for done in in_order(count, units, workers):
        for name in ("documents", "num_bytes", "characters", "words", "lines"):
            setattr(total, name, getattr(total, name) + getattr(done.measured, name))
        for table, summary in zip(tables, done.summaries, strict=True):
            table.merge(summary)
    listed = [Listed(n, t.summary(), top) for n, t in zip(lengths, tables, strict=True)]
    del tables
    _count_listed(units, listed, workers, progress)
    total.ngrams = [one.result() for one in listed]
    return total


def in_order(work: Callable[[T], R], items: Sequence[T], workers: int) -> Iterator[R]:
    """Yield the results of all items in the items' order, `workers` of them at once.

    At most twice as many results wait as there are threads.
    """
    if workers == 1:
        yield from map(work, items)
        return
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _count_unit(unit: Unit, most_words: int, progress: Progress) -> _UnitCounts:
    """Count the texts of one unit, and find its candidates."""
    measured, tables = Measured(), [Table() for _ in range(most_words)]
    for texts in unit():
        words = split_words(texts)
        utf8 = texts.utf8[texts.offsets[0] : texts.offsets[-1]]
        measured.documents += len(texts)
        measured.num_bytes += utf8.size
        measured.characters += int(np.count_nonzero((utf8 & HEAD_BITS) != CONTINUATION))
        measured.words += int(words.ends[-1])
        measured.lines += int(np.count_nonzero(utf8 == NEWLINE)) + _last_lines(texts)
        for n, table in enumerate(tables, 1):
            table.add(words, n)
        progress.add(len(texts))
    return _UnitCounts(measured, [table.summary() for table in tables])


def _last_lines(texts: TextBatch) -> int:
    """Count the texts whose last line no newline ends."""
    there = texts.offsets[1:][texts.num_bytes > 0]
    return int(np.count_nonzero(texts.utf8[there - 1] != NEWLINE))


def _count_listed(
    units: Sequence[Unit], listed: Sequence[Listed], workers: int, progress: Progress
) -> None:
    """Read the texts again, for exact counts and the words of what is listed."""
    wanted = [one for one in listed if len(one.items)]
    if not wanted:
        return
    progress.begin("n-grams, counted exactly")

    def read(unit: Unit) -> list[tuple[np.ndarray, dict[int, str]]]:
        return _read_unit(unit, wanted, progress)

    for results in in_order(read, units, workers):
        for one, result in zip(wanted, results, strict=True):
            one.add(*result)
        if all(one.done() for one in wanted):
            return


def _read_unit(
    unit: Unit, wanted: Sequence[Listed], progress: Progress
) -> list[tuple[np.ndarray, dict[int, str]]]:
    """Count the listed n-grams of one unit; ends early where all counts and names are known."""
    counts = [np.zeros(len(one.items), np.int64) for one in wanted]
    names: list[dict[int, str]] = [{} for _ in wanted]
    for texts in unit():
        words = split_words(texts)
        spans = Spans(texts.utf8, texts.offsets, words)
        for place, one in enumerate(wanted):
            found, named = one.read(words, spans, known=names[place])
            counts[place] += found
            names[place] |= named
        progress.add(len(texts))
        if all(one.done(named) for one, named in zip(wanted, names, strict=True)):
            break
    return list(zip(counts, names, strict=True))
