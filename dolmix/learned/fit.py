"""Training a fastText classifier (arXiv:1607.01759), and asking it for scores.

With one thread the bytes of the model follow from settings and texts alone. The trainer that is
installed draws the first `threads` tenths of its input matrix and leaves the rest as the allocator
gave it: `zeroed_memory` has glibc hand out zeros meanwhile. Elsewhere (musl, macOS) training goes
on without that, and two runs may differ.
"""

import ctypes
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from dolmix.config import Schema
from dolmix.document import F64Array, TextBatch
from dolmix.errors import DataError, FilterError
from dolmix.files.commit import new_file

LABEL_PREFIX = "__label__"
M_PERTURB = -6
"""Of glibc's mallopt(3): new memory is filled with the complement of this byte."""
FEWEST_ROWS = 2048
"""Smallest input matrix: a smaller one may come from memory that glibc does not fill."""


class Fitting(Schema):
    """How a classifier is fitted; the names in brackets are fastText's own."""

    dim: Annotated[int, Field(ge=2, le=300)] = 16
    """Length of the vectors."""
    epochs: Annotated[int, Field(ge=1)] = 5
    """Passes over the rows (`epoch`)."""
    rate: Annotated[float, Field(gt=0, le=5)] = 0.3
    """First learning rate, falling to zero (`lr`)."""
    word_ngrams: Annotated[int, Field(ge=1, le=5)] = 2
    """Longest group of neighbouring words that is a feature (`wordNgrams`)."""
    min_chars: Annotated[int, Field(ge=0)] = 4
    """Shortest part of a word that is a feature; 0 with `max_chars: 0` for none (`minn`)."""
    max_chars: Annotated[int, Field(ge=0)] = 6
    """Longest part of a word that is a feature (`maxn`)."""
    buckets: Annotated[int, Field(ge=FEWEST_ROWS)] = 200_000
    """Slots that hashed features share (`bucket`)."""
    min_count: Annotated[int, Field(ge=1)] = 2
    """A word seen fewer times has no vector of its own (`minCount`)."""
    keep_features: Annotated[int, Field(ge=256)] | None = 60_000
    """Features left after quantising, those with the longest vectors; null keeps all (`cutoff`)."""
    retrain: bool = False
    """Train on after leaving features out, before quantising (`retrain`)."""
    quantise: bool = True
    """Write a product-quantised `.ftz`, some 8 to 20 times smaller; false writes a `.bin`."""
    threads: Annotated[int, Field(ge=1)] = 1
    """1 is reproducible bit by bit; more are faster, and every run gives another model."""
    seed: Annotated[int, Field(ge=0, lt=1 << 31)] = 1
    """Seed of the vectors, of the held-out rows and of the order of rows."""


def fit(rows: Iterable[tuple[str, str]], fitting: Fitting, output: Path) -> None:
    """Train on rows of (label, prepared text) in the order given, and write the model.

    Raises DataError for fewer than two labels, a label that fastText cannot hold, and for training
    that fails (a learning rate that is too high gives no numbers).
    """
    with tempfile.TemporaryDirectory(prefix="dolmix-fit-") as folder:
        path = Path(folder) / "rows.txt"
        _write_rows(rows, path)
        with new_file(output) as attempt, zeroed_memory():
            _train(path, fitting, attempt)


class Scorer:
    """A trained classifier with the label whose probability is the score: what the filter sees."""

    def __init__(self, path: Path, label: str) -> None:
        if not path.is_file():
            raise FilterError(f"there is no model {path}; `dolmix classifier train` makes one")
        from dolmix.text.fasttext_scorer import FastText

        self._model = FastText(path.resolve())
        self.labels = self._model.labels
        if label not in self.labels:
            known = ", ".join(self.labels)
            raise FilterError(f"{path} has no label {label!r}; its labels are {known}")
        self._label = np.array([self.labels.index(label)], np.int64)

    def scores(self, prepared: Sequence[str]) -> F64Array:
        """Probability of the label for each of N prepared texts, (N,) float64 in [0, 1].

        A text without a word that the model knows scores 0.
        """
        from dolmix.text.fasttext_scorer import spans_of

        spans = spans_of(TextBatch.of(list(prepared)))
        found = self._model.ask(spans, text="datatrove", wanted=self._label)
        return np.minimum(found.wanted[:, 0].astype(np.float64), 1.0)


def _write_rows(rows: Iterable[tuple[str, str]], path: Path) -> None:
    labels = set()
    with path.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
        for label, text in rows:
            if not label or any(c.isspace() for c in label):
                raise DataError(f"a label is one word without spaces; this one is {label!r}")
            labels.add(label)
            line = " ".join(text.replace(LABEL_PREFIX, " ").split())
            file.write(f"{LABEL_PREFIX}{label} {line}\n")
    if len(labels) < 2:  # noqa: PLR2004 - a choice needs two
        raise DataError(
            f"a classifier needs rows of two labels or more; these have {sorted(labels) or 'none'}."
            " Look at the settings 'label', 'label_field' and 'licences' of its rows."
        )


def _train(rows: Path, fitting: Fitting, output: Path) -> None:
    import fasttext

    common = {"lr": fitting.rate, "epoch": fitting.epochs, "thread": fitting.threads}
    try:
        model = fasttext.train_supervised(
            str(rows),
            dim=fitting.dim,
            wordNgrams=fitting.word_ngrams,
            minn=fitting.min_chars,
            maxn=fitting.max_chars,
            bucket=fitting.buckets,
            minCount=fitting.min_count,
            seed=fitting.seed,
            verbose=0,
            **common,
        )
        if fitting.quantise:
            features = len(model.words) + fitting.buckets
            keep = min(fitting.keep_features or 0, features)
            options: dict[str, Any] = {"cutoff": keep, "input": str(rows)} if keep else {}
            more = fitting.retrain and keep > 0
            model.quantize(qnorm=True, dsub=2, verbose=0, retrain=more, **common, **options)
    except (ValueError, RuntimeError) as error:
        raise DataError(f"fastText could not train: {error} Lower 'rate', or see 'dim'.") from None
    model.save_model(str(output))


@contextmanager
def zeroed_memory() -> Iterator[None]:
    """Let new memory be zeros, where the C library is glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(M_PERTURB, 0xFF)
    try:
        yield
    finally:
        if mallopt is not None:
            mallopt(M_PERTURB, 0)
