"""The pipeline file: sources with their filters, what happens across them, and where it goes."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from dolmix.config import Frac, Name, Schema
from dolmix.dedup import AnyDedup
from dolmix.filters import AnyFilter
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

    def column_names(self) -> list[str]:
        """Names of all columns that this source's filters write."""
        return [f"{f.label}.{column}" for f in self.filters for column in f.column_types()]


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
        for step in self.dedup:
            for wanted in step.keep_columns():
                if wanted not in known and wanted not in DECISION_COLUMNS:
                    raise ValueError(
                        f"dedup {step.type}: keep_by names {wanted!r}, which no filter writes; "
                        f"{_listed(known | set(DECISION_COLUMNS))}"
                    )
        labels = [step.label for step in self.dedup]
        filters = {f.label for source in self.sources.values() for f in source.filters}
        if shared := sorted(filters & set(labels)):
            raise ValueError(f"dedup: {', '.join(shared)} names a filter too; set 'name'")
        if len(set(labels)) < len(labels):
            raise ValueError(f"dedup steps share a name: {', '.join(labels)}; set 'name'")
        return self


def _listed(names: set[str]) -> str:
    return "known: " + (", ".join(sorted(names)) or "none")
