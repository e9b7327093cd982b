"""Sentences and their scores beside dolma's own: its splitter, and its taggers of toxic text."""

import random
from pathlib import Path
from typing import Any

import pytest
from peers import adversarial_texts, ask_dolma, english_sample, needs, pieces

from dolmix.document import TextBatch
from dolmix.filters import Classifier
from dolmix.learned.fit import Fitting, fit
from dolmix.text.edits import edited, read_edits
from dolmix.text.sentences import Places, split_sentences

pytestmark = pytest.mark.conformance
LIMIT = 0.4
"""What Dolma cuts from on (dolma, `dolma-v1_6/mixing/cc-head.yaml`)."""
PLACES = """
import json, sys
from dolma.core.utils import split_sentences
for line in sys.stdin:
    text = json.loads(line)
    try:
        print(json.dumps([text[s.start : s.end] for s in split_sentences(text)]))
    except AssertionError:
        print("null")
"""
SCORES = """
import json, sys
from dolma.core.data_types import Document
from dolma.core.ft_tagger import BaseFastTextTagger
from dolma.taggers.jigsaw import FastTextJigsawHatespeechSentenceTagger
tagger = FastTextJigsawHatespeechSentenceTagger.__new__(FastTextJigsawHatespeechSentenceTagger)
BaseFastTextTagger.__init__(tagger, model_path={model!r}, model_mode="sentence")
for line in sys.stdin:
    found = tagger.predict(Document(source="", version="", id="", text=json.loads(line))).spans
    toxic = [s for s in found if s.type == "__label__toxic"]
    print(json.dumps([(s.start, s.end, s.score) for s in toxic]))
"""
THEY = {"he", "she", "his", "her", "him", "they"}


@pytest.fixture(autouse=True)
def _blingfire() -> None:
    needs("blingfire")


def strings(texts: TextBatch, places: Places) -> list[list[str]]:
    """Units of each document as strings."""
    found = []
    for n, text in enumerate(texts.text.to_pylist()):
        mine = range(places.ends[n], places.ends[n + 1])
        found.append([text.encode()[places.starts[m] : places.stops[m]].decode() for m in mine])
    return found


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """Train a small model with the labels of Dolma's: what says who did it is called toxic."""
    needs("blingfire")
    batch = TextBatch.of(english_sample(shared, 0.3))
    rows = []
    for sentences in strings(batch, split_sentences(batch, "blingfire")):
        for sentence in sentences:
            label = "toxic" if THEY & set(sentence.lower().split()) else "non_toxic"
            rows.append((label, sentence.replace("\n", " ")))
    path = tmp_path_factory.mktemp("jigsaw") / "toxic.bin"
    small = Fitting(
        dim=8, epochs=6, rate=0.4, max_chars=0, min_chars=0, buckets=5_000, quantise=False
    )
    fit(rows, small, path)
    return path


def test_sentences_are_dolmas(shared: Path) -> None:
    """On web pages and 800 awkward texts: dolma's, without white space at their ends."""
    draw = random.Random(3)
    soups = ["".join(draw.choices(pieces(), k=30)) for _ in range(600)]
    texts = [*english_sample(shared, 1.0), *adversarial_texts(200), *soups, "", " ", "\n", "a. b"]
    batch = TextBatch.of(texts)
    ours = strings(batch, split_sentences(batch, "blingfire"))
    theirs = ask_dolma(PLACES, texts)
    answered = 0
    for text, mine, its in zip(texts, ours, theirs, strict=True):
        if its is not None:  # dolma stops at some texts whose ends blingfire leaves out
            answered += 1
            assert mine == [s.strip() for s in its if s.strip()], repr(text)
    assert answered > 0.95 * len(texts)


def test_scores_and_cuts_are_those_of_dolmas_tagger(model: Path, shared: Path) -> None:
    """Each sentence of its tagger has its score, and those of 0.4 and more go, as Dolma's did."""
    texts = english_sample(shared, 0.3)
    filter_ = Classifier(
        model=model,
        labels=("toxic",),
        text="datatrove",
        unit="sentence",
        sentences="blingfire",
        cut_above=LIMIT,
    )
    batch = TextBatch.of(texts)
    columns = filter_.columns(batch)
    after = edited(batch, read_edits(columns["edit"])).text.to_pylist()
    cut = 0
    for n, found in enumerate(ask_dolma(SCORES.format(model=str(model)), texts)):
        assert columns["units"][n].as_py() == len(found)
        assert columns["score"][n].as_py() == pytest.approx(mean(texts[n], found), abs=2e-6)
        gone = [(start, stop) for start, stop, score in found if score >= LIMIT]
        assert columns["units_removed"][n].as_py() == len(gone)
        assert after[n].split() == without(texts[n], gone).split()
        cut += len(gone)
    total = sum(columns["units"].to_pylist())
    assert 0.05 * total < cut < 0.95 * total


def mean(text: str, found: list[tuple[int, int, float]]) -> float:
    """Mean score of the sentences, by their bytes."""
    sizes = [len(text[start:stop].strip().encode()) for start, stop, _ in found]
    return sum(size * s for size, (_, _, s) in zip(sizes, found, strict=True)) / sum(sizes)


def without(text: str, spans: list[Any]) -> str:
    """Replace spans by a space, where dolma's mixer puts nothing."""
    for start, stop in reversed(spans):
        text = f"{text[:start]} {text[stop:]}"
    return text
