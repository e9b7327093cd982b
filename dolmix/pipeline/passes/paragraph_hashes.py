"""The hash pass of paragraph dedup: where the units of one part stand, and their keys.

Units are written in runs of bounded size, in reading order. A run has its different keys in
ascending order, so that a task that compares one range of keys reads one slice of each run, however
it goes through that range; and for every unit the place of its key among those.
"""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dolmix.dedup import Paragraphs
from dolmix.document import I64Array, U64Array
from dolmix.files import commit
from dolmix.pipeline.context import TaskContext, TaskResult
from dolmix.pipeline.records import TaskRecord
from dolmix.text.units import Units

UNITS_AT_ONCE = 1 << 20
"""Units after which a run ends, at the next batch; 50 bytes each, in memory."""
NO_KEY = -1
"""Place of the key of a unit that is too short to have one."""
SCHEMA = pa.schema(
    [
        ("record", pa.int64()),
        ("starts", pa.list_(pa.int64())),
        ("stops", pa.list_(pa.int64())),
        ("places", pa.list_(pa.int64())),
        ("repeats", pa.list_(pa.bool_())),
    ]
)
"""One row a document: its units, in bytes of the text as the filters left it; the place of each
one's key in the run, NO_KEY where it is too short; whether it repeats one of the run. One row group
a run."""


def hash_part(context: TaskContext) -> TaskResult:
    """Find and hash the units of one part's documents that nothing dropped so far."""
    step = paragraph_step(context)
    kept = np.asarray(context.reasons().is_null().to_numpy(zero_copy_only=False), np.bool_)
    folder = context.run / "work" / "paragraphs" / context.task.source
    outputs = {
        "keys": folder / f"{context.stem}.keys",
        "units": folder / f"{context.stem}.units.parquet",
    }
    with (
        commit.new_file(outputs["keys"]) as keys,
        commit.new_file(outputs["units"]) as units,
        RunWriter(keys, units) as runs,
    ):
        for batch in context.judged_batches():
            stop = batch.row + len(batch.original)
            rows = kept[batch.row : stop]
            if rows.any():
                texts = batch.take(rows)
                runs.add(texts.records, step.units(texts))
            context.report(documents=stop)
    counts = {"documents": int(kept.sum()), "units": runs.num_units, "runs": runs.sizes}
    return TaskResult(outputs, counts)


def paragraph_step(context: TaskContext) -> Paragraphs:
    """Return the step that the passes over paragraphs carry out."""
    step = context.plan.pipeline.paragraph_step
    assert step is not None
    return step


class RunWriter:
    """Writes units run by run: their places as Parquet, their different keys as 8 bytes each."""

    def __init__(self, keys: Path, units: Path, *, limit: int = UNITS_AT_ONCE) -> None:
        self.sizes: list[int] = []
        """Different keys of each run written."""
        self.num_units = 0
        self._limit = limit
        self._waiting: list[tuple[I64Array, Units]] = []
        self._units_waiting = 0
        self._keys = keys.open("wb")
        self._units = pq.ParquetWriter(
            units, SCHEMA, compression="zstd", use_dictionary=False, column_encoding=_encodings()
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._flush()
        self._keys.close()
        self._units.close()

    def add(self, records: I64Array, units: Units) -> None:
        """Take the units of some documents, (N,) record numbers."""
        self._waiting.append((records, units))
        self._units_waiting += len(units.keys)
        if self._units_waiting >= self._limit:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        units = joined([units for _, units in self._waiting])
        distinct, places, repeats = placed(units)
        self._keys.write(distinct.astype("<u8").tobytes())
        ends = pa.array(units.ends.astype(np.int32))
        lists = (units.starts, units.stops, places, repeats)
        columns = [pa.ListArray.from_arrays(ends, pa.array(values)) for values in lists]
        records = np.concatenate([records for records, _ in self._waiting])
        table = pa.Table.from_arrays([pa.array(records), *columns], schema=SCHEMA)
        self._units.write_table(table, row_group_size=max(len(table), 1))
        self.sizes.append(len(distinct))
        self.num_units += len(units.keys)
        self._waiting, self._units_waiting = [], 0


def joined(batches: Sequence[Units]) -> Units:
    """Units of several batches as those of one."""
    counts = np.concatenate([np.diff(units.ends) for units in batches])
    return Units(
        starts=np.concatenate([units.starts for units in batches]),
        stops=np.concatenate([units.stops for units in batches]),
        keys=np.concatenate([units.keys for units in batches]),
        long=np.concatenate([units.long for units in batches]),
        ends=np.concatenate([[0], np.cumsum(counts)]),
    )


def placed(units: Units) -> tuple[U64Array, I64Array, np.ndarray]:
    """Find the different keys of some units, and each unit's place among them.

    returns  (D,) uint64 ascending; (M,) int64, NO_KEY for short units; (M,) bool, which units
             repeat an earlier one
    """
    distinct, firsts, inverse = np.unique(
        units.keys[units.long], return_index=True, return_inverse=True
    )
    places = np.full(len(units.keys), NO_KEY, np.int64)
    places[units.long] = inverse
    repeats = np.ones(len(inverse), np.bool_)
    repeats[firsts] = False
    later = np.zeros(len(units.keys), np.bool_)
    later[units.long] = repeats
    return distinct, places, later


def read_runs(run: Path, record: TaskRecord) -> list[U64Array]:
    """Map the keys of a part's runs, (D,) uint64 ascending each; the file is read as it is used."""
    sizes = record.counts["runs"]
    if not sum(sizes):
        return [np.zeros(0, np.uint64) for _ in sizes]
    keys = np.memmap(run / record.outputs["keys"], np.dtype("<u8"), mode="r")
    return np.split(keys, np.cumsum(sizes)[:-1])


def _encodings() -> dict[str, str]:
    """Say how lists are written: starts and stops ascend, which makes them small."""
    names = ("starts", "stops", "places")
    return {f"{name}.list.element": "DELTA_BINARY_PACKED" for name in names}
