"""A threshold from one's own data: `dolmix classifier calibrate`.

The limit is the quantile that a run finds for `drop_worst_frac` (`Quantile`), from a keyed half of
the documents; the other half tells what share the limit drops of documents it was not made from.
"""

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from dolmix.config import Schema
from dolmix.document import F64Array
from dolmix.errors import DataError
from dolmix.files.commit import file_digest
from dolmix.filters.base import Quantile
from dolmix.learned.evaluate import Evaluation, target_of
from dolmix.learned.examples import PART_BYTES
from dolmix.learned.fit import Scorer
from dolmix.sources import BadRecord, BadRecords, Fields, plan_parts, read_part
from dolmix.text.classifier_text import TRAINING_TEXTS

HALVES = b"dolmix-halves-1"


class Calibration(Schema):
    """Settings of `dolmix classifier calibrate`; what is null comes from the model's card."""

    inputs: Annotated[tuple[str, ...], Field(min_length=1)]
    """The documents: paths, globs or URIs of .jsonl and .parquet, .gz and .zst too."""
    frac: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Share of the documents to drop."""
    worst: Literal["low", "high"] | None = None
    """Which end of the score is dropped."""
    positive: str | None = None
    """The label whose probability is the score."""
    text: str | None = None
    """What the model reads of a text."""
    fields: Fields = Fields()
    """Where text and id stand in a record."""
    seed: int = 0
    """Another seed cuts other halves."""


def calibrate(model: Path, config: Calibration) -> dict[str, Any]:
    """Find the threshold that drops `frac` of the documents, and check it on the other half.

    Raises DataError for fewer than two documents.
    """
    asked = Evaluation(rows=(), positive=config.positive, text=config.text)
    target, _ = target_of(model, asked)
    scorer, prepare = Scorer(model, target.positive), TRAINING_TEXTS[target.text]
    halves: tuple[list[str], list[str]] = ([], [])
    for name, text in _documents(config):
        halves[_half(name, config.seed)].append(prepare(text))
    made, checked = (scorer.scores(half) for half in halves)
    if not made.size or not checked.size:
        raise DataError(
            f"{', '.join(config.inputs)}: {made.size + checked.size} documents, too few to cut in "
            "two halves and calibrate on one"
        )
    worst = config.worst or target.worst
    found = threshold_of(made, frac=config.frac, worst=worst)
    return {
        "model": str(model),
        "digest": file_digest(model),
        "positive": target.positive,
        "text": target.text,
        "frac": config.frac,
        "worst": worst,
        "threshold": found,
        "documents": int(made.size),
        "dropped_frac": dropped(made, found, worst=worst),
        "held_out_documents": int(checked.size),
        "held_out_dropped_frac": dropped(checked, found, worst=worst),
    }


def threshold_of(scores: F64Array, *, frac: float, worst: Literal["low", "high"]) -> float:
    """Find the limit beyond which is at most `frac` of N > 0 scores; the rule of `Quantile`."""
    limit = Quantile("threshold", "score", frac, worst).limit_of(scores)
    if limit is None:
        raise DataError(f"{scores.size} scores give no threshold")
    return limit


def dropped(scores: F64Array, threshold: float, *, worst: Literal["low", "high"]) -> float:
    """Share of N > 0 scores that is worse than a threshold."""
    return float(np.mean(scores < threshold if worst == "low" else scores > threshold))


def _documents(config: Calibration) -> Iterator[tuple[str, str]]:
    fields = config.fields
    parts = plan_parts(config.inputs, part_bytes=PART_BYTES, splittable=fields.id is not None)
    for part in parts:
        for batch in read_part(part, fields, [], BadRecords(), _refuse):
            yield from zip(batch.ids.to_pylist(), batch.text.to_pylist(), strict=True)


def _half(name: str, seed: int) -> int:
    key = str(seed).encode()
    return blake2b(name.encode(), digest_size=1, key=key, person=HALVES).digest()[0] & 1


def _refuse(record: BadRecord) -> None:
    """Take no bad record: reading stops at the first."""
