"""A window of the order as a Parquet file, for whoever wants to ask it questions of their own.

One row an instance, from the lock alone, or one a piece: an instance's run of one document, with
ids and urls on request. Rows are in the order of training; the file's metadata names the order.
Equal windows of equal orders give equal bytes, within one version of pyarrow.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from dolmix.config import Schema
from dolmix.errors import OrderError
from dolmix.files.commit import new_file
from dolmix.mix import Lock, read_lock
from dolmix.order.batches import Batches
from dolmix.order.interleave import I64Array
from dolmix.order.lookup import Order, Places
from dolmix.order.opening import Locked, open_batches, order_of
from dolmix.order.pieces import Pieces, pieces_of
from dolmix.order.window import parse_steps

if TYPE_CHECKING:
    import pyarrow as pa

    from dolmix.shards import DocumentRow

Rows: TypeAlias = Literal["instances", "pieces", "documents"]
"""One row an instance; one a piece; or one a piece with its document's id, url and place in the
inputs."""
CHUNK = 1 << 16
"""Instances of a row group."""
RUN_COLUMNS = ("document", "start", "stop", "document_start")
DOCUMENT_COLUMNS = ("id", "url", "path", "record")


class Exported(Schema):
    """What was written."""

    path: str
    first_step: int
    last_step: int
    instances: int
    rows: int


def export_order(
    lock: Locked,
    path: Path,
    *,
    steps: str | None = None,
    rows: Rows = "pieces",
    ledger: str | Path | None = None,
) -> Exported:
    """Write the steps `a:b`, by default all, to a Parquet file; an existing one is replaced.

    step, place (in the batch), k, stage, source, epoch and instance, and for pieces document (its
    number in its store), start, stop (tokens in the row) and document_start (tokens in the
    document). Raises OrderError for a window outside the order, and as `Batches` for stores.
    """
    import pyarrow.parquet as pq

    lock = lock if isinstance(lock, Lock) else read_lock(lock)
    order = order_of(lock, ledger)
    window = parse_steps(steps, order.num_steps)
    start, stop = (order.schedule.offset(step - 1) for step in (window.start, window.stop))
    schema = _schema(lock, order, rows)
    count = 0
    with ExitStack() as stack:
        attempt = stack.enter_context(new_file(path))
        batches = None if rows == "instances" else stack.enter_context(open_batches(lock, ledger))
        writer = stack.enter_context(pq.ParquetWriter(attempt, schema, compression="zstd"))
        for low in range(start, stop, CHUNK):
            columns = _columns(order, order.places(low, min(low + CHUNK, stop)), batches, rows)
            table = _table(columns, schema)
            writer.write_table(table, row_group_size=max(table.num_rows, 1))
            count += table.num_rows
    return Exported(
        path=str(path),
        first_step=window.start,
        last_step=window.stop - 1,
        instances=stop - start,
        rows=count,
    )


def export_olmo_indices(lock: Locked, path: Path, *, epoch: int = 0) -> Exported:
    """Write an epoch's shuffle as OLMo's `global_indices.npy`: u32 LE without any header.

    Instances are numbered through all sources in name order, as OLMo numbers those of its files.
    A run of OLMo on W ranks writes the first N // W * W of these N numbers.

    Raises OrderError for an order that is not OLMo's, whose instances have other tokens, and for an
    epoch that the order does not reach.
    """
    from dolmix.mix.olmo import epoch_instances, epoch_order

    order = order_of(lock)
    spec, batch = order.spec, order.schedule.size(1)
    if spec.versions.mix != "olmo":
        raise OrderError(
            f"{path}: global_indices.npy numbers OLMo's instances, and this order has its own: "
            f"mix version {spec.versions.mix!r}. Write it as Parquet, or resolve the mix with "
            f"`order: olmo`."
        )
    total = sum(source.num_instances for source in spec.sources.values())
    first = epoch * epoch_instances(total, batch)
    if first >= order.num_instances:
        raise OrderError(
            f"{path}: the order ends before epoch {epoch:,}: it draws {order.num_instances:,} "
            f"instances, and an epoch has {epoch_instances(total, batch):,}"
        )
    with new_file(path) as attempt:
        epoch_order(spec.seed + epoch, total).astype("<u4").tofile(attempt)
    last = min(first + epoch_instances(total, batch), order.num_instances) - 1
    return Exported(
        path=str(path),
        first_step=order.schedule.step_of(first),
        last_step=order.schedule.step_of(last),
        instances=last + 1 - first,
        rows=total,
    )


def _schema(lock: Lock, order: Order, rows: Rows) -> "pa.Schema":
    import pyarrow as pa

    name, whole, small = pa.dictionary(pa.int32(), pa.string()), pa.int64(), pa.int32()
    fields = {"step": whole, "place": whole, "k": whole, "stage": name, "source": name}
    fields |= {"epoch": small, "instance": whole}
    if rows != "instances":
        fields |= {"document": whole, "start": small, "stop": small, "document_start": whole}
    if rows == "documents":
        fields |= {"id": pa.string(), "url": pa.string(), "path": pa.string(), "record": whole}
    told = {
        "dolmix.order_hash": lock.order_hash,
        "dolmix.lock": lock.name,
        "dolmix.sequence_length": str(lock.order.sequence_length),
    }
    if order.records:
        told["dolmix.ledger_hash"] = order.records[-1].hash
    return pa.schema(list(fields.items()), metadata=told)


def _table(columns: dict[str, Any], schema: "pa.Schema") -> "pa.Table":
    import pyarrow as pa

    arrays = [
        values if isinstance(values, pa.Array) else pa.array(values, schema.field(name).type)
        for name, values in columns.items()
    ]
    return pa.table(arrays, schema=schema)


def _columns(order: Order, places: Places, batches: Batches | None, rows: Rows) -> dict[str, Any]:
    """Columns of consecutive places, by name; one row a place or one a piece."""
    columns = _place_columns(order, places)
    if batches is None:
        return columns
    at, runs = _run_columns(batches, places)
    columns = {name: _taken(values, at) for name, values in columns.items()} | runs
    if rows == "documents":
        columns |= _document_columns(batches, places.source[at], runs["document"])
    return columns


def _place_columns(order: Order, places: Places) -> dict[str, Any]:
    schedule, first = order.schedule, int(places.k[0])
    steps = range(schedule.step_of(first), schedule.step_of(first + len(places) - 1) + 1)
    offsets = np.array([schedule.offset(step - 1) for step in steps], np.int64)
    nth = np.searchsorted(offsets, places.k, side="right") - 1
    stage_names = [stage.name for stage in order.spec.stages]
    stage_ends = np.cumsum([stage.instances for stage in order.spec.stages])
    return {
        "step": nth + steps.start,
        "place": places.k - offsets[nth],
        "k": places.k,
        "stage": _named(np.searchsorted(stage_ends, places.k, side="right"), stage_names),
        "source": _named(places.source, list(order.sources)),
        "epoch": places.epoch,
        "instance": places.instance,
    }


def _run_columns(batches: Batches, places: Places) -> tuple[I64Array, dict[str, I64Array]]:
    """Return for each piece the place that it is of, and where its run lies."""
    at, found = [np.zeros(0, np.int64)], [_NO_PIECES]
    for source in np.unique(places.source).tolist():
        rows = np.flatnonzero(places.source == source)
        pieces = pieces_of(batches.instances[source], places.instance[rows])
        at.append(rows[pieces.row])
        found.append(pieces)
    place = np.concatenate(at)
    order = np.argsort(place, kind="stable")
    columns = {
        name: np.concatenate([getattr(pieces, name) for pieces in found])[order]
        for name in RUN_COLUMNS
    }
    return place[order], columns


_NO_PIECES = Pieces(*(np.zeros(0, np.int64) for _ in range(5)))


def _document_columns(
    batches: Batches, source: I64Array, document: I64Array
) -> dict[str, list[Any]]:
    known: dict[tuple[int, int], DocumentRow] = {}
    for index in np.unique(source).tolist():
        numbers = np.unique(document[source == index]).tolist()
        for row in batches.stores[index].provenance(numbers):
            known[index, row.document] = row
    rows = [known[pair] for pair in zip(source.tolist(), document.tolist(), strict=True)]
    return {name: [getattr(row, name) for row in rows] for name in DOCUMENT_COLUMNS}


def _named(index: I64Array, names: list[str]) -> "pa.DictionaryArray":
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(index, pa.int32()), names)


def _taken(values: Any, rows: I64Array) -> Any:
    return values[rows] if isinstance(values, np.ndarray) else values.take(rows)
