"""Words as spaCy's blank English tokenizer finds them, and sentences as its sentencizer does.

Exact: for every text, the words are those of datatrove 0.10's `split_into_words(text)`, and the
sentences those of its `split_into_sentences(text)`, without the white space at their ends. spaCy's
rules are compiled from the installed package, once a process; kernels follow them for all of
Unicode, in time linear in the text. What is compiled must agree with spaCy on texts made of its own
rules. Where the installed rules are of a form that the kernels cannot express, or anything
disagrees, spaCy itself is asked, document by document, with one warning in the log.
"""

import logging
import re
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Any
from unicodedata import unidata_version

import numpy as np
from numpy.typing import NDArray

from dolmix.document import BoolArray, I64Array, TextBatch, U8Array
from dolmix.text.kept_tables import kept_tables, package_digest
from dolmix.text.repeats import longest_part, scratch
from dolmix.text.spacy_itself import (
    count_sentences_by_spacy,
    english,
    mark_sentences_by_spacy,
    split_by_spacy,
)
from dolmix.text.spacy_patterns import Inexpressible
from dolmix.text.spacy_rules import compile_rules, probes, rules_digest
from dolmix.text.spacy_sentences import mark_sentences
from dolmix.text.spacy_tables import Rules, packed, unpack
from dolmix.text.spacy_words import split_documents
from dolmix.text.words import Words, room_for_words

LOG = logging.getLogger(__name__)
BLOCK_BYTES = 1 << 20
"""Text whose tokens `count_sentences` holds at a time; a longer text is a block of its own."""
PROSE_BYTES = 3
"""Fewest bytes a word, spaces counted, that texts of any sort have on average; prose has 5."""
_LOADING = Lock()


def split_spacy_en(texts: TextBatch) -> Words:
    """Split every document as datatrove 0.10's `split_into_words` does for English.

    Raises FilterError without spaCy.
    """
    rules = _rules()
    if rules is None:
        return split_by_spacy(texts)
    return _split(texts.utf8, texts.offsets, rules)


def count_sentences(utf8: U8Array, offsets: I64Array) -> I64Array:
    """Count the sentences of N texts, each as many as datatrove's `split_into_sentences` gives.

    utf8     (B,) uint8      bytes of all texts
    offsets  (N + 1,) int64  text n is utf8[offsets[n]:offsets[n + 1]]
    returns  (N,) int64      at least 1, also for an empty text

    Raises FilterError without spaCy.
    """
    rules = _rules()
    if rules is None:
        return count_sentences_by_spacy(utf8, offsets)
    return _count(utf8, offsets, rules)


def sentence_starts(texts: TextBatch, words: Words) -> BoolArray:
    """(W,) bool: the first word of each sentence that has any, as datatrove ends sentences.

    words  those of `split_spacy_en(texts)`

    Raises FilterError without spaCy.
    """
    rules = _rules()
    if rules is None:
        return mark_sentences_by_spacy(texts, words)
    opens = np.empty(len(words.starts), np.bool_)
    tokens = (words.starts, words.stops, words.ends)
    mark_sentences(texts.utf8, texts.offsets, rules, tokens, opens)
    return opens


@lru_cache(maxsize=1)
def tables_digest() -> str:
    """Digest the installed spaCy's rules: where it differs, words may differ.

    Raises FilterError without spaCy.
    """

    def make() -> dict[str, NDArray[Any]]:
        return {"digest": np.frombuffer(rules_digest(english()).encode(), np.uint8)}

    return bytes(_kept("spacy-en-digest", make)["digest"]).decode()


@lru_cache(maxsize=1)
def longest_letters() -> int:
    """Most ASCII letters in a row in any special case; longer words are in none.

    Raises FilterError without spaCy.
    """
    rules = _rules()
    if rules is None:
        texts = [text.encode() for text in english().tokenizer.rules]
    else:
        ends = rules.special_ends.tolist()
        whole = rules.special_text.tobytes()
        texts = [whole[start:stop] for start, stop in pairwise(ends)]
    return max(len(run) for text in texts for run in re.findall(rb"[A-Za-z]+", text))


def _rules() -> Rules | None:
    """Rules of the installed spaCy, None where only spaCy itself can be trusted."""
    with _LOADING:
        return _compiled()


@lru_cache(maxsize=1)
def _compiled() -> Rules | None:
    try:
        rules = unpack(_kept("spacy-en", _made)["rules"])
    except Inexpressible as unknown:
        LOG.warning(
            "words: spacy-en: the installed spaCy's rules are not those that dolmix knows (%s): "
            "words stay exact, but spaCy itself splits them, at about 0.4 MB/s a core. "
            "pip install 'dolmix[spacy]' gives a spaCy that dolmix knows.",
            unknown,
        )
        return None
    return rules


def _made() -> dict[str, NDArray[Any]]:
    """Compile the rules, and put them to the test. Raises Inexpressible."""
    nlp = english()
    rules = compile_rules(nlp)
    _compare(TextBatch.of(probes(nlp)), rules)
    return {"rules": packed(rules)}


def _kept(name: str, make: Callable[[], dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Read what was made of this installation of spaCy before, without spaCy; or make it."""
    installed = package_digest("spacy")
    if installed is None:  # nobody can tell which installation it is
        return make()
    about = {"spacy": installed, "unicode": unidata_version}
    return kept_tables(name, about, str(Path(__file__).parent), make)


def _compare(texts: TextBatch, rules: Rules) -> None:
    """Raise Inexpressible unless the kernels answer as spaCy does."""
    ours, theirs = _split(texts.utf8, texts.offsets, rules), split_by_spacy(texts)
    same = np.array_equal(ours.ends, theirs.ends) and np.array_equal(ours.stops, theirs.stops)
    if not same or not np.array_equal(ours.starts, theirs.starts):
        raise Inexpressible("its own rules, put to the test, give other words")
    counts = _count(texts.utf8, texts.offsets, rules)
    if not np.array_equal(counts, count_sentences_by_spacy(texts.utf8, texts.offsets)):
        raise Inexpressible("its own rules, put to the test, give other sentences")
    opens = np.empty(len(ours.starts), np.bool_)
    mark_sentences(texts.utf8, texts.offsets, rules, (ours.starts, ours.stops, ours.ends), opens)
    if not np.array_equal(opens, mark_sentences_by_spacy(texts, ours)):
        raise Inexpressible("its own rules, put to the test, start other sentences")


def _split(utf8: U8Array, offsets: I64Array, rules: Rules) -> Words:
    """Split texts, into arrays with room for prose; for what has shorter words, for any text."""
    size = int(offsets[-1] - offsets[0])
    ends = np.zeros(len(offsets), np.int64)
    longest = longest_part(offsets)
    for room in (min(size, size // PROSE_BYTES + longest), size):
        cuts = scratch("cuts", longest + 2, np.int32)
        hashes, chars, spans = room_for_words(room)
        if split_documents(utf8, offsets, rules, cuts, hashes, chars, spans, ends):
            break
    count = ends[-1]
    return Words(hashes[:count], chars[:count], spans[0, :count], spans[1, :count], ends)


def _count(utf8: U8Array, offsets: I64Array, rules: Rules) -> I64Array:
    counts = np.empty(len(offsets) - 1, np.int64)
    start = 0
    while start < len(counts):
        limit = offsets[start] + BLOCK_BYTES
        stop = max(start + 1, int(np.searchsorted(offsets, limit, "right")) - 1)
        block = offsets[start : stop + 1]
        words = _split(utf8, block, rules)
        tokens, opens = (words.starts, words.stops, words.ends), np.empty(words.ends[-1], np.bool_)
        counts[start:stop] = mark_sentences(utf8, block, rules, tokens, opens)
        start = stop
    return counts
