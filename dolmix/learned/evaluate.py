"""Asking how good a model is on labelled rows: `dolmix classifier evaluate`."""

from pathlib import Path
from typing import Any

from dolmix.config import Schema
from dolmix.errors import DataError
from dolmix.files.commit import file_digest
from dolmix.learned.card import read_card
from dolmix.learned.examples import Rows, read_rows
from dolmix.learned.train import Target, figures


class Evaluation(Schema):
    """Settings of `dolmix classifier evaluate`; what is null comes from the model's card."""

    rows: tuple[Rows, ...]
    """Labelled rows."""
    positive: str | None = None
    """The label whose probability is the score."""
    text: str | None = None
    """What the model reads of a text."""
    threshold: float | None = None
    """A score above it says positive."""
    baseline: str | None = None
    """Compare with ten rules written by hand: `ads` or `fluency`; null takes the model's name."""


def evaluate(model: Path, config: Evaluation) -> dict[str, Any]:
    """Measure a model on labelled rows: all together, by task and language, beside two baselines.

    Rows whose label is none of the model's, after `labels`, count as not positive. Raises DataError
    without a row, and ConfigError or FilterError for settings that do not fit the model.
    """
    examples = [example for rows in config.rows for example in read_rows(rows)]
    if not examples:
        files = ", ".join(path for rows in config.rows for path in rows.inputs)
        raise DataError(
            f"{files}: no labelled rows to evaluate on. Look at 'label_field' and 'text_field'."
        )
    target, name = target_of(model, config)
    found = figures(model, examples, target, baseline=config.baseline or name)
    return {"model": str(model), "digest": file_digest(model), "positive": target.positive} | found


def target_of(model: Path, config: Evaluation) -> tuple[Target, str]:
    """Read a model's settings from its card, put in what the user gave, and tell its name.

    Raises DataError where there is no card and no `positive`.
    """
    card = read_card(model) if model.is_file() else None
    settings = dict(card["settings"]) if card else {}
    for key in ("positive", "text", "threshold"):
        if getattr(config, key) is not None:
            settings[key] = getattr(config, key)
    if "positive" not in settings:
        raise DataError(
            f"{model} has no card beside it (or one of another model): say positive=LABEL, the "
            "label whose probability is the score"
        )
    return Target.model_validate(settings), card["name"] if card else ""
