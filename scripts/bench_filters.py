"""How fast the filters are, beside the same definitions in plain Python and beside dolma.

    python scripts/bench_filters.py [--input FILE ...] [--json FILE]

MB/s are 10**6 bytes of UTF-8 text per second of one core's time, the median of a few rounds,
kernels compiled before the clock starts. Ours and the peers take turns, since a shared machine's
speed drifts; the slow ones get the first documents only. dolma runs in the Python that
DOLMIX_DOLMA_PYTHON names (or `.venvs/dolma/bin/python`), where there is one.
"""

import argparse
import gzip
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import zstandard

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import naive  # noqa: E402 - found through the path above

from dolmix.document import TextBatch  # noqa: E402
from dolmix.filters import (  # noqa: E402
    Filter,
    Gopher,
    Language,
    Repetition,
    WordShare,
    judge,
)

FOLDERS = ("web_cc", "web_messy", "web_quality_labelled", "web_line_labelled", "speeches", "wiki")
PEER_BYTES = 1_500_000
ROUNDS = 5
PEER_SECONDS = 4
"""A peer that has had this long gets no further round."""
PEER = """
import json, sys, time
from dolma.taggers.gopher import get_attributes
texts = [json.loads(line) for line in sys.stdin]
start = time.process_time()
for text in texts:
    get_attributes(text, True)
print(time.process_time() - start)
"""

Row = dict[str, Any]


def main() -> None:
    """Measure, print a table, and write it as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--input", type=Path, nargs="+", help=".jsonl, .jsonl.gz, .jsonl.zst, .txt")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    arguments = parser.parse_args()
    texts = [t for path in arguments.input or corpus() for t in read(path)]
    if not texts:
        parser.error("no documents; give files with --input")
    batch, few = TextBatch.of(texts), TextBatch.of(head(texts, PEER_BYTES))
    print(f"{len(texts):,} documents, {megabytes(batch):.1f} MB; {machine()}", file=sys.stderr)
    rows = [row for name, ours in filters().items() for row in compare(name, ours, batch, few)]
    rows.append(two_threads(batch))
    show(rows)
    if arguments.json:
        report = {"machine": machine(), "megabytes": megabytes(batch), "rows": rows}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def filters() -> dict[str, list[Filter]]:
    """Name what is timed: filters that run one after the other."""
    timed: dict[str, list[Filter]] = {
        "gopher": [Gopher()],
        "repetition": [Repetition()],
        "gopher + repetition": [Gopher(), Repetition()],
        "repetition olmoe-0924": [Repetition(preset="olmoe-0924", unit="words")],
        "word_share": [WordShare()],
    }
    model = Path(os.environ.get("DOLMIX_LID_MODEL", ROOT / "models" / "lid.176.ftz"))
    return timed | ({"language": [Language(model=model)]} if model.exists() else {})


def compare(name: str, ours: list[Filter], batch: TextBatch, few: TextBatch) -> list[Row]:
    """Time one entry and its peers, in turns."""
    measured = few if name == "language" else batch
    peers: dict[str, Callable[[], float]] = {}
    if name in TWINS:
        twin, texts = TWINS[name], few.text.to_pylist()
        peers["plain Python"] = lambda: seconds(lambda: [twin(text) for text in texts])
    if name == "gopher + repetition" and (python := dolma()) is not None:
        peers["dolma gopher_v2"] = lambda: dolma_seconds(python, few.text.to_pylist())
    apply(ours, measured)
    times: list[float] = []
    theirs: dict[str, list[float]] = {peer: [] for peer in peers}
    for _ in range(ROUNDS):
        times.append(seconds(lambda: apply(ours, measured)))
        for peer, run in peers.items():
            if len(theirs[peer]) * median(theirs[peer] or [0]) < PEER_SECONDS:
                theirs[peer].append(run())
    speed = megabytes(measured) / median(times)
    rows = [
        row(name, speed, peer, megabytes(few) / median(taken)) for peer, taken in theirs.items()
    ]
    return rows or [row(name, speed)]


def apply(filters_: list[Filter], batch: TextBatch) -> None:
    """Columns and verdicts of a whole batch."""
    for filter_ in filters_:
        judge(filter_, filter_.columns(batch), batch)


def two_threads(batch: TextBatch) -> Row:
    """Wall time of two threads with a batch each, against one thread after the other."""
    ours = filters()["gopher + repetition"]

    def wall(run: Callable[[], None]) -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    def both() -> None:
        threads = [threading.Thread(target=apply, args=(ours, batch)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def one_by_one() -> None:
        apply(ours, batch)
        apply(ours, batch)

    rounds = [(wall(both), wall(one_by_one)) for _ in range(ROUNDS)]
    threaded, single = (median(times) for times in zip(*rounds, strict=True))
    size = 2 * megabytes(batch)
    return row("gopher + repetition, 2 threads, wall", size / threaded, "1 thread", size / single)


def dolma() -> Path | None:
    """Python of an environment that has dolma, or None."""
    default = ROOT / ".venvs" / "dolma" / "bin" / "python"
    path = Path(os.environ.get("DOLMIX_DOLMA_PYTHON", default))
    return path if path.exists() else None


def dolma_seconds(python: Path, texts: list[str]) -> float:
    """Core seconds of dolma's Gopher tagger, quality and repetition together, without start-up."""
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    command = [str(python), "-c", PEER]
    ran = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    return float(ran.stdout)


def naive_gopher(text: str) -> None:
    """Gopher's columns in plain Python."""
    naive.word_statistics(text)
    naive.line_marks(text, merge=True)


def naive_repetition(text: str) -> None:
    """Columns of dolma's repetition rules in plain Python."""
    lines = naive.lines_of(text, merge=True)
    naive.duplicate_sums(lines, [len(line) for line in lines])
    naive.ngram_shares(text.split())


def naive_both(text: str) -> None:
    """Both, one after the other."""
    naive_gopher(text)
    naive_repetition(text)


TWINS: dict[str, Callable[[str], object]] = {
    "gopher": naive_gopher,
    "repetition": naive_repetition,
    "gopher + repetition": naive_both,
    "repetition olmoe-0924": lambda text: naive.periodic_times(text.split()),
    "word_share": lambda text: naive.top_counts(text.split()),
}


def corpus() -> list[Path]:
    """JSONL files of the reference corpus's English folders, where it is."""
    shared = Path(os.environ.get("DOLMIX_SHARED", ROOT.parent / "shared"))
    folders = [shared / "data" / "corpus_seed" / name for name in FOLDERS]
    return [path for folder in folders for path in sorted(folder.glob("*.jsonl*"))]


def read(path: Path) -> list[str]:
    """Texts of a file: one a JSON line, or the whole of a `.txt`."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    elif path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().stream_reader(data).read()
    if path.suffix == ".txt":
        return [data.decode()]
    return [json.loads(line)["text"] for line in data.split(b"\n") if line.strip()]


def head(texts: list[str], size: int) -> list[str]:
    """Texts, evenly spread, of about `size` bytes in all."""
    step = max(1, sum(map(len, texts)) // size)
    return texts[::step]


def seconds(run: Callable[[], object]) -> float:
    """Core seconds of one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def megabytes(batch: TextBatch) -> float:
    """Size of a batch's text in 10**6 bytes."""
    return int(batch.num_bytes.sum()) / 1e6


def row(name: str, value: float, peer: str | None = None, peer_value: float | None = None) -> Row:
    """One line of the table."""
    ratio = None if peer_value is None else value / peer_value
    shared = {"name": name, "value": value, "unit": "MB/s"}
    return shared | {"peer": peer, "peer_value": peer_value, "ratio": ratio}


def show(rows: list[Row]) -> None:
    """Print the table."""
    print(f"{'filter':38} {'MB/s':>8}  {'peer':16} {'MB/s':>8} {'ratio':>8}")
    for r in rows:
        peer = f"{r['peer']:16} {r['peer_value']:8.2f} {r['ratio']:7.1f}x" if r["peer"] else ""
        print(f"{r['name']:38} {r['value']:8.1f}  {peer}".rstrip())


def machine() -> str:
    """Where this was measured, as far as it says."""
    chip = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [x for x in info.read_text().splitlines() if x.startswith("model name")]
        chip = models[0].partition(": ")[2] if models else chip
    versions = ", ".join(f"{p} {version(p)}" for p in ("numba", "numpy", "pyarrow"))
    return f"{os.cpu_count()} x {chip}; Python {platform.python_version()}, {versions}"


if __name__ == "__main__":
    main()
