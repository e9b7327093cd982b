"""Paragraph dedup beside dolma's: the same lines of the same documents are duplicates.

dolma's paragraphs are lines, compared byte by byte, the first occurrence in reading order kept,
with one process. Its Bloom filter is given room at a rate of 10^-12, so that it does not err here.
What it writes are spans in characters, each with the newline that ends the line.
"""

import gzip
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from peers import dolma_python, english_sample

from dolmix.dedup import Paragraphs
from dolmix.document import TextBatch

pytestmark = pytest.mark.conformance

DOCUMENTS = 300
OWN = ("one line\nanother line\none line", "", "another line\n", "\n\n \none line\r\n", "é\nß\né")
Spans = list[list[tuple[int, int]]]


def dolma_spans(folder: Path, texts: list[str]) -> Spans:
    """Spans that dolma marks, in characters, by document."""
    file = folder / "documents" / "a.jsonl.gz"
    file.parent.mkdir()
    with gzip.open(file, "wt", encoding="utf-8") as out:
        for number, text in enumerate(texts):
            out.write(json.dumps({"id": str(number), "source": "x", "text": text}) + "\n")
    command = [
        *(str(dolma_python()), "-m", "dolma.cli.__main__", "dedupe", "--documents", str(file)),
        *("--dedupe.name", "seen", "--dedupe.paragraphs.attribute_name", "seen"),
        *("--dedupe.skip_empty", "--processes", "1", "--no-bloom_filter.read_only"),
        *("--bloom_filter.file", str(folder / "filter")),
        *("--bloom_filter.estimated_doc_count", "200000"),
        *("--bloom_filter.desired_false_positive_rate", "1e-12"),
    ]
    subprocess.run(command, check=True, capture_output=True)
    with gzip.open(folder / "attributes" / "seen" / "a.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    assert [row["id"] for row in rows] == [str(number) for number in range(len(texts))]
    return [[(a, b) for a, b, score in row["attributes"].get("seen", []) if score] for row in rows]


def dolmix_lines(texts: list[str]) -> list[list[str]]:
    """Duplicate lines by document, as dolmix finds them."""
    step = Paragraphs(unit="line", normalize="none", min_bytes=1)
    units = step.units(TextBatch.of(texts))
    duplicate = step.memory().add(units.keys)
    found = []
    for number, text in enumerate(texts):
        data = text.encode()
        rows = range(units.ends[number], units.ends[number + 1])
        spans = [(int(units.starts[m]), int(units.stops[m])) for m in rows if duplicate[m]]
        found.append([data[a:b].decode() for a, b in spans])
    return found


def test_the_same_lines_are_duplicates(shared: Path, tmp_path: Path) -> None:
    """Line by line and document by document, on real pages and on texts made for their edges."""
    pages = english_sample(shared)[:DOCUMENTS]
    again = ["\n".join([*reversed(page.split("\n")), "new"]) for page in pages[::3]]
    texts = [*OWN, *pages, *OWN, *again]
    ours = dolmix_lines(texts)
    theirs = [
        [text[a:b].removesuffix("\n") for a, b in spans]
        for text, spans in zip(texts, dolma_spans(tmp_path, texts), strict=True)
    ]
    # dolma marks blank lines too, unless they are empty
    assert ours == [[line for line in lines if line.strip()] for lines in theirs]
    assert sum(map(len, ours)) > DOCUMENTS
    assert np.mean([bool(lines) for lines in ours]) < 0.5
