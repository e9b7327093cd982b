"""`dolmix order`: the documents of a step, and the steps of a document."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from dolmix.cli import render
from dolmix.cli.options import AsJson, LockFile

if TYPE_CHECKING:
    from dolmix.order import BatchRow, FoundDocument

app = typer.Typer(no_args_is_help=True, help="Which documents a step held; which steps a document.")

Step = Annotated[int, typer.Option("--step", help="Step, from 1.")]
DocumentId = Annotated[str, typer.Option("--doc", metavar="ID", help="Document id.")]
SourceName = Annotated[str | None, typer.Option("--source", help="Look in this source only.")]


@app.command()
def show(path: LockFile, step: Step, as_json: AsJson = False) -> None:
    """List the documents of a step. Example: dolmix order show demo.lock.json --step 37."""
    from dolmix.order import step_documents

    rows = step_documents(path, step)
    if as_json:
        render.as_json({"step": step, "rows": [row.model_dump() for row in rows]})
    else:
        render.table(_BATCH, _batch_rows(rows))


@app.command()
def find(
    path: LockFile, doc: DocumentId, source: SourceName = None, as_json: AsJson = False
) -> None:
    """Find every step that saw a document. Example: dolmix order find demo.lock.json --doc 1234."""
    from dolmix.order import find_document

    found = find_document(path, doc, source=source)
    if as_json:
        render.as_json([document.model_dump() for document in found])
    else:
        _print_found(found)


_BATCH = ("place", "source", "epoch", "instance", "tokens", "document", "from", "id")
_SEEN = ("stage", "step", "place", "epoch", "instance", "row tokens", "document from")


def _batch_rows(rows: Sequence["BatchRow"]) -> Iterator[Sequence[object]]:
    for row in rows:
        for piece in row.documents:
            yield (
                row.place,
                row.source,
                row.epoch,
                row.instance,
                f"{piece.start}:{piece.stop}",
                piece.document,
                f"{piece.path}:{piece.record}",
                piece.id,
            )


def _print_found(found: Sequence["FoundDocument"]) -> None:
    for document in found:
        render.lines([_headline(document)])
        if document.sightings:
            render.table(_SEEN, _sighting_rows(document))


def _headline(document: "FoundDocument") -> str:
    where = f"{document.source} document {document.document:,}"
    origin = f"{document.path}:{document.record}, {document.num_tokens:,} tokens"
    times = f", {len(document.sightings):,} times" if document.sightings else ""
    return f"{where} ({origin}): {document.status}{times}"


def _sighting_rows(document: "FoundDocument") -> Iterator[Sequence[object]]:
    for seen in document.sightings:
        yield (
            seen.stage,
            seen.step,
            seen.place,
            seen.epoch,
            seen.instance,
            f"{seen.start}:{seen.stop}",
            seen.document_start,
        )
