"""A fastText classification model as the arrays that the kernels read.

Formats 11 and 12 of `.bin` and `.ftz` (`FastText::saveModel`), little-endian: arguments,
dictionary, input matrix, output matrix, each matrix dense or product-quantised (arXiv:1612.03651).
Contract: every size is held against the length of the file before anything of that size is made,
and nothing is unpickled. A dense input matrix is never copied: it stays a view of the mapped file,
so that all processes of a machine share one copy of it.
"""

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dolmix.document import I32Array, I64Array, U8Array
from dolmix.errors import FilterError
from dolmix.text.fasttext_lookup import pruned_lookup, whole_lookup
from dolmix.text.fasttext_tables import HIERARCHICAL, LOSSES, F32Array, Tables
from dolmix.text.fasttext_tree import build_tree, no_tree
from dolmix.text.fasttext_words import Dictionary, dictionary_of, find_entries, word_hash

MAGIC, NEWEST, OLDEST, SUPERVISED = 793712314, 12, 11, 3
CENTROIDS = 256
MOST_CHARS = 64
"""Longest n-gram, of characters or of words, that a model may ask for."""
EXPAND_BYTES = 1 << 26
"""A quantised matrix up to this size is expanded, once a process; a larger one stays codes."""
CACHE_LINE = 64
END_OF_TEXT = b"</s>"
LABEL_PREFIX = "__label__"


@dataclass(frozen=True, eq=False)
class Model:
    """A parsed model: its labels as the file has them, the name of its loss, and its arrays."""

    labels: tuple[str, ...]
    loss: str
    tables: Tables


class _Args(NamedTuple):
    """`Args::load`: twelve 32-bit integers and a double."""

    dim: int
    ws: int
    epoch: int
    min_count: int
    neg: int
    word_ngrams: int
    loss: int
    model: int
    bucket: int
    minn: int
    maxn: int
    lr_update_rate: int
    t: float


class _Counts(NamedTuple):
    """The head of the dictionary (`Dictionary::load`); `kept` is -1 where no bucket was pruned."""

    size: int
    words: int
    labels: int
    tokens: int
    kept: int


class _Entries(NamedTuple):
    """Where each entry's text stands, its bytes, the labels, and (L,) how often each was seen."""

    starts: I64Array
    sizes: I32Array
    labels: tuple[str, ...]
    labels_seen: I64Array


class _Matrix(NamedTuple):
    """A matrix of the file: dense, or codes with their centroids and norms."""

    num_rows: int
    num_columns: int
    dense: F32Array
    codes: U8Array
    centroids: F32Array
    norms: F32Array
    piece: int


class _Reader:
    """A place in the mapped file; all is read through it, and nothing behind the file's end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            # an empty file cannot be mapped
            size = file.seek(0, 2)
            mapped: Any = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        self.bytes: U8Array = np.frombuffer(mapped, np.uint8)
        self.at = 0

    def take(self, count: int, what: str) -> U8Array:
        """Give the next bytes, as a view. Raises FilterError if there are not so many."""
        left = self.bytes.size - self.at
        if not 0 <= count <= left:
            raise self.refuse(
                f"its {what} needs {count:,} bytes at byte {self.at:,}, but {left:,} are left of "
                f"{self.bytes.size:,}; the file is cut short or damaged"
            )
        self.at += count
        return self.bytes[self.at - count : self.at]

    def numbers(self, form: str, what: str) -> tuple[Any, ...]:
        """Give the next numbers, by the characters of `struct`."""
        return struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}"), what).tobytes())

    def floats(self, count: int, what: str) -> F32Array:
        """Give the next (count,) float32, as a view, which need not be aligned."""
        values: F32Array = self.take(4 * count, what).view("<f4")
        return values

    def refuse(self, why: str) -> FilterError:
        """Say which file is no usable model, and why."""
        return FilterError(f"{self.path} is no fastText model: {why}.")


def read_model(path: Path) -> Model:
    """Read a model; of a dense one only the dictionary and the output matrix are looked at.

    Raises FilterError for a file that is no classification model, is cut short or damaged.
    """
    reader = _Reader(path)
    args = _read_args(reader)
    counts = _read_counts(reader)
    entries = _read_entries(reader, counts)
    pairs = _read_pairs(reader, counts.kept, args)
    quantised = _read_flag(reader, "kind of the input matrix")
    if counts.kept >= 0 and not quantised:
        raise reader.refuse("its buckets are pruned though it is not quantised")
    inputs = _read_matrix(reader, "input matrix", quantised=quantised)
    quantised &= _read_flag(reader, "kind of the output matrix")
    outputs = _read_matrix(reader, "output matrix", quantised=quantised)
    _check_shapes(reader, args, counts, (inputs, outputs), pairs)
    tables = _tables(reader, args, counts, entries, (inputs, outputs, pairs))
    return Model(entries.labels, LOSSES[args.loss], tables)


def _read_flag(reader: _Reader, what: str) -> bool:
    return bool(reader.numbers("?", what)[0])


def _read_args(reader: _Reader) -> _Args:
    magic, version = reader.numbers("ii", "head")
    if magic != MAGIC:
        raise reader.refuse(f"it starts with {magic}, not {MAGIC}")
    if not OLDEST <= version <= NEWEST:
        raise reader.refuse(f"its format is {version}; {OLDEST} to {NEWEST} are known")
    args = _Args(*reader.numbers("12id", "arguments"))
    if args.model != SUPERVISED:
        raise reader.refuse(f"it has vectors but no labels (model {args.model}, not {SUPERVISED})")
    if args.loss not in LOSSES:
        raise reader.refuse(f"its loss is {args.loss}; {', '.join(map(str, LOSSES))} are known")
    # models of format 11 had no subwords, whatever their arguments say
    args = args if version > OLDEST else args._replace(maxn=0)
    has_ngrams = args.word_ngrams > 1 or args.maxn >= max(args.minn, 1)
    most = max(args.word_ngrams, args.maxn)
    if args.dim < 1 or args.bucket < has_ngrams or most > MOST_CHARS:
        raise reader.refuse(
            f"its arguments are dim {args.dim}, bucket {args.bucket}, minn {args.minn}, "
            f"maxn {args.maxn}, wordNgrams {args.word_ngrams}"
        )
    return args


def _read_counts(reader: _Reader) -> _Counts:
    counts = _Counts(*reader.numbers("iiiqq", "dictionary"))
    right = counts.words + counts.labels == counts.size and counts.kept >= -1
    if counts.words < 0 or counts.labels < 1 or not right:
        raise reader.refuse(
            f"its dictionary has {counts.size:,} entries, {counts.words:,} words, "
            f"{counts.labels:,} labels and {counts.kept:,} buckets kept"
        )
    return counts


def _read_entries(reader: _Reader, counts: _Counts) -> _Entries:
    least = reader.take(10 * counts.size, f"dictionary of {counts.size:,} entries")
    reader.at -= least.size
    starts, sizes = np.empty(counts.size, np.int64), np.empty(counts.size, np.int32)
    seen, kinds = np.empty(counts.size, np.int64), np.empty(counts.size, np.uint8)
    end = int(find_entries(reader.bytes, reader.at, (starts, sizes), (seen, kinds)))
    if end < 0:
        raise reader.refuse(f"its dictionary of {counts.size:,} entries is cut short")
    if kinds[: counts.words].any() or (kinds[counts.words :] != 1).any():
        raise reader.refuse("words and labels are mixed in its dictionary")
    reader.at = end
    texts = zip(starts[counts.words :], sizes[counts.words :], strict=True)
    labels = tuple(
        reader.bytes[start : start + size].tobytes().decode("utf-8", "replace")
        for start, size in texts
    )
    return _Entries(starts, sizes, labels, seen[counts.words :])


def _read_pairs(reader: _Reader, kept: int, args: _Args) -> I32Array:
    """(K, 2) int32: each kept bucket, and its row after those of the words."""
    pairs = reader.take(8 * max(kept, 0), "list of kept buckets").view("<i4").astype(np.int32)
    pairs = pairs.reshape(-1, 2)
    if kept > 0 and (pairs.min() < 0 or pairs[:, 0].max() >= args.bucket):
        raise reader.refuse(f"its list of kept buckets leaves the {args.bucket:,} that there are")
    return pairs


def _read_matrix(reader: _Reader, what: str, *, quantised: bool) -> _Matrix:
    norms = quantised and _read_flag(reader, what)
    rows, columns = reader.numbers("qq", what)
    if rows < 0 or columns < 1 or rows * columns > 1 << 44:
        raise reader.refuse(f"its {what} has {rows:,} rows of {columns:,} values")
    if quantised:
        return _read_codes(reader, what, (rows, columns), has_norms=norms)
    dense = reader.floats(rows * columns, what).reshape(rows, columns)
    none = np.zeros(0, np.float32)
    return _Matrix(rows, columns, dense, np.zeros((0, 1), np.uint8), none, none, 1)


def _read_codes(reader: _Reader, what: str, shape: tuple[int, int], *, has_norms: bool) -> _Matrix:
    rows, columns = shape
    size = reader.numbers("i", what)[0]
    codes = reader.take(size, f"codes of the {what}")
    centroids, pieces, piece = _read_centroids(reader, what, columns)
    if rows * pieces != size:
        raise reader.refuse(f"its {what} has {size:,} codes for {rows:,} rows of {pieces}")
    norms = np.ones(rows, np.float32)
    if has_norms:
        places = reader.take(rows, f"norms of the {what}")
        norms = _read_centroids(reader, f"norms of the {what}", 1)[0][places]
    dense = np.zeros((0, columns), np.float32)
    codes = codes.reshape(rows, pieces).copy()
    return _Matrix(rows, columns, dense, codes, centroids.copy(), norms, piece)


def _read_centroids(reader: _Reader, what: str, columns: int) -> tuple[F32Array, int, int]:
    """`ProductQuantizer::load`: the centroids, pieces a row, and values a piece."""
    dim, pieces, piece, last = reader.numbers("iiii", f"quantiser of the {what}")
    whole = (pieces - 1) * piece + last
    if dim != columns or whole != dim or pieces < 1 or not 1 <= last <= piece:
        raise reader.refuse(
            f"the quantiser of its {what} cuts {dim} values into {pieces} pieces of {piece}, the "
            f"last of {last}, but a row has {columns}"
        )
    return reader.floats(dim * CENTROIDS, f"centroids of the {what}"), pieces, piece


def _check_shapes(
    reader: _Reader,
    args: _Args,
    counts: _Counts,
    matrices: tuple[_Matrix, _Matrix],
    pairs: I32Array,
) -> None:
    """Refuse a model of which a text could ask for a vector that the file does not have."""
    inputs, outputs = matrices
    ngrams = args.bucket if counts.kept < 0 else int(pairs[:, 1].max(initial=-1)) + 1
    has_ngrams = args.word_ngrams > 1 or args.maxn >= max(args.minn, 1)
    needed = counts.words + (ngrams if has_ngrams else 0)
    if inputs.num_rows < needed or inputs.num_columns != args.dim:
        raise reader.refuse(
            f"its input matrix is {inputs.num_rows:,} x {inputs.num_columns}, but its dictionary "
            f"needs {needed:,} x {args.dim}"
        )
    if outputs.num_rows < counts.labels or outputs.num_columns != args.dim:
        raise reader.refuse(
            f"its output matrix is {outputs.num_rows:,} x {outputs.num_columns}, but its labels "
            f"need {counts.labels:,} x {args.dim}"
        )


def _tables(
    reader: _Reader,
    args: _Args,
    counts: _Counts,
    entries: _Entries,
    parts: tuple[_Matrix, _Matrix, I32Array],
) -> Tables:
    inputs, outputs, pairs = parts
    words = dictionary_of(reader.bytes, entries.starts, entries.sizes)
    lookup, order = whole_lookup(counts.words, args.bucket), np.arange(0)
    if counts.kept >= 0:
        lookup, order = pruned_lookup(counts.words, args.bucket, pairs)
        inputs = inputs._replace(codes=inputs.codes[order], norms=inputs.norms[order])
    most = args.maxn if args.maxn >= max(args.minn, 1) else 0
    shape = [counts.words, counts.labels, args.bucket, args.minn, most, args.word_ngrams]
    is_odd = not all(label.startswith(LABEL_PREFIX) for label in entries.labels)
    shape += [args.loss, _row_of_end(words, counts.words, order), inputs.piece, is_odd]
    rows, codes = inputs.dense, inputs.codes
    if len(codes) and 4 * inputs.num_rows * inputs.num_columns <= EXPAND_BYTES:
        rows, codes = _aligned(_expanded(inputs) * inputs.norms[:, None]), codes[:0]
    vectors = _expanded(outputs) if len(outputs.codes) else outputs.dense
    scales = outputs.norms if len(outputs.codes) else np.ones(counts.labels, np.float32)
    is_tree = args.loss == HIERARCHICAL
    tables = Tables(
        shape=np.array(shape, np.int64),
        words=words,
        lookup=lookup,
        rows=rows,
        codes=codes,
        centroids=inputs.centroids,
        norms=inputs.norms,
        outputs=np.ascontiguousarray(vectors[: counts.labels].T, np.float32),
        scales=scales[: counts.labels].astype(np.float32),
        tree=build_tree(entries.labels_seen) if is_tree else no_tree(),
    )
    _freeze(tables)
    return tables


def _row_of_end(words: Dictionary, num_words: int, order: I64Array) -> int:
    """Row of `</s>`, which ends every text; -1 where it is no word of the model."""
    of_size = words.sizes[:num_words] == len(END_OF_TEXT)
    found = np.flatnonzero(of_size & (words.hashes[:num_words] == word_hash(END_OF_TEXT)))
    # a pruned model's words come last
    return int(found[0]) + max(0, order.size - num_words) if found.size else -1


def _expanded(matrix: _Matrix) -> F32Array:
    """(R, D) float32: every row put together from its pieces, without its norm."""
    rows = np.empty((len(matrix.codes), matrix.num_columns), np.float32)
    for n in range(matrix.codes.shape[1]):
        first = n * matrix.piece
        stop = min(first + matrix.piece, matrix.num_columns)
        known = matrix.centroids[CENTROIDS * first : CENTROIDS * stop].reshape(CENTROIDS, -1)
        rows[:, first:stop] = known[matrix.codes[:, n]]
    return rows


def _aligned(rows: F32Array) -> F32Array:
    """Copy rows to where a cache line starts, so that one of sixteen values fills one line."""
    room = np.empty(rows.nbytes + CACHE_LINE, np.uint8)
    first = -room.ctypes.data % CACHE_LINE
    copied: F32Array = room[first : first + rows.nbytes].view(np.float32).reshape(rows.shape)
    copied[:] = rows
    return copied


def _freeze(tables: tuple[Any, ...]) -> None:
    """Make all arrays read-only: one type for those of every model, so kernels compile once."""
    for values in tables:
        if isinstance(values, tuple):
            _freeze(values)
        else:
            values.setflags(write=False)
