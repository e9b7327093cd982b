"""How much of the main text each extractor finds, and how fast WARC files are read, beside peers.

    python scripts/bench_extraction.py [--shared ../shared] [--megabytes 60] [--json rows.json]

Pages: those of the corpus' WARC files whose addresses have gold segments in `web_messy`: pieces of
main text that must be found and pieces of boilerplate that must not (`main_text_segments`,
`boilerplate_segments`). A segment is found if its words stand in the extracted text in a row, and
counts for its number of words: precision is words of main text found among all words found, recall
words of main text found among those there are. F1 over segments, each counting once, stands
beside. The peers are the page's whole text, as `web_messy` has it, and datatrove's extractor on
the same decoded pages. Processor time has that of the extractor's process in it.
"""

import argparse
import itertools
import json
import os
import re
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bench_table import Row, printed, write

from dolmix.files.charsets import decode_page
from dolmix.files.http import parse_response, read_body
from dolmix.files.pages import Warc
from dolmix.files.warc import Record, read_records
from dolmix.sources import BadRecords, Fields, plan_parts, read_part

SETTINGS = (
    ("trafilatura", "balanced"),
    ("trafilatura", "precision"),
    ("trafilatura", "recall"),
    ("resiliparse", "balanced"),
    ("resiliparse", "recall"),
)
WORD = re.compile(r"\w+")
LIMIT = 64 << 20
Gold = Mapping[str, Mapping[str, Any]]
"""Address → record of `web_messy`."""


def read_gold(folder: Path) -> Gold:
    """Find the records of `web_messy` that have segments."""
    from dolmix.files.streams import read_blocks

    found = {}
    for path in sorted(folder.glob("*.jsonl.*")):
        blocks = read_blocks(str(path), "gz" if path.suffix == ".gz" else "zst")
        for line in b"".join(blocks).split(b"\n"):
            record = json.loads(line) if line else {"metadata": {}}
            if record["metadata"].get("main_text_segments"):
                found[record["metadata"]["url"]] = record
    return found


def words(text: str) -> str:
    """Words of a text, lower-cased, with a space around each."""
    return f" {' '.join(WORD.findall(text.casefold()))} "


def scores(texts: Mapping[str, str], gold: Gold) -> dict[str, float]:
    """Precision, recall and F1 by words, and F1 by segments."""
    by_words: Counter[tuple[bool, bool]] = Counter()
    by_segments: Counter[tuple[bool, bool]] = Counter()
    for url, record in gold.items():
        text = words(texts.get(url, ""))
        for kind in ("main_text_segments", "boilerplate_segments"):
            for segment in map(words, record["metadata"][kind]):
                if segment.strip():
                    key = (kind == "main_text_segments", segment in text)
                    by_words[key] += segment.count(" ") - 1
                    by_segments[key] += 1
    made = {}
    for name, counts in (("words", by_words), ("segments", by_segments)):
        hit, missed, wrong = counts[True, True], counts[True, False], counts[False, True]
        precision, recall = hit / max(1, hit + wrong), hit / max(1, hit + missed)
        made |= {f"{name} precision": precision, f"{name} recall": recall}
        made[f"{name} F1"] = 2 * hit / max(1, 2 * hit + wrong + missed)
    return made


def extract_all(folder: Path, warc: Warc) -> dict[str, str]:
    """Texts of the folder's documents by address, as a source reads them."""
    texts: dict[str, str] = {}
    for part in plan_parts([str(folder / "*.warc.gz")], part_bytes=1 << 40):
        for batch in read_part(part, Fields(), [], BadRecords(), print, warc=warc):
            texts |= zip(batch.urls.to_pylist(), batch.text.to_pylist(), strict=True)
    return texts


def html_pages(folder: Path, urls: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Address and decoded HTML of the pages with gold segments, for peers."""
    for path in sorted(folder.glob("*.warc.gz")):
        for record in read_records(str(path), "gz", max_bytes=LIMIT):
            if not isinstance(record, Record) or record.content is None:
                continue
            url = record.headers.get("warc-target-uri", "")
            if record.type == "response" and url in urls:
                body = read_body(parse_response(record.content), LIMIT)
                yield url, decode_page(body)[0]


def processor_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def quality_rows(shared: Path) -> Iterator[Row]:
    """F1 of each extractor, beside the whole page's text, and datatrove's."""
    folder = shared / "corpus_seed"
    gold = read_gold(folder / "web_messy")
    pages = dict(html_pages(folder / "web_warc", gold))
    gold = {url: record for url, record in gold.items() if url in pages}
    whole = scores({url: record["text"] for url, record in gold.items()}, gold)
    for extractor, favor in SETTINGS:
        start = processor_seconds()
        texts = extract_all(folder / "web_warc", Warc(extractor=extractor, favor=favor))
        seconds = processor_seconds() - start
        for name, value in scores(texts, gold).items():
            title = f"{extractor} {favor}: {name}, {len(gold)} pages"
            yield row(title, value, "", "whole page", whole[name])
        found = sum(map(bool, texts.values()))
        yield row(f"{extractor} {favor}: reading and extraction", found / seconds, "texts/s")
    theirs = scores(datatrove_texts(pages), gold)
    for name, value in theirs.items():
        yield row(f"datatrove's Trafilatura: {name}", value, "", "whole page", whole[name])


def datatrove_texts(pages: Mapping[str, str]) -> dict[str, str]:
    """Extract as datatrove does by default."""
    from datatrove.pipeline.extractors import Trafilatura

    extractor = Trafilatura()
    return {url: extractor.extract(html) or "" for url, html in pages.items()}


def reading_rows(shared: Path, num_bytes: int) -> Iterator[Row]:
    """Read stored records, HTTP left alone, beside FastWARC and warcio."""
    files = sorted((shared / "corpus_seed" / "web_warc").glob("*.warc.gz"))
    whole = b"".join(path.read_bytes() for path in files)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.warc.gz"
        path.write_bytes(whole * max(1, num_bytes // len(whole)))
        size = path.stat().st_size / 1e6
        readers = {"dolmix": with_dolmix, "FastWARC": with_fastwarc, "warcio": with_warcio}
        best = {name: best_seconds(read, path) for name, read in readers.items()}
    if len({count for _, count in best.values()}) > 1:
        raise SystemExit(f"readers disagree on the number of records: {best}")
    for peer in ("FastWARC", "warcio"):
        ours, theirs = size / best["dolmix"][0], size / best[peer][0]
        yield row("records of .warc.gz, content read", ours, "MB/s/core", peer, theirs)


def with_dolmix(path: Path) -> int:
    """Read all records; how many there are."""
    return sum(1 for _ in read_records(str(path), "gz", max_bytes=LIMIT))


def with_fastwarc(path: Path) -> int:
    """Read all records and their contents."""
    from fastwarc.warc import ArchiveIterator

    with path.open("rb") as file:
        return sum(r.reader.read() is not None for r in ArchiveIterator(file, parse_http=False))


def with_warcio(path: Path) -> int:
    """Read all records and their contents."""
    from warcio.archiveiterator import ArchiveIterator

    with path.open("rb") as file:
        records = ArchiveIterator(file, no_record_parse=True)
        return sum(record.raw_stream.read() is not None for record in records)


def best_seconds(read: Callable[[Path], int], path: Path, repeats: int = 3) -> tuple[float, int]:
    """Give the least processor time of several runs, and the number of records."""
    best, count = float("inf"), 0
    for _ in range(repeats):
        start = time.process_time()
        count = read(path)
        best = min(best, time.process_time() - start)
    return best, count


def row(
    name: str, value: float, unit: str, peer: str | None = None, peer_value: float | None = None
) -> Row:
    """Make one row; all values are better when larger."""
    ratio = None if peer_value is None else round(value / peer_value, 3)
    told = None if peer_value is None else round(peer_value, 4)
    return {
        "name": name,
        "value": round(value, 4),
        "unit": unit,
        "peer": peer,
        "peer_value": told,
        "ratio": ratio,
    }


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--shared", type=Path, default=Path(os.environ.get("DOLMIX_SHARED", "../shared"))
    )
    parser.add_argument("--megabytes", type=float, default=60)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    data = args.shared / "data"
    if not (data / "corpus_seed" / "web_messy").is_dir():
        raise SystemExit(f"{data}: no corpus here; name its folder by --shared or DOLMIX_SHARED")
    reading = reading_rows(data, int(args.megabytes * 1e6))
    write(list(printed(itertools.chain(reading, quality_rows(data)))), args.json)


if __name__ == "__main__":
    main()
