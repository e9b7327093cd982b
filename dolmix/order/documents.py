"""Documents of a step, and steps of a document.

Joins the order with the stores' provenance: `step_documents` lists what every row of a batch holds,
`find_document` every place that trained a document, or why there is none. Provenance needs pyarrow,
which the store loads when asked.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dolmix.config import Schema
from dolmix.errors import StoreError
from dolmix.mix import Lock
from dolmix.order.batches import Batches

if TYPE_CHECKING:
    from dolmix.shards import DocumentRow, Piece

Status = Literal["trained", "tail, never trained", "never drawn in this mix"]


class RowPiece(Schema):
    """A run of one document's tokens in a row of a batch."""

    document: int
    """Number of the document in its store."""
    id: str
    url: str | None
    path: str
    """Input file."""
    record: int
    """Record number in that file."""
    start: int
    """First token of the run within the row."""
    stop: int
    """End of the run within the row; a row ends at L + 1, its last token is only a label."""
    document_start: int
    """First token of the run within the document."""


class BatchRow(Schema):
    """One row of a batch: an instance and the documents in it."""

    place: int
    """Position in the batch, from 0."""
    k: int
    """Global number of the place, from 0."""
    source: str
    epoch: int
    instance: int
    documents: tuple[RowPiece, ...]


class Sighting(Schema):
    """One time that a part of a document trained."""

    stage: str
    step: int
    place: int
    """Position in the batch, from 0."""
    epoch: int
    instance: int
    start: int
    """First token of the document's run within the row."""
    stop: int
    """End of the run within the row."""
    document_start: int
    """First token of the run within the document."""


class FoundDocument(Schema):
    """A document of a mix and every place that trained it, in order of training."""

    source: str
    document: int
    """Number of the document in its store."""
    id: str
    url: str | None
    path: str
    record: int
    num_tokens: int
    """Tokens, EOS included."""
    status: Status
    sightings: tuple[Sighting, ...]


def step_documents(lock: Lock | str | Path, step: int) -> list[BatchRow]:
    """List the rows of a step with their documents. Raises OrderError outside the order's steps."""
    with Batches(lock) as batches:
        places = batches.places(step)
        drawn = list(zip(places.source.tolist(), places.instance.tolist(), strict=True))
        pieces = [batches.instances[s].documents(i) for s, i in drawn]
        known = _provenance(batches, [s for s, _ in drawn], pieces)
        epochs, numbers = places.epoch.tolist(), places.k.tolist()
        return [
            BatchRow(
                place=place,
                k=numbers[place],
                source=batches.order.sources[source],
                epoch=epochs[place],
                instance=instance,
                documents=tuple(_row_pieces(pieces[place], known[source])),
            )
            for place, (source, instance) in enumerate(drawn)
        ]


def find_document(
    lock: Lock | str | Path, document_id: str, *, source: str | None = None
) -> list[FoundDocument]:
    """Find every document with this id, in one source or in all, and where each trained.

    Raises OrderError for a source that the mix does not have, StoreError for an id that is in none
    of the stores asked.
    """
    with Batches(lock) as batches:
        names = batches.order.sources
        indices = [batches.order.source_index(source)] if source is not None else range(len(names))
        found = [
            _found(batches, index, row)
            for index in indices
            for row in _rows_of_id(batches, index, document_id)
        ]
        if not found:
            asked = ", ".join(str(batches.stores[index].path) for index in indices)
            raise StoreError(
                f"no document has id {document_id!r} in {asked}. Ids are those of the input; the "
                f"document may have been dropped: see the decisions of its run."
            )
        return found


def _provenance(
    batches: Batches, sources: Sequence[int], pieces: Sequence[Sequence["Piece"]]
) -> dict[int, dict[int, "DocumentRow"]]:
    """Rows of all documents in a batch: source → document → row; each store is asked once."""
    wanted: dict[int, set[int]] = {}
    for source, row in zip(sources, pieces, strict=True):
        wanted.setdefault(source, set()).update(piece.document for piece in row)
    return {
        source: {row.document: row for row in batches.stores[source].provenance(sorted(numbers))}
        for source, numbers in wanted.items()
    }


def _row_pieces(pieces: Sequence["Piece"], known: dict[int, "DocumentRow"]) -> Iterator[RowPiece]:
    for at, piece in _laid_out(pieces):
        row = known[piece.document]
        yield RowPiece(
            document=row.document,
            id=row.id,
            url=row.url,
            path=row.path,
            record=row.record,
            start=at,
            stop=at + piece.length,
            document_start=piece.start,
        )


def _laid_out(pieces: Sequence["Piece"]) -> Iterator[tuple[int, "Piece"]]:
    """Yield each piece with its first token's place in the row."""
    at = 0
    for piece in pieces:
        yield at, piece
        at += piece.length


def _rows_of_id(batches: Batches, index: int, document_id: str) -> list["DocumentRow"]:
    store = batches.stores[index]
    return store.provenance(store.find_id(document_id))


def _found(batches: Batches, index: int, row: "DocumentRow") -> FoundDocument:
    name, instances = batches.order.sources[index], batches.instances[index]
    numbers = instances.of_document(row.document)
    sightings = [s for i in numbers for s in _sightings(batches, index, i, row.document)]
    status: Status = "trained"
    if not sightings:
        status = "never drawn in this mix" if numbers else "tail, never trained"
    return FoundDocument(
        source=name,
        document=row.document,
        id=row.id,
        url=row.url,
        path=row.path,
        record=row.record,
        num_tokens=row.num_tokens,
        status=status,
        sightings=tuple(sorted(sightings, key=lambda s: (s.step, s.place))),
    )


def _sightings(batches: Batches, index: int, instance: int, document: int) -> Iterator[Sighting]:
    """Yield each run of the document in the instance, at each place that trained it."""
    for place in batches.order.find(batches.order.sources[index], instance):
        for at, piece in _laid_out(batches.instances[index].documents(instance)):
            if piece.document == document:
                yield Sighting(
                    stage=place.stage,
                    step=place.step,
                    place=place.place,
                    epoch=place.epoch,
                    instance=instance,
                    start=at,
                    stop=at + piece.length,
                    document_start=piece.start,
                )
