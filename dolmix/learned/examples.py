"""Labelled texts: where they come from, which may train, and which are held out.

A row is held out by a keyed hash of its *group*, the document source it came from: texts of one
book, one page or one spam campaign fall on one side together. Rows whose licence does not allow
training (`licences: open`) are evaluated on and never trained on.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated, Literal

import orjson
from pydantic import Field, model_validator

from dolmix.config import Frac, Schema
from dolmix.document import TextBatch
from dolmix.errors import DataError
from dolmix.learned.licences import is_open
from dolmix.sources import BadRecord, BadRecords, Fields, plan_parts, read_part

PERSON = b"dolmix-rows-1"
PART_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled text."""

    text: str
    label: str
    group: str
    """The document source it came from; rows of one group are never split."""
    task: str = "-"
    lang: str = "-"
    licence: str = "-"
    trains: bool = True
    """Whether its licence lets it train a model."""


class Rows(Schema):
    """Labelled rows, or documents that all have one label."""

    inputs: Annotated[tuple[str, ...], Field(min_length=1)]
    """Paths, globs or URIs of .jsonl and .parquet, .gz and .zst too."""
    label: str | None = None
    """Label of every document; null reads `label_field`."""
    label_field: str = "label"
    """Dotted path of a row's label; a row without one is left out."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels that count as another: `{spam: ad}`."""
    text_field: str = "text"
    """Dotted path of the text."""
    id_field: str | None = "id"
    """Dotted path of the id; null numbers the rows."""
    group_field: str | None = None
    """Dotted path of what rows of one source share; null takes each row's id."""
    task_field: str | None = "task"
    """Dotted path of the task that metrics are given by."""
    lang_field: str | None = "lang"
    """Dotted path of the language that metrics are given by."""
    licence_field: str | None = "license"
    """Dotted path of the licence."""
    licences: Literal["any", "open"] = "any"
    """`open`: only rows in the public domain or under CC0, CC BY, MIT, Apache-2.0 or BSD train;
    the others, and those without a licence, are evaluated on."""
    evaluate_only: bool = False
    """Train on none of these rows."""

    @model_validator(mode="after")
    def _open_needs_field(self) -> "Rows":
        if self.licences == "open" and self.licence_field is None:
            raise ValueError(
                f"licences: {self.licences} needs licence_field, where the licence stands"
            )
        return self


def read_rows(rows: Rows) -> Iterator[Example]:
    """Read labelled texts in the order of their files.

    Raises DataError for a file or record that cannot be read.
    """
    fields = Fields(text=rows.text_field, id=rows.id_field)
    wanted = [rows.group_field, rows.task_field, rows.lang_field, rows.licence_field]
    extra = [path for path in [*wanted, None if rows.label else rows.label_field] if path]
    parts = plan_parts(rows.inputs, part_bytes=PART_BYTES, splittable=rows.id_field is not None)
    for part in parts:
        for batch in read_part(part, fields, list(dict.fromkeys(extra)), BadRecords(), _refuse):
            yield from _examples(rows, batch)


def held_out(example: Example, *, frac: float, seed: int) -> bool:
    """Whether an example's group is held out of training: a draw keyed by the seed."""
    key = str(seed).encode()
    digest = blake2b(example.group.encode(), digest_size=8, key=key, person=PERSON).digest()
    return int.from_bytes(digest, "little") < int(frac * (1 << 64))


def split(
    examples: Iterable[Example], *, frac: Frac, seed: int
) -> tuple[list[Example], list[Example]]:
    """Split into those to train on and those to evaluate on, by group; closed licences never train.

    Raises DataError if nothing is left to train on.
    """
    train: list[Example] = []
    rest: list[Example] = []
    for example in examples:
        out = not example.trains or held_out(example, frac=frac, seed=seed)
        (rest if out else train).append(example)
    if not train:
        raise DataError(
            f"none of {len(rest):,} rows is left to train on. Look at 'licences', 'evaluate_only' "
            "and 'held_out_frac'."
        )
    return train, rest


def _refuse(record: BadRecord) -> None:
    """Take no bad record: reading stops at the first."""


def _examples(rows: Rows, batch: TextBatch) -> Iterator[Example]:
    def column(path: str | None) -> Sequence[str]:
        if path is None:
            return ["-"] * len(batch)
        return [_plain(value) for value in batch.fields[path].to_pylist()]

    labels = [rows.label or "-"] * len(batch) if rows.label else column(rows.label_field)
    ids = batch.ids.to_pylist()
    groups = ids if rows.group_field is None else column(rows.group_field)
    tasks, langs = column(rows.task_field), column(rows.lang_field)
    licences = column(rows.licence_field)
    for n, text in enumerate(batch.text.to_pylist()):
        if labels[n] == "-" or not text.strip():
            continue
        closed = rows.licences == "open" and not is_open(licences[n])
        yield Example(
            text=text,
            label=rows.labels.get(labels[n], labels[n]),
            group=groups[n] if groups[n] != "-" else ids[n],
            task=tasks[n],
            lang=langs[n],
            licence=licences[n],
            trains=not (closed or rows.evaluate_only),
        )


def _plain(value: str | None) -> str:
    if value is None:
        return "-"
    found = orjson.loads(value)
    if isinstance(found, list):
        return " ".join(str(one) for one in found) or "-"
    return str(found)
