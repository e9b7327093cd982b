"""What a run kept and why the rest went: counts per source and reason, from task records."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dolmix.pipeline.plan import Plan, Task
from dolmix.pipeline.records import RecordBook, TaskRecord


@dataclass
class Funnel:
    """One source's way from input records to committed tokens."""

    source: str
    steps: tuple[str, ...] = ()
    """Filters of the source, then dedup steps, in the order in which they judge."""
    records: int = 0
    bad_records: int = 0
    warc_types: tuple[str, ...] = ()
    """Types of WARC records that are documents of this source."""
    warc_records: Counter[str] = field(default_factory=Counter)
    """Type → WARC records of that type, those that could not be read aside."""
    documents: int = 0
    num_bytes: int = 0
    judged: Counter[str] = field(default_factory=Counter)
    """Filter → documents that reached it."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Reason → documents, filters and dedup."""
    dropped_bytes: Counter[str] = field(default_factory=Counter)
    edits: dict[str, Counter[str]] = field(default_factory=dict)
    """Filter that rewrites → `documents` that it judged and changed, `removed_bytes` of those."""
    edit_counts: dict[str, Counter[str]] = field(default_factory=dict)
    """Filter that rewrites → its columns that count what its edit did, summed over those judged."""
    kept_by_filters: int = 0
    kept_text_bytes: int = 0
    """Bytes of the texts that the filters kept, after their edits."""
    emptied: int = 0
    """Documents that the filters kept and whose edits left no text."""
    kept: int = 0
    held_out: int = 0
    """Documents kept from training, in a store of their own."""
    tokens: int = 0
    store: str = ""
    content_hash: str = ""

    def dropped_by(self, label: str) -> int:
        """Documents dropped by one filter or dedup step."""
        return sum(self.reasons_of(label).values())

    def reasons_of(self, label: str) -> dict[str, int]:
        """Bare reason → documents, of one filter or dedup step; most frequent first."""
        mine = [(r.partition(".")[2], n) for r, n in self.dropped.items() if _label(r) == label]
        return dict(sorted(mine, key=lambda item: (-item[1], item[0])))

    def edit_of(self, label: str) -> str:
        """Say what a filter's edit did, empty for a filter that rewrote nothing."""
        edit = self.edits.get(label, Counter())
        if not edit["documents"]:
            return ""
        counts = [f"{c} {n:,}" for c, n in self.edit_counts[label].items() if n]
        size = f"{edit['removed_bytes']:,} bytes out"
        return ", ".join([f"edited {edit['documents']:,}", size, *counts])

    def warc_account(self) -> str:
        """Say what became of the records of WARC files, by type; empty where none were read."""
        if not self.warc_records:
            return ""
        told: list[str] = []
        for wanted, what in ((True, "are documents"), (False, "only counted")):
            found = {t: n for t, n in self.warc_records.items() if (t in self.warc_types) == wanted}
            listed = ", ".join(f"{t} {n:,}" for t, n in sorted(found.items()))
            told += [f"{sum(found.values()):,} {what} ({listed})"] if found else []
        total = sum(self.warc_records.values())
        return f"{total:,} WARC records: {', '.join(told)}; bad: {self.bad_records:,}"

    def describe(self) -> dict[str, Any]:
        """Funnel as plain data."""
        return {
            "source": self.source,
            "records": self.records,
            "bad_records": self.bad_records,
            "warc_records": dict(sorted(self.warc_records.items())),
            "documents": self.documents,
            "bytes": self.num_bytes,
            "judged": dict(self.judged),
            "dropped": dict(self.dropped),
            "dropped_bytes": dict(self.dropped_bytes),
            "edits": {label: dict(counts) for label, counts in self.edits.items()},
            "edit_counts": {label: dict(counts) for label, counts in self.edit_counts.items()},
            "kept_by_filters": self.kept_by_filters,
            "kept_text_bytes": self.kept_text_bytes,
            "emptied": self.emptied,
            "kept": self.kept,
            "held_out": self.held_out,
            "tokens": self.tokens,
            "store": self.store,
            "content_hash": self.content_hash,
        }


def funnels(plan: Plan) -> list[Funnel]:
    """One funnel a source, as far as the run has come."""
    dedup = [step.label for step in plan.pipeline.dedup]
    made = {
        name: Funnel(name, (*(f.label for f in source.filters), *dedup))
        for name, source in plan.pipeline.sources.items()
    }
    for name, source in plan.pipeline.sources.items():
        made[name].warc_types = () if source.warc is None else source.warc.records
    for task, record in _done(plan, "filter"):
        funnel, counts = made[task.source], record.counts
        funnel.records += counts["records"]
        funnel.bad_records += counts["bad_records"]
        funnel.warc_records.update(counts.get("warc_records", {}))
        funnel.documents += counts["documents"]
        funnel.num_bytes += counts["bytes"]
        funnel.judged.update(counts["judged"])
        funnel.dropped.update(counts["dropped"])
        funnel.dropped_bytes.update(counts["dropped_bytes"])
        _add_edits(funnel, counts)
    for _, record in _done(plan, "clusters"):
        for source, counts in record.counts["dropped"].items():
            made[source].dropped.update(counts)
        for source, counts in record.counts["dropped_bytes"].items():
            made[source].dropped_bytes.update(counts)
    for task, record in _done(plan, "paragraph_marks"):
        _add_marks(made[task.source], plan, record.counts)
    for task, record in _done(plan, "valid"):
        made[task.source].held_out = record.counts["documents"]
    for task, record in _done(plan, "store"):
        funnel = made[task.source]
        funnel.kept = record.counts["documents"]
        funnel.tokens = record.counts["tokens"]
        funnel.store = record.outputs["store"]
        funnel.content_hash = record.counts["content_hash"]
    return list(made.values())


def _add_edits(funnel: Funnel, counts: Mapping[str, Any]) -> None:
    """Add what edits did in one part; records written before there were edits do not say."""
    for label, numbers in counts.get("edits", {}).items():
        funnel.edits.setdefault(label, Counter()).update(numbers)
    for label, numbers in counts.get("edit_counts", {}).items():
        funnel.edit_counts.setdefault(label, Counter()).update(numbers)
    funnel.kept_by_filters += counts["kept"]
    funnel.kept_text_bytes += counts.get("kept_text_bytes", counts["kept_bytes"])
    funnel.emptied += counts.get("emptied", 0)


def _add_marks(funnel: Funnel, plan: Plan, counts: Mapping[str, Any]) -> None:
    """Add what paragraph dedup dropped and took out in one part."""
    step = plan.pipeline.paragraph_step
    assert step is not None
    funnel.judged.update({step.label: counts["documents"]})
    funnel.dropped.update(counts["dropped"])
    funnel.dropped_bytes.update(counts["dropped_bytes"])
    funnel.edits.setdefault(step.label, Counter()).update(counts["edits"])
    funnel.edit_counts.setdefault(step.label, Counter()).update(counts["edit_counts"])


def _label(reason: str) -> str:
    return reason.partition(".")[0]


def _done(plan: Plan, pass_name: str) -> Iterator[tuple[Task, TaskRecord]]:
    book = RecordBook(plan.pipeline.output)
    for task in plan.passes.get(pass_name, []):
        record = book.find(pass_name, task.key)
        if record is not None:
            yield task, record
