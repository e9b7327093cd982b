"""Words as spaCy's blank English tokenizer finds them, and sentences as its sentencizer does.

Exact: for every text, the words are those of datatrove 0.10's `split_into_words(text)`, and the
sentences as many as those of its `split_into_sentences(text)`. spaCy's rules are compiled from the
installed package, once a process; kernels follow them for all of Unicode, in time linear in the
text. What is compiled must agree with spaCy on texts made of its own rules. Where the installed
rules are of a form that the kernels cannot express, or anything disagrees, spaCy itself is asked,
document by document, with one warning in the log.
"""

import logging
from functools import lru_cache
from threading import Lock

import numpy as np

from dolmix.document import I64Array, TextBatch, U8Array
from dolmix.text.spacy_itself import count_sentences_by_spacy, english, split_by_spacy
from dolmix.text.spacy_patterns import Inexpressible
from dolmix.text.spacy_rules import compile_rules, probes, rules_digest
from dolmix.text.spacy_sentences import count_ends
from dolmix.text.spacy_tables import Rules
from dolmix.text.spacy_words import split_documents
from dolmix.text.words import Words

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


@lru_cache(maxsize=1)
def tables_digest() -> str:
    """Digest the installed spaCy's rules: where it differs, words may differ.

    Raises FilterError without spaCy.
    """
    return rules_digest(english())


def _rules() -> Rules | None:
    """Rules of the installed spaCy, None where only spaCy itself can be trusted."""
    with _LOADING:
        return _compiled()


@lru_cache(maxsize=1)
def _compiled() -> Rules | None:
    try:
        nlp = english()
        rules = compile_rules(nlp)
        _compare(TextBatch.of(probes(nlp)), rules)
    except Inexpressible as unknown:
        LOG.warning(
            "words: spacy-en: the installed spaCy's rules are not those that dolmix knows (%s): "
            "words stay exact, but spaCy itself splits them, at about 0.4 MB/s a core. "
            "pip install 'dolmix[spacy]' gives a spaCy that dolmix knows.",
            unknown,
        )
        return None
    return rules


def _compare(texts: TextBatch, rules: Rules) -> None:
    """Raise Inexpressible unless the kernels answer as spaCy does."""
    ours, theirs = _split(texts.utf8, texts.offsets, rules), split_by_spacy(texts)
    same = np.array_equal(ours.ends, theirs.ends) and np.array_equal(ours.stops, theirs.stops)
    if not same or not np.array_equal(ours.starts, theirs.starts):
        raise Inexpressible("its own rules, put to the test, give other words")
    counts = _count(texts.utf8, texts.offsets, rules)
    if not np.array_equal(counts, count_sentences_by_spacy(texts.utf8, texts.offsets)):
        raise Inexpressible("its own rules, put to the test, give other sentences")


def _split(utf8: U8Array, offsets: I64Array, rules: Rules) -> Words:
    """Split texts, into arrays with room for prose; for what has shorter words, for any text."""
    size = int(offsets[-1] - offsets[0])
    ends = np.zeros(len(offsets), np.int64)
    longest = int(np.diff(offsets).max(initial=0))
    for room in (min(size, size // PROSE_BYTES + longest), size):
        hashes, chars = np.empty(room, np.uint64), np.empty(room, np.int32)
        spans = np.empty((2, room), np.int32)
        if split_documents(utf8, offsets, rules, hashes, chars, spans, ends):
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
        counts[start:stop] = count_ends(utf8, block, rules, words.starts, words.stops, words.ends)
        start = stop
    return counts
