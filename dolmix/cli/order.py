"""`dolmix order`: the documents of a step, the steps of a document, and what a run trained on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dolmix.cli import order_lines, render
from dolmix.cli.options import AsJson, LockFile

if TYPE_CHECKING:
    from dolmix.order import By

app = typer.Typer(no_args_is_help=True, help="Which documents a step held; which steps a document.")

Step = Annotated[int, typer.Option("--step", metavar="N", help="Step, from 1.")]
RankNumber = Annotated[int, typer.Option("--rank", metavar="R", help="One rank's rows only ...")]
World = Annotated[int, typer.Option("--world", metavar="W", help="... of so many ranks.")]
Places = Annotated[
    bool, typer.Option("--instances", help="Instances alone, from the lock; opens no store.")
]
Text = Annotated[
    bool, typer.Option("--text", help="Show the text of every run; token ids without --tokenizer.")
]
TokenizerFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Tokenizer of the stores, for --text.")
]
LedgerFile = Annotated[
    Path | None, typer.Option("--ledger", metavar="FILE", help="Ledger of a run, ledger.jsonl.")
]
DocumentId = Annotated[str | None, typer.Option("--doc", metavar="ID", help="Document id.")]
Url = Annotated[str | None, typer.Option("--url", metavar="URL", help="Document's url.")]
ExactText = Annotated[
    str | None,
    typer.Option("--text", metavar="FILE|-", help="File that holds its exact text; - is stdin."),
]
SourceName = Annotated[str | None, typer.Option("--source", help="Look in this source only.")]
At = Annotated[
    str | None,
    typer.Option(
        "--at", metavar="STEP|RUN", help="Tell past from future at a step, a run, a checkpoint."
    ),
]
Steps = Annotated[
    str | None,
    typer.Option("--steps", metavar="A:B", help="Steps A to B - 1, by default all; either end may"
                 " be left out."),
]  # fmt: skip
Log = Annotated[
    Path, typer.Argument(metavar="RUN", help="Output of a run, its metrics.jsonl, a checkpoint.")
]
LockOption = Annotated[
    Path | None,
    typer.Option("--lock", metavar="LOCK", help="Its lock; by default the one that its latest"
                 " checkpoint names."),
]  # fmt: skip
OtherLock = Annotated[Path, typer.Argument(metavar="OTHER", help="Lock to compare with.")]
Out = Annotated[
    Path, typer.Option("--out", "-o", metavar="FILE", help="Parquet file; .npy is OLMo's own.")
]
ExportedRows = Annotated[
    order_lines.ExportRows,
    typer.Option("--rows", help="A row an instance, a piece, or a piece with its document's id."),
]
Epoch = Annotated[
    int, typer.Option("--epoch", min=0, metavar="E", help="Epoch to write as .npy, from 0.")
]


@app.command()
def show(
    path: LockFile, step: Step, rank: RankNumber = 0, world: World = 1, instances: Places = False,
    text: Text = False, tokenizer: TokenizerFile = None, ledger: LedgerFile = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """List the documents of a step. Example: dolmix order show demo.lock.json --step 37."""
    from dolmix.order import Rank, TextRequest, step_documents, step_rows

    part = Rank(rank, world)
    if instances:
        rows = step_rows(path, step, part=part, ledger=ledger)
        order_lines.print_places(step, rows, as_json=as_json)
    else:
        wanted = TextRequest(tokenizer=tokenizer) if text or tokenizer else None
        listed = step_documents(path, step, part=part, text=wanted, ledger=ledger)
        order_lines.print_batch(step, listed, as_json=as_json)


@app.command()
def find(
    path: LockFile, doc: DocumentId = None, url: Url = None, text: ExactText = None,
    source: SourceName = None, at: At = None, ledger: LedgerFile = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Find every step that sees a document. Example: dolmix order find demo.lock.json --doc 12."""
    from dolmix.order import find_document

    by, value = _wanted(doc, url, text)
    found = find_document(path, value, by=by, source=source, at=at, ledger=ledger)
    if as_json:
        render.as_json([document.model_dump() for document in found])
    else:
        order_lines.print_found(found)


@app.command()
def stats(
    path: LockFile, steps: Steps = None, ledger: LedgerFile = None, as_json: AsJson = False
) -> None:
    """Count what steps hold: shares, repeats. Example: dolmix order stats l.json --steps 1:101."""
    from dolmix.order import window_stats

    held = window_stats(path, steps, ledger=ledger)
    render.as_json(held.model_dump()) if as_json else order_lines.print_stats(held)


@app.command()
def diff(path: LockFile, other: OtherLock, as_json: AsJson = False) -> None:
    """Show where two orders part: settings, and the rows of the first step that differs."""
    from dolmix.mix import read_lock
    from dolmix.order import diff_orders

    found = diff_orders(read_lock(path), read_lock(other))
    render.as_json(found) if as_json else order_lines.print_differences(found)


@app.command()
def verify(
    path: Log, lock: LockOption = None, steps: Steps = None, ledger: LedgerFile = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Prove what a run trained on from its logged chains; exit 1 where one is not the stores'."""
    from dolmix.order import lock_of, verify_log

    proof = verify_log(lock or lock_of(path), path, steps=steps, ledger=ledger)
    told = proof.model_dump() | {"ok": proof.ok}
    render.as_json(told) if as_json else render.lines(order_lines.of_proof(proof, path))
    if not proof.ok:
        raise typer.Exit(1)


@app.command()
def export(
    path: LockFile, out: Out, steps: Steps = None,
    rows: ExportedRows = order_lines.ExportRows.PIECES, epoch: Epoch = 0,
    ledger: LedgerFile = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Write steps as Parquet. Example: dolmix order export l.json --steps 1:101 -o x.parquet."""
    from dolmix.order import export_olmo_indices, export_order

    if out.suffix == ".npy":
        written = export_olmo_indices(path, out, epoch=epoch)
    else:
        written = export_order(path, out, steps=steps, rows=rows.value, ledger=ledger)
    order_lines.print_export(written, as_json=as_json)


def _wanted(doc: str | None, url: str | None, text: str | None) -> tuple["By", str]:
    """Return what names the document, and the name. Raises UsageError unless it is one thing."""
    from dolmix.errors import UsageError

    given: list[tuple[By, str]] = []
    given += [("id", doc)] if doc is not None else []
    given += [("url", url)] if url is not None else []
    given += [("text", text)] if text is not None else []
    if len(given) != 1:
        raise UsageError(
            f"{len(given)} of --doc, --url and --text were given. Name the document by one of them."
        )
    by, value = given[0]
    return by, order_lines.read_text(value) if by == "text" else value
