"""What the rows of a step hold: places from the lock alone, documents from its stores.

`step_rows` lists sources, epochs and instances and opens no store; `step_documents` joins them with
the documents in every row, their ids, urls and spans, and on request their text. Ids and urls need
pyarrow, which the store loads when asked.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from dolmix.config import Schema
from dolmix.order.batches import Batches
from dolmix.order.lookup import Order, Places
from dolmix.order.opening import Locked, open_batches, order_of

if TYPE_CHECKING:
    from dolmix.shards import DocumentRow, Piece

Shown: TypeAlias = Callable[[Sequence[int]], dict[str, Any]]
"""Fields of a run that show its tokens."""


class BatchPlace(Schema):
    """One place of a batch, and which instance it is."""

    place: int
    """Position in the batch of all ranks, from 0."""
    k: int
    """Global number of the place, from 0."""
    source: str
    epoch: int
    instance: int


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
    tokens: tuple[int, ...] | None = None
    """Token ids of the run, where text was asked for without a tokenizer."""
    text: str | None = None
    """The run as text, where it was asked for with the stores' tokenizer. A run that begins or ends
    within a character shows U+FFFD there."""


class BatchRow(BatchPlace):
    """One row of a batch: an instance and the documents in it."""

    documents: tuple[RowPiece, ...]


class TextRequest(Schema):
    """That the text of every run is wanted."""

    tokenizer: Path | None = None
    """The stores' tokenizer file; without it, token ids stand for the text."""


class Rank(NamedTuple):
    """One of the ranks that share each batch; by default the only one."""

    rank: int = 0
    world: int = 1


ALONE = Rank()


def step_rows(
    lock: Locked, step: int, *, part: Rank = ALONE, ledger: str | Path | None = None
) -> list[BatchPlace]:
    """List the places of a step that a rank takes, from the lock alone: all of them by default.

    ledger   the run's, where its weights changed

    Raises OrderError outside the order's steps, or where the ranks cannot share the batch evenly;
    LedgerError for a ledger of another order.
    """
    order = order_of(lock, ledger)
    places = order.batch(step).of_rank(*part)
    return [BatchPlace(**facts) for facts in _facts(order, step, places)]


def step_documents(
    lock: Locked,
    step: int,
    *,
    part: Rank = ALONE,
    text: TextRequest | None = None,
    ledger: str | Path | None = None,
) -> list[BatchRow]:
    """List the rows of a step that a rank takes, with their documents: all of them by default.

    Raises OrderError as `step_rows`, LockError or StoreError for stores that are not the locked
    ones, UsageError for a tokenizer that is not theirs.
    """
    with open_batches(lock, ledger) as batches:
        places = batches.places(step).of_rank(*part)
        drawn = list(zip(places.source.tolist(), places.instance.tolist(), strict=True))
        pieces = [batches.instances[s].documents(i) for s, i in drawn]
        known = _provenance(batches, [s for s, _ in drawn], pieces)
        shown = None if text is None else _shown(batches, text)
        rows = []
        for n, facts in enumerate(_facts(batches.order, step, places)):
            source, instance = drawn[n]
            runs = _runs(pieces[n], known[source])
            if shown is not None:
                tokens = batches.instances[source].tokens(instance).tolist()
                runs = [run.model_copy(update=shown(tokens[run.start : run.stop])) for run in runs]
            rows.append(BatchRow(**facts, documents=tuple(runs)))
        return rows


def laid_out(pieces: Sequence["Piece"]) -> Iterator[tuple[int, "Piece"]]:
    """Yield each piece of an instance with its first token's place in the row."""
    at = 0
    for piece in pieces:
        yield at, piece
        at += piece.length


def _facts(order: Order, step: int, places: Places) -> Iterator[dict[str, Any]]:
    """Yield the fields of a `BatchPlace`, place by place."""
    first = order.schedule.offset(step - 1)
    columns = (places.k, places.source, places.epoch, places.instance)
    for k, source, epoch, instance in zip(*(c.tolist() for c in columns), strict=True):
        yield {
            "place": k - first,
            "k": k,
            "source": order.sources[source],
            "epoch": epoch,
            "instance": instance,
        }


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


def _runs(pieces: Sequence["Piece"], known: dict[int, "DocumentRow"]) -> list[RowPiece]:
    runs = []
    for at, piece in laid_out(pieces):
        row = known[piece.document]
        runs.append(
            RowPiece(
                document=row.document,
                id=row.id,
                url=row.url,
                path=row.path,
                record=row.record,
                start=at,
                stop=at + piece.length,
                document_start=piece.start,
            )
        )
    return runs


def _shown(batches: Batches, text: TextRequest) -> Shown:
    """Make what shows a run: its text if the tokenizer is given, else its token ids."""
    if text.tokenizer is None:
        return lambda tokens: {"tokens": tuple(tokens)}
    from dolmix.shards.describe import load_pinned

    # the stores of a mix share one tokenizer, `mix resolve` refuses others
    decode = load_pinned(batches.stores[0], text.tokenizer).decode
    return lambda tokens: {"text": decode(tokens)}
