"""What other thresholds would keep and drop, from the columns that a run wrote down.

No text is read and no column computed: documents that would go on to a filter whose columns they
lack are counted as undecided, and nothing is said of them. Guarantee: where none is undecided, the
documents kept and dropped by the filters, by reason, are those of a run with these settings.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from hashlib import blake2b
from heapq import nsmallest
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dolmix.config import parse
from dolmix.document import BoolArray
from dolmix.errors import UsageError
from dolmix.filters.base import Filter
from dolmix.pipeline.calibration import Limit, find_limits, sample_table
from dolmix.pipeline.decisions import decision_schema, reading_digest
from dolmix.pipeline.funnel import funnels
from dolmix.pipeline.known import Known, judge_known, judged_columns, standing
from dolmix.pipeline.limits import judging_filters, without_limits
from dolmix.pipeline.part_view import PartView
from dolmix.pipeline.plan import Plan, Task, read_plan
from dolmix.pipeline.records import RecordBook
from dolmix.pipeline.sampling import num_sampled
from dolmix.pipeline.spec import Pipeline, Source

SHOWN_CHARACTERS = 200
"""Characters of a sampled text that are shown."""
PERSON = b"dolmix-whatif-1"
BASE = ("record", "id", "num_bytes", "reached", "reason")


@dataclass(slots=True)
class Amount:
    """Some documents: how many, their bytes as read, and about how many tokens."""

    documents: int = 0
    num_bytes: int = 0
    tokens: int | None = None
    """Estimated: tokens per byte of the source's kept documents; None where there are none."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One document that would come or go."""

    kind: Literal["come", "go"]
    id: str
    url: str | None
    """Where the run wrote it down, or the text was asked for."""
    reason: str
    """Why it goes, or went before."""
    column: str
    value: Any
    """What the rule of that reason judges; None where a class of datatrove decided."""
    text: str | None = None
    """Its first characters, where they were asked for."""


@dataclass(slots=True)
class SourceChange:
    """What would change in one source."""

    source: str
    documents: int = 0
    """Documents that the filters judged."""
    kept_before: int = 0
    kept_after: int = 0
    """Without those that are undecided."""
    come: dict[str, Amount] = field(default_factory=dict)
    """Documents that would be kept and are not, by the reason for which they are dropped."""
    go: dict[str, Amount] = field(default_factory=dict)
    """Documents that are kept and would not be, by the reason for which they would be dropped."""
    moved: int = 0
    """Documents dropped either way, for another reason."""
    undecided: dict[str, Amount] = field(default_factory=dict)
    """Documents that lack columns, by the filter whose columns they lack first."""
    samples: list[Sample] = field(default_factory=list)

    @property
    def exact(self) -> bool:
        """Whether a run with these settings would have the filters decide exactly so."""
        return not self.undecided


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What other settings would change, by source."""

    settings: tuple[str, ...]
    sources: tuple[SourceChange, ...]
    notes: tuple[str, ...]

    def describe(self) -> dict[str, Any]:
        """Give everything as plain data."""
        changes = [{**asdict(change), "exact": change.exact} for change in self.sources]
        return {"settings": self.settings, "sources": changes, "notes": self.notes}


def whatif(run: Path, settings: Sequence[str], *, samples: int = 3, text: bool = False) -> WhatIf:
    """Decide again under other settings, each as `source.filter.setting=value`.

    samples  documents to give of those that come, and of those that go, of each source
    text     with the first characters of their texts, which reads the input

    Raises UsageError for a folder that holds no run and for a source or filter that it does not
    have, ConfigError for a setting or value that the filter does not take.
    """
    plan = read_plan(run)
    pipeline = changed_pipeline(plan, settings)
    names = [n for n, s in pipeline.sources.items() if s != plan.pipeline.sources[n]]
    notes: list[str] = []
    changes = []
    for name in names:
        comparison = _Comparison(plan, pipeline, name, samples)
        changes.append(comparison.change(text=text))
        notes += comparison.notes()
    if plan.pipeline.dedup and changes:
        notes.append(
            "dedup is not run again: documents that come may be duplicates, and duplicates of "
            "those that go may stay in their place"
        )
    return WhatIf(tuple(settings), tuple(changes), tuple(notes))


def changed_pipeline(plan: Plan, settings: Sequence[str]) -> Pipeline:
    """Pipeline of a run with other settings of its filters.

    Raises UsageError and ConfigError as `whatif` does.
    """
    overrides = [_override(plan.pipeline, setting) for setting in settings]
    return parse(Pipeline, plan.describe()["pipeline"], overrides, origin="whatif")


def _override(pipeline: Pipeline, setting: str) -> str:
    """Turn `source.filter.setting=value` into the path of the setting in a pipeline file."""
    path, sep, value = setting.partition("=")
    source, _, rest = path.partition(".")
    label, _, name = rest.partition(".")
    if not sep or not name:
        raise UsageError(
            f"{setting!r}: a setting is written source.filter.setting=value, as in "
            f"web.gopher.max_symbol_frac=0.2"
        )
    if source not in pipeline.sources:
        raise UsageError(f"{setting}: no source {source!r}; {_meant(source, pipeline.sources)}")
    filters = pipeline.sources[source].filters
    labels = [f.label for f in filters]
    if label not in labels:
        raise UsageError(f"{setting}: {source} has no filter {label!r}; {_meant(label, labels)}")
    if name in {"type", "name"}:
        raise UsageError(f"{setting}: {name} says which filter it is; name one of its thresholds")
    return f"sources.{source}.filters.{labels.index(label)}.{name}={value}"


def _meant(name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known) or 'none'}"


class _Comparison:
    """One source under the settings of its run, and under others."""

    def __init__(self, plan: Plan, pipeline: Pipeline, source: str, samples: int) -> None:
        self._plan = plan
        self._source = source
        self._old: tuple[Filter, ...] = judging_filters(plan, source)
        self._new, self._limits = _limited(plan, pipeline.sources[source], source)
        self._schema = decision_schema(self._new, reading=reading_digest(pipeline.sources[source]))
        self._book = RecordBook(plan.pipeline.output)
        self._num_samples = samples
        self._candidates: list[tuple[bytes, str, int, int, str]] = []
        """Key, kind, part, row and reason of the documents that may be sampled."""
        self._waiting = 0
        self._density = tokens_per_byte(plan, source)
        self._change = SourceChange(source)

    def change(self, *, text: bool) -> SourceChange:
        """Compare all parts that are judged."""
        for task in self._plan.tasks("filter", self._source):
            if self._book.has("filter", task.key):
                self._compare(task)
            else:
                self._waiting += 1
        for groups in (self._change.come, self._change.go, self._change.undecided):
            for amount in groups.values():
                if self._density is not None:
                    amount.tokens = round(amount.num_bytes * self._density)
        self._change.samples = [self._sample(*chosen, text=text) for chosen in self._chosen()]
        return self._change

    def notes(self) -> Iterator[str]:
        """Say what the numbers rest on."""
        change, name = self._change, self._source
        for one in self._limits:
            yield (
                f"{name}: {one.filter}.{one.setting} is {one.limit!r}, the worst {one.frac:.2%} of "
                f"{one.documents:,} documents sampled"
            )
        if self._waiting:
            yield f"{name}: {self._waiting:,} parts are not judged yet and not counted"
        if self._density is not None and (change.come or change.go or change.undecided):
            yield (
                f"{name}: tokens are estimated, at {self._density:.4f} tokens a byte, as its kept "
                f"documents have them"
            )
        if change.undecided:
            count = sum(amount.documents for amount in change.undecided.values())
            yield (
                f"{name}: an estimate: {count:,} documents would reach "
                f"{', '.join(change.undecided)}, which has not measured them; run the pipeline "
                f"with the new settings to know, or with tag: all beforehand"
            )

    def _compare(self, task: Task) -> None:
        """Count one part."""
        path = self._book.output("filter", task.key, "decisions")
        with pq.ParquetFile(path) as file:
            stored = file.schema_arrow
            wanted = [n for n in judged_columns(self._new) if n in stored.names]
            table = file.read([*BASE, *wanted])
        labels = [f.label for f in self._old]
        usable = standing(stored, self._schema, labels)
        whole = self._plan.pipeline.tag == "all"
        found = judge_known(Known.of(table, usable, labels, whole=whole), self._new)
        before, after = table["reason"].combine_chunks(), found.reason
        open_, was, is_ = _set(found.lacking), ~_set(before), ~_set(after)
        change = self._change
        change.documents += len(table)
        change.kept_before += int(was.sum())
        change.kept_after += int((is_ & ~open_).sum())
        differs = pc.fill_null(pc.not_equal(before, after), fill_value=False)
        change.moved += int((differs.to_numpy(zero_copy_only=False) & ~open_).sum())
        for kind, groups, reasons, rows in (
            ("come", change.come, before, ~was & is_ & ~open_),
            ("go", change.go, after, was & ~is_ & ~open_),
            ("", change.undecided, found.lacking, open_),
        ):
            _add(groups, reasons, table["num_bytes"], rows)
            if kind:
                self._note_candidates(kind, task.part, reasons, table["id"], rows)

    def _note_candidates(
        self, kind: str, part: int, reasons: pa.Array, ids: pa.ChunkedArray, rows: BoolArray
    ) -> None:
        """Keep as many documents as may be sampled, by a hash of source and id."""
        at = np.flatnonzero(rows)
        here = [
            (_draw(self._source, id_), kind, part, int(row), reasons[int(row)].as_py())
            for row, id_ in zip(at, ids.take(pa.array(at)).to_pylist(), strict=True)
        ]
        mine = [c for c in self._candidates if c[1] == kind]
        others = [c for c in self._candidates if c[1] != kind]
        self._candidates = others + nsmallest(self._num_samples, mine + here)

    def _chosen(self) -> Iterator[tuple[str, int, int, str]]:
        for kind in ("come", "go"):
            for _, of, part, row, reason in sorted(self._candidates):
                if of == kind:
                    yield of, part, row, reason

    def _sample(self, kind: str, part: int, row: int, reason: str, *, text: bool) -> Sample:
        view = PartView(self._plan, self._source, part)
        column = judged_by(self._old if kind == "come" else self._new, reason)
        known = column and column in view.column_names
        batch = view.read(row)[0] if text else None
        return Sample(
            kind="come" if kind == "come" else "go",
            id=view.values(row, ["id"])["id"],
            url=view.url(row) if batch is None else batch.urls[0].as_py(),
            reason=reason,
            column=column,
            value=view.values(row, [column])[column] if known else None,
            text=None if batch is None else batch.text[0].as_py()[:SHOWN_CHARACTERS],
        )


def _limited(plan: Plan, source: Source, name: str) -> tuple[tuple[Filter, ...], Sequence[Limit]]:
    """Give the filters of a changed source limits, as its run's sample has them; and the limits.

    Raises UsageError where the run measured no sample for them.
    """
    filters = without_limits(source.filters)
    count = num_sampled(filters)
    if not count:
        return filters, ()
    measured = {f.label for f in plan.pipeline.sources[name].filters if f.quantiles()}
    if lacking := [f.label for f in filters if f.quantiles() and f.label not in measured]:
        raise UsageError(
            f"{name}: the run measured no sample for {', '.join(lacking)}, so that a share of the "
            f"documents gives no limit; try a limit, or run the pipeline with the share"
        )
    stored = decision_schema(filters[:count], reading=reading_digest(source))
    limited, limits = find_limits(sample_table(plan, name), filters[:count], stored=stored)
    return (*limited, *filters[count:]), limits


def judged_by(filters: Sequence[Filter], reason: str) -> str:
    """Full name of the column that the rule of a reason judges; empty where no rule names it."""
    for filter_ in filters:
        for rule in filter_.rules():
            if reason in {f"{filter_.label}.{rule.code}", f"{filter_.label}.{rule.missing_code}"}:
                named = "" if rule.reason_from else rule.column
                return named if "." in named or not named else f"{filter_.label}.{named}"
    return ""


def tokens_per_byte(plan: Plan, source: str) -> float | None:
    """Tokens of a source's documents by bytes as they were read; None before a store is there."""
    book = RecordBook(plan.pipeline.output)
    tokens = 0
    for pass_name in ("store", "valid"):
        for task in plan.passes.get(pass_name, []):
            record = book.find(pass_name, task.key) if task.source == source else None
            tokens += 0 if record is None else int(record.counts["tokens"])
    funnel = next(f for f in funnels(plan) if f.source == source)
    num_bytes = funnel.num_bytes - sum(funnel.dropped_bytes.values())
    return tokens / num_bytes if tokens and num_bytes else None


def _add(
    groups: dict[str, Amount], reasons: pa.Array, sizes: pa.ChunkedArray, rows: BoolArray
) -> None:
    """Count documents and bytes by reason."""
    mask = pa.array(rows)
    table = pa.table({"reason": reasons.filter(mask), "size": sizes.filter(mask)})
    counted = table.group_by("reason").aggregate([("size", "count"), ("size", "sum")])
    for row in counted.sort_by("reason").to_pylist():
        amount = groups.setdefault(row["reason"], Amount())
        amount.documents += row["size_count"]
        amount.num_bytes += row["size_sum"]


def _set(values: pa.Array) -> BoolArray:
    return np.asarray(values.is_valid().to_numpy(zero_copy_only=False), np.bool_)


def _draw(source: str, document: str) -> bytes:
    return blake2b(f"{source}\x1f{document}".encode(), digest_size=8, person=PERSON).digest()
