"""Where a document trained: every stage, step and place, or why there is none.

A document is named by its id, its url or its exact text, which the store looks up; its instances
and their places follow from the lock. Ids, urls and texts need pyarrow, which the store loads when
asked.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from dolmix.config import Schema
from dolmix.errors import StoreError
from dolmix.order.batches import Batches
from dolmix.order.documents import laid_out
from dolmix.order.opening import Locked, open_batches
from dolmix.order.runlog import ledger_of, step_reached

if TYPE_CHECKING:
    from dolmix.shards import DocumentRow

Status = Literal[
    "trained",
    "tail, never trained",
    "left out by the packing, never trained",
    "never drawn in this mix",
]
By: TypeAlias = Literal["id", "url", "text"]
"""What names a document."""


class Sighting(Schema):
    """One time that a part of a document trains."""

    stage: str
    step: int
    place: int
    """Position in the batch, from 0."""
    epoch: int
    instance: int
    start: int
    """First token of the document's run within the row."""
    stop: int
    """End of the run within the row; a row ends at L + 1, its last token is only a label."""
    document_start: int
    """First token of the run within the document."""
    when: Literal["past", "future"] | None = None
    """Whether the step is done at the step asked about; None where none was named."""


class FoundDocument(Schema):
    """A document of a mix and every place that trains it, in order of training."""

    source: str
    document: int
    """Number of the document in its store."""
    id: str
    url: str | None
    path: str
    record: int
    num_tokens: int
    """Tokens, EOS included."""
    left_out_tokens: int
    """Tokens that are in no instance: in the source's tail, or left out by the packing."""
    status: Status
    """Over the whole order: trained in part at least, in no instance, or in instances that no stage
    draws."""
    sightings: tuple[Sighting, ...]


def find_document(
    lock: Locked,
    value: str,
    *,
    by: By = "id",
    source: str | None = None,
    at: str | int | None = None,
    ledger: str | Path | None = None,
) -> list[FoundDocument]:
    """Find every document with this id, url or exact text, in one source or in all.

    at      steps done so far, or a run, its metrics file or a checkpoint: by it sightings are told
            to be past or future
    ledger  the run's, where its weights changed; by default the one of the run given as `at`. What
            it has not recorded yet may still change

    Raises OrderError for a source that the mix does not have, StoreError for a document that is in
    none of the stores asked, UsageError for an `at` that is none of these.
    """
    at_step = None if at is None else step_reached(str(at))
    if ledger is None and at is not None and not str(at).isdecimal():
        ledger = ledger_of(str(at))
    with open_batches(lock, ledger) as batches:
        names = batches.order.sources
        indices = [batches.order.source_index(source)] if source is not None else range(len(names))
        found = [
            _found(batches, index, row, at_step)
            for index in indices
            for row in _rows(batches, index, by, value)
        ]
        if not found:
            asked = ", ".join(batches.stores[index].name for index in indices)
            raise StoreError(f"{_absent(by, value)} in {asked}. {_ABSENT_HINTS[by]}")
        return found


_DROPPED = "the document may have been dropped: see the decisions of its run."
_ABSENT_HINTS: dict[By, str] = {
    "id": f"Ids are those of the input; {_DROPPED}",
    "url": f"Urls are compared letter by letter; {_DROPPED}",
    "text": f"Texts are compared byte by byte, a newline at the end included; {_DROPPED}",
}


def _absent(by: By, value: str) -> str:
    if by == "text":
        return f"no document has this text of {len(value):,} characters"
    return f"no document has {by} {value!r}"


def _rows(batches: Batches, index: int, by: By, value: str) -> list["DocumentRow"]:
    store = batches.stores[index]
    look = {"id": store.find_id, "url": store.find_url, "text": store.find_text}
    return store.provenance(look[by](value))


def _found(batches: Batches, index: int, row: "DocumentRow", at_step: int | None) -> FoundDocument:
    # an instance that holds two pieces of a document may be named twice
    numbers = dict.fromkeys(batches.instances[index].of_document(row.document))
    runs = [run for number in numbers for run in _runs(batches, index, number, row.document)]
    sightings = sorted(
        (s for run in runs for s in _sightings(batches, index, run, at_step)),
        key=lambda s: (s.step, s.place, s.start),
    )
    status: Status = "trained"
    if not sightings:
        status = "never drawn in this mix" if numbers else _left_out(batches)
    return FoundDocument(
        source=batches.order.sources[index],
        document=row.document,
        id=row.id,
        url=row.url,
        path=row.path,
        record=row.record,
        num_tokens=row.num_tokens,
        left_out_tokens=row.num_tokens - _covered(runs),
        status=status,
        sightings=tuple(sightings),
    )


def _left_out(batches: Batches) -> Status:
    concat = batches.lock.order.packing == "concat"
    return "tail, never trained" if concat else "left out by the packing, never trained"


Run: TypeAlias = tuple[int, int, int, int]
"""A run of a document in an instance: (instance, first token in the row, in the document,
length)."""


def _runs(batches: Batches, index: int, instance: int, document: int) -> Iterator[Run]:
    for at, piece in laid_out(batches.instances[index].documents(instance)):
        if piece.document == document:
            yield instance, at, piece.start, piece.length


def _covered(runs: Sequence[Run]) -> int:
    """Tokens of a document that any run holds; neighbours share the label between them."""
    covered = end = 0
    for start, length in sorted(run[2:] for run in runs):
        covered += max(0, start + length - max(start, end))
        end = max(end, start + length)
    return covered


def _sightings(batches: Batches, index: int, run: Run, at_step: int | None) -> Iterator[Sighting]:
    instance, at, start, length = run
    for place in batches.order.find(batches.order.sources[index], instance):
        yield Sighting(
            stage=place.stage,
            step=place.step,
            place=place.place,
            epoch=place.epoch,
            instance=instance,
            start=at,
            stop=at + length,
            document_start=start,
            when=None if at_step is None else "past" if place.step <= at_step else "future",
        )
