r"""fastText's predictions over the bytes of many texts, float by float as fastText computes them.

Tokens are those of `Dictionary::readWord` (cut at space, \n, \r, \t, \v, \f and NUL), a `\n` inside
a text is white space like any other, and each text ends with the token `</s>`, as the package's
`predict` appends it. A token `</s>` in a text ends it, as it does there. Vectors are summed in
fastText's order, in single precision, without fused multiplications: so probabilities are the
package's, but for the last bit of an exponential. Nothing is remembered from word to word, so a
text takes as long whether or not its words were seen before.
"""

from typing import NamedTuple

import numpy as np

from dolmix.document import I64Array, U8Array
from dolmix.text.compiled import kernel, leaf
from dolmix.text.fasttext_lookup import place_of_bucket, rows_of
from dolmix.text.fasttext_ngrams import list_rows
from dolmix.text.fasttext_piece import Piece, cut_piece, end_of_word, list_piece
from dolmix.text.fasttext_scores import Room, Scores, fill_scores
from dolmix.text.fasttext_stretch import WORD_STOP, Stretch, begin_text, go_on, write_words
from dolmix.text.fasttext_sums import Sum, add_rows
from dolmix.text.fasttext_tables import SHAPE_BUCKET, SHAPE_END, SHAPE_NGRAMS, Tables

END_HASH = np.uint32(3617362777)
"""Hash of `</s>`."""
NGRAM_FACTOR = np.uint64(116049371)


class Spans(NamedTuple):
    """The N texts to score: text n is utf8[starts[n]:stops[n]], valid UTF-8.

    utf8  (B,) uint8; starts, stops  (N,) int64
    """

    utf8: U8Array
    starts: I64Array
    stops: I64Array


@leaf
def _add_stretches(
    text: U8Array, bounds: tuple[int, int], tables: Tables, total: Sum, stretch: Stretch
) -> None:
    """Add the vectors of the words of text[at:stop], up to a token that ends it."""
    at, stop = bounds
    begin_text(stretch)
    while at < stop:
        if stretch.fill[WORD_STOP]:
            at = go_on(text, at, stretch)
        else:
            at = write_words(text, (at, stop), tables, stretch, total)
        add_rows(total, tables, stretch.rows, list_rows(text, stretch, tables))


@leaf
def _add_pieces(
    text: U8Array, bounds: tuple[int, int], tables: Tables, total: Sum, room: tuple[Stretch, Piece]
) -> None:
    """As `_add_stretches`, for models of which `Piece` knows the n-grams."""
    at, stop = bounds
    stretch, piece = room
    while at < stop:
        end = cut_piece(text, at, stop)
        if end == at:
            end = end_of_word(text, at, stop)
            _add_stretches(text, (at, end), tables, total, stretch)
        else:
            count, is_last = list_piece(text, (at, end), tables, piece)
            add_rows(total, tables, piece.rows, count)
            end = stop if is_last else end
        at = end


@leaf
def _add_end(tables: Tables, total: Sum, stretch: Stretch) -> None:
    """Add the token that ends every text."""
    if tables.shape[SHAPE_END] >= 0:
        stretch.rows[0] = np.int32(tables.shape[SHAPE_END])
        add_rows(total, tables, stretch.rows, 1)
    if total.hashes.size:
        total.hashes[total.counts[1]] = np.int32(END_HASH)
        total.counts[1] += 1


@leaf
def _add_word_ngrams(tables: Tables, total: Sum, stretch: Stretch) -> None:
    """Add the vectors of runs of words (`Dictionary::addWordNgrams`)."""
    bucket, longest = np.uint64(tables.shape[SHAPE_BUCKET]), tables.shape[SHAPE_NGRAMS]
    places, rows = stretch.places, stretch.rows
    words, count = total.counts[1], 0
    for i in range(words):
        if count + longest > places.size:
            add_rows(total, tables, rows, rows_of(places, (count, 1, 0), tables.lookup, rows))
            count = 0
        hashed = np.uint64(np.int64(total.hashes[i]))
        for j in range(i + 1, min(words, i + longest)):
            hashed = np.uint64(hashed * NGRAM_FACTOR + np.uint64(np.int64(total.hashes[j])))
            places[count] = place_of_bucket(np.uint32(hashed % bucket), tables.lookup)
            count += 1
    add_rows(total, tables, rows, rows_of(places, (count, 1, 0), tables.lookup, rows))


@kernel
def score_spans(
    spans: Spans,
    tables: Tables,
    total: Sum,
    room: tuple[Stretch, Piece],
    answers: tuple[Room, Scores],
) -> None:
    """Score every text.

    spans    the N texts
    tables   the model
    total    room for one text
    room     room for some of its words: for any model, and for one with n-grams as `Piece` has them
    answers  room for one text's scores, and the scores, out

    A text without any vector has no label. O(bytes), plus O(D) a vector and O(D L) a text. Twin:
    tests/naive_fasttext.py `predict`.
    """
    (stretch, piece), (scored, scores) = room, answers
    for n in range(spans.starts.size):
        total.hidden[:] = np.float32(0.0)
        total.counts[:] = 0
        bounds = (spans.starts[n], spans.stops[n])
        if piece.letters.size:
            _add_pieces(spans.utf8, bounds, tables, total, room)
        else:
            _add_stretches(spans.utf8, bounds, tables, total, stretch)
        _add_end(tables, total, stretch)
        if tables.shape[SHAPE_NGRAMS] > 1:
            _add_word_ngrams(tables, total, stretch)
        if total.counts[0] == 0:
            scores.labels[n, :] = -1
            scores.probs[n, :] = np.float32(0.0)
            scores.chances[n, :] = np.float32(0.0)
            continue
        share = np.float32(1.0 / total.counts[0])
        for d in range(total.hidden.size):
            total.hidden[d] *= share
        fill_scores(total.hidden, tables, scored, scores, n)
