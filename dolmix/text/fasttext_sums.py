"""Sums of a model's input vectors, float by float in the order of a list of rows.

Sixteen dimensions at a time stay in registers: numba's own loops would write and read each sum
again for every row. Additions of one dimension are never reordered, so sums are fastText's.
"""

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dolmix.document import I32Array, I64Array
from dolmix.text.compiled import leaf
from dolmix.text.fasttext_tables import SHAPE_PIECE, F32Array, Tables

if TYPE_CHECKING:
    from collections.abc import Callable

WIDTH = 16


class Sum(NamedTuple):
    """The text that is being read.

    hidden  (D,) float32  the sum of its vectors so far
    counts  (2,) int64    how many vectors these are, and how many hashes of words
    hashes  (H,) int32    hash of each word, for a model with word n-grams; else of no size
    """

    hidden: F32Array
    counts: I64Array
    hashes: I32Array


def _add_sixteen(_typing: Any, hidden: Any, _first: Any, vectors: Any, rows: Any, _n: Any) -> Any:
    helpers: Any = cgutils

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sixteen = ir.VectorType(ir.FloatType(), WIDTH)
        sums, matrix, listed = (
            context.make_array(signature.args[n])(context, builder, arguments[n]) for n in (0, 2, 3)
        )
        start, num_rows = arguments[1], arguments[4]
        columns = helpers.unpack_tuple(builder, matrix.shape, 2)[1]

        def sixteen_at(data: Any, place: Any) -> Any:
            return builder.bitcast(builder.gep(data, [place]), sixteen.as_pointer())

        home = sixteen_at(sums.data, start)
        total = helpers.alloca_once_value(builder, builder.load(home, align=1))
        with helpers.for_range(builder, num_rows) as loop:
            row = builder.sext(builder.load(builder.gep(listed.data, [loop.index])), start.type)
            place = builder.add(builder.mul(row, columns), start)
            vector = builder.load(sixteen_at(matrix.data, place), align=1)
            builder.store(builder.fadd(builder.load(total), vector), total)
        builder.store(builder.load(total), home, align=1)
        return context.get_dummy_value()

    return types.void(hidden, types.int64, vectors, rows, types.int64), generate


add_sixteen = cast(
    "Callable[[F32Array, int, F32Array, I32Array, int], None]", intrinsic(_add_sixteen)
)
"""Add sixteen dimensions, from a given one on, of the vectors of the first `count` listed rows."""


@leaf
def add_plain_rows(hidden: F32Array, vectors: F32Array, rows: I32Array, count: int) -> None:
    """Add the vectors that rows[:count] lists, in that order."""
    wide = hidden.size // WIDTH * WIDTH
    for first in range(0, wide, WIDTH):
        add_sixteen(hidden, first, vectors, rows, count)
    for d in range(wide, hidden.size):
        total = hidden[d]
        for n in range(count):
            total += vectors[rows[n], d]
        hidden[d] = total


@leaf
def _add_coded_rows(hidden: F32Array, tables: Tables, rows: I32Array, count: int) -> None:
    """Put quantised vectors together from their pieces, and add them (`addcode`)."""
    piece = tables.shape[SHAPE_PIECE]
    for place in range(count):
        row = np.int64(rows[place])
        norm = tables.norms[row]
        for n in range(tables.codes.shape[1]):
            start = n * piece
            size = min(piece, hidden.size - start)
            begin = 256 * start + np.int64(tables.codes[row, n]) * size
            for d in range(size):
                hidden[start + d] += np.float32(norm * tables.centroids[begin + d])


@leaf
def add_rows(total: Sum, tables: Tables, rows: I32Array, count: int) -> None:
    """Add the input vectors that rows[:count] lists, of a model of either kind."""
    total.counts[0] += count
    if tables.codes.shape[0]:
        _add_coded_rows(total.hidden, tables, rows, count)
    else:
        add_plain_rows(total.hidden, tables.rows, rows, count)
