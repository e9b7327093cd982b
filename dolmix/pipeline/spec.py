"""The pipeline file: sources with their filters, what happens across them, and where it goes."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import Field, model_validator

from dolmix.config import Frac, Name, Schema
from dolmix.dedup import AnyDedup
from dolmix.filters import AnyFilter
from dolmix.filters.base import EDIT, Filter
from dolmix.sources import BadRecords, Fields
from dolmix.tokenizer import TokenizerConfig

DECISION_COLUMNS = ("num_bytes",)
"""What `keep_by` may name of every document, beside its id, its source and the filters' columns."""


class Local(Schema):
    """Run tasks on this machine, through datatrove's local executor."""

    type: Literal["local"] = "local"
    workers: Annotated[int, Field(ge=1)] = 2
    """Tasks at once, one process each. The result does not depend on it."""


AnyExecutor = Annotated[Local, Field()]
"""Executors by `type`; the bytes of a run's result never depend on which."""


class Source(Schema):
    """One named corpus: where it is, how its records read, which filters judge it."""

    inputs: Annotated[tuple[str, ...], Field(min_length=1)]
    """Paths, globs or URIs of .jsonl, .jsonl.gz, .jsonl.zst and .parquet files."""
    fields: Fields = Fields()
    """Where text, id and URL stand in a record."""
    version: Annotated[int, Field(ge=1)] = 1
    """Version of the store that this source commits; raise it when the content changes."""
    filters: tuple[AnyFilter, ...] = ()
    """Filters in the order in which they judge."""

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
    """Dedup steps over all sources together, in order."""
    tokenizer: TokenizerConfig
    """Tokenizer of every store."""
    keep_columns: tuple[str, ...] = ()
    """Filter columns to keep beside each document in the store, as `<filter>.<column>`."""
    tag: Literal["reached", "all"] = "reached"
    """Compute columns only until a document is dropped (`reached`), or every column for all."""
    warn_drop_frac: Frac | None = 0.5
    """Report a rule that drops more than this share of the documents it judges; null reports
    none."""
    keep_dropped: bool = False
    """Write the text of dropped documents with their reasons to `excluded/`."""
    part_bytes: Annotated[int, Field(ge=1)] = 64 * 1024 * 1024
    """Bytes of an input file in one task, where the format can be split."""
    max_unk_frac: Frac = 0.01
    """Largest share of unknown tokens in a store; above it the commit is refused."""
    shard_tokens: Annotated[int, Field(ge=1)] = 1 << 28
    """Tokens in a shard of a store, at most; a longer document gets a shard of its own."""

    @model_validator(mode="after")
    def _columns_exist(self) -> "Pipeline":
        known = {name for source in self.sources.values() for name in source.column_names()}
        for wanted in self.keep_columns:
            if wanted not in known:
                raise ValueError(f"keep_columns: no filter writes {wanted!r}; {_listed(known)}")
        edits = {c for source in self.sources.values() for c in source.edit_names()}
        for step in self.dedup:
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
