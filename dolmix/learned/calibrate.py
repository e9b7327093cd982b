"""A threshold from one's own data: `dolmix classifier calibrate`.

The limit is the quantile that a run finds for `drop_worst_frac` (`Quantile`) in all documents. How
well such a limit holds on others, keyed halves tell: each is judged by the limit of the other, so
every document by a limit found without it.
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
    """Find the threshold that drops `frac` of the documents, and check it on halves not used.

    `held_out_dropped_frac` is the share of all documents that go when each half is judged by the
    limit of the other; `held_out_halves` are the shares of the two, each of which chance alone
    moves by about `held_out_error` (one standard error). Raises DataError for fewer than two
    documents.
    """
    asked = Evaluation(rows=(), positive=config.positive, text=config.text)
    target, _ = target_of(model, asked)
    scorer, prepare = Scorer(model, target.positive), TRAINING_TEXTS[target.text]
    texts: tuple[list[str], list[str]] = ([], [])
    for name, text in _documents(config):
        texts[_half(name, config.seed)].append(prepare(text))
    first, second = (scorer.scores(half) for half in texts)
    if not first.size or not second.size:
        raise DataError(
            f"{', '.join(config.inputs)}: {first.size + second.size} documents, too few to cut in "
            "two halves and check one by the other"
        )
    worst = config.worst or target.worst
    every = np.concatenate([first, second])
    found = threshold_of(every, frac=config.frac, worst=worst)
    return {
        "model": str(model),
        "digest": file_digest(model),
        "positive": target.positive,
        "text": target.text,
        "frac": config.frac,
        "worst": worst,
        "threshold": found,
        "documents": int(every.size),
        "dropped_frac": dropped(every, found, worst=worst),
        **held_out_shares(first, second, frac=config.frac, worst=worst),
    }


def held_out_shares(
    first: F64Array, second: F64Array, *, frac: float, worst: Literal["low", "high"]
) -> dict[str, Any]:
    """Judge each half, of N and M > 0 scores, by the limit of the other.

    The error is that of a share of M found at a quantile of N others, both drawn by chance:
    sqrt(frac (1 - frac) (1 / N + 1 / M)). What one half has too many the other has too few, so the
    share of both together is far closer.
    """
    halves = [
        dropped(checked, threshold_of(made, frac=frac, worst=worst), worst=worst)
        for made, checked in ((second, first), (first, second))
    ]
    sizes = np.array([first.size, second.size])
    return {
        "held_out_dropped_frac": float(np.average(halves, weights=sizes)),
        "held_out_halves": halves,
        "held_out_error": float(np.sqrt(frac * (1 - frac) * (1 / sizes).sum())),
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
