"""Training the n-gram model of the `perplexity` filter, on text that its user trusts.

Two readings of the texts: units are counted for the vocabulary, then every unit's id is written
down and counted in threes. The bytes of the model follow from the settings and the texts alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from dolmix.config import Schema
from dolmix.document import BoolArray, F64Array, TextBatch, U64Array
from dolmix.errors import DataError
from dolmix.learned.ngram_estimate import estimate
from dolmix.sources import BadRecord, BadRecords, Fields, Part, plan_parts, read_part
from dolmix.text.hashes import name_hashes
from dolmix.text.ngram_model import BOUNDARY_ID, STEPS, NgramModel
from dolmix.text.ngram_model_counts import SYMBOLS, unit_hashes, unit_ids
from dolmix.text.ngram_model_tables import ID_BITS, word_table

PERSON = b"dolmix-ngram-1"
RANGE = 1 << 64
PART_BYTES = 64 << 20
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class NgramTraining(Schema):
    """Settings of one n-gram model."""

    inputs: Annotated[tuple[str, ...], Field(min_length=1)]
    """Text to trust: paths, globs or URIs of .jsonl and .parquet, .gz and .zst too."""
    fields: Fields = Fields()
    """Where text and id stand in a record."""
    output: Path
    """File that the model is written to."""
    vocabulary: Annotated[int, Field(ge=1, le=(1 << ID_BITS) - 2)] = 1 << 17
    """Units that the model knows, at most: the most frequent ones."""
    min_count: Annotated[int, Field(ge=1)] = 2
    """A unit seen fewer times is unknown; from these the model learns what unknown units cost."""
    min_trigram: Annotated[int, Field(ge=1)] = 2
    """A group of three units seen fewer times is left out."""
    max_bytes: Annotated[int, Field(ge=1)] = 128 << 20
    """Bytes of text to train on; of more, parts of the inputs are taken in a keyed order until
    they hold as much. Training takes about 20 bytes of memory for each."""
    held_out_frac: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Share of the documents that are kept from training, and tell how well the model predicts."""
    seed: int = 0
    """Another seed holds other documents out, and takes parts in another order."""


@dataclass(frozen=True, slots=True)
class TrainedNgram:
    """A model that was written."""

    path: Path
    digest: str
    """Of its tables."""
    about: dict[str, Any]
    """What its file says of its making."""

    def describe(self) -> dict[str, Any]:
        """Give everything as plain data."""
        return {"path": str(self.path), "digest": self.digest, **self.about}


def train(config: NgramTraining) -> TrainedNgram:
    """Train a model and write it.

    Raises DataError for inputs that cannot be read, or hold no text.
    """
    parts = _parts(config)
    hashes = _vocabulary(config, parts)
    words = word_table(hashes)
    spelt = np.zeros((SYMBOLS, SYMBOLS), np.int64)
    streams = [np.full(2, BOUNDARY_ID, np.int32)]
    documents = num_bytes = 0
    for batch in _texts(config, parts, held_out=False):
        streams.append(unit_ids(batch, words, spelt))
        documents += len(batch)
        num_bytes += int(batch.num_bytes.sum())
    stream = np.concatenate(streams)
    about = {
        "settings": config.model_dump(mode="json", exclude={"inputs", "output", "fields"}),
        "inputs": [{"path": part.path, **part.identity} for part in parts],
        "documents": documents,
        "bytes": num_bytes,
        "units": int(stream.size) - 2 - 2 * documents,
        "vocabulary": int(hashes.size) + 2,
    }
    model = estimate(
        stream,
        vocabulary=int(hashes.size) + 2,
        words=words,
        spelt=spelt,
        min_trigram=config.min_trigram,
        about=about,
    )
    told = {**model.about, "held_out": _held_out(config, parts, model)}
    model = NgramModel(**{**vars(model), "about": told})
    return TrainedNgram(config.output, model.write(config.output), told)


def _parts(config: NgramTraining) -> list[Part]:
    """Parts of the inputs, in a keyed order."""
    parts = plan_parts(
        config.inputs, part_bytes=PART_BYTES, splittable=config.fields.id is not None
    )
    places = [f"{n}\x1f{part.path}" for n, part in enumerate(parts)]
    return [parts[n] for n in np.argsort(_draws(config.seed, places), kind="stable")]


def _vocabulary(config: NgramTraining, parts: Sequence[Part]) -> U64Array:
    """Hashes of the units that the model knows, the most frequent first."""
    found, counts = np.zeros(0, np.uint64), np.zeros(0, np.int64)
    for batch in _texts(config, parts, held_out=False):
        new, times = np.unique(unit_hashes(batch), return_counts=True)
        found, places = np.unique(np.concatenate([found, new]), return_inverse=True)
        both = np.concatenate([counts, times])
        counts = np.bincount(places, both, found.size).astype(np.int64)
    if not found.size:
        raise DataError(f"{', '.join(config.inputs)}: no text to train on. Look at 'fields'.")
    kept = counts >= config.min_count
    found, counts = found[kept], counts[kept]
    return found[np.lexsort((found, -counts))][: config.vocabulary]


def _texts(config: NgramTraining, parts: Sequence[Part], *, held_out: bool) -> Iterator[TextBatch]:
    """Yield the documents to train on, or those held out of the same parts."""
    left = config.max_bytes
    for part in parts:
        if left <= 0:
            return
        for batch in read_part(part, config.fields, [], BadRecords(), _refuse):
            held = _held(config, batch)
            left -= int(batch.num_bytes[~held].sum())
            rows = held if held_out else ~held
            if rows.any():
                yield batch.take(rows)
            if left <= 0:
                return


def _refuse(record: BadRecord) -> None:
    """Take no bad record: reading stops at the first."""


def _held(config: NgramTraining, batch: TextBatch) -> BoolArray:
    """(N,) bool: documents that are held out, by a keyed hash of their ids."""
    limit = np.uint64(int(config.held_out_frac * RANGE))
    drawn: BoolArray = _draws(config.seed, batch.ids.to_pylist()) < limit
    return drawn


def _draws(seed: int, names: Sequence[str]) -> U64Array:
    """(N,) uint64: a hash of each name, keyed by a seed."""
    key = str(seed).encode()[:64]
    return name_hashes(names, blake2b(digest_size=8, key=key, person=PERSON))


def _held_out(config: NgramTraining, parts: Sequence[Part], model: NgramModel) -> dict[str, Any]:
    """Tell how well a model predicts what was held out of its training."""
    totals, perplexities = np.zeros(3, np.int64), [np.zeros(0)]
    for batch in _texts(config, parts, held_out=True):
        scores = model.score(batch)
        totals += [int(scores.units.sum()), int(scores.unknown.sum()), int(scores.cost.sum())]
        perplexities.append(scores.perplexity())
    found: F64Array = np.concatenate(perplexities)
    found = found[~np.isnan(found)]
    units, unknown, cost = (int(n) for n in totals)
    if not units:
        return {"documents": 0}
    return {
        "documents": int(found.size),
        "units": units,
        "unknown_frac": round(unknown / units, 6),
        "bits_per_unit": round(cost / STEPS / units, 6),
        "perplexity": {str(q): round(float(np.quantile(found, q)), 3) for q in QUANTILES},
    }
