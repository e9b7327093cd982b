"""`dolmix classifier train-ngram`: the model of the filter `perplexity`, from text to trust."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dolmix.cli import render
from dolmix.cli.options import AsJson, Overrides

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dolmix.learned.ngram import TrainedNgram

NgramFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="N-gram training file (YAML).")]


def train_ngram(path: NgramFile, settings: Overrides = None, as_json: AsJson = False) -> None:
    """Train an n-gram model on text that you trust, for the filter `perplexity`.

    Example: dolmix classifier train-ngram configs/ngram/trusted.yaml output=models/en.ngram
    """
    from dolmix.config import load
    from dolmix.learned.ngram import NgramTraining, train

    made = train(load(NgramTraining, path, settings or []))
    if as_json:
        render.as_json(made.describe())
    else:
        render.lines(_told(made))


def _told(made: "TrainedNgram") -> "Iterator[str]":
    about = made.about
    yield f"{made.path}  {made.digest[:7]}"
    yield f"  trained on {about['documents']:,} documents, {about['units']:,} units"
    counts = (about["vocabulary"], about["bigrams"], about["trigrams"])
    yield "  {:,} units known, {:,} bigrams, {:,} trigrams".format(*counts)
    held = about["held_out"]
    if held["documents"]:
        unknown, quantiles = held["unknown_frac"], held["perplexity"]
        yield (
            f"  {held['bits_per_unit']:.3f} bits a unit on held-out documents "
            f"({held['documents']:,}; {unknown:.2%} of units unknown)"
        )
        listed = ", ".join(f"{float(q):.0%} {value:,.0f}" for q, value in quantiles.items())
        yield f"  their perplexity, from the least surprising: {listed}"
