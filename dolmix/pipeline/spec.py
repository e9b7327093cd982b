"""The pipeline file: sources with their filters, what happens across them, and where it goes."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import Field, ValidationInfo, field_validator, model_validator

from dolmix.config import Frac, Name, Schema
from dolmix.dedup import AnyDedup, Dedup, Paragraphs
from dolmix.files.paths import WARC_SUFFIXES, WET_SUFFIXES
from dolmix.filters import AnyFilter, WarcRecord
from dolmix.filters.base import EDIT, Filter
from dolmix.sources import BadRecords, Fields, Warc
from dolmix.tokenizer import TokenizerConfig

DECISION_COLUMNS = ("num_bytes",)
"""What `keep_by` may name of every document, beside its id, its source and the filters' columns."""


def valid_name(source: str) -> str:
    """Name of the store of a source's held-out documents."""
    return f"{source}-valid"


class Local(Schema):
    """Run tasks on this machine, through datatrove's local executor."""

    type: Literal["local"] = "local"
    workers: Annotated[int, Field(ge=1)] = 2
    """Tasks at once, one process each; filter tasks of a pass with fewer tasks share them as
    threads. The result does not depend on it."""


AnyExecutor = Annotated[Local, Field()]
"""Executors by `type`; the bytes of a run's result never depend on which."""


class Holdout(Schema):
    """How much of a source is kept from training, in a store of its own: one of the two."""

    documents: Annotated[int, Field(ge=1)] | None = None
    """At least so many documents; a few more where a cluster of duplicates is taken whole."""
    frac: Annotated[float, Field(gt=0, lt=1)] | None = None
    """About this share of the documents; those of an older run stay held out when inputs are
    added."""

    @model_validator(mode="after")
    def _one_of_two(self) -> "Holdout":
        if (self.documents is None) == (self.frac is None):
            raise ValueError("holdout: give either documents or frac")
        return self


class CalibrationSample(Schema):
    """What of a source is looked at where a filter asks for a limit, as by `drop_worst_frac`."""

    parts: Annotated[int, Field(ge=1)] = 512
    """Parts of a source, at most; of more, so many are chosen by a keyed hash."""
    sample_bytes: Annotated[int, Field(ge=1)] = 1 << 30
    """Stored bytes, about; of parts that hold more, documents are chosen by a keyed hash."""


class Source(Schema):
    """One named corpus: where it is, how its records read, which filters judge it."""

    inputs: Annotated[tuple[str, ...], Field(min_length=1)]
    """Paths, globs or URIs of .jsonl, .parquet, .warc and .wet files, .gz and .zst too."""
    fields: Fields = Fields()
    """Where text, id and URL stand in a record."""
    warc: Warc | None = None
    """How WARC and WET files are read; null reads none, unless an input is named like one."""
    version: Annotated[int, Field(ge=1)] = 1
    """Version of the store that this source commits; raise it when the content changes."""
    filters: tuple[AnyFilter, ...] = ()
    """Filters in the order in which they judge."""
    holdout: Holdout | None = None
    """Documents to keep from training, committed as `<name>-valid@<version>`; documents that a
    dedup step finds alike stay together."""

    @field_validator("warc")
    @classmethod
    def _reads_warc(cls, warc: Warc | None, info: ValidationInfo) -> Warc | None:
        """Give the defaults to a source whose inputs are WARC files by their names."""
        named = any(i.lower().endswith(WARC_SUFFIXES) for i in info.data.get("inputs", ()))
        return Warc() if warc is None and named else warc

    @field_validator("filters")
    @classmethod
    def _judges_warc_first(
        cls, filters: tuple[Filter, ...], info: ValidationInfo
    ) -> tuple[Filter, ...]:
        """Put the filter that drops what reading found no text in before all others."""
        if info.data.get("warc") is None or any(isinstance(f, WarcRecord) for f in filters):
            return filters
        return (WarcRecord(), *filters)

    @model_validator(mode="after")
    def _labels_are_unique(self) -> "Source":
        labels = [f.label for f in self.filters]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"filter names repeat: {', '.join(twice)}; give each its own 'name'")
        return self

    @model_validator(mode="after")
    def _columns_are_written_before(self) -> "Source":
        for number, filter_ in enumerate(self.filters):
            for wanted in filter_.reads():
                _check_column(filter_.label, wanted, self.filters, number)
        return self

    def reading(self) -> dict[str, Any] | None:
        """Name what the texts of WARC files depend on; None for a source that reads none.

        Raises DataError for a package that is not installed.
        """
        if self.warc is None:
            return None
        html = not all(i.lower().endswith(WET_SUFFIXES) for i in self.inputs)
        return self.warc.identity(html=html)

    def column_names(self) -> list[str]:
        """Names of all columns that this source's filters write."""
        return [f"{f.label}.{column}" for f in self.filters for column in f.column_types()]

    def edit_names(self) -> list[str]:
        """Names of the columns that hold edits, in the order in which the edits apply.

        The last that is not null, of one document, is its edit: it has all those before it in it.
        """
        return [f"{f.label}.{EDIT}" for f in self.filters if f.has_edit]


class Pipeline(Schema):
    """One run of curation: several sources in, one committed store per source out."""

    name: Name
    """Name of the pipeline, for people."""
    seed: int = 0
    """Seed of the document order in every store."""
    output: Path
    """Folder of the run: plan, records, decisions, stores."""
    executor: AnyExecutor = Local()
    """What runs the tasks."""
    on_bad_record: BadRecords = BadRecords()
    """What to do with a record that cannot be read."""
    sources: Annotated[dict[Name, Source], Field(min_length=1)]
    """Sources by name, in order of priority for `keep_by: source_priority`."""
    dedup: tuple[AnyDedup, ...] = ()
    """Dedup steps over all sources together, in order; one of type `paragraphs` comes last."""
    dedup_ranges: Annotated[int, Field(ge=1)] | None = None
    """Ranges that the keys of a dedup band are cut into, one task each; null takes one for 64 GiB
    of input files. The result does not depend on it."""
    dedup_memory: Annotated[int, Field(ge=1 << 10)] = 8 << 30
    """Bytes for the cluster pass, which takes 8 a document; where that is more, the same clusters
    are found through sorted files."""
    dedup_index: bool = False
    """Keep an index of the run in `dedup-index/`, so that later runs can dedup `against` it."""
    tokenizer: TokenizerConfig
    """Tokenizer of every store."""
    keep_columns: tuple[str, ...] = ()
    """Filter columns to keep beside each document in the store, as `<filter>.<column>`."""
    tag: Literal["reached", "all"] = "reached"
    """Compute columns only until a document is dropped (`reached`), or every column for all."""
    warn_drop_frac: Frac | None = 0.5
    """Report a rule that drops more than this share of the documents it judges; null reports
    none."""
    calibration: CalibrationSample = CalibrationSample()
    """Sample of each source in which limits are found that a filter gives as a share."""
    keep_dropped: bool = False
    """Write the text of dropped documents with their reasons to `excluded/`."""
    part_bytes: Annotated[int, Field(ge=1)] = 64 * 1024 * 1024
    """Bytes of an input file in one task, where the format can be split."""
    max_unk_frac: Frac = 0.01
    """Largest share of unknown tokens in a store; above it the commit is refused."""
    shard_tokens: Annotated[int, Field(ge=1)] = 1 << 28
    """Tokens in a shard of a store, at most; a longer document gets a shard of its own."""

    @model_validator(mode="after")
    def _stores_have_names_of_their_own(self) -> "Pipeline":
        for name, source in self.sources.items():
            if source.holdout is not None and valid_name(name) in self.sources:
                raise ValueError(
                    f"sources.{valid_name(name)}: the held-out documents of {name} take this name;"
                    " rename one of the two"
                )
        return self

    @model_validator(mode="after")
    def _columns_exist(self) -> "Pipeline":
        known = {name for source in self.sources.values() for name in source.column_names()}
        for wanted in self.keep_columns:
            if wanted not in known:
                raise ValueError(f"keep_columns: no filter writes {wanted!r}; {_listed(known)}")
        edits = {c for source in self.sources.values() for c in source.edit_names()}
        for step in self.document_steps:
            for wanted in step.keep_columns():
                if wanted in edits:
                    raise ValueError(
                        f"dedup {step.type}: keep_by names {wanted!r}, which is an edit; name a "
                        f"column of numbers or text"
                    )
                if wanted not in known and wanted not in DECISION_COLUMNS:
                    raise ValueError(
                        f"dedup {step.type}: keep_by names {wanted!r}, which no filter writes; "
                        f"{_listed((known - edits) | set(DECISION_COLUMNS))}"
                    )
        labels = [step.label for step in self.dedup]
        filters = {f.label for source in self.sources.values() for f in source.filters}
        if shared := sorted(filters & set(labels)):
            raise ValueError(f"dedup: {', '.join(shared)} names a filter too; set 'name'")
        if len(set(labels)) < len(labels):
            raise ValueError(f"dedup steps share a name: {', '.join(labels)}; set 'name'")
        return self

    @model_validator(mode="after")
    def _paragraphs_come_last(self) -> "Pipeline":
        early = [s.label for s in self.dedup[:-1] if isinstance(s, Paragraphs)]
        if early:
            raise ValueError(
                f"dedup: {early[0]!r} compares paragraphs of what all other steps leave; put it "
                f"last, and only one such step"
            )
        return self

    @property
    def document_steps(self) -> tuple[Dedup, ...]:
        """Dedup steps that drop documents; a step's place here is its place in `dedup`."""
        return tuple(step for step in self.dedup if isinstance(step, Dedup))

    @property
    def paragraph_step(self) -> Paragraphs | None:
        """The dedup step that takes out paragraphs or lines, if there is one."""
        return next((step for step in self.dedup if isinstance(step, Paragraphs)), None)


def _check_column(reader: str, wanted: str, filters: Sequence[Filter], number: int) -> None:
    """Refuse a rule on a column that no filter writes before it, with what was probably meant."""
    before = {
        f"{f.label}.{c}": kind for f in filters[:number] for c, kind in f.column_types().items()
    }
    if wanted in before:
        _check_kind(reader, wanted, before[wanted], filters[number])
        return
    later = next((f for f in filters[number:] if _writes(f, wanted)), None)
    if later is not None:
        raise ValueError(
            f"{reader}: column {wanted!r} is written by {later.label}, which judges later; move "
            f"{reader} behind it"
        )
    close = get_close_matches(wanted, before, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]!r}?" if close else _listed(set(before))
    raise ValueError(f"{reader}: no filter before it writes {wanted!r}; {hint}")


def _check_kind(reader: str, column: str, kind: pa.DataType, filter_: Filter) -> None:
    """Refuse a number as the limit of a text, a list of texts for a number, any for an edit."""
    is_text = pa.types.is_string(kind)
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    for rule in filter_.rules():
        fits = is_number if rule.not_in is None else is_text
        if rule.column == column and rule.active and not fits:
            needed = "a number" if rule.not_in is None else "text"
            raise ValueError(f"{reader}: column {column!r} is {kind}, its limit needs {needed}")


def _writes(filter_: Filter, column: str) -> bool:
    return column in {f"{filter_.label}.{bare}" for bare in filter_.column_types()}


def _listed(names: set[str]) -> str:
    return "known: " + (", ".join(sorted(names)) or "none")
