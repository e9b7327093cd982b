r"""fastText's predictions over the bytes of many texts, float by float as fastText computes them.

Tokens are those of `Dictionary::readWord` (cut at space, \n, \r, \t, \v, \f and NUL), a `\n` inside
a text is white space like any other, and each text ends with the token `</s>`, as the package's
`predict` appends it. A token `</s>` in a text ends it, as it does there. Vectors are summed in
fastText's order, in single precision, without fused multiplications: so probabilities are the
package's, but for the last bit of an exponential.
"""

from typing import NamedTuple

import numpy as np

from dolmix.document import I32Array, I64Array, U8Array
from dolmix.text.compiled import kernel, leaf
from dolmix.text.fasttext_cache import (
    CACHED_BYTES,
    Cache,
    find_word,
    keep_word,
    make_room,
)
from dolmix.text.fasttext_ngrams import list_ngrams
from dolmix.text.fasttext_scores import Room, Scores, fill_scores
from dolmix.text.fasttext_tables import (
    SHAPE_BUCKET,
    SHAPE_END,
    SHAPE_MAX,
    SHAPE_NGRAMS,
    SHAPE_PIECE,
    SHAPE_WORDS,
    F32Array,
    Tables,
)
from dolmix.text.fasttext_words import FNV_BASIS, Dictionary, find_entry, hash_on

END_HASH = np.uint32(3617362777)
"""Hash of `</s>`."""
LABEL, LONG = -1, -2
"""Instead of a place in the cache: a label, which counts for nothing; a word that is not kept."""
NGRAM_FACTOR = np.uint64(116049371)


class Spans(NamedTuple):
    """The N texts to score: text n is utf8[starts[n]:stops[n]], valid UTF-8.

    utf8  (B,) uint8; starts, stops  (N,) int64
    """

    utf8: U8Array
    starts: I64Array
    stops: I64Array


class Sum(NamedTuple):
    """The text that is being read.

    hidden  (D,) float32  the sum of its vectors so far
    counts  (2,) int64    how many vectors these are, and how many words
    hashes  (H,) int32    hash of each word, for a model with word n-grams; else of no size
    """

    hidden: F32Array
    counts: I64Array
    hashes: I32Array


@leaf
def _is_space(byte: np.uint8) -> bool:
    return bool(byte == 0x20 or 0x09 <= byte <= 0x0D or byte == 0)


@leaf
def _is_end(text: U8Array, start: int, stop: int) -> bool:
    """Whether a token is `</s>`."""
    code = np.int64(0)
    if stop - start == 4:
        for i in range(start, stop):
            code = code << 8 | np.int64(text[i])
    return bool(code == 0x3C2F733E)


@leaf
def _is_label(text: U8Array, start: int, stop: int) -> bool:
    """Whether a token starts with `__label__`."""
    if stop - start < 9 or text[start] != 0x5F or text[start + 1] != 0x5F:
        return False
    code = np.int64(0)
    for i in range(start + 2, start + 9):
        code = code << 8 | np.int64(text[i])
    return bool(code == 0x6C6162656C5F5F)


@leaf
def _add_plain_rows(
    hidden: F32Array, vectors: F32Array, rows: I32Array, first: int, stop: int
) -> None:
    """Add the vectors that rows[first:stop] lists, in that order."""
    for place in range(first, stop):
        row = np.int64(rows[place])
        for d in range(hidden.size):
            hidden[d] += vectors[row, d]


@leaf
def _add_coded_rows(
    hidden: F32Array, tables: Tables, rows: I32Array, first: int, stop: int
) -> None:
    """Put quantised vectors together from their pieces, and add them (`addcode`)."""
    piece = tables.shape[SHAPE_PIECE]
    for place in range(first, stop):
        row = np.int64(rows[place])
        norm = tables.norms[row]
        for n in range(tables.codes.shape[1]):
            start = n * piece
            size = min(piece, hidden.size - start)
            begin = 256 * start + np.int64(tables.codes[row, n]) * size
            for d in range(size):
                hidden[start + d] += np.float32(norm * tables.centroids[begin + d])


@leaf
def _add_rows(total: Sum, tables: Tables, rows: I32Array, first: int, stop: int) -> None:
    """Add input vectors of a model of either kind."""
    total.counts[0] += stop - first
    if tables.codes.shape[0]:
        _add_coded_rows(total.hidden, tables, rows, first, stop)
    else:
        _add_plain_rows(total.hidden, tables.rows, rows, first, stop)


@leaf
def _add_long_word(
    text: U8Array, word: tuple[int, int, int], tables: Tables, total: Sum, rows: I32Array
) -> None:
    """Add the vectors of a word of any length, a few rows at a time.

    word  its first byte, the byte after it, and its entry in the dictionary, or -1
    rows  (R,) int32  room for a list of rows
    """
    start, stop, entry = word
    count = 0
    if entry >= 0:
        rows[count] = np.int32(entry)
        count += 1
    about = (tables.shape, tables.buckets, tables.kept)
    at = start - 1 if tables.shape[SHAPE_MAX] > 0 else stop
    while at < stop:
        at, count = list_ngrams(text, (at, start, stop), about, rows, (count, rows.size))
        if at < stop:
            _add_rows(total, tables, rows, 0, count)
            count = 0
    _add_rows(total, tables, rows, 0, count)


@leaf
def _note(hashes: I32Array, counts: I64Array, hashed: np.uint32) -> None:
    """Remember a word for the n-grams that it is in, if the model has any."""
    if hashes.size:
        hashes[counts[1]] = np.int32(hashed)
    counts[1] += 1


@leaf
def _list_word(
    text: U8Array,
    word: tuple[int, int, np.uint32],
    about: tuple[I64Array, I32Array, U8Array, Dictionary],
    heads: I32Array,
    pools: tuple[U8Array, I32Array, I64Array],
) -> int:
    """List the rows of a token that the cache does not have, and keep them.

    about  `shape`, `buckets`, `kept` and `words` of the tables
    heads, pools  the cache's `heads`; its `texts`, `rows` and `used`

    returns  place of the rows in the cache; LABEL for a label, LONG for a word that is not kept
    """
    start, stop, hashed = word
    shape, buckets, kept, words = about
    rows = pools[1]
    entry = find_entry(text, start, stop, hashed, words)
    if entry >= shape[SHAPE_WORDS] or (entry < 0 and _is_label(text, start, stop)):
        return LABEL
    if stop - start > CACHED_BYTES:
        return LONG
    count = first = make_room(heads, pools, (stop - start + 2) * shape[SHAPE_MAX] + 1)
    if entry >= 0:
        rows[count] = np.int32(entry)
        count += 1
    if shape[SHAPE_MAX] > 0:
        place, ngrams = (start - 1, start, stop), (shape, buckets, kept)
        _, count = list_ngrams(text, place, ngrams, rows, (count, rows.size))
    keep_word(text, word, heads, pools, count - first)
    return first - 1


@leaf
def _add_words(spans: Spans, n: int, tables: Tables, total: Sum, cache: Cache) -> None:
    """Add the vectors of the words of a text, up to its end or to a token that ends it.

    What is called for every word gets the few arrays that it needs, not all of a model's: handing
    those over would cost more than most words do.
    """
    text, at, stop = spans.utf8, spans.starts[n], spans.stops[n]
    heads, rows = cache.heads, cache.rows
    pools = (cache.texts, cache.rows, cache.used)
    about = (tables.shape, tables.buckets, tables.kept, tables.words)
    plain = tables.codes.shape[0] == 0
    while at < stop:
        if _is_space(text[at]):
            at += 1
            continue
        start, hashed = at, FNV_BASIS
        while at < stop and not _is_space(text[at]):
            hashed = hash_on(hashed, text[at])
            at += 1
        if hashed == END_HASH and _is_end(text, start, at):
            break
        place = find_word(text, (start, at, hashed), heads, cache.texts)
        if place < 0:
            place = _list_word(text, (start, at, hashed), about, heads, pools)
        if place >= 0 and plain:
            last = place + 1 + int(rows[place])
            total.counts[0] += last - place - 1
            _add_plain_rows(total.hidden, tables.rows, rows, place + 1, last)
        elif place >= 0:
            _add_rows(total, tables, rows, place + 1, place + 1 + int(rows[place]))
        elif place == LONG:
            entry = find_entry(text, start, at, hashed, tables.words)
            _add_long_word(text, (start, at, entry), tables, total, cache.spare)
        if place != LABEL:
            _note(total.hashes, total.counts, hashed)
    _add_end(tables, total, cache.spare)


@leaf
def _add_end(tables: Tables, total: Sum, rows: I32Array) -> None:
    """Add the token that ends every text."""
    if tables.shape[SHAPE_END] >= 0:
        rows[0] = np.int32(tables.shape[SHAPE_END])
        _add_rows(total, tables, rows, 0, 1)
    _note(total.hashes, total.counts, END_HASH)


@leaf
def _add_word_ngrams(tables: Tables, total: Sum, rows: I32Array) -> None:
    """Add the vectors of runs of words (`Dictionary::addWordNgrams`), listed in `rows`."""
    bucket, longest = np.uint64(tables.shape[SHAPE_BUCKET]), tables.shape[SHAPE_NGRAMS]
    words, base, count = total.counts[1], tables.shape[SHAPE_WORDS], 0
    for i in range(words):
        if count + longest > rows.size:
            _add_rows(total, tables, rows, 0, count)
            count = 0
        hashed = np.uint64(np.int64(total.hashes[i]))
        for j in range(i + 1, min(words, i + longest)):
            hashed = np.uint64(hashed * NGRAM_FACTOR + np.uint64(np.int64(total.hashes[j])))
            place = int(hashed % bucket)
            kept = int(tables.buckets[place]) if tables.buckets.size else place + 1
            rows[count] = np.int32(base + kept - 1)
            count += kept > 0
    _add_rows(total, tables, rows, 0, count)


@kernel
def score_spans(
    spans: Spans, tables: Tables, total: Sum, cache: Cache, answers: tuple[Room, Scores]
) -> None:
    """Score every text.

    spans    the N texts
    tables   the model
    total    room for one text
    cache    the thread's own; what it holds changes nothing but the time
    answers  room for one text's scores, and the scores, out

    A text without any vector has no label. O(bytes), plus O(D) a vector and O(D L) a text. Twin:
    tests/naive_fasttext.py `predict`.
    """
    room, scores = answers
    for n in range(spans.starts.size):
        total.hidden[:] = np.float32(0.0)
        total.counts[:] = 0
        _add_words(spans, n, tables, total, cache)
        if tables.shape[SHAPE_NGRAMS] > 1:
            _add_word_ngrams(tables, total, cache.spare)
        if total.counts[0] == 0:
            scores.labels[n, :] = -1
            scores.probs[n, :] = np.float32(0.0)
            scores.chances[n, :] = np.float32(0.0)
            continue
        share = np.float32(1.0 / total.counts[0])
        for d in range(total.hidden.size):
            total.hidden[d] *= share
        fill_scores(total.hidden, tables, room, scores, n)
