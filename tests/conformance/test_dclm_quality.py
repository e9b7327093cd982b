"""DCLM's quality score, held to a plain restatement of its mapper that asks fastText itself."""

from pathlib import Path
from typing import Any

import builders
import pytest
from peers import english_sample, needs

from dolmix.document import TextBatch
from dolmix.filters import judge
from dolmix.filters.classifier import Classifier
from dolmix.learned.fit import Fitting, fit

pytestmark = pytest.mark.conformance
LIMIT = 0.018112
ODD = [
    "",
    " ",
    "\n\n",
    "one\x0btwo\x0cthree\x1cfour\x85five\u2028six",
    "  a \r\n b\r\rc  ",
    "\x00x",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a small model with DCLM's labels: prose is hq, lists of links are cc."""
    path = tmp_path_factory.mktemp("dclm") / "quality.bin"
    good = [("hq", builders.prose(n, 30)) for n in range(150)]
    bad = [("cc", f"Home | Login | Cart {n} | {builders.prose(n, 9)}") for n in range(150)]
    small = Fitting(
        dim=8, epochs=3, rate=0.1, max_chars=0, min_chars=0, buckets=5_000, quantise=False
    )
    fit((row for pair in zip(good, bad, strict=True) for row in pair), small, path)
    return path


def restated(model: Any, content: str) -> float:
    """Say again what DCLM's `classify_fasttext_hq_prob` says."""
    labels, shares = model.predict([" ".join(content.strip().splitlines())])
    share = float(shares[0][0])
    return 1 - share if labels[0][0] == "__label__cc" else share


def test_scores_and_verdicts_are_those_of_dclm(model: Path, shared: Path) -> None:
    """On web pages, texts of odd white space and prose: p within 1e-6, the same pages kept."""
    needs("fasttext")
    import fasttext

    asked = fasttext.load_model(str(model))
    texts = [*ODD, *(builders.prose(n, 20) for n in range(20)), *english_sample(shared, 0.5)]
    settings = {"labels": ("hq",), "probability": "top", "text": "dclm", "min_score": LIMIT}
    filter_ = Classifier(name="quality", model=model, **settings)
    batch = TextBatch.of(texts)
    columns = filter_.columns(batch)
    expected = [restated(asked, text) for text in texts]
    assert columns["score"].to_pylist() == pytest.approx(expected, abs=1e-6)
    kept = [reason is None for reason in judge(filter_, columns, batch).to_pylist()]
    assert kept == [share >= LIMIT for share in expected]
    assert len({round(share, 3) for share in expected}) > 5
