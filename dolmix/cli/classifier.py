"""`dolmix classifier`: train the models of the learned filters, evaluate and calibrate them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dolmix.cli import ngram, render
from dolmix.cli.options import AsJson, Overrides

app = typer.Typer(help="Train, evaluate and calibrate classifiers.", no_args_is_help=True)

app.command("train-ngram")(ngram.train_ngram)

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="Settings (YAML).")]
ModelName = Annotated[
    str, typer.Argument(metavar="MODEL", help="A fastText model, or `ads` or `fluency`.")
]
Inputs = Annotated[
    list[str],
    typer.Argument(metavar="INPUT... [KEY.PATH=VALUE]...", help="Files, globs; and settings."),
]


@app.command("train")
def train(config: ConfigFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Train a classifier from labelled rows, and write it with its card.

    Example: dolmix classifier train configs/classifiers/ads.yaml fitting.threads=2
    """
    from dolmix.config import load
    from dolmix.learned.train import Training
    from dolmix.learned.train import train as train_model

    made = train_model(load(Training, config, overrides or ()))
    _show(made.as_json(), made.card["held_out"], as_json=as_json)


@app.command("evaluate")
def evaluate(model: ModelName, rows: Inputs, as_json: AsJson = False) -> None:
    """Measure a model on labelled rows, by task and language, beside two baselines.

    Example: dolmix classifier evaluate ads rows.jsonl.gz threshold=0.7
    """
    from dolmix.learned.command import evaluation
    from dolmix.learned.evaluate import evaluate as measure

    path, config = evaluation(model, rows)
    found = measure(path, config)
    _show(found, found, as_json=as_json)


@app.command("calibrate")
def calibrate(model: ModelName, inputs: Inputs, as_json: AsJson = False) -> None:
    """Find the threshold that drops a share of documents, and check it on the half not used.

    Example: dolmix classifier calibrate fluency 'data/web/*.jsonl.zst' frac=0.15 --json
    """
    from dolmix.learned.calibrate import calibrate as find
    from dolmix.learned.command import calibration

    path, config = calibration(model, inputs)
    found = find(path, config)
    if as_json:
        render.as_json(found)
    else:
        render.table(("setting", "value"), [[k, str(v)] for k, v in found.items()])


def _show(whole: dict[str, Any], figures: dict[str, Any], *, as_json: bool) -> None:
    from dolmix.learned.card import figure_table

    if as_json:
        render.as_json(whole)
    else:
        render.table(*figure_table(figures))
