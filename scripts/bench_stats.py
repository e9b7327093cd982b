"""How fast `dolmix stats` counts n-grams and describes columns, beside the usual ways.

    python scripts/bench_stats.py [FILE...] [--megabytes 60] [--rows 2000000] [--json FILE]

N-grams of one to three words, the 20 most frequent, on one thread, in two readings: candidates,
then exact counts. Beside it one `collections.Counter` a length over `str.split()`, which holds
every n-gram that there is. Then datatrove's word statistics, which count no n-grams, as a measure
of what reading words document by document costs. Memory: how much larger a process gets that counts
n-grams of a quarter of the documents, and of all, which it holds already. Columns: exact quantiles
of ten columns of numbers, held and bit by bit, beside numpy.quantile. Core seconds, the least of
three runs; reworded repetitions where the documents do not reach. Memory needs Linux.
"""

import argparse
import multiprocessing
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from bench_table import Row, printed, write
from bench_texts import Documents, batches, core_seconds, machine, versions, web_documents

from dolmix.document import TextBatch
from dolmix.report.columns import describe_columns
from dolmix.report.progress import Progress
from dolmix.report.texts import measure_texts

RUNS = 3
LONGEST = 3
TOP = 20
COLUMNS = 10
TABLE_ROWS = 1 << 16
PEER_SHARE = 20
"""The peer that reads document by document gets one document in so many."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--megabytes", type=float, default=60.0)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--json", type=Path)
    wanted = parser.parse_args()
    print(machine(), versions(("dolmix", "numba", "numpy", "pyarrow", "datatrove")), sep="\n")
    rows = [*ngram_rows(wanted.files, wanted.megabytes), *column_rows(wanted.rows)]
    write(list(printed(rows)), wanted.json)


def ngram_rows(files: Sequence[Path], megabytes: float) -> Iterator[Row]:
    """Count n-grams of real documents."""
    documents = web_documents(files, megabytes, distinct=True)
    texts, size = documents.texts, documents.megabytes
    cut = batches(documents)
    counter = least(lambda: counters(texts))
    yield _rate(
        "n-grams of 1 to 3 words", size / least(lambda: measure(cut)), "Counter", counter, size
    )
    some = texts[::PEER_SHARE]
    share = sum(len(text.encode()) for text in some) / 1e6
    words = size / least(lambda: measure(cut, longest=0))
    yield _rate(
        "characters, words, lines", words, "WordStats", least(lambda: word_stats(some)), share
    )
    yield from memory_rows(documents)


def memory_rows(documents: Documents) -> Iterator[Row]:
    """Tell what n-grams take beside the texts, of a quarter of them and of all."""
    for part in (documents.spread(int(documents.megabytes * 1e6) // 4), documents):
        cut, texts = batches(part), part.texts
        ours, theirs = grown(lambda: measure(cut)), grown(lambda: counters(texts))  # noqa: B023
        yield {
            "name": f"memory of n-grams of 1 to 3 words, {part.megabytes:.0f} MB of text",
            "value": ours,
            "unit": "MB",
            "peer": "Counter",
            "peer_value": theirs,
            "ratio": theirs / ours,
        }


def measure(cut: Sequence[TextBatch], longest: int = LONGEST) -> None:
    """Measure texts as `dolmix stats` does, on one thread."""
    measure_texts([lambda: cut], longest, TOP, workers=1, progress=Progress(quiet=True))


def grown(work: Callable[[], object]) -> float:
    """Megabytes by which a process grows that does the work, at most: a copy of this process."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = os.fork()
    if not child:
        before = resident("VmRSS")
        work()
        sender.send(resident("VmHWM") - before)
        os._exit(0)
    sender.close()
    os.waitpid(child, 0)
    return float(receiver.recv())


def resident(field: str) -> float:
    """Megabytes of memory that this process has (VmRSS), or had at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (kib,) = (line.split()[1] for line in lines if line.startswith(f"{field}:"))
    return int(kib) * 1024 / 1e6


def column_rows(count: int) -> Iterator[Row]:
    """Describe columns of random numbers."""
    columns = Columns(count)
    types = dict.fromkeys(columns.names, pa.float64())
    by_numpy = least(columns.by_numpy)
    for name, held in (("held", 1 << 40), ("bit by bit", 0)):
        ours = least(lambda held=held: describe_columns(columns, types, TOP, held_bytes=held))
        yield {
            "name": f"exact quantiles of {COLUMNS} columns, {count:,} documents, {name}",
            "value": ours,
            "unit": "s",
            "peer": "numpy.quantile",
            "peer_value": by_numpy,
            "ratio": by_numpy / ours,
        }


def _rate(name: str, ours: float, peer: str, seconds: float, megabytes: float) -> Row:
    theirs = megabytes / seconds
    return {
        "name": name,
        "value": ours,
        "unit": "MB/s a core",
        "peer": peer,
        "peer_value": theirs,
        "ratio": ours / theirs,
    }


class Columns:
    """Columns of numbers in memory, in tables as Parquet files give them."""

    def __init__(self, count: int) -> None:
        """Draw them."""
        self.num_documents = count
        self.names = [f"filter.c{n}" for n in range(COLUMNS)]
        draw = np.random.default_rng(1)
        values = [draw.gamma(n + 1, size=count) for n in range(COLUMNS)]
        self._table = pa.table(dict(zip(self.names, values, strict=True)))

    def tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield slices."""
        chosen = self._table.select(list(columns))
        for start in range(0, self.num_documents, TABLE_ROWS):
            yield chosen.slice(start, TABLE_ROWS)

    def by_numpy(self) -> None:
        """Compute eleven quantiles of each column."""
        wanted = np.linspace(0, 1, 11)
        for name in self.names:
            np.quantile(self._table[name].to_numpy(), wanted, method="inverted_cdf")


def counters(texts: Sequence[str]) -> None:
    """Count n-grams in plain Python."""
    found: dict[int, Counter[tuple[str, ...]]] = {n + 1: Counter() for n in range(LONGEST)}
    for text in texts:
        words = text.split()
        for n, counter in found.items():
            counter.update(zip(*(words[i:] for i in range(n)), strict=False))
    for counter in found.values():
        counter.most_common(TOP)


def word_stats(texts: Sequence[str]) -> None:
    """Measure words as datatrove's statistics block does."""
    from datatrove.data import Document
    from datatrove.pipeline.stats import WordStats

    with tempfile.TemporaryDirectory() as folder:
        block = WordStats(folder, groups_to_compute=["summary"])
        documents = (Document(text=text, id=str(n)) for n, text in enumerate(texts))
        for _ in block.run(documents, rank=0, world_size=1):
            pass


def least(work: Callable[[], object]) -> float:
    """Core seconds of the fastest of some runs."""
    return min(core_seconds(work) for _ in range(RUNS))


if __name__ == "__main__":
    main()
