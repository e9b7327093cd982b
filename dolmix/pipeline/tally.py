"""What is counted of one part's decisions: nothing that was read goes uncounted.

Documents: kept, or dropped with a reason. Bytes: of the documents dropped, taken out of those kept
by edits, or left in them (`kept_text_bytes`); the three add up to what was read.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolmix.document import I64Array
from dolmix.filters.base import Filter
from dolmix.pipeline.decisions import edit_column
from dolmix.text.edits import read_edits


class Tally:
    """Documents and bytes of one part: read, judged by each filter, edited, dropped and why."""

    def __init__(self, filters: Sequence[Filter]) -> None:
        self.documents = 0
        self.num_bytes = 0
        self.kept = 0
        self.kept_bytes = 0
        self.kept_text_bytes = 0
        self.emptied = 0
        self.judged: Counter[str] = Counter({f.label: 0 for f in filters})
        self.dropped: Counter[str] = Counter()
        self.dropped_bytes: Counter[str] = Counter()
        editing = [f for f in filters if f.has_edit]
        self.edits = {f.label: Counter(documents=0, removed_bytes=0) for f in editing}
        self.edit_counts = {f.label: Counter(dict.fromkeys(f.edit_counts(), 0)) for f in editing}
        self._filters = list(filters)

    def add(self, table: pa.Table) -> None:
        """Count one batch of decisions."""
        sizes = table["num_bytes"].to_numpy()
        self.documents += len(table)
        self.num_bytes += int(sizes.sum())
        labels = [f.label for f in self._filters]
        for reached, count, _ in _grouped(table["reached"], sizes):
            if reached is not None:
                passed = labels[: labels.index(reached) + 1]
                self.judged.update(dict.fromkeys(passed, count))
        for reason, count, num_bytes in _grouped(table["reason"], sizes):
            if reason is None:
                self.kept += count
                self.kept_bytes += num_bytes
            else:
                self.dropped[reason] += count
                self.dropped_bytes[reason] += num_bytes
        left = sizes - self._add_edits(table)
        kept = table["reason"].is_null().to_numpy()
        self.kept_text_bytes += int(left[kept].sum())
        self.emptied += int(np.count_nonzero(kept & (left == 0) & (sizes > 0)))

    def _add_edits(self, table: pa.Table) -> I64Array:
        """Count what each filter's edit did to the documents that it judged.

        returns  (N,) int64: bytes by which all edits together shorten each text
        """
        if not self.edits:
            return np.zeros(len(table), np.int64)
        labels = pa.array([f.label for f in self._filters], pa.string())
        reached = pc.fill_null(pc.index_in(table["reached"], labels), -1).to_numpy()
        removed = np.zeros(len(table), np.int64)
        for number, filter_ in enumerate(self._filters):
            if not filter_.has_edit:
                continue
            column, judged = table[edit_column(filter_)], reached >= number
            changed = column.is_valid().to_numpy()
            # a column holds all edits up to its own: what is new is the difference
            now = np.where(changed, read_edits(column).removed_bytes, removed)
            self.edits[filter_.label]["documents"] += int(np.count_nonzero(changed & judged))
            self.edits[filter_.label]["removed_bytes"] += int((now - removed)[judged].sum())
            for name in filter_.edit_counts():
                values = table[f"{filter_.label}.{name}"].filter(pa.array(judged))
                self.edit_counts[filter_.label][name] += pc.sum(values).as_py() or 0
            removed = now
        return removed

    def counts(self) -> dict[str, Any]:
        """Give the counts as plain data, for the task's record."""
        return {
            "documents": self.documents,
            "bytes": self.num_bytes,
            "kept": self.kept,
            "kept_bytes": self.kept_bytes,
            "kept_text_bytes": self.kept_text_bytes,
            "emptied": self.emptied,
            "judged": dict(self.judged),
            "dropped": dict(self.dropped),
            "dropped_bytes": dict(self.dropped_bytes),
            "edits": {label: dict(counts) for label, counts in self.edits.items()},
            "edit_counts": {label: dict(counts) for label, counts in self.edit_counts.items()},
        }


def _grouped(values: pa.ChunkedArray, sizes: I64Array) -> Iterator[tuple[str | None, int, int]]:
    """Each distinct value, null too, with its documents and their bytes, as values first occur."""
    coded = pc.dictionary_encode(values, null_encoding="encode").combine_chunks()
    codes = coded.indices.to_numpy()
    for code, value in enumerate(coded.dictionary.to_pylist()):
        rows = codes == code
        yield value, int(np.count_nonzero(rows)), int(sizes[rows].sum())
