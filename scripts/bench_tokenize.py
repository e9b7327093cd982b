"""How fast texts become a store: tokenizing and writing, verifying, opening; beside the peers.

    python scripts/bench_tokenize.py [--megabytes 420] [--tokenizer FILE...] [--json FILE]

The corpus is repeated up to the size asked for, each copy in other words (a keyed substitution of
letters), so that nothing that is remembered by word gains from the copies. Every tokenizer gets a
fresh process; the clock is that process's CPU time from the first text to the committed store, on
first sight of every text. The package `tokenizers` encodes a slice of the same documents between
our stretches, and its ids are compared. dolma and datatrove are timed as programs, start-up taken
off by a second run on almost nothing.
"""

import argparse
import gzip
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bench_table
import bench_texts
import numpy as np
import orjson
import pyarrow as pa
from bench_peers import dolma_python

from dolmix.document import TextBatch
from dolmix.shards import ParentFile, StoreWriter, TokenizerPin, open_store
from dolmix.shards.layout import TEXT_HASH
from dolmix.shards.verify import verify
from dolmix.sources import BadRecords, Fields, plan_parts, read_part
from dolmix.text.hashes import text_hashes
from dolmix.tokenizer import WORTH_BYTES, Tokenizer, TokenizerConfig

REACH = {"tokenize and write": 60.0, "verify, all hashes": 700.0}
TIMES = 25.0
REFERENCE_BYTES = 12_000_000
PEER_BYTES = 6_000_000
SHARDS = 10_000
BATCH = 1024
ROUNDS = 3

DATATROVE = """
import sys
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import DocumentTokenizer
folder, tokenizer = sys.argv[1:]
if __name__ == "__main__":
    LocalPipelineExecutor(
        [JsonlReader(folder + "/in", file_progress=False),
         DocumentTokenizer(folder + "/out", tokenizer_name_or_path=tokenizer,
                           eos_token="<|endoftext|>", local_working_dir=folder + "/work")],
        tasks=1, workers=1, logging_dir=folder + "/logs").run()
"""


def main() -> None:
    """Measure, print a table, and write its rows as JSON if asked."""
    arguments = parse()
    if arguments.child:
        print(json.dumps(tokenize(arguments.child, arguments.tokenizer[0])))
        return
    print(bench_texts.machine(), file=sys.stderr)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        megabytes = write_documents(folder / "documents.arrow", arguments)
        for tokenizer in arguments.tokenizer:
            (folder / "store").mkdir()
            rows += tokenizer_rows(folder, tokenizer, megabytes)
            if tokenizer == arguments.tokenizer[0]:
                rows += verify_rows(folder / "store" / "bench@1")
                rows += peer_rows(folder, tokenizer)
            shutil.rmtree(folder / "store")
        rows += open_rows(folder / "many")
    bench_table.write(list(bench_table.printed(map(table_row, rows))), arguments.json)


def table_row(row: dict[str, Any]) -> bench_table.Row:
    """Turn what was measured into a row of the table; what else was is in its `more`."""
    about = [row[key] for key in ("tokenizer", "threads", "shards") if key in row]
    value = row["seconds"] if "seconds" in row else row["mb_s"]
    peer, ratio = None, row.get("times_tokenizers")
    if ratio is not None:
        peer = "tokenizers, encode alone"
    return {
        "name": ", ".join([row["row"], *map(str, about)]),
        "value": value,
        "unit": "s" if "seconds" in row else "MB/s",
        "peer": peer,
        "peer_value": value / ratio if ratio else None,
        "ratio": ratio,
        "more": row,
    }


def parse() -> argparse.Namespace:
    """Read the command line."""
    tokenizers = bench_texts.shared_folder().parent / "tokenizers"
    known = sorted(tokenizers.glob("allenai*.json.gz"), reverse=True)
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--input", nargs="+", default=[], help=".jsonl[.gz|.zst], .parquet")
    parser.add_argument("--tokenizer", type=Path, nargs="+", default=known, help="tokenizer.json")
    parser.add_argument("--megabytes", type=float, default=420, help="repeat documents up to this")
    parser.add_argument("--json", type=Path, help="also write the rows here, as a list")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def write_documents(path: Path, arguments: argparse.Namespace) -> float:
    """Write the documents as one Arrow file of text batches; return their megabytes."""
    folder = bench_texts.shared_folder()
    inputs = arguments.input or [str(p) for p in sorted(folder.glob("*/*.jsonl*"))]
    skip, fields = BadRecords(policy="skip", max_frac=1.0), Fields(id=None, url=None)
    records = [
        {"text": text}
        for part in plan_parts(inputs, part_bytes=1 << 40)
        for batch in read_part(part, fields, [], skip, lambda _: None)
        for text in batch.text.to_pylist()
    ]
    if not records:
        sys.exit("no documents: there is no reference corpus here, so give files with --input")
    documents = bench_texts.repeated(records, arguments.megabytes, distinct=True)
    schema = pa.schema([("text", pa.large_string())])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as out:
        for start in range(0, len(documents.records), BATCH):
            texts = [record["text"] for record in documents.records[start : start + BATCH]]
            out.write_batch(pa.record_batch([pa.array(texts, pa.large_string())], schema))
    print(
        f"{len(documents.records):,} documents, {documents.megabytes:.1f} MB, all of it distinct",
        file=sys.stderr,
    )
    return documents.megabytes


def tokenizer_rows(folder: Path, tokenizer: Path, megabytes: float) -> list[dict[str, Any]]:
    """Tokenize and write in a fresh process; one row for it, one for the reference."""
    command = [sys.executable, __file__, "--child", str(folder), "--tokenizer", str(tokenizer)]
    environment = os.environ | {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
    found = json.loads(ran.stdout)
    speed, reference = megabytes / found["seconds"], found["mb"] / found["reference_s"]
    about = {"tokenizer": tokenizer.name.removesuffix(".json.gz")}
    return [
        {
            "row": "tokenize and write",
            **about,
            "engine": found["engine"],
            "mb": round(megabytes, 1),
            "mb_s": round(speed, 1),
            "encode_mb_s": round(megabytes / found["encode_s"], 1),
            "reach": REACH["tokenize and write"],
            "times_tokenizers": round(speed / reference, 1),
            "times_reach": TIMES,
            "start_s": round(found["start_s"], 2),
            "tokens": found["tokens"],
            "peak_mb": round(found["peak_mb"]),
            "ids_equal_on_mb": round(found["mb"], 1) if found["equal"] else "DIFFERENT IDS",
        },
        {"row": "tokenizers, encode alone", **about, "mb_s": round(reference, 2)},
    ]


def tokenize(folder: Path, path: Path) -> dict[str, Any]:
    """Encode and write all documents, and a slice of them by the reference in between."""
    pin_start = time.process_time()
    ours = Tokenizer(TokenizerConfig(path=path))
    ours.encode(TextBatch.of(["x" * WORTH_BYTES]))  # so much text is worth loading the fast engine
    start_s = time.process_time() - pin_start
    reference = Tokenizer(TokenizerConfig(path=path, engine="tokenizers"))
    clock = {"seconds": 0.0, "encode_s": 0.0, "reference_s": 0.0}
    size, equal, documents, tokens = 0, True, 0, 0
    with pa.memory_map(str(folder / "documents.arrow")) as file, writer(folder, ours.pin()) as out:
        source = pa.ipc.open_file(file)
        for number in range(source.num_record_batches):
            text = pa.array(source.get_batch(number)["text"].to_pylist(), pa.large_string())
            batch = batch_of(text, documents)
            documents += len(batch)
            started = time.process_time()
            ids, lengths = ours.encode(batch)
            clock["encode_s"] += time.process_time() - started
            out.append(ids, lengths, rows_of(batch), int(batch.num_bytes.sum()))
            clock["seconds"] += time.process_time() - started
            tokens += len(ids)
            if size < REFERENCE_BYTES * (number + 1) / source.num_record_batches:
                some = batch.take(np.arange(number % 4, len(batch), 4))
                started = time.process_time()
                right, _ = reference.encode(some)
                clock["reference_s"] += time.process_time() - started
                size += int(some.num_bytes.sum())
                equal &= np.array_equal(ours.encode(some)[0], right)
        started = time.process_time()
        out.commit()
        clock["seconds"] += time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    engine = "fastokens" if ours.fast_documents else "tokenizers"
    counted = {"mb": size / 1e6, "equal": equal, "tokens": tokens, "peak_mb": peak}
    return {**clock, **counted, "start_s": start_s, "engine": engine}


def batch_of(text: pa.Array, first: int) -> TextBatch:
    """Documents with numbers for ids."""
    numbers = np.arange(first, first + len(text))
    ids = pa.array(numbers).cast(pa.string())
    return TextBatch(text, ids, pa.nulls(len(text), pa.string()), numbers, {})


def rows_of(batch: TextBatch) -> pa.Table:
    """Provenance as a pipeline writes it."""
    return pa.table(
        {
            "id": batch.ids,
            "url": batch.urls,
            "path": pa.array(["documents.arrow"] * len(batch), pa.string()),
            "record": pa.array(batch.records),
            TEXT_HASH: pa.array(text_hashes(batch)),
        }
    )


def writer(folder: Path, pin: TokenizerPin, shard_tokens: int = 1 << 26) -> StoreWriter:
    """Open a writer for `folder/store/bench@1`."""
    return StoreWriter(
        folder / "store" / "bench@1",
        source="bench",
        version=1,
        tokenizer=pin,
        special_in_text="plain",
        parents=[ParentFile(path="documents.arrow", size=0, digest="00")],
        shard_tokens=shard_tokens,
    )


def verify_rows(store: Path) -> Iterator[dict[str, Any]]:
    """Check every byte of the store that was just written, by one thread and by all."""
    size = sum(p.stat().st_size for p in store.rglob("*") if p.is_file()) / 1e6
    for contents in (False, True):
        for threads in (1, os.cpu_count() or 1):
            best = cpu = float("inf")
            for _ in range(ROUNDS):
                started, used = time.perf_counter(), time.process_time()
                if findings := verify(store, full=True, contents=contents, threads=threads):
                    sys.exit(f"the store is damaged: {findings[0]}")
                best = min(best, time.perf_counter() - started)
                cpu = min(cpu, time.process_time() - used)
            row = "verify, all hashes and contents" if contents else "verify, all hashes"
            speed = {"mb_s": round(size / best), "mb_core_s": round(size / cpu)}
            reach = {} if contents else {"reach": REACH[row]}
            yield {"row": row, "threads": threads, "mb": round(size, 1), **speed, **reach}


def open_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Open a store of many shards, in a warm process, and read one token of its last."""
    pin = TokenizerPin(
        digest="0" * 64, largest_id=9, eos="e", eos_id=0, unk_id=None, specials={"e": 0}
    )
    (folder / "store").mkdir(parents=True)
    with writer(folder, pin, shard_tokens=1) as out:
        for start in range(0, SHARDS, BATCH):
            count = min(BATCH, SHARDS - start)
            texts = batch_of(
                pa.array([f"{start + n}" for n in range(count)], "large_string"), start
            )
            out.append(np.zeros(count, "<u2"), np.ones(count, np.int64), rows_of(texts), count)
        out.commit()
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.perf_counter()
        with open_store(folder / "store" / "bench@1") as store:
            store.tokens(SHARDS - 1, SHARDS)
        best = min(best, time.perf_counter() - started)
    yield {"row": "open a store", "shards": SHARDS, "seconds": round(best, 3), "below": 1.0}


# --- peers ----------------------------------------------------------------------------------------


def peer_rows(folder: Path, tokenizer: Path) -> Iterator[dict[str, Any]]:
    """Time dolma and datatrove as programs on a slice of the documents."""
    plain = folder / "tokenizer.json"
    data = tokenizer.read_bytes()
    plain.write_bytes(gzip.decompress(data) if tokenizer.suffix == ".gz" else data)
    python = dolma_python()
    peers: dict[str, list[str]] = {"datatrove": [sys.executable, "-c", DATATROVE]}
    if python is not None:
        peers["dolma tokens"] = [str(python.parent / "dolma"), "tokens"]
    for peer, command in peers.items():
        seconds, megabytes = [], []
        for size in (PEER_BYTES, 50_000):
            work = folder / peer.replace(" ", "-") / str(size)
            megabytes.append(write_jsonl(folder / "documents.arrow", work / "in", size))
            seconds.append(program_seconds(peer_command(peer, command, work, plain)))
        if min(seconds) < 0:
            print(f"left out: {peer} failed", file=sys.stderr)
            continue
        speed = (megabytes[0] - megabytes[1]) / (seconds[0] - seconds[1])
        yield {
            "row": f"{peer}, with its files",
            "mb": round(megabytes[0], 1),
            "mb_s": round(speed, 2),
        }


def peer_command(peer: str, command: list[str], work: Path, tokenizer: Path) -> list[str]:
    """Complete a peer's command line."""
    if peer == "datatrove":
        return [*command, str(work), str(tokenizer)]
    eos = json.loads(tokenizer.read_bytes())
    ids = {token["content"]: token["id"] for token in eos["added_tokens"]}
    number = str(ids["<|endoftext|>"])
    return [
        *command,
        *("--documents", str(work / "in" / "a.jsonl.gz"), "--destination", str(work / "out")),
        *("--tokenizer.name_or_path", str(tokenizer), "--tokenizer.eos_token_id", number),
        *("--tokenizer.pad_token_id", number, "--processes", "1", "--dtype", "uint16"),
    ]


def write_jsonl(documents: Path, folder: Path, num_bytes: int) -> float:
    """Write evenly spread documents of about so many bytes; return their megabytes."""
    folder.mkdir(parents=True)
    total, lines = 0, []
    with pa.memory_map(str(documents)) as file:
        source = pa.ipc.open_file(file)
        for number in range(source.num_record_batches):
            for text in source.get_batch(number)["text"].to_pylist():
                if total >= num_bytes * (number + 1) / source.num_record_batches:
                    break
                lines.append(orjson.dumps({"id": str(len(lines)), "text": text, "source": "bench"}))
                total += len(text.encode())
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(b"\n".join(lines) + b"\n"))
    return total / 1e6


def program_seconds(command: list[str]) -> float:
    """CPU seconds of a program and its children, -1 if it failed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(command, check=False, capture_output=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if ran.returncode:
        print(ran.stderr.decode(errors="replace")[-500:], file=sys.stderr)
        return -1.0
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
