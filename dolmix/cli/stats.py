"""`dolmix stats`: what is in a run or a store, counted."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dolmix.cli import render
from dolmix.cli.options import AsJson

SHOWN_CHARACTERS = 60
"""Characters of a value or an n-gram that are printed; `--json` has them all."""

Location = Annotated[
    str, typer.Argument(metavar="RUN|STORE", help="Output folder of `dolmix run`, or a store.")
]
Kept = Annotated[
    bool, typer.Option("--kept", help="Of a run: only the documents kept, as they train.")
]
NGrams = Annotated[
    int,
    typer.Option("--ngrams", metavar="N", help="Count n-grams of up to N words."),
]
Top = Annotated[int, typer.Option("--top", min=1, metavar="N", help="Most frequent ones to list.")]
TokenizerFile = Annotated[
    Path | None, typer.Option("--tokenizer", metavar="FILE", help="The tokenizer of a store.")
]
Workers = Annotated[
    int, typer.Option("--workers", min=1, metavar="N", help="Threads that read texts.")
]
ParquetFolder = Annotated[
    Path | None,
    typer.Option("--parquet", metavar="FOLDER", help="Write Parquet files, too."),
]


def stats(
    location: Location,
    kept: Kept = False,
    ngrams: NGrams = 0,
    top: Top = 20,
    tokenizer: TokenizerFile = None,
    workers: Workers = 2,
    parquet: ParquetFolder = None,
    as_json: AsJson = False,
) -> None:
    """Count what is in a run or a store: sizes, columns, languages, domains, duplicates, n-grams.

    Example: dolmix stats runs/quickstart --kept --ngrams 3
    """
    from dolmix.report.stats import describe
    from dolmix.report.tables import write_parquet
    from dolmix.report.wanted import Wanted

    found = describe(location, Wanted(kept, ngrams, top, tokenizer, workers))
    if parquet is not None:
        write_parquet(found, parquet)
    render.as_json(found) if as_json else _show(found)


def _show(found: dict[str, Any]) -> None:
    from dolmix.report.tables import tables

    for name, told in found["sources"].items():
        rows = tables({"sources": {name: told}})
        render.lines([f"{name}: {_headline(told['counts'], found['view'])}"])
        for table, (title, columns) in _SHOWN.items():
            _print(title.format(**_about(told)), columns, rows[table])
        render.lines([""])
    render.lines(f"note: {line}" for line in found["notes"])


_QUANTILES = ("p0", "p1", "p5", "p25", "p50", "p75", "p95", "p99", "p100")
_SHOWN: dict[str, tuple[str, tuple[str, ...]]] = {
    "counts": ("counts", ("name", "count")),
    "verdicts": ("dropped", ("reason", "documents", "bytes", "frac")),
    "duplicates": (
        "duplicates",
        ("step", "documents", "duplicates", "duplicate_frac", "dropped", "clusters"),
    ),
    "clusters": ("sizes of clusters", ("step", "from", "to", "clusters", "members")),
    "lengths": ("lengths", ("unit", "from", "to", "documents", "sum")),
    "columns": ("columns", ("column", "values", "nulls", "mean", *_QUANTILES)),
    "values": ("most frequent values", ("column", "value", "count")),
    "languages": ("languages", ("language", "documents", "bytes", "tokens", "kept")),
    "domains": ("domains{domains}", ("domain", "documents", "kept", "tokens")),
    "tokens": ("tokens", ("id", "text", "count")),
    "ngrams": ("n-grams{ngrams}", ("n", "ngram", "count", "frac")),
}
"""Table → its title, and the columns of it that are printed where they hold something."""


def _headline(counts: dict[str, Any], view: str) -> str:
    tokens = "" if counts["tokens"] is None else f", {counts['tokens']:,} tokens"
    size = f"{counts['bytes'] / 1e6:,.1f} MB"
    return f"{counts['documents']:,} documents ({view}), {size}{tokens}"


def _about(told: dict[str, Any]) -> dict[str, str]:
    """Say of domains and n-grams what they are of, and how exact they are."""
    domains, ngrams = told["domains"], told.get("ngrams", ())
    about = ""
    if domains:
        distinct = domains["distinct"]
        many = f"more than can be told apart, counts short by {domains['error']:,} at most"
        unit = domains["unit"] + ("s" if distinct != 1 else "")
        about = f": {many if distinct is None else f'{distinct:,} {unit}'}"
        about += f", of the {domains['documents']:,} documents ({domains['of']}); "
        about += f"{domains['without_url']:,} have no URL"
    bounds = ", ".join(f"{g['n']}: {g['elsewhere']:,}" for g in ngrams if g["elsewhere"])
    unlisted = f"; of those not counted none occurs more often than, by n, {bounds}"
    return {"domains": about, "ngrams": f": exact counts{unlisted if bounds else ''}"}


def _print(title: str, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    """Print a table, without the columns that are empty."""
    there = [c for c in columns if any(row.get(c) is not None for row in rows)]
    if there:
        render.lines(["", f"  {title}"])
        cells = [[_cell(row.get(column)) for column in there] for row in rows]
        indented = ([f"  {first}", *rest] for first, *rest in cells)
        render.table([f"  {there[0]}", *there[1:]], indented)


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= SHOWN_CHARACTERS else f"{value[:SHOWN_CHARACTERS]}..."
    return value
