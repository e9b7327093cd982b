"""How fast the filters are, beside the peers whose decisions they make, on the same documents.

    python scripts/bench_filters.py [--input FILE ...] [--megabytes 20] [--distinct]
                                    [--only TEXT] [--quick] [--json FILE]

MB/s are 10**6 bytes of UTF-8 text per second of one core's time: all columns and the verdict of
every document, each batch new, kernels compiled before the clock starts. Ours and the peers take
turns, since a shared machine's speed drifts, and medians count; peers are slow, and get documents
spread evenly over the same ones. datatrove runs here (extra `conformance`), dolma in the Python
that DOLMIX_DOLMA_PYTHON names (or that scripts/setup_dolma.sh made); a peer that is not there is
left out, and so is a filter that does not load, with a note.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import bench_texts  # puts the repository on the path
from bench_peers import Dolma, Timed, datatrove_peers, dolma_python
from bench_texts import Documents, core_seconds, wall_seconds
from pydantic import TypeAdapter, ValidationError

from dolmix.document import TextBatch
from dolmix.errors import DolmixError
from dolmix.filters import AnyFilter, Filter, judge
from dolmix.pipeline.decisions import decide, decision_schema

PEER_BYTES = 700_000
ROUNDS = 5
PEER_ROUNDS = 3
THREAD_ROUNDS = 8
QUADRATIC_LINE = 2000
"""dolma's repetitions_v1 takes time quadratic in a line; it gets documents of shorter ones only."""
OWN_SECONDS, PEER_SECONDS = 12, 10
"""What has had this long gets no further round."""

WARM_UP = (
    "A line of text that ends. And one more, with a #hash, a café, and some words of the rest.\n"
    * 9,
    "",
    "<?xml version='1.0'?>\n<p>x</p> javascript {\n\n\n• so…\nnaïve “quotes” don't",
)
"""Shows whether a filter loads and runs; a batch of the documents compiles the rest."""

Settings = dict[str, Any]
Row = dict[str, Any]
MODEL = Path(os.environ.get("DOLMIX_LID_MODEL", bench_texts.ROOT / "models" / "lid.176.ftz"))
SPACY_GOPHER = (
    {"type": "repetition", "preset": "datatrove-0.10"},
    {"type": "gopher", "preset": "datatrove-0.10"},
)
DOLMA_GOPHER = ({"type": "gopher", "preset": "dolma-1.2"}, {"type": "repetition"})
C4_LINES = {"type": "c4", "preset": "datatrove-0.10", "terminal_punct": False}
FINEWEB = {"type": "fineweb", "preset": "datatrove-0.10"}


@dataclass(frozen=True)
class Entry:
    """Something that is timed: filters, one after the other, and the peers that do the same.

    reach    MB/s to reach, and
    times    how many times the first peer's speed
    cascade  a dropped document reaches no later filter, and edits change what later ones read
    """

    name: str
    settings: tuple[Settings, ...]
    peers: tuple[str, ...] = ()
    reach: float | None = None
    times: float | None = None
    code: bool = False
    cascade: bool = False
    threads: bool = False


ENTRIES = (
    Entry(
        "Gopher quality + repetition, datatrove's",
        SPACY_GOPHER,
        ("datatrove, filters apart", "datatrove, words shared"),
        reach=35,
        times=100,
        threads=True,
    ),
    Entry("Gopher quality, datatrove's", SPACY_GOPHER[1:], ("datatrove quality",)),
    Entry("Gopher repetition, datatrove's", SPACY_GOPHER[:1], ("datatrove repetition",)),
    Entry(
        "Gopher quality + repetition, dolma's",
        DOLMA_GOPHER,
        ("dolma gopher_v2",),
        reach=45,
        times=50,
        threads=True,
    ),
    Entry("Gopher repetition, dolma's", DOLMA_GOPHER[1:], ("dolma gopher_v2",), reach=60),
    Entry(
        "char_repetition, dolma's",
        ({"type": "char_repetition", "drop_at_score": 10},),
        ("dolma repetitions_v1",),
        reach=60,
    ),
    Entry(
        "Gopher quality + repetition, DCLM's",
        ({"type": "gopher", "preset": "dclm"}, {"type": "repetition", "preset": "dclm"}),
    ),
    Entry(
        "C4, datatrove's",
        ({"type": "c4", "preset": "datatrove-0.10"},),
        ("datatrove C4",),
        reach=25,
        threads=True,
    ),
    Entry("C4, datatrove's, any line end", (C4_LINES,), ("datatrove C4, any line end",), reach=25),
    Entry("C4, dolma's", ({"type": "c4", "preset": "dolma-1.2"},), ("dolma c4_v2",), reach=80),
    Entry("FineWeb, datatrove's", (FINEWEB,), ("datatrove FineWeb",), reach=60, threads=True),
    Entry(
        "cascade: repetition, quality, C4, FineWeb",
        (*SPACY_GOPHER, C4_LINES, FINEWEB),
        ("datatrove cascade",),
        cascade=True,
        threads=True,
    ),
    Entry(
        "repetition, OLMoE's 32 in a row",
        ({"type": "repetition", "preset": "olmoe-0924", "unit": "words"},),
    ),
    Entry("word_share", ({"type": "word_share"},)),
    Entry(
        "code rules, dolma's",
        ({"type": "code", "preset": "dolma-1.2"},),
        ("dolma code_redpajama_taggers_v1 + code_starcoder_taggers_v2",),
        code=True,
    ),
    Entry(
        "code rules, RedPajama's",
        ({"type": "code", "preset": "redpajama"},),
        ("dolma code_redpajama_taggers_v1",),
        code=True,
    ),
    Entry("language", ({"type": "language", "model": str(MODEL)},), ("datatrove language",)),
)


def main() -> None:
    """Measure, print a table, and write its rows as JSON if asked."""
    arguments = parse()
    documents = bench_texts.web_documents(
        arguments.input, arguments.megabytes, distinct=arguments.distinct
    )
    if not documents.records:
        sys.exit("no documents: there is no reference corpus here, so give files with --input")
    print(
        f"{len(documents.records):,} documents, {documents.megabytes:.1f} MB, of which "
        f"{documents.distinct:.1f} MB are not repeated\n{bench_texts.machine()}"
    )
    bench = Bench(documents, quick=arguments.quick)
    table = Table()
    for entry in ENTRIES:
        if arguments.only in entry.name:
            table.add(bench.rows(entry), entry)
    table.add(bench.thread_rows([e for e in ENTRIES if e.threads and arguments.only in e.name]))
    if not arguments.only:
        table.add(start_up_rows())
    bench.close()
    if arguments.json:
        arguments.json.write_text(json.dumps(table.rows, indent=1) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--input", type=Path, nargs="+", default=[], help=".jsonl[.gz|.zst], .txt")
    parser.add_argument("--megabytes", type=float, default=20, help="repeat documents up to this")
    parser.add_argument("--distinct", action="store_true", help="reword what is repeated")
    parser.add_argument("--only", default="", help="entries whose name contains this")
    parser.add_argument("--quick", action="store_true", help="one round each")
    parser.add_argument("--json", type=Path, help="also write the rows here, as a list")
    return parser.parse_args()


class Bench:
    """Documents to time on, the filters that load, and the peers that are there."""

    def __init__(self, documents: Documents, *, quick: bool = False) -> None:
        self.web, self.code = documents, bench_texts.code_documents()
        self.rounds, self.peer_rounds = (1, 1) if quick else (ROUNDS, PEER_ROUNDS)
        self.thread_rounds = 1 if quick else THREAD_ROUNDS
        few = self.web.spread(PEER_BYTES)
        lines = bench_texts.measured([r for r in few.records if longest_line(r) < QUADRATIC_LINE])
        self._few = {"web": few, "code": self.code.spread(PEER_BYTES), "lines": lines}
        self._peers = datatrove_peers(few, MODEL if MODEL.exists() else None)
        python = dolma_python()
        self._dolma = None if python is None else Dolma(python)
        if self._dolma is not None:
            for name, some in self._few.items():
                self._dolma.learn(name, some)
            print(self._dolma.versions)
        absent = [name for name, there in self._there() if not there]
        if absent:
            print(f"left out: {', '.join(absent)}; scripts/test.sh installs what can be")

    def rows(self, entry: Entry) -> list[Row]:
        """Time one entry and its peers, in turns."""
        filters = load(entry)
        if not filters:
            return []
        documents = self.code if entry.code else self.web
        if entry.name == "language":
            documents = documents.spread(20 * PEER_BYTES // 5)
        given = bench_texts.batches(documents, fields_of(filters))
        if not given:
            print(f"left out: {entry.name}: no documents")
            return []
        apply(entry, filters, given[:1])
        own: list[float] = []
        peers = {name: run for name in entry.peers if (run := self._peer(name, entry))}
        theirs: dict[str, list[float]] = {name: [] for name in peers}
        for _ in range(self.rounds):
            if sum(own) < OWN_SECONDS:
                own.append(core_seconds(lambda: apply(entry, filters, given)))
            for name, run in peers.items():
                if len(theirs[name]) < self.peer_rounds and sum(theirs[name]) < PEER_SECONDS:
                    theirs[name].append(run())
        speed, size = documents.megabytes / median(own), self._few[given_to(entry)].megabytes
        rows = [row(entry.name, speed, name, size / median(took)) for name, took in theirs.items()]
        return rows or [row(entry.name, speed)]

    def thread_rows(self, entries: Sequence[Entry]) -> Iterator[Row]:
        """Time two threads, and two processes, against one thread that does the work of both.

        Processes share nothing, so they tell what the machine's two cores can give. In turns, the
        least of several rounds each: whatever else runs only ever adds to wall time.
        """
        for entry in entries:
            filters = load(entry, quiet=True)
            if filters:
                given = bench_texts.batches(self.web, fields_of(filters))
                apply(entry, filters, given[:1])
                with ThreadPoolExecutor(2) as pool:  # a run's threads live on, with their buffers
                    ways = [
                        in_each_way(entry, filters, given, pool) for _ in range(self.thread_rounds)
                    ]
                single, threads, processes = (
                    2 * self.web.megabytes / min(w) for w in zip(*ways, strict=True)
                )
                yield row(f"{entry.name}: 2 threads, wall", threads, "1 thread", single)
                yield row(f"{entry.name}: 2 processes, wall", processes, "1 thread", single)

    def close(self) -> None:
        """End dolma's process."""
        if self._dolma is not None:
            self._dolma.close()

    def _peer(self, name: str, entry: Entry) -> Timed | None:
        dolma = self._dolma
        if name.startswith("dolma ") and dolma is not None:
            taggers = name.removeprefix("dolma ").split(" + ")
            return lambda: sum(dolma.seconds(tagger, given_to(entry)) for tagger in taggers)
        return self._peers.get(name)

    def _there(self) -> list[tuple[str, bool]]:
        return [
            ("datatrove with spaCy", bool(self._peers)),
            ("dolma", self._dolma is not None),
            ("code documents", bool(self.code.records)),
            (f"language model {MODEL}", MODEL.exists()),
        ]


def given_to(entry: Entry) -> str:
    """Name the documents that an entry's peers get."""
    if "dolma repetitions_v1" in entry.peers:
        return "lines"
    return "code" if entry.code else "web"


def longest_line(record: Row) -> int:
    """Characters of a document's longest line."""
    return max(map(len, record["text"].split("\n")))


def load(entry: Entry, *, quiet: bool = False) -> list[Filter]:
    """Build an entry's filters and compile them; none, with a note, if one does not load."""
    adapter: TypeAdapter[Filter] = TypeAdapter(AnyFilter)
    try:
        filters = [adapter.validate_python(settings) for settings in entry.settings]
        first = Documents([{"text": text} for text in WARM_UP], 0, 0)
        apply(entry, filters, bench_texts.batches(first, fields_of(filters)))
    except (ValidationError, DolmixError, ImportError, NotImplementedError) as error:
        if not quiet:
            said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            print(f"left out: {entry.name}: {' '.join(said.split())[:160]}")
        return []
    return filters


def fields_of(filters: Sequence[Filter]) -> list[str]:
    """Paths of the record fields that filters read."""
    return [path for filter_ in filters for path in filter_.fields()]


def apply(entry: Entry, filters: Sequence[Filter], given: Sequence[TextBatch]) -> None:
    """Columns and verdicts of every document, from batches that know nothing yet."""
    schema = decision_schema(filters) if entry.cascade else None
    for known in given:
        batch = bench_texts.unread(known)
        if schema is not None:
            decide(batch, filters, schema)
            continue
        for filter_ in filters:
            judge(filter_, filter_.columns(batch), batch)


def in_each_way(
    entry: Entry, filters: Sequence[Filter], given: Sequence[TextBatch], pool: ThreadPoolExecutor
) -> tuple[float, float, float]:
    """Wall seconds of twice the work: by one thread, by the pool's two, and by two processes."""

    def run() -> None:
        apply(entry, filters, given)

    def single() -> None:
        run()
        run()

    def double() -> None:
        for half in [pool.submit(run) for _ in range(2)]:
            half.result()

    def forked() -> None:
        processes = [multiprocessing.get_context("fork").Process(target=run) for _ in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()

    return wall_seconds(single), wall_seconds(double), wall_seconds(forked)


JUDGE_ONE = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
from pydantic import TypeAdapter
from dolmix.document import TextBatch
from dolmix.filters import AnyFilter
from dolmix.pipeline.decisions import decide, decision_schema
filters = [TypeAdapter(AnyFilter).validate_python(settings) for settings in json.loads(sys.argv[2])]
batch = TextBatch.of(["One line of text that stays as it is.\\nAnd a second one, without an end"])
decide(batch, filters, decision_schema(filters), whole=True)
"""


def start_up_rows() -> Iterator[Row]:
    """Time a whole process that judges one document: kernels compiled, then taken from disk."""
    for name in (
        "Gopher quality + repetition, dolma's",
        "cascade: repetition, quality, C4, FineWeb",
    ):
        entry = next(entry for entry in ENTRIES if entry.name == name)
        if load(entry, quiet=True):
            with tempfile.TemporaryDirectory() as cache:
                first, again = (start_up(entry.settings, Path(cache)) for _ in range(2))
            yield row(f"{name}: first process ever", first, "later ones", again, unit="s")


def start_up(settings: Sequence[Settings], cache: Path) -> float:
    """Wall seconds from the start of Python to the verdict on one document."""
    given = [json.dumps([str(bench_texts.ROOT)]), json.dumps(settings)]
    command = [sys.executable, "-c", JUDGE_ONE, *given]
    variables = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
    return wall_seconds(lambda: subprocess.run(command, check=True, env=variables))


def row(
    name: str, value: float, peer: str | None = None, peer_value: float | None = None, **more: Any
) -> Row:
    """One row of the table: our value, a peer's, and how many times the peer's it is."""
    ratio = None if peer_value is None else value / peer_value
    shared = {"name": name, "value": value, "unit": more.get("unit", "MB/s")}
    return shared | {"peer": peer, "peer_value": peer_value, "ratio": ratio}


class Table:
    """Rows, printed as they come."""

    def __init__(self, width: int = 50) -> None:
        self.rows: list[Row] = []
        self._width = width
        print(f"\n{'':{width}} {'dolmix':>8}       {'peer':32} {'':>8} {'ratio':>8}  to reach")

    def add(self, rows: Sequence[Row] | Iterator[Row], entry: Entry | None = None) -> None:
        """Print rows and keep them."""
        for n, new in enumerate(rows):
            self.rows.append(new)
            goal = verdict(new, entry) if entry is not None and n == 0 else ""
            peer = f"{new['peer'][:32]:32} {new['peer_value']:8.2f}" if new["peer"] else " " * 41
            ratio = f"{new['ratio']:7.2f}x" if new["peer"] else " " * 8
            ours = f"{new['name']:{self._width}} {new['value']:8.2f} {new['unit']:4}"
            print(f"{ours}  {peer} {ratio}  {goal}".rstrip(), flush=True)


def verdict(new: Row, entry: Entry) -> str:
    """Say what an entry is to reach, and whether it does."""
    goals: list[tuple[str, bool]] = []
    if entry.reach is not None:
        goals.append((f"{entry.reach:g} MB/s", new["value"] >= entry.reach))
    if entry.times is not None and new["ratio"] is not None:
        goals.append((f"{entry.times:g}x", new["ratio"] >= entry.times))
    return ", ".join(f"{goal} {'met' if met else 'SHORT'}" for goal, met in goals)


if __name__ == "__main__":
    main()
