"""What a filter is: columns computed in one pass, and rules that decide from them.

A filter is its own configuration: its fields are its thresholds. `columns` may read text; `rules`
may not, so a threshold can change without reading a document again. Names inside a filter are bare
(`word_count`); outside they carry the filter's name (`gopher.word_count`), and so do reasons.

A filter that rewrites texts says so (`rewrites`) and writes the column `edit`: spans of the texts
that it was given. Whoever runs the filters applies it; no filter ever hands on a text.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dolmix.config import Name, Schema
from dolmix.document import BoolArray, Columns, TextBatch
from dolmix.errors import FilterError

OnMissing = Literal["keep", "drop", "fail"]
EDIT = "edit"
"""Bare name of the column in which a filter that rewrites texts says how."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Drop a document when `column` is beyond a limit. A rule whose limits are all None is off.

    Exactly one limit should be set. `0.0` is a limit, None is none.
    """

    column: str
    """Bare name of a column of the filter, or full name of one that its `reads` lists."""
    below: float | None = None
    """Drop when value < limit."""
    at_most: float | None = None
    """Drop when value <= limit."""
    above: float | None = None
    """Drop when value > limit."""
    at_least: float | None = None
    """Drop when value >= limit."""
    not_in: tuple[str, ...] | None = None
    """Drop when the (text) value is none of these."""
    any_of: tuple[str, ...] | None = None
    """Drop when the (text) value is one of these."""
    reason: str = ""
    """Bare reason code; the column's name when empty. Two rules on one column need one each."""
    on_missing: OnMissing = "keep"
    """What a null value means: keep the document, drop it (reason + `_missing`), or stop."""
    reason_from: str = ""
    """Column that holds the bare reason code of each document that the rule drops; `reason` stands
    where it is null."""

    @property
    def code(self) -> str:
        """Bare reason code of a drop by this rule."""
        return self.reason or self.column

    @property
    def missing_code(self) -> str:
        """Bare reason code of a drop because the value is missing."""
        return f"{self.code}_missing"

    @property
    def active(self) -> bool:
        """Whether any limit is set."""
        limits = (self.below, self.at_most, self.above, self.at_least, self.not_in, self.any_of)
        return any(limit is not None for limit in limits)

    @property
    def limit(self) -> str:
        """The limit as a person reads it: `< 50`, `> 0.3`, `not in en, fr`."""
        named = (("<", self.below), ("<=", self.at_most), (">", self.above), (">=", self.at_least))
        parts = [f"{sign} {_plain(value)}" for sign, value in named if value is not None]
        if self.not_in is not None:
            parts.append(f"not in {', '.join(self.not_in)}")
        if self.any_of is not None:
            parts.append(f"in {', '.join(self.any_of)}")
        return " or ".join(parts)

    def fires(self, values: pa.Array) -> BoolArray:
        """(N,) bool: which values are beyond the limit. Missing values never fire here."""
        if self.not_in is not None or self.any_of is not None:
            return self._fires_on_text(values)
        numbers = _numbers(values)
        found = [
            beyond(numbers, limit)
            for beyond, limit in (
                (np.less, self.below),
                (np.less_equal, self.at_most),
                (np.greater, self.above),
                (np.greater_equal, self.at_least),
            )
            if limit is not None
        ]
        hit: BoolArray = found[0] if found else np.zeros(len(values), np.bool_)
        for other in found[1:]:
            hit |= other
        return hit & _present(values) if values.null_count else hit

    def _fires_on_text(self, values: pa.Array) -> BoolArray:
        hit = np.zeros(len(values), np.bool_)
        for texts, inside in ((self.not_in, False), (self.any_of, True)):
            if texts is not None:
                found = pc.is_in(values, value_set=pa.array(texts, pa.string()))
                hit |= found.to_numpy(zero_copy_only=False) == inside
        return hit & _present(values)


@dataclass(frozen=True, slots=True)
class Quantile:
    """A limit that a run finds in its own data: beyond it is a share of a source's documents.

    It is found once a run and source, among the documents that reach the filter, and put into
    `setting` for every task (`Filter.with_limits`).
    """

    setting: str
    """Setting of the filter that holds the limit: a number, None while it is not known."""
    column: str
    """Bare name of the filter's column of numbers; documents without a value do not count."""
    frac: float
    """Share of the documents that is worse than the limit, in (0, 1)."""
    worst: Literal["low", "high"]
    """Which end is the worst: the filter drops what is below the limit, or above it."""
    given_by: str = "drop_worst_frac"
    """Setting of the filter that gives the share."""

    def limit_of(self, values: NDArray[np.float64]) -> float | None:
        """Limit among N values: from the worst, the one of number floor(frac N), counted from 0.

        values   (N,) float64, no NaN, any order
        returns  None of no values. At most the share is worse than the limit; where values repeat,
                 it may be fewer.
        """
        if not values.size:
            return None
        place = min(int(Fraction(Decimal(repr(self.frac))) * values.size), values.size - 1)
        if self.worst == "high":
            place = values.size - 1 - place
        return float(np.partition(values, place)[place])


class Filter(Schema):
    """Base of every filter. Subclasses add `type`, thresholds, `columns` and `rules`."""

    version: ClassVar[int] = 1
    """Raised whenever the meaning of a column changes; enters task keys and column metadata."""
    rewrites: ClassVar[bool] = False
    """Whether filters of this class may change texts, by the column `edit`."""
    rule_settings: ClassVar[tuple[str, ...]] = ()
    """Settings that enter rules alone: another value changes no value of a column, though it may
    add columns or leave some out."""
    has_state: ClassVar[bool] = False
    """Whether a value may depend on the documents before; such a column is never used again."""
    type: str
    name: Name | None = None
    """Prefix of this filter's columns and reasons, unique in a source; its type when not given."""

    @property
    def label(self) -> str:
        """The filter's name in columns, reasons and reports."""
        return self.name or self.type

    @property
    def definition(self) -> str:
        """Whose definition the columns follow, with version; kept in each column's metadata."""
        return ""

    @property
    def splitter(self) -> str:
        """Word splitter by name, where the filter has words; kept in each column's metadata."""
        return ""

    @property
    def has_edit(self) -> bool:
        """Whether this filter, with its settings, writes the column `edit`."""
        return self.rewrites and EDIT in self.column_types()

    def edit_counts(self) -> tuple[str, ...]:
        """Columns that count what the edit did, by rule; a run reports their sums."""
        if not self.has_edit:
            return ()
        return tuple(c for c, kind in self.column_types().items() if pa.types.is_integer(kind))

    def reads(self) -> tuple[str, ...]:
        """Full names of columns of earlier filters of the source that `rules` judge."""
        return ()

    def fields(self) -> tuple[str, ...]:
        """Dotted paths of record fields that `columns` reads from `TextBatch.fields`."""
        return ()

    def digests(self) -> dict[str, str]:
        """Digests of the files that the columns depend on, by role; they enter the task key.

        Raises FilterError if a file is missing, with how to get it.
        """
        return {}

    def remarks(self) -> list[str]:
        """Say what this filter, with its settings and files, does not see; a run repeats it."""
        return []

    def quantiles(self) -> tuple[Quantile, ...]:
        """Limits that a run must find before this filter judges; the same before and after."""
        return ()

    def with_limits(self, limits: Mapping[str, float | None]) -> Self:
        """Give the same filter with limits, by setting; None turns the rule that uses it off."""
        return self.model_copy(update=dict(limits))

    def begin_part(self) -> None:
        """Be told that documents of another part follow: forget what was left behind, if anything.

        A filter that has a state in spite of all is thus a function of its part.
        """

    def columns(self, texts: TextBatch) -> Columns:
        """Compute one value a document for each column, null where there is none."""
        raise NotImplementedError

    def column_types(self) -> dict[str, pa.DataType]:
        """Arrow type of each column, known before any text is read."""
        raise NotImplementedError

    def rules(self) -> Iterator[Rule]:
        """Rules in the order they judge; the first that fires is the document's reason."""
        raise NotImplementedError


def identity(filter_: Filter) -> dict[str, Any]:
    """Name what a filter's columns and verdicts depend on; a file counts by its digest, not path.

    Raises FilterError for a file that is missing.
    """
    digests = filter_.digests()
    config = {
        field: value
        for field, value in filter_.model_dump(mode="json").items()
        if not (field in digests and isinstance(value, (str, list)))
    }
    return {"config": config, "version": filter_.version, "digests": digests}


def column_identity(filter_: Filter) -> dict[str, Any] | None:
    """Name what the values of a filter's columns depend on, its name and place apart.

    None for a filter with a state, whose columns no other run can use. Raises FilterError for a
    file that is missing.
    """
    if filter_.has_state:
        return None
    about = identity(filter_)
    without = {"name", *filter_.rule_settings}
    about["config"] = {k: v for k, v in about["config"].items() if k not in without}
    return about


def judge(filter_: Filter, columns: Columns, texts: TextBatch) -> pa.StringArray:
    """Reason per document: the first rule that fires, as `<filter name>.<code>`, null = keep.

    columns  from `filter_.columns(texts)`, (N,) each; those that `filter_.reads` lists besides, by
             their full names
    texts    N documents; only an error reads it, to say which document it is about

    Raises FilterError under `on_missing: fail`, naming the column and the first document without
    it, and for a rule on a column that is not there.
    """
    decided = np.full(len(texts), -1, np.int32)
    codes: list[str] = []
    for rule in filter_.rules():
        if not rule.active:
            continue
        if rule.column not in columns:
            raise FilterError(_no_such_column(filter_, rule, columns))
        values = columns[rule.column]
        hit = rule.fires(values)
        if hit.any():
            hit &= decided < 0
        if values.null_count:
            missing = ~_present(values) & (decided < 0)
            if rule.on_missing == "fail" and missing.any():
                raise FilterError(_missing_values(filter_, rule, missing, texts))
            if rule.on_missing == "drop":
                decided[missing] = len(codes) + 1
        decided[hit] = len(codes)
        codes += [rule.code, rule.missing_code]
        if rule.reason_from:
            codes += _reasons_from(columns[rule.reason_from], hit, decided, first=len(codes))
    reasons = pa.array([f"{filter_.label}.{code}" for code in codes], pa.string())
    return reasons.take(pa.array(decided, mask=decided < 0))


def _reasons_from(
    values: pa.Array, hit: BoolArray, decided: NDArray[np.int32], *, first: int
) -> list[str]:
    """Point the dropped documents to the reasons of their own, numbered from `first`; returns them.

    values   (N,) string; null leaves `decided` as it is
    hit      (N,) bool: documents that the rule drops
    decided  (N,) int32, changed in place
    """
    named = hit & _present(values)
    own = values.filter(pa.array(named)).dictionary_encode()
    decided[named] = first + own.indices.to_numpy(zero_copy_only=False)
    reasons: list[str] = own.dictionary.to_pylist()
    return reasons


def with_preset(
    raw: Any, presets: Mapping[str, Mapping[str, Any]], default: str | None = None
) -> Any:
    """Fill in a preset's values where the user gave none; for `model_validator(mode="before")`.

    A key that the user gave stands, null (the rule is off) included. An unknown preset is left for
    validation to refuse.
    """
    if not isinstance(raw, dict):
        return raw
    return {**presets.get(str(raw.get("preset", default)), {}), **raw}


def required_file(path: Path, *, setting: str, advice: str) -> Path:
    """Give the path back if a file is there.

    Raises FilterError that names the setting, the path, and `advice`: how to get the file.
    """
    if path.is_file():
        return path
    raise FilterError(f"{setting}: there is no file {path} (from {Path.cwd()}). {advice}")


def document_at(texts: TextBatch, row: int) -> str:
    """Name a document in an error: its id, and its record's number within the part."""
    return f"document {texts.ids[row].as_py()!r} (record {texts.records[row]})"


def _plain(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


def _numbers(values: pa.Array) -> NDArray[np.float64]:
    """(N,) float64: the values, 0.0 for those that are missing."""
    kind = values.type
    if values.null_count == 0 and (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        # most columns; Arrow's casts would take most of a rule's time
        return np.asarray(values.to_numpy(), np.float64)
    numbers = values.cast(pa.float64()).fill_null(0.0).to_numpy(zero_copy_only=False)
    return np.asarray(numbers, np.float64)


def _present(values: pa.Array) -> BoolArray:
    return np.asarray(values.is_valid().to_numpy(zero_copy_only=False), np.bool_)


def _no_such_column(filter_: Filter, rule: Rule, columns: Columns) -> str:
    return (
        f"{filter_.label}: rule {rule.code!r} needs column {rule.column!r}, but there are only "
        f"{', '.join(columns) or 'none'}. They were made with other settings: compute them again."
    )


def _full_name(filter_: Filter, column: str) -> str:
    return column if "." in column else f"{filter_.label}.{column}"


def _missing_values(filter_: Filter, rule: Rule, missing: BoolArray, texts: TextBatch) -> str:
    rows = np.flatnonzero(missing)
    others = f", as it is for {rows.size - 1:,} more of the {len(texts):,} documents read with it"
    return (
        f"{document_at(texts, int(rows[0]))}: {_full_name(filter_, rule.column)} is missing"
        f"{others if rows.size > 1 else ''}. Set {filter_.label}.on_missing to keep or drop, or "
        f"mend the input."
    )
