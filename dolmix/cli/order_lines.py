"""What the verbs of `dolmix order` print, as tables and lines."""

import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dolmix.cli import render

if TYPE_CHECKING:
    from dolmix.order import BatchPlace, BatchRow, Exported, FoundDocument, Proof, WindowStats

_PLACES = ("place", "source", "epoch", "instance")
_BATCH = (*_PLACES, "tokens", "document", "from", "id", "url")
_SEEN = ("stage", "step", "place", "epoch", "instance", "row tokens", "document from")
_SHARES = ("source", "share", "target")
_STATS = (*_SHARES, "instances", "unique", "repeats", "documents", "epochs", "epoch numbers")


class ExportRows(StrEnum):
    """What a row of an export is."""

    INSTANCES = "instances"
    PIECES = "pieces"
    DOCUMENTS = "documents"


def read_text(name: str) -> str:
    """Read a text file, or stdin for `-`, byte by byte as it is. Raises DataError if it cannot."""
    from dolmix.errors import DataError

    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return data.decode()
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror}. Give a file, or - .") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name} is not UTF-8 text: {error.reason} at byte {error.start:,}. Give the document's"
            " text alone, as it was tokenized."
        ) from None


def print_places(step: int, rows: Sequence["BatchPlace"], *, as_json: bool) -> None:
    """Print the places of a batch."""
    if as_json:
        render.as_json({"step": step, "rows": [row.model_dump() for row in rows]})
    else:
        render.table(_PLACES, ((r.place, r.source, r.epoch, r.instance) for r in rows))


def print_batch(step: int, rows: Sequence["BatchRow"], *, as_json: bool) -> None:
    """Print the rows of a batch with their documents, and their text where it was asked for."""
    if as_json:
        told = [row.model_dump(exclude_unset=True) for row in rows]
        render.as_json({"step": step, "rows": told})
    elif any(run.text is not None or run.tokens is not None for r in rows for run in r.documents):
        render.lines(_texts(rows))
    else:
        render.table(_BATCH, _batch_rows(rows))


def print_found(found: Sequence["FoundDocument"]) -> None:
    """Print each document in a line, then its sightings as a table."""
    for document in found:
        render.lines(_headlines(document))
        if document.sightings:
            timed = document.sightings[0].when is not None
            render.table((*_SEEN, "when") if timed else _SEEN, _sighting_rows(document))


def print_stats(held: "WindowStats") -> None:
    """Print totals, stages, and a table of sources."""
    render.lines(_totals(held))
    render.table(_STATS, _stats_rows(held))


def print_differences(found: dict[str, Any]) -> None:
    """Print what differs between two orders, then the places of the first step that does."""
    from dolmix.order import difference_lines

    render.lines(difference_lines(found))
    if found["places"]:
        rows = ((p["place"], _instance(p["of"][0]), _instance(p["of"][1])) for p in found["places"])
        render.table(("place", "here", "in the other"), rows)


def of_proof(proof: "Proof", log: Path) -> Iterator[str]:
    """Yield what was proven, or the first chain that differs, as lines."""
    if proof.chains:
        last = proof.disagreement.after_step if proof.disagreement else proof.last_step
        yield (
            f"{log}: steps {proof.first_step:,} to {last:,} trained on order "
            f"{proof.order_hash[:7]}, {proof.chains:,} chains agree"
        )
    if (wrong := proof.disagreement) is not None:
        first = wrong.after_step + 1
        span = f"step {first:,}" if first == wrong.step else f"steps {first:,} to {wrong.step:,}"
        yield f"{log}: {span} trained on other tokens than the stores now hold"
        yield f"  logged    {wrong.logged}"
        yield f"  computed  {wrong.computed}"
        yield "Find out which store changed: dolmix shards verify STORE --full"


def print_export(written: "Exported", *, as_json: bool) -> None:
    """Print what was written."""
    if as_json:
        render.as_json(written.model_dump())
        return
    steps = f"steps {written.first_step:,} to {written.last_step:,}"
    render.lines(
        [f"{written.path}: {written.rows:,} rows, {written.instances:,} instances of {steps}"]
    )


def _batch_rows(rows: Sequence["BatchRow"]) -> Iterator[Sequence[object]]:
    for row in rows:
        for run in row.documents:
            yield (
                row.place,
                row.source,
                row.epoch,
                row.instance,
                f"{run.start}:{run.stop}",
                run.document,
                f"{run.path}:{run.record}",
                run.id,
                run.url,
            )


def _texts(rows: Sequence["BatchRow"]) -> Iterator[str]:
    for row in rows:
        for run in row.documents:
            yield (
                f"== place {row.place}, {row.source} epoch {row.epoch}, instance {row.instance}, "
                f"tokens {run.start}:{run.stop}: {run.path}:{run.record} {run.id}"
            )
            yield " ".join(map(str, run.tokens or ())) if run.text is None else run.text


def _headlines(document: "FoundDocument") -> Iterator[str]:
    where = f"{document.source} document {document.document:,}"
    origin = f"{document.path}:{document.record}, {document.num_tokens:,} tokens"
    times = f", {len(document.sightings):,} times" if document.sightings else ""
    past = sum(seen.when == "past" for seen in document.sightings)
    if document.sightings and document.sightings[0].when is not None:
        times += f": {past:,} past, {len(document.sightings) - past:,} to come"
    yield f"{where} ({origin}): {document.status}{times}"
    if 0 < document.left_out_tokens < document.num_tokens:
        yield f"  {document.left_out_tokens:,} of its tokens are in no instance, never trained"


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
            *([seen.when] if seen.when is not None else []),
        )


def _totals(held: "WindowStats") -> Iterator[str]:
    yield (
        f"steps {held.first_step:,} to {held.last_step:,}: {held.instances:,} instances, "
        f"{held.tokens:,} tokens, {held.unique_documents:,} documents"
    )
    for stage in held.stages:
        yield (
            f"  {stage.name}: steps {stage.first_step:,} to {stage.last_step:,}, "
            f"{stage.instances:,} instances"
        )


def _stats_rows(held: "WindowStats") -> Iterator[Sequence[object]]:
    for name, source in held.sources.items():
        drawn = source.first_epoch is not None
        yield (
            name,
            f"{source.share:.3%}",
            f"{source.target_share:.3%}",
            source.instances,
            source.unique_instances,
            source.repeats,
            source.unique_documents,
            f"{source.epochs:.3f}",
            f"{source.first_epoch} to {source.last_epoch}" if drawn else None,
        )


def _instance(drawn: dict[str, Any] | None) -> str:
    if drawn is None:
        return "-"
    return f"{drawn['source']} epoch {drawn['epoch']}, instance {drawn['instance']:,}"
