"""What the benchmarks share: real documents by the megabyte, batches of them, clocks, the machine.

Documents are the reference corpus's, or any file's. To reach a size they are repeated; `distinct`
writes each repetition in other words, so that nothing that is remembered by word gains from it.
"""

import gzip
import json
import os
import platform
import random
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import zstandard

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from dolmix.document import TextBatch  # noqa: E402 - found through the path above

WEB_FOLDERS = (
    *("web_cc", "web_messy", "web_quality_labelled", "web_line_labelled", "speeches", "wiki"),
)
BATCH_DOCUMENTS, BATCH_BYTES = 1024, 8 << 20
"""Limits of one batch, those of a pipeline's reader."""
KEPT_WORDS = frozenset({"that", "have", "with"})
"""Stop words that `reworded` must not touch; the others have less than four letters."""
PACKAGES = ("dolmix", "numba", "numpy", "pyarrow", "spacy", "datatrove")

Record = dict[str, Any]


@dataclass(frozen=True)
class Documents:
    """Documents to time something on.

    records   text and metadata of each
    megabytes their text in 10**6 bytes of UTF-8
    distinct  megabytes of it that are not repeated
    """

    records: list[Record]
    megabytes: float
    distinct: float
    notes: list[str] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        """The texts alone."""
        return [record["text"] for record in self.records]

    def spread(self, num_bytes: int) -> "Documents":
        """About `num_bytes` of these documents, evenly spread."""
        step = max(1, round(self.megabytes * 1e6 / num_bytes))
        return measured(self.records[step // 2 :: step])


def web_documents(paths: Sequence[Path], megabytes: float, *, distinct: bool) -> Documents:
    """English documents of the corpus's web pages, speeches and articles, or all of the files."""
    records = list(_records(paths)) if paths else list(filter(_is_english, _corpus(WEB_FOLDERS)))
    # files of one folder hold one kind of document each; any stretch should hold all kinds
    records.sort(key=lambda record: blake2b(record["text"].encode(), digest_size=8).digest())
    return repeated(records, megabytes, distinct=distinct)


def code_documents() -> Documents:
    """Every code file of the corpus."""
    return measured(list(_corpus(("code",))))


def measured(records: list[Record]) -> Documents:
    """Documents with their size, each counted as distinct."""
    size = sum(map(_size, records)) / 1e6
    return Documents(records, size, size)


def repeated(records: list[Record], megabytes: float, *, distinct: bool) -> Documents:
    """Repeat documents up to a size; with `distinct` each repetition is reworded by its number."""
    chosen, size, copy = list(records), sum(map(_size, records)), 0
    first = size
    while records and size < megabytes * 1e6:
        copy += 1
        rewrite = rewording(copy) if distinct else None
        for record in records:
            if size >= megabytes * 1e6:
                break
            chosen.append(record | {"text": rewrite(record["text"])} if rewrite else record)
            size += _size(record)
    return Documents(chosen, size / 1e6, (size if distinct else first) / 1e6)


def rewording(key: int) -> Callable[[str], str]:
    """Give a substitution of lower-case words of four and more letters, by letters of their kind.

    Lengths, shapes and repeats stay as they are; a word becomes another one, the same everywhere.
    """
    draw = random.Random(key)  # noqa: S311 - nothing secret
    table: dict[int, int] = {}
    for kind in ("aeiou", "bcdfghjklmnpqrstvwxyz"):
        turn = draw.randrange(1, len(kind))
        table |= {ord(a): ord(b) for a, b in zip(kind, kind[turn:] + kind[:turn], strict=True)}
    words = re.compile(r"(?<![^\W\d_])[a-z]{4,}(?![^\W\d_])")

    def put(match: re.Match[str]) -> str:
        word = match.group()
        return word if word in KEPT_WORDS else word.translate(table)

    return lambda text: words.sub(put, text)


def batches(documents: Documents, fields: Sequence[str] = ()) -> list[TextBatch]:
    """Cut documents into batches as a pipeline's reader would."""
    cut: list[list[Record]] = [[]]
    size = 0
    for record in documents.records:
        if len(cut[-1]) == BATCH_DOCUMENTS or (cut[-1] and size >= BATCH_BYTES):
            cut.append([])
            size = 0
        cut[-1].append(record)
        size += _size(record)
    return [_batch(records, fields) for records in cut]


def unread(batch: TextBatch) -> TextBatch:
    """Give the same documents as a batch for which nothing has been computed yet."""
    return TextBatch(batch.text, batch.ids, batch.urls, batch.records, batch.fields)


def core_seconds(run: Callable[[], object]) -> float:
    """Core seconds of one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def wall_seconds(run: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def machine() -> str:
    """Where this was measured, as far as it says."""
    chip = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [x for x in info.read_text().splitlines() if x.startswith("model name")]
        chip = models[0].partition(": ")[2] if models else chip
    return f"{os.cpu_count()} x {chip}; Python {platform.python_version()}, {versions(PACKAGES)}"


def versions(packages: Sequence[str]) -> str:
    """Versions of the packages that are there."""
    found = []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def shared_folder() -> Path:
    """Folder of the reference corpus, which need not be there."""
    beside = Path(os.environ.get("DOLMIX_SHARED", ROOT.parent / "shared"))
    return beside / "data" / "corpus_seed"


def _batch(records: list[Record], fields: Sequence[str]) -> TextBatch:
    values = {path: [_json_at(record, path) for record in records] for path in fields}
    return TextBatch.of([record["text"] for record in records], fields=values)


def _json_at(record: Record, path: str) -> str | None:
    value: Any = record
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return None if value is None else orjson.dumps(value).decode()


def _corpus(folders: Sequence[str]) -> Iterator[Record]:
    return _records(
        [path for name in folders for path in sorted((shared_folder() / name).glob("*.jsonl*"))]
    )


def _records(paths: Sequence[Path]) -> Iterator[Record]:
    """Yield the records of .jsonl (.gz, .zst) and .parquet files, and .txt files as one each."""
    for path in paths:
        if path.suffix == ".parquet":
            yield from pa.parquet.read_table(path).to_pylist()
        elif path.suffix == ".txt":
            yield {"text": path.read_text(encoding="utf-8")}
        else:
            lines = _bytes_of(path).split(b"\n")
            yield from (json.loads(line) for line in lines if line.strip())


def _bytes_of(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(data)
    if path.suffix == ".zst":
        return zstandard.ZstdDecompressor().stream_reader(data).read()
    return data


def _is_english(record: Record) -> bool:
    about = record.get("metadata") or {}
    return (about.get("lang") or about.get("lang_predicted") or "en") == "en"


def _size(record: Record) -> int:
    return len(record["text"].encode())
