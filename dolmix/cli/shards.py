"""`dolmix shards`: look at stores and check them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dolmix.cli import render
from dolmix.cli.options import AsJson, StoreDir

app = typer.Typer(no_args_is_help=True, help="Stores: list, show, verify, count.")

StorePaths = Annotated[
    list[Path], typer.Argument(metavar="FOLDER_OR_STORE...", help="Stores, or folders of stores.")
]
TokenizerFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The tokenizer of the store, to print text.")
]
Document = Annotated[int | None, typer.Option(metavar="N", help="Show document N, from 0.")]
Full = Annotated[bool, typer.Option("--full", help="Read every byte, not sizes alone.")]
Top = Annotated[int, typer.Option(min=0, metavar="N", help="Most frequent tokens to list.")]


@app.command("ls")
def list_(paths: StorePaths, as_json: AsJson = False) -> None:
    """List stores. Example: dolmix shards ls runs/demo/stores."""
    from dolmix.shards.describe import list_stores

    entries = list_stores(paths)
    if as_json:
        return render.as_json(entries)
    columns = ("store", "tokens", "documents", "dtype")
    rows = [[*(entry[c] for c in columns), entry["content_hash"][:7]] for entry in entries]
    render.table([*columns, "hash"], rows)
    return None


@app.command()
def show(
    path: StoreDir,
    doc: Document = None,
    tokenizer: TokenizerFile = None,
    as_json: AsJson = False,
) -> None:
    """Print a manifest, or one document. Example: dolmix shards show stores/web@1 --doc 17."""
    from dolmix.shards import open_store
    from dolmix.shards.describe import describe_document

    lines = _manifest_lines if doc is None else _document_lines
    with open_store(path) as store:
        if doc is None:
            value = store.manifest.model_dump(mode="json")
        else:
            value = describe_document(store, doc, tokenizer)
    render.as_json(value) if as_json else render.lines(lines(value))


@app.command()
def verify(path: StoreDir, full: Full = False, as_json: AsJson = False) -> None:
    """Check a store; exit 1 with findings. Example: dolmix shards verify stores/web@1 --full."""
    from dolmix.shards.verify import verify as find_faults

    findings = find_faults(path, full=full)
    if as_json:
        render.as_json([{"file": f.file, "message": f.message} for f in findings])
    else:
        checked = "every byte" if full else "sizes and counts"
        render.lines([str(f) for f in findings] or [f"{path}: {checked} as the manifest says"])
    if findings:
        raise typer.Exit(1)


@app.command()
def stats(
    path: StoreDir, top: Top = 10, tokenizer: TokenizerFile = None, as_json: AsJson = False
) -> None:
    """Count a store's tokens. Example: dolmix shards stats stores/web@1 --top 20."""
    from dolmix.shards import open_store
    from dolmix.shards.describe import describe_contents

    with open_store(path) as store:
        value = describe_contents(store, top=top, tokenizer=tokenizer)
    render.as_json(value) if as_json else _print_stats(value)


def _manifest_lines(manifest: dict[str, Any]) -> list[str]:
    totals, tokenizer = manifest["totals"], manifest["tokenizer"]
    lengths = " ".join(f"{name} {n:,}" for name, n in manifest["length_quantiles"].items())
    return [
        f"{manifest['source']}@{manifest['version']}   {manifest['format']}",
        f"  tokens     {totals['tokens']:,} {manifest['dtype']}, {totals['unk_tokens']:,} unknown",
        f"  documents  {totals['documents']:,}, of {totals['bytes']:,} bytes of text",
        f"  lengths    {lengths or 'none'}",
        f"  shards     {len(manifest['shards']):,}",
        f"  parents    {len(manifest['parents']):,} input files",
        f"  tokenizer  {tokenizer['digest'][:7]}, largest id {tokenizer['largest_id']:,}",
        f"  EOS        {tokenizer['eos']} = {tokenizer['eos_id']:,}",
        f"  specials   {manifest['special_in_text']} in text",
        f"  content    {manifest['content_hash']}",
    ]


def _document_lines(entry: dict[str, Any]) -> list[str]:
    lines = [
        f"document {entry['document']:,}   {entry['id']}",
        f"  from     {entry['path']}, record {entry['record']:,}",
        f"  url      {entry['url'] or '-'}",
        f"  tokens   {entry['num_tokens']:,} at [{entry['start']:,}, {entry['stop']:,})",
        *(f"  {name}  {value}" for name, value in entry["columns"].items()),
    ]
    if "text" in entry:
        return [*lines, "", entry["text"]]
    return [*lines, f"  ids      {' '.join(map(str, entry['tokens']))}"]


def _print_stats(value: dict[str, Any]) -> None:
    totals = value["totals"]
    render.lines([value["store"]])
    counted = {**totals, "distinct tokens": value["distinct_tokens"]}
    render.table(["total", "count"], [(n.replace("_", " "), c) for n, c in counted.items()])
    render.lines([f"bytes a token  {value['bytes_per_token'] or 0:.3f}", ""])
    render.table(["length", "tokens"], value["length_quantiles"].items())
    render.lines([""])
    render.table(["shard", "tokens", "documents"], [list(s.values()) for s in value["shards"]])
    render.lines([""])
    tokens = [[str(t["id"]), t["count"], _quoted(t["text"])] for t in value["top_tokens"]]
    render.table(["id", "count", "token"], tokens)


def _quoted(text: str | None) -> str | None:
    return None if text is None else repr(text)
