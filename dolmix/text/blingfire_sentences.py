"""Sentences as blingfire ends them: what dolma's taggers of sentences read.

The places are those of its `text_to_sentences_and_offsets`, in bytes. The library is asked about a
document at a time, without the interpreter's lock.
"""

import ctypes
from functools import lru_cache
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np

from dolmix.document import I64Array, TextBatch
from dolmix.errors import DataError, FilterError
from dolmix.text.kept_tables import package_digest
from dolmix.text.sentences import NEWLINE, Places

LONGEST_BYTES = 2**30 - 1
"""Bytes that a document may have: the library counts twice as many in 32 bits."""


def split_by_blingfire(texts: TextBatch) -> Places:
    """Find the sentences of every document; some may be white space alone.

    Raises FilterError without blingfire, DataError for a document of 1 GiB or more.
    """
    sizes = np.diff(texts.offsets)
    if sizes.max(initial=0) > LONGEST_BYTES:
        row = int(sizes.argmax())
        raise DataError(
            f"document {texts.ids[row].as_py()!r} (record {texts.records[row]}) has "
            f"{sizes[row]:,} bytes of text; blingfire cuts documents of up to "
            f"{LONGEST_BYTES:,} into sentences. Cut it into parts before it gets here."
        )
    find = _library().TextToSentencesWithOffsets
    found = [_split(texts, n, find) for n in range(len(texts))]
    ends = np.cumsum([0, *(part.shape[1] for part in found)])
    starts, stops = np.concatenate([np.empty((2, 0), np.int64), *found], axis=1)
    return Places(starts, stops, ends)


@lru_cache(maxsize=1)
def library_digest() -> str:
    """Digest the installed blingfire: where it differs, sentences may differ.

    Raises FilterError without blingfire.
    """
    _library()
    return package_digest("blingfire") or version("blingfire")


def _split(texts: TextBatch, row: int, find: Any) -> I64Array:
    """(2, M) int64: starts and stops of one document's sentences."""
    start, size = int(texts.offsets[row]), int(texts.offsets[row + 1] - texts.offsets[row])
    room = 2 * size + 2
    text, places = np.empty(room, np.uint8), np.empty((2, room), np.int32)
    written = find(
        ctypes.c_void_p(texts.utf8.ctypes.data + start),
        *(ctypes.c_int(size), ctypes.c_void_p(text.ctypes.data)),
        *(ctypes.c_void_p(at.ctypes.data) for at in places),
        ctypes.c_int(room),
    )
    if not 0 < written <= room:  # an empty text, or one that the library makes nothing of
        return np.empty((2, 0), np.int64)
    count = int(np.count_nonzero(text[: written - 1] == NEWLINE)) + 1
    found = places[:, :count].astype(np.int64)
    found[1] += 1  # the library gives the last byte
    cut = size > 1 and found[1, 0] == 1 and texts.utf8[start + 1] & 0xC0 == 0x80
    return found[:, :0] if cut else found  # of white space alone it gives one byte


@lru_cache(maxsize=1)
def _library() -> Any:
    try:
        library: Any = import_module("blingfire")
    except (ImportError, OSError) as error:  # the library is there for x86-64 alone
        raise FilterError(
            f"sentences: blingfire needs the package blingfire, which cannot be loaded ({error}): "
            "pip install 'dolmix[blingfire]', or choose sentences: spacy-en"
        ) from error
    return library.blingfire
