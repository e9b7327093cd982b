"""`char_repetition` against dolma's repetition taggers themselves.

Their expression takes time that grows with the square of a line, so that long lines of the awkward
texts are cut; `tests/dolmix/text/test_char_repeats.py` has long ones.
"""

from pathlib import Path

import peers
import pytest

from dolmix.document import TextBatch
from dolmix.filters.char_repetition import CharRepetition

pytestmark = pytest.mark.conformance

PEER = """
import json, sys
from dolma.core.data_types import Document
from dolma.taggers.repetitions.repetitions_taggers import (
    ParagraphRepetitionsTagger, RepetitionsTagger
)
names = ("doc_max_score_repetition", "doc_max_length_repetition", "doc_frac_repetition")
taggers = RepetitionsTagger(), ParagraphRepetitionsTagger()
for line in sys.stdin:
    answers = []
    for tagger in taggers:
        result = tagger.predict(Document(source="", id="", text=json.loads(line)))
        scores = {span.type: span.score for span in result.spans[-3:]}
        answers.append([scores[name] for name in names])
    print(json.dumps(answers))
"""
LONGEST_LINE = 160
LONG_LINE = 1000
"""Documents with a line of so many characters are left out of the whole corpus."""


def cut_lines(text: str) -> str:
    """Cut what follows the first characters of every line."""
    return "\n".join(line[:LONGEST_LINE] for line in text.split("\n"))


def check(texts: list[str]) -> None:
    """Compare the columns of both scopes with the tags of both taggers, exactly."""
    batch = TextBatch.of(texts)
    scopes = [
        CharRepetition(drop_at_score=4).columns(batch),
        CharRepetition(drop_at_score=4, scope="paragraph").columns(batch),
    ]
    answers = peers.ask_dolma(PEER, texts)
    for which, columns in enumerate(scopes):
        rows = zip(*(column.to_pylist() for column in columns.values()), strict=True)
        for row, answer, text in zip(rows, answers, texts, strict=True):
            assert list(row) == answer[which], repr(text[:200])


def test_columns_equal_dolmas_on_awkward_texts() -> None:
    """Score, length and share of documents and paragraphs, on 2,000 texts made to be hard."""
    check([cut_lines(text)[:400] for text in peers.adversarial_texts(2000)])


@pytest.mark.corpus
def test_columns_equal_dolmas_on_english(shared: Path) -> None:
    """The same on real pages, in which dots, rules and table lines repeat."""
    check([text[:5000] for text in peers.english_sample(shared, 0.4)[::5]])


@pytest.mark.corpus
@pytest.mark.conformance_full
def test_columns_equal_dolmas_on_every_english_document(shared: Path) -> None:
    """The same on every English document without a long line, in whose square the peer takes."""
    documents = peers.english_documents(shared)
    check([text for text in documents if max(map(len, text.split("\n"))) < LONG_LINE])
