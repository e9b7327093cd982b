"""Sentences of texts by name of the splitter: where they stand, and texts without some of them.

    spacy-en   as datatrove 0.10 cuts English (`split_into_sentences`); needs spaCy (the extra
               `spacy`) for its tables
    blingfire  as dolma 1.2 cuts any language; needs blingfire (the extra `blingfire`)

Both read a text as a whole: a newline ends no sentence, so a list without full stops is one. Places
leave out the white space at a sentence's ends, and sentences that are nothing else.
"""

from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from dolmix.document import BoolArray, I64Array, TextBatch, U8Array
from dolmix.text.characters import skip_space, trim_space
from dolmix.text.compiled import kernel, leaf
from dolmix.text.edits import Edits
from dolmix.text.splitters import words_of

SentenceSplitter: TypeAlias = Literal["spacy-en", "blingfire"]
NEWLINE = 0x0A


class Places(NamedTuple):
    """Where the M units of N documents stand, in reading order.

    starts  (M,) int64      first byte of each, from the start of its document
    stops   (M,) int64      byte after it, likewise
    ends    (N + 1,) int64  document n has units [ends[n], ends[n + 1])
    """

    starts: I64Array
    stops: I64Array
    ends: I64Array


def split_sentences(texts: TextBatch, splitter: SentenceSplitter) -> Places:
    """Find the sentences of every document.

    Raises FilterError where the package is not installed, DataError for a document of 2 GiB or more
    (1 GiB by blingfire).
    """
    if splitter == "blingfire":
        from dolmix.text.blingfire_sentences import split_by_blingfire

        return trimmed(texts, split_by_blingfire(texts))
    from dolmix.text.spacy_en import sentence_starts

    words = words_of(texts, "spacy-en")
    firsts = np.flatnonzero(sentence_starts(texts, words))
    lasts = np.append(firsts[1:], len(words.starts))[: len(firsts)] - 1
    return Places(
        words.starts[firsts].astype(np.int64),
        words.stops[lasts].astype(np.int64),
        np.searchsorted(firsts, words.ends).astype(np.int64),
    )


def sentences_digest(splitter: SentenceSplitter) -> str:
    """Digest what the sentences depend on beyond dolmix's own code.

    Raises FilterError where the package is not installed.
    """
    if splitter == "blingfire":
        from dolmix.text.blingfire_sentences import library_digest

        return library_digest()
    from dolmix.text.spacy_en import tables_digest

    return tables_digest()


def trimmed(texts: TextBatch, places: Places) -> Places:
    """Leave out white space at the ends of units, and units that are nothing else."""
    starts, stops = places.starts.copy(), places.stops.copy()
    trim_places(texts.utf8, texts.offsets, places.ends, starts, stops)
    some = starts < stops
    ends = np.concatenate([[0], np.cumsum(some)])[places.ends]
    return Places(starts[some], stops[some], ends)


def cut_sentences(texts: TextBatch, places: Places, out: BoolArray) -> Edits:
    """Take sentences out of their texts, with one of the gaps beside each.

    out  (M,) bool  the sentences that go

    Of the gaps before and behind what goes, the one with more newlines stays (the first of equal
    ones), so that no paragraph runs into the next. Where sentences go to an end of the text, the
    gap that joins them to the others goes too; the white space at the text's ends stays.
    """
    spans = np.empty((2, int(out.sum())), np.int64)
    counts = np.zeros(places.ends.size, np.int64)
    find_sentence_cuts(texts.utf8, texts.offsets, places, out, spans, counts)
    count = int(counts[-1])
    marks = np.zeros(count, np.uint8)
    return Edits(spans[0, :count].copy(), spans[1, :count].copy(), marks, counts)


@kernel
def trim_places(
    utf8: U8Array, offsets: I64Array, ends: I64Array, starts: I64Array, stops: I64Array
) -> None:
    """Move the bounds of units inwards past white space (`str.isspace`).

    utf8, offsets  the N texts
    ends           (N + 1,) int64  units before each document's end
    starts, stops  (M,) int64      changed in place; equal where a unit is white space alone

    O(B). Twin: tests/naive_sentences.py `trim`.
    """
    for n in range(offsets.size - 1):
        for m in range(ends[n], ends[n + 1]):
            begin = skip_space(utf8, offsets[n] + starts[m], offsets[n] + stops[m])
            starts[m] = begin - offsets[n]
            stops[m] = trim_space(utf8, begin, offsets[n] + stops[m]) - offsets[n]


@kernel
def find_sentence_cuts(
    utf8: U8Array,
    offsets: I64Array,
    places: Places,
    out: BoolArray,
    spans: I64Array,
    counts: I64Array,
) -> None:
    """Fill in the spans that take sentences out; neighbours that go share one.

    utf8, offsets, places, out  as in `cut_sentences`
    spans   (2, >= S) int64     out; as many entries as sentences that go are always enough
    counts  (N + 1,) int64      out, zeros on entry; spans before each document's end

    O(B). Twin: tests/naive_sentences.py `without`.
    """
    starts, stops, ends = places
    made = 0
    for n in range(ends.size - 1):
        m, last = ends[n], ends[n + 1]
        while m < last:
            first = m
            while m < last and out[m]:
                m += 1
            if m == first:
                m += 1
                continue
            spans[0, made], spans[1, made] = starts[first], stops[m - 1]
            keeps_before = m < last
            if first > ends[n] and m < last:
                before = _newlines(utf8, offsets[n] + stops[first - 1], offsets[n] + starts[first])
                behind = _newlines(utf8, offsets[n] + stops[m - 1], offsets[n] + starts[m])
                keeps_before = before >= behind
            if keeps_before:
                spans[1, made] = starts[m]
            elif first > ends[n]:
                spans[0, made] = stops[first - 1]
            made += 1
        counts[n + 1] = made


@leaf
def _newlines(utf8: U8Array, begin: int, stop: int) -> int:
    count = 0
    for i in range(begin, stop):
        count += utf8[i] == NEWLINE
    return count
