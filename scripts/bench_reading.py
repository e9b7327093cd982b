"""How fast documents are read, per format, beside datatrove on the same files.

    python scripts/bench_reading.py [INPUT...] [--megabytes 64] [--repeats 3]

The inputs' documents are written once per format to a temporary folder, repeated up to the size
asked for; each reader then runs alone, in one process, and its best time counts. One JSON object a
line: MB of UTF-8 text per CPU second.
"""

import argparse
import gzip
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from dolmix.sources import BadRecords, Fields, plan_parts, read_part

FORMATS = ("jsonl", "jsonl.gz", "jsonl.zst", "parquet")


def documents(inputs: list[str], num_bytes: int) -> Iterator[dict[str, str]]:
    """Yield the inputs' documents, again and again with new ids, until `num_bytes` of text."""
    total = number = 0
    while total < num_bytes:
        for part in plan_parts(inputs, part_bytes=1 << 40):
            for batch in read_part(part, Fields(), [], BadRecords(), print):
                for text in batch.text.to_pylist():
                    yield {"id": str(number), "text": text}
                    number += 1
                    total += len(text.encode())
                    if total >= num_bytes:
                        return


def write_all(folder: Path, inputs: list[str], num_bytes: int) -> int:
    """Write one file per format; return the UTF-8 bytes of text in each."""
    rows = list(documents(inputs, num_bytes))
    stream = b"".join(orjson.dumps(row) + b"\n" for row in rows)
    (folder / "a.jsonl").write_bytes(stream)
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(stream, 6))
    (folder / "a.jsonl.zst").write_bytes(zstandard.ZstdCompressor(level=3).compress(stream))
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, folder / "a.parquet", compression="zstd", row_group_size=5000)
    return sum(len(row["text"].encode()) for row in rows)


def read_ours(path: Path) -> int:
    """Read one file with dolmix; return how many documents."""
    parts = plan_parts([str(path)], part_bytes=1 << 40)
    skip = BadRecords(policy="skip")
    return sum(len(batch) for p in parts for batch in read_part(p, Fields(), [], skip, print))


def read_peer(path: Path) -> int:
    """Read one file with datatrove; return how many documents."""
    from datatrove.pipeline.readers import JsonlReader, ParquetReader

    kind = ParquetReader if path.suffix == ".parquet" else JsonlReader
    reader = kind(str(path.parent), glob_pattern=path.name, file_progress=False)
    return sum(1 for _ in reader.run(rank=0, world_size=1))


def best_seconds(read: Callable[[Path], int], path: Path, repeats: int) -> tuple[float, int]:
    """Give the least CPU time of several runs, and the number of documents read."""
    best, count = float("inf"), 0
    for _ in range(repeats):
        start = time.process_time()
        count = read(path)
        best = min(best, time.process_time() - start)
    return best, count


def main() -> None:
    """Write, read, compare, print."""
    shared = os.environ.get("DOLMIX_SHARED", "../shared")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("inputs", nargs="*", default=[f"{shared}/data/corpus_seed/*/*.jsonl.zst"])
    parser.add_argument("--megabytes", type=float, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        num_bytes = write_all(Path(folder), args.inputs, int(args.megabytes * 1e6))
        for name in FORMATS:
            path = Path(folder) / f"a.{name}"
            ours, count = best_seconds(read_ours, path, args.repeats)
            peer, peer_count = best_seconds(read_peer, path, args.repeats)
            if count != peer_count:
                raise SystemExit(f"{name}: {count} documents, datatrove reads {peer_count}")
            row = {
                "name": f"read {name}",
                "value": round(num_bytes / 1e6 / ours, 1),
                "unit": "text MB/s/core",
                "peer": "datatrove",
                "peer_value": round(num_bytes / 1e6 / peer, 1),
                "ratio": round(peer / ours, 2),
            }
            print(json.dumps(row))


if __name__ == "__main__":
    main()
