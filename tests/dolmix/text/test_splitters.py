"""Splitters by name: one split a batch and splitter, the same words for a selection of it."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from peers import needs

from dolmix.document import TextBatch
from dolmix.errors import DataError
from dolmix.text import splitters, words
from dolmix.text.splitters import Splitter, splitter_digest, words_of

ROOT = Path(__file__).resolve().parents[3]
TEXTS = ["It's 3 o'clock, isn't it?", "", "one two", "\u2003中文 e.g. #x…\n", "one two"]
PACKAGES = {"unicode": "uniseg", "spacy-en": "spacy"}
SPLITTERS: tuple[Splitter, ...] = get_args(Splitter)


@pytest.fixture(params=SPLITTERS)
def splitter(request: pytest.FixtureRequest) -> Splitter:
    """Each splitter whose package is installed."""
    if request.param in PACKAGES:
        needs(PACKAGES[request.param])
    name: Splitter = request.param
    return name


def test_a_selection_has_the_words_of_its_documents(splitter: Splitter) -> None:
    """Words taken along with documents equal those of the same documents split afresh."""
    batch, rows = TextBatch.of(TEXTS), np.array([3, 1, 0, 0])
    words_of(batch, splitter)
    taken = words_of(batch.take(rows), splitter)
    fresh = words_of(TextBatch.of([TEXTS[n] for n in rows]), splitter)
    for name in ("hashes", "chars", "starts", "stops", "ends"):
        assert getattr(taken, name).tolist() == getattr(fresh, name).tolist()


def test_words_stand_where_they_say(splitter: Splitter) -> None:
    """Places are bytes from each document's start: in order, apart, and as long as they say."""
    found = words_of(TextBatch.of(["ignored", *TEXTS]).take(np.arange(1, 6)), splitter)
    for n, text in enumerate(TEXTS):
        end = 0
        for w in range(found.ends[n], found.ends[n + 1]):
            assert end <= found.starts[w] < found.stops[w] <= len(text.encode())
            word = text.encode()[found.starts[w] : found.stops[w]].decode()
            assert len(word) == found.chars[w]
            end = found.stops[w]
    assert found.ends[2] == found.ends[1]


def test_a_batch_is_split_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many filters ask for a batch, or for documents of it, it is split one time."""
    asked: list[int] = []
    plain = words.split_words
    monkeypatch.setattr(
        words, "split_words", lambda texts: asked.append(len(texts)) or plain(texts)
    )
    batch = TextBatch.of(TEXTS)
    assert words_of(batch, "whitespace") is words_of(batch, "whitespace")
    words_of(batch.take(np.array([0, 2])).take(np.array([1])), "whitespace")
    assert asked == [5]


def test_only_splitters_with_tables_have_a_digest() -> None:
    """What `whitespace` does follows from dolmix and Python alone."""
    assert splitter_digest("whitespace") == ""


def test_naming_splitters_loads_no_kernels() -> None:
    """A plan can name its splitters without numba."""
    code = "import sys, dolmix.text.splitters; sys.exit('numba' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert ran.returncode == 0


def test_a_document_too_large_for_32_bits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Places of words are 32-bit numbers: a larger document is named, never counted wrongly."""
    monkeypatch.setattr(splitters, "LONGEST_BYTES", 8)
    assert words_of(TextBatch.of(["12345678", "1 2"]), "whitespace").ends.tolist() == [0, 1, 3]
    with pytest.raises(DataError, match=r"document '1' \(record 1\) has 9 bytes of text.* up to 8"):
        words_of(TextBatch.of(["12345678", "123456789"]), "whitespace")
