"""Which document of a cluster stays.

The best one by the columns of `keep_by`, in order; where all are equal, the one with the smallest
document number. So the choice is total: it depends on the cluster and its documents alone.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from numpy.typing import NDArray

from dolmix.document import BoolArray, I64Array

Values: TypeAlias = "pa.Array | pa.ChunkedArray | NDArray[Any]"
"""A column: numbers, text, or Booleans; an Arrow one may hold nulls."""


def sort_keys(keep_by: Sequence[str], columns: Mapping[str, Values]) -> list[I64Array]:
    """Turn `keep_by` into ranks, (D,) int64 each: smaller is better, missing values come last.

    columns  name without sign → (D,) values; null and NaN are missing

    Raises KeyError for a column that is not there: `Dedup.keep_columns` names them beforehand.
    """
    return [
        _ranks(columns[key.removeprefix("-")], descending=key.startswith("-")) for key in keep_by
    ]


def survivors(
    cluster: I64Array, alive: BoolArray, keys: Sequence[Values]
) -> tuple[BoolArray, I64Array]:
    """Keep the best living document of each cluster.

    cluster  (D,) int64   from `clusters`
    alive    (D,) bool    documents that nothing dropped before; others are never kept nor named
    keys     (D,) each    in order, ascending = best first, missing values last; `sort_keys` makes
                          them of `keep_by`
    returns  kept (D,) bool, and duplicate_of (D,) int64: the survivor that a living document was
             dropped for, -1 for all others

    O(D) and, over the documents that share a cluster, a sort for each key.
    """
    sizes = np.bincount(cluster[alive], minlength=len(cluster))
    members = np.flatnonzero(alive & (sizes[cluster] > 1))
    kept, duplicate_of = alive.copy(), np.full(len(cluster), -1, np.int64)
    if members.size == 0:
        return kept, duplicate_of
    ranks = [_ranks(_take(values, members), descending=False) for values in keys]
    order = np.lexsort((members, *reversed(ranks), cluster[members]))
    ordered = members[order]
    firsts = np.r_[True, np.diff(cluster[ordered]) != 0]
    best = np.repeat(ordered[firsts], np.diff(np.r_[np.flatnonzero(firsts), len(ordered)]))
    dropped = ordered[~firsts]
    kept[dropped] = False
    duplicate_of[dropped] = best[~firsts]
    return kept, duplicate_of


def _take(values: Values, members: I64Array) -> Values:
    return values[members] if isinstance(values, np.ndarray) else values.take(pa.array(members))


def _ranks(values: Values, *, descending: bool) -> I64Array:
    """(D,) int64 dense ranks, missing values last whichever the direction."""
    column = pa.array(values, from_pandas=True) if isinstance(values, np.ndarray) else values
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    direction = "descending" if descending else "ascending"
    ranks = pc.rank(column, sort_keys=direction, tiebreaker="dense")  # nulls come last
    return np.asarray(ranks.to_numpy(zero_copy_only=False), np.int64)
