"""`{type: code}` against dolma's code taggers themselves, run on the same documents."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from code_texts import code_texts
from peers import adversarial_texts, ask_dolma, code_documents, needs

from dolmix.document import TextBatch
from dolmix.filters import Code, judge
from dolmix.filters.code import BY_EXTENSION, LANGUAGES

pytestmark = pytest.mark.conformance

PEER = """
import json, sys, warnings
from dolma.core.data_types import DocumentWithMetadata
from dolma.taggers.code import CodeRedPajamaTaggers, CodeStarCoderTaggers2
warnings.simplefilter("ignore")
taggers = [CodeRedPajamaTaggers(), CodeStarCoderTaggers2()]
for line in sys.stdin:
    text, ext = json.loads(line)
    doc = DocumentWithMetadata(source="", id="", text=text, metadata={"ext": ext} if ext else {})
    found = {}
    for tagger in taggers:
        try:
            found |= {span.type: float(span.score) for span in tagger.predict(doc).spans}
        except ZeroDivisionError as error:
            found["raises"] = type(error).__name__
    print(json.dumps(found))
"""
MAPPING = """
import json, sys
from dolma.taggers.code.utils import get_ext_to_lang_mapping
for line in sys.stdin:
    print(json.dumps(get_ext_to_lang_mapping()))
"""
COLUMNS = {
    "max_line_length": "max_line_length_doc",
    "avg_line_length": "avg_line_length_doc",
    "alnum_frac": "alnum_prop_doc",
    "xml": "has_xml_template_doc",
    "alpha_per_token": "alpha_token_prop_doc",
    "comment_frac": "code_to_comment_ratio_doc",
    "html_text_frac": "code_to_text_ratio_html_doc",
}
EXTENSIONS = ("py", "java", "js", "html", "go", None)
SLOW_CHARS = 3000
"""Longer awkward texts would keep Pygments busy for minutes."""

Document = tuple[str, str | None]


def batch(documents: Sequence[Document]) -> TextBatch:
    """Build a batch of texts and extensions."""
    fields = [None if ext is None else json.dumps(ext) for _, ext in documents]
    return TextBatch.of([text for text, _ in documents], fields={"metadata.ext": fields})


def check(documents: Sequence[Document]) -> None:
    """Compare every value with dolma's, exactly, and the first reason with its published rules."""
    texts, filter_ = batch(documents), Code(max_parse_bytes=None)
    columns = filter_.columns(texts)
    values = {name: column.to_pylist() for name, column in columns.items()}
    verdicts = judge(filter_, columns, texts).to_pylist()
    for n, peer in enumerate(ask_dolma(PEER, documents)):
        about = f"{documents[n][1]}: {documents[n][0][:300]!r}"
        assert {name: values[name][n] for name in COLUMNS} == {
            name: peer[theirs] for name, theirs in COLUMNS.items()
        }, about
        assert verdicts[n] == reason(peer), about


def reason(peer: dict[str, float]) -> str | None:
    """First rule by which dolma's values drop a document: those of OLMo's Stack, v2 then v4."""
    fired = {
        "max_line_length": peer["max_line_length_doc"] > 1000,
        "avg_line_length": peer["avg_line_length_doc"] > 100,
        "alnum_frac": peer["alnum_prop_doc"] < 0.25,
        "alpha_per_token": peer["alpha_token_prop_doc"] < 1.5,
        "xml": peer["has_xml_template_doc"] > 0.0,
        "comment_frac_high": peer["code_to_comment_ratio_doc"] > 0.8,
        "comment_frac_low": peer["code_to_comment_ratio_doc"] <= 0.01,
        "html_text_frac": peer["code_to_text_ratio_html_doc"] <= 0.2,
    }
    return next((f"code.{name}" for name, hit in fired.items() if hit), None)


def real_documents(shared: Path) -> list[Document]:
    """Every code file of the corpus, with the extension that its record gives."""
    return [(r["text"], r["metadata"]["ext"]) for r in code_documents(shared)]


@pytest.mark.corpus
def test_values_and_reasons_equal_dolmas_on_real_code(shared: Path) -> None:
    """A sample of the corpus's code, comments parsed: every value to the bit, every reason."""
    needs("bs4")
    documents = [d for d in real_documents(shared) if len(d[0]) < 40_000]
    check(random.Random(20_240_924).sample(documents, 150))


@pytest.mark.corpus
@pytest.mark.conformance_full
def test_values_and_reasons_equal_dolmas_on_all_code(shared: Path) -> None:
    """The same on every code file of the corpus."""
    check(real_documents(shared))


def test_values_and_reasons_equal_dolmas_on_awkward_texts() -> None:
    """The shared awkward texts, each as a file of one language after the other."""
    needs("bs4")
    short = [text for text in adversarial_texts(2000) if 0 < len(text) < SLOW_CHARS]
    check([(text, EXTENSIONS[n % len(EXTENSIONS)]) for n, text in enumerate(short)])


def test_values_and_reasons_equal_dolmas_on_awkward_code() -> None:
    """Pieces of every language in any order, in files of each: two thousand of them."""
    needs("bs4")
    made = [(text, ext) for ext in ("py", "java", "js", "html") for text in code_texts(500, ext)]
    check([document for document in made if document[0]])


def test_extensions_mean_the_same_languages_as_in_dolma() -> None:
    """Of dolma's 853 extensions those of the four parsed languages, and no other, are known."""
    mapping: dict[str, Any] = ask_dolma(MAPPING, [None])[0]
    assert {ext: name for ext, name in mapping.items() if name in LANGUAGES} == BY_EXTENSION


def test_an_empty_file_is_measured_where_dolma_raises() -> None:
    """Dolma divides by its length; here it has no comments. HTML is -1.0 with both."""
    peers = ask_dolma(PEER, [("", ext) for ext in EXTENSIONS])
    assert [peer.get("raises") for peer in peers] == ["ZeroDivisionError"] * 3 + [None] * 3
    columns = Code().columns(batch([("", ext) for ext in EXTENSIONS]))
    assert columns["comment_frac"].to_pylist() == [0.0] * 3 + [0.5] * 3
    assert columns["html_text_frac"].to_pylist() == [1.0] * 3 + [-1.0] + [1.0] * 2
    assert peers[3][COLUMNS["html_text_frac"]] == -1.0
