"""`dolmix shards`: look at stores and check them."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from dolmix.cli import render
from dolmix.cli.options import AsJson, StoreDir
from dolmix.cli.shard_lines import derived_lines, manifest_lines, shown_lines

app = typer.Typer(
    no_args_is_help=True, help="Stores: list, show, verify, repair, count, derive, export, import."
)

StorePaths = Annotated[
    list[str],
    typer.Argument(metavar="FOLDER_OR_STORE...", help="Stores, or folders of stores, or URIs."),
]
StoreAt = Annotated[str, typer.Argument(metavar="STORE", help="Store directory or its URI.")]
TokenizerFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The tokenizer of the store, to print text.")
]
Document = Annotated[int | None, typer.Option(metavar="N", help="Show document N, from 0.")]
Instance = Annotated[
    int | None, typer.Option(metavar="N", help="Show instance N, from 0, of --length tokens.")
]
Span = Annotated[
    str | None, typer.Option(metavar="A:B", help="Show the tokens from A up to B, from 0.")
]
Length = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Tokens of an instance (sequence_length).")
]
PackingName = Annotated[
    str, typer.Option(metavar="NAME", help="concat, bestfit or pad; the last two need a pack.")
]
PackName = Annotated[
    str | None, typer.Option(metavar="NAME", help="Make the pack bestfit or pad of --length.")
]
Repeats = Annotated[
    bool, typer.Option("--repeats", help="Flag the instances of --length that repeat themselves.")
]
LossColumn = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="Make the loss mask of a kept column of spans.")
]
Roles = Annotated[
    list[str] | None, typer.Option("--role", metavar="ROLE", help="Roles that --loss counts.")
]
FormatName = Annotated[str, typer.Argument(metavar="FORMAT", help="datatrove, megatron or olmo.")]
NewFolder = Annotated[Path, typer.Argument(metavar="FOLDER", help="New folder to write.")]
Inputs = Annotated[
    Path, typer.Argument(metavar="INPUT", help="Folder of token files, or one of them.")
]
NewStore = Annotated[
    Path, typer.Argument(metavar="STORE", help="Store to commit, <source>@<version>.")
]
NeededTokenizer = Annotated[
    Path, typer.Option("--tokenizer", metavar="FILE", help="The tokenizer that made the ids.")
]
EosToken = Annotated[str, typer.Option(metavar="TOKEN", help="Token that ends every document.")]
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
    path: StoreAt,
    doc: Document = None,
    instance: Instance = None,
    tokens: Span = None,
    length: Length = None,
    packing: PackingName = "concat",
    tokenizer: TokenizerFile = None,
    as_json: AsJson = False,
) -> None:
    """Print a manifest, or ids and text of a part of the store.

    The part is a document, an instance, or a span of tokens. Examples:

    dolmix shards show stores/web@1 --doc 17 --tokenizer olmoe.json

    dolmix shards show stores/web@1 --instance 5 --length 4096 --packing bestfit
    """
    from dolmix.shards import open_store
    from dolmix.shards.show import Part, show_part

    with open_store(path) as store:
        value = show_part(store, Part.of(doc, instance, tokens, length, packing), tokenizer)
    render.as_json(value) if as_json else render.lines(shown_lines(value))


@app.command()
def verify(path: StoreDir, full: Full = False, as_json: AsJson = False) -> None:
    """Check a store; exit 1 with findings. Example: dolmix shards verify stores/web@1 --full."""
    from dolmix.shards.derived import derived_faults
    from dolmix.shards.verify import verify as find_faults

    findings = find_faults(path, full=full)
    findings += derived_faults(path) if full and not findings else []
    if as_json:
        render.as_json([{"file": f.file, "message": f.message} for f in findings])
    else:
        checked = "every byte" if full else "sizes and counts"
        render.lines([str(f) for f in findings] or [f"{path}: {checked} as the manifest says"])
    if findings:
        raise typer.Exit(1)


@app.command()
def repair(path: StoreDir, as_json: AsJson = False) -> None:
    """Put right what can be; exit 1 for the rest. Example: dolmix shards repair stores/web@1."""
    from dolmix.shards.repair import repair as put_right

    done, findings = put_right(path)
    if as_json:
        repairs, wrong = ([asdict(entry) for entry in found] for found in (done, findings))
        render.as_json({"repaired": repairs, "findings": wrong})
    else:
        repaired = [f"{entry.file}: {entry.action}" for entry in done] or ["nothing to repair"]
        render.lines([*repaired, *(f"still wrong: {finding}" for finding in findings)])
    if findings:
        raise typer.Exit(1)


@app.command()
def stats(
    path: StoreDir, top: Top = 10, tokenizer: TokenizerFile = None, as_json: AsJson = False
) -> None:
    """Count a store's tokens. Example: dolmix shards stats stores/web@1 --top 20."""
    from dolmix.shards import open_store
    from dolmix.shards.stats import describe_contents

    with open_store(path) as store:
        value = describe_contents(store, top=top, tokenizer=tokenizer)
    render.as_json(value) if as_json else _print_stats(value)


@app.command()
def derive(
    path: StoreDir,
    length: Length = None,
    pack: PackName = None,
    repeats: Repeats = False,
    loss: LossColumn = None,
    role: Roles = None,
    as_json: AsJson = False,
) -> None:
    """Make what training reads beside a store: a pack, repeat flags, a loss mask.

    What is there already is found again. Example: dolmix shards derive stores/web@1 --length 4096
    --pack bestfit --repeats.
    """
    from dolmix.order.derive import Wanted, derive_for_training

    wanted = Wanted.of(length=length, pack=pack, repeats=repeats, loss=loss, roles=role)
    made = derive_for_training(path, wanted)
    render.as_json(made) if as_json else render.lines(derived_lines(made))


@app.command("export")
def export_(path: StoreDir, form: FormatName, folder: NewFolder, as_json: AsJson = False) -> None:
    """Write a store for another trainer. Example: dolmix shards export stores/web@1 megatron out.

    Token files are hard links to the store's where the file system allows: never write into them.
    """
    from dolmix.shards import open_store
    from dolmix.shards.interop import export_store, format_of

    with open_store(path) as store:
        files = [str(file) for file in export_store(store, folder, format_of(form))]
    render.as_json(files) if as_json else render.lines(files)


@app.command("import")
def import_(
    form: FormatName,
    inputs: Inputs,
    store: NewStore,
    tokenizer: NeededTokenizer,
    eos: EosToken = "<|endoftext|>",
    as_json: AsJson = False,
) -> None:
    """Commit token files of another trainer as a store.

    Example: dolmix shards import datatrove tokens/ stores/web@1 --tokenizer olmoe.json.
    """
    from dolmix.shards.interop import format_of, import_store
    from dolmix.tokenizer import Tokenizer, TokenizerConfig

    pin = Tokenizer(TokenizerConfig(path=tokenizer, eos=eos, special_in_text="allow")).pin()
    manifest = import_store(inputs, store, format_of(form), tokenizer=pin).model_dump(mode="json")
    render.as_json(manifest) if as_json else render.lines(manifest_lines(manifest))


def _print_stats(value: dict[str, Any]) -> None:
    totals = value["totals"]
    render.lines([value["store"]])
    counted = {**totals, "distinct tokens": value["distinct_tokens"]}
    render.table(["total", "count"], [(n.replace("_", " "), c) for n, c in counted.items()])
    render.lines([f"bytes a token  {value['bytes_per_token'] or 0:.3f}", ""])
    render.table(["length", "tokens"], value["length_quantiles"].items())
    render.lines([""])
    bins = [list(entry.values()) for entry in value["length_histogram"]]
    render.table(["from", "to", "documents", "tokens"], bins)
    render.lines(["", *(_column_line(*column) for column in value["columns"].items()), ""])
    render.table(["shard", "tokens", "documents"], [list(s.values()) for s in value["shards"]])
    render.lines([""])
    tokens = [[str(t["id"]), t["count"], _quoted(t["text"])] for t in value["top_tokens"]]
    render.table(["id", "count", "token"], tokens)


def _column_line(name: str, summary: dict[str, Any]) -> str:
    """Name, counts, and what there is of range, quantiles and frequent values, on one line."""
    told = [f"{name}   {summary['values']:,} values, {summary['missing']:,} missing"]
    if "mean" in summary:
        told += [f"{n} {summary[n]:.6g}" for n in ("min", "mean", "max")]
        told += [f"{n} {v:.6g}" for n, v in summary["quantiles"].items()]
    told += [f"{v['value']!r} {v['count']:,}" for v in summary.get("top", [])]
    return "  ".join(told)


def _quoted(text: str | None) -> str | None:
    return None if text is None else repr(text)
