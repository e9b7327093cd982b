"""Masking personal data against datatrove's formatter, dolma's tagger, and dolma's mixer."""

import gzip
import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest
from peers import adversarial_texts, ask_dolma, dolma_python, english_sample

from dolmix.document import TextBatch
from dolmix.filters.pii import Pii
from dolmix.text.edits import edited, read_edits

pytestmark = pytest.mark.conformance

PLANTED = (
    *(
        "me@a.org",
        "(x@y.co.uk)",
        "a.b@c-d.e1.org.",
        "..a@b.c",
        "a@b",
        "a@[1.2.3.4]",
        "@",
        "a@b@c.d ",
    ),
    *("1.2.3.4", "192.168.0.1", "8.8.8.8.8", "01.2.3.4", "256.1.1.1", "isbn 1.1.1.1"),
    *(" (555) 123-4567", " 5551234567", " 555.123.4567", "\t555 - 123 4567", " (@a.b "),
)
TAGGER = """
import json, sys
from dolma.core.data_types import Document
from dolma.taggers.pii import FastPiiRegex
tagger = FastPiiRegex()
for line in sys.stdin:
    spans = tagger.predict(Document(source="", version="", id="", text=json.loads(line))).spans
    print(json.dumps([[s.type, s.start, s.end] for s in spans if not s.type.startswith("doc")]))
"""
KINDS = {"EMAIL_ADDRESS": "emails", "PHONE_NUMBER": "phones", "IP_ADDRESS": "ips"}


def strewn(texts: list[str]) -> list[str]:
    """Put addresses and numbers between and into the words of texts."""
    draw, made = random.Random(5), []
    for text in texts:
        pieces = [text[:4000]]
        for _ in range(draw.randint(0, 8)):
            whole = pieces.pop()
            at = draw.randint(0, len(whole))
            glue = draw.choice(["", " ", " ", "\n", ", ", "é"])
            pieces += [
                whole[:at],
                glue + draw.choice(PLANTED) + draw.choice(["", glue]),
                whole[at:],
            ]
        made.append("".join(pieces))
    return made


def some_texts(shared: Path) -> list[str]:
    """Awkward texts and real pages, with and without planted data."""
    pages = english_sample(shared, 2.0)
    return [*strewn(adversarial_texts(1500)), *pages, *strewn(pages)]


def ours(texts: list[str], **settings: Any) -> tuple[dict[str, list[int]], list[str]]:
    """Columns, and the texts after the edit."""
    batch = TextBatch.of(texts)
    columns = Pii(**settings).columns(batch)
    after = edited(batch, read_edits(columns.pop("edit"))).text.to_pylist()
    return {name: column.to_pylist() for name, column in columns.items()}, after


@pytest.mark.corpus
@pytest.mark.parametrize("public_only", [True, False])
def test_texts_are_datatroves(shared: Path, public_only: bool) -> None:
    """The same text; stand-ins take turns from the first in every document (a difference).

    datatrove's go on from where the last document that its worker saw left off.
    """
    from datatrove.pipeline.formatters import PIIFormatter

    texts = some_texts(shared)
    expected = [PIIFormatter(only_remove_public_ips=public_only).format(text) for text in texts]
    assert ours(texts, public_only=public_only)[1] == expected


@pytest.mark.corpus
def test_counts_and_texts_are_dolmas(shared: Path, tmp_path: Path) -> None:
    """Finds of each kind are the tagger's; the text is what its mixer makes of them."""
    texts = some_texts(shared)
    tagged = ask_dolma(TAGGER, texts)
    counts, after = ours(texts, preset="dolma-1.2")
    for kind, name in KINDS.items():
        assert counts[name] == [sum(k == kind for k, _, _ in spans) for spans in tagged]
    assert after == mixed(texts, tagged, tmp_path)


def mixed(texts: list[str], tagged: list[list[Any]], folder: Path) -> list[str]:
    """Give documents and attributes to `dolma mix`."""
    for name in ("documents", "attributes/pii", "out", "in"):
        (folder / name).mkdir(parents=True)
    with (
        gzip.open(folder / "documents/a.jsonl.gz", "wt") as documents,
        gzip.open(folder / "attributes/pii/a.jsonl.gz", "wt") as attributes,
    ):
        for n, (text, spans) in enumerate(zip(texts, tagged, strict=True)):
            by_kind = {k: [[a, b, 1.0] for which, a, b in spans if which == k] for k in KINDS}
            documents.write(json.dumps({"id": str(n), "text": text, "source": "s"}) + "\n")
            attributes.write(json.dumps({"id": str(n), "attributes": by_kind}) + "\n")
    replacements = [
        {"span": f"$.attributes.{k}", "min_score": 0.5, "replacement": f" |||{k}||| "}
        for k in KINDS
    ]
    stream = {
        "name": "x",
        "documents": [str(folder / "documents/*.gz")],
        "output": {"path": str(folder / "out"), "max_size_in_bytes": 1 << 30},
        "attributes": ["pii"],
        "span_replacement": replacements,
    }
    work = {"input": str(folder / "in"), "output": str(folder / "in")}
    config = {"streams": [stream], "work_dir": work, "processes": 1}
    (folder / "mix.json").write_text(json.dumps(config))
    command = [dolma_python().with_name("dolma"), "-c", str(folder / "mix.json"), "mix"]
    ran = subprocess.run(command, capture_output=True, check=False, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    (result,) = (folder / "out").glob("*.gz")
    lines = gzip.decompress(result.read_bytes()).split(b"\n")
    return [json.loads(line)["text"] for line in lines if line]
