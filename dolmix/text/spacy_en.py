"""spaCy's English tokens."""

from dolmix.document import I64Array, TextBatch, U8Array
from dolmix.text.words import Words


def split_spacy_en(texts: TextBatch) -> Words:
    """Split every document as datatrove 0.10 does for English."""
    raise NotImplementedError


def count_sentences(utf8: U8Array, offsets: I64Array) -> I64Array:
    """(N,) int64: sentences of each of N texts, as datatrove's `split_into_sentences` cuts them."""
    raise NotImplementedError


def tables_digest() -> str:
    """Digest of the tables of the installed spaCy."""
    raise NotImplementedError
