"""Language labels and probabilities on real documents, beside the package fasttext."""

from pathlib import Path
from typing import Any

import fasttext
import numpy as np
import peers
import pytest

from dolmix.document import TextBatch
from dolmix.filters import Language

FOLDERS = (*peers.WEB_FOLDERS, *peers.OTHER_FOLDERS, "code", "instruct")
CLOSE = 1e-6


def compare(texts: list[str], lid_model: Path, text: Any) -> None:
    """Hold labels and probabilities of documents against the package's `predict`."""
    from dolmix.text.fasttext_prepare import PREPARATIONS

    filter_ = Language(model=lid_model, text=text)
    columns = filter_.columns(TextBatch.of(texts))
    prepare = PREPARATIONS["joined" if text == "dclm" else text]
    model: Any = fasttext.load_model(str(lid_model))
    labels, probs = model.predict([prepare(t) for t in texts])
    assert columns["label"].to_pylist() == [given[0].removeprefix("__label__") for given in labels]
    expected = np.array([float(given[0]) for given in probs])
    assert np.abs(columns["score"].to_numpy(zero_copy_only=False) - expected).max() <= CLOSE


def sample(shared: Path, share: int) -> list[str]:
    """Every `share`-th text of each folder of the corpus."""
    texts = []
    for folder in FOLDERS:
        found = [r["text"] for r in peers._records(shared, (folder,)) if "text" in r]
        texts += found[::share]
    return texts


@pytest.mark.conformance
@pytest.mark.parametrize("text", ["datatrove", "dolma", "dclm"])
def test_labels_and_probabilities_are_the_packages(
    shared: Path, lid_model: Path, text: str
) -> None:
    """The same label and, within 1e-6, the same probability on documents of every folder."""
    compare(sample(shared, 60), lid_model, text)


@pytest.mark.conformance_full
def test_every_document_of_the_corpus(shared: Path, lid_model: Path) -> None:
    """The same on every document, with every preparation."""
    texts = sample(shared, 1)
    for text in ("datatrove", "dolma", "dclm"):
        compare(texts, lid_model, text)
