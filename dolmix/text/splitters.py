"""Word splitters by name, and the words of a batch, split once however many filters ask.

    whitespace  Python's `str.split()`
    unicode     UAX #29 words, as the package uniseg finds them, that start with a letter or a
                digit; needs uniseg (the extra `unicode`) for its tables
    spacy-en    spaCy's blank English tokenizer as datatrove 0.10 uses it: tokens stripped, and
                left out if empty; needs spaCy (the extra `spacy`) for its tables

A filter records the name of its splitter with every column, and `splitter_digest` in its task key.
"""

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from dolmix.document import TextBatch
from dolmix.errors import DataError

if TYPE_CHECKING:
    from dolmix.text.words import Words

Splitter: TypeAlias = Literal["whitespace", "unicode", "spacy-en"]

LONGEST_BYTES = 2**31 - 1
"""Bytes that a document may have to be split into words."""


def words_of(texts: TextBatch, splitter: Splitter) -> "Words":
    """Words of every document; a batch is split once a splitter, its selections never again.

    Raises FilterError for `spacy-en` without spaCy, and for `unicode` without uniseg; DataError for
    a document of 2 GiB or more.
    """
    return texts.shared(f"words/{splitter}", lambda: _split(texts, splitter))


def splitter_digest(splitter: Splitter) -> str:
    """Digest what the words depend on beyond dolmix's own code; empty for nothing.

    Raises FilterError for `spacy-en` without spaCy, and for `unicode` without uniseg.
    """
    if splitter == "spacy-en":
        from dolmix.text import spacy_en

        return spacy_en.tables_digest()
    if splitter == "unicode":
        from dolmix.text import unicode_breaks

        return unicode_breaks.tables_digest()
    return ""


def _split(texts: TextBatch, splitter: Splitter) -> "Words":
    _check_sizes(texts)
    # kernels are imported where they run: numba takes its time, and a plan needs none
    if splitter == "spacy-en":
        from dolmix.text.spacy_en import split_spacy_en

        return split_spacy_en(texts)
    if splitter == "unicode":
        from dolmix.text.unicode_words import split_unicode_words

        return split_unicode_words(texts)
    from dolmix.text.words import split_words

    return split_words(texts)


def _check_sizes(texts: TextBatch) -> None:
    """Refuse a document in which a place does not fit into the 32 bits that `Words` has for it."""
    sizes = np.diff(texts.offsets)
    if sizes.max(initial=0) > LONGEST_BYTES:
        row = int(sizes.argmax())
        raise DataError(
            f"document {texts.ids[row].as_py()!r} (record {texts.records[row]}) has "
            f"{sizes[row]:,} bytes of text; words are split in documents of up to "
            f"{LONGEST_BYTES:,}. Cut it into parts before it gets here."
        )
