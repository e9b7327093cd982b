"""How fast steps lead to documents, documents to steps, and runs to their proof.

    python scripts/bench_trace.py [--json FILE] [--repeats 5] [--million-tokens 40]

Over two stores of random documents, written to a temporary folder, with 2,048-token instances in
batches of 128. One process, the least CPU time of several runs, files in the page cache; `verify`
is told per reader, and on the clock for as many readers as there are cores.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path

import bench_table  # puts the repository on the path
import numpy as np
import pyarrow as pa
from bench_table import Row

from dolmix.mix import Lock, resolve_file
from dolmix.order import (
    CHAIN_START,
    Batches,
    chain,
    export_order,
    find_document,
    row_digests,
    step_documents,
    step_rows,
    verify_log,
    window_stats,
)
from dolmix.shards import StoreWriter, TokenizerPin

STEP = 17
MIX = """\
name: bench
seed: 1
sequence_length: 2048
batch_size: 128
sources:
  web: {{store: {folder}/web@1, max_epochs: 9}}
  code: {{store: {folder}/code@1, max_epochs: 9}}
stages:
  - {{name: main, tokens: {tokens}, weights: {{web: 0.7, code: 0.3}}}}
"""


def seconds(
    repeats: int, run: Callable[..., object], *, clock: Callable[[], float] = time.process_time
) -> float:
    """Give the least time of several runs."""
    best = float("inf")
    for _ in range(repeats):
        start = clock()
        run()
        best = min(best, clock() - start)
    return best


def row(name: str, value: float, unit: str) -> Row:
    """Make a row of the table."""
    return {"name": name, "value": round(value, 3), "unit": unit}


def write_store(folder: Path, source: str, tokens: int) -> None:
    """Commit a store of random documents of 20 to 1,500 tokens, each with a text of its number."""
    rng = np.random.default_rng(len(source))
    lengths = rng.integers(20, 1500, tokens // 760)
    ids = rng.integers(1, 50_000, int(lengths.sum())).astype(np.uint16)
    ids[np.cumsum(lengths) - 1] = 0
    names = [f"{source}-{n}" for n in range(len(lengths))]
    keys = [blake2b(name.encode(), digest_size=8).digest() for name in names]
    rows = pa.table(
        {
            "id": names,
            "url": [f"https://example.org/{name}" for name in names],
            "path": [f"{source}.jsonl"] * len(names),
            "record": pa.array(range(len(names)), pa.int64()),
            "text_hash": np.frombuffer(b"".join(keys), "<u8"),
        }
    )
    pin = TokenizerPin(
        digest="0" * 64, largest_id=50_000, eos="<eos>", eos_id=0, unk_id=None, specials={}
    )
    with StoreWriter(
        folder / f"{source}@1",
        source=source,
        version=1,
        tokenizer=pin,
        special_in_text="plain",
        parents=[],
    ) as writer:
        writer.append(ids, lengths.astype(np.int64), rows, 5 * len(ids))
        writer.commit()


def write_run(lock: Lock, log: Path) -> int:
    """Write the metrics file of a run over the whole order; return the bytes of its rows."""
    link, size = CHAIN_START, 0
    with Batches(lock) as batches, log.open("w") as lines:
        for step in range(1, batches.num_steps + 1):
            tokens = batches.tokens(step)
            link, size = chain(link, row_digests(tokens)), size + tokens.nbytes
            lines.write(json.dumps({"step": step, "chain": link.hex()}) + "\n")
    return size


def lookups(lock: Lock, repeats: int) -> Iterator[Row]:
    """Milliseconds of single questions, stores opened anew for each."""
    asked = {"id": "web-777", "url": "https://example.org/web-777", "text": "web-777"}
    for by, value in asked.items():
        spent = seconds(repeats, lambda v=value, b=by: find_document(lock, v, by=b, source="web"))
        yield row(f"a document's steps, by {by}", 1e3 * spent, "ms")
    yield row("a step's instances", 1e3 * seconds(repeats, lambda: step_rows(lock, STEP)), "ms")
    spent = seconds(repeats, lambda: step_documents(lock, STEP))
    yield row("a step's documents, 128 rows", 1e3 * spent, "ms")


def sweeps(lock: Lock, folder: Path, repeats: int) -> Iterator[Row]:
    """Instances and rows a second, over the whole order."""
    size = lock.order.num_instances
    yield row("order stats", size / seconds(repeats, lambda: window_stats(lock)), "instances/s")
    out = folder / "order.parquet"
    for rows in ("instances", "pieces", "documents"):
        count = export_order(lock, out, rows=rows).rows
        spent = seconds(min(repeats, 3), lambda r=rows: export_order(lock, out, rows=r))
        yield row(f"order export, {rows}", count / spent, "rows/s")


def proofs(lock: Lock, log: Path, size: int, repeats: int) -> Iterator[Row]:
    """Bytes of rows (4 a token) proven a second."""
    repeats = min(repeats, 3)
    spent = seconds(repeats, lambda: verify_log(lock, log, threads=1))
    yield row("order verify, one reader", size / spent / 1e6, "MB/s")
    spent = seconds(repeats, lambda: verify_log(lock, log), clock=time.perf_counter)
    yield row(f"order verify, {os.cpu_count()} cores, on the clock", size / spent / 1e6, "MB/s")


def commands(lock: Path, repeats: int) -> Iterator[Row]:
    """Milliseconds of whole commands on the clock, start of the interpreter included."""
    for name, extra in (("order show --instances", ["--instances"]), ("order show", [])):
        words = ["-m", "dolmix", "order", "show", str(lock), "--step", str(STEP), *extra]
        spent = seconds(
            repeats,
            lambda w=words: subprocess.run([sys.executable, *w], check=True, capture_output=True),
            clock=time.perf_counter,
        )
        yield row(f"dolmix {name}, on the clock", 1e3 * spent, "ms")


def measured(repeats: int, tokens: int) -> Iterator[Row]:
    """Measure everything over stores of about so many tokens."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_store(folder, "web", tokens * 3 // 4)
        write_store(folder, "code", tokens // 4)
        mix = folder / "mix.yaml"
        mix.write_text(MIX.format(folder=folder, tokens=5 * tokens // 2))
        lock = resolve_file(mix)
        lock.write(folder / "mix.lock.json")
        log = folder / "metrics.jsonl"
        size = write_run(lock, log)
        yield from lookups(lock, repeats)
        yield from sweeps(lock, folder, repeats)
        yield from proofs(lock, log, size, repeats)
        yield from commands(folder / "mix.lock.json", repeats)


def main() -> None:
    """Measure, print, and write the rows where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--million-tokens", type=int, default=40, help="size of the stores")
    args = parser.parse_args()
    found = measured(args.repeats, args.million_tokens * 10**6)
    bench_table.write(list(bench_table.printed(found)), args.json)


if __name__ == "__main__":
    main()
