"""How fast exact dedup, URL dedup, paragraph dedup and decontamination are, beside dolma's Bloom.

    python scripts/bench_dedup_paragraphs.py                80 MB of web pages, one core
    python scripts/bench_dedup_paragraphs.py --megabytes 200
    python scripts/bench_dedup_paragraphs.py --sets 'questions/*.jsonl.gz'    decontamination too

Documents are the reference corpus's, each repetition in other words, so that about as much repeats
as in real pages. Seconds are CPU time of one process, the best of several rounds. dolma's
(`dolma dedupe` on paragraphs, which are its lines) are user and system seconds of its process; its
time on a few documents, which is its start, is taken off. Both read the same .jsonl.gz, and dolma
writes attributes; the rows in memory read and write nothing. DOLMIX_DOLMA_PYTHON names the Python
that has dolma. `rows` gives the same for `scripts/bench_dedup.py`.
"""

import argparse
import gzip
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import bench_table
import numpy as np
import orjson
import pyarrow as pa
from bench_peers import dolma_python
from bench_texts import (
    Documents,
    batches,
    core_seconds,
    machine,
    shared_folder,
    web_documents,
)

from dolmix.dedup import Exact, Paragraphs, Urls
from dolmix.document import TextBatch
from dolmix.filters import Decontaminate
from dolmix.sources import BadRecords, Fields, plan_parts, read_part

MEGABYTES, ROUNDS = 80, 3
RATE = 1e-6
UNIT_BYTES = 100
"""A Bloom filter here has room for one unit in so many bytes."""
FEW = 8
"""Documents of the run whose time is dolma's start."""


def rows(documents: Documents, sets: Sequence[str] = ()) -> Iterator[tuple[str, float, str]]:
    """Yield what was measured, megabytes of text a second and core, and on what."""
    made = batches(documents)
    size = documents.megabytes
    for normalize in ("nfc_whitespace", "none"):
        step = Exact.model_validate({"normalize": normalize})
        yield f"exact, {normalize}", _best(size, lambda s=step: _all(s.keys, made)), ""
    urls = [_with_urls(batch, n) for n, batch in enumerate(made)]
    yield "urls, dolmix-url-1", _best(size, lambda: _all(Urls().keys, urls)), ""
    for unit in ("line", "paragraph"):
        for settings in ({}, {"method": "bloom", "false_positive_rate": RATE}):
            capacity = {"capacity": int(size * 1e6) // UNIT_BYTES} if settings else {}
            step = Paragraphs.model_validate({"unit": unit, **settings, **capacity})
            found = compare(step, made)
            about = f"{found[0]:,} units, {found[1]:,} duplicate"
            name = f"{unit}s, {step.method}: hash, decide, cut"
            yield name, _best(size, lambda s=step: compare(s, made)), about
    if sets:
        filter_ = Decontaminate(sets=tuple(sets))
        name = "decontaminate, 13-grams"
        yield name, _best(size, lambda: _all(filter_.columns, made)), f"{len(sets)} sets"
    yield from file_rows(documents)


def compare(step: Paragraphs, made: Iterable[TextBatch]) -> tuple[int, int]:
    """Hash the units of all documents, find duplicates, and say what to cut: in one process."""
    memory = step.memory()
    units = duplicates = 0
    for batch in made:
        found = step.units(batch)
        duplicate = np.zeros(len(found.keys), np.bool_)
        duplicate[found.long] = memory.add(found.keys[found.long])
        step.verdicts(found, duplicate)
        units += len(duplicate)
        duplicates += int(duplicate.sum())
    return units, duplicates


def file_rows(documents: Documents) -> Iterator[tuple[str, float, str]]:
    """Time both on one file of documents: dolmix's lines, dolma's paragraphs, which are lines."""
    step = Paragraphs(unit="line", normalize="none", min_bytes=1)  # what dolma compares
    with tempfile.TemporaryDirectory() as name:
        file = _write(Path(name) / "documents" / "a.jsonl.gz", documents.texts)
        few = _write(Path(name) / "few" / "documents" / "a.jsonl.gz", documents.texts[:FEW])
        speed = _best(documents.megabytes, lambda: _read(step, file))
        yield "lines as dolma's, exact, from a file", speed, ""
        python = dolma_python()
        if python is not None:
            units = int(documents.megabytes * 1e6) // UNIT_BYTES
            start = min(_dolma_seconds(python, few, units) for _ in range(ROUNDS))
            seconds = min(_dolma_seconds(python, file, units) for _ in range(ROUNDS)) - start
            about = f"start of {start:.1f} s taken off"
            yield "dolma, paragraphs, from the file", documents.megabytes / seconds, about


def _read(step: Paragraphs, file: Path) -> None:
    (part,) = plan_parts([str(file)], part_bytes=1 << 40)
    compare(step, read_part(part, Fields(), (), BadRecords(), lambda _: None))


def _write(path: Path, texts: Sequence[str]) -> Path:
    path.parent.mkdir(parents=True)
    rows = (orjson.dumps({"id": str(n), "source": "x", "text": t}) for n, t in enumerate(texts))
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.writelines(row + b"\n" for row in rows)
    return path


def _dolma_seconds(python: Path, file: Path, units: int) -> float:
    """User and system seconds of one run."""
    folder = file.parent.parent
    shutil.rmtree(folder / "attributes", ignore_errors=True)
    (folder / "filter").unlink(missing_ok=True)
    command = [
        *(str(python), "-m", "dolma.cli.__main__", "dedupe", "--documents", str(file)),
        *("--dedupe.name", "bench", "--dedupe.paragraphs.attribute_name", "bench"),
        *("--bloom_filter.file", str(folder / "filter"), "--no-bloom_filter.read_only"),
        *("--bloom_filter.estimated_doc_count", str(units), "--processes", "1"),
        *("--bloom_filter.desired_false_positive_rate", str(RATE), "--dedupe.skip_empty"),
    ]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True, env=os.environ)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    written = list((folder / "attributes").rglob("*.jsonl.gz"))
    if not written or written[0].stat().st_size < FEW:
        raise RuntimeError(f"dolma wrote no attributes below {folder}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _best(megabytes: float, run: Callable[[], object]) -> float:
    run()
    return megabytes / min(core_seconds(run) for _ in range(ROUNDS))


def _all(measure: Callable[[TextBatch], object], made: Sequence[TextBatch]) -> None:
    for batch in made:
        measure(batch)


def _with_urls(batch: TextBatch, number: int) -> TextBatch:
    """Give documents the addresses of pages, with what pages' addresses have."""
    urls = [
        f"https://www.Example{n % 97}.org/news/{number}/{n}.html?id={n}&utm_source=feed#top"
        for n in range(len(batch))
    ]
    return TextBatch(batch.text, batch.ids, pa.array(urls), batch.records, batch.fields)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=float, default=MEGABYTES)
    beside = sorted((shared_folder().parent / "eval").glob("*.jsonl.gz"))
    parser.add_argument("--sets", nargs="*", default=[str(path) for path in beside])
    parser.add_argument("--json", type=Path, help="also write the rows here, as a list")
    given = parser.parse_args()
    documents = web_documents([], given.megabytes, distinct=True)
    print(f"{machine()}; {documents.megabytes:.0f} MB, {len(documents.records):,} documents")
    found = (
        {"name": name, "value": speed, "unit": "MB/s", "peer": None, "about": about}
        for name, speed, about in rows(documents, given.sets)
    )
    bench_table.write(list(bench_table.printed(found)), given.json)


if __name__ == "__main__":
    main()
