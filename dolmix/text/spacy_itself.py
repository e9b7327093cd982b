"""The installed spaCy's English pipeline, asked document by document: exact and slow.

`dolmix.text.spacy_en` compiles spaCy's rules to kernels, checks them against the answers of this
module, and falls back on it where the installed rules are not what the kernels can express. The
pipeline is datatrove 0.10's: a blank one with a sentencizer, given whole texts in memory zones, so
that no text leaves anything behind in spaCy's vocabulary.
"""

from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np

from dolmix.document import BoolArray, I32Array, I64Array, TextBatch, U8Array, U64Array
from dolmix.errors import FilterError
from dolmix.text.compiled import kernel
from dolmix.text.eights import hash_span
from dolmix.text.words import Words

ASKING = Lock()
"""Held while spaCy works: its memory zones belong to a process, not to a thread."""
UNSAFE = "IS_ALPHA"
"""A token that spaCy reads from freed memory when it meets it in a second memory zone."""


def load_english() -> Any:
    """Load a new pipeline of spaCy's.

    Raises FilterError when spaCy is not installed.
    """
    try:
        import spacy
    except ImportError as error:
        raise FilterError(
            "words: spacy-en needs spaCy, which is not installed: pip install 'dolmix[spacy]', or "
            "choose words: whitespace or words: unicode"
        ) from error
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    return nlp


@lru_cache(maxsize=1)
def english() -> Any:
    """Load the pipeline that this process keeps."""
    return load_english()


def split_by_spacy(texts: TextBatch) -> Words:
    """Split every document by spaCy itself; about 0.4 MB/s."""
    chars, spans = [np.empty(0, np.int32)], [np.empty((2, 0), np.int32)]
    for text in texts.text.to_pylist():
        found = _tokens(text)
        chars.append(found[1] - found[0])
        spans.append(_char_starts(text)[found].astype(np.int32))
    ends = np.cumsum([len(c) for c in chars])
    starts, stops = np.concatenate(spans, axis=1)
    hashes = np.empty(len(starts), np.uint64)
    hash_spans(texts.utf8, texts.offsets, starts, stops, ends, hashes)
    return Words(hashes, np.concatenate(chars), starts, stops, ends)


def count_sentences_by_spacy(utf8: U8Array, offsets: I64Array) -> I64Array:
    """Count the sentences of every text, as in `count_sentences`, by spaCy itself."""
    counts = np.ones(len(offsets) - 1, np.int64)
    for n in range(len(counts)):
        text = utf8[offsets[n] : offsets[n + 1]].tobytes().decode()
        nlp = _pipeline(text)
        with ASKING, nlp.memory_zone():
            nlp.max_length = len(text) + 1
            counts[n] = max(1, sum(1 for _ in nlp(text).sents))
    return counts


def mark_sentences_by_spacy(texts: TextBatch, words: Words) -> BoolArray:
    """(W,) bool: the first word of each sentence, as in `sentence_starts`, by spaCy itself."""
    opens = np.zeros(len(words.starts), np.bool_)
    for n, text in enumerate(texts.text.to_pylist()):
        nlp = _pipeline(text)
        with ASKING, nlp.memory_zone():
            nlp.max_length = len(text) + 1
            begins = [sentence.start_char for sentence in nlp(text).sents]
        first, stop = words.ends[n], words.ends[n + 1]
        # of the words from a sentence's start on, the first: it starts with white space, or there
        marks = first + np.searchsorted(words.starts[first:stop], _char_starts(text)[begins])
        opens[marks[marks < stop]] = True
    return opens


def _tokens(text: str) -> I32Array:
    """Find the (2, T) starts and stops, in characters, of spaCy's tokens that are no whitespace."""
    nlp = _pipeline(text)
    with ASKING, nlp.memory_zone():
        tokens = nlp.tokenizer(text)
        found = [(t.idx, t.idx + len(t)) for t in tokens if not t.text.isspace()]
    return np.array(found, np.int32).reshape(-1, 2).T


def _pipeline(text: str) -> Any:
    return load_english() if UNSAFE in text else english()


def _char_starts(text: str) -> I64Array:
    """Find where each character starts in the UTF-8 form of a text, and the form's length."""
    utf8 = np.frombuffer(text.encode(), np.uint8)
    return np.append(np.flatnonzero((utf8 & 0xC0) != 0x80), len(utf8))


@kernel
def hash_spans(
    utf8: U8Array,
    offsets: I64Array,
    starts: I32Array,
    stops: I32Array,
    ends: I64Array,
    hashes: U64Array,
) -> None:
    """Hash words whose places are known.

    utf8, offsets        as in `hash_words`
    starts, stops, ends  as in `Words`
    hashes               (W,) uint64  out

    O(B).
    """
    for n in range(offsets.size - 1):
        for word in range(ends[n], ends[n + 1]):
            begin, end = offsets[n] + starts[word], offsets[n] + stops[word]
            hashes[word], _ = hash_span(utf8, begin, end)
