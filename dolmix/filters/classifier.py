"""A fastText classifier of one's own, or one that ships with dolmix: quality, adverts, toxicity.

The score of a document is the probability of the labels that the settings name. Probabilities are
those of the package fasttext. With `unit: sentence`, `line` or `paragraph` each unit has a score,
units beyond a limit can be taken out, and the document's score is that of its units: their mean,
weighted by their bytes, or the largest or smallest of them.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from dolmix.config import Frac
from dolmix.document import BoolArray, Columns, F64Array, I64Array, TextBatch
from dolmix.errors import FilterError
from dolmix.files.commit import file_digest
from dolmix.filters.base import EDIT, Filter, OnMissing, Quantile, Rule, required_file

if TYPE_CHECKING:
    from dolmix.text.edits import Edits
    from dolmix.text.fasttext_kernel import Spans
    from dolmix.text.fasttext_scorer import Answers, FastText
    from dolmix.text.sentences import Places

ADVICE = "It is a fastText classification model, .bin or .ftz; `dolmix classifier train` makes one."
Preparation = Literal[
    "datatrove", "stripped", "dolma", "dolma17", "dclm", "joined", "spaced", "shaped"
]
End = Literal["low", "high"]
Limit = Annotated[float, Field(ge=0, le=1)]


class Target(NamedTuple):
    """What is asked of the model, after its card has filled in what the settings leave open."""

    labels: tuple[str, ...]
    text: str
    worst: End


class Classifier(Filter):
    """Drop documents, or cut out their sentences or lines, by the probability of a label."""

    rewrites = True
    rule_settings = (
        *("min_score", "max_score", "drop_worst_frac", "max_removed_frac"),
        *("report_only", "on_missing"),
    )

    type: Literal["classifier"] = "classifier"
    model: Literal["builtin"] | Path
    """A fastText classification model; `builtin` is the one that ships under this filter's name:
    `ads` or `fluency`."""
    labels: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Labels whose probability is the score: their sum, or the largest where the model's labels are
    independent (one-vs-all); null takes what the model's card says."""
    probability: Literal["label", "top"] = "label"
    """`label`: that of `labels`. `top`: that of the first label, and 1 minus it where the first
    label is none of `labels`, as DCLM has it."""
    text: Preparation | None = None
    """What the model reads of a text; null takes what the model's card says, else datatrove."""
    worst: End | None = None
    """Which end of the score `drop_worst_frac` drops; null takes the card's, else low."""
    min_score: Limit | None = None
    """Smallest score of a document."""
    max_score: Limit | None = None
    """Largest score of a document."""
    drop_worst_frac: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the source's documents to drop; the run finds the limit in its own data."""
    unit: Literal["document", "paragraph", "line", "sentence"] = "document"
    """What has a score of its own."""
    sentences: Literal["spacy-en", "blingfire"] = "spacy-en"
    """Whose sentences `unit: sentence` reads: datatrove's for English, or dolma's for any language.
    Each needs the extra of its name."""
    document_score: Literal["mean", "max", "min"] = "mean"
    """The document's score among those of its units; the mean is weighted by their bytes."""
    cut_below: Limit | None = None
    """Take units out whose score is below this."""
    cut_above: Limit | None = None
    """Take units out whose score is above this."""
    max_removed_frac: Frac | None = None
    """Drop a document that loses more than this share of its units' bytes."""
    report_only: bool = False
    """Write the columns and drop nothing."""
    on_missing: OnMissing = "keep"
    """What to do with a document for which the model gives no label."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        fixed = [name for name in ("min_score", "max_score") if getattr(self, name) is not None]
        if self.drop_worst_frac is not None and fixed:
            raise ValueError(f"give either drop_worst_frac or {' and '.join(fixed)}")
        if self.unit == "document" and (self._cuts or self.max_removed_frac is not None):
            raise ValueError(
                "cut_below, cut_above and max_removed_frac are about units: set unit to sentence, "
                "line or paragraph, or give min_score or max_score"
            )
        if self.unit == "document" and self.document_score != "mean":
            raise ValueError(
                f"document_score: {self.document_score} is about units: set unit to sentence, "
                "line or paragraph"
            )
        if self.max_removed_frac is not None and not self._cuts:
            raise ValueError("max_removed_frac needs cut_below or cut_above: nothing is taken out")
        if self.unit != "document" and self.probability == "top" and len(self.labels or "") > 1:
            raise ValueError("probability: top is about one label; name one")
        return self

    @property
    def definition(self) -> str:
        """Whose text preparation, and which probability."""
        return (
            f"fastText, text as {self.text or 'its card'} says, probability of {self.probability}"
        )

    @property
    def splitter(self) -> str:
        """Whose sentences the units are."""
        return f"sentences: {self.sentences}" if self.unit == "sentence" else ""

    def digests(self) -> dict[str, str]:
        """Digests of the model, of its card where a setting is left to it, of what ends sentences.

        Raises FilterError if a file is missing, or if neither settings nor card name a label, or if
        sentences need a package that is not installed.
        """
        path = self._model_file()
        self._target()
        found = {"model": file_digest(path)}
        if self._asks_card and _card_file(path).is_file():
            found["card"] = file_digest(_card_file(path))
        if self.unit == "sentence":
            from dolmix.text.sentences import sentences_digest

            found["sentences"] = sentences_digest(self.sentences)
        return found

    def quantiles(self) -> tuple[Quantile, ...]:
        """Give the limit that a share of the documents is beyond."""
        if self.drop_worst_frac is None:
            return ()
        worst = self._target().worst
        setting = "min_score" if worst == "low" else "max_score"
        return (Quantile(setting, "score", self.drop_worst_frac, worst),)

    def column_types(self) -> dict[str, pa.DataType]:
        """Score of the document, and its first label, or numbers of its units and the edit.

        `score` and `label` are null where the model gives no label.
        """
        types: dict[str, pa.DataType] = {"score": pa.float64()}
        if self.unit == "document":
            return {**types, "label": pa.string(), "label_score": pa.float64()}
        types["units"] = pa.int64()
        if self._cuts:
            from dolmix.text.edits import EDIT_TYPE

            types |= {"units_removed": pa.int64(), "removed_frac": pa.float64(), EDIT: EDIT_TYPE}
        return types

    def columns(self, texts: TextBatch) -> Columns:
        """Score every document, or every unit.

        Raises FilterError if the model is absent, is no model, or lacks a label.
        """
        from dolmix.text.fasttext_scorer import spans_of

        if self.unit != "document":
            return self._unit_columns(texts)
        model = self._model()
        found, scores = self._ask(model, spans_of(texts))
        absent = found.labels[:, 0] < 0
        names = pa.array(model.labels, pa.string())
        return {
            "score": pa.array(scores, mask=absent),
            "label": names.take(pa.array(found.labels[:, 0], mask=absent)),
            "label_score": pa.array(found.probs[:, 0].astype(np.float64), mask=absent),
        }

    def rules(self) -> Iterator[Rule]:
        """Judge the score from below, from above, then how much was taken out."""
        if self.report_only:
            return
        missing = self.on_missing
        yield Rule("score", below=self.min_score, reason="score_low", on_missing=missing)
        yield Rule("score", above=self.max_score, reason="score_high", on_missing=missing)
        if self._cuts:
            yield Rule("removed_frac", above=self.max_removed_frac)

    @property
    def _cuts(self) -> bool:
        return self.cut_below is not None or self.cut_above is not None

    @property
    def _asks_card(self) -> bool:
        asks_worst = self.worst is None and self.drop_worst_frac is not None
        return self.labels is None or self.text is None or asks_worst

    def _unit_columns(self, texts: TextBatch) -> Columns:
        from dolmix.text.fasttext_kernel import Spans

        units = self._units(texts)
        firsts = np.repeat(texts.offsets[:-1], np.diff(units.ends))
        spans = Spans(texts.utf8, firsts + units.starts, firsts + units.stops)
        found, scores = self._ask(self._model(), spans)
        known = found.labels[:, 0] >= 0
        columns = {
            "score": self._document_scores(units, scores, known),
            "units": pa.array(np.diff(units.ends)),
        }
        if not self._cuts:
            return columns
        sizes = (units.stops - units.starts).astype(np.float64)
        out = self._beyond(scores) & known
        removed = _sums(out.astype(np.float64), units.ends).astype(np.int64)
        lost = _sums(sizes * out, units.ends) / np.maximum(_sums(sizes, units.ends), 1)
        return columns | {
            "units_removed": pa.array(removed),
            "removed_frac": pa.array(lost),
            EDIT: self._cut(texts, units, out).to_column(),
        }

    def _units(self, texts: TextBatch) -> "Places":
        from dolmix.text.sentences import Places, split_sentences
        from dolmix.text.units import AS_IT_IS, LINE, PARAGRAPH, split_units

        if self.unit == "sentence":
            return split_sentences(texts, self.sentences)
        unit = LINE if self.unit == "line" else PARAGRAPH
        units = split_units(texts, unit=unit, normalize=AS_IT_IS, min_bytes=0, seed=0)
        return Places(units.starts, units.stops, units.ends)

    def _cut(self, texts: TextBatch, units: "Places", out: BoolArray) -> "Edits":
        from dolmix.text.sentences import cut_sentences
        from dolmix.text.units import cut_units

        if self.unit == "sentence":
            return cut_sentences(texts, units, out)
        return cut_units(*units, out)

    def _document_scores(self, units: "Places", scores: F64Array, known: BoolArray) -> pa.Array:
        """(N,) float64: one of the scores of each document's units, null where none has one."""
        if self.document_score == "mean":
            sizes = np.where(known, units.stops - units.starts, 0).astype(np.float64)
            weights = _sums(sizes, units.ends)
            mean = _sums(sizes * scores, units.ends) / np.maximum(weights, 1)
            return pa.array(mean, mask=weights == 0)
        best = np.maximum if self.document_score == "max" else np.minimum
        found = np.full(len(units.ends) - 1, -np.inf if best is np.maximum else np.inf)
        documents = np.repeat(np.arange(found.size), np.diff(units.ends))
        best.at(found, documents[known], scores[known])
        return pa.array(found, mask=np.isinf(found))

    def _beyond(self, scores: F64Array) -> BoolArray:
        out = np.zeros(scores.size, np.bool_)
        if self.cut_below is not None:
            out |= scores < self.cut_below
        if self.cut_above is not None:
            out |= scores > self.cut_above
        return out

    def _ask(self, model: "FastText", spans: "Spans") -> tuple["Answers", F64Array]:
        """Give the model's answers, and (M,) float64: the score of each text."""
        target = self._target()
        wanted = model.places(target.labels, setting=f"{self.label}.labels")
        asked: I64Array = wanted if self.probability == "label" else wanted[:0]
        found = model.ask(spans, text=target.text, wanted=asked)
        if self.probability == "top":
            first = found.probs[:, 0].astype(np.float64)
            return found, np.where(np.isin(found.labels[:, 0], wanted), first, 1.0 - first)
        chances = found.wanted.astype(np.float64)
        return found, chances.max(axis=1) if model.loss in ("ova", "ns") else chances.sum(axis=1)

    def _target(self) -> Target:
        card: dict[str, Any] = _read_card(self._model_file()) if self._asks_card else {}
        labels = self.labels or ((card["positive"],) if "positive" in card else ())
        if not labels:
            raise FilterError(
                f"{self.label}.labels: name the labels whose probability is the score; "
                f"{self._model_file()} has no card that says so"
            )
        worst: End = self.worst or ("high" if card.get("worst") == "high" else "low")
        return Target(labels, self.text or card.get("text", "datatrove"), worst)

    def _model_file(self) -> Path:
        from dolmix.text.builtin_models import builtin

        path = builtin(self.label) if self.model == "builtin" else Path(self.model)
        return required_file(path, setting=f"{self.label}.model", advice=ADVICE)

    def _model(self) -> "FastText":
        from dolmix.text.fasttext_scorer import open_model

        path = self._model_file()
        try:
            return open_model(str(path.resolve()))
        except FilterError as error:
            raise FilterError(f"{error} {ADVICE}") from None


def _card_file(model: Path) -> Path:
    return model.with_name(f"{model.name}.card.json")


def _read_card(model: Path) -> dict[str, Any]:
    """Give the settings that the card beside a model names; none where there is no card."""
    path = _card_file(model)
    if not path.is_file():
        return {}
    try:
        card = json.loads(path.read_bytes())
        digest, settings = card["digest"], dict(card["settings"])
    except (ValueError, KeyError, TypeError) as error:
        raise FilterError(f"{path} is no card of a classifier: {error!r}") from None
    if digest != file_digest(model):
        raise FilterError(f"{path} is the card of another model than {model.name}; remove it")
    return settings


def _sums(values: F64Array, ends: I64Array) -> F64Array:
    """(N,) float64: sum of the values of each document's units."""
    documents = np.repeat(np.arange(len(ends) - 1), np.diff(ends))
    return np.bincount(documents, values, len(ends) - 1).astype(np.float64)
