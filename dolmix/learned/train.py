"""Training a classifier from labelled rows, with its card: `dolmix classifier train`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from dolmix.config import Frac, Schema
from dolmix.files.commit import new_file, write_json
from dolmix.learned.baselines import baselines
from dolmix.learned.card import card_paths, describe, render
from dolmix.learned.examples import Example, Rows, read_rows, split
from dolmix.learned.fit import Fitting, Scorer, fit
from dolmix.learned.metrics import by_task, measure, thresholds
from dolmix.text.classifier_text import TRAINING_TEXTS

ORDER = b"dolmix-order-1"


class Target(Schema):
    """What a classifier tells, and how its score is used."""

    positive: str
    """The label whose probability is the score."""
    text: Literal["datatrove", "dolma", "dclm", "spaced", "shaped"] = "spaced"
    """What the model reads of a text: see docs/classifiers.md; the filter must use the same."""
    worst: Literal["low", "high"] = "low"
    """Which end of the score is dropped: `low` for a quality, `high` for a fault."""
    threshold: Frac = 0.5
    """Threshold that the card's figures are given at."""
    held_out_frac: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the sources of rows that is kept from training, and evaluated on."""
    fitting: Fitting = Fitting()
    """How it is fitted."""


class Training(Target):
    """Settings of `dolmix classifier train`."""

    name: str
    """The classifier's name, for its card."""
    rows: Annotated[tuple[Rows, ...], Field(min_length=1)]
    """Labelled rows, or one source of positives and one of negatives."""
    output: Path
    """File that the model is written to: `.ftz`, or `.bin` with `fitting.quantise: false`."""
    notes: tuple[str, ...] = ()
    """Sentences for the card: what the labels mean, where the model is weak."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A model that was written, and its card."""

    path: Path
    card: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Give it as plain data."""
        return {"model": str(self.path), **self.card}


def train(config: Training) -> Trained:
    """Train, evaluate on what is held out and on what may not train, and write model and cards.

    Raises DataError for rows that cannot be read, or leave nothing to train on.
    """
    kept, rest = split_rows(config)
    prepare = TRAINING_TEXTS[config.text]
    ordered = in_keyed_order(kept, config.fitting.seed)
    fit(((e.label, prepare(e.text)) for e in ordered), config.fitting, config.output)
    return write_cards(config, kept, rest)


def split_rows(config: Training) -> tuple[list[Example], list[Example]]:
    """Read all rows, and split them into those to train on and all others."""
    examples = (example for rows in config.rows for example in read_rows(rows))
    return split(examples, frac=config.held_out_frac, seed=config.fitting.seed)


def write_cards(config: Training, kept: Sequence[Example], rest: Sequence[Example]) -> Trained:
    """Evaluate a model that was trained so, and write its cards.

    kept  the examples that it was trained on
    rest  all others: held out, or such that may not train
    """
    output = config.output
    card = describe(output, settings=config.model_dump(mode="json"), examples=kept)
    for key, trains in (("held_out", True), ("elsewhere", False)):
        some = [e for e in rest if e.trains == trains]
        card[key] = figures(output, some, config, baseline=config.name)
    as_json, as_text = card_paths(output)
    write_json(as_json, card, indent=2)
    with new_file(as_text) as attempt:
        attempt.write_text(render(card), encoding="utf-8")
    return Trained(output, card)


def in_keyed_order(examples: Iterable[Example], seed: int) -> list[Example]:
    """Put examples in an order that follows from their texts and the seed alone."""
    key = str(seed).encode()

    def draw(example: Example) -> bytes:
        text = f"{example.label}\x1f{example.text}".encode("utf-8", "replace")
        return blake2b(text, digest_size=16, key=key, person=ORDER).digest()

    return sorted(examples, key=draw)


def figures(
    model: Path, examples: Sequence[Example], target: Target, *, baseline: str
) -> dict[str, Any]:
    """Evaluate a model: all together, by task and language, by share dropped, beside baselines.

    baseline  whose hand rules to compare with: `ads`, `fluency`, or anything for none
    """
    scorer, prepare = Scorer(model, target.positive), TRAINING_TEXTS[target.text]
    scores = scorer.scores([prepare(e.text) for e in examples])
    positive = np.array([e.label == target.positive for e in examples], np.bool_)
    return {
        "all": measure(positive, scores, target.threshold),
        "by_task": by_task(examples, positive, scores, target.threshold),
        "thresholds": thresholds(positive, scores, worst=target.worst) if examples else [],
        "baselines": baselines(examples, positive, baseline),
    }
