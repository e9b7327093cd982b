"""How fast dedup is, stage by stage and as a whole, beside datatrove, datasketch and rensa.

    python scripts/bench_dedup.py [--input FILE ...] [--megabytes 20] [--only TEXT] [--json FILE]

Signatures are timed text in, shingling included, then the whole way from texts to clusters, each in
a process of its own so that its peak memory is its own. MB/s are 10**6 bytes of text per second of
one core's time, the best of several rounds, kernels compiled before the clock starts; peak memory
is what a process needed beyond the documents and its imports. Peers are slow and get documents
spread evenly over the same ones; what is not installed is left out. Then follow the rows of
bench_dedup_clusters.py (bands and clusters, signatures in) and bench_dedup_paragraphs.py (exact,
URLs, paragraphs, decontamination).
"""

import argparse
import ctypes
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bench_texts  # puts the repository on the path
import numpy as np
from bench_texts import Documents, batches, core_seconds, unread

from dolmix.dedup import MinHash, candidate_pairs, clusters

PEER_BYTES = 700_000
ROUNDS, PEER_ROUNDS = 5, 2
NGRAM, BANDS, ROWS = 5, 14, 8
OWN = {"bands": BANDS, "rows": ROWS}
DATATROVE = {"preset": "datatrove-0.10"}
SHA1 = {**DATATROVE, "hash_function": "sha1"}

Row = dict[str, Any]
Run = Callable[[], object]


@dataclass(frozen=True)
class Measure:
    """Something that is timed in a process of its own.

    make   documents → what to time
    peer   not ours: fewer documents, fewer rounds
    reach  MB/s to reach, and
    times  how many times the speed of the measure named `against`
    """

    make: Callable[[Documents], Run]
    peer: bool = False
    reach: float | None = None
    times: float | None = None
    against: str = ""


def signing(settings: dict[str, Any]) -> Callable[[Documents], Run]:
    """Make signatures of every document, batch by batch."""
    step = MinHash.model_validate(settings)

    def make(documents: Documents) -> Run:
        given = batches(documents)
        return lambda: [step.signatures(unread(batch)) for batch in given]

    return make


def whole(settings: dict[str, Any]) -> Callable[[Documents], Run]:
    """Texts to clusters: keys, candidates of every band, union-find."""
    step = MinHash.model_validate(settings)

    def make(documents: Documents) -> Run:
        given = batches(documents)

        def run() -> object:
            keys = [step.match_keys(unread(batch)) for batch in given]
            values = np.concatenate([k.values for k in keys])
            numbers = np.flatnonzero(np.concatenate([k.valid for k in keys]))
            pairs = (
                candidate_pairs(values[numbers, band, 0], numbers) for band in range(step.num_bands)
            )
            return clusters(len(values), pairs)

        return run

    return make


def datatrove_config(hash_function: str) -> Any:
    """Make datatrove's settings, and let it give xxHash bytes: version 4 refuses strings."""
    import xxhash
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.utils.hashes import xxhash as theirs
    from datatrove.utils.hashing import HashConfig
    from datatrove.utils.logging import logger

    logger.remove()
    theirs.xxhash64 = lambda text: xxhash.xxh64_intdigest(text.encode())
    return MinhashConfig(hash_config=HashConfig(hash_fc=hash_function))


def datatrove_signing(hash_function: str) -> Callable[[Documents], Run]:
    """Give datatrove's shingles and signatures, without writing them."""

    def make(documents: Documents) -> Run:
        from datatrove.pipeline.dedup.minhash import MinhashDedupSignature

        stage = MinhashDedupSignature("memory://unused", datatrove_config(hash_function))

        def run() -> None:
            for text in documents.texts:
                shingles = stage.get_shingles(text)
                if shingles.size:
                    stage.get_signature(shingles)

        return run

    return make


def datatrove_whole(documents: Documents) -> Run:
    """Run datatrove's three stages, on files as it has them."""
    from datatrove.data import Document
    from datatrove.pipeline.dedup import minhash as peer

    config = datatrove_config("xxhash")

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            given = (Document(text=t, id=str(n)) for n, t in enumerate(documents.texts))
            peer.MinhashDedupSignature(f"{folder}/sig", config).run(given, 0, 1)
            for rank in range(BANDS):
                stage = peer.MinhashDedupBuckets(f"{folder}/sig", f"{folder}/dups", config=config)
                stage.run(None, rank, BANDS)
            peer.MinhashDedupCluster(f"{folder}/dups", f"{folder}/out", config).run(None, 0, 1)

    return run


def shingled(text: str) -> list[str]:
    """Cut shingles as users of datasketch and rensa do: lower case, `split()`, joined words."""
    words = text.lower().split()
    return [" ".join(words[n : n + NGRAM]) for n in range(max(1, len(words) - NGRAM + 1))]


def datasketch_signing(documents: Documents) -> Run:
    """Sketch with datasketch's MinHash, a whole document's shingles at once."""
    from datasketch import MinHash as Peer

    def run() -> list[Any]:
        found = []
        for text in documents.texts:
            one = Peer(num_perm=BANDS * ROWS)
            one.update_batch([shingle.encode() for shingle in shingled(text)])
            found.append(one)
        return found

    return run


def datasketch_whole(documents: Documents) -> Run:
    """Ask datasketch's MinHashLSH for each document, then insert it."""
    from datasketch import MinHashLSH

    sign = datasketch_signing(documents)

    def run() -> int:
        index, found = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS)), 0
        sketches: Any = sign()
        for number, one in enumerate(sketches):
            found += bool(index.query(one))
            index.insert(number, one)
        return found

    return run


def rensa_signing(documents: Documents) -> Run:
    """Sketch with rensa's RMinHash, all documents in one call."""
    from rensa import RMinHash

    def run() -> Any:
        tokens = [shingled(text) for text in documents.texts]
        return RMinHash.digest_matrix_from_token_sets(tokens, BANDS * ROWS, 1)

    return run


def rensa_whole(documents: Documents) -> Run:
    """Fill rensa's RMinHashLSH in bulk: exact bands in memory, no clusters."""
    from rensa import RMinHashLSH

    sign = rensa_signing(documents)

    def run() -> None:
        RMinHashLSH(0.8, BANDS * ROWS, BANDS).insert_matrix(sign())

    return run


MEASURES = {
    "signatures, datatrove's xxHash 64": Measure(
        signing(DATATROVE), reach=35, times=80, against="datatrove signatures, xxHash"
    ),
    "datatrove signatures, xxHash": Measure(datatrove_signing("xxhash"), peer=True),
    "signatures, datatrove's SHA-1 64": Measure(
        signing(SHA1), reach=35, times=80, against="datatrove signatures, SHA-1"
    ),
    "datatrove signatures, SHA-1": Measure(datatrove_signing("sha1"), peer=True),
    "signatures, own": Measure(signing(OWN), reach=100, against="datasketch signatures"),
    "datasketch signatures": Measure(datasketch_signing, peer=True),
    "rensa signatures": Measure(rensa_signing, peer=True),
    "texts to clusters, datatrove's": Measure(whole(DATATROVE), against="datatrove, three stages"),
    "datatrove, three stages": Measure(datatrove_whole, peer=True),
    "texts to clusters, own": Measure(whole(OWN), against="datasketch with its LSH"),
    "datasketch with its LSH": Measure(datasketch_whole, peer=True),
    "rensa with its LSH": Measure(rensa_whole, peer=True),
}


def measure(name: str, documents: Documents) -> Row:
    """Time one entry in this process: MB/s and the peak of its memory."""
    entry = MEASURES[name]
    given = documents.spread(PEER_BYTES) if entry.peer else documents
    entry.make(given.spread(PEER_BYTES // 10))()  # compiles, loads
    run, rounds = entry.make(given), PEER_ROUNDS if entry.peer else ROUNDS
    before = forget_peak()
    best = min(core_seconds(run) for _ in range(rounds))
    peak = None if before is None else memory("VmHWM") - before
    return {"name": name, "value": given.megabytes / best, "unit": "MB/s", "peak_mb": peak}


def forget_peak() -> float | None:
    """Give freed memory back and let the peak begin anew; return megabytes held, if known."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError):
        return None
    return memory("VmRSS")


def memory(field: str) -> float:
    """Read a field of this process's status, in megabytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def signature_rows(arguments: argparse.Namespace) -> Iterator[Row]:
    """Measure every entry, each in a process of its own."""
    found: dict[str, float] = {}
    rows: list[Row] = []
    for name in MEASURES:
        if arguments.only not in name:
            continue
        command = [sys.executable, __file__, "--one", name, "--megabytes", str(arguments.megabytes)]
        command += ["--input", *map(str, arguments.input)] if arguments.input else []
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            print(f"left out: {name}: {(ran.stderr.strip().splitlines() or ['?'])[-1]}")
            continue
        row = json.loads(ran.stdout)
        found[name] = row["value"]
        rows.append(row)
    for row in rows:
        yield {**row, **verdict(row, found)}


def verdict(row: Row, found: dict[str, float]) -> Row:
    """Compare an entry with its peer and with what it is to reach."""
    entry = MEASURES[row["name"]]
    ratio = row["value"] / found[entry.against] if entry.against in found else None
    goals = []
    if entry.reach is not None:
        met = row["value"] >= entry.reach
        goals.append(f"{entry.reach:g} MB/s {'met' if met else 'SHORT'}")
    if entry.times is not None and ratio is not None:
        goals.append(f"{entry.times:g}x {'met' if ratio >= entry.times else 'SHORT'}")
    return {"against": entry.against or None, "ratio": ratio, "goals": ", ".join(goals)}


def cluster_rows(_: argparse.Namespace) -> Iterator[Row]:
    """Bands and clusters, signatures in."""
    import bench_dedup_clusters

    for row in bench_dedup_clusters.rows():
        name = f"bands + clusters, {row['name']}"
        if "failed" in row:
            print(f"left out: {name}: {row['failed']}")
            continue
        speed, peak = row["documents_per_s"], row.get("peak_mb")
        yield {**row, "name": name, "value": speed, "unit": "documents/s", "peak_mb": peak}


def paragraph_rows(arguments: argparse.Namespace) -> Iterator[Row]:
    """Exact, URLs, paragraphs and decontamination."""
    import bench_dedup_paragraphs

    documents = bench_texts.web_documents(
        arguments.input, bench_dedup_paragraphs.MEGABYTES, distinct=True
    )
    beside = sorted((bench_texts.shared_folder().parent / "eval").glob("*.jsonl.gz"))
    for name, speed, about in bench_dedup_paragraphs.rows(documents, list(map(str, beside))):
        yield {"name": name, "value": speed, "unit": "MB/s", "about": about}


GROUPS: Sequence[Callable[[argparse.Namespace], Iterator[Row]]] = (
    signature_rows,
    cluster_rows,
    paragraph_rows,
)
"""What gives rows, in the order of the table; with --only the first one alone."""


def show(row: Row) -> None:
    """Print one row."""
    peak = f"{row['peak_mb']:8,.0f} MB" if row.get("peak_mb") is not None else " " * 11
    ratio = f"{row['ratio']:7.1f}x {row['against']}" if row.get("ratio") else ""
    more = "  ".join(filter(None, [ratio, row.get("goals"), row.get("about")]))
    value = f"{row['value']:11,.1f}" if row["unit"] == "MB/s" else f"{row['value']:11,.0f}"
    print(f"{row['name']:42} {value} {row['unit']:11} {peak}  {more}".rstrip(), flush=True)


def main() -> None:
    """Measure, print a table, and write its rows as JSON if asked."""
    arguments = parse()
    documents = bench_texts.web_documents(arguments.input, arguments.megabytes, distinct=True)
    if not documents.records:
        sys.exit("no documents: there is no reference corpus here, so give files with --input")
    if arguments.one:
        print(json.dumps(measure(arguments.one, documents)))
        return
    about = f"{len(documents.records):,} documents, {documents.megabytes:.1f} MB"
    print(f"{about}\n{bench_texts.machine()}\n{bench_texts.versions(('datasketch', 'rensa'))}")
    rows: list[Row] = []
    for group in GROUPS[:1] if arguments.only else GROUPS:
        for row in group(arguments):
            show(row)
            rows.append(row)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--input", type=Path, nargs="+", default=[], help=".jsonl[.gz|.zst], .txt")
    parser.add_argument("--megabytes", type=float, default=20, help="repeat documents up to this")
    parser.add_argument("--only", default="", help="signature rows whose name contains this, alone")
    parser.add_argument("--json", type=Path, help="also write the rows here, as a list")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
