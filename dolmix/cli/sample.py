"""`dolmix sample`: make the built-in sample."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dolmix.cli import render
from dolmix.cli.options import AsJson

if TYPE_CHECKING:
    from dolmix.sample import Summary

OutDir = Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make the sample in.")]
ShippedOnly = Annotated[
    bool, typer.Option("--shipped-only", help="Only the documents that come with dolmix.")
]
MaxMb = Annotated[
    float, typer.Option("--max-mb", min=0, help="Harvest at most this much text, in 10^6 bytes.")
]
VocabSize = Annotated[
    int, typer.Option("--vocab-size", min=257, help="Entries of the tokenizer that is trained.")
]


def sample(
    out: OutDir,
    shipped_only: ShippedOnly = False,
    max_mb: MaxMb = 12.0,
    vocab_size: VocabSize = 4096,
    as_json: AsJson = False,
) -> None:
    """Make a sample of real documents, without a network.

    Example: dolmix sample runs/sample
    """
    from dolmix.sample import write_sample

    made = write_sample(
        out, shipped_only=shipped_only, max_mb=max_mb, vocab_size=vocab_size, progress=_say
    )
    if as_json:
        render.as_json(made.as_json())
    else:
        _summarise(made)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _origin(made: "Summary") -> str:
    state, packages = "there already" if made.reused else "made", made.made_from["packages"]
    if not packages:  # shipped documents alone
        return state
    origin = f"made from {len(packages)} packages of Python {made.made_from['python']}"
    return f"{state}, {origin}; remove the folder to harvest anew" if made.reused else origin


def _summarise(made: "Summary") -> None:
    _say(f"{made.path}: {_origin(made)}")
    for source, counts in made.sources.items():
        size = f"{counts['bytes'] / 1e6:6.2f} MB"
        _say(f"  {source:<7}{counts['files']:>3} files {counts['documents']:>5,} documents {size}")
    left_out = ", ".join(f"{count:,} {cause}" for cause, count in made.skipped.items())
    _say(f"  left out of the harvest: {left_out or 'nothing'}")
    _say(f"  tokenizer.json: {made.vocab_size:,} entries")
