"""How fast bands, candidates and clusters are, signatures in, and how they grow.

    python scripts/bench_dedup_clusters.py            in memory, on disk, datasketch, rensa
    python scripts/bench_dedup_clusters.py --growth   1x, 4x, 16x (10 million documents) on disk

Signatures are made from those of real documents (`dolmix sample`'s): every synthetic document is a
real signature scrambled by its own number, and every fifth is a near copy of an earlier one in
which a share of the lanes differs, as between documents of Jaccard similarity 0.5 to 1. Seconds
are CPU time of the process; each measurement has a process of its own, so that its peak memory is
its own. Making signatures is not timed. `rows` gives the same for `scripts/bench_dedup.py`.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from dolmix.dedup import MatchKeys, MinHash, Signatures  # noqa: E402 - found through the path above
from dolmix.dedup.clusters import Members, cluster_members  # noqa: E402
from dolmix.dedup.external import PIECE_KEYS, Search, external_pairs, group_pairs  # noqa: E402
from dolmix.dedup.runs import KeyRun, write_run  # noqa: E402
from dolmix.document import TextBatch, U32Array  # noqa: E402

BANDS, ROWS = 14, 8
PART = 25_000
"""Documents of one part, some 100 MB of web text."""
UNIT = 625_000
GROWTH = (1, 4, 16)
NEAR = 5
"""Every so many documents there is a near copy."""
STEP = MinHash(bands=BANDS, rows=ROWS, num_hashes=BANDS * ROWS)


def real_lanes() -> U32Array:
    """Signatures of the documents that come with dolmix, (R, 112) uint32."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "dolmix", "sample", folder, "--shipped-only"]
        subprocess.run([*command, "--vocab-size", "512"], check=True, cwd=ROOT, capture_output=True)
        paths = sorted(Path(folder).rglob("*.jsonl"))
        texts = [text for path in paths for text in _texts(path)]
    return np.asarray(STEP.signatures(TextBatch.of(texts)).lanes, np.uint32)


def _texts(path: Path) -> Iterator[str]:
    """Texts of a file; the sample has broken lines on purpose."""
    for line in path.read_bytes().splitlines():
        try:
            text = json.loads(line)["text"]
        except (ValueError, KeyError, TypeError):
            continue
        if isinstance(text, str):
            yield text


def synthetic(real: U32Array, start: int, count: int) -> Signatures:
    """Signatures of documents `start` to `start + count`; the same ones however they are cut."""
    numbers = np.arange(start, start + count, dtype=np.uint64)
    draw = np.random.default_rng(start)
    near = (numbers % NEAR == NEAR - 1) & (numbers > NEAR)
    back = 1 + draw.integers(0, 1000, count).astype(np.uint64)
    origin = np.where(near, numbers - np.minimum(numbers, back), numbers)
    scramble = (origin * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
    lanes = real[origin % len(real)] ^ scramble.astype(np.uint32)[:, None]
    lanes *= np.uint32(0x85EBCA6B)
    share = np.where(near, draw.random(count) * 0.5, 0.0).astype(np.float32)
    differs = draw.random(lanes.shape, dtype=np.float32) < share[:, None]
    lanes[differs] = draw.integers(0, 1 << 32, int(differs.sum()), dtype=np.uint32)
    return Signatures(lanes, np.ones(count, np.bool_))


def in_memory(real: U32Array, documents: int) -> dict[str, Any]:
    """Bands, pairs and clusters of signatures that are in memory."""
    signed = synthetic(real, 0, documents)
    numbers = np.arange(documents)

    def once() -> Members:
        keys = STEP.band_keys(signed)
        pairs = (
            group_pairs(np.ascontiguousarray(keys[:, band, None]), numbers, Search(band))
            for band in range(BANDS)
        )
        return cluster_members(documents, pairs, memory=1 << 40, folder=Path())

    return timed(once, documents, times=3)


def on_disk(real: U32Array, documents: int, memory: int) -> dict[str, Any]:
    """Bands, key runs, candidate tasks, pair files and clusters, as a run does them."""
    with tempfile.TemporaryDirectory() as folder:
        spent = 0.0
        runs = []
        for start in range(0, documents, PART):
            count = min(PART, documents - start)
            signed = synthetic(real, start, count)
            begun = time.process_time()
            keys = MatchKeys(STEP.band_keys(signed)[:, :, None], signed.valid)
            path = Path(folder) / f"{start}.run"
            runs.append(KeyRun(path, write_run(path, keys), wide=False, start=start))
            spent += time.process_time() - begun
        found = timed(lambda: _clusters(runs, documents, memory, Path(folder)), documents, times=1)
    seconds = found["seconds"] + spent
    return {**found, "seconds": seconds, "documents_per_s": documents / seconds}


def _clusters(runs: Sequence[KeyRun], documents: int, memory: int, folder: Path) -> Members:
    def pairs() -> Iterator[np.ndarray]:
        for band in range(BANDS):
            path = folder / f"{band}.i64"
            with path.open("wb") as file:
                for block in external_pairs(runs, Search(band, piece=PIECE_KEYS)):
                    file.write(np.ascontiguousarray(block, "<i8").tobytes())
            yield np.fromfile(path, "<i8").reshape(-1, 2)

    return cluster_members(documents, pairs(), memory=memory, folder=folder)


def timed(work: Any, documents: int, *, times: int) -> dict[str, Any]:
    """CPU seconds of the fastest of several calls, after the kernels were compiled."""
    best = float("inf")
    for _ in range(times):
        begun = time.process_time()
        members = work()
        best = min(best, time.process_time() - begun)
    return {
        "documents": documents,
        "seconds": best,
        "documents_per_s": documents / best,
        "clusters": members.num_clusters,
        "members": len(members.documents),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def by_datasketch(real: U32Array, documents: int) -> dict[str, Any]:
    """Insert into datasketch's MinHashLSH, with the same bands and rows."""
    from datasketch import MinHash as Peer
    from datasketch import MinHashLSH

    lanes = synthetic(real, 0, documents).lanes.astype(np.uint64)
    hashes = [Peer(num_perm=BANDS * ROWS, hashvalues=row, scheme="legacy") for row in lanes]
    index = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
    begun = time.process_time()
    for number, one in enumerate(hashes):
        index.insert(number, one, check_duplication=False)
    seconds = time.process_time() - begun
    return {"documents": documents, "seconds": seconds, "documents_per_s": documents / seconds}


def by_rensa(documents: int) -> dict[str, Any]:
    """Insert into rensa's RMinHashLSH in bulk; its signatures are its own, of three tokens each."""
    from rensa import RMinHash, RMinHashLSH

    draw = np.random.default_rng(1)
    tokens = draw.integers(0, 1 << 63, (documents, 3), dtype=np.uint64).tolist()
    matrix = RMinHash.digest_matrix_from_token_hash_sets(tokens, BANDS * ROWS, 1)
    index = RMinHashLSH(0.8, BANDS * ROWS, BANDS)
    begun = time.process_time()
    index.insert_matrix(matrix)
    seconds = time.process_time() - begun
    return {"documents": documents, "seconds": seconds, "documents_per_s": documents / seconds}


def measure(name: str, documents: int, memory: int) -> dict[str, Any]:
    """One measurement, in this process."""
    if name == "rensa":
        return by_rensa(documents)
    real = real_lanes()
    if name == "datasketch":
        return by_datasketch(real, documents)
    if name == "in memory":
        in_memory(real, 5000)  # compiles
        return in_memory(real, documents)
    on_disk(real, 5000, memory)
    return on_disk(real, documents, memory)


def apart(name: str, documents: int, *, memory: int = 1 << 33) -> dict[str, Any]:
    """One measurement in a process of its own."""
    command = [sys.executable, __file__, "--one", name, "--documents", str(documents)]
    done = subprocess.run(
        [*command, "--memory", str(memory)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        why = done.stderr.strip().splitlines()[-1:] or ["no message"]
        return {"name": name, "documents": documents, "failed": why[0]}
    return {"name": name, **json.loads(done.stdout)}


def rows(documents: int = UNIT) -> list[dict[str, Any]]:
    """Measure dolmix in memory and on disk, datasketch, rensa: the rows of the table."""
    return [
        apart("in memory", documents),
        apart("on disk", documents),
        apart("datasketch", 20_000),
        apart("rensa", 100_000),
    ]


def growth(unit: int = UNIT) -> list[dict[str, Any]]:
    """On disk at 1x, 4x and 16x."""
    return [apart("on disk", unit * times) for times in GROWTH]


def table(found: Sequence[dict[str, Any]]) -> str:
    """Lay rows out in Markdown."""
    lines = [
        "| bands + clusters, signatures in | documents | documents/s | us/document | peak MB |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in found:
        if "failed" in row:
            lines.append(f"| {row['name']} | {row['documents']:,} | failed: {row['failed']} | | |")
            continue
        peak = f"{row['peak_mb']:,.0f}" if "peak_mb" in row else ""
        each = row["seconds"] / row["documents"] * 1e6
        speed = f"{row['documents_per_s']:,.0f}"
        lines.append(f"| {row['name']} | {row['documents']:,} | {speed} | {each:.2f} | {peak} |")
    return "\n".join(lines)


def main() -> None:
    """Print the rows, or one measurement as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--growth", action="store_true", help="1x, 4x and 16x on disk")
    parser.add_argument("--documents", type=int, default=UNIT, help="documents of a row, or of 1x")
    parser.add_argument("--memory", type=int, default=1 << 33, help="bytes for clusters")
    parser.add_argument("--json", type=Path, help="also write the rows here, as a list")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one, given.documents, given.memory)))
        return
    found = growth(given.documents) if given.growth else rows(given.documents)
    print(table(found))
    if given.json:
        each = [
            {**row, "value": row.get("documents_per_s"), "unit": "documents/s"} for row in found
        ]
        given.json.write_text(json.dumps(each, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
