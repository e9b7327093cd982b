"""Fluency without labels: how surprising a text is to an n-gram model of text that one trusts.

The model is trained by `dolmix classifier train-ngram`. Buckets are those of CCNet
(arXiv:1911.00359): documents sorted by perplexity are cut into head, middle and tail, there by
terciles of each language, here at shares or perplexities that the pipeline file gives.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from dolmix.document import Columns, TextBatch
from dolmix.errors import FilterError
from dolmix.files.commit import file_digest
from dolmix.filters.base import Filter, OnMissing, Quantile, Rule, required_file

Share = Annotated[float, Field(gt=0, lt=1)]
Bucket = Literal["head", "middle", "tail"]
BUCKETS: tuple[Bucket, ...] = ("head", "middle", "tail")
ADVICE = "Train one with `dolmix classifier train-ngram`."


class Perplexity(Filter):
    """Drop documents that an n-gram model finds too surprising."""

    rule_settings = ("max_perplexity", "drop_worst_frac", "keep", "on_missing")

    type: Literal["perplexity"] = "perplexity"
    model: Path
    """A model that `dolmix classifier train-ngram` wrote."""
    max_perplexity: Annotated[float, Field(gt=0)] | None = None
    """Largest perplexity of a unit (word, sign, character of unspaced scripts)."""
    drop_worst_frac: Share | None = None
    """Share of the source's documents to drop, those of the highest perplexity; the run finds the
    limit in its own data."""
    buckets: tuple[Share, Share] | None = None
    """Shares of the source's documents in head, and in head and middle, as [0.333, 0.667]: the run
    finds `head_at_most` and `middle_at_most` in its own data."""
    head_at_most: Annotated[float, Field(gt=0)] | None = None
    """Largest perplexity of the bucket head."""
    middle_at_most: Annotated[float, Field(gt=0)] | None = None
    """Largest perplexity of the bucket middle; the rest is tail."""
    keep: Annotated[tuple[Bucket, ...], Field(min_length=1)] | None = None
    """Buckets to keep; null keeps all."""
    on_missing: OnMissing = "keep"
    """What to do with a document without units, which has no perplexity."""

    @model_validator(mode="after")
    def _one_limit_each(self) -> Self:
        share, limit = self.drop_worst_frac, self.max_perplexity
        if share is not None and limit is not None:
            raise ValueError(
                f"drop_worst_frac {share} and max_perplexity {limit}: give one of them"
            )
        ends = (self.head_at_most, self.middle_at_most)
        if self.buckets is not None and ends != (None, None):
            raise ValueError(f"buckets {self.buckets}, and they end at {ends}: give one of the two")
        if (ends[0] is None) != (ends[1] is None):
            raise ValueError(f"buckets end at {ends}: give both head_at_most and middle_at_most")
        for low, high in (self.buckets or (0.0, 1.0), (ends[0] or 0.0, ends[1] or 1e308)):
            if low > high:
                raise ValueError(f"the bucket head ends at {low:g}, behind middle at {high:g}")
        if self.keep is not None and not self._has_buckets:
            raise ValueError(f"keep {self.keep} names buckets: give buckets, as [0.333, 0.667]")
        if set(self.keep or ()) == {"head", "tail"}:
            raise ValueError(f"keep {self.keep} leaves middle out; name neighbouring buckets")
        return self

    @property
    def definition(self) -> str:
        """What the numbers are of."""
        return "modified Kneser-Ney trigrams of words and signs, dolmix-ngram-1"

    def digests(self) -> dict[str, str]:
        """Digest of the model file."""
        return {"model": file_digest(self._model_file())}

    def quantiles(self) -> tuple[Quantile, ...]:
        """Limits that a share of the documents is above."""
        asked = []
        if self.drop_worst_frac is not None:
            asked.append(Quantile("max_perplexity", "perplexity", self.drop_worst_frac, "high"))
        if self.buckets is not None:
            above = [round(1 - share, 12) for share in self.buckets]
            for setting, frac in zip(("head_at_most", "middle_at_most"), above, strict=True):
                asked.append(Quantile(setting, "perplexity", frac, "high", "buckets"))
        return tuple(asked)

    def column_types(self) -> dict[str, pa.DataType]:
        """Perplexity, bits a byte and share of unknown units are null without units."""
        types = {
            "perplexity": pa.float64(),
            "bits_per_byte": pa.float64(),
            "unknown_frac": pa.float64(),
            "units": pa.int64(),
        }
        return {**types, "bucket": pa.string()} if self._has_buckets else types

    def columns(self, texts: TextBatch) -> Columns:
        """Score every document.

        Raises FilterError if the model is absent, and DataError if it is no model.
        """
        from dolmix.text.ngram_model import STEPS, open_model

        scores = open_model(str(self._model_file().resolve())).score(texts)
        empty = scores.units == 0
        perplexity = pa.array(scores.perplexity(), mask=empty)
        size = np.maximum(texts.num_bytes, 1) * float(STEPS)
        unknown = scores.unknown / np.maximum(scores.units, 1)
        columns = {
            "perplexity": perplexity,
            "bits_per_byte": pa.array(scores.cost / size, mask=empty),
            "unknown_frac": pa.array(unknown, mask=empty),
            "units": pa.array(scores.units),
        }
        return {**columns, "bucket": self._bucket(perplexity)} if self._has_buckets else columns

    def rules(self) -> Iterator[Rule]:
        """Too surprising, or in a bucket before or behind those that are kept."""
        yield Rule("perplexity", above=self.max_perplexity, on_missing=self.on_missing)
        if self.keep is not None:
            ends = (None, self.head_at_most, self.middle_at_most, None)
            places = [BUCKETS.index(bucket) for bucket in self.keep]
            low, high = ends[min(places)], ends[max(places) + 1]
            missing = self.on_missing
            yield Rule("perplexity", at_most=low, reason="bucket_low", on_missing=missing)
            yield Rule("perplexity", above=high, reason="bucket_high", on_missing=missing)

    @property
    def _has_buckets(self) -> bool:
        return self.buckets is not None or self.head_at_most is not None

    def _bucket(self, perplexity: pa.DoubleArray) -> pa.StringArray:
        """Bucket of each document; null without perplexity, and while limits are not found."""
        if self.head_at_most is None or self.middle_at_most is None:
            return pa.nulls(len(perplexity), pa.string())
        values = np.asarray(perplexity.fill_null(0.0).to_numpy(zero_copy_only=False))
        limits = [self.head_at_most, self.middle_at_most]
        places = np.searchsorted(limits, values, side="left")
        mask = perplexity.is_null().to_numpy(zero_copy_only=False)
        return pa.array(BUCKETS, pa.string()).take(pa.array(places, mask=mask))

    def _model_file(self) -> Path:
        path = required_file(self.model, setting=f"{self.label}.model", advice=ADVICE)
        if path.stat().st_size == 0:
            raise FilterError(f"{self.label}.model: {path} is empty. {ADVICE}")
        return path
